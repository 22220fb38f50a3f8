"""Our controller, with the objects that it obeys: two versions of each service, of which one serves."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import httpx

from bench.controller.candidate import (
    CORE,
    DISCOVERY,
    NAMESPACE,
    NETWORKING,
    Candidate,
    Phase,
    container,
    meta,
    service_of,
)
from rollout.core.documents import Document
from rollout.playground.stage import free_ports

VERSIONS = ("v1", "v2")
REPLICAS = 2


class Ours(Candidate):
    """`rollout controller`, for one namespace."""

    name, interval = "ours", 1.0
    objects = f"/apis/rollout.dev/v1alpha1/namespaces/{NAMESPACE}/servicerollouts"

    def definitions(self) -> list[Document]:
        """The server has ours."""
        return []

    def command(self, kubeconfig: Path) -> tuple[list[str], dict[str, str]]:
        """As in the chart, for one namespace."""
        (port,) = free_ports(1)
        self._tells = f"http://127.0.0.1:{port}/metrics"
        command = [sys.executable, "-m", "rollout", "controller", "--namespace", NAMESPACE]
        command += ["--lease-namespace", NAMESPACE, "--port", str(port)]
        return command, os.environ | {"KUBECONFIG": str(kubeconfig), "ROLLOUT_PROMETHEUS": self.metrics}

    def start(self) -> None:
        """Without the Lease of who was killed: the peers run without any, so nobody is to wait for one."""
        self.server.call("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases")
        super().start()

    def looked(self) -> int:
        """By its own metrics; while nobody answers there, not at all."""
        with suppress(httpx.TransportError):
            lines = httpx.get(self._tells, timeout=5.0).text.splitlines()
            return int(float(next(line for line in lines if line.startswith("rollout_tick_seconds_count")).split()[1]))
        return 0

    def documents(self, service: str) -> list[tuple[str, Document]]:
        """Ready pods of both versions, the Service with its endpoints, the rule, the route, and the ServiceRollout."""
        pods = [(f"{service}-{version}-{i}", version) for version in VERSIONS for i in range(REPLICAS)]
        destinations = [
            {"destination": {"host": service, "subset": version}, "weight": 100 if version == "v1" else 0}
            for version in VERSIONS
        ]
        subsets = [{"name": version, "labels": {"version": version}} for version in VERSIONS]
        networking = "networking.istio.io/v1"
        return [
            service_of(service, {"app": service}),
            *((f"{CORE}/pods", _pod(pod, service, version)) for pod, version in pods),
            (f"{DISCOVERY}/endpointslices", _slice(service, [pod for pod, _ in pods])),
            (f"{NETWORKING}/destinationrules", {
                "apiVersion": networking, "kind": "DestinationRule", "metadata": meta(service),
                "spec": {"host": service, "subsets": subsets},
            }),
            (f"{NETWORKING}/virtualservices", {
                "apiVersion": networking, "kind": "VirtualService", "metadata": meta(service),
                "spec": {"hosts": [service], "http": [{"name": "primary", "route": destinations}]},
            }),
            (self.objects, {
                "apiVersion": "rollout.dev/v1alpha1", "kind": "ServiceRollout", "metadata": meta(service),
                "spec": {"service": service, "version": "v1", "strategy": self._strategy()},
            }),
        ]  # fmt: skip

    def _strategy(self) -> Document:
        bake = self.plan.bake
        return {
            "budget": "4%",
            "bake": {"min": f"{bake:g}s", "max": f"{bake + 300:g}s"},
            "inconclusive": "hold",
            "steps": [{"weight": weight} for weight in self.plan.steps],
            "confirm": f"{bake:g}s",
            "deadline": f"{10 * bake + 1200:g}s",
            "checks": [{"errors": {}}],
        }

    def release(self, service: str) -> None:
        """The version of its spec."""
        self.patch(f"{self.objects}/{service}", {"spec": {"version": "v2"}})

    def phase(self, document: Document) -> Phase:
        """By the status."""
        phase = str((document.get("status") or {}).get("phase"))
        return {"Idle": Phase.IDLE, "Promoted": Phase.PROMOTED, "RolledBack": Phase.BACK}.get(phase, Phase.MOVING)


def _pod(name: str, service: str, version: str) -> Document:
    metadata = meta(name, app=service, version=version)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container()]}}


def _slice(service: str, pods: list[str]) -> Document:
    number = int(service.removeprefix("app"))
    endpoints = [
        {
            "addresses": [f"10.{1 + number // 250}.{number % 250}.{i + 1}"],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "name": pod, "namespace": NAMESPACE},
        }
        for i, pod in enumerate(pods)
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta(f"{service}-1", **{"kubernetes.io/service-name": service}),
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080}],
    }
