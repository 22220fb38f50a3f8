"""Answers to probes, compared: the canary's with stable's to the same requests, round by round.

Each round may end it, so each spends a part of what it may err by: 1/2, 1/6, 1/12 … of it, one in all. It doubles what
was asked, so that there are few.
"""

import math

from rollout.core.probe import Outcome
from rollout.judge.bets import Tally

LUCK = 0.005
"""The chance that a canary that answers probes as stable does is taken back for them, however many rounds there are."""
TOLERATED = 0.05
"""The share of a canary's probes that may miss more than stable's do: the first answers of fresh pods are late."""
POOR = 0.1
"""Where stable misses more than this share the probes tell nothing, unless the canary misses none."""
BETA = 0.05
"""The chance that a canary misses more often than `bound` says, however many rounds there are."""


def chance(stable: Tally, canary: Tally) -> float:
    """The chance that the canary has so many of all the misses, or more, if both miss alike (Fisher's exact test).

    >>> round(chance(Tally(20, 0), Tally(20, 6)), 4), chance(Tally(20, 3), Tally(20, 0))
    (0.0101, 1.0)
    """
    misses, total = stable.hits + canary.hits, stable.of + canary.of
    ways = math.comb(total, misses)
    worse = range(canary.hits, min(misses, canary.of) + 1)
    return sum(math.comb(canary.of, k) * math.comb(stable.of, misses - k) for k in worse) / ways


def _spent(rounds: int) -> float:
    return 1 / (rounds * (rounds + 1))


def outcome(stable: Tally, canary: Tally, rounds: int) -> Outcome:
    """What both versions' misses amount to at the end of a round (they count from 1).

    >>> [str(outcome(Tally(20, 0), Tally(20, misses), 1)) for misses in (0, 1, 4, 9)]
    ['passed', 'passed', 'open', 'failed']
    >>> [str(outcome(Tally(20, 20), Tally(20, misses), 1)) for misses in (0, 20)]
    ['passed', 'open']
    """
    if chance(stable, canary) <= LUCK * _spent(rounds):
        return Outcome.FAILED
    if not canary.hits:
        return Outcome.PASSED
    alike = canary.hits / canary.of <= stable.hits / stable.of + TOLERATED
    return Outcome.PASSED if alike and stable.hits <= POOR * stable.of else Outcome.OPEN


def bound(canary: Tally, rounds: int) -> float:
    """The rate of misses that so many answers cannot exclude at the end of a round: the rule of three, generalised.

    >>> round(bound(Tally(200, 0), 1), 4)
    0.0184
    """
    return min(1.0, (-math.log(BETA * _spent(rounds)) + 2 * canary.hits) / max(1, canary.of))
