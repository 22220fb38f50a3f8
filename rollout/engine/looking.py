"""The judge's eyes: fetch the looks that are due, and remember the evidence between them."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from rollout.core.attempt import Attempt, Reading, Verdict
from rollout.core.decision import Observation
from rollout.core.errors import InvalidInput, Unreachable
from rollout.core.lifecycle import Phase
from rollout.core.strategy import Check, Kind, Strategy
from rollout.judge.bets import Tally
from rollout.judge.judge import Evidence, Terms, edges_of, judged, restarted
from rollout.judge.looks import Arm, Look, grid_time, pairwise_looks
from rollout.judge.telling import reading
from rollout.ports import Metrics, Target

_EVIDENCE = TypeAdapter(Evidence)
UNKNOWN = 15.0
"""Where nothing tells how often counters are read: the scrape interval most often found, in seconds."""
MOST_LOOKS = 500
"""A replay goes back no further; what is older was judged, or nobody was there to judge it."""
HISTORY = 1800.0
"""Seconds of stable's past that are read before the first step."""
WARM_UP = 30.0
"""Seconds that a fresh pod of the canary gets before its answers count in full."""
REPORTERS = ("source", "destination")
Times = tuple[float, float, float]
"""The first and the last moment of a stretch (epoch seconds, on the grid), and seconds from one to the next."""
_NOTHING = Decimal(0)


class Eyes:
    """Readings of one attempt. What is kept here only saves work: the checkpoint and the store hold it all."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._interval: float | None = None
        self._reporter = ""
        self._attempt = ""
        self._evidence = Evidence()

    def reading(self, seen: Observation, target: Target) -> tuple[Reading | None, str, dict[str, Any]]:
        """The verdict at the moment of the observation, why there is none, and the checkpoint to keep."""
        attempt = seen.attempt
        if not attempt.strategy.checks:
            return Reading(Verdict.ADVANCE, "no check", seen.now, True), "", {}
        if self._attempt != attempt.id or self._evidence.at < float(attempt.checkpoint.get("at", 0)):
            self._attempt = attempt.id
            self._evidence = _EVIDENCE.validate_python(attempt.checkpoint or {})
        silence = ""
        try:
            self._look(seen, target)
        except Unreachable as error:
            silence = str(error)
        pods = Tally(*seen.stable_pods), Tally(*seen.canary_pods)
        self._evidence = restarted(self._evidence, *pods, terms_of(attempt))
        found = reading_of(self._evidence, attempt, seen.now)
        if silence and found.verdict is not Verdict.ROLLBACK:
            return None, silence, self.checkpoint()
        if self._reporter == "destination":
            found = replace(found, text=f"{found.text}; counted by the pods' own proxies, which see no refused request")
        return found, "", self.checkpoint()

    def ask(self, attempt: Attempt, target: Target) -> None:
        """Find out how often counters are read, and whether there is what the checks need.

        Raises `Unavailable` unless the metrics can be asked for, and `InvalidInput` where requests were counted and no
        answer was timed, which a latency check needs.
        """
        checks = attempt.strategy.checks
        if not checks:
            return
        self._metrics.interval(target)
        target, horizon = self._seen_by(target)
        if latency_of(attempt.strategy) is None or horizon is None:
            return
        seen = _past(self._metrics, target, horizon - HISTORY, horizon)
        if seen.requests and not seen.answers:
            raise InvalidInput(
                f"{target.service}: requests are counted but no answer is timed "
                "(istio_request_duration_milliseconds_bucket is missing); keep that histogram, or leave the check "
                "`latency` out of the strategy"
            )

    def checkpoint(self) -> dict[str, Any]:
        """The evidence as data."""
        kept: dict[str, Any] = _EVIDENCE.dump_python(self._evidence, mode="json")
        return kept

    def _look(self, seen: Observation, target: Target) -> None:
        attempt, youngest = seen.attempt, seen.canary_youngest
        target, horizon = self._seen_by(target)
        if horizon is None:
            return
        apart = target.reporter == "destination"
        often = self._interval or UNKNOWN
        interval = pace(attempt.strategy, often, apart)
        terms = terms_of(attempt, often, apart, youngest + WARM_UP if youngest else 0.0)
        if not self._evidence.at:
            self._evidence = remembered(
                self._metrics, target, attempt.strategy, attempt.started, max(interval, UNKNOWN)
            )
        last = grid_time(horizon, interval)
        start = max(-grid_time(-max(self._evidence.at, attempt.started), interval), last - MOST_LOOKS * interval)
        if last <= start:
            return
        edges = edges_to_ask(attempt.strategy, self._evidence)
        for look in looks_of(self._metrics, target, (start, last, interval), edges):
            self._evidence = judged(self._evidence, look, terms)

    def _seen_by(self, target: Target) -> tuple[Target, float | None]:
        """The target as the clients' proxies see it, or else as its pods' own do; and up to when."""
        for reporter in (self._reporter,) if self._reporter else REPORTERS:
            asked = replace(target, reporter=reporter)
            horizon = self._metrics.horizon(asked)
            if horizon is not None:
                if reporter != self._reporter:
                    self._reporter, self._interval = reporter, self._metrics.interval(asked)
                return asked, horizon
        return target, None


def latency_of(strategy: Strategy) -> Check | None:
    """The strategy's check of slow answers."""
    return next((check for check in strategy.checks if check.kind is Kind.LATENCY), None)


