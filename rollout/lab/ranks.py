"""The comparison of two series of points as Kayenta's NetflixACAJudge makes it, with its defects.

It is the two-sided Mann-Whitney test of a shift, asymptotic, corrected for ties and continuity; its confidence bounds
are roots of the test's statistic. Below five points a side the statistic cannot reach the quantile, and the bound
falls to the end of its range: complete separation then suffices, however likely it is by chance.
"""

import math
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from statistics import NormalDist, fmean

from rollout.lab.draws import dice


class Classified(StrEnum):
    """What the comparison says of a metric that must not increase."""

    PASS = "Pass"  # noqa: S105 - no password
    HIGH = "High"
    NO_DATA = "Nodata"


def classified(
    control: Sequence[float], experiment: Sequence[float], tolerance: float = 0.25, confidence: float = 0.98
) -> Classified:
    """High where the shift's lower bound exceeds `tolerance` times its estimate, and the mean has not fallen.

    >>> str(classified([0.01] * 5, [0.01] * 4))
    'Pass'
    """
    if not control or not experiment:
        return Classified.NO_DATA
    if sorted(control) == sorted(experiment) or len({*control, *experiment}) == 1:
        return Classified.PASS
    if len(set(control)) == 1 and len(set(experiment)) == 1:
        control, experiment = _noisy(control), _noisy(experiment)
    low, estimate, _ = shift(experiment, control, confidence)
    before, after = fmean(control), fmean(experiment)
    fallen = before > 0 and after > 0 and after < before
    return Classified.HIGH if low > tolerance * abs(estimate) and not fallen else Classified.PASS


def _noisy(points: Sequence[float]) -> list[float]:
    """Constant points, told apart by noise of a hundred-thousandth of their value."""
    rng = dice(len(points))
    return [point + rng.gauss(0.0, 1e-5 * abs(point)) for point in points]


def shift(xs: Sequence[float], ys: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """By how much `xs` lie above `ys`: the lower bound, the Hodges-Lehmann estimate, and the upper bound.

    >>> [round(bound, 3) for bound in shift([10, 20, 30, 40], [1, 2, 3, 4], 0.95)]
    [6, 22.5, 39]
    """
    lowest, highest, ordered = min(xs) - max(ys), max(xs) - min(ys), sorted(ys)
    quantile = NormalDist().inv_cdf((1 + confidence) / 2)

    def bound(at: float) -> float:
        if statistic(xs, ordered, lowest) <= at:
            return lowest
        if statistic(xs, ordered, highest) >= at:
            return highest
        return root(lambda by: statistic(xs, ordered, by) - at, lowest, highest)

    estimate = root(lambda by: statistic(xs, ordered, by), lowest, highest)
    return bound(quantile), estimate, bound(-quantile)


def statistic(xs: Sequence[float], ordered: Sequence[float], by: float) -> float:
    """The standardised Mann-Whitney statistic of `xs` less `by` against `ordered`.

    It is 0 where all points are one. Kayenta raises an error there, which only a single point a side can bring about.
    """
    moved, n, m = [x - by for x in xs], len(xs), len(ordered)
    above = sum(bisect_left(ordered, x) + bisect_right(ordered, x) for x in moved) / 2 - n * m / 2
    ties = sum(count**3 - count for count in Counter([*moved, *ordered]).values())
    variance = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
    if variance <= 0:
        return 0.0
    return (above - math.copysign(0.5, above) if above else 0.0) / math.sqrt(variance)


def root(f: Callable[[float], float], low: float, high: float, tolerance: float = 1e-4) -> float:
    """Where `f`, of different signs at both ends, crosses zero: Brent's method (1973), as R and Kayenta search.

    `best` is always the end of the bracket with the smaller value, `other` the one across the root.

    >>> round(root(lambda x: x * x - 2, 0, 2), 4)
    1.4142
    """
    last, best, f_last, f_best = low, high, f(low), f(high)
    if f_last == 0:
        return last
    other, f_other = last, f_last
    while f_best:
        moved = best - last
        if abs(f_other) < abs(f_best):
            last, best, other, f_last, f_best, f_other = best, other, best, f_best, f_other, f_best
        near, half = 2 * sys.float_info.epsilon * abs(best) + tolerance / 2, (other - best) / 2
        if abs(half) <= near:
            break
        step = half
        if abs(moved) >= near and abs(f_last) > abs(f_best):
            guess = _interpolated(last - best, other - best, f_best / f_last, f_best / f_other, f_last / f_other)
            within = 0 < guess / half < 1.5 - near / abs(2 * half)
            step = guess if within and abs(guess) < abs(moved / 2) else half
        last, f_last = best, f_best
        best += step if abs(step) > near else math.copysign(near, half)
        f_best = f(best)
        if (f_best > 0) == (f_other > 0):
            other, f_other = last, f_last
    return best


def _interpolated(last: float, other: float, s: float, r: float, q: float) -> float:
    """The step from the best point to the root of the parabola (or line) through all three.

    `last` and `other` are as seen from there; `s`, `r` and `q` are the values' ratios: best to last, best to other, and
    last to other.
    """
    if last == other:
        return other * s / (s - 1) if s != 1 else 0.0
    scale = (q - 1) * (r - 1) * (s - 1)
    return -s * (other * q * (q - r) + last * (r - 1)) / scale if scale else 0.0
