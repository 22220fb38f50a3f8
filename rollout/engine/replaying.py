"""A release that is over, judged anew: from its looks to the weights it had, and to what the judge would have done.

Times are epoch seconds, weights percent. All pure.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from rollout.core.attempt import Reading, Verdict
from rollout.core.strategy import OnInconclusive, Step, Strategy
from rollout.judge.judge import Evidence, Terms, judged, read, resting
from rollout.judge.looks import Arm, Look, altogether
from rollout.judge.telling import compared, luck, reading

IDLE = 600.0
"""Seconds without any request to the canary after which a release is over."""
USUAL = tuple(Decimal(w) for w in (0, 1, 2, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 100))
"""Weights that people set."""
CHANGE, UNUSUAL = 12.0, 1.5
"""What a change of weight must explain (nats), and what more if the strategy does not have the weight."""
MOST = 7.0
"""A look speaks against a weight with at most so many nats: one alone, blurred by a change or an outage, is none."""
HEAVY = 600
"""A look counts as at most so many requests: a share that drifts by a tenth is no new weight, however many they are."""
STRAY = 0.001
"""The share of requests that still count as nothing: those on their way when a weight changed."""


class Ending(StrEnum):
    """Why a replay ends."""

    EVERYTHING = "everything"
    NOTHING = "nothing"
    TOO_LONG = "too long"
    NOW = "now"


@dataclass(frozen=True)
class Span:
    """Looks in a row while the canary had one weight."""

    weight: Decimal
    looks: tuple[Look, ...]

    @property
    def since(self) -> float:
        """When it began: at the look that shows it first; in truth at some moment of it, or of the one before."""
        return self.looks[0].since

    @property
    def until(self) -> float:
        """When it ended."""
        return self.looks[-1].at


@dataclass(frozen=True)
class Plateau:
    """What both versions did at one weight, and what the judge would have said of it.

    `on_after` and `back_after` are the seconds from `since` after which it would have gone on, and back; None: it would
    not. `doubt_after` is when it would have gone back to an earlier weight to compare, what nobody can replay. `said`
    is the judge's reading then, or else at the end; None where it would have gone back before.
    """

    weight: Decimal
    since: float
    until: float
    stable: Arm
    canary: Arm
    said: Reading | None = None
    on_after: float | None = None
    back_after: float | None = None
    doubt_after: float | None = None

    @property
    def share(self) -> float:
        """The share of the requests that the canary got (0 to 1)."""
        return self.canary.requests / max(1, self.canary.requests + self.stable.requests)


@dataclass(frozen=True)
class Replay:
    """A release from when the canary had the first plateau (there is at least one) until `ended`.

    `failed` counts users' requests that failed on the canary until the judge would have gone back, and after.
    """

    stable: str
    canary: str
    plateaus: tuple[Plateau, ...]
    ended: float
    ending: Ending
    failed: tuple[int, int]

    @cached_property
    def back(self) -> Plateau | None:
        """The plateau at which the judge would have gone back."""
        return next((plateau for plateau in self.plateaus if plateau.back_after is not None), None)

    @property
    def ran(self) -> float:
        """For how many seconds the canary had a share."""
        return self.plateaus[-1].until - self.plateaus[0].since


@dataclass(frozen=True)
class Setting:
    """What a replay is judged by. Counts may come from up to `lag` seconds before a look; `apart` as in `Terms`."""

    strategy: Strategy
    stable: str
    canary: str
    lag: float
    apart: bool = False


def spans_of(looks: Sequence[Look], strategy: Strategy) -> list[Span]:
    """The weights that the canary had, from its share of the requests.

    They are those of the strategy, and USUAL ones. Of all their sequences it is the one that explains the shares best,
    where each change must explain more than CHANGE nats: two looks that are clearly elsewhere are a new weight, or
    more of them where requests are few; one is none (see MOST and HEAVY). A look without requests changes nothing.
    Before the first look the canary had nothing.
    """
    own = {step.weight for step in strategy.steps}
    costs = {weight: CHANGE + (0 if weight in own or not weight else UNUSUAL) for weight in {*USUAL, *own}}
    worst, origins = {weight: cost if weight else 0.0 for weight, cost in costs.items()}, []
    for look in looks:
        best = min(worst, key=lambda weight: worst[weight])
        origin = {weight: weight if worst[weight] <= worst[best] + cost else best for weight, cost in costs.items()}
        worst = {
            weight: worst[origin[weight]] + (costs[weight] if origin[weight] != weight else 0) + _misfit(look, weight)
            for weight in costs
        }
        origins.append(origin)
    weight, path = min(worst, key=lambda weight: worst[weight]), []
    for origin in reversed(origins):
        path.append(weight)
        weight = origin[weight]
    pairs = zip(reversed(path), looks, strict=True)
    return [
        Span(w, tuple(look for _, look in group)) for w, group in itertools.groupby(pairs, key=lambda pair: pair[0])
    ]


def _misfit(look: Look, weight: Decimal) -> float:
    """How much a look speaks against a weight (nats): the divergence of its share, times its requests."""
    canary, total = look.canary.requests, look.canary.requests + look.stable.requests
    if not total:
        return 0.0
    meant = min(1 - STRAY, max(STRAY, float(weight) / 100))
    seen = canary / total
    parts = ((seen, meant), (1 - seen, 1 - meant))
    return min(MOST, min(total, HEAVY) * sum(p * math.log(p / q) for p, q in parts if p))


def over(spans: Sequence[Span], strategy: Strategy) -> tuple[float, Ending] | None:
    """When a release was over: the canary had everything for as long as the strategy confirms, or nothing for IDLE."""
    limits = {Decimal(100): (strategy.confirm, Ending.EVERYTHING), Decimal(0): (IDLE, Ending.NOTHING)}
    for span in spans:
        seconds, ending = limits.get(span.weight, (math.inf, Ending.NOW))
        if span.until - span.since >= seconds:
            return span.since + seconds, ending
    return None


def replayed(e: Evidence, spans: Sequence[Span], ended: float, ending: Ending, setting: Setting) -> Replay:
    """Judge a release from the evidence that stable's past left; the past decides the weights, and when it `ended`."""
    kept = [cut for span in spans if (cut := _before(span, ended)).looks]
    plateaus, back = [], math.inf
    for span, looks in zip(kept, _judged_at(kept), strict=True):
        if not span.weight:
            e = resting(e, looks, setting.strategy.checks)
        elif back < math.inf:
            plateaus.append(_seen(span))
        else:
            e, plateau = _judged(e, span, looks, setting)
            plateaus.append(plateau)
            back = math.inf if plateau.back_after is None else plateau.since + plateau.back_after
    failures = [(look.at <= back, look.canary.failures) for span in kept for look in span.looks]
    failed = sum(n for early, n in failures if early), sum(n for early, n in failures if not early)
    return Replay(setting.stable, setting.canary, tuple(plateaus), ended, ending, failed)


