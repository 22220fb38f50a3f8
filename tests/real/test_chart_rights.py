"""A controller that has the chart's account and no other: its rights are enough, and it asks for no others."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from rollout.engine.lookup import ROOT_NAMESPACE
from rollout.mesh.remotes import MARK
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import WORKLOADS, wait
from tests.real.test_chart import PATHS, Helm
from tests.real.test_controller import HOME, Controllers, controllers

__all__ = ["controllers"]

pytestmark = pytest.mark.real


def granted(controllers: Controllers, values: Any) -> Path:
    """A kubeconfig of the chart's account, which then has the rights of a release with these values."""
    server = controllers.mesh.server
    helm = Helm(controllers.mesh.folder)
    for one in helm.rendered(values):
        if one["kind"] == "ServiceAccount" or one["apiVersion"].startswith("rbac"):
            server.call("POST", PATHS[one["kind"]].format(namespace=one["metadata"].get("namespace")), one)
    return server.kubeconfig("rollout", HOME, server.token("rollout", HOME))


def deployed_anew(controllers: Controllers, name: str) -> None:
    """The Deployment is another one now, and nobody has told yet that its pods are ready."""
    server = controllers.mesh.server
    old = server.call("GET", f"{WORKLOADS}/{name}")
    server.call("DELETE", f"{WORKLOADS}/{name}?propagationPolicy=Background")
    time.sleep(1.1)  # it is younger by the second
    server.call("POST", WORKLOADS, {"metadata": {"name": name}, "spec": old["spec"]})


def revoked(controllers: Controllers) -> None:
    server = controllers.mesh.server
    for kind in ("ServiceAccount", "Role", "RoleBinding"):
        for namespace in (HOME, NAMESPACE, ROOT_NAMESPACE):
            server.call("DELETE", PATHS[kind].format(namespace=namespace))
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        path = f"{PATHS[kind]}?labelSelector=app.kubernetes.io%2Fname%3Drollout"
        server.call("DELETE", path)


@pytest.mark.parametrize("namespaces", [[], [NAMESPACE]])
def test_the_charts_rights_are_enough_for_a_release(controllers: Controllers, namespaces: list[str]) -> None:
    """With `scale: auto`: see test_scaling.py."""
    mesh = controllers.mesh
    try:
        port = controllers.start(granted(controllers, {"namespaces": namespaces}), namespaces)
        controllers.declare("v2")
        controllers.wait_for("Promoted")
        assert mesh.weights() == {"v1": 0, "v2": 100}
        wait(lambda: controllers.events() == ["Started", "Promoted"], 10)
        wait(lambda: not controllers.read()["metadata"].get("finalizers"), 10)
        assert "forbidden" not in controllers.log(port).lower()
    finally:
        revoked(controllers)


def test_other_clusters_of_the_mesh_are_named(controllers: Controllers) -> None:
    server = controllers.mesh.server
    space = {"metadata": {"name": ROOT_NAMESPACE}}
    secret = {"metadata": {"name": "istio-remote-secret-west", "labels": MARK}, "stringData": {"west": "a kubeconfig"}}
    with suppress(HTTPError):  # it is there already
        server.call("POST", "/api/v1/namespaces", space)
    server.call("POST", f"/api/v1/namespaces/{ROOT_NAMESPACE}/secrets", secret)
    try:
        port = controllers.start(granted(controllers, {"namespaces": [NAMESPACE], "otherClusters": True}), [NAMESPACE])
        controllers.declare("v2")
        wait(lambda: bool(controllers.status().get("journal")), 20)
        assert any("other clusters of this mesh: west" in one["text"] for one in controllers.status()["journal"])
        assert "forbidden" not in controllers.log(port).lower()
    finally:
        server.call("DELETE", f"/api/v1/namespaces/{ROOT_NAMESPACE}/secrets/istio-remote-secret-west")
        revoked(controllers)


@pytest.mark.parametrize("namespaces", [[], [NAMESPACE]])
def test_with_triggers_a_deployment_that_appears_is_a_release(controllers: Controllers, namespaces: list[str]) -> None:
    mesh, server = controllers.mesh, controllers.mesh.server
    try:
        port = controllers.start(granted(controllers, {"namespaces": namespaces, "triggers": True}), namespaces)
        controllers.declare("")
        wait(lambda: controllers.status().get("phase") == "Idle", 20)
        deployed_anew(controllers, "reviews-v2")
        time.sleep(3)
        assert controllers.status()["phase"] == "Idle", "it is not ready yet"
        ready = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
        server.call("PATCH", f"{WORKLOADS}/reviews-v2/status", {"status": ready})
        controllers.wait_for("Promoted")
        assert mesh.weights() == {"v1": 0, "v2": 100}
        assert "forbidden" not in controllers.log(port).lower()
    finally:
        revoked(controllers)


def test_without_drills_a_strategy_with_a_fault_is_refused_before_it_begins(controllers: Controllers) -> None:
    fault = {"on": "ratings", "delay": "2s", "probe": {"url": "http://reviews.bookinfo.svc:9080/", "count": 20}}
    try:
        port = controllers.start(granted(controllers, {"namespaces": [NAMESPACE]}))
        controllers.declare("v2", steps=[{"fault": fault}, {"weight": 100}])
        wait(lambda: "conditions" in controllers.status(), 20)
        (stalled,) = (one for one in controllers.status()["conditions"] if one["type"] == "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", "Preflight")
        missing = f"create virtualservices in {NAMESPACE}"
        assert f"rights that we do not have: {missing}; grant them" in stalled["message"]
        assert "`drills=true`" in stalled["message"]
        assert "attempt" not in controllers.status()
        assert "forbidden" not in controllers.log(port).lower(), "it was asked, not tried"
    finally:
        revoked(controllers)


def test_without_triggers_an_object_that_waits_is_told_so(controllers: Controllers) -> None:
    try:
        controllers.start(granted(controllers, {"namespaces": [NAMESPACE]}))
        controllers.declare("")
        wait(lambda: "conditions" in controllers.status(), 20)
        (stalled,) = (one for one in controllers.status()["conditions"] if one["type"] == "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", "Trigger")
        assert "we may not list deployments" in stalled["message"]
        assert "`triggers=true`" in stalled["message"]
    finally:
        revoked(controllers)
