"""How much more hits scatter than independent requests would: retries, poison requests and bad nodes make clumps.

Measured on stable alone, from its past: in each look between the instances that report, whose common level (drift, an
outage) cancels; where only one reports, between neighbouring looks. Where there is too little of either nothing is
assumed: `factor` is None, and bets that need independence are not made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rollout.judge.bets import Tally

ENOUGH = 20
"""Looks with hits below which nothing is said."""
HEAVIEST, WILDEST = 30, 60.0
"""A look counts for at most so many hits, and scatters at most so much: the edges of an outage are not clumps."""


@dataclass(frozen=True)
class Scatter:
    """Sums over the looks so far: of weights, of their squares, and of weighted dispersions and their squares.

    `before` is the last look's tally, for a version whose hits one instance reports.
    """

    looks: int = 0
    weights: float = 0.0
    squares: float = 0.0
    first: float = 0.0
    second: float = 0.0
    before: tuple[int, int] = (0, 0)

    def seen(self, parts: Sequence[Tally]) -> "Scatter":
        """The sums after one more look, of which `parts` are the instances' tallies."""
        whole = Tally(sum(p.of for p in parts), sum(p.hits for p in parts))
        seen = [part for part in parts if part.of]
        if len(seen) < 2:
            seen = [part for part in (Tally(*self.before), whole) if part.of]
        after = replace(self, before=(whole.of, whole.hits))
        found = dispersion(seen)
        if found is None:
            return after
        hits, value = min(HEAVIEST, sum(part.hits for part in seen)), min(found, WILDEST)
        return replace(
            after,
            looks=self.looks + 1,
            weights=self.weights + hits,
            squares=self.squares + hits * hits,
            first=self.first + hits * value,
            second=self.second + hits * value * value,
        )

    @property
    def factor(self) -> float | None:
        """The dispersion, one standard error on the safe side, at least 1; None where too little was seen."""
        if self.looks < ENOUGH:
            return None
        mean = self.first / self.weights
        variance = max(0.0, self.second / self.weights - mean * mean)
        return max(1.0, mean + math.sqrt(variance * self.squares) / self.weights)


def dispersion(parts: Sequence[Tally]) -> float | None:
    """Pearson's chi-square of equal rates over its degrees of freedom: 1 on average where requests are independent.

    None where nothing can be told: fewer than two parts, no hit, or nothing but hits. (McCullagh and Nelder,
    Generalized Linear Models, section 4.5.)

    >>> round(dispersion([Tally(100, 6), Tally(100, 0)]), 2)
    6.19
    """
    requests, hits = sum(p.of for p in parts), sum(p.hits for p in parts)
    if len(parts) < 2 or not hits or hits == requests:
        return None
    rate = hits / requests
    squares = sum((p.hits - p.of * rate) ** 2 / (p.of * rate * (1 - rate)) for p in parts)
    return squares / (len(parts) - 1)
