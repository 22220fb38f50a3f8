"""Measure what we claim: `make bench`. Ratios within one run, because machines differ and are busy."""

import math
import resource
import statistics
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

from rollout.core.strategy import ERRORS, LATENCY, Check
from rollout.judge.judge import Evidence, Terms, judged
from rollout.judge.looks import Arm, Increment, Look
from tests.simulation.invariants import Watcher
from tests.simulation.world import Faults, World, drive, strategy

RUNS = 15


def wall(command: list[str]) -> float:
    """Seconds that a whole process takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def startup() -> None:
    command = str(Path(sys.executable).parent / "rollout")
    pairs = [(wall([command, "--help"]), wall([sys.executable, "-c", "pass"])) for _ in range(RUNS)]
    ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"rollout --help: {1000 * ours:.0f} ms, {ratio:.1f} times a bare interpreter ({1000 * bare:.0f} ms)")


def requests() -> None:
    world = World(seed=7, trouble=0.0, strategy=strategy())
    Watcher(world)
    drive(world, lambda _: Faults(), lambda _: None)
    verbs = world.processes[0].counts
    attempt = world.attempt()
    assert attempt is not None
    reads = sum(n for verb, n in verbs.items() if verb in ("get", "list"))
    writes = sum(verbs.values()) - reads
    took = attempt.ended - attempt.started
    print(f"one promotion of {took:.0f} s through 4 weights: {writes} writes, {reads / took:.1f} reads a second")


def looks() -> None:
    """One instance reports, each look holds hits, and their scatter is known: no bet is left out."""
    for check in (ERRORS, LATENCY):
        contests, each = looking(check)
        print(f"one look of the check {check.kind}: {1e6 * each:.0f} µs of CPU in each of {contests} contest(s)")


def looking(check: Check, count: int = 3000) -> tuple[int, float]:
    """How many contests the check holds, and the seconds of CPU that each takes for one look."""
    evidence = Evidence()
    for i in range(count + 200):
        if i == 200:
            started = time.process_time()
        terms = Terms((check,), Decimal(5 if i >= 200 else 0), 200.5, 0.02)
        stable, canary = (
            Arm(n, hits, 0, ((50.0, n // 2), (100.0, n - n // 10), (250.0, n - hits), (math.inf, n)))
            for n, hits in ((950, i % 4), (50, i % 3 == 0))
        )
        evidence = judged(evidence, Look(i + 0.0, i + 1.0, (Increment("gateway", stable, canary),)), terms)
    return len(evidence.contests), (time.process_time() - started) / count / len(evidence.contests)


if __name__ == "__main__":
    for measure in (startup, requests, looks):
        measure()
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
