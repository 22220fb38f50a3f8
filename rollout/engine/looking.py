"""The judge's eyes: fetch the looks that are due, and remember the evidence between them."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from rollout.core.attempt import Attempt, Reading, Verdict
from rollout.core.errors import InvalidInput, Unreachable
from rollout.core.lifecycle import Phase
from rollout.core.strategy import Check, Kind
from rollout.judge.judge import Evidence, Terms, edges_of, judged
from rollout.judge.looks import Arm, difference, grid_time, pairwise_looks
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
_NOTHING = Decimal(0)


class Eyes:
    """Readings of one attempt. What is kept here only saves work: the checkpoint and the store hold it all."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._interval: float | None = None
        self._reporter = ""
        self._attempt = ""
        self._evidence = Evidence()

    def reading(
        self, attempt: Attempt, target: Target, now: float, youngest: float = 0.0
    ) -> tuple[Reading | None, str, dict[str, Any]]:
        """The verdict now, why there is none, and the checkpoint to keep.

        `youngest` is when the last of the canary's pods became ready for the first time (0: not known).
        """
        checks = attempt.strategy.checks
        if not checks:
            return Reading(Verdict.ADVANCE, "no check", now, True), "", {}
        if self._attempt != attempt.id or self._evidence.at < float(attempt.checkpoint.get("at", 0)):
            self._attempt = attempt.id
            self._evidence = _EVIDENCE.validate_python(attempt.checkpoint or {})
        silence = ""
        try:
            self._look(attempt, target, youngest)
        except Unreachable as error:
            silence = str(error)
        overdue = bool(attempt.landed) and now - attempt.landed >= _bake_limit(attempt)
        found = reading(self._evidence, checks, (attempt.stable, attempt.canary), overdue)
        if silence and found.verdict is not Verdict.ROLLBACK:
            return None, silence, self.checkpoint()
        if self._evidence.weight_since != attempt.landed and found.verdict is not Verdict.ROLLBACK:
            found = Reading(Verdict.NO_DATA, "no look at this weight yet")
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
        self._interval = self._metrics.interval(target)
        horizon = self._metrics.horizon(target)
        latency = next((check for check in checks if check.kind is Kind.LATENCY), None)
        if latency is None or horizon is None:
            return
        seen = self._past(target, horizon - HISTORY, horizon)
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

    def _look(self, attempt: Attempt, target: Target, youngest: float) -> None:
        target, horizon = self._seen_by(target)
        if horizon is None:
            return
        apart = target.reporter == "destination"
        often = self._interval or UNKNOWN
        interval = max(attempt.strategy.look, 2 * often if apart else often)
        last = grid_time(horizon, interval)
        seen = self._evidence.at
        if not seen:
            seen = attempt.started - HISTORY
            self._choose_edges(attempt, target, seen)
        start = max(-grid_time(-seen, interval), last - MOST_LOOKS * interval)
        if last <= start:
            return
        terms = _terms(attempt, often, apart, youngest + WARM_UP if youngest else 0.0)
        snapshots = self._metrics.snapshots(target, start, last, interval, self._edges(attempt))
        for look in pairwise_looks(snapshots, target.stable, target.canary):
            before_the_start = look.at <= attempt.started
            said = replace(terms, since=None, weight=_NOTHING) if before_the_start else terms
            self._evidence = judged(self._evidence, look, said)

    def _seen_by(self, target: Target) -> tuple[Target, float | None]:
        """The target as the clients' proxies see it, or else as its pods' own do; and up to when."""
        if self._interval is None:
            self._interval = self._metrics.interval(target)
        for reporter in (self._reporter,) if self._reporter else REPORTERS:
            asked = replace(target, reporter=reporter)
            horizon = self._metrics.horizon(asked)
            if horizon is not None:
                self._reporter = reporter
                return asked, horizon
        return target, None

    def _choose_edges(self, attempt: Attempt, target: Target, since: float) -> None:
        check = _latency(attempt)
        if check is not None and not self._evidence.edges:
            edges = edges_of(check, self._past(target, since, attempt.started).answers)
            self._evidence = replace(self._evidence, edges=edges)

    def _past(self, target: Target, start: float, end: float) -> Arm:
        before, after = self._metrics.snapshots(target, start, end, end - start, None)
        return difference(before, after, target.stable, target.canary).stable

    def _edges(self, attempt: Attempt) -> tuple[float, ...] | None:
        """The edges to ask for; all of them (None) while none is chosen."""
        return () if _latency(attempt) is None else self._evidence.edges or None


def _latency(attempt: Attempt) -> Check | None:
    return next((check for check in attempt.strategy.checks if check.kind is Kind.LATENCY), None)


def _terms(attempt: Attempt, lag: float, apart: bool, warm_until: float) -> Terms:
    strategy = attempt.strategy
    following = strategy.steps[min(attempt.step + 1, len(strategy.steps) - 1)]
    since = attempt.landed if attempt.landed and attempt.phase is not Phase.PREFLIGHT else None
    return Terms(
        strategy.checks, attempt.weight, since, strategy.margin(following.weight), lag, apart, warm_until
    )  # fmt: skip


def _bake_limit(attempt: Attempt) -> float:
    return attempt.strategy.steps[max(0, attempt.step)].bake.max
