"""The world of the tests on a real cluster: users and services behind a real Envoy that obeys a real API server."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollout.adapters.kubernetes import KubernetesCluster
from rollout.adapters.prometheus import PrometheusMetrics
from rollout.core.documents import DESTINATION_RULE, VIRTUAL_SERVICE, Document, version_of
from rollout.mesh.hosts import fqdn
from rollout.playground.stage import NAMESPACE, Playground
from rollout.ports import Target
from tests.real.servers import ApiServer, Prometheus, scraped

STRATEGY = """
budget: 4%
bake: {min: 3s, max: 60s}
inconclusive: hold
steps: [{weight: 5}, {weight: 25}, {weight: 50}, {weight: 100}]
confirm: 4s
deadline: 5m
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
STATE = ("/api/v1", "configmaps"), ("/apis/coordination.k8s.io/v1", "leases")
WORKLOADS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
NETWORKING = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}"
Process = subprocess.Popen[str]


class Mesh:
    """One for all tests; `reset` makes it as new."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        self.folder, self.server = folder, server
        server.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        self.cluster = KubernetesCluster(None, str(server.kubeconfig()))
        self.playground = Playground(folder / "playground", 400, self.cluster)

    def __enter__(self) -> "Mesh":
        self.playground.__enter__()
        target = f"127.0.0.1:{self.playground.admin}"
        self.prometheus = Prometheus(self.folder, [target], "/stats/prometheus", RELABEL)
        scraped(PrometheusMetrics(self.prometheus.url), Target(fqdn("reviews", NAMESPACE), NAMESPACE, (), "v1", "v2"))
        return self

    def __exit__(self, *_: object) -> None:
        self.playground.down()
        self.prometheus.stop()

    def reset(self, strategy: str = STRATEGY) -> None:
        """As if nothing had happened yet, with counters of v1."""
        for group, kind in STATE:
            self.server.call("DELETE", f"{group}/namespaces/{NAMESPACE}/{kind}")
        for version in ("v1", "v2", "v3"):
            self.playground.fail(version)
        self.playground.restore()
        time.sleep(3)
        self.playground.users_log.write_text("")
        (self.folder / "strategy.yaml").write_text(strategy)

    # --- the command line, as its users call it ----------------------------------------------------------------

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rollout", *arguments]

    def environment(self, user: str = "admin") -> dict[str, str]:
        return os.environ | {
            "KUBECONFIG": str(self.server.kubeconfig(user)),
            "ROLLOUT_PROMETHEUS": self.prometheus.url,
            "CI": "",
        }

    def start(self, *arguments: str, user: str = "admin") -> Process:
        return subprocess.Popen(
            self.command(*arguments), env=self.environment(user), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def run(self, *arguments: str, user: str = "admin") -> tuple[int, str, str]:
        return ended(self.start(*arguments, user=user))

    def promoting(self, *more: str) -> tuple[str, ...]:
        return ("promote", "reviews", "--to", "v2", "--strategy", str(self.folder / "strategy.yaml"), *more)

    def promote(self, *more: str, user: str = "admin") -> Process:
        return self.start(*self.promoting(*more), user=user)

    # --- the objects, past the code under test -----------------------------------------------------------------

    def routes(self) -> list[Document]:
        vs = self.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
        found: list[Document] = vs["spec"]["http"]
        return found

    def weights(self) -> dict[str, int]:
        """Each subset's weight in the route for everybody."""
        route = self.routes()[-1]["route"]
        return {str(r["destination"].get("subset", "")): int(r.get("weight", 0)) for r in route}

    def canary(self) -> int:
        return self.weights().get("v2", 0)

    def edit(self, change: Callable[[Document], None], manager: str = "somebody") -> None:
        """Another field manager edits the route for everybody."""
        vs = self.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
        routes = vs["spec"]["http"]
        change(routes[-1])
        patch = {"spec": {"http": routes}, "metadata": {"resourceVersion": version_of(vs)}}
        self.server.call("PATCH", f"{NETWORKING}/virtualservices/reviews?fieldManager={manager}", patch)

    def set_routes(self, routes: list[Any]) -> None:
        self.server.call("PATCH", f"{NETWORKING}/virtualservices/reviews?fieldManager=us", {"spec": {"http": routes}})

    def without_rule(self) -> None:
        """No DestinationRule, and one route that needs none; Envoy has that route before its subsets go."""
        self.set_routes([{"name": "primary", "route": [{"destination": {"host": "reviews"}}]}])
        wait(lambda: self.playground.events[-1][1] == {"": 100}, 20)
        self.server.call("DELETE", f"{NETWORKING}/destinationrules/reviews")

    def rule(self) -> Document:
        return self.cluster.get(DESTINATION_RULE, NAMESPACE, "reviews")

    def scale(self, deployment: str, replicas: int) -> None:
        self.server.call("PATCH", f"{WORKLOADS}/{deployment}", {"spec": {"replicas": replicas}})

    def replicas(self, deployment: str) -> int:
        return int(self.server.call("GET", f"{WORKLOADS}/{deployment}")["spec"]["replicas"])

    def set_ready(self, pod: str, ready: bool) -> None:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/reviews-1"
        endpoints = self.server.call("GET", path)["endpoints"]
        for endpoint in endpoints:
            if endpoint["targetRef"]["name"] == pod:
                endpoint["conditions"]["ready"] = ready
        self.server.call("PATCH", path, {"endpoints": endpoints})

    # --- waiting -----------------------------------------------------------------------------------------------

    def wait_for(self, weight: int, process: Process) -> None:
        self.until(lambda: self.canary() >= weight, process)

    def until(self, there: Callable[[], bool], process: Process, within: float = 90) -> None:
        def running_and_there() -> bool:
            assert process.poll() is None, process.communicate()
            return there()

        wait(running_and_there, within)

    def seen(self) -> list[str]:
        """What users saw fail, as status, Envoy's flags and the version that answered."""
        return list(self.users()[1])

    def users(self) -> tuple[int, Counter[str]]:
        """How many requests they sent, and how many failed, by what they saw."""
        lines = [json.loads(line) for line in self.playground.users_log.read_text().splitlines()]
        sent, failed = sum(line["sent"] for line in lines), Counter[str]()
        assert sent > 100, "without users nothing is shown"
        for line in lines:
            failed.update(line["failed"])
        return sent, failed


def set_weights(canary: int) -> Callable[[Document], None]:
    def change(route: Document) -> None:
        for entry in route["route"]:
            entry["weight"] = canary if entry["destination"]["subset"] == "v2" else 100 - canary

    return change


def wait(there: Callable[[], bool], within: float) -> None:
    """Until it is so, which must be within so many seconds."""
    end = time.monotonic() + within
    while not there():
        assert time.monotonic() < end
        time.sleep(0.1)


def ended(process: Process, within: float = 240) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=within)
    return process.returncode, out, err
