"""What the metrics store still has of a release that is over."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rollout.core.errors import InvalidInput
from rollout.core.quantities import spoken
from rollout.core.strategy import Strategy
from rollout.engine.past import HISTORY, REPORTERS, UNKNOWN, Times, apart, edges_to_ask, looks_of, pace, remembered
from rollout.engine.replaying import IDLE, Ending, Replay, Setting, over, replayed, spans_of
from rollout.judge.looks import ALL, Look, Snapshot, grid_time
from rollout.ports import Edges, Metrics, Target

LONGEST = 6 * 3600.0
"""Seconds of a release that are replayed at most."""
AT_ONCE = 1800.0
"""Seconds that are read at once: Prometheus refuses more than 11 000 moments, and few releases take hours."""


def recalled(metrics: Metrics, target: Target, strategy: Strategy, at: float, now: float) -> Replay:
    """The release to the target's canary that began at a moment in the past, as the strategy would have judged it.

    Where the target names no stable version, it is the one that served most in the HISTORY seconds before. How often
    counters are read is what it is today. Of the canary's pods nobody knows any more when they started, nor how often:
    none is warming up, and none has restarted. Raises `InvalidInput` where there is no such release, and `Unavailable`.
    """
    target, strategy = _found(metrics, target, at, now), strategy.shifting
    often = metrics.interval(_any(target)) or UNKNOWN
    setting = Setting(strategy, target.stable, target.canary, often, apart(target))
    interval = pace(strategy, often, target)
    step = max(interval, UNKNOWN)
    evidence = remembered(metrics, target, strategy, at, step)
    end = metrics.horizon(_any(target)) or now
    looks: list[Look] = []
    for more in _stretches(metrics, target, (grid_time(at, step), end, interval), edges_to_ask(strategy, evidence)):
        looks += more
        spans = spans_of(looks, strategy)
        ended = over(spans, strategy)
        if ended:
            break
    if not looks or not any(span.weight for span in spans):
        raise InvalidInput(_nothing(target, looks))
    last = looks[-1].at
    late = last + interval > looks[0].since + LONGEST
    return replayed(evidence, spans, *(ended or (last, Ending.TOO_LONG if late else Ending.NOW)), setting)


def _stretches(metrics: Metrics, target: Target, times: Times, edges: Edges) -> Iterator[Iterator[Look]]:
    """The looks of a release, stretch by stretch, so that no more is asked for than it took."""
    start, end, interval = times
    end = min(start + LONGEST, end)
    while start + interval <= end:
        stop = start + grid_time(min(max(AT_ONCE, interval), end - start), interval)
        yield looks_of(metrics, target, (start, stop, interval), edges)
        start = stop


def _any(target: Target) -> Target:
    """Every version's counters."""
    return replace(target, stable="", canary="")


def _found(metrics: Metrics, target: Target, at: float, now: float) -> Target:
    """The target with whoever counted then, and with a stable version."""
    for reporter in REPORTERS:
        asked = replace(target, reporter=reporter)
        before, soon = metrics.snapshots(_any(asked), at - HISTORY, at, IDLE), min(at + IDLE, now)
        if any(snapshot.counters for snapshot in (*before, *metrics.snapshots(_any(asked), soon, soon, IDLE))):
            return replace(asked, stable=_stable(target, _served(before)))
    raise InvalidInput(f"there are no counters of {target.service} then; {_oldest(metrics, target, at, now)}")


def _served(snapshots: Sequence[Snapshot]) -> dict[str, float]:
    """The requests that each version got between the first and the last of these moments."""
    served: dict[str, float] = {}
    for before, after in itertools.pairwise(snapshots):
        for series, value in after.counters.items():
            if series.outcome == ALL and series.version:
                grown = max(0.0, value - before.counters.get(series, 0.0))
                served[series.version] = served.get(series.version, 0.0) + grown
    return served


def _stable(target: Target, served: dict[str, float]) -> str:
    """The stable version that was named, or else the one that served most before, as far as anything is known of it."""
    if target.stable and not served:
        return target.stable
    names = ", ".join(sorted(version for version, requests in served.items() if requests)) or "no version"
    stable = target.stable or max(served, key=lambda version: served[version], default="")
    if not served.get(stable):
        raise InvalidInput(f"{stable or target.service} had no requests in the {spoken(HISTORY)} before; {names} had")
    if stable == target.canary:
        raise InvalidInput(f"{stable} served most before already; name the time when it began, or stable with --from")
    return stable


def _oldest(metrics: Metrics, target: Target, at: float, now: float) -> str:
    """From when on the store has counters of a service, as far as a thousand moments tell."""
    step, end = math.ceil((now - at) / 1000), math.floor(now)
    for reporter in REPORTERS:
        asked = replace(_any(target), reporter=reporter)
        for snapshot in metrics.snapshots(asked, end - step * math.ceil((now - at) / step), end, step):
            if snapshot.counters:
                return f"the store has them from {datetime.fromtimestamp(snapshot.at, UTC):%Y-%m-%d %H:%M} UTC"
    return "nor has the store any since: is it the right service, namespace and Prometheus?"


def _nothing(target: Target, looks: Sequence[Look]) -> str:
    canary, stable = sum(look.canary.requests for look in looks), sum(look.stable.requests for look in looks)
    return (
        f"{target.canary} had no share of the requests in the {spoken(IDLE)} from then on ({canary} of "
        f"{canary + stable}, the rest {target.stable}'s); was it another time, or another version?"
    )
