"""The judge's eyes: fetch the looks that are due, and remember the evidence between them."""

import math
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from rollout.core.attempt import Attempt, Reading, Verdict
from rollout.core.decision import Observation
from rollout.core.errors import InvalidInput, Unreachable
from rollout.core.lifecycle import Phase
from rollout.core.strategy import Kind, Strategy
from rollout.engine.ahead import Ahead
from rollout.engine.past import (
    PODS,
    REPORTERS,
    UNKNOWN,
    Load,
    apart,
    edges_to_ask,
    looks_of,
    measured,
    pace,
    remembered,
    seen_by,
    whole_look,
)
from rollout.judge.attribution import Counts
from rollout.judge.bets import Tally
from rollout.judge.judge import OBEYED, Evidence, Terms, judged, read, restarted
from rollout.judge.looks import grid_time
from rollout.judge.telling import reading
from rollout.ports import Metrics, Target

_EVIDENCE = TypeAdapter(Evidence)
FORM = 2
"""Of the checkpoint: it changes with what the judge remembers."""
LONGEST = 60.0
"""Where nothing tells how often counters are read, they are no older than this (seconds)."""
MOST_LOOKS = 500
"""A replay goes back no further; what is older was judged, or nobody was there to judge it."""

AT_ONCE = 60
"""Looks of one question: hundreds of clients' counters at hundreds of moments are an answer that nobody waits for."""


