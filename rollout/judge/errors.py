"""The `errors` check: an anytime-valid comparison of failed requests, look by look.

Going back needs evidence that survives looking as often as we like: a block bet per look (one look counts as one
observation, however its errors clump), mixed over bet sizes and over starting times, and at the same time an
absolute e-process against `floor`. Both are non-negative supermartingales started at 1 while the version is good,
so by Ville's inequality (1939) each exceeds 1/ALPHA in a whole rollout with a chance of at most ALPHA. Going on
needs the mirrored evidence against "the canary fails more by `margin`" (reverse information projection onto a
half plane, after Turner, Ly and Grünwald, arXiv 2106.02693), started afresh at every step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from rollout.core.attempt import Reading, Verdict
from rollout.core.quantities import share
from rollout.core.strategy import Errors
from rollout.judge.looks import Arm, Look

ALPHA = 0.01
"""The chance that a good version is rolled back in a whole rollout."""
BETA = 0.05
"""The chance that a step is passed by a version worse than its margin."""
BETS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.98)
TIMES_WORSE = (2.0, 5.0, 20.0, 100.0, 500.0)
STARTS, START_SHARE, DRIP = (0.4, 0.15, 0.15), 0.3, 2000
"""How the prior over starting times is spent: at the first looks of three steps, the rest drop by drop."""
MEMORY = 0.98
_LOWEST = -700.0


@dataclass(frozen=True)
class Evidence:
    """What the judge remembers: replaying the looks after `at` from here gives the same verdict as never stopping.

    `relative` and `absolute` are log e-values per grid point; `advance` those of this step; `reserve` the prior not
    yet spent. `stable`, `canary` count this step's requests, `unattributed` those where no host was chosen, and `given`
    those of the latter that were held against the canary.
    """

    at: float = 0.0
    digest: str = ""
    weight_since: float = 0.0
    steps: int = 0
    looks: int = 0
    looked_at: float = 0.0
    relative: tuple[float, ...] = (_LOWEST,) * len(BETS)
    absolute: tuple[float, ...] = (_LOWEST,) * len(TIMES_WORSE)
    advance: tuple[float, ...] = (0.0, 0.0, 0.0)
    reserve: float = 1.0
    breached: bool = False
    stable: Arm = Arm()
    canary: Arm = Arm()
    unattributed: Arm = Arm()
    given: int = 0
    together: Arm = Arm()
    memory: tuple[float, float] = (0.5, 100.0)


def judged(e: Evidence, look: Look, rule: Errors, margin: float, since: float | None, weight: Decimal) -> Evidence:
    """The evidence after one more look at a `weight` (percent), which stands since `since` (epoch seconds, or None).

    A look at or before the last one is ignored: none is judged twice. One that spans a change of weight is
    remembered in the chain and not counted. `margin` is the next step's.
    """
    blind = weight == 100
    if look.at <= e.at:
        return e
    e = replace(e, at=look.at, digest=look.digest(e.digest))
    if since is None:
        return e
    if since != e.weight_since:
        e = replace(
            e, weight_since=since, steps=e.steps + 1, looks=0, looked_at=0.0, advance=(0.0,) * 3, stable=Arm(),
            canary=Arm(), unattributed=Arm(), given=0,
        )  # fmt: skip
        if blind:  # nobody to compare with: what an earlier outage showed is no evidence against the canary now
            e = replace(e, absolute=(_LOWEST,) * len(TIMES_WORSE), reserve=1.0, steps=1)
    if look.since < since:
        return e
    e = replace(e, stable=e.stable + look.stable, canary=e.canary + look.canary)
    e = replace(e, unattributed=e.unattributed + look.unattributed)
    mine = missing(e, look.unattributed.failures, weight)
    e = replace(e, given=e.given + mine)
    others = look.unattributed.failures - mine
    s, c = look.stable + Arm(others, others), look.canary + Arm(mine, mine)
    if not c.requests:
        return e
    e = replace(_started(e), looks=e.looks + 1, looked_at=look.at)
    bound = max(rule.floor, e.together.rate * (1 + rule.worse_by)) if blind else rule.floor
    e = replace(e, absolute=_grown(e.absolute, _absolute(c, min(0.5, bound + (0.005 if blind else 0.0)))))
    if not blind and s.requests:
        e = replace(e, relative=_grown(e.relative, _relative(s, c, 1 + rule.worse_by)), together=e.together + s)
        e = replace(e, advance=_grown(e.advance, _no_harm(e, s, c, margin)), memory=_remembered(e, s))
    enough = math.log(1 / ALPHA)
    worse = enough if blind else _mean(e.relative, e.reserve)
    return replace(e, breached=e.breached or min(worse, _mean(e.absolute, e.reserve)) >= enough)


def missing(e: Evidence, lost: int, weight: Decimal) -> int:
    """How many of the `lost` requests of a look, which failed without reaching a version, are the canary's.

    Where the mesh finds no host (an empty subset, one that a proxy does not know, every host ejected), its counters
    carry no version. They are held against the canary only as far as it has, in this whole step, less than half of
    the requests that its weight would give it, and less by more than chance explains (four standard deviations).

    >>> ejected = Evidence(stable=Arm(950), canary=Arm(0), unattributed=Arm(50, 50))
    >>> unlucky = Evidence(stable=Arm(950), canary=Arm(30), unattributed=Arm(20, 20))
    >>> missing(ejected, 50, Decimal(5)), missing(unlucky, 20, Decimal(5))
    (5, 0)
    """
    half = float(weight) / 200 * (e.stable.requests + e.canary.requests + e.unattributed.failures)
    deficit = half - e.canary.requests - 4 * math.sqrt(half)
    return max(0, min(lost, math.floor(deficit) - e.given))


def read(e: Evidence, blind: bool, overdue: bool) -> Reading:
    """The verdict of the evidence; `overdue` says that the bake has lasted as long as it may."""
    if not (e.canary.requests or e.stable.requests):
        text = "no request seen yet"
    else:
        text = f"{_told(e.canary)}, nobody to compare with" if blind else f"{_told(e.canary)} against {_told(e.stable)}"
    if e.unattributed.requests:
        text += f"; {e.unattributed.requests} request(s) reached no version"
    no_worse = e.canary.requests > 0 and e.stable.requests > 0 and e.canary.rate <= e.stable.rate
    if e.breached:
        verdict = Verdict.ROLLBACK
    elif not e.looked_at:
        verdict = Verdict.NO_DATA
    elif blind:
        verdict = Verdict.BLIND
    elif _log_mean(e.advance) >= math.log(1 / BETA):
        verdict = Verdict.ADVANCE
    else:
        verdict = Verdict.INCONCLUSIVE if overdue else Verdict.CONTINUE
    if verdict is Verdict.INCONCLUSIVE and no_worse:
        text += f"; cannot exclude +{100 * not_excluded(e.canary):.1f} points"
    return Reading(verdict, text, e.looked_at, no_worse)


def not_excluded(canary: Arm) -> float:
    """The rise in the failure rate that so many requests cannot exclude, at BETA: the rule of three, generalised.

    >>> round(not_excluded(Arm(100, 0)), 3)
    0.03
    """
    return min(1.0, (math.log(1 / BETA) + 2 * canary.failures) / max(1, canary.requests))


def _told(arm: Arm) -> str:
    return f"{arm.failures} of {arm.requests} failed ({share(arm.rate)})" if arm.requests else "no requests"


def _started(e: Evidence) -> Evidence:
    """Spend a part of the prior over starting times on the look to come."""
    first = e.looks == 0 and e.steps <= len(STARTS)
    share = STARTS[e.steps - 1] if first and e.steps else START_SHARE / DRIP
    share = min(share, e.reserve)
    if not share:
        return e
    spend = math.log(share)
    return replace(
        e,
        reserve=e.reserve - share,
        relative=tuple(_log_add(m, spend) for m in e.relative),
        absolute=tuple(_log_add(m, spend) for m in e.absolute),
    )


def _relative(stable: Arm, canary: Arm, odds: float) -> tuple[float, ...]:
    """Log factors of the block bet: given all errors of a look, a good canary has at most `share` of them."""
    errors = stable.failures + canary.failures
    if not errors:
        return (0.0,) * len(BETS)
    weight = canary.requests / (canary.requests + stable.requests)
    share = odds * weight / (odds * weight + 1 - weight)
    return tuple(math.log(1 + bet * (canary.failures / errors - share) / share) for bet in BETS)


def _absolute(canary: Arm, bound: float) -> tuple[float, ...]:
    """Log likelihood ratios of failing `times` as often as `bound` against failing as often."""
    answered = canary.requests - canary.failures
    rates = (min(0.95, bound * times) for times in TIMES_WORSE)
    return tuple(
        canary.failures * math.log(rate / bound) + answered * math.log((1 - rate) / (1 - bound)) for rate in rates
    )


def _no_harm(e: Evidence, stable: Arm, canary: Arm, margin: float) -> tuple[float, ...]:
    """Log factors against "the canary fails at least `margin` more often", for three alternatives."""
    failed, seen = e.memory
    base = min(max(failed / seen, 1e-9), 0.9 - margin if margin < 0.8 else 0.1)
    factors = []
    for part in (0.0, 0.3, 0.6):
        alternative = base + part * margin
        low, high = nearest_harm(base, alternative, stable.requests, canary.requests, margin)
        factors.append(
            stable.failures * math.log(base / low)
            + (stable.requests - stable.failures) * math.log((1 - base) / (1 - low))
            + canary.failures * math.log(alternative / high)
            + (canary.requests - canary.failures) * math.log((1 - alternative) / (1 - high))
        )
    return tuple(factors)


def nearest_harm(base: float, alternative: float, n_stable: int, n_canary: int, margin: float) -> tuple[float, float]:
    """The pair of rates on the line canary = stable + margin that is nearest to (base, alternative).

    Nearest in Kullback-Leibler divergence weighted by requests, found by bisection (the derivative falls).
    """
    least, most = 1e-12, 1 - margin - 1e-12
    for _ in range(50):
        t = (least + most) / 2
        u = t + margin
        slope = n_canary * (alternative - u) / (u * (1 - u)) + n_stable * (base - t) / (t * (1 - t))
        least, most = (t, most) if slope > 0 else (least, t)
    return (least + most) / 2, (least + most) / 2 + margin


def _remembered(e: Evidence, stable: Arm) -> tuple[float, float]:
    failed, seen = e.memory
    return max(0.5, MEMORY * failed + stable.failures), MEMORY * seen + stable.requests


def _grown(logs: Sequence[float], factors: Sequence[float]) -> tuple[float, ...]:
    return tuple(max(_LOWEST, log + factor) for log, factor in zip(logs, factors, strict=True))


def _log_add(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high + math.log1p(math.exp(low - high))


def _log_mean(logs: Sequence[float]) -> float:
    high = max(logs)
    return high + math.log(sum(math.exp(log - high) for log in logs) / len(logs))


def _mean(logs: Sequence[float], reserve: float) -> float:
    return _log_add(_log_mean(logs), math.log(reserve) if reserve > 0 else _LOWEST)
