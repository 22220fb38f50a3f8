"""How fast the judge's evidence grows, in expectation: the arithmetic behind a forecast.

The evidence is a sum of log factors, one per look, so its time is told by the sum's mean and variance per look (Wald
1947: a walk with drift g reaches a height h after about h / g). Arrivals are Poisson and failures independent; where
failures clump, or the judge starts from a wrong idea of stable's rate, it takes longer. Rates, shares and points run
from 0 to 1, times are seconds, evidence is in nats.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rollout.core.strategy import Check, Kind
from rollout.judge.bets import BETS, PARTS, TIMES, Line, fair_share, nearest
from rollout.judge.judge import ALONE, ALPHA, BETA, DISASTER_SEEN, HEALTHY, WORTH
from rollout.judge.logs import log_mean

ENOUGH = math.log(1 / ALPHA / (1 - ALONE) / WORTH[Kind.ERRORS])
"""The evidence of failed requests alone (nats) at which it goes back, with all checks that are shipped."""
LIKELY = 0.84
"""The standard normal quantile of 80 %."""
_MANY = 10.0

Moments = tuple[float, float]
"""Mean and variance per look of a log factor."""


@dataclass(frozen=True)
class Traffic:
    """`rps` requests a second, of which the canary gets `share`, counted every `look` seconds."""

    rps: float
    share: float
    look: float

    @property
    def stable(self) -> float:
        """Stable's expected requests per look."""
        return self.rps * (1 - self.share) * self.look

    @property
    def canary(self) -> float:
        """The canary's expected requests per look."""
        return self.rps * self.share * self.look


# Going on


def until_shown(traffic: Traffic, rate: float, margin: float) -> tuple[int, float, float]:
    """The canary's requests and the seconds until half, and the seconds until four in five good versions may go on.

    Only looks in which both versions answered count, so where they are thin more requests are needed.
    """
    target = math.log(1 / BETA) + math.log(len(PARTS))
    both = math.expm1(-traffic.stable) * math.expm1(-traffic.canary)
    stable, canary = _at_least_one(traffic.stable), _at_least_one(traffic.canary)
    mean, variance = no_harm(rate, margin, stable, canary)
    half, likely = (_reached(target, both * mean, both * variance, z) for z in (0.0, LIKELY))
    needed = half * traffic.canary if math.isfinite(half) else target / mean * canary
    return math.ceil(needed), _on_grid(half, traffic.look), _on_grid(likely, traffic.look)


def no_harm(rate: float, margin: float, stable: float, canary: float) -> Moments:
    """Mean and variance of one look's log factor for a canary that fails as often as stable, at `rate`.

    The look has `stable` and `canary` requests. The mean is the divergence (Kullback-Leibler, in nats) from
    (rate, rate) to the nearest pair on the line canary = stable + `margin`: the reverse information projection onto
    a half plane, after Turner, Ly and Grünwald, arXiv 2106.02693. With all knowledge of stable it would be the
    one-armed canary * KL(rate, rate + margin).

    >>> [round(no_harm(0.01, 0.005, stable, 1)[0], 6) for stable in (1e9, 19, 1)]
    [0.000958, 0.000929, 0.000614]
    """
    low, high = nearest(rate, rate, stable, canary, Line(1.0, margin)) if rate else (0.0, margin)
    ours, theirs = _log_ratio(rate, low), _log_ratio(rate, high)
    return stable * ours[0] + canary * theirs[0], stable * ours[1] + canary * theirs[1]


def _log_ratio(rate: float, other: float) -> Moments:
    """Mean and mean square per request of the log likelihood ratio of failing at `rate` against at `other`."""
    parts = [(p, math.log(p / q)) for p, q in ((rate, other), (1 - rate, 1 - other)) if p > 0]
    return sum(p * x for p, x in parts), sum(p * x * x for p, x in parts)


def _at_least_one(mean: float) -> float:
    """The mean of a Poisson count that is not 0."""
    return mean / -math.expm1(-mean) if mean > 0 else 1.0


def _reached(target: float, mean: float, variance: float, z: float) -> float:
    """After how many looks a walk is over `target` with the chance whose standard normal quantile is `z`.

    Solves mean * k - z * sqrt(variance * k) = target for k.
    """
    if mean <= 0:
        return math.inf
    spread = z * math.sqrt(variance)
    root = (spread + math.sqrt(spread * spread + 4 * mean * target)) / (2 * mean)
    return root * root


def _on_grid(looks: float, look: float) -> float:
    return look * max(1, math.ceil(looks - 1e-9)) if math.isfinite(looks) else math.inf


# Going back


@dataclass(frozen=True)
class Harm:
    """Moments per look of the evidence that a canary is worse than stable, and that it is above the floor."""

    relative: tuple[Moments, ...]
    absolute: tuple[Moments, ...]


def growth_of_harm(traffic: Traffic, rate: float, worse: float, rule: Check) -> Harm:
    """The growth where stable fails at `rate` and the canary is `worse` by so many points."""
    canary = min(1.0, rate + worse)
    return Harm(
        tuple(_block_bets(traffic, rate, canary, 1 + rule.worse_by)),
        tuple(_above(traffic.canary, canary, min(0.5, rule.floor))),
    )


