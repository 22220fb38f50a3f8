"""Many virtual rollouts of one truth: what ours makes of it, and what the peers' rules do with the same users."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rollout.core.strategy import Strategy
from rollout.lab.peers import Outcome, argo, flagger, kayenta
from rollout.lab.traffic import Truth
from rollout.lab.trial import Trial

PEERS: dict[str, Callable[[Truth, int], Outcome]] = {"flagger": flagger, "argo": argo, "kayenta": kayenta}
EARLY = 10.0
"""Seconds after the first step at which the first outage begins."""


@dataclass(frozen=True)
class Summary:
    """Shares of runs that were rolled back on evidence, promoted, and, of all, that took a step or ended unproven.

    `median_seconds` is the time until all traffic was one version's again; `excess_failed_mean` the requests that the
    canary failed beyond what stable would have, until it was taken back or had served for an hour.
    """

    rolled_back: float
    promoted: float
    unproven: float
    median_seconds: float
    excess_failed_mean: float


def ours(
    truth: Truth, runs: int, seed: int, strategy: Strategy, look: float, outage: tuple[float, float] | None = None
) -> Summary:
    """What our engine and judge do. `outage` (seconds, probability) falls before and across a weight change."""
    told = replace(truth, outages=((EARLY, *outage),)) if outage else truth
    trials = [Trial(told, seed + run, strategy, look, outage) for run in range(runs)]
    return _summed([trial.outcome() for trial in trials], [trial.unproven for trial in trials])


def theirs(
    truth: Truth, runs: int, seed: int, outage: tuple[float, float] | None = None
) -> Iterator[tuple[str, Summary]]:
    """What each peer's rule does with its documented settings."""
    if outage:
        seconds, probability = outage
        truth = replace(truth, outages=((EARLY, *outage), (300 - seconds / 2, seconds, probability)))
    for name, rule in PEERS.items():
        outcomes = [rule(truth, seed + run) for run in range(runs)]
        yield name, _summed(outcomes, [not (o.rolled_back or o.promoted) for o in outcomes])


def _summed(outcomes: list[Outcome], unproven: list[bool]) -> Summary:
    runs = len(outcomes)
    return Summary(
        sum(o.rolled_back for o in outcomes) / runs,
        sum(o.promoted for o in outcomes) / runs,
        sum(unproven) / runs,
        statistics.median(o.seconds for o in outcomes),
        statistics.fmean(o.excess for o in outcomes),
    )
