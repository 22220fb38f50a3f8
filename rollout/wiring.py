"""The one place that chooses adapters: which cluster, which metrics."""

import gc
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

from rollout.adapters.counters import CounterFiles
from rollout.adapters.folder import FolderCluster
from rollout.core.errors import InvalidInput
from rollout.engine.byhand import HOME, ByHand
from rollout.engine.engine import Engine
from rollout.engine.lease import Holder
from rollout.engine.state import FoundShelf, state_name
from rollout.ports import Cluster, Metrics, Probes, Proxies, Watchable, Webhooks


def folder_world(folder: Path) -> tuple[Cluster, Metrics]:
    """A folder of documents, and the counters beside it."""
    return FolderCluster(folder), CounterFiles(folder / ".playground" / "metrics")


def kube_world(context: str | None, prometheus: str | None, need_metrics: bool = True) -> tuple[Cluster, Metrics]:
    """A cluster that a kubeconfig reaches, and the Prometheus at a URL."""
    from rollout.adapters.kubernetes import KubernetesCluster

    metrics = prometheus_at(prometheus if need_metrics else prometheus or "http://127.0.0.1:9090")
    return KubernetesCluster(context), metrics


def watched_world(context: str | None, prometheus: str | None) -> tuple[Watchable, Metrics]:
    """A cluster that also tells what changes, and the Prometheus at a URL."""
    from rollout.adapters.kubernetes import KubernetesCluster

    return KubernetesCluster(context), prometheus_at(prometheus)


def proxied_world(folder: Path | None, context: str | None) -> tuple[Cluster, Proxies]:
    """A cluster, and its pods' proxies."""
    from rollout.adapters.admin import PlaygroundProxies, PodProxies

    if folder:
        return FolderCluster(folder), PlaygroundProxies(folder)
    from rollout.adapters.kubernetes import KubernetesCluster

    cluster = KubernetesCluster(context)
    return cluster, PodProxies(cluster)


def hooks() -> tuple[Callable[[], Webhooks], Callable[[], Probes]]:
    """What makes the ways to webhooks, and to send probes, for one engine."""
    from rollout.adapters.probing import HttpProbes
    from rollout.adapters.webhooks import HttpWebhooks

    return HttpWebhooks, HttpProbes


def prometheus_at(url: str | None) -> Metrics:
    """The Prometheus at a URL. Raises `InvalidInput` without one."""
    from rollout.adapters.prometheus import PrometheusMetrics

    if not url:
        raise InvalidInput("which Prometheus? Name it with --prometheus URL or the variable ROLLOUT_PROMETHEUS")
    # Answers about many services are large and hold no cycle; by default one is looked for every 700 objects.
    gc.set_threshold(50_000)
    return PrometheusMetrics(url)


def engine(cluster: Cluster, metrics: Metrics, service: str, namespace: str, home: str = HOME) -> Engine:
    """An engine with this process's identity.

    Its record lies in the status of the ServiceRollout that asks for the service, or in a ConfigMap where none does;
    `home` is the namespace of the Lease of whoever obeys such objects.
    """
    webhooks, probes = hooks()
    shelf = FoundShelf(cluster, service, namespace)
    own = Holder(cluster, state_name(service), namespace, identity())
    lease = ByHand(cluster, own, home, lambda: shelf.declared is not None)
    return Engine(cluster, metrics, webhooks(), probes(), service, namespace, lease, shelf)


def identity() -> str:
    """A name for this process among those that drive; another each time."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
