"""Measure what we claim: `make bench`. Ratios within one run, because machines differ and are busy."""

import resource
import statistics
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

from rollout.judge.errors import Evidence, judged
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
    evidence, count = Evidence(), 5000
    started = time.process_time()
    for i in range(count):
        look = Look(i + 1.0, i + 2.0, (Increment("gateway", Arm(950, i % 2), Arm(50, i % 3 == 0)),))
        evidence = judged(evidence, look, strategy().errors or sys.exit(1), 0.02, 0.5, Decimal(5))
    each = (time.process_time() - started) / count
    print(f"one look: {1e6 * each:.0f} µs of CPU")


if __name__ == "__main__":
    for measure in (startup, requests, looks):
        measure()
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
