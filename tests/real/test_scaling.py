"""`scale: auto` on a real API server, where no controller makes pods of replicas: the test plays those."""

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.error import HTTPError

import pytest

from rollout.core.documents import Document, annotations_of, copied
from rollout.core.quantities import stamp
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import WORKLOADS, Mesh, ended, wait
from tests.real.test_chart_rights import granted, revoked
from tests.real.test_controller import Controllers, controllers

__all__ = ["controllers"]

pytestmark = pytest.mark.real

SCALERS = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SLICE = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/reviews-1"


def add_pod(mesh: Mesh, version: str) -> None:
    """A second pod of a version, behind which the first one answers."""
    pod = mesh.server.call("GET", f"{PODS}/reviews-{version}-0")
    metadata = {key: pod["metadata"][key] for key in ("labels", "annotations", "namespace")}
    spec = {"containers": [{"name": "app", "image": "app"}]}
    mesh.server.call("POST", PODS, {"metadata": {**metadata, "name": f"reviews-{version}-1"}, "spec": spec})
    endpoints = mesh.server.call("GET", SLICE)["endpoints"]
    first = next(one for one in endpoints if one["targetRef"]["name"] == f"reviews-{version}-0")
    more = copied(first) | {"addresses": [f"10.0.9.{version[1:]}"], "conditions": {"ready": True}}
    more["targetRef"]["name"] = f"reviews-{version}-1"
    mesh.server.call("PATCH", SLICE, {"endpoints": [*endpoints, more]})


def scaler(mesh: Mesh, version: str) -> Document:
    found: Document = mesh.server.call("GET", f"{SCALERS}/reviews-{version}")
    return found


def least(mesh: Mesh, version: str) -> int:
    return int(scaler(mesh, version)["spec"]["minReplicas"])


@pytest.fixture
def scaled(mesh: Mesh) -> Iterator[Mesh]:
    """Two pods of v1, none of v2, and an autoscaler for each, which would go down to one."""
    try:
        for version in ("v1", "v2"):
            target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"reviews-{version}"}
            spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3}
            mesh.server.call("POST", SCALERS, {"metadata": {"name": f"reviews-{version}"}, "spec": spec})
        add_pod(mesh, "v1")
        mesh.scale("reviews-v1", 2)
        mesh.scale("reviews-v2", 0)
        mesh.set_ready("reviews-v2-0", False)
        yield mesh
    finally:
        for version in ("v1", "v2"):
            for path in (f"{SCALERS}/reviews-{version}", f"{PODS}/reviews-{version}-1?gracePeriodSeconds=0"):
                with suppress(HTTPError):
                    mesh.server.call("DELETE", path)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_pods_are_there_before_users_and_everything_goes_back(scaled: Mesh, share: float) -> None:
    mesh = scaled
    process = mesh.promote("--scale", "auto")
    mesh.until(lambda: mesh.replicas("reviews-v2") == 1, process)
    assert least(mesh, "v1") == 2, "stable keeps what it needs to get everything back"
    assert mesh.canary() == 0
    mesh.set_ready("reviews-v2-0", True)
    if share:
        mesh.playground.fail("v2", share)
    else:
        mesh.until(lambda: least(mesh, "v2") == 2, process)
        assert mesh.canary() == 50
        mesh.scale("reviews-v2", 2)
        add_pod(mesh, "v2")
    code, out, err = ended(process)
    assert code == (1 if share else 0), out + err
    assert mesh.weights() == ({"v1": 100, "v2": 0} if share else {"v1": 0, "v2": 100})
    assert mesh.replicas("reviews-v2") == (0 if share else 2)
    assert (least(mesh, "v1"), least(mesh, "v2")) == (1, 1)
    every = [mesh.server.call("GET", f"{WORKLOADS}/reviews-{v}") for v in ("v1", "v2")]
    assert not any(annotations_of(one) for one in (*every, scaler(mesh, "v1"), scaler(mesh, "v2")))
    if not share:
        assert mesh.seen() == []


