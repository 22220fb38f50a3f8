"""What is measured: each scenario takes a stage that has settled, and returns its numbers."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

from bench.controller.candidate import NETWORKING, Phase, Plan
from bench.controller.process import usage
from bench.controller.stage import Stage, spread, told

LONG = 600.0
"""Seconds of a bake that outlasts what is measured during it."""
OUTAGE = 60.0
FLIPPED = 24
"""How many services fail in one run, one after another."""
Numbers = dict[str, Any]


def idle(stage: Stage) -> Numbers:
    """A minute in which nothing is to be done."""
    with stage.window() as found:
        time.sleep(60.0)
    (window,) = found
    per_service = window.asked.total / window.seconds / len(stage.services)
    cpu = 60.0 / window.seconds * (window.cpu + max(0.0, window.api_cpu))
    return told(window) | {"requests_per_service_second": round(per_service, 4), "cpu_minute": round(cpu, 3)}


def rollout(stage: Stage) -> Numbers:
    """All services at once, to their good end."""
    count, since = len(stage.services), time.time()
    with stage.window() as found:
        stage.candidate.release_all(stage.services)
        released = time.time() - since
        stage.until(Phase.PROMOTED, 120.0 + 12 * stage.plan.bake + 1.5 * count)
        time.sleep(3.0)  # for what is tidied up afterwards
    (window,) = found
    each = {kind: round(n / count, 2) for kind, n in window.asked.requests.items()}
    return told(window) | {
        "requests_per_rollout": round(window.asked.total / count, 2),
        "reads_per_rollout": round(window.asked.reads / count, 2),
        "by_kind_per_rollout": each,
        "queries_per_rollout": round(window.queries / count, 2),
        "cpu_per_rollout": round((window.cpu + window.api_cpu) / count, 4),
        "controller_cpu_per_rollout": round(window.cpu / count, 4),
        "released_within": round(released, 2),
        **_times(stage, since),
    }


def bake(stage: Stage) -> Numbers:
    """How long each weight stands while all roll at once."""
    since = time.time()
    stage.candidate.release_all(stage.services)
    stage.until(Phase.PROMOTED, 120.0 + 12 * stage.plan.bake + 1.5 * len(stage.services))
    return _times(stage, since)


def _times(stage: Stage, since: float) -> Numbers:
    """When each weight was reached, and how long it stood."""
    reached: dict[int, list[float]] = {}
    stood: dict[int, list[float]] = {}
    for service in stage.services:
        path = stage.path(service, since)
        for (at, weight), (until, _) in pairwise(path):
            stood.setdefault(weight, []).append(until - at)
        for at, weight in path:
            reached.setdefault(weight, []).append(at)
    baked = [seconds for weight, some in stood.items() if weight in stage.plan.steps[:-1] for seconds in some]
    return {
        "baked": spread(baked),
        "reached": {weight: spread(some) for weight, some in sorted(reached.items())},
        "paths": _paths(stage, since),
    }


def _paths(stage: Stage, since: float) -> dict[str, int]:
    paths = [" ".join(str(weight) for _, weight in stage.path(service, since)) for service in stage.services]
    return {path: paths.count(path) for path in sorted(set(paths))}


def reaction(stage: Stage) -> Numbers:
    """Services whose canary begins to fail at 25 %, one after another, while nothing else moves."""
    since = time.time()
    stage.candidate.release_all(stage.services)
    stage.until_weight(25, stage.services, 120.0)
    time.sleep(12.0)
    return _flipped(stage, stage.services[:FLIPPED], since)


def reaction_loaded(stage: Stage) -> Numbers:
    """The same while all the others go on, and some more with them."""
    since = time.time()
    stage.candidate.release_all(stage.services)
    chosen = stage.services[:: max(1, len(stage.services) // FLIPPED)][:FLIPPED]
    stage.until_weight(25, chosen, 300.0)
    time.sleep(1.0)
    return _flipped(stage, chosen, since)


def _flipped(stage: Stage, services: list[str], since: float) -> Numbers:
    flips = {}
    for service in services:
        flips[service] = stage.metrics.traffic.fails(service)
        time.sleep(random.uniform(0.2, 0.5))
    with suppress(TimeoutError):  # the numbers tell how many
        stage.until(Phase.BACK, 150.0, services)
    time.sleep(1.0)
    flip_to_zero, sample_to_zero, samples, rose = [], [], [], 0
    for service, flip in flips.items():
        path = [(at, weight) for at, weight in stage.weights.seen[service] if at > flip]
        rose += any(weight > 25 for _, weight in path)
        zero = next((at for at, weight in path if weight == 0), None)
        if zero is None:
            continue
        bad = [at for at in stage.metrics.bad[service] if flip <= at <= zero + 0.005]
        flip_to_zero.append(zero - flip)
        samples.append(float(len(bad)))
        if bad:
            sample_to_zero.append(zero - bad[-1])
    return {
        "flipped": len(flips), "flip_to_zero": spread(flip_to_zero), "sample_to_zero": spread(sample_to_zero),
        "bad_samples": spread(samples), "rose_after_flip": rose, "until_flips": round(min(flips.values()) - since, 1),
    }  # fmt: skip


def _at_25(stage: Stage) -> None:
    """All services released, and all seen at 25 %."""
    stage.candidate.release_all(stage.services)
    stage.until_weight(25, stage.services, 300.0)


def kill(stage: Stage) -> Numbers:
    """Killed 3 s into the bake at 25 %, and begun anew a second later."""
    since = time.time()
    _at_25(stage)
    time.sleep(3.0)
    stage.candidate.kill()
    time.sleep(1.0)
    began = time.time()
    stage.candidate.start()
    stage.until_weight(50, stage.services, 4 * stage.plan.bake + 120.0)
    stood, after = [], []
    for service in stage.services:
        path = {weight: at for at, weight in stage.path(service, since)}
        stood.append(path[50] - path[25])
        after.append(path[50] + since - began)
    return {
        "bake": stage.plan.bake, "stood_at_25": spread(stood), "restart_to_next": spread(after),
        "paths": _paths(stage, since),
    }  # fmt: skip


def outage(stage: Stage) -> Numbers:
    """The metrics gone for a minute, with good versions at 25 %."""
    since = time.time()
    _at_25(stage)
    time.sleep(2.0)
    stage.metrics.down, began = True, time.time()
    time.sleep(OUTAGE)
    ended = time.time()
    stage.metrics.down = False
    during = [{weight for _, weight in stage.path(service, began) if _ <= ended - began} for service in stage.services]
    time.sleep(90.0)
    last = [stage.phases.now(service) for service in stage.services]
    return {
        "rolled_back": sum(0 in weights for weights in during),
        "moved_on": sum(any(weight > 25 for weight in weights) for weights in during),
        "promoted_afterwards": sum(phase is Phase.PROMOTED for phase in last),
        "paths": _paths(stage, since),
    }


def drift(stage: Stage) -> Numbers:
    """At 25 %, somebody raises one half of the services to 40, and gives the other half a timeout."""
    _at_25(stage)
    time.sleep(3.0)
    half = max(1, len(stage.services) // 2)
    raised, timed = stage.services[:half], stage.services[half:]
    edited = {service: _edited(stage, service, service in raised) for service in stage.services}
    stage.until_weight(50, timed, 120.0 + 4 * stage.plan.bake)
    time.sleep(4.0)
    back = []
    for service in raised:
        path = stage.path(service, edited[service])
        after = next((i for i, (_, weight) in enumerate(path) if weight == 40), None)
        following = path[after + 1] if after is not None and after + 1 < len(path) else None
        if following and following[1] == 25:
            back.append(following[0])
    kept = sum(_route(stage, service).get("timeout") == "7s" for service in timed)
    return {
        "weights_edited": len(raised), "back_at_25": spread(back), "timed": len(timed), "timeout_kept": kept,
        "paths": _paths(stage, min(edited.values())),
    }  # fmt: skip


def _route(stage: Stage, service: str) -> Any:
    return stage.server.call("GET", f"{NETWORKING}/virtualservices/{service}")["spec"]["http"][-1]


def _edited(stage: Stage, service: str, raised: bool) -> float:
    """When the edit was made."""
    routes = stage.server.call("GET", f"{NETWORKING}/virtualservices/{service}")["spec"]["http"]
    if raised:
        for entry in routes[-1]["route"]:
            entry["weight"] = 40 if entry["weight"] == 25 else 60
    else:
        routes[-1]["timeout"] = "7s"
    at = time.time()
    stage.candidate.patch(f"{NETWORKING}/virtualservices/{service}?fieldManager=somebody", {"spec": {"http": routes}})
    return at


def memory(stage: Stage) -> Numbers:
    """What it holds while nothing moves, and with up to 200 services in flight."""
    with stage.window() as found:
        time.sleep(10.0)
    flying = stage.services[:200]
    stage.candidate.release_all(flying)
    stage.until_weight(5, flying, 300.0)
    time.sleep(20.0)
    with stage.window() as later:
        time.sleep(10.0)
    return {
        "idle": round(found[0].usage.rss, 1), "in_flight": len(flying), "flying": round(later[0].usage.rss, 1),
        "peak": round(later[0].usage.peak, 1),
    }  # fmt: skip


def start(stage: Stage) -> Numbers:
    """Begun anew while nothing moves: until it has looked at every service once. Ours only."""
    stage.candidate.kill()
    time.sleep(2.0)
    began = time.time()
    stage.candidate.start()
    end = began + 300.0
    while stage.candidate.looked() < len(stage.services):
        if time.time() > end:
            raise TimeoutError(f"it has looked at {stage.candidate.looked()} of {len(stage.services)} after 300 s")
        time.sleep(0.1)
    took, used = time.time() - began, usage(stage.candidate.pid)
    return {"looked_at_all": round(took, 1), "cpu": round(used.cpu, 2), "rss": round(used.rss, 1)}


SCENARIOS: dict[str, tuple[Callable[[Stage], Numbers], Plan]] = {
    "idle": (idle, Plan()),
    "rollout": (rollout, Plan()),
    "bake": (bake, Plan()),
    "reaction": (reaction, Plan(steps=(25, 100), bake=LONG)),
    "reaction-loaded": (reaction_loaded, Plan()),
    "kill": (kill, Plan()),
    "outage": (outage, Plan()),
    "drift": (drift, Plan(bake=20.0)),
    "memory": (memory, Plan(steps=(5, 100), bake=LONG)),
    "start": (start, Plan()),
}
