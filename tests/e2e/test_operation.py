"""What operators and people do with an installed chart: evict, upgrade, release without rights over routes, look."""

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Object, Refused
from tests.e2e.stage import (
    CONTROLLERS,
    DEPLOYMENTS,
    HOME,
    IN_HOME,
    IN_SPACE,
    LEASES,
    OBJECT,
    PODS,
    ROUTES,
    SPACE,
    Stage,
)
from tests.real.mesh import wait

pytestmark = pytest.mark.e2e

Asked = tuple[str, str] | tuple[str, str, Object]
ACCOUNT = f"system:serviceaccount:{HOME}:e2e-rollout"
GROUPS = {"system:serviceaccounts", f"system:serviceaccounts:{HOME}", "system:authenticated"}
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
CORE, RBAC = "/api/v1", "/apis/rbac.authorization.k8s.io/v1"
STABLE = f"{DEPLOYMENTS}/productpage-v1"
MAY: tuple[Asked, ...] = (
    ("GET", OBJECT),
    ("GET", "/apis/networking.istio.io/v1/virtualservices"),
    ("PATCH", ROUTES, {}),
    ("GET", f"{CORE}/pods"),
    ("GET", LEASES),
)
MAY_NOT: tuple[Asked, ...] = (
    ("GET", f"{CORE}/{IN_SPACE}/secrets"),
    ("GET", f"{CORE}/secrets"),
    ("GET", f"{CORE}/nodes"),
    ("GET", f"{PODS}/any/log"),
    ("POST", f"{PODS}/any/exec"),
    ("POST", f"{CORE}/{IN_SPACE}/pods", {"metadata": {"name": "any"}}),
    ("POST", f"{CORE}/{IN_SPACE}/configmaps", {"metadata": {"name": "any"}}),
    ("POST", f"{CORE}/{IN_HOME}/serviceaccounts/e2e-rollout/token", {"spec": {}}),
    ("POST", ROUTES.rpartition("/")[0], {"metadata": {"name": "any"}}),
    ("GET", DEPLOYMENTS),
    ("PATCH", STABLE, {"spec": {"replicas": 0}}),
    ("DELETE", STABLE),
    ("DELETE", OBJECT),
    ("POST", OBJECT.rpartition("/")[0], {"metadata": {"name": "any"}}),
    ("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "any"}}),
    ("PATCH", f"{RBAC}/clusterroles/e2e-rollout", {"rules": []}),
    ("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/servicerollouts.rollout.dev"),
)


def test_the_account_may_do_what_it_needs_and_no_more(stage: Stage) -> None:
    stage.declare("v1")
    with stage.installed():
        stage.until("Idle")
        allowed, who = stage.cluster.allows, stage.cluster.call("POST", WHO, {}, ACCOUNT)["status"]["userInfo"]
        assert (who["username"], set(who["groups"])) == (ACCOUNT, GROUPS)
        assert [asked for asked in MAY if not allowed(ACCOUNT, *asked)] == []
        assert [asked for asked in MAY_NOT if allowed(ACCOUNT, *asked)] == []


def test_two_are_not_evicted_at_once(stage: Stage) -> None:
    with stage.installed():
        first, second = (one["metadata"]["name"] for one in stage.cluster.items(CONTROLLERS))
        stage.cluster.call("POST", f"{PODS}/{first}/eviction", eviction(first))
        with pytest.raises(Refused) as refused:
            stage.cluster.call("POST", f"{PODS}/{second}/eviction", eviction(second))
        assert refused.value.status == 429, "the drain of a node tries again"


def eviction(pod: str) -> Object:
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": HOME}}


@pytest.fixture
def developer(stage: Stage) -> Iterator[str]:
    """Somebody who may edit the namespace of the service, by the cluster's own role."""
    name = "developer"
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    }  # fmt: skip
    stage.cluster.apply(binding, SPACE)
    yield name
    stage.cluster.delete(f"{RBAC}/{IN_SPACE}/rolebindings/{name}")


STEPS = [{"weight": 25}, {"pause": {}}, {"weight": 100}]


def test_after_an_upgrade_a_developer_releases_what_is_scaled_for_it(stage: Stage, developer: str) -> None:
    with stage.installed():
        stage.install("upgrade", namespaces=[SPACE], people=True, scaling={"enabled": True})
        roles = stage.cluster.items(f"{RBAC}/clusterroles?labelSelector=app.kubernetes.io%2Finstance%3De2e")
        assert [one["metadata"]["name"] for one in roles] == ["e2e-rollout-people"]
        stage.cluster.call("PATCH", f"{DEPLOYMENTS}/productpage-v2", {"spec": {"replicas": 0}})
        stage.declare("v1", scale="auto", strategy=stage.strategy(steps=STEPS))
        stage.until("Idle")
        wait(lambda: stage.cluster.allows(developer, "PATCH", OBJECT, {"spec": {"version": "v2"}}), 20)
        assert not stage.cluster.allows(developer, "PATCH", ROUTES, {"spec": {}})
        stage.until("Waiting")
        told = stage.command("status")
        assert told[0] == 0
        assert "25 %" in told[1]
        assert "nobody drives" not in told[1]
        obeys = stage.command("proxy")
        assert obeys[0] == 0, obeys[1]
        assert "v1 75 %, v2 25 %" in obeys[1]
        assert stage.command("resume")[0] == 0
        stage.until("Promoted")
        explained = stage.command("explain")
        assert explained[0] == 0
        assert "Promoted" in explained[1]
        assert stage.cluster.call("GET", f"{DEPLOYMENTS}/productpage-v2")["spec"]["replicas"] == 1
        assert "forbidden" not in stage.logs().lower()
