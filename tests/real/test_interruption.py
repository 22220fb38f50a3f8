"""Processes end in the middle: told to, or killed at any write. The next one goes on, and traffic is never worse."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from rollout.core.documents import (
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    Kind,
)
from tests.real.mesh import Mesh, Process, ended
from tests.real.servers import ApiServer

pytestmark = pytest.mark.real


def test_abort_from_a_second_process(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(5, process)
    assert mesh.run("abort", "reviews")[0] == 0
    code, out, _ = ended(process)
    assert (code, mesh.canary()) == (1, 0)
    assert "Aborted" in out


def test_sigterm_takes_back_within_seconds(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(5, process)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    mesh.until(lambda: mesh.canary() == 0, process, within=3)
    process.send_signal(signal.SIGTERM)  # an impatient second one does not disturb the leaving
    code, out, err = ended(process, 20)
    assert code == 143, out + err
    assert time.monotonic() - started < 7


def test_ctrl_c_at_a_terminal_holds_and_the_next_process_goes_on(mesh: Mesh) -> None:
    main, side = pty.openpty()
    with os.fdopen(main, "rb", buffering=0) as terminal, os.fdopen(side, "wb") as theirs:
        process = subprocess.Popen(
            mesh.command(*mesh.promoting("--yes")), env=mesh.environment(), stdin=theirs, stdout=theirs, stderr=theirs
        )
        shown = bytearray()
        threading.Thread(target=_read, args=(terminal, shown), daemon=True).start()
        end = time.monotonic() + 60
        while mesh.canary() < 5:
            assert time.monotonic() < end, shown.decode()
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        time.sleep(0.2)
    assert "v2" in shown.decode()
    assert mesh.canary() >= 5, "a person is there; what stands, stands"
    assert "unattended since" in mesh.run("status", "reviews")[1]
    code, out, err = ended(mesh.promote())
    assert code == 0, out + err
    assert mesh.seen() == []


def _read(terminal: Any, shown: bytearray) -> None:
    try:
        while part := terminal.read(4096):
            shown += part
    except OSError:
        pass


def test_after_kill_9_the_next_process_goes_on(mesh: Mesh) -> None:
    process = mesh.promote()
    mesh.wait_for(25, process)
    process.kill()
    process.communicate()
    code, out, err = ended(mesh.promote())
    assert code == 0, out + err
    assert "drives reviews; taking over" in out
    assert mesh.seen() == []


# --- killed at every write -----------------------------------------------------------------------------------------

SPACE = "kills"
BAKES = {"good": "3s", "bad": "60s"}
"""Who is bad goes back as soon as its canary breaks, which may take its time: until then it must not go on."""
STRATEGY = "bake: {}\nsteps: [{{weight: 25}}, {{weight: 100}}]\nconfirm: 1s\ndeadline: 4m\nchecks: []\n"
BATCH = 18


class Services:
    """Many small services without traffic, each with a rollout of its own; every change of a weight is seen."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.weights: dict[str, list[int]] = defaultdict(list)
        for kind, bake in BAKES.items():
            (folder / f"{kind}.yaml").write_text(STRATEGY.format(bake))
        threading.Thread(target=self._watch, daemon=True).start()

    def create(self, name: str) -> None:
        labels = [{"app": name, "version": version} for version in ("v1", "v2")]
        subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
        to = {"destination": {"host": name, "subset": "v1"}}
        slice_labels = {"kubernetes.io/service-name": name}
        self._post(SERVICE, name, spec={"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]})
        for one in labels:
            containers = [{"name": "c", "image": "c"}]
            self._post(POD, f"{name}-{one['version']}", one, spec={"containers": containers})
        self._post(ENDPOINT_SLICE, name, slice_labels, addressType="IPv4", ports=[], endpoints=_endpoints(name, True))
        self._post(DESTINATION_RULE, name, spec={"host": name, "subsets": subsets})
        self._post(VIRTUAL_SERVICE, name, spec={"hosts": [name], "http": [{"route": [to]}]})

    def break_canary(self, name: str) -> None:
        """Its canary has no ready endpoint any more: a reason to go back that needs no metrics."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices/{name}"
        self.server.call("PATCH", path, {"endpoints": _endpoints(name, False)})

    def promote(self, name: str, dies_at: int) -> Process:
        run = [sys.executable, "-m", "tests.real.dying", str(dies_at)]
        strategy = str(self.folder / f"{name.partition('-')[0]}.yaml")
        arguments = ["promote", name, "--to", "v2", "-n", SPACE, "--strategy", strategy]
        environment = os.environ | {"KUBECONFIG": str(self.server.kubeconfig())}
        return subprocess.Popen(
            [*run, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def route(self, name: str) -> Document:
        path = f"/apis/networking.istio.io/v1/namespaces/{SPACE}/virtualservices/{name}"
        found: Document = self.server.call("GET", path)
        return found

    def _post(self, kind: Kind, name: str, labels: dict[str, str] | None = None, **rest: Any) -> None:
        group = f"/apis/{kind.group}/v1" if kind.group else "/api/v1"
        metadata = {"name": name, "labels": labels or {}}
        document = {"apiVersion": kind.api_version(), "kind": kind.name, "metadata": metadata, **rest}
        self.server.call("POST", f"{group}/namespaces/{SPACE}/{kind.plural}", document)

    def _watch(self) -> None:
        path = f"/apis/networking.istio.io/v1/namespaces/{SPACE}/virtualservices?watch=1"
        for line in self.server.stream(path):
            vs = json.loads(line)["object"]
            route = vs["spec"]["http"][0]["route"]
            weight = sum(int(r.get("weight", 0)) for r in route if r["destination"].get("subset") == "v2")
            seen = self.weights[vs["metadata"]["name"]]
            if not seen or seen[-1] != weight:
                seen.append(weight)
                if weight == 25 and vs["metadata"]["name"].startswith("bad"):
                    self.break_canary(vs["metadata"]["name"])


def _endpoints(name: str, canary: bool) -> list[Document]:
    return [
        {"addresses": [address], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": f"{name}-{v}"}}
        for address, v, ready in (("10.9.0.1", "v1", True), ("10.9.0.2", "v2", canary))
    ]


@pytest.fixture(scope="module")
def services(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Services:
    api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": SPACE}})
    return Services(api_server, tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize(
    ("kind", "code", "path"), [("good", 0, [0, 25, 100]), ("bad", 1, [0, 25, 0])], ids=["promotion", "rollback"]
)
def test_killed_at_every_write(services: Services, kind: str, code: int, path: list[int]) -> None:
    """A whole rollout killed after its first write, another one after its second …: all end as if nothing had been."""
    first, deaths, complete = 1, 0, False
    while not complete:
        names = {f"{kind}-{n}": n for n in range(first, first + BATCH)}
        for name in names:
            services.create(name)
        dying = {name: services.promote(name, n) for name, n in names.items()}
        codes = {name: ended(process)[0] for name, process in dying.items()}
        assert set(codes.values()) <= {-signal.SIGKILL, code}
        killed = [name for name in names if codes[name] == -signal.SIGKILL]
        deaths += len(killed)
        complete = len(killed) < len(names)
        heirs = {name: services.promote(name, 0) for name in killed if not _ended(services, name, kind)}
        for name, process in heirs.items():
            result, out, err = ended(process)
            assert result == code, f"{name}: {out}{err}"
        for name in names:
            assert services.weights[name] == path, name
            if name in heirs or name not in killed:
                assert not services.route(name)["metadata"].get("annotations"), f"{name} keeps our claim"
        first += BATCH
    assert deaths > 10, "a rollout makes more writes than that"


def _ended(services: Services, name: str, kind: str) -> bool:
    """Whether the process was killed only after the end was recorded: a further promote would be a new attempt."""
    done = subprocess.run(
        [sys.executable, "-m", "rollout", "status", name, "-n", SPACE, "-o", "json"],
        env=os.environ | {"KUBECONFIG": str(services.server.kubeconfig())}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return str(json.loads(done.stdout)["phase"]) == {"good": "Promoted", "bad": "RolledBack"}[kind]
