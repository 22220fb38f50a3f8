"""`helm uninstall` in a real cluster: its Job gives back what is in flight, and nothing of ours is left behind."""

import pytest

from rollout.core.documents import annotations_of
from tests.e2e.cluster import CRDS
from tests.e2e.stage import OBJECT, OURS, RELEASE, ROUTES, Stage
from tests.real.mesh import ended, wait

pytestmark = pytest.mark.e2e

LEASE = {"rollout-controller"}
"""Who drained keeps it for a minute, in which its pods go; nothing removes it afterwards."""


def test_the_job_gives_back_what_is_in_flight_and_nothing_is_left(stage: Stage) -> None:
    before = stage.left_at_home() | LEASE
    with stage.installed():
        stage.declare("v2")
        stage.sees(lambda: stage.weight() == 25)
        uninstalled = stage.helm.start("uninstall", RELEASE, "--wait", "--timeout=5m", *stage.where)
        code, out, err = ended(uninstalled, 330)
        assert code == 0, f"{out}\n{err}\n{stage.logs()}"
        assert (stage.weight(), stage.status()["reason"]) == (0, "Drained")
        left = stage.cluster.call("GET", OBJECT)
        assert left["spec"]["version"] == "v2", "the objects outlive the chart"
        assert not left["metadata"].get("finalizers")
        assert not annotations_of(stage.cluster.call("GET", ROUTES))
        wait(lambda: stage.left_at_home() <= before, 60)
        for kind in ("clusterroles", "clusterrolebindings"):
            assert not stage.cluster.items(f"/apis/rbac.authorization.k8s.io/v1/{kind}?{OURS}")
        assert stage.cluster.get(f"{CRDS}/servicerollouts.rollout.dev") is not None