class Eyes:
    """Readings of one attempt. What is kept here only saves work: the checkpoint and the store hold it all."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = Ahead(metrics)
        self._intervals: dict[str, float | None] = {}
        self._reporter = ""
        self._attempt = ""
        self._landed = self._every = 0.0
        self._evidence = self._recorded = Evidence()
        self.horizon = 0.0
        """Up to when the counters were there at the last look (epoch seconds)."""
        self.due = 0.0
        """When the next look can be there at the earliest (epoch seconds)."""

    def reading(self, seen: Observation, target: Target, until: float = math.inf) -> tuple[Reading | None, str]:
        """The verdict at the moment of the observation, or why there is none.

        No look is taken that ends after `until` (epoch seconds).
        """
        attempt = seen.attempt
        if not attempt.strategy.checks:
            return Reading(Verdict.ADVANCE, "nothing is compared", seen.now, True), ""
        if self._knows_less(attempt):
            self._attempt, self.due, self._every = attempt.id, 0.0, 0.0
            self._evidence = self._recorded = _restored(attempt.checkpoint)
        if attempt.landed != self._landed:
            self._landed, every = attempt.landed, min(self._every, self.interval)
            # Where the last question was answered, and this weight bakes, the next look can be there no sooner.
            waits = every and self.due > seen.now and attempt.strategy.steps[max(0, attempt.step)].bake.max
            self.due = min(self._first(attempt, every), seen.now) + every if waits else 0.0
        silence = ""
        try:
            # What stable does in Preflight is judged with the first look after it.
            if seen.now >= self.due and attempt.phase is not Phase.PREFLIGHT:
                self._look(seen, target, until)
        except Unreachable as error:
            silence, self.due = str(error), 0.0
        pods = Tally(*seen.stable_pods), Tally(*seen.canary_pods)
        if self._evidence.restarts != tuple(one.hits for one in pods):
            self._evidence = restarted(self._evidence, *pods, terms_of(attempt))
        found = reading_of(self._evidence, attempt, seen.now)
        if silence and found.verdict not in (Verdict.ROLLBACK, Verdict.DOUBT):
            return None, silence
        if self._reporter == PODS:
            found = replace(found, text=f"{found.text}; counted by the pods' own proxies, which see no refused request")
        if found.check == Kind.RESTARTS and seen.canary_starved:
            told = f"{seen.canary_starved} of {attempt.canary}'s containers were killed for memory last (OOMKilled)"
            found = replace(found, text=f"{found.text}; {told}")
        return found, ""

    def ask(self, attempt: Attempt, target: Target) -> Load | None:
        """Find out whether there is what the checks need, and what stable served in the last half hour.

        None: no request is known of, or nothing is checked. Raises `Unavailable` unless the metrics can be asked for,
        and `InvalidInput` where requests were counted and no answer was timed, which a latency check needs.
        """
        strategy = attempt.strategy
        if not strategy.checks:
            return None
        target, horizon = self._seen_by(target)
        if horizon is None:
            self._metrics.interval(target)  # says what keeps its counters from being found
            return None
        if any(step.mirror for step in strategy.steps) and self._seen_by(target, PODS)[1] is None:
            raise InvalidInput(
                f"nobody would see what is mirrored to {target.service}: its pods' own proxies count nothing "
                '(reporter="destination"); put them into the mesh, or leave the step `mirror` out',
                "strategy.steps",
            )
        return measured(self._metrics, target, strategy, horizon, self._pace(strategy, target))

    def reached(self, target: Target, since: float) -> bool | None:
        """Whether requests still come to the target's canary, by whoever counts them; None where nobody does.

        What was counted before `since` (epoch seconds) tells nothing: as long as there is nothing later, some may.
        """
        counted = False
        try:
            for reporter in REPORTERS:
                seen, horizon = self._seen_by(target, reporter)
                if horizon is None:
                    continue
                start = horizon - 2 * (self._intervals[reporter] or UNKNOWN)
                increments = whole_look(self._metrics, seen, start, horizon, ()).increments
                if start < since or any(one.canary.requests for one in increments):
                    return True
                counted = counted or bool(increments)
        except Unreachable:
            return None
        return False if counted else None

    @property
    def interval(self) -> float:
        """Seconds between two readings of the counters, as far as it is known."""
        return self._intervals.get(self._reporter) or UNKNOWN

    def counts(self, attempt: Attempt) -> Counts:
        """What was counted at the attempt's weight so far."""
        return self._evidence.counts if self._evidence.weight_since == attempt.landed else Counts()

    def remembered_by(self, attempt: Attempt) -> Attempt:
        """The attempt with the evidence as data, to be recorded; as it is where it says more than is known here."""
        if self._knows_less(attempt):
            return attempt
        self._recorded = self._evidence
        return replace(attempt, checkpoint={"form": FORM, **_EVIDENCE.dump_python(self._evidence, mode="json")})

    @property
    def news(self) -> bool:
        """Whether there is evidence that was not given to be recorded."""
        return self._evidence is not self._recorded

    def _knows_less(self, attempt: Attempt) -> bool:
        """Whether another process, or nobody yet, looked at the attempt last."""
        return self._attempt != attempt.id or self._evidence.at < float(attempt.checkpoint.get("at", 0))

    def _look(self, seen: Observation, target: Target, until: float) -> None:
        attempt, strategy = seen.attempt, seen.attempt.strategy
        target, horizon = self._seen_by(target)
        if horizon is None:
            self.due = seen.now + 1.0
            return
        interval = self._pace(strategy, target)
        if not self._evidence.at:
            past = remembered(self._metrics, target, strategy, attempt.started, max(interval, UNKNOWN))
            self._evidence = replace(past, restarts=self._evidence.restarts)
        lag = self._intervals[target.reporter] or LONGEST
        if attempt.mirror:
            target, horizon = self._seen_by(target, PODS)
            if horizon is None:
                self.due = seen.now + 1.0
                return
            interval = self._pace(strategy, target)
        warm = seen.canary_youngest + strategy.warm_up if seen.canary_youngest else 0.0
        terms = terms_of(attempt, lag, apart(target), warm)
        if not seen.repeating:  # somebody removed our route: what nobody sees was not sent
            terms = replace(terms, seen_by=math.inf)
        self.horizon = horizon
        self._every, anchor = interval, _anchor(attempt, interval)
        last = anchor + grid_time(min(horizon, until) - anchor, interval)
        start = max(self._first(attempt, interval), last - MOST_LOOKS * interval)
        following = max(last, start) + interval
        # That is by the store's clock; by ours no more than an interval passes until then. What is late is asked for
        # again and again, but not every second where counters are read each minute.
        self.due = min(max(following, seen.now + interval / 5), seen.now + interval)
        if last <= start:
            self._metrics.expect(following)
            return
        while start < last:
            stop, edges = min(start + AT_ONCE * interval, last), edges_to_ask(strategy, self._evidence)
            for look in looks_of(self._metrics, target, (start, stop, interval), edges):
                self._evidence = judged(self._evidence, look, terms)
            start = stop
        self._metrics.expect(following)

    def _first(self, attempt: Attempt, interval: float) -> float:
        """Where the first look begins that was not taken yet."""
        anchor = _anchor(attempt, interval)
        return anchor - grid_time(anchor - max(self._evidence.at, attempt.started), interval)

    def _seen_by(self, target: Target, reporter: str = "") -> tuple[Target, float | None]:
        """The target as `reporter` sees it, or else those who reported first; and up to when."""
        target, horizon = seen_by(self._metrics, target, reporter or self._reporter)
        if horizon is not None:
            self._reporter = self._reporter or target.reporter
            if target.reporter not in self._intervals:
                self._intervals[target.reporter] = self._metrics.interval(target)
        return target, horizon

    def _pace(self, strategy: Strategy, target: Target) -> float:
        """Seconds between two looks at the target as it was seen."""
        return pace(strategy, self._intervals[target.reporter] or UNKNOWN, target)


