"""The controller as its own process on a real API server, with a real Prometheus and a real Envoy."""

import random
import re
import signal
import subprocess
import time
import urllib.error
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from rollout.core.documents import VIRTUAL_SERVICE, Document, annotations_of
from rollout.playground.stage import NAMESPACE, free_ports
from tests.real.mesh import STRATEGY, Mesh, Process, wait

pytestmark = pytest.mark.real

OBJECTS = f"/apis/rollout.dev/v1alpha1/namespaces/{NAMESPACE}/servicerollouts"
HOME = "rollout-system"


class Controllers:
    """Some replicas, and the object that they obey."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.running: dict[int, Process] = {}

    def start(self, config: Path | None = None, namespaces: Sequence[str] = (NAMESPACE,)) -> int:
        """One more replica, as the administrator or by another kubeconfig; returns the port of its HTTP server."""
        (port,) = free_ports(1)
        spaces = (f"--namespace={one}" for one in namespaces)
        arguments = ("controller", *spaces, "--lease-namespace", HOME, "--port", str(port))
        log = (self.mesh.folder / f"controller-{port}.log").open("w")
        environment = self.mesh.environment() | ({"KUBECONFIG": str(config)} if config else {})
        self.running[port] = subprocess.Popen(
            self.mesh.command(*arguments), env=environment, stdout=log, stderr=log, text=True
        )
        wait(lambda: self.answers(port, "readyz") == 200, 30)
        return port

    def answers(self, port: int, path: str) -> int:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=5.0).status_code
        except httpx.HTTPError:
            return 0

    def log(self, port: int) -> str:
        return (self.mesh.folder / f"controller-{port}.log").read_text()

    def leader(self) -> int:
        """The port of the replica that leads."""
        found: list[int] = []

        def leads() -> bool:
            found[:] = [p for p in self.running if "rollout_leader 1.0" in self.metrics(p)]
            return len(found) == 1

        wait(leads, 30)
        return found[0]

    def metrics(self, port: int) -> str:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5.0).text

    def series(self, port: int, name: str) -> dict[tuple[str, ...], float]:
        """The values of a metric, by those of its labels in the order of their names."""
        families = text_string_to_metric_families(self.metrics(port))
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return {tuple(value for _, value in sorted(one.labels.items())): one.value for one in samples}

    def end(self, port: int, how: signal.Signals = signal.SIGTERM) -> int:
        process = self.running.pop(port)
        process.send_signal(how)
        return process.wait(30)

    def watched(self) -> dict[str, tuple[int, float]]:
        """How often a replica has begun to watch pods, and where they are ready; and how many do by the API server."""
        server = self.mesh.server.call("GET", "/metrics", raw=True).decode().splitlines()
        own = "".join(map(self.metrics, self.running)).splitlines()
        return {
            plural: (
                int(_sum(own, "rollout_api_requests_total{", f'kind="{plural}"', 'verb="watch"')),
                _sum(server, "apiserver_longrunning_requests{", f'resource="{plural}"', 'verb="WATCH"'),
            )
            for plural in ("pods", "endpointslices")
        }

    # --- the object --------------------------------------------------------------------------------------------

    def declare(self, version: str, scale: str = "wait", retire: str = "never", **strategy: Any) -> None:
        """Ask for a version; where it is empty, for each that appears."""
        wish = {"version": version} if version else {"trigger": "newVersion"}
        spec = {"service": "reviews", **wish, "scale": scale, "retire": {"after": retire}}
        spec["strategy"] = yaml.safe_load(STRATEGY) | strategy
        metadata = {"name": "reviews", "namespace": NAMESPACE}
        body = {"apiVersion": "rollout.dev/v1alpha1", "kind": "ServiceRollout", "metadata": metadata, "spec": spec}
        self.mesh.server.call("POST", OBJECTS, body)

    def reach(self, weight: int, **strategy: Any) -> None:
        """Ask for v2, and wait until it has so many percent."""
        self.declare("v2", **strategy)
        wait(lambda: self.mesh.canary() == weight, 60)

    def patch(self, change: Document) -> None:
        self.mesh.server.call("PATCH", f"{OBJECTS}/reviews", change)

    def read(self) -> Document:
        found: Document = self.mesh.server.call("GET", f"{OBJECTS}/reviews")
        return found

    def status(self) -> Document:
        found: Document = self.read().get("status") or {}
        return found

    def stands(self, phase: str, version: str = "") -> bool:
        """Whether what is, or was, tried has come to this, and is of this version, where one is named."""
        status = self.status()
        return status.get("phase") == phase and version in ("", status.get("canary"))

    def wait_for(self, phase: str, within: float = 120.0, version: str = "") -> Document:
        try:
            wait(lambda: self.stands(phase, version), within)
        except AssertionError:
            logs = "".join(self.log(port)[-3000:] for port in self.running)
            raise AssertionError(f"{phase}? {self.status().get('message')}\n{logs}") from None
        return self.status()

    def events(self) -> list[str]:
        found = self.mesh.server.call("GET", f"/api/v1/namespaces/{NAMESPACE}/events")["items"]
        return [one["reason"] for one in sorted(found, key=lambda one: str(one["metadata"]["name"]))]


def _sum(lines: Sequence[str], *parts: str) -> float:
    """Of the metrics whose lines have all of these parts."""
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in parts))


@pytest.fixture
def controllers(mesh: Mesh) -> Iterator[Controllers]:
    try:
        mesh.server.call("GET", f"/api/v1/namespaces/{HOME}")
    except urllib.error.HTTPError:
        mesh.server.call("POST", "/api/v1/namespaces", {"metadata": {"name": HOME}})
    mesh.server.call("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases")
    mesh.server.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/events")
    made = Controllers(mesh)
    try:
        yield made
    finally:
        for process in made.running.values():
            process.kill()
            process.wait(10)
        try:
            mesh.server.call("PATCH", f"{OBJECTS}/reviews", {"metadata": {"finalizers": []}})
            mesh.server.call("DELETE", f"{OBJECTS}/reviews")
        except urllib.error.HTTPError:
            pass  # no test has left one


def test_a_new_version_in_the_spec_is_a_release(controllers: Controllers) -> None:
    mesh, port = controllers.mesh, controllers.start()
    controllers.declare("v1")
    wait(lambda: controllers.status().get("phase") == "Idle", 20)
    idle = controllers.watched()
    assert {begun for begun, _ in idle.values()} == {0}, "pods are watched for what is in flight alone"
    controllers.patch({"spec": {"version": "v2"}})
    wait(lambda: mesh.canary() > 0, 60)
    flying = {kind: (1, standing + 1) for kind, (_, standing) in idle.items()}
    assert controllers.watched() == flying
    status = controllers.wait_for("Promoted")
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Ready": "True", "Reconciling": "False", "Stalled": "False", "Promoted": "True",
    }  # fmt: skip
    assert mesh.weights() == {"v1": 0, "v2": 100}
    wait(lambda: not controllers.read()["metadata"].get("finalizers"), 10)
    wait(lambda: controllers.watched() == {kind: (1, standing) for kind, (_, standing) in idle.items()}, 10)
    assert not annotations_of(mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews"))
    assert mesh.seen() == []
    assert controllers.events() == ["Started", "Promoted"]
    assert controllers.end(port) == 0


def test_a_bad_version_goes_back_and_stays_so(controllers: Controllers) -> None:
    mesh, port = controllers.mesh, controllers.start()
    controllers.reach(25, bake={"min": "5s", "max": "60s"})
    about = ("reviews", NAMESPACE, "reviews")
    wait(lambda: controllers.series(port, "rollout_evidence").get((*about, "go on"), 0.0) > 0, 6)
    assert controllers.series(port, "rollout_phase") == {("reviews", NAMESPACE, "Shifting", "reviews"): 1.0}
    assert controllers.series(port, "rollout_weight_percent") == {about: 25.0}
    evidence = controllers.series(port, "rollout_evidence")
    assert set(evidence) == {(*about, "go on"), (*about, "go back")}
    assert 0 <= evidence[*about, "go back"] < evidence[*about, "go on"] <= 1, "it is good yet"
    (age,) = controllers.series(port, "rollout_look_age_seconds").values()
    assert 0 < age < 5, "a scrape each second, and a look after each"
    assert controllers.series(port, "rollout_stalled") == {}
    mesh.playground.fail("v2", 0.2)
    status = controllers.wait_for("RolledBack")
    assert status["reason"] == "Breach"
    assert mesh.canary() == 0
    assert {kind.split("|")[2] for kind in mesh.seen()} == {"v2"}
    text = controllers.metrics(port)
    assert 'rollout_attempts_total{phase="RolledBack",reason="Breach"} 1.0' in text
    assert "rollout_reaction_seconds_count 1.0" in text
    assert controllers.series(port, "rollout_stalled") == {("reviews", NAMESPACE, "Breach"): 1.0}
    assert controllers.events() == ["Started", "RollingBack", "RolledBack"]
    asked = text.count("rollout_api_requests_total")
    assert asked > 3
    mesh.playground.fail("v2")
    time.sleep(5)
    assert controllers.status() == status, "nobody tries it again by himself"
    controllers.patch({"metadata": {"annotations": {"rollout.dev/retry": "1"}}})
    assert controllers.wait_for("Promoted")["attempt"] == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_another_replica_goes_on_where_one_ended(controllers: Controllers, how: signal.Signals) -> None:
    mesh = controllers.mesh
    controllers.start()
    controllers.start()
    controllers.reach(25)
    began = time.monotonic()
    controllers.end(controllers.leader(), how)
    if how is signal.SIGTERM:
        wait(lambda: "rollout_leader 1.0" in controllers.metrics(next(iter(controllers.running))), 5)
        assert time.monotonic() - began < 5, "it lets the lead go"
    controllers.wait_for("Promoted")
    assert mesh.seen() == []
    path = [one["weight"] for one in controllers.status()["journal"]]
    assert path == sorted(path)


RELEASES = ("v2", 0.0), ("v1", 0.0), ("v2", 0.2), ("v3", 0.0), ("v1", 0.0)
"""Versions, one after the other, and which share of their answers fails."""


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))])
def test_killed_at_random_moments_it_fails_nobody(controllers: Controllers, seed: int) -> None:
    """Five releases, of which one is bad; a hundred in the soak. No user meets an error but the bad version's own."""
    mesh, moments, died = controllers.mesh, random.Random(seed), 0
    port = controllers.start()
    controllers.declare("v1", bake={"min": "2s", "max": "60s"}, confirm="2s")
    wait(lambda: controllers.status().get("phase") == "Idle", 20)
    for version, fails in RELEASES:
        mesh.playground.fail("v2", fails)
        controllers.patch({"spec": {"version": version}})
        end = "RolledBack" if fails else "Promoted"
        for _ in range(moments.randint(1, 3)):
            time.sleep(moments.uniform(0.3, 8.0))
            died += not controllers.stands(end, version)
            controllers.end(port, signal.SIGKILL)
            mesh.server.call("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases")  # or it waits for it
            port = controllers.start()
        controllers.wait_for(end, version=version)
        assert mesh.weights().get(version, 0) == (0 if fails else 100)
    assert died >= len(RELEASES), "else it was killed when all was over"
    sent, failed = mesh.users()
    assert {kind.partition("|")[2] for kind in failed} == {"|v2"}, "the bad version's own, of which some were met"
    print(f"{died} deaths in {len(RELEASES)} releases; of {sent} requests failed {failed.total()}, all by v2 itself")


