"""The API server or Prometheus goes away in the middle; rights that are missing; what `check` says of all that."""

import time

import pytest

from rollout.core.documents import VIRTUAL_SERVICE
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import Mesh, ended

pytestmark = pytest.mark.real


def test_the_api_server_away_for_30_seconds(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(5, process)
    mesh.server.stop()
    time.sleep(30)
    mesh.server.start()
    assert process.poll() is None, process.communicate()
    code, out, err = ended(process)
    assert code == 0, out + err
    assert "holding: cannot" in out
    assert mesh.canary() == 100
    assert mesh.seen() == []


def test_prometheus_away_for_60_seconds_holds_and_says_so(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(5, process)
    mesh.prometheus.stop()
    time.sleep(3)
    weight = mesh.canary()
    time.sleep(57)
    assert mesh.canary() == weight, "nobody is moved on or back for it"
    assert process.poll() is None, process.communicate()
    explained = mesh.run("explain", "reviews")[1]
    mesh.prometheus.start()
    code, out, err = ended(process)
    assert code == 0, out + err
    assert "does not answer" in out
    assert "does not answer" in explained


def test_without_the_right_to_patch_nothing_changes(mesh: Mesh) -> None:
    rules = [
        {"apiGroups": ["networking.istio.io"], "resources": ["*"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]},
    ]
    mesh.server.grant("reader", rules)
    before = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
    code, out, err = ended(mesh.promote(user="reader"))
    assert code == 3, out + err
    assert "patch virtualservices in bookinfo" in err
    assert mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews") == before
    for group, kind in (("/api/v1", "configmaps"), ("/apis/coordination.k8s.io/v1", "leases")):
        assert mesh.server.call("GET", f"{group}/namespaces/{NAMESPACE}/{kind}")["items"] == []

    code, out, _ = mesh.run("check", "reviews", user="reader")
    assert code == 3
    assert "FAIL may not patch virtualservices in bookinfo" in out
    assert "ok   may patch configmaps in bookinfo" in out


def test_check_finds_all_that_a_promotion_needs(mesh: Mesh) -> None:
    code, out, err = mesh.run("check", "reviews")
    assert code == 0, out + err
    assert "counters are read every 1 s" in out
    assert "the newest are complete up to" in out
    assert "versions with requests: v1" in out
    code, out, _ = mesh.run("check", "reviews", "--prometheus", f"http://127.0.0.1:{mesh.server.port}")
    assert code == 3


def test_a_prometheus_that_is_none(mesh: Mesh) -> None:
    """Envoy's admin interface answers, but it is no Prometheus."""
    url = f"http://127.0.0.1:{mesh.playground.admin}"
    code, _, err = mesh.run(*mesh.promoting("--prometheus", url))
    assert code == 2, err
    assert "no Prometheus" in err
    code, _, err = mesh.run(*mesh.promoting("--prometheus", "http://127.0.0.1:9"))
    assert code == 3, err
    assert "does not answer" in err
    assert mesh.server.call("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps")["items"] == []
