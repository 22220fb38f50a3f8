"""`rollout proxy` through a real API server and a forwarded port, at Envoys that obey, and one that no longer does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout.core.documents import SERVICE, VIRTUAL_SERVICE, Document
from rollout.mesh.envoy import Source, clusters, routes
from rollout.playground.proxy import Proxy
from rollout.playground.stage import free_ports
from tests.real.kubelet import Kubelet
from tests.real.servers import ApiServer

pytestmark = pytest.mark.real
SPACE = "proxied"
HOST = f"reviews.{SPACE}.svc.cluster.local"
RULE = {"metadata": {"name": "reviews", "namespace": SPACE}, "spec": {"host": "reviews", "subsets": [
    {"name": version, "labels": {"version": version}} for version in ("v1", "v2")
]}}  # fmt: skip
LABELS = {"app": "front"}
Run = Callable[..., tuple[int, str, str]]


def service() -> Document:
    spec = {"ports": [{"port": 9080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "reviews", "namespace": SPACE}, "spec": spec}


def vs(canary: int) -> Document:
    shares = (("v1", 100 - canary), ("v2", canary))
    route = [{"destination": {"host": "reviews", "subset": name}, "weight": weight} for name, weight in shares]
    mirror = {"mirror": {"host": "reviews", "subset": "v2"}, "mirrorPercentage": {"value": 12.5}}
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [route[1]]}
    return {
        "apiVersion": VIRTUAL_SERVICE.api_version(),
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": SPACE},
        "spec": {"hosts": ["reviews"], "http": [jason, {"name": "primary", "route": route, **mirror}]},
    }


class Clients:
    """Two pods' proxies, which obey what istiod pushes to them."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        ports = dict(zip(("front-1", "back-1"), free_ports(2), strict=True))
        self.envoys = {
            name: Proxy(folder / name, {"client": free_ports(1)[0]}, [], port) for name, port in ports.items()
        }
        self.kubelet = Kubelet(server, "here", ports)

    def push(self, canary: int, *names: str) -> None:
        """As istiod does when it hears of a VirtualService."""
        for name in names:
            made = routes([service()], [vs(canary)], Source(SPACE, LABELS), "client")
            self.envoys[name].apply(clusters([service()], [RULE], {}), {"client": made})

    def down(self) -> None:
        self.kubelet.down()
        for envoy in self.envoys.values():
            envoy.process.kill()
            envoy.process.wait(10)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory, api_server: ApiServer) -> Iterator[Clients]:
    made = Clients(tmp_path_factory.mktemp("clients"), api_server)
    try:
        api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": SPACE}})
        api_server.call("POST", f"/api/v1/namespaces/{SPACE}/{SERVICE.plural}", service())
        api_server.call("POST", f"/apis/networking.istio.io/v1/namespaces/{SPACE}/virtualservices", vs(0))
        for name in made.envoys:
            pod = made.kubelet.pod(SPACE, name, LABELS)
            api_server.call("POST", f"/api/v1/namespaces/{SPACE}/pods", pod)
            api_server.call("PATCH", f"/api/v1/namespaces/{SPACE}/pods/{name}/status", {"status": {"phase": "Running"}})
        yield made
    finally:
        made.down()


def proxy(config: Path, *more: str, verb: str = "proxy") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "rollout", verb, "reviews", "-n", SPACE, *more],
        env=os.environ | {"KUBECONFIG": str(config)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def set_weight(server: ApiServer, canary: int) -> None:
    path = f"/apis/networking.istio.io/v1/namespaces/{SPACE}/virtualservices/reviews"
    server.call("PATCH", path, {"spec": vs(canary)["spec"]})


def test_proxies_that_obey_and_one_that_no_longer_hears(clients: Clients, api_server: ApiServer) -> None:
    config = api_server.kubeconfig()
    set_weight(api_server, 25)
    clients.push(25, "front-1", "back-1")
    code, out, err = proxy(config)
    assert (code, err) == (0, ""), out
    assert out.count("v2 100 %; primary: v1 75 %, v2 25 %, 12 % repeated at v2  yes") == 2
    assert "asked 2 of 2 proxies" in out
    set_weight(api_server, 50)
    clients.push(50, "back-1")
    code, out, _ = proxy(config)
    assert code == 1
    assert "no: v2 100 %; primary: v1 50 %, v2 50 %" in next(line for line in out.splitlines() if "front-1" in line)
    assert "1 of them has not what the VirtualServices say" in out
    nothing = "nothing of reviews was ever promoted from here\n"
    assert proxy(config, "--proxies", verb="explain") == (1, nothing + out, "")
    code, out, _ = proxy(config, "--sample", "1", "-o", "json")
    assert code == 0
    (row,) = json.loads(out)["proxies"]
    assert (row["pod"], row["obeys"], row["has"][1]["shares"]) == (f"{SPACE}/back-1", True, {"v1": 50, "v2": 50})
    clients.envoys["front-1"].process.kill()
    clients.envoys["front-1"].process.wait(10)
    code, out, _ = proxy(config)
    assert code == 3
    assert "1 did not answer" in out


ASKED = [
    {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    {"apiGroups": ["networking.istio.io"], "resources": ["virtualservices"], "verbs": ["list"]},
]
FORWARD = {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]}


def account(server: ApiServer, name: str, *rules: object) -> Path:
    """A kubeconfig of a service account that has these rights in the service's namespace alone."""
    server.call("POST", f"/api/v1/namespaces/{SPACE}/serviceaccounts", {"metadata": {"name": name}})
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SPACE}"
    server.call("POST", f"{rbac}/roles", {"metadata": {"name": name}, "rules": list(rules)})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": SPACE}],
    }
    server.call("POST", f"{rbac}/rolebindings", binding)
    return server.kubeconfig(name, SPACE, server.token(name, SPACE))


def test_the_rights_that_the_readme_names_are_enough_and_what_lacks_is_said(
    clients: Clients, api_server: ApiServer
) -> None:
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text().split())
    assert "get services; list pods; list virtualservices; get, create pods/portforward" in readme
    set_weight(api_server, 50)
    clients.push(50, "back-1")
    code, out, err = proxy(account(api_server, "asks", *ASKED, FORWARD), "--sample", "1")
    assert (code, err) == (0, ""), out
    for verbs in ([], ["get"], ["create"]):
        right = FORWARD | {"verbs": verbs or ["delete"]}
        code, _, err = proxy(account(api_server, "-".join(["may", *verbs]), *ASKED, right))
        assert code == 3, verbs
        assert "may not forward port 15000 of pod back-1" in err
        assert "grant get, create pods/portforward" in err
    record = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    code, out, err = proxy(account(api_server, "explains", *ASKED, record), "--proxies", verb="explain")
    assert (code, out) == (3, "nothing of reviews was ever promoted from here\n"), err
    assert "may not forward port 15000 of pod back-1" in err
    code, _, err = proxy(account(api_server, "sees-none", ASKED[0], ASKED[2]))
    assert code == 3
    assert "may not list pods" in err
