"""Argo Rollouts, with the objects that it obeys: a Rollout, two Services and a VirtualService for each service."""

import os
from pathlib import Path
from typing import Any

import yaml

from bench.controller import peers
from bench.controller.candidate import NAMESPACE, NETWORKING, Candidate, Phase, container, meta, service_of
from rollout.core.documents import Document
from rollout.playground.stage import free_ports

GROUP = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}"
TEMPLATE = "success"
REVISION = "rollout.argoproj.io/revision"


class Argo(Candidate):
    """Its analysis runs beside the steps, and fails at once with a sample that is bad."""

    name = "argo"
    objects = f"{GROUP}/rollouts"

    def definitions(self) -> list[Document]:
        """As its module has them."""
        paths = sorted((peers.source("argo") / "manifests" / "crds").glob("*-crd.yaml"))
        return [document for path in paths for document in yaml.safe_load_all(path.read_text()) if document]

    def command(self, kubeconfig: Path) -> tuple[list[str], dict[str, str]]:
        """For one namespace, without an election."""
        health, metrics = free_ports(2)
        command = [
            peers.argo(), "--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE, "--namespaced",
            "--leader-elect=false", "--healthzPort", str(health), "--metricsPort", str(metrics), "--loglevel", "info",
        ]  # fmt: skip
        command += ["--qps", "1000", "--burst", "2000"] if self.raised else []
        return command, os.environ | {"POD_NAMESPACE": NAMESPACE}

    def common(self) -> list[tuple[str, Document]]:
        """The question that all of them ask."""
        metric = {
            "name": "success",
            "interval": f"{self.plan.interval:g}s",
            "successCondition": "result[0] >= 0.99",
            "failureLimit": self.plan.tolerated,
            "provider": {"prometheus": {"address": self.metrics, "query": 'bench_success{service="{{args.service}}"}'}},
        }
        template = {"metadata": meta(TEMPLATE), "spec": {"args": [{"name": "service"}], "metrics": [metric]}}
        kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate"}
        return [(f"{GROUP}/analysistemplates", kind | template)]

    def documents(self, service: str) -> list[tuple[str, Document]]:
        """Both Services, the route, and the Rollout."""
        stable, canary, selector = f"{service}-stable", f"{service}-canary", {"app": service}
        destinations = [
            {"destination": {"host": host}, "weight": weight} for host, weight in ((stable, 100), (canary, 0))
        ]
        return [
            service_of(stable, selector),
            service_of(canary, selector),
            (f"{NETWORKING}/virtualservices", {
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta(service),
                "spec": {"hosts": [service], "http": [{"name": "primary", "route": destinations}]},
            }),
            (self.objects, {
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": meta(service),
                "spec": self._spec(service, stable, canary),
            }),
        ]  # fmt: skip

    def _spec(self, service: str, stable: str, canary: str) -> Document:
        steps: list[Any] = []
        for weight in self.plan.steps:
            steps += [{"setWeight": weight}, {"pause": {"duration": f"{self.plan.bake:g}s"}}]
        return {
            "replicas": 2,
            "selector": {"matchLabels": {"app": service}},
            "template": {"metadata": {"labels": {"app": service}}, "spec": {"containers": [container()]}},
            "strategy": {"canary": {
                "canaryService": canary, "stableService": stable, "steps": steps,
                "trafficRouting": {"istio": {"virtualService": {"name": service, "routes": ["primary"]}}},
                "analysis": {
                    "templates": [{"templateName": TEMPLATE}], "args": [{"name": "service", "value": service}],
                },
            }},
        }  # fmt: skip

    def release(self, service: str) -> None:
        """A pod template with another environment."""
        changed = container() | {"env": [{"name": "VERSION", "value": "2"}]}
        self.patch(f"{self.objects}/{service}", {"spec": {"template": {"spec": {"containers": [changed]}}}})

    def phase(self, document: Document) -> Phase:
        """By the status, and by which revision of it that is; it says Healthy also of a spec that it has not seen."""
        status, metadata = document.get("status") or {}, document["metadata"]
        seen = status.get("observedGeneration") == str(metadata["generation"])
        if status.get("phase") == "Healthy":
            if not seen or status.get("stableRS") != status.get("currentPodHash"):
                return Phase.MOVING
            return Phase.PROMOTED if (metadata.get("annotations") or {}).get(REVISION) == "2" else Phase.IDLE
        return Phase.BACK if status.get("phase") == "Degraded" and seen else Phase.MOVING