def test_a_foreign_weight_is_put_back_at_once_and_a_foreign_timeout_kept(controllers: Controllers) -> None:
    mesh, port = controllers.mesh, controllers.start()
    controllers.declare("v2", bake={"min": "15s", "max": "60s"})
    wait(lambda: mesh.canary() == 5, 60)
    time.sleep(2)
    mesh.edit(lambda route: route.update({"timeout": "9s"}))

    def raised(route: Document) -> None:
        for entry in route["route"]:
            entry["weight"] = 40 if entry["destination"]["subset"] == "v2" else 60

    mesh.edit(raised)
    began = time.monotonic()
    wait(lambda: mesh.canary() == 5, 5)
    assert time.monotonic() - began < 1.0
    assert mesh.routes()[-1]["timeout"] == "9s"
    wait(lambda: "rollout_drift_total 1.0" in controllers.metrics(port), 10)


def test_a_deleted_object_gives_all_back_before_it_goes(controllers: Controllers) -> None:
    mesh = controllers.mesh
    controllers.start()
    controllers.reach(25)
    mesh.server.call("DELETE", f"{OBJECTS}/reviews")
    wait(lambda: not mesh.server.call("GET", OBJECTS)["items"], 30)
    assert mesh.canary() == 0
    assert not annotations_of(mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews"))


def test_prometheus_gone_for_a_while_moves_nobody(controllers: Controllers) -> None:
    mesh = controllers.mesh
    controllers.start()
    controllers.reach(25)
    mesh.prometheus.stop()
    try:
        time.sleep(15)
        assert mesh.canary() == 25
        assert controllers.status()["phase"] == "Shifting"
    finally:
        mesh.prometheus.start()
    controllers.wait_for("Promoted")


def test_where_nobody_tells_the_proxies_any_more_they_stay_and_it_is_said(
    controllers: Controllers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where istiod is gone: what a proxy has it keeps, and the shares that were seen are not the weight's."""
    mesh = controllers.mesh
    controllers.start()
    steps = [{"weight": 25, "bake": "3s"}, {"weight": 50, "bake": {"min": "18s", "max": "60s"}}, {"weight": 100}]
    controllers.reach(25, steps=steps)
    wait(lambda: mesh.playground.events[-1][1] == {"v1": 75, "v2": 25}, 10)
    monkeypatch.setattr(mesh.playground, "step", lambda: None)
    found: list[float] = []

    def told() -> bool:
        said = [one["text"] for one in controllers.status().get("journal", [])]
        found[:] = [
            float(share) for share in re.findall(r"v2 got ([\d.]+) % of the requests, not 50 %", " ".join(said))
        ]
        return bool(found)

    try:
        wait(told, 60)
    except AssertionError:
        raise AssertionError(controllers.status()) from None
    assert mesh.canary() >= 50
    assert all(20 <= share <= 30 for share in found), "those of 25 %"
    assert mesh.seen() == []
    monkeypatch.undo()
    controllers.wait_for("Promoted")


def test_an_api_server_that_restarts_is_found_again(controllers: Controllers) -> None:
    mesh = controllers.mesh
    controllers.start()
    controllers.reach(25)
    mesh.server.stop()
    mesh.server.start()
    controllers.wait_for("Promoted")
    assert mesh.seen() == []
