"""What the metrics store still has of an attempt: both versions' requests, and the evidence as it grew."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from rollout.core.attempt import Attempt
from rollout.core.strategy import LATENCY
from rollout.engine.past import REPORTERS, UNKNOWN, apart, looks_of, pace, remembered, whole_look
from rollout.judge.judge import Evidence, Terms, edges_of, judged, read
from rollout.judge.looks import Arm, Look, altogether, grid_time
from rollout.mesh.hosts import fqdn
from rollout.ports import Metrics, Target

STRETCHES, MOST_LOOKS = 60, 400
"""Into how many stretches an attempt is cut for the eye, and how many looks are read for them, at most (or so)."""
AROUND = 0.08
"""What part of its length is read before and after it."""
Weights = tuple[tuple[float, Decimal], ...]
"""From which epoch seconds on the canary had which percent."""


@dataclass(frozen=True)
class Stretch:
    """What all clients got from both versions between two epoch seconds; `lost` are requests that reached neither.

    The canary had `weight` percent by the record: the larger one, where a reading began at one and ended at another.
    `to_go_on` and `to_go_back` say how much of the evidence needed was there at its end (0 to 1; None: not judged).
    """

    since: float
    until: float
    weight: Decimal
    stable: Arm
    canary: Arm
    lost: int
    to_go_on: float | None = None
    to_go_back: float | None = None


@dataclass(frozen=True)
class Recount:
    """The stretches of an attempt, oldest first, none with two weights; those in which nobody counted are left out.

    `edges` are the milliseconds at which slow answers are counted, `every` the seconds between two readings; `skipped`
    readings could not be compared with those before.
    """

    stretches: tuple[Stretch, ...]
    edges: tuple[float, ...]
    every: float
    skipped: int


def weights_of(attempt: Attempt, until: float) -> Weights:
    """The weights by the record, each change once; the last one is what it has at `until`."""
    kept = [(entry.at, entry.weight) for entry in attempt.journal if entry.weight is not None]
    every = [*kept, (until, attempt.weight)] if kept else []
    return tuple(next(group) for _, group in itertools.groupby(every, key=lambda it: it[1]))


def recounted(metrics: Metrics, attempt: Attempt, now: float) -> Recount | None:
    """What is left of an attempt; None where nobody counted then. Raises `Unavailable`."""
    for reporter in REPORTERS:
        host = fqdn(attempt.service, attempt.namespace)
        target = Target(host, attempt.namespace, (), *attempt.counted, reporter)
        found = _recounted(metrics, target, attempt, now)
        if found and found.stretches:
            return found
    return None


def _recounted(metrics: Metrics, target: Target, a: Attempt, now: float) -> Recount | None:
    often, ended = metrics.interval(target) or UNKNOWN, a.ended or now
    around = max(2 * often, AROUND * (ended - a.started))
    step = max(pace(a.strategy, often, target), math.ceil((ended - a.started + 2 * around) / MOST_LOOKS))
    start = grid_time(a.started - around, step)
    end = grid_time(min(ended + around, metrics.horizon(target) or now), step)
    if end <= start:
        return None
    e = remembered(metrics, target, a.strategy, a.started, max(step, UNKNOWN))
    edges = e.edges or edges_of((LATENCY,), whole_look(metrics, target, start, end, None).stable.answers)
    looks = list(looks_of(metrics, target, (start, end, step), edges))
    weights, size = weights_of(a, ended), math.ceil(len(looks) / STRETCHES)
    terms = _Terms(a, weights, often, apart(target))
    stretches = []
    for weight, group in itertools.groupby(
        looks, key=lambda look: max(terms.weight(look.since), terms.weight(look.at))
    ):
        mine = list(group)
        for part in (mine[i : i + size] for i in range(0, len(mine), size)):
            for look in part:
                e = judged(e, look, terms.of(look))
            if any(look.increments for look in part):
                stretches.append(_stretch(part, weight, e, a))
    return Recount(tuple(stretches), edges, step, sum(len(look.skipped) for look in looks))


@dataclass(frozen=True)
class _Terms:
    """Under which terms each look of an attempt was judged, as far as its record tells.

    Which pods were warming up, and which had restarted, nobody knows any more.
    """

    attempt: Attempt
    weights: Weights
    lag: float
    apart: bool

    def _standing(self, at: float) -> tuple[float, Decimal]:
        return next((one for one in reversed(self.weights) if one[0] <= at), (0.0, Decimal(0)))

    def weight(self, at: float) -> Decimal:
        """The weight at an epoch second."""
        return self._standing(at)[1]

    def of(self, look: Look) -> Terms:
        """The terms of a look."""
        (since, weight), strategy = self._standing(look.at), self.attempt.strategy
        began = since if weight else None
        return Terms(
            strategy.checks, weight, began, strategy.margin_at(weight), self.lag, self.apart, routed=strategy.routes
        )


def _stretch(looks: Sequence[Look], weight: Decimal, e: Evidence, a: Attempt) -> Stretch:
    every = [i for look in looks for i in look.increments]
    arms = [altogether(arms) for arms in zip(*((i.stable, i.canary, i.unattributed) for i in every), strict=True)]
    found = Stretch(looks[0].since, looks[-1].at, weight, arms[0], arms[1], arms[2].requests)
    if not (weight and e.weight and e.looked_at and a.strategy.checks):
        return found
    said = read(e, a.strategy.checks, overdue=False)
    return replace(found, to_go_on=None if e.blind else said.to_go_on, to_go_back=said.to_go_back)
