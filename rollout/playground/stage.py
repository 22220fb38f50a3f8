"""The playground itself: a folder of documents made true by real processes, second by second."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rollout.adapters.counters import CounterFiles
from rollout.adapters.folder import FolderCluster
from rollout.core.documents import (
    DEPLOYMENT,
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    KINDS,
    POD,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    Kind,
    carries,
    labels_of,
    name_of,
    version_of,
)
from rollout.core.errors import NotFound, RolloutError
from rollout.mesh.envoy import Endpoint, Source, clusters, routes, weights
from rollout.mesh.hosts import fqdn
from rollout.mesh.proxies import PROXY
from rollout.playground.bootstrap import Pod
from rollout.playground.proxy import Proxy
from rollout.playground.service import Orders
from rollout.ports import Cluster

NAMESPACE = "bookinfo"
PORT = 9080
SERVED = fqdn("reviews", NAMESPACE)
WORKLOADS = (
    ("productpage", "v1", "reviews"),
    ("reviews", "v1", "ratings"),
    ("reviews", "v2", "ratings"),
    ("reviews", "v3", "ratings"),
    ("ratings", "v1", ""),
)
TAKES = {"reviews": 0.015}
"""Seconds that half of a service's answers take longer than."""
"""Service, version, and whom it calls. Unlike Bookinfo's, reviews v1 asks for ratings too: a good v2 is no slower."""
GATEWAY, FRONT = "gateway", "productpage-v1"
"""The workloads that ask productpage for the users, and reviews."""
CONTAINERS = {"containers": [{"name": name, "image": "playground"} for name in ("service", PROXY)]}
ADDRESS = "playground.rollout.dev/address"
"""The annotation of a pod that says where Envoy's listener in front of it is."""
EVERY = 0.1


