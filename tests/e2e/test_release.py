"""Releases by the controller that the chart has installed: they survive its leader, and go back where v2 is bad."""

import pytest

from rollout.core.documents import annotations_of
from tests.e2e.stage import CONTROLLERS, OBJECT, PODS, ROUTES, Stage
from tests.real.mesh import wait

pytestmark = pytest.mark.e2e


def test_a_promotion_survives_the_death_of_its_leader(stage: Stage) -> None:
    with stage.installed():
        assert len(stage.cluster.items(CONTROLLERS)) == 2
        stage.declare("v1")
        stage.until("Idle")
        before = stage.requests(response_code="5..|0")
        stage.release("v2")
        stage.sees(lambda: stage.weight() == 25)
        dead = stage.leader()
        stage.cluster.delete(f"{PODS}/{dead}", now=True)
        status = stage.until("Promoted")
        assert stage.weight() == 100
        assert stage.leader() != dead
        path = [one["weight"] for one in status["journal"]]
        assert path == sorted(path)
        conditions = {one["type"]: one["status"] for one in status["conditions"]}
        assert conditions == {"Ready": "True", "Reconciling": "False", "Stalled": "False", "Promoted": "True"}
        wait(lambda: not stage.cluster.call("GET", OBJECT)["metadata"].get("finalizers"), 20)
        assert not annotations_of(stage.cluster.call("GET", ROUTES))
        assert stage.requests(response_code="5..|0") == before, "no user has seen a failure"
        wait(lambda: len(stage.cluster.items(CONTROLLERS)) == 2, 30)
        assert "forbidden" not in stage.logs().lower()


def test_a_version_that_fails_goes_back(stage: Stage) -> None:
    stage.breaks("v2", 0.3)
    with stage.installed():
        stage.declare("v2")
        status = stage.until("RolledBack")
        assert status["reason"] == "Breach"
        assert stage.weight() == 0
        assert stage.requests(response_code="500")["v2"] > 0
