"""One kind of hit compared between the two versions: evidence that the canary has too many, and that it has not.

Evidence to go back is a mixture of bets, over effect sizes and over the looks at which harm may have begun (a sum of
Shiryaev and Roberts' kind, its prior spent look by look). Evidence to go on starts afresh at every step.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rollout.core.strategy import Check, Kind
from rollout.judge import bets
from rollout.judge.bets import Line, Logs, Tally, whole
from rollout.judge.logs import log_add, log_mean
from rollout.judge.looks import Arm
from rollout.judge.scatter import Scatter

LOWEST = -700.0
MOST = 0.95
"""The highest bound for a version that nobody can be compared with."""
MEMORY = 0.98
"""How much of stable's past counts at the next look, where its rate is foretold."""


@dataclass(frozen=True)
class Rule:
    """What a contest decides about: harm is more than `odds` times stable's odds and, for rare hits, above `floor`.

    Slow answers are not rare: for them harm is a rate beyond `line`. Before the next weight it must be shown that the
    canary stays below stable's rate times `bearable` plus `share` of the points that the budget allows there; events of
    pods, of which there are too few for that, only speak for going back (`gates` is false).
    """

    odds: float
    floor: float
    rare: bool
    bearable: float
    share: float
    gates: bool = True

    @property
    def line(self) -> Line:
        """The line beyond which slow answers are harm."""
        return Line(self.odds, self.floor)

    def harmful(self, stable: float, canary: float) -> bool:
        """Whether these rates, if they were known exactly, would be harm."""
        if self.rare:
            return canary > self.floor and canary * (1 - stable) > self.odds * stable * (1 - canary)
        return canary > self.line.at(stable)

    def limit(self, margin: float) -> Line:
        """The line that the canary must stay below to get more, where the budget allows `margin` points."""
        return Line(self.bearable, min(0.9, margin * self.share))


WARMING = Rule(10.0, 0.2, rare=True, bearable=1.0, share=1.0)
"""While pods of the canary are warming up, only this much counts."""


@functools.cache
def rule_of(check: Check) -> Rule:
    """The rule of a check. Errors may rise by the budget's points; rejections and slow answers hurt less."""
    odds = 1 + check.worse_by
    if check.kind is Kind.ERRORS:
        return Rule(odds, check.floor, rare=True, bearable=1.0, share=1.0)
    if check.kind is Kind.REJECTIONS:
        return Rule(odds, check.floor, rare=True, bearable=1 + check.worse_by / 2, share=2.0)
    if check.kind is Kind.RESTARTS:
        return Rule(odds, check.floor, rare=True, bearable=1.0, share=1.0, gates=False)
    return Rule(odds, check.floor, rare=False, bearable=1 + 2 * check.worse_by, share=1.0)


def tally(arm: Arm, kind: Kind, edge: float | None = None) -> Tally:
    """An arm's hits of a kind; for slow answers, those slower than `edge` milliseconds among the answers timed."""
    if kind is Kind.RESTARTS:
        return Tally(0, 0)  # pods have them, requests do not
    if kind is Kind.LATENCY:
        return Tally(*arm.slower(edge or math.inf))
    return Tally(arm.requests, arm.failures if kind is Kind.ERRORS else arm.rejections)