class Playground:
    """Bookinfo on this machine: services, users and an Envoy that obeys the documents of a cluster.

    The cluster is `folder` itself, unless another is given.
    """

    def __init__(self, folder: Path, rps: int, cluster: Cluster | None = None) -> None:
        self.folder, self.rps = folder, rps
        folder.mkdir(parents=True, exist_ok=True)
        self.cluster: Cluster = cluster or FolderCluster(folder)
        self.events: list[tuple[float, dict[str, int]]] = []
        self._sources = {GATEWAY: Source(NAMESPACE, {"app": GATEWAY})}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._second = 0
        self._obeyed: tuple[object, object] = ((), ())
        """The documents that Envoy obeys: to make its routes of them again would take time from the services."""
        self.trouble = ""

    def __enter__(self) -> "Playground":
        """Bring it up; whatever was started is ended again if that fails."""
        try:
            self._up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Take it down."""
        self.down()

    @property
    def own(self) -> Path:
        """The folder of what is not a document: Envoy's files, counters, logs."""
        return self.folder / ".playground"

    def _up(self) -> None:
        self.own.mkdir(parents=True, exist_ok=True)
        self.admin, self.entrance, *ports = free_ports(2 + 3 * len(WORKLOADS))
        pods = []
        for (service, version, calls), *own in zip(WORKLOADS, ports[::3], ports[1::3], ports[2::3], strict=True):
            pod = Pod(f"{service}-{version}", fqdn(service, NAMESPACE), version, *own)
            pods.append(pod)
            self._sources[pod.workload] = Source(NAMESPACE, {"app": service, "version": version})
            self._start(
                "service", "--version", version, "--port", str(pod.behind), "--calls", calls,
                "--takes", str(TAKES.get(service, 0.0)), "--proxy", str(pod.proxy),
                "--control", str(self._control(service, version)),
            )  # fmt: skip
        self._addresses = [pod.port for pod in pods]
        self.restore()
        self.metrics = CounterFiles(self.own / "metrics")
        clients = {GATEWAY: self.entrance} | {pod.workload: pod.proxy for pod in pods}
        self.proxy = Proxy(self.own / "envoy", clients, pods, self.admin)
        self._processes.append(self.proxy.process)
        self.step()
        for pod in pods:
            _reachable(pod.behind)
        self._start("users", "--port", str(self.entrance), "--rps", str(self.rps), "--log", str(self.users_log))
        self._thread.start()

    def restore(self) -> None:
        """Put every document back as it was at first."""
        for document in _documents(self._addresses):
            _put(self.cluster, document)

    @property
    def users_log(self) -> Path:
        """What the users saw, a JSON line a second."""
        return self.own / "users.jsonl"

    def fail(self, version: str, share: float = 0.0, **more: Any) -> None:
        """Let a version of reviews fail a share of its answers, or do `more` harm (see `Orders`); without any, none."""
        order(self.folder, version, Orders(share, **more))

    def _control(self, service: str, version: str) -> Path:
        return self.own / f"{service}-{version}.json"

    def _start(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"rollout.playground.{module}", *arguments]
        with (self.own / f"{module}.log").open("ab") as log:
            # A group of their own: a Ctrl-C at the terminal is for the rollout, not for its playground.
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, process_group=0))

    def step(self) -> None:
        """Make Envoy obey the documents, and keep this second's counters."""
        listed = {kind: self.cluster.list(kind, NAMESPACE) for kind in (SERVICE, DESTINATION_RULE, VIRTUAL_SERVICE)}
        endpoints = self._endpoints(listed[SERVICE])
        if (listed, endpoints) != self._obeyed:
            made = clusters(listed[SERVICE], listed[DESTINATION_RULE], endpoints)
            seen = listed[SERVICE], listed[VIRTUAL_SERVICE]
            config = {workload: routes(*seen, source, workload) for workload, source in self._sources.items()}
            if self.proxy.apply(made, config):
                self.events.append((time.time(), weights(config[FRONT], SERVED)))
            self._obeyed = listed, endpoints
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.metrics.keep(second, self.proxy.counters())

    def _endpoints(self, services: list[Document]) -> dict[str, list[Endpoint]]:
        ready = {
            str(endpoint["targetRef"]["name"])
            for one in self.cluster.list(ENDPOINT_SLICE, NAMESPACE)
            for endpoint in one["endpoints"]
            if endpoint["conditions"]["ready"]
        }
        found: dict[str, list[Endpoint]] = {}
        for pod in self.cluster.list(POD, NAMESPACE):
            for service in services if name_of(pod) in ready else ():
                if carries(pod, service["spec"]["selector"]):
                    address, _, port = pod["metadata"]["annotations"][ADDRESS].partition(":")
                    host = fqdn(name_of(service), NAMESPACE)
                    found.setdefault(host, []).append(Endpoint(address, int(port), labels_of(pod)))
        return found

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            before = self.trouble
            try:
                self.step()
                self.trouble = ""
            except Exception as error:  # noqa: BLE001 - whatever people write into the folder, the mesh stays up
                self.trouble = str(error) if isinstance(error, RolloutError) else f"{type(error).__name__}: {error}"
            if self.trouble and self.trouble != before:
                print(f"the playground keeps what it had: {self.trouble}", file=sys.stderr, flush=True)

    def wait_for_end(self) -> None:
        """Stay until somebody ends us."""
        self._stop.wait()

    def down(self) -> None:
        """End every process."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(15)
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def order(folder: Path, version: str, orders: Orders) -> None:
    """Write the control file of a version of reviews."""
    path = folder / ".playground" / f"reviews-{version}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(orders)))
    temporary.replace(path)


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody uses."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _reachable(port: int, within: float = 20.0) -> None:
    until = time.monotonic() + within
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def _documents(addresses: list[int]) -> list[Document]:
    """The documents of a small mesh: what `kubectl get -o yaml` would show, no more."""
    documents: list[Document] = []
    for service in dict.fromkeys(name for name, _, _ in WORKLOADS):
        ports = [{"name": "http", "port": PORT}]
        documents.append(_document(SERVICE, service, spec={"selector": {"app": service}, "ports": ports}))
        versions = [(index, version) for index, (name, version, _) in enumerate(WORKLOADS) if name == service]
        endpoints = []
        for index, version in versions:
            labels = {"app": service, "version": version}
            workload, pod = f"{service}-{version}", f"{service}-{version}-0"
            template = {"metadata": {"labels": labels}, "spec": CONTAINERS}
            spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
            documents.append(_document(DEPLOYMENT, workload, labels, spec=spec))
            address = {ADDRESS: f"127.0.0.1:{addresses[index]}"}
            documents.append(_document(POD, pod, labels, address, spec=CONTAINERS))
            target = {"kind": "Pod", "name": pod}
            endpoints.append({"addresses": [f"10.0.0.{index + 1}"], "conditions": {"ready": True}, "targetRef": target})
        labels = {"kubernetes.io/service-name": service}
        documents.append(
            _document(ENDPOINT_SLICE, f"{service}-1", labels, addressType="IPv4", endpoints=endpoints, ports=ports)
        )  # fmt: skip
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2", "v3")]
    documents.append(_document(DESTINATION_RULE, "reviews", spec={"host": "reviews", "subsets": subsets}))
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [_to("v3")]}
    everybody = {"name": "primary", "route": [_to("v1")]}
    documents.append(
        _document(VIRTUAL_SERVICE, "reviews", spec={"hosts": ["reviews"], "http": [jason, everybody]})
    )  # fmt: skip
    return documents


def _put(cluster: Cluster, document: Document) -> None:
    """Create the document in place of one that an earlier playground left."""
    kind = KINDS[document["kind"]]
    try:
        old = cluster.get(kind, NAMESPACE, name_of(document))
        cluster.delete(kind, NAMESPACE, name_of(document), version_of(old))
    except NotFound:
        pass
    cluster.create(kind, document)


def _to(version: str) -> Document:
    return {"destination": {"host": "reviews", "subset": version}, "weight": 100}


def _document(
    kind: Kind, name: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None, **rest: Any
) -> Document:
    metadata: Document = {"name": name, "namespace": NAMESPACE}
    if labels:
        metadata["labels"] = labels
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": kind.api_version(), "kind": kind.name, "metadata": metadata, **rest}


def alone(folder: Path) -> bool:
    """Whether no other playground runs in this folder."""
    try:
        pid = int((folder / ".playground" / "pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return True
    return False
