"""Which changes become Events, and what they say."""

from dataclasses import replace
from typing import Any

import pytest

from rollout.controller.events import event_of, event_of_trouble
from rollout.core.attempt import Attempt
from rollout.core.documents import SERVICE_ROLLOUT, Document
from rollout.core.lifecycle import Phase
from rollout.engine.status import Trouble
from tests.unit.test_report import attempt

OBJECT: Document = {
    "apiVersion": SERVICE_ROLLOUT.api_version(),
    "kind": SERVICE_ROLLOUT.name,
    "metadata": {"name": "reviews", "namespace": "shop", "uid": "u-1", "resourceVersion": "7"},
}
FLYING = replace(attempt(), phase=Phase.SHIFTING, message="5 → 25 %")


@pytest.mark.parametrize(
    ("phase", "kind", "reason"),
    [
        (Phase.WAITING, "Normal", "Waiting"),
        (Phase.PAUSED, "Warning", "Paused"),
        (Phase.PROMOTED, "Normal", "Promoted"),
        (Phase.ROLLING_BACK, "Warning", "RollingBack"),
        (Phase.ROLLED_BACK, "Warning", "RolledBack"),
    ],
)
def test_a_phase_that_concerns_people_is_told_once(phase: Phase, kind: str, reason: str) -> None:
    after = replace(FLYING, phase=phase, message="why " * 400)
    told = event_of(OBJECT, FLYING, after, 1_000_000.0)
    assert told is not None
    assert (told["type"], told["reason"]) == (kind, reason)
    assert len(told["message"]) == 1024
    assert told["involvedObject"]["uid"] == "u-1"
    assert told["firstTimestamp"] == "1970-01-12T13:46:40Z"
    assert event_of(OBJECT, after, after, 1_000_001.0) is None


def test_a_weight_is_no_event_and_what_another_process_told_is_not_told_again() -> None:
    assert event_of(OBJECT, FLYING, replace(FLYING, step=2), 1.0) is None
    assert event_of(OBJECT, None, replace(FLYING, phase=Phase.PROMOTED), 1.0) is None
    assert event_of(OBJECT, FLYING, None, 1.0) is None


HELD = replace(FLYING, phase=Phase.PAUSED, message="it was set to 3 %")
ASKED = replace(FLYING, phase=Phase.WAITING, step=1, message="asks gate.example")


@pytest.mark.parametrize(
    ("before", "changes", "told"),
    [
        (HELD, {"message": "it is gone"}, "Paused"),
        (HELD, {"weight": 3}, None),
        (HELD, {"message": "asked to go on", "resume": True}, None),
        (replace(HELD, message="asked to go on", resume=True), {"message": "holding: too few are ready"}, None),
        (replace(HELD, message="asked to go on", resume=True), {"message": "it is gone", "resume": False}, "Paused"),
        (replace(HELD, resume=True), {"phase": Phase.ROLLING_BACK}, "RollingBack"),
        (ASKED, {"message": "no answer yet"}, None),
        (ASKED, {"step": 2, "message": "asks another"}, "Waiting"),
        (replace(FLYING, phase=Phase.ROLLING_BACK), {"message": "v1 cannot carry all of it"}, None),
    ],
)
def test_within_a_phase_another_reason_is_told(before: Attempt, changes: dict[str, Any], told: str | None) -> None:
    event = event_of(OBJECT, before, replace(before, **changes), 1.0)
    assert (event["reason"] if event else None) == told


def test_what_stalls_is_a_warning_with_its_reason() -> None:
    told = event_of_trouble(OBJECT, Trouble("Preflight", "spec.version: no pod"), 1_000_000.0)
    assert (told["type"], told["reason"], told["message"]) == ("Warning", "Preflight", "spec.version: no pod")
    assert told["involvedObject"]["uid"] == "u-1"


def test_a_beginning_is_told() -> None:
    begun = replace(FLYING, phase=Phase.PREFLIGHT)
    assert (event_of(OBJECT, None, begun, 1.0) or {})["reason"] == "Started"
    again = replace(begun, number=begun.number + 1)
    assert (event_of(OBJECT, begun, again, 1.0) or {})["reason"] == "Started"