def _restored(checkpoint: dict[str, Any]) -> Evidence:
    """The evidence of a checkpoint; of one in another version's form, none: the looks to come count afresh."""
    if checkpoint.get("form", FORM) != FORM:
        return Evidence()
    return _EVIDENCE.validate_python({key: value for key, value in checkpoint.items() if key != "form"})


def _anchor(attempt: Attempt, interval: float) -> float:
    """Where the grid of looks lies: it begins anew where a weight came to stand, so that a look ends with its bake.

    At whole seconds, so that many rollouts look at the same moments, and ask for them together.
    """
    return math.ceil(attempt.landed) % interval


def terms_of(attempt: Attempt, lag: float = 0.0, apart: bool = False, warm_until: float = 0.0) -> Terms:
    """Under which circumstances the looks of an attempt are judged now; see `Terms`."""
    strategy = attempt.strategy
    deaf = attempt.phase is Phase.PREFLIGHT or (attempt.at is not None and attempt.at.fault is not None)
    since = attempt.landed if attempt.landed and not deaf else None
    terms = Terms(
        strategy.checks, attempt.weight, since, strategy.margin_at(attempt.weight), lag, apart, warm_until,
        strategy.warm_up, routed=attempt.routed, probed=attempt.probe is not None,
        deaf_until=attempt.drilled + OBEYED if attempt.drilled else 0.0,
    )  # fmt: skip
    if not (attempt.at and attempt.mirror):
        return terms
    repeated = attempt.mirror.percent / 100
    weight = round(100 * repeated / (1 + repeated), 4)
    return replace(terms, weight=weight, mirrored=True, seen_by=attempt.landed + attempt.at.bake.min)


def reading_of(e: Evidence, attempt: Attempt, now: float) -> Reading:
    """What the evidence says of the attempt as it stands now."""
    limit = attempt.strategy.steps[max(0, attempt.step)].bake.max
    overdue = bool(attempt.landed) and now - attempt.landed >= limit
    found = reading(e, read(e, attempt.strategy.checks, overdue), (attempt.stable, attempt.canary))
    if e.weight_since != attempt.landed and found.verdict is not Verdict.ROLLBACK:
        return Reading(Verdict.NO_DATA, "no look at this weight yet", hurt=e.hurt)
    return found