@dataclass(frozen=True)
class Contest:
    """Log e-values per grid point (`relative`, `block`, `absolute`, `advance`), and what is known of stable.

    `stable` and `canary` are this step's tallies, `together` all of stable's while it could be compared with last;
    `recent` is stable's discounted past, from which its rate is foretold.
    """

    relative: Logs
    block: Logs = (LOWEST,) * len(bets.BETS)
    absolute: Logs = (LOWEST,) * len(bets.TIMES)
    advance: Logs = (0.0,) * len(bets.PARTS)
    scatter: Scatter = Scatter()
    recent: tuple[float, float] = (100.0, 0.5)
    stable: tuple[int, int] = (0, 0)
    canary: tuple[int, int] = (0, 0)
    together: tuple[int, int] = (0, 0)

    @property
    def expected(self) -> float:
        """Stable's rate, from its past alone."""
        return self.recent[1] / self.recent[0]

    def remembering(self, parts: Mapping[str, Tally]) -> "Contest":
        """After a look at stable that counts for nothing but its own past; `parts` are the instances' tallies."""
        return replace(self, scatter=self.scatter.seen(parts), recent=_recent(self.recent, whole(parts.values())))

    def at_next_step(self, turned: bool, anew: bool) -> "Contest":
        """At a new weight: evidence to go on starts afresh.

        Where from now on nobody is left to compare with, or a doubt is to be compared, it has `turned`: so does that to
        go back. What is compared `anew` was another time's usual.
        """
        fresh = replace(self, advance=(0.0,) * len(bets.PARTS), stable=(0, 0), canary=(0, 0))
        if not turned:
            return fresh
        relative, block, absolute = ((LOWEST,) * len(logs) for logs in (self.relative, self.block, self.absolute))
        together = (0, 0) if anew else self.together
        return replace(fresh, relative=relative, block=block, absolute=absolute, together=together)

    def staking(self, share: float) -> "Contest":
        """After a part of the prior over beginnings was put on the look to come."""
        if not share:
            return self
        stake = math.log(share)
        relative, block, absolute = (
            tuple(log_add(log, stake) for log in logs) for logs in (self.relative, self.block, self.absolute)
        )
        return replace(self, relative=relative, block=block, absolute=absolute)

    def compared(self, rule: Rule, stable: Tally, canary: Tally, most: float, apart: bool) -> "Contest":
        """After a look with both versions.

        `most` (0 to 1): the largest weight that the canary may have had at a moment of the look, if it changed; 0 if it
        did not. `apart`: the two were not counted at the same moments.
        """
        rate = self._rate if not apart else 0.0
        if not rule.rare:
            if most:
                return self  # rates over a change of weight are averages of different moments
            block = _grown(self.block, bets.past_line(stable, canary, rule.line))
            if not rate:
                return replace(self, block=block)
            factors = bets.beyond(stable, canary, rule.line, self.expected)
            return replace(self, block=block, relative=_grown(self.relative, factors, rate))
        absolute = _grown(self.absolute, bets.absolute(canary, rule.floor), rate or 1.0)
        total = stable.hits + canary.hits
        if not total:
            return replace(self, absolute=absolute)
        hits = canary.hits, total, max(most, canary.of / (canary.of + stable.of)), rule.odds
        block, relative = _grown(self.block, bets.block(*hits)), _grown(self.relative, bets.conditional(*hits), rate)
        return replace(self, relative=relative, block=block, absolute=absolute)

    @property
    def _rate(self) -> float:
        """The learning rate of bets that need independent requests: 1 / dispersion; 0, no bet, where it is unknown."""
        known = self.scatter.factor
        return 1 / known if known else 0.0

    def approved(
        self, rule: Rule, parts: Mapping[str, Tally], stable: Tally, canary: Tally, margin: float
    ) -> "Contest":
        """After a look that counts for going on; `parts` are the instances' tallies of stable.

        Here a guess at the scatter is better than none. What the look tells of stable is used from the next one on; of
        its scatter only where the past told too little, for an outage while the canary is there is no clump.
        """
        factors = bets.short_of(stable, canary, rule.limit(margin), self.expected)
        return replace(
            self,
            scatter=self.scatter.seen(parts) if self.scatter.factor is None else self.scatter,
            recent=_recent(self.recent, whole(parts.values())),
            advance=_grown(self.advance, factors, 1 / self.scatter.guess),
            together=_sum(self.together, stable),
        )

    def happened(self, rule: Rule, stable: Tally, canary: Tally) -> "Contest":
        """After new events among the pods of both; one look is one observation, for one cause may end many pods."""
        factors = bets.block(canary.hits, canary.hits + stable.hits, canary.of / (canary.of + stable.of), rule.odds)
        return replace(
            self,
            stable=(stable.of, self.stable[1] + stable.hits),
            canary=(canary.of, self.canary[1] + canary.hits),
            block=_grown(self.block, factors),
        )

    def counted(self, stable: Tally, canary: Tally) -> "Contest":
        """After a look, as far as this step's numbers go."""
        return replace(self, stable=_sum(self.stable, stable), canary=_sum(self.canary, canary))

    def alone(self, rule: Rule, canary: Tally) -> "Contest":
        """After a look with nobody to compare with: against a bound from when there was somebody, and from before.

        The larger of both: a quick rollout sees one face of a service whose rate swings.
        """
        of, hits = self.together
        usual = max(hits / of if of else 0.0, self.expected)
        bound = (max(rule.floor, usual * rule.odds) if rule.rare else rule.line.at(usual)) + 0.005
        if bound > MOST:
            return self  # nearly all of stable's were hits: there is no more of them to find
        absolute = _grown(self.absolute, bets.absolute(canary, bound), self._rate)
        return replace(self, block=_grown(self.block, bets.bounded(canary, bound)), absolute=absolute)

    def harm(self, rule: Rule, reserve: float, blind: bool) -> float:
        """The log e-value against "no harm"."""
        absolute, block = _mean(self.absolute, reserve), _mean(self.block, reserve)
        if not rule.gates:
            return block
        if blind:
            return log_add(absolute, block) - math.log(2)
        relative = log_add(_mean(self.relative, reserve), block) - math.log(2)
        return min(relative, absolute) if rule.rare else relative

    @property
    def harmless(self) -> float:
        """The log e-value against "harm", for going on."""
        return log_mean(self.advance)


def contest(rule: Rule) -> Contest:
    """A contest in which nothing has been seen."""
    return Contest((LOWEST,) * len(bets.RATIOS if rule.rare else bets.STEPS))


def _recent(recent: tuple[float, float], seen: Tally) -> tuple[float, float]:
    if not seen.of:
        return recent
    return MEMORY * recent[0] + seen.of, max(0.5, MEMORY * recent[1] + seen.hits)


def _sum(one: tuple[int, int], other: Tally) -> tuple[int, int]:
    return one[0] + other.of, one[1] + other.hits


def _grown(logs: Logs, factors: Logs, rate: float = 1.0) -> Logs:
    return tuple(max(LOWEST, log + rate * factor) for log, factor in zip(logs, factors, strict=True))


@functools.lru_cache(maxsize=256)
def _mean(logs: Logs, reserve: float) -> float:
    """A grid's e-value, with what is not staked yet; it is asked again and again of evidence that did not grow."""
    return log_add(log_mean(logs), math.log(reserve) if reserve > 0 else LOWEST)
