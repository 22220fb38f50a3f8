"""What the status of a ServiceRollout says of an attempt: the conditions by which tools know who must act."""

from dataclasses import replace
from typing import Any

from rollout.core.attempt import Attempt, Record
from rollout.core.documents import Document
from rollout.core.lifecycle import Phase
from rollout.engine.status import Trouble, status_of
from tests.unit.test_report import attempt

FOUGHT = replace(attempt(), phase=Phase.PAUSED, reason=None, message="DriftFight: again and again", fought=True)
INVALID = Trouble("InvalidSpec", "spec.strategy: this must be a mapping")


def told(known: Attempt, trouble: Trouble | None = None, settled: bool = True) -> Document:
    document: Document = {"metadata": {"generation": 3}, "spec": {"service": "reviews", "version": known.canary}}
    return dict(status_of(document, Record(known), trouble, 1000.0, observing=True, settled=settled))


def conditions(*asked: Any, **more: Any) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in told(*asked, **more)["conditions"]}


def test_who_goes_on_writing_weights_is_why_it_is_stalled_and_nothing_goes_on() -> None:
    assert conditions(FOUGHT) == {
        "Ready": ("False", "DriftFight"),
        "Reconciling": ("False", "Settled"),
        "Stalled": ("True", "DriftFight"),
        "Promoted": ("False", "DriftFight"),
    }
    found = told(FOUGHT)
    assert {one["message"] for one in found["conditions"] if one["type"] != "Reconciling"} == {FOUGHT.message}
    assert (found["phase"], found["reason"]) == ("Paused", "DriftFight")
    assert conditions(FOUGHT, INVALID)["Stalled"] == ("True", "DriftFight"), "it is what stands in the way first"


def test_what_is_paused_otherwise_or_goes_on_is_not_stalled() -> None:
    for other in (
        replace(FOUGHT, fought=False),
        replace(FOUGHT, phase=Phase.SHIFTING),
        replace(FOUGHT, phase=Phase.ROLLING_BACK),
    ):
        assert conditions(other)["Reconciling"] == ("True", other.phase.value)
        assert conditions(other)["Stalled"] == ("False", "None")
        assert "reason" not in told(other)
    assert conditions(FOUGHT, settled=False)["Reconciling"][0] == "True", "another version is asked for, and comes next"
    assert conditions(replace(FOUGHT, fought=False), INVALID)["Stalled"] == ("True", "InvalidSpec")
