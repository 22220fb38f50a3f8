"""What tests do in the cluster: install the chart beside a world, ask for versions, and look what comes of it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlencode

import yaml

from rollout.adapters.crd import definition
from tests.e2e.cluster import CRDS, Cluster, Object, Refused
from tests.real import parts
from tests.real.mesh import RELABEL, STRATEGY, ended, wait
from tests.real.servers import scraping
from tests.real.test_chart import CHART, Helm

SPACE, HOME, RELEASE = "rollout-e2e-world", "rollout-e2e", "e2e"
SERVICE, RPS = "productpage", "200"
WORLD = Path(__file__).parent / "world" / "world.yaml"
IN_SPACE, IN_HOME = f"namespaces/{SPACE}", f"namespaces/{HOME}"
OBJECT = f"/apis/rollout.dev/v1alpha1/{IN_SPACE}/servicerollouts/{SERVICE}"
ROUTES = f"/apis/networking.istio.io/v1/{IN_SPACE}/virtualservices/{SERVICE}"
DEPLOYMENTS = f"/apis/apps/v1/{IN_SPACE}/deployments"
PROMETHEUS = f"/api/v1/{IN_SPACE}/services/prometheus:9090"
PODS = f"/api/v1/{IN_HOME}/pods"
LEASES = f"/apis/coordination.k8s.io/v1/{IN_HOME}/leases"
OURS = f"labelSelector=app.kubernetes.io%2Finstance%3D{RELEASE}"
CONTROLLERS = f"{PODS}?{OURS}%2Capp.kubernetes.io%2Fname%3Drollout"


class Stage:
    """One for all tests; `reset` makes it as new."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.helm = Helm(folder)
        self._made: list[str] = []
        """Definitions that were not there before."""

    # --- the world ---------------------------------------------------------------------------------------------

    def __enter__(self) -> "Stage":
        return self

    def build(self) -> None:
        """The world, until users' requests are counted."""
        for name in (HOME, SPACE):
            self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for one in (*yaml.safe_load_all(parts.istio_crds()), definition()):
            self._define(one)
        told = scraping(["127.0.0.1:15000"], "/stats/prometheus", RELABEL, 1.0)
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prometheus"}}
        self.cluster.apply(config | {"data": {"prometheus.yml": told}}, SPACE)
        self.reset()
        wait(lambda: self.requests().get("v1", 0) > 100, 120)

    def __exit__(self, *_: object) -> None:
        self._let_go()
        for path in (f"/api/v1/{IN_SPACE}", f"/api/v1/{IN_HOME}", *self._made):
            self.cluster.delete(path)

    def _define(self, crd: Object | None) -> None:
        if crd and self.cluster.get(path := f"{CRDS}/{crd['metadata']['name']}") is None:
            self.cluster.call("POST", CRDS, crd)
            self._made.append(path)
            wait(lambda: _established(self.cluster.get(path)), 30)

    def reset(self) -> None:
        """The world as it was at first, and nothing that asks for anything."""
        self._let_go()
        for path in (OBJECT, ROUTES, f"{DEPLOYMENTS}/{SERVICE}-v2"):  # with all that a test left on them
            self.cluster.delete(path)
        text = Template(WORLD.read_text()).substitute(
            image=os.environ["ROLLOUT_E2E_WORLD_IMAGE"], namespace=SPACE, rps=RPS
        )
        for document in yaml.safe_load_all(text):
            self.cluster.apply(document, SPACE)
        self._runs()

    def _let_go(self) -> None:
        if self.cluster.get(OBJECT):
            self.cluster.call("PATCH", OBJECT, {"metadata": {"finalizers": []}})

    def breaks(self, version: str, share: float) -> None:
        """So many of its answers are failures from now on."""
        path = f"{DEPLOYMENTS}/{SERVICE}-{version}"
        (container,) = self.cluster.call("GET", path)["spec"]["template"]["spec"]["containers"]
        container["command"].append(f"--fails={share}")
        self.cluster.call("PATCH", path, {"spec": {"template": {"spec": {"containers": [container]}}}})
        self._runs()

    def _runs(self) -> None:
        wait(lambda: all(_available(one) for one in self.cluster.items(DEPLOYMENTS)), 120)

    def prometheus(self) -> str:
        """Its URL for whoever is in the cluster, which may have no DNS."""
        service = self.cluster.call("GET", f"/api/v1/{IN_SPACE}/services/prometheus")
        return f"http://{service['spec']['clusterIP']}:9090"

    def requests(self, **labels: str) -> dict[str, float]:
        """What the users' Envoy has counted, by version."""
        selector = ",".join(f'{name}=~"{value}"' for name, value in labels.items())
        query = urlencode({"query": f"sum by (destination_version) (istio_requests_total{{{selector}}})"})
        try:
            found = self.cluster.call("GET", f"{PROMETHEUS}/proxy/api/v1/query?{query}")
        except Refused:
            return {}
        return {one["metric"].get("destination_version", ""): float(one["value"][1]) for one in found["data"]["result"]}

    # --- the chart ---------------------------------------------------------------------------------------------

    @contextmanager
    def installed(self, **values: Any) -> Iterator[None]:
        """A release of the chart whose pods are ready, until the end or until the test has uninstalled it."""
        self.install("install", **values)
        try:
            yield
        finally:
            self.helm.run("uninstall", RELEASE, "--no-hooks", "--wait", *self.where)
            wait(lambda: not self.cluster.items(CONTROLLERS), 60)

    def install(self, verb: str, **values: Any) -> None:
        """Install or upgrade, with the image under test."""
        image, _, tag = os.environ["ROLLOUT_E2E_IMAGE"].rpartition(":")
        usual = {"image": {"repository": image, "tag": tag}, "prometheus": {"url": self.prometheus()}}
        process = self.helm.start(
            verb, RELEASE, str(CHART), *self.where, "--wait", "--timeout=2m", values=usual | values
        )
        code, out, err = ended(process)
        assert code == 0, f"{out}\n{err}\n{self.logs()}"

    @property
    def where(self) -> tuple[str, ...]:
        """The release's place, for Helm."""
        return ("--namespace", HOME, "--kubeconfig", self.cluster.kubeconfig)

    def leader(self) -> str:
        """The pod that leads."""
        found: list[str] = []

        def leads() -> bool:
            there = {one["metadata"]["name"] for one in self.cluster.items(CONTROLLERS)}
            holders = [(one["spec"].get("holderIdentity") or "") for one in self.cluster.items(LEASES)]
            found[:] = [name for one in holders if (name := one.rpartition("-")[0]) in there]
            return bool(found)

        wait(leads, 60)
        return found[0]

    def logs(self) -> str:
        """The last lines of every pod of ours."""
        told = []
        for pod in self.cluster.items(f"{PODS}?{OURS}"):
            name = pod["metadata"]["name"]
            try:
                told.append(f"--- {name}: {pod['status']}\n{self.log(name)}")
            except Refused as refused:
                told.append(f"--- {name}: {pod['status']}\n{refused}")
        return "\n".join(told)

    def log(self, pod: str) -> str:
        """The last lines of one."""
        return str(self.cluster.text("GET", f"{PODS}/{pod}/log?tailLines=50"))

    def left_at_home(self) -> set[str]:
        """The names of all objects in the release's namespace but for events, of whatever kind."""
        roots = ["/api/v1", *(f"/apis/{one['preferredVersion']['groupVersion']}" for one in self._groups())]
        found: set[str] = set()
        for root in roots:
            for kind in self.cluster.call("GET", root)["resources"]:
                if kind["namespaced"] and "list" in kind["verbs"] and kind["name"] != "events":
                    there = self.cluster.items(f"{root}/{IN_HOME}/{kind['name']}")
                    found |= {one["metadata"]["name"] for one in there}
        return found

    def _groups(self) -> list[Object]:
        found: list[Object] = self.cluster.call("GET", "/apis")["groups"]
        return found

    # --- the object --------------------------------------------------------------------------------------------

    def strategy(self, **more: Any) -> Object:
        """That of all tests, otherwise where `more` says so."""
        strategy: Object = yaml.safe_load(STRATEGY)
        return strategy | more

    def declare(self, version: str, **more: Any) -> None:
        """Ask for a version."""
        spec = {"service": SERVICE, "version": version, "strategy": self.strategy()} | more
        document = {"apiVersion": "rollout.dev/v1alpha1", "kind": "ServiceRollout", "metadata": {"name": SERVICE}}
        self.cluster.apply(document | {"spec": spec}, SPACE)

    def release(self, version: str) -> None:
        """Ask for another version, as Git would."""
        self.cluster.call("PATCH", OBJECT, {"spec": {"version": version}})

    def status(self) -> Object:
        found: Object = self.cluster.call("GET", OBJECT).get("status") or {}
        return found

    def weight(self) -> int:
        """What v2 has, by the VirtualService itself."""
        entries = self.cluster.call("GET", ROUTES)["spec"]["http"][-1]["route"]
        return sum(int(one.get("weight", 0)) for one in entries if one["destination"]["subset"] == "v2")

    def until(self, phase: str, within: float = 240.0) -> Object:
        """Its status, as soon as it stands so."""
        self.sees(lambda: self.status().get("phase") == phase, within)
        return self.status()

    def sees(self, there: Any, within: float = 120.0) -> None:
        """Wait for it, and say what stands there where it does not come."""
        try:
            wait(there, within)
        except AssertionError:
            told = {key: value for key, value in self.status().items() if key != "record"}
            raise AssertionError(f"{told}\n{self.logs()}") from None

    def command(self, verb: str) -> tuple[int, str]:
        """The exit code and words of the command line, from outside of the cluster."""
        done = subprocess.run(
            [sys.executable, "-m", "rollout", verb, SERVICE, "--namespace", SPACE],
            env=os.environ | {"KUBECONFIG": self.cluster.kubeconfig, "ROLLOUT_LEASE_NAMESPACE": HOME},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


def _established(crd: Object | None) -> bool:
    told = (crd or {}).get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in told)


def _available(deployment: Object) -> bool:
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    counts = {status.get(f"{which}", 0) for which in ("replicas", "updatedReplicas", "availableReplicas")}
    return bool(status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == {wanted})
