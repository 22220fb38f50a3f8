"""One rollout of ours in virtual time: the engine's own decision and judge, with traffic whose truth we set."""

import math
from dataclasses import replace
from decimal import Decimal

from rollout.core.attempt import Attempt, Verdict
from rollout.core.decision import Observation, RouteState, decide
from rollout.core.lifecycle import Phase, Reason
from rollout.core.strategy import Strategy
from rollout.engine.looking import reading_of, terms_of
from rollout.engine.past import HISTORY, UNKNOWN
from rollout.judge.judge import Evidence, Terms, edges_of, judged, latency_of, resting
from rollout.judge.looks import altogether
from rollout.lab.peers import SERVED, Outcome
from rollout.lab.traffic import Traffic, Truth

ORIGIN = 1e6
"""When the first step is, in seconds since the epoch: the engine takes a time of 0 for none."""
PODS = 4
SOON = 0.5
"""Seconds from a write to the engine's next observation, which finds it landed."""


class Trial:
    """Ours against one truth, with looks every `look` seconds or as often as counters are read, if that is rarer.

    `across` (seconds, probability): an outage that begins when the second weight is set.
    """

    def __init__(
        self, truth: Truth, seed: int, strategy: Strategy, look: float, across: tuple[float, float] | None = None
    ) -> None:
        strategy = strategy.shifting  # users know nothing of what comes before them
        self._traffic = Traffic(truth, seed, start=-HISTORY, timed=latency_of(strategy.checks) is not None)
        self._look, self._across = max(look, truth.scrape), across
        self._weight, self._reached = Decimal(0), 0.0
        self._attempt = Attempt(
            1, "reviews", "shop", "v1", "v2", strategy, (), ORIGIN, ORIGIN + strategy.limit,
            phase=Phase.SHIFTING, since=ORIGIN, landed=ORIGIN, prepared=1.0, capacity=PODS,
        )  # fmt: skip
        self._evidence = self._remembered()
        self.unproven = False

    def outcome(self) -> Outcome:
        """Let it run to its end; promoted, let it serve for an hour.

        Its `seconds` last until all traffic was the canary's, or stable's again.
        """
        while not self._over:
            self._tick()
            if not self._over:
                self._judge(terms_of(self._attempt, self._traffic.truth.scrape), self._look)
        if self._attempt.phase is Phase.PROMOTED:
            self._traffic.counts(SERVED, 100)
            return Outcome(False, True, self._reached, self._traffic.excess)
        breach = self._attempt.reason is Reason.BREACH
        self.unproven = self.unproven or not breach
        return Outcome(breach, False, self._traffic.at, self._traffic.excess)

    @property
    def _over(self) -> bool:
        return self._attempt.phase in (Phase.PROMOTED, Phase.ROLLING_BACK)

    def _remembered(self) -> Evidence:
        """Stable's past, as the engine reads it before the first step."""
        step, checks = max(self._look, UNKNOWN), self._attempt.strategy.checks
        looks = [self._traffic.advance(step, 0) for _ in range(round(HISTORY / step))]
        answers = altogether(look.stable for look in looks).answers
        return resting(Evidence(at=-math.inf, edges=edges_of(checks, answers)), looks, checks)

    def _judge(self, terms: Terms, seconds: float) -> None:
        look = self._traffic.advance(seconds, self._weight)
        since, at = ORIGIN + look.since, ORIGIN + look.at
        self._evidence = judged(self._evidence, replace(look, since=since, at=at), terms)

    def _tick(self) -> None:
        """Ask for decisions until one waits for the next look."""
        now, after = ORIGIN + self._traffic.at, 0.0
        while after < SOON * 2 and not self._over:
            reading = reading_of(self._evidence, self._attempt, now)
            route = RouteState("route", self._weight, (self._weight,))
            decision = decide(Observation(now, self._attempt, (route,), PODS, PODS, True, True, reading=reading))
            self._attempt, after = decision.attempt, decision.after
            if decision.seal:
                self._attempt = replace(self._attempt, phase=Phase.PROMOTED)
            elif decision.weight is not None and decision.weight != self._weight:
                self._shift(decision.weight, proven=reading.verdict is Verdict.ADVANCE or not self._weight)
                after = SOON
            now += 1e-3

    def _shift(self, weight: Decimal, proven: bool) -> None:
        self._weight = weight
        self.unproven = self.unproven or (not proven and weight > 0)
        if weight == 100:
            self._reached = self._traffic.at
        steps = self._attempt.strategy.steps
        if self._across and len(steps) > 1 and weight == steps[1].weight:
            self._traffic.outage(*self._across)
