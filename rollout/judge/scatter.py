"""How much more hits scatter than independent requests would: retries, poison requests and bad nodes make clumps.

Measured on stable alone, from its past: in each look between the instances that report, each against its own usual
rate, so that their common level (drift, an outage) cancels and clients that differ for good are no clumps; where only
one reports, between neighbouring looks. Where there is too little of either nothing is
assumed: `factor` is None, and bets that need independence are not made.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rollout.judge.bets import Tally, whole

ENOUGH = 20
"""Looks with hits below which nothing is said."""
GROUPS = 8
"""In so many groups are the instances that report."""
LEARNING, PRIOR = 5, 10
"""Looks with hits from which only the groups' usual rates are learned, and hits that everybody's rate is worth."""
HEAVIEST, WILDEST = 30, 60.0
"""A look counts for at most so many hits, and scatters at most so much: the edges of an outage are not clumps."""


@dataclass(frozen=True)
class Scatter:
    """Sums over the looks so far: of weights, of their squares, and of weighted dispersions and their squares.

    `groups` are the tallies so far of the groups of instances, whose rates may differ for good; `before` is the last
    look's tally, for a version whose hits one group reports.
    """

    looks: int = -LEARNING
    weights: float = 0.0
    squares: float = 0.0
    first: float = 0.0
    second: float = 0.0
    groups: tuple[tuple[int, int], ...] = ()
    before: tuple[int, int] = (0, 0)

    def seen(self, parts: Mapping[str, Tally]) -> "Scatter":
        """The sums after one more look, of which `parts` are the instances' tallies by name."""
        grouped = _grouped(parts)
        past = self.groups or ((0, 0),) * GROUPS
        now, everybody = whole(grouped), whole(past)
        known = [(part, _rate(one, everybody)) for part, one in zip(grouped, past, strict=True) if part.of]
        if len(known) < 2:
            known = [(part, 1.0) for part in (Tally(*self.before), now) if part.of]
        found = dispersion(known)
        after = replace(
            self,
            looks=self.looks + (found is not None),
            groups=tuple((of + p.of, hits + p.hits) for (of, hits), p in zip(past, grouped, strict=True)),
            before=(now.of, now.hits),
        )
        if found is None or self.looks < 0:
            return after
        hits, value = min(HEAVIEST, sum(part.hits for part, _ in known)), min(found, WILDEST)
        return replace(
            after,
            weights=self.weights + hits,
            squares=self.squares + hits * hits,
            first=self.first + hits * value,
            second=self.second + hits * value * value,
        )

    @property
    def guess(self) -> float:
        """The dispersion as far as it is known, one standard error on the safe side, at least 1."""
        if self.looks <= 0:
            return 1.0
        mean = self.first / self.weights
        variance = max(0.0, self.second / self.weights - mean * mean)
        return max(1.0, mean + math.sqrt(variance * self.squares) / self.weights)

    @property
    def factor(self) -> float | None:
        """The dispersion, or None where too little was seen to rely on it."""
        return self.guess if self.looks >= ENOUGH else None


def dispersion(parts: Sequence[tuple[Tally, float]]) -> float | None:
    """Pearson's chi-square over its degrees of freedom: 1 on average where requests are independent.

    Each part comes with its usual rate, in any unit: only their relation counts, for a common level (drift, an outage)
    is no scatter. None where nothing can be told: fewer than two parts, no hit, or nothing but hits. (McCullagh and
    Nelder, Generalized Linear Models, section 4.5.)

    >>> round(dispersion([(Tally(100, 6), 1.0), (Tally(100, 0), 1.0)]), 2), dispersion([(Tally(9, 9), 1.0)])
    (6.19, None)
    """
    requests, hits = whole(part for part, _ in parts)
    if len(parts) < 2 or not hits or hits == requests:
        return None
    level = hits / sum(p.of * rate for p, rate in parts)
    expected = [p.of * rate * level for p, rate in parts]
    squares = sum(
        (p.hits - mean) ** 2 / (mean * max(0.05, 1 - mean / p.of)) for (p, _), mean in zip(parts, expected, strict=True)
    )
    return squares / (len(parts) - 1)


def _grouped(parts: Mapping[str, Tally]) -> list[Tally]:
    """The instances' tallies in GROUPS groups by their names: what is kept does not grow with them."""
    sums = [Tally(0, 0)] * GROUPS
    for name, part in parts.items():
        group = zlib.crc32(name.encode()) % GROUPS
        sums[group] = Tally(sums[group].of + part.of, sums[group].hits + part.hits)
    return sums


def _rate(one: tuple[int, int], everybody: Tally) -> float:
    """A group's usual rate, drawn towards everybody's as if PRIOR more hits had been seen at that."""
    usual = (everybody.hits + 1) / (everybody.of + 1)
    return (one[1] + PRIOR) / (one[0] + PRIOR / usual)