def detectable(traffic: Traffic, rate: float, rule: Check, start: float, looks: int) -> float | None:
    """The smallest regression (points) that is likely found within so many looks, by bisection of its logarithm.

    `start` is the part of the evidence that is staked at the first of them. None: nothing is found.
    """

    def found(worse: float) -> bool:
        return _evidence(growth_of_harm(traffic, rate, worse, rule), looks, start, LIKELY) >= ENOUGH

    least, most = 1e-6, 1 - rate
    if most <= least or not found(most):
        return None
    for _ in range(20):
        middle = math.sqrt(least * most)
        least, most = (least, middle) if found(middle) else (middle, most)
    return most


def until_found(harm: Harm, start: float) -> float:
    """After how many looks half of such canaries are taken back; infinite where that takes more than 2^30.

    A canary that fails every request beside a stable version that fails none: each look that compares gives at most
    ln(1 / share), at 5 % with 1.5 times the odds 2.6 nats, so it takes three.

    >>> from rollout.core.strategy import ERRORS
    >>> until_found(growth_of_harm(Traffic(100.0, 0.05, 5.0), 0.0, 1.0, ERRORS), 0.4)
    3.0
    """
    most = next((2**n for n in range(31) if _evidence(harm, 2**n, start, 0.0) >= ENOUGH), None)
    if most is None:
        return math.inf
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if _evidence(harm, middle, start, 0.0) >= ENOUGH else (middle, most)
    return float(most)


def disaster(traffic: Traffic, rate: float) -> float:
    """After how many looks nobody waits for evidence that a canary harms which fails all of its requests.

    Infinite where stable's own `rate` is too high to tell them apart at a glance.
    """
    if rate > HEALTHY or traffic.canary * 1e9 < DISASTER_SEEN:
        return math.inf
    return max(2.0, math.ceil(DISASTER_SEEN / traffic.canary))


def _evidence(harm: Harm, looks: int, start: float, z: float) -> float:
    """The log e-value after so many looks, as it is at least with the chance of the normal quantile `z`."""
    grids = (
        [mean * looks - z * math.sqrt(max(0.0, variance) * looks) for mean, variance in grid]
        for grid in (harm.relative, harm.absolute)
    )
    return math.log(start) + min(map(log_mean, grids))


def _block_bets(traffic: Traffic, stable_rate: float, canary_rate: float, odds: float) -> Iterator[Moments]:
    """Moments of ln(1 + bet (part - share) / share) for each bet: `part` of a look's failures are the canary's.

    `share` is what a good canary has of them at most, odds * w / (odds * w + 1 - w) with w its part of the look's
    requests. So one look gives at most ln(1 / share).
    """
    looks = [
        (chance, part, fair_share(canary / (canary + stable), odds))
        for chance, part, stable, canary in _looks(traffic, stable_rate, canary_rate)
    ]
    for bet in BETS:
        logs = [(chance, math.log(1 + bet * (part - share) / share)) for chance, part, share in looks]
        mean = sum(chance * log for chance, log in logs)
        yield mean, sum(chance * log * log for chance, log in logs) - mean * mean


def _looks(traffic: Traffic, stable_rate: float, canary_rate: float) -> list[tuple[float, float, float, float]]:
    """Looks with a failure that compare both versions: chance, the canary's part of failures, and requests of both."""
    return [
        (one * other, theirs / (theirs + ours), stable, canary)
        for theirs, one, canary in _outcomes(traffic.canary, canary_rate)
        for ours, other, stable in _outcomes(traffic.stable, stable_rate)
        if theirs + ours and one * other > 1e-9
    ]


def _outcomes(requests: float, rate: float) -> Iterator[tuple[float, float, float]]:
    """Of a version's look with at least one request: failures, their chance, and the expected requests then.

    Few failures are enumerated; many are taken at three points with the right first five moments of a normal.
    """
    failing, passing = requests * rate, requests * (1 - rate)
    if failing > _MANY:
        reach = math.sqrt(3 * failing)
        for failures, chance in ((failing - reach, 1 / 6), (failing, 2 / 3), (failing + reach, 1 / 6)):
            yield failures, chance, failures + passing
        return
    chance = math.exp(-failing)
    if passing:
        yield 0.0, -math.expm1(-passing) * chance, _at_least_one(passing)
    for failures in range(1, math.ceil(failing + 6 * math.sqrt(failing)) + 5):
        chance *= failing / failures
        yield failures, chance, failures + passing


def _above(requests: float, rate: float, floor: float) -> Iterator[Moments]:
    """Moments of the log likelihood ratios of failing so many `TIMES` as `floor` against failing as often."""
    for times in TIMES:
        claimed = min(0.95, floor * times)
        failed, answered = math.log(claimed / floor), math.log((1 - claimed) / (1 - floor))
        mean = rate * failed + (1 - rate) * answered
        yield requests * mean, requests * (rate * failed**2 + (1 - rate) * answered**2)
