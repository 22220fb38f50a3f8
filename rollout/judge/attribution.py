"""What was counted while one weight stands, and whose the requests are that reached no version."""

import math
from dataclasses import dataclass, replace

from rollout.judge.looks import Arm, Look


@dataclass(frozen=True)
class Counts:
    """Sums over the looks at one weight.

    `routed` are all requests and the canary's, since the proxies obey the weight; `given` and `owed` the unattributed
    ones that were held against the canary when it was about going back, and going on; `skipped` the readings of proxies
    that were new or had restarted.
    """

    stable: Arm = Arm()
    canary: Arm = Arm()
    unattributed: Arm = Arm()
    routed: tuple[int, int] = (0, 0)
    given: int = 0
    owed: int = 0
    skipped: int = 0

    def missing(self, weight: float, part: float, deviations: float) -> int:
        """How many requests the canary lacks to `part` of what its `weight` (0 to 1) would give it.

        Beyond what chance explains, so many standard deviations. Where the mesh finds no host (an empty subset, one
        that a proxy does not know, every host ejected), its counters carry no version; such requests are held against
        the canary as far as it lacks them.

        >>> [Counts(routed=(1000, seen)).missing(0.05, 0.5, 4.0) for seen in (0, 30)]
        [5, 0]
        """
        total, seen = self.routed
        wanted = part * weight * total
        return max(0, math.floor(wanted - seen - deviations * math.sqrt(wanted)))


@dataclass(frozen=True)
class Sides:
    """A look's arms: what is compared for going back, and what counts for going on."""

    stable: Arm
    canary: Arm
    stable_alone: Arm
    canary_at_worst: Arm


def attributed(counts: Counts, look: Look, weight: float, obeyed: bool) -> tuple[Counts, Sides]:
    """The sums after a look, and its arms with those of its lost requests that are theirs.

    For going back the lost are the canary's where it lacks more than half of its requests, beyond doubt, and otherwise
    stable's; for going on they are the canary's wherever it lacks them, and stable gets none. Until the proxies have
    `obeyed` the `weight` (0 to 1) nobody can tell.
    """
    stable, canary, lost = look.stable, look.canary, look.unattributed
    c = replace(
        counts,
        stable=counts.stable + stable.untimed,
        canary=counts.canary + canary.untimed,
        unattributed=counts.unattributed + lost.untimed,
        skipped=counts.skipped + len(look.skipped),
    )
    as_counted = Sides(stable, canary, stable, canary)
    if not obeyed:
        return c, as_counted
    requests = stable.requests + canary.requests + lost.failures
    c = replace(c, routed=(c.routed[0] + requests, c.routed[1] + canary.requests))
    if not lost.failures:
        return c, as_counted
    mine = min(lost.failures, max(0, c.missing(weight, 0.5, 4.0) - c.given))
    owed = min(lost.failures, max(0, c.missing(weight, 1.0, 2.0) - c.owed))
    others = lost.failures - mine
    sides = Sides(stable + Arm(others, others), canary + Arm(mine, mine), stable, canary + Arm(owed, owed))
    return replace(c, given=c.given + mine, owed=c.owed + owed), sides
