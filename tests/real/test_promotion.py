"""A promotion on a real API server with Istio's CRDs, a real Prometheus, and a real Envoy that obeys the objects."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.kubernetes import KubernetesCluster
from rollout.core.documents import VIRTUAL_SERVICE, annotations_of, version_of
from rollout.playground.stage import NAMESPACE, Playground
from tests.conftest import unavailable
from tests.real.parts import Missing
from tests.real.servers import ApiServer, Prometheus

pytestmark = pytest.mark.real

STRATEGY = """
budget: 0.5%
bake: {min: 2s, max: 40s}
inconclusive: advanceNoted
steps: [{weight: 5}, {weight: 25}, {weight: 50}, {weight: 100}]
confirm: 4s
deadline: 3m
checks: [{errors: {}}]
"""
RELABEL = [
    {"source_labels": ["__name__"], "regex": "envoy_(istio_.*)", "target_label": "__name__", "replacement": "$1"},
    {
        "source_labels": ["destination_version"],
        "regex": "-",
        "target_label": "destination_version",
        "replacement": "unknown",
    },
]


class Mesh:
    """The world of one test: users, Envoy, API server, Prometheus."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        self.folder, self.server = folder, server
        self.cluster = KubernetesCluster(None, str(server.kubeconfig()))
        self.playground = Playground(folder / "playground", 300, self.cluster)
        (folder / "strategy.yaml").write_text(STRATEGY)

    def __enter__(self) -> "Mesh":
        for kind in ("configmaps", "leases"):
            group = "/api/v1" if kind == "configmaps" else "/apis/coordination.k8s.io/v1"
            self.server.call("DELETE", f"{group}/namespaces/{NAMESPACE}/{kind}")
        self.playground.__enter__()
        target = f"127.0.0.1:{self.playground.admin}"
        self.prometheus = Prometheus(self.folder, [target], "/stats/prometheus", RELABEL)
        time.sleep(4)
        return self

    def __exit__(self, *_: object) -> None:
        self.playground.down()
        self.prometheus.stop()

    def start(self, *arguments: str, user: str = "admin") -> "subprocess.Popen[str]":
        environment = os.environ | {"KUBECONFIG": str(self.server.kubeconfig(user))}
        command = [sys.executable, "-m", "rollout", *arguments]
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def promote(self, *more: str, user: str = "admin") -> "subprocess.Popen[str]":
        return self.start(
            "promote", "reviews", "--to", "v2", "--strategy", str(self.folder / "strategy.yaml"),
            "--prometheus", self.prometheus.url, *more, user=user,
        )  # fmt: skip

    def canary(self) -> int:
        """The canary's weight as the API server has it."""
        vs = self.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
        routes = vs["spec"]["http"][-1]["route"]
        return sum(int(r.get("weight", 0)) for r in routes if r["destination"].get("subset") == "v2")

    def wait_for(self, weight: int, process: "subprocess.Popen[str]") -> None:
        until = time.monotonic() + 90
        while self.canary() < weight:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.2)

    def shifting_failures(self) -> list[str]:
        """What users saw fail though nothing was broken."""
        lines = [json.loads(line) for line in self.playground.users_log.read_text().splitlines()]
        return [kind for line in lines for kind in line["failed"]]


@pytest.fixture
def mesh(tmp_path: Path, api_server: ApiServer) -> Iterator[Mesh]:
    try:
        with Mesh(tmp_path, api_server) as made:
            yield made
    except Missing as reason:
        unavailable(reason)


@pytest.fixture(autouse=True, scope="session")
def _namespace(api_server: ApiServer) -> None:
    api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})


def ended(process: "subprocess.Popen[str]", within: float = 150) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=within)
    return process.returncode, out, err


def test_a_good_version_is_promoted_and_nobody_notices(mesh: Mesh) -> None:
    before = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
    code, out, err = ended(mesh.promote("--output", "json"))
    assert code == 0, out + err
    document: dict[str, Any] = json.loads(out)
    assert (document["phase"], document["weight"]) == ("Promoted", "100")
    vs = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
    assert vs["spec"]["http"][0] == before["spec"]["http"][0], "the tester's pin is not ours to change"
    assert not annotations_of(vs)
    assert mesh.canary() == 100
    assert mesh.shifting_failures() == []


def test_a_bad_version_is_taken_back(mesh: Mesh) -> None:
    mesh.playground.fail("v2", 0.1)
    code, out, err = ended(mesh.promote())
    assert code == 1, out + err
    assert "Breach" in out
    assert mesh.canary() == 0
    assert {kind.split("|")[2] for kind in mesh.shifting_failures()} <= {"v2"}


def test_abort_from_a_second_process(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(5, process)
    second = mesh.start("abort", "reviews")
    assert ended(second)[0] == 0
    code, out, _ = ended(process)
    assert (code, mesh.canary()) == (1, 0)
    assert "Aborted" in out


def test_sigterm_takes_back_within_five_seconds(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(5, process)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    code, out, err = ended(process, 20)
    assert code == 143, out + err
    assert time.monotonic() - started < 7
    assert mesh.canary() == 0


def test_after_kill_9_the_next_process_goes_on(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(25, process)
    process.kill()
    process.communicate()
    assert mesh.canary() >= 25
    code, out, err = ended(mesh.promote())
    assert code == 0, out + err
    assert "drives reviews; taking over" in out
    assert mesh.shifting_failures() == []


def test_a_raise_by_hand_is_put_back_and_a_timeout_kept(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(25, process)
    vs = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
    routes = vs["spec"]["http"]
    for entry in routes[-1]["route"]:
        entry["weight"] = 60 if entry["destination"]["subset"] == "v2" else 40
    routes[-1]["timeout"] = "7s"
    patch = {"spec": {"http": routes}, "metadata": {"resourceVersion": version_of(vs)}}
    path = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}/virtualservices/reviews?fieldManager=somebody"
    mesh.server.call("PATCH", path, patch)
    code, out, err = ended(process)
    assert code == 0, out + err
    assert "put back" in out
    assert "somebody" in out
    assert mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")["spec"]["http"][-1]["timeout"] == "7s"


def test_prometheus_gone_holds_and_says_so(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(5, process)
    mesh.prometheus.stop()
    weight = mesh.canary()
    time.sleep(15)
    assert mesh.canary() in (weight, weight + 20), "at most the step that was already earned"
    held = mesh.canary()
    time.sleep(5)
    assert mesh.canary() == held
    mesh.prometheus.start()
    code, out, err = ended(process)
    assert code == 0, out + err
    assert "does not answer" in out


def test_without_the_right_to_patch_nothing_changes(mesh: Mesh) -> None:
    rules = [
        {"apiGroups": ["networking.istio.io"], "resources": ["*"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]},
    ]
    role = {"metadata": {"name": "reader"}, "rules": rules}
    mesh.server.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    }
    mesh.server.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    before = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
    code, out, err = ended(mesh.promote(user="reader"))
    assert code == 3, out + err
    assert "patch" in err
    assert "virtualservices" in err
    assert mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews") == before
