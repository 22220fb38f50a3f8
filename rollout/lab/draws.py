"""Draws that the standard library lacks: Poisson counts, exactly, and counts that come in clumps."""

import math
import random
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

_TABLED = 200.0
"""Up to this mean a count is looked up in a table of its distribution; above, it is drawn by rejection."""
_FEW = 64


def dice(seed: int) -> random.Random:
    """The source of all chance in one virtual rollout."""
    return random.Random(seed)  # noqa: S311 - dice, not secrets


def poisson(rng: random.Random, mean: float) -> int:
    """A Poisson count: by exact inversion for ordinary means, by transformed rejection for large ones.

    >>> poisson(dice(1), 0.0)
    0
    """
    if mean <= 0:
        return 0
    if mean > _TABLED:
        return _rejected(rng, mean)
    lowest, at_most = _table(mean)
    return lowest + bisect_right(at_most, rng.random())


def clumped(rng: random.Random, mean: float, size: float) -> int:
    """A count of things that come in clumps of geometric size, `size` on average; `mean` is that of the count.

    Its variance is 2 * size - 1 times its mean. With `size` 1 it is a Poisson count.
    """
    if size <= 1:
        return poisson(rng, mean)
    clumps = poisson(rng, mean / size)
    if clumps > _FEW:  # the sizes' sum beyond one each is negative binomial: Poisson with a mean drawn from a gamma
        return clumps + poisson(rng, rng.gammavariate(clumps, size - 1))
    ends = math.log1p(-1 / size)
    return clumps + sum(int(math.log(1 - rng.random()) / ends) for _ in range(clumps))


@lru_cache(maxsize=4096)
def _table(mean: float) -> tuple[int, tuple[float, ...]]:
    """The least count worth naming, and the chances of at most that, of at most one more, and so on."""
    spread = 9 * math.sqrt(mean) + 9
    lowest, highest = max(0, int(mean - spread)), int(mean + spread) + 1
    first = math.exp(lowest * math.log(mean) - mean - math.lgamma(lowest + 1))
    chances = accumulate(range(lowest + 1, highest), lambda chance, count: chance * mean / count, initial=first)
    return lowest, (*(min(1.0, chance) for chance in accumulate(chances)), 1.0)


@lru_cache(maxsize=256)
def _hat(mean: float) -> tuple[float, float, float, float]:
    """The constants of the rejection method PTRS (Hörmann, Insurance: Mathematics and Economics 12, 1993)."""
    b = 0.931 + 2.53 * math.sqrt(mean)
    return -0.059 + 0.02483 * b, b, 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)


def _rejected(rng: random.Random, mean: float) -> int:
    a, b, scale, safe = _hat(mean)
    while True:
        u, v = rng.random() - 0.5, 1 - rng.random()
        us = 0.5 - abs(u)
        if us <= 0:
            continue
        count = math.floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= safe:
            return count
        if count < 0 or (us < 0.013 and v > us):
            continue
        if math.log(v * scale / (a / (us * us) + b)) <= count * math.log(mean) - mean - math.lgamma(count + 1):
            return count
