"""The probes of a step: asked for as long as it stands, counted, and compared at the end of each round.

The counts live here alone: whoever takes over after a crash begins to count anew.
"""

from dataclasses import dataclass, replace

from rollout.core.attempt import Attempt
from rollout.core.lifecycle import Phase
from rollout.core.probe import Outcome, Probe, Probed
from rollout.judge.bets import Tally
from rollout.judge.probes import bound, outcome
from rollout.ports import Answered, Errand, Probes


@dataclass
class _Side:
    """What one version answered: `seen` counts answers and misses, `unknown` the requests that tell nothing."""

    seen: Tally = Tally(0, 0)
    unknown: int = 0
    late: int = 0

    def add(self, missed: bool) -> None:
        self.seen = Tally(self.seen.of + 1, self.seen.hits + missed)


class Prober:
    """The probes of one service's engine."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._key = ""
        self._begin()

    def _begin(self) -> None:
        self._sides = {True: _Side(), False: _Side()}
        self._rounds, self._missed, self._why = 1, "", ""
        self._found = Probed(Outcome.OPEN, "no answer yet")

    def probed(self, a: Attempt) -> Probed | None:
        """What came of the probes of the step at which an attempt stands; None where it sends none now."""
        if a.probe is None or a.phase is not Phase.SHIFTING or not a.landed:
            return None
        if a.passed:
            return a.probed
        key = f"{a.id}/{a.step}/{a.landed}"
        if key != self._key:
            self._key = key
            self._begin()
        if self._found.outcome is Outcome.FAILED or self._enough(a):
            return self._found  # a breach seen is never forgotten
        wanted = a.probe.count * 2 ** (self._rounds - 1)
        most = {canary: wanted + side.unknown + side.late for canary, side in self._sides.items()}
        for one in self._probes.answers(Errand(key, a.probe, a.id, a.stable, a.canary), most[False], most[True]):
            self._count(a.probe, one)
        self._settle()
        if all(side.seen.of >= wanted for side in self._sides.values()):
            stable, canary = self._sides[False].seen, self._sides[True].seen
            found = outcome(stable, canary, self._rounds)
            self._found = Probed(found, "", bound(canary, self._rounds))
            self._rounds += 1
        self._found = replace(self._found, text=self._told(a))
        return self._found

    def _enough(self, a: Attempt) -> bool:
        """Whether nobody needs to ask any more: beside a new weight they go on until they prove it."""
        wanted = a.strategy.margin_at(a.weight) if a.strategy.rises(a.step) else 1.0
        return self._found.outcome is Outcome.PASSED and self._found.bound <= wanted

    def _count(self, probe: Probe, one: Answered) -> None:
        side = self._sides[one.canary]
        if one.late:
            side.late += 1
        elif one.silent or not one.marked:
            side.unknown += 1
            self._why = one.silent or "an answer that came by no route of ours"
        else:
            lacks = probe.expect.lacks(one.status, one.seconds, one.matched)
            side.add(bool(lacks))
            self._missed = lacks if lacks and one.canary else self._missed

    def _settle(self) -> None:
        """No answer in time is one of the canary's once stable has answered by the same way, and else nobody's."""
        if self._sides[False].seen.of:
            side = self._sides[True]
            for _ in range(side.late):
                side.add(missed=True)
            self._missed = "no answer in time" if side.late else self._missed
            side.late = 0

    def _told(self, a: Attempt) -> str:
        stable, canary = (self._sides[which].seen for which in (False, True))
        text = (
            f"{a.canary} answers {canary.of - canary.hits} of {canary.of} probes as expected, "
            f"{a.stable} {stable.of - stable.hits} of {stable.of}"
        )
        if self._missed:
            text += f" ({self._missed})"
        if unknown := sum(side.unknown + side.late for side in self._sides.values()):
            text += f"; {unknown} tell nothing ({self._why or 'no answer in time'})"
        return text
