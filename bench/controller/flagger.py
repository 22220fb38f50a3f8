"""Flagger, with the objects that it obeys: a Deployment and a Canary for each service; the others it makes itself."""

import os
from pathlib import Path

import yaml

from bench.controller import peers
from bench.controller.candidate import APPS, NAMESPACE, Candidate, Phase, container, meta
from rollout.core.documents import Document
from rollout.playground.stage import free_ports

GROUP = f"/apis/flagger.app/v1beta1/namespaces/{NAMESPACE}"
TEMPLATE = "success"


class Flagger(Candidate):
    """Its threshold is one failed check, and it looks each 10 seconds, its least."""

    name = "flagger"
    objects = f"{GROUP}/canaries"

    def definitions(self) -> list[Document]:
        """As its module has them."""
        text = (peers.source("flagger") / "artifacts" / "flagger" / "crd.yaml").read_text()
        return [document for document in yaml.safe_load_all(text) if document]

    def command(self, kubeconfig: Path) -> tuple[list[str], dict[str, str]]:
        """For one namespace, without an election."""
        (port,) = free_ports(1)
        command = [
            peers.flagger(), f"-kubeconfig={kubeconfig}", "-mesh-provider=istio", f"-metrics-server={self.metrics}",
            f"-port={port}", f"-namespace={NAMESPACE}", "-log-level=info",
        ]  # fmt: skip
        command += ["-kubeconfig-qps=1000", "-kubeconfig-burst=2000"] if self.raised else []
        return command, dict(os.environ)

    def common(self) -> list[tuple[str, Document]]:
        """The question that all of them ask."""
        provider = {"type": "prometheus", "address": self.metrics}
        query = 'bench_success{service="{{ target }}"}'
        template = {
            "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate", "metadata": meta(TEMPLATE),
            "spec": {"provider": provider, "query": query},
        }  # fmt: skip
        return [(f"{GROUP}/metrictemplates", template)]

    def documents(self, service: str) -> list[tuple[str, Document]]:
        """The Deployment, and the Canary."""
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": service}
        metric = {
            "name": "success", "templateRef": {"name": TEMPLATE, "namespace": NAMESPACE}, "interval": "10s",
            "thresholdRange": {"min": 0.99},
        }  # fmt: skip
        analysis = {
            "interval": f"{max(self.plan.bake, 10.0):g}s", "threshold": 1 + self.plan.tolerated,
            "stepWeights": list(self.plan.steps), "metrics": [metric],
        }  # fmt: skip
        spec = {
            "replicas": 2,
            "selector": {"matchLabels": {"app": service}},
            "template": {"metadata": {"labels": {"app": service}}, "spec": {"containers": [container()]}},
        }
        return [
            (f"{APPS}/deployments", {
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(service, app=service), "spec": spec,
            }),
            (self.objects, {
                "apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": meta(service),
                "spec": {"targetRef": target, "service": {"port": 80, "targetPort": 8080}, "analysis": analysis},
            }),
        ]  # fmt: skip

    def release(self, service: str) -> None:
        """A pod template with another environment."""
        changed = container() | {"env": [{"name": "VERSION", "value": "2"}]}
        self.patch(f"{APPS}/deployments/{service}", {"spec": {"template": {"spec": {"containers": [changed]}}}})

    def phase(self, document: Document) -> Phase:
        """By the status."""
        phase = str((document.get("status") or {}).get("phase"))
        return {"Initialized": Phase.IDLE, "Succeeded": Phase.PROMOTED, "Failed": Phase.BACK}.get(phase, Phase.MOVING)