def _before(span: Span, ended: float) -> Span:
    return replace(span, looks=tuple(look for look in span.looks if look.at <= ended))


def _judged_at(spans: Sequence[Span]) -> Iterator[Sequence[Look]]:
    """The looks that are judged at each span's weight.

    A change lies in the first look that shows it or in the one before; so both count as blurred by it, except where the
    canary has nothing afterwards: what it did before then still counts.
    """
    for index, span in enumerate(spans):
        early = spans[index - 1].looks[-1:] if index and span.weight else ()
        later = index + 1 < len(spans) and spans[index + 1].weight
        yield (*early, *(span.looks[:-1] if later else span.looks))


def _seen(span: Span) -> Plateau:
    stable, canary = altogether(k.stable for k in span.looks), altogether(k.canary for k in span.looks)
    return Plateau(span.weight, span.since, span.until, stable, canary)


def _judged(e: Evidence, span: Span, looks: Sequence[Look], setting: Setting) -> tuple[Evidence, Plateau]:
    strategy, step, found = setting.strategy, setting.strategy.step_at(span.weight), _seen(span)
    every = span.looks[0].at - span.since
    margin = strategy.margin_at(span.weight)
    terms = Terms(strategy.checks, span.weight, looks[0].since, margin, setting.lag + every, setting.apart)
    for look in looks:
        e = judged(e, look, terms)
        stood = max(0.0, look.at - span.since)
        said = _said(e, setting, stood >= step.bake.max)
        doubt = said.verdict is Verdict.DOUBT
        if said.verdict is Verdict.ROLLBACK or (doubt and strategy.comparable(len(strategy.steps)) is None):
            return e, replace(found, said=said, back_after=stood)
        if doubt:
            return e, replace(found, said=said, doubt_after=stood)
        if found.on_after is None:
            found = replace(found, said=said, on_after=stood if goes_on(said, stood, step, strategy) else None)
    return e, found


def _said(e: Evidence, setting: Setting, overdue: bool) -> Reading:
    """The judge's reading, in words without what this release's totals say better."""
    names = setting.stable, setting.canary
    said = reading(e, read(e, setting.strategy.checks, overdue), names)
    one = e.contests.get(said.check)
    if one is None:
        return said
    chance = f"; {luck(said.luck)}" if said.verdict is Verdict.ROLLBACK and not e.blind else ""
    return replace(said, text=compared(said.check, one, names, e.blind) + chance)


def goes_on(said: Reading, stood: float, step: Step, strategy: Strategy) -> bool:
    """Whether the engine would go on from a step that has stood for so many seconds."""
    if stood < step.bake.min or said.verdict is Verdict.BLIND:
        return False
    noted = strategy.inconclusive is OnInconclusive.ADVANCE_NOTED and said.no_worse
    unproven = not step.bake.max or (said.verdict is Verdict.INCONCLUSIVE and noted)
    return said.verdict is Verdict.ADVANCE or unproven
