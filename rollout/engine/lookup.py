"""Questions to the cluster that several parts of the engine ask: endpoints, rules, VirtualServices of a service."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rollout.core.documents import (
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    SECRET,
    Document,
    Kind,
    labels_of,
    name_of,
    namespace_of,
    selector_of,
)
from rollout.core.errors import Forbidden
from rollout.core.quantities import moment
from rollout.mesh.proxies import PROXY
from rollout.mesh.remotes import MARK, clusters
from rollout.mesh.routes import destinations
from rollout.mesh.subsets import LABEL, seen_from
from rollout.ports import Cluster

ROOT_NAMESPACE = "istio-system"
SLOW_START = 300.0


@dataclass(frozen=True)
class Pod:
    """A pod that the Service selects: its labels, whether its endpoint is ready, and since when it can serve.

    `since` is an epoch second, 0 where nothing tells; `restarts` are those of its containers, the mesh's own left out,
    and `starved` how many of these were killed for memory the last time that they ended.
    """

    labels: dict[str, str]
    ready: bool
    since: float = 0.0
    restarts: int = 0
    starved: int = 0


@dataclass(frozen=True)
class Pods:
    """All pods that a Service selects."""

    pods: tuple[Pod, ...] = ()

    def of(self, labels: Mapping[str, str]) -> "Pods":
        """Those of a subset."""
        return Pods(tuple(pod for pod in self.pods if labels.items() <= pod.labels.items()))

    @property
    def ready(self) -> int:
        """How many have a ready endpoint."""
        return sum(pod.ready for pod in self.pods)

    @property
    def restarts(self) -> int:
        """How often their containers have restarted."""
        return sum(pod.restarts for pod in self.pods)

    @property
    def starved(self) -> int:
        """How many of their containers were killed for memory the last time that they ended."""
        return sum(pod.starved for pod in self.pods)

    @property
    def youngest(self) -> float:
        """Since when so many of those with a ready endpoint can serve that at most a third are younger."""
        since = sorted(pod.since for pod in self.pods if pod.ready)
        return since[math.ceil(2 * len(since) / 3) - 1] if since else 0.0

    @property
    def versions(self) -> list[str]:
        """Their `version` labels, which the mesh's counters carry; empty for a pod without one."""
        return sorted({pod.labels.get(LABEL, "") for pod in self.pods})


def pods_of(cluster: Cluster, service: Document) -> Pods:
    """The pods of a Service, with their readiness by its EndpointSlices."""
    return pods_in(slices_of(cluster, service), selected(cluster, service))


def slices_of(cluster: Cluster, service: Document) -> list[Document]:
    """The EndpointSlices of a Service."""
    return cluster.list(ENDPOINT_SLICE, namespace_of(service), {"kubernetes.io/service-name": name_of(service)})


def selected(cluster: Cluster, service: Document) -> list[Document]:
    """The Pods that a Service selects."""
    return cluster.list(POD, namespace_of(service), selector_of(service))


def pods_in(slices: Iterable[Document], pods: Iterable[Document]) -> Pods:
    """Pods with their readiness by EndpointSlices."""
    ready = {
        str((endpoint.get("targetRef") or {}).get("name", ""))
        for one in slices
        for endpoint in one.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready") is not False
    }
    return Pods(tuple(_pod(pod, name_of(pod) in ready) for pod in pods))


def _pod(pod: Document, ready: bool) -> Pod:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    own = [status for status in statuses if status.get("name") != PROXY]
    restarts = sum(int(status.get("restartCount") or 0) for status in own)
    ends = [(status.get("lastState") or {}).get("terminated") or {} for status in own]
    starved = sum(end.get("reason") == "OOMKilled" for end in ends)
    return Pod(labels_of(pod), ready, _serving_since(pod), restarts, starved)


def _serving_since(pod: Document) -> float:
    """When the pod became ready, if that was within SLOW_START of its start: readiness that comes and goes is no start.

    Otherwise when it started.
    """
    status = pod.get("status") or {}
    started = moment(status.get("startTime"))
    conditions = status.get("conditions") or []
    changed = next((c.get("lastTransitionTime") for c in conditions if c.get("type") == "Ready"), None)
    ready = moment(changed)
    return ready if started <= ready <= started + SLOW_START else started


def ports_of(service: Document | None) -> tuple[int, ...]:
    """The ports of a Service."""
    return tuple(int(port["port"]) for port in ((service or {}).get("spec") or {}).get("ports") or [])


def rules_for(cluster: Cluster, namespaces: Iterable[str]) -> list[Document]:
    """The DestinationRules of these namespaces; the root's are left out where we may not read them."""
    found = []
    for namespace in dict.fromkeys((*namespaces, ROOT_NAMESPACE)):
        try:
            found += cluster.list(DESTINATION_RULE, namespace)
        except Forbidden:
            if namespace != ROOT_NAMESPACE:
                raise
    return found


def obeyed(cluster: Cluster, host: str, namespace: str) -> list[Document]:
    """The DestinationRules that clients in the service's own namespace obey."""
    return seen_from(rules_for(cluster, [namespace]), host, namespace, namespace, ROOT_NAMESPACE)


def everywhere(cluster: Cluster, kind: Kind, namespace: str) -> tuple[list[Document], bool]:
    """The objects of the whole cluster, or only of `namespace` and False where we may not read the others."""
    try:
        return cluster.list(kind), True
    except Forbidden:
        return cluster.list(kind, namespace), False


def other_clusters(cluster: Cluster) -> tuple[str, ...]:
    """The mesh's clusters beside this one, as far as we may see them."""
    try:
        return clusters(cluster.list(SECRET, ROOT_NAMESPACE, MARK))
    except Forbidden:
        return ()


def routing_to(documents: Iterable[Document], host: str) -> list[Document]:
    """The VirtualServices that name `host` in a destination, whatever its weight."""
    return [vs for vs in documents if destinations(vs, host)]
