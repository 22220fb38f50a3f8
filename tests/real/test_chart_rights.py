"""A controller that has the chart's account and no other: its rights are enough, and it asks for no others."""

from pathlib import Path
from typing import Any

import pytest

from rollout.playground.stage import NAMESPACE
from tests.conftest import unavailable
from tests.real import parts
from tests.real.mesh import wait
from tests.real.test_chart import PATHS, Helm
from tests.real.test_controller import HOME, Controllers, controllers

__all__ = ["controllers"]

pytestmark = pytest.mark.real


def granted(controllers: Controllers, values: Any) -> Path:
    """A kubeconfig of the chart's account, which then has the rights of a release with these values."""
    server = controllers.mesh.server
    try:
        helm = Helm(controllers.mesh.folder)
    except parts.Missing as reason:
        unavailable(reason)
        raise
    for one in helm.rendered(values):
        if one["kind"] == "ServiceAccount" or one["apiVersion"].startswith("rbac"):
            server.call("POST", PATHS[one["kind"]].format(namespace=one["metadata"].get("namespace")), one)
    return server.kubeconfig("rollout", HOME, server.token("rollout", HOME))


def revoked(controllers: Controllers) -> None:
    server = controllers.mesh.server
    for kind in ("ServiceAccount", "Role", "RoleBinding"):
        for namespace in (HOME, NAMESPACE):
            server.call("DELETE", PATHS[kind].format(namespace=namespace))
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        path = f"{PATHS[kind]}?labelSelector=app.kubernetes.io%2Fname%3Drollout"
        server.call("DELETE", path)


@pytest.mark.parametrize("namespaces", [[], [NAMESPACE]])
def test_the_charts_rights_are_enough_for_a_release(controllers: Controllers, namespaces: list[str]) -> None:
    mesh = controllers.mesh
    try:
        config = granted(controllers, {"namespaces": namespaces})
        port = controllers.start(config, namespaces)
        controllers.declare("v2")
        controllers.wait_for("Promoted")
        assert mesh.weights() == {"v1": 0, "v2": 100}
        wait(lambda: controllers.events() == ["Started", "Promoted"], 10)
        wait(lambda: not controllers.read()["metadata"].get("finalizers"), 10)
        assert "forbidden" not in controllers.log(port).lower()
    finally:
        revoked(controllers)
