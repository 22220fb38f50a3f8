"""Log factors of the judge's bets: what one look adds to each e-value. Pure, standard library.

A factor's expectation is at most 1 while its null hypothesis holds, whatever the past was; so a product over looks is
a non-negative supermartingale and exceeds 1/alpha with a chance of at most alpha, however often one looks (Ville 1939).
docs/judge.md has the proofs; tests/unit/test_bets.py enumerates every outcome.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

RATIOS = (1.15, 1.35, 1.6, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0)
"""How many times worse than allowed (in odds) the alternatives of `conditional` are."""
BETS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.98)
"""The part of the stake that `block` puts on the canary, per grid point."""
TIMES = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
"""How many times worse than the bound the alternatives of `absolute` are."""
STEPS = (0.01, 0.03, 0.06, 0.12, 0.25, 0.5)
"""How far beyond the line the alternatives of `beyond` are, as parts of what is left up to 1."""
PARTS = (0.0, 0.3, 0.6)
"""How far towards the line the alternatives of `short_of` are."""
_TINY = 1e-9

Logs = tuple[float, ...]


class Tally(NamedTuple):
    """How many there were, and how many of them were hits (failed, rejected, slow)."""

    of: int
    hits: int


def whole(parts: Iterable[tuple[int, int]]) -> Tally:
    """The sum of tallies.

    >>> whole([Tally(9, 1), Tally(5, 0)])
    Tally(of=14, hits=1)
    """
    of = hits = 0
    for more, among in parts:
        of, hits = of + more, hits + among
    return Tally(of, hits)


class Line(NamedTuple):
    """The line canary = ratio x stable + points between rates that are allowed and rates that are not."""

    ratio: float
    points: float

    def at(self, stable: float) -> float:
        """The canary's rate on the line, where stable has this one."""
        return self.ratio * stable + self.points


def fair_share(weight: float, odds: float) -> float:
    """The largest part of all hits that a canary with `weight` (0 to 1) of the requests may be expected to have.

    >>> fair_share(0.5, 1.0), round(fair_share(0.05, 1.5), 4)
    (0.5, 0.0732)
    """
    return odds * weight / (odds * weight + 1 - weight)


def conditional(hits: int, total: int, weight: float, odds: float) -> Logs:
    """Given all `total` hits of a look: the likelihood of the canary's part of them, per alternative in RATIOS.

    Null: the canary's odds of a hit are at most `odds` times stable's in every moment of the look, and requests are
    independent. The canary's hits are then smaller in convex order than Binomial(total, fair share) (Hoeffding 1963,
    theorem 4), and the factor is convex in them; no assumption on stable's level or drift.
    """
    even = odds * weight + 1 - weight
    return tuple(hits * math.log(r) + total * math.log(even / (odds * r * weight + 1 - weight)) for r in RATIOS)


def block(hits: int, total: int, weight: float, odds: float) -> Logs:
    """The same null, one look counted as one observation however its hits clump (a bet on a bounded mean).

    It needs only that the canary's expected part of the hits is at most its fair share, so hits may come in clumps of
    any size; and one look adds at most log(1 / fair share). After Waudby-Smith and Ramdas, arXiv 2010.09686.
    """
    share = fair_share(weight, odds)
    return tuple(math.log(1 + bet * (hits / total - share) / share) for bet in BETS)


def absolute(canary: Tally, bound: float) -> Logs:
    """Likelihood ratios of TIMES x `bound` against `bound`. Null: the canary's own rate is at most `bound`."""
    missed = canary.of - canary.hits
    return tuple(canary.hits * hit + missed * miss for hit, miss in _times(bound))


@functools.lru_cache(maxsize=256)
def _times(bound: float) -> Sequence[tuple[float, float]]:
    """What a hit and a miss each add to the log likelihood ratios of TIMES x `bound` against `bound`."""
    rates = (min(max(0.95, (1 + bound) / 2), bound * times) for times in TIMES)
    return [(math.log(q / bound), math.log((1 - q) / (1 - bound))) for q in rates]


