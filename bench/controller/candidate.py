"""What every one of the three controllers must let us do with it, and what is alike in how."""

import subprocess
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from bench.controller.client import Client
from rollout.core.documents import Document
from rollout.core.quantities import stamp
from tests.real.servers import ApiServer

NAMESPACE = "bench"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
APPS = f"/apis/apps/v1/namespaces/{NAMESPACE}"
NETWORKING = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}"
DISCOVERY = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}"
HARNESS = "admin"


class Phase(Enum):
    """How a controller says that an object stands."""

    IDLE, MOVING, PROMOTED, BACK = "idle", "moving", "promoted", "back"


@dataclass(frozen=True)
class Plan:
    """The weights of a rollout, the seconds that each stands, and those between two looks where that is to choose."""

    steps: tuple[int, ...] = (5, 25, 50, 100)
    bake: float = 10.0
    interval: float = 10.0
    tolerated: int = 0
    """How many bad samples the peers let pass."""


class Candidate(ABC):
    """One controller with a user of its own, and its objects for some services.

    `raised`: with client limits of 1000 requests a second, where it has any.
    """

    name: str
    interval = 10.0
    """Seconds between two looks, where nothing else is asked for."""
    objects: str
    """The path of the objects that say how a rollout stands."""

    def __init__(self, server: ApiServer, metrics: str, plan: Plan, raised: bool = False) -> None:
        self.server, self.metrics, self.plan, self.raised = server, metrics, plan, raised
        self.client = Client(server.port)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def definitions(self) -> list[Document]:
        """The CustomResourceDefinitions that it needs, and the server lacks."""

    @abstractmethod
    def documents(self, service: str) -> list[tuple[str, Document]]:
        """What its user writes for one service, with the paths."""

    @abstractmethod
    def command(self, kubeconfig: Path) -> tuple[list[str], dict[str, str]]:
        """How it is started, and with what in the environment."""

    @abstractmethod
    def release(self, service: str) -> None:
        """Ask for the next version."""

    @abstractmethod
    def phase(self, document: Document) -> Phase:
        """How one of its objects stands."""

    def common(self) -> list[tuple[str, Document]]:
        """What its user writes once, whatever the number of services, with the paths."""
        return []

    def prepare(self) -> None:
        """Write what is there once."""
        for path, document in self.common():
            self.server.call("POST", path, document)

    def create(self, services: list[str]) -> None:
        """Write what a user would."""

        def one(service: str) -> None:
            for path, document in self.documents(service):
                made = self.client.call("POST", path, document)
                if document.get("kind") == "Pod":
                    self.client.call("PATCH", f"{path}/{made['metadata']['name']}/status", {"status": READY})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, services))

    def release_all(self, services: list[str]) -> None:
        """Ask for the next version of all at once."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.release, services))

    def patch(self, path: str, change: Any) -> None:
        """As a user does."""
        self.client.call("PATCH", path, change)

    # --- its process -------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Run it."""
        command, environment = self.command(self.server.kubeconfig(self.name, NAMESPACE))
        with (self.server.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def kill(self) -> None:
        """As the machine would, without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def looked(self) -> int:
        """How often it has looked at a service since it began. Only ours tells."""
        raise NotImplementedError

    def runs(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process is not None and self._process.poll() is None


STAMP = stamp(time.time() - 3600)
READY = {
    "phase": "Running",
    "startTime": STAMP,
    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": STAMP}],
}


def meta(name: str, **labels: str) -> Document:
    """The metadata of an object of ours."""
    return {"name": name, "namespace": NAMESPACE, "labels": labels}


def service_of(name: str, selector: Document) -> tuple[str, Document]:
    """A Service, and where to post it."""
    spec = {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return f"{CORE}/services", {"apiVersion": "v1", "kind": "Service", "metadata": meta(name), "spec": spec}


def container() -> Document:
    """The only one of a pod, which nobody runs."""
    return {"name": "app", "image": "app:1", "env": [{"name": "VERSION", "value": "1"}]}
