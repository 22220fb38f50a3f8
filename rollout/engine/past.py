"""What the metrics store knows of the past: stable's load, how it scatters, and the looks of any stretch of time."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from rollout.core.errors import InvalidInput
from rollout.core.strategy import Strategy
from rollout.judge.judge import Evidence, edges_of, latency_of, resting
from rollout.judge.looks import Look, altogether, grid_time, pairwise_looks
from rollout.ports import Edges, Metrics, Target

UNKNOWN = 15.0
"""Where nothing tells how often counters are read: the scrape interval most often found, in seconds."""
HISTORY = 1800.0
"""Seconds of stable's past that are read before the first step."""
SPANS = (HISTORY, 300.0, 60.0, 10.0)
"""Seconds over which stable's requests are counted beforehand: where the longest is not known, the next."""
PODS = "destination"
"""Who alone counts what is repeated at a version: its pods' own proxies."""
REPORTERS = ("source", PODS)
"""Who may count: the clients' proxies, and where none does the pods' own."""
Times = tuple[float, float, float]
"""The first and the last moment of a stretch (epoch seconds, on the grid), and seconds from one to the next."""


@dataclass(frozen=True)
class Load:
    """What stable served lately: `rps` requests a second, of which the share `rate` (0 to 1) failed.

    It was counted over `span` seconds; an attempt would be looked at every `look` seconds.
    """

    rps: float
    rate: float
    look: float
    span: float


def apart(target: Target) -> bool:
    """Whether stable and the canary are counted by different proxies, at different moments."""
    return target.reporter == PODS


def seen_by(metrics: Metrics, target: Target, reporter: str = "") -> tuple[Target, float | None]:
    """The target as the `reporter` sees it, or the first that reports; and up to when (None: nobody reports).

    Raises `Unavailable`.
    """
    for name in (reporter,) if reporter else REPORTERS:
        asked = replace(target, reporter=name)
        horizon = metrics.horizon(asked)
        if horizon is not None:
            return asked, horizon
    return target, None


def pace(strategy: Strategy, often: float, target: Target) -> float:
    """Seconds between two looks: as often as counters are read, or half as often where versions count apart."""
    return max(strategy.look, 2 * often if apart(target) else often)


def looks_of(metrics: Metrics, target: Target, times: Times, edges: Edges) -> Iterator[Look]:
    """The looks of a stretch of time. `edges` as the port has them. Raises `Unavailable`."""
    snapshots = metrics.snapshots(target, *times, edges)
    return pairwise_looks(snapshots, target.stable, target.canary, apart(target))


def edges_to_ask(strategy: Strategy, evidence: Evidence) -> Edges:
    """The edges to ask for; all of them (None) while none is chosen."""
    return () if latency_of(strategy.checks) is None else evidence.edges or None


def remembered(metrics: Metrics, target: Target, strategy: Strategy, before: float, step: float) -> Evidence:
    """Stable's past before a moment, from which its scatter is known, and where to count slow answers.

    It is read in looks of `step` seconds. Raises `Unavailable`.
    """
    start, end = grid_time(before - HISTORY, step), grid_time(before, step)
    evidence = Evidence()
    if latency_of(strategy.checks) is not None:
        whole = whole_look(metrics, target, start, end, None).stable
        evidence = replace(evidence, edges=edges_of(strategy.checks, whole.answers))
    looks = looks_of(metrics, target, (start, end, step), edges_to_ask(strategy, evidence))
    return replace(resting(evidence, (look for look in looks if look.increments), strategy.checks), at=end)


def measured(metrics: Metrics, target: Target, strategy: Strategy, horizon: float, every: float) -> Load | None:
    """What stable served in the last half hour before `horizon`; None where no request is known of.

    Raises `Unavailable`, and `InvalidInput` where requests were counted and no answer was timed, which a latency check
    needs.
    """
    timed = latency_of(strategy.checks) is not None
    past = whole_look(metrics, target, horizon - HISTORY, horizon, None if timed else ())
    if timed and past.stable.requests and not past.stable.answers:
        raise InvalidInput(
            f"{target.service}: requests are counted but no answer is timed "
            "(istio_request_duration_milliseconds_bucket is missing); keep that histogram, or leave the check "
            "`latency` out of the strategy"
        )
    spans = [span for span in SPANS[1:] if span >= 2 * every]
    shorter = (whole_look(metrics, target, horizon - span, horizon, ()) for span in spans)
    return _load(zip((HISTORY, *spans), itertools.chain([past], shorter), strict=False), every)


def _load(pasts: Iterable[tuple[float, Look]], every: float) -> Load | None:
    """The load by the first span through which every instance counted, else by the one that shows most requests."""
    loads = []
    for span, past in pasts:
        served = altogether(one.stable for one in past.increments)
        loads.append(Load(served.requests / span, served.rate, every, span))
        if not past.skipped:
            loads = loads[-1:]
            break
    most = max(loads, key=lambda load: load.rps)
    return most if most.rps else None


def whole_look(metrics: Metrics, target: Target, start: float, end: float, edges: Edges) -> Look:
    """What was counted between two moments, as one look. `edges` as the port has them. Raises `Unavailable`."""
    (look,) = looks_of(metrics, target, (start, end, end - start), edges)
    return look
