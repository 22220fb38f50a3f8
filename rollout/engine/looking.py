"""The judge's eyes: fetch the looks that are due, and remember the evidence between them."""

from typing import Any

from pydantic import TypeAdapter

from rollout.core.attempt import Attempt, Reading, Verdict
from rollout.core.errors import Unreachable
from rollout.core.lifecycle import Phase
from rollout.judge.errors import Evidence, judged, read
from rollout.judge.looks import grid_time, pairwise_looks
from rollout.ports import Metrics, Target

_EVIDENCE = TypeAdapter(Evidence)
UNKNOWN = 15.0
"""Where nothing tells how often counters are read: the scrape interval most often found, in seconds."""
MOST_LOOKS = 500
"""A replay goes back no further; what is older was judged, or nobody was there to judge it."""


class Eyes:
    """Readings of one attempt. What is kept here only saves work: the checkpoint and the store hold it all."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._interval: float | None = None
        self._attempt = ""
        self._evidence = Evidence()

    def reading(self, attempt: Attempt, target: Target, now: float) -> tuple[Reading | None, str, dict[str, Any]]:
        """The verdict now, why there is none, and the checkpoint to keep."""
        rule = attempt.strategy.errors
        if rule is None:
            return Reading(Verdict.ADVANCE, "no check", now, True), "", {}
        if self._attempt != attempt.id or self._evidence.at < float(attempt.checkpoint.get("at", 0)):
            self._attempt = attempt.id
            self._evidence = _EVIDENCE.validate_python(attempt.checkpoint or {})
        silence = ""
        try:
            self._look(attempt, target)
        except Unreachable as error:
            silence = str(error)
        blind = attempt.weight == 100
        overdue = bool(attempt.landed) and now - attempt.landed >= _bake_limit(attempt)
        reading = read(self._evidence, blind, overdue)
        if silence and reading.verdict is not Verdict.ROLLBACK:
            return None, silence, self.checkpoint()
        if self._evidence.weight_since != attempt.landed and reading.verdict is not Verdict.ROLLBACK:
            reading = Reading(Verdict.NO_DATA, "no look at this weight yet")
        return reading, "", self.checkpoint()

    def ask(self, attempt: Attempt, target: Target) -> None:
        """Raise `Unavailable` unless the metrics that this attempt will need can be asked for."""
        if attempt.strategy.errors is not None:
            self._interval = self._metrics.interval(target)

    def checkpoint(self) -> dict[str, Any]:
        """The evidence as data."""
        kept: dict[str, Any] = _EVIDENCE.dump_python(self._evidence, mode="json")
        return kept

    def _look(self, attempt: Attempt, target: Target) -> None:
        rule = attempt.strategy.errors
        assert rule is not None
        if self._interval is None:
            self._interval = self._metrics.interval(target)
        horizon = self._metrics.horizon(target)
        if horizon is None:
            return
        interval = max(attempt.strategy.look, self._interval or UNKNOWN)
        last = grid_time(horizon, interval)
        seen = self._evidence.at or attempt.started
        start = max(-grid_time(-seen, interval), last - MOST_LOOKS * interval)
        if last <= start:
            return
        steps = attempt.strategy.steps
        margin = attempt.strategy.margin(steps[min(attempt.step + 1, len(steps) - 1)].weight)
        since = attempt.landed if attempt.landed and attempt.phase is not Phase.PREFLIGHT else None
        snapshots = self._metrics.snapshots(target, start, last, interval)
        for look in pairwise_looks(snapshots, target.stable, target.canary):
            self._evidence = judged(self._evidence, look, rule, margin, since, attempt.weight)


def _bake_limit(attempt: Attempt) -> float:
    return attempt.strategy.steps[max(0, attempt.step)].bake.max