def bounded(canary: Tally, bound: float) -> Logs:
    """The same null, one look counted as one observation however its hits clump: a bet on the look's own rate."""
    return tuple(math.log(1 + bet * (canary.hits / canary.of - bound) / bound) for bet in BETS)


def past_line(stable: Tally, canary: Tally, line: Line) -> Logs:
    """Evidence that the canary's rate lies above `line`, one look counted as one observation however its hits clump.

    Linear in both rates of the look, so its expectation is at most 1 wherever theirs lie on or below the line.
    """
    over, most = canary.hits / canary.of - line.at(stable.hits / stable.of), line.at(1.0)
    return tuple(math.log(1 + bet * over / most) for bet in BETS)


def beyond(stable: Tally, canary: Tally, line: Line, expected: float) -> Logs:
    """Evidence that the canary's rate lies above `line`, per alternative in STEPS; `expected` is stable's rate so far.

    Null: the half plane on and below the line. The factor is the likelihood ratio of the alternative against the point
    of the null that is nearest to it (reverse information projection; Turner, Ly, Gruenwald, arXiv 2106.02693).
    """
    base = _inside(expected, line)
    start = line.at(base)
    return tuple(_ratio(stable, canary, base, start + part * (1 - start), line) for part in STEPS)


def short_of(stable: Tally, canary: Tally, line: Line, expected: float) -> Logs:
    """Evidence that the canary's rate lies below `line`, per alternative in PARTS. Null: on and above the line."""
    base = _inside(expected, line)
    way = line.at(base) - base
    return tuple(_ratio(stable, canary, base, base + part * way, line) for part in PARTS)


def _inside(rate: float, line: Line) -> float:
    """The rate, moved so far in that the line above it is a probability."""
    return min(max(rate, _TINY), 0.98 * (1 - line.points) / line.ratio, 0.98)


def _ratio(stable: Tally, canary: Tally, base: float, alternative: float, line: Line) -> float:
    low, high = nearest(base, alternative, stable.of, canary.of, line)
    return (
        stable.hits * math.log(base / low)
        + (stable.of - stable.hits) * math.log((1 - base) / (1 - low))
        + canary.hits * math.log(alternative / high)
        + (canary.of - canary.hits) * math.log((1 - alternative) / (1 - high))
    )


def nearest(base: float, alternative: float, n_stable: float, n_canary: float, line: Line) -> tuple[float, float]:
    """The pair of rates on `line` that is nearest to (base, alternative).

    Nearest in Kullback-Leibler divergence weighted by requests, which is convex along the line. Its derivative is 0
    where a cubic is: Newton's method, kept inside a bracket.

    >>> [round(rate, 8) for rate in nearest(0.01, 0.05, 950, 50, Line(1.25, 0.005))]
    [0.01121154, 0.01901443]
    """
    ratio, points = line
    floor, ceiling = _TINY / 10, min(1.0, (1 - points) / ratio) * (1 - 1e-9)
    one, other = min(max(base, floor), ceiling), min(max((alternative - points) / ratio, floor), ceiling)
    least, most = (one, other) if one < other else (other, one)  # beyond either end, both divergences grow
    t = (n_stable * base + n_canary * (least + most - base)) / (n_stable + n_canary)
    t = min(max(t, least), most)
    pull = n_canary * ratio
    for _ in range(60):
        u = ratio * t + points
        ours, theirs = pull * (alternative - u), n_stable * (base - t)
        inner, outer = t * (1 - t), u * (1 - u)
        slope = ours * inner + theirs * outer
        if slope > 0:
            least = t
        else:
            most = t
        bend = ours * (1 - 2 * t) - pull * ratio * inner + theirs * ratio * (1 - 2 * u) - n_stable * outer
        following = t - slope / bend if bend else math.inf
        if abs(following - t) <= 1e-7 * t:
            # Each step doubles the digits; a bracket that it left by a rounding is no reason to go on.
            t = min(max(following, floor), ceiling)
            break
        t = following if least < following < most else (least + most) / 2
    return t, ratio * t + points