def pace(strategy: Strategy, often: float, apart: bool) -> float:
    """Seconds between two looks where counters are read every `often` seconds, of both versions `apart` or not."""
    return max(strategy.look, 2 * often if apart else often)


def looks_of(metrics: Metrics, target: Target, times: Times, edges: tuple[float, ...] | None) -> Iterator[Look]:
    """The looks of a stretch of time. `edges` as the port has them. Raises `Unavailable`."""
    snapshots = metrics.snapshots(target, *times, edges)
    return pairwise_looks(snapshots, target.stable, target.canary, target.reporter == "destination")


def edges_to_ask(strategy: Strategy, evidence: Evidence) -> tuple[float, ...] | None:
    """The edges to ask for; all of them (None) while none is chosen."""
    return () if latency_of(strategy) is None else evidence.edges or None


def remembered(metrics: Metrics, target: Target, strategy: Strategy, before: float, step: float) -> Evidence:
    """Stable's past before a moment, from which its scatter is known, and where to count slow answers.

    It is read in looks of `step` seconds. Raises `Unavailable`.
    """
    start, end = grid_time(before - HISTORY, step), grid_time(before, step)
    evidence, latency = Evidence(), latency_of(strategy)
    if latency is not None:
        evidence = replace(evidence, edges=edges_of(latency, _past(metrics, target, start, end).answers))
    terms = Terms(strategy.checks, _NOTHING, None, 0.0)
    for look in looks_of(metrics, target, (start, end, step), edges_to_ask(strategy, evidence)):
        evidence = judged(evidence, look, terms)
    return evidence


def _past(metrics: Metrics, target: Target, start: float, end: float) -> Arm:
    """What stable did between two moments, with the whole histogram of its answers."""
    (look,) = looks_of(metrics, target, (start, end, end - start), None)
    return look.stable


def terms_of(attempt: Attempt, lag: float = 0.0, apart: bool = False, warm_until: float = 0.0) -> Terms:
    """Under which circumstances the looks of an attempt are judged now; see `Terms`."""
    strategy = attempt.strategy
    following = strategy.steps[min(attempt.step + 1, len(strategy.steps) - 1)]
    since = attempt.landed if attempt.landed and attempt.phase is not Phase.PREFLIGHT else None
    return Terms(
        strategy.checks, attempt.weight, since, strategy.margin(following.weight), lag, apart, warm_until
    )  # fmt: skip


def reading_of(e: Evidence, attempt: Attempt, now: float) -> Reading:
    """What the evidence says of the attempt as it stands now."""
    limit = attempt.strategy.steps[max(0, attempt.step)].bake.max
    overdue = bool(attempt.landed) and now - attempt.landed >= limit
    found = reading(e, attempt.strategy.checks, (attempt.stable, attempt.canary), overdue)
    if e.weight_since != attempt.landed and found.verdict is not Verdict.ROLLBACK:
        return Reading(Verdict.NO_DATA, "no look at this weight yet")
    return found