def test_a_controller_scales_and_gives_back_by_the_charts_rights(scaled: Mesh, controllers: Controllers) -> None:
    mesh = scaled
    try:
        port = controllers.start(granted(controllers, {"namespaces": [NAMESPACE], "scaling": {"enabled": True}}))
        controllers.declare("v2", "auto")
        wait(lambda: mesh.replicas("reviews-v2") == 1, 60)
        assert least(mesh, "v1") == 2, "stable keeps what it needs to get everything back"
        assert mesh.canary() == 0
        mesh.set_ready("reviews-v2-0", True)
        wait(lambda: least(mesh, "v2") == 2, 60)
        assert mesh.canary() == 50
        mesh.scale("reviews-v2", 2)
        add_pod(mesh, "v2")
        controllers.wait_for("Promoted")
        wait(lambda: not controllers.read()["metadata"].get("finalizers"), 10)
        assert (least(mesh, "v1"), least(mesh, "v2"), mesh.replicas("reviews-v2")) == (1, 1, 2)
        every = [mesh.server.call("GET", f"{WORKLOADS}/reviews-{v}") for v in ("v1", "v2")]
        assert not any(annotations_of(one) for one in (*every, scaler(mesh, "v1"), scaler(mesh, "v2")))
        assert mesh.seen() == []
        assert "forbidden" not in controllers.log(port).lower()
    finally:
        revoked(controllers)


def test_the_old_version_goes_after_its_time_whoever_leads_then(controllers: Controllers) -> None:
    mesh = controllers.mesh
    try:
        config = granted(controllers, {"namespaces": [NAMESPACE], "scaling": {"enabled": True}})
        first = controllers.start(config)
        controllers.declare("v2", retire="15s")
        status = controllers.wait_for("Promoted")
        wait(lambda: not controllers.read()["metadata"].get("finalizers"), 10)
        controllers.end(first, signal.SIGKILL)
        port = controllers.start(config)
        assert (mesh.replicas("reviews-v1"), "retired" in controllers.status()) == (1, False)
        wait(lambda: mesh.replicas("reviews-v1") == 0, 90)
        assert stamp(time.time()) >= status["retireAt"]
        wait(lambda: "retireAt" not in controllers.status(), 10)
        text = f"replicas of Deployment {NAMESPACE}/reviews-v1 goes from 1 to 0"
        assert controllers.status()["retired"] == [{"version": "v1", "fate": "retired", "text": text}]
        wait(lambda: controllers.events() == ["Started", "Promoted", "Retired"], 10)
        assert mesh.seen() == []
        assert "forbidden" not in controllers.log(port).lower()
    finally:
        revoked(controllers)


def test_without_the_right_the_old_version_stays_and_it_is_said_once(controllers: Controllers) -> None:
    mesh = controllers.mesh
    try:
        controllers.start(granted(controllers, {"namespaces": [NAMESPACE]}))
        controllers.declare("v2", retire="1s")
        controllers.wait_for("Promoted")
        wait(lambda: controllers.events() == ["Started", "Promoted", "NotRetired"], 60)
        (one,) = controllers.status()["retired"]
        assert one["fate"] == "kept"
        assert "we may not list deployments" in one["text"]
        assert "`scaling.enabled=true`" in one["text"]
        version = controllers.read()["metadata"]["resourceVersion"]
        time.sleep(5)
        assert controllers.read()["metadata"]["resourceVersion"] == version
        assert mesh.replicas("reviews-v1") == 1
    finally:
        revoked(controllers)


def test_a_plan_says_what_will_be_scaled(scaled: Mesh) -> None:
    mesh = scaled
    code, out, err = mesh.run("plan", "reviews", "--to", "v2", "--scale", "auto")
    assert code == 0, err
    assert "v2 is scaled for each step, to 2 at last: minReplicas of HorizontalPodAutoscaler" in out
    assert f"replicas of Deployment {NAMESPACE}/reviews-v2 goes from 0 to 2" in out
    assert "v1 keeps its 2 until the end: minReplicas of HorizontalPodAutoscaler" in out
    assert mesh.replicas("reviews-v2") == 0, "nothing was written"
