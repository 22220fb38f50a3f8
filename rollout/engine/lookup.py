"""Questions to the cluster that several parts of the engine ask: endpoints, rules, VirtualServices of a service."""

from collections.abc import Iterable
from dataclasses import dataclass

from rollout.core.documents import (
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    Document,
    Kind,
    labels_of,
    name_of,
    namespace_of,
)
from rollout.core.errors import Forbidden
from rollout.mesh.routes import destinations
from rollout.mesh.subsets import LABEL
from rollout.ports import Cluster

ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True)
class Endpoints:
    """Ready endpoints and all pods of a service, by their version label."""

    ready: dict[str, int]
    pods: dict[str, int]


def endpoints(cluster: Cluster, service: Document) -> Endpoints:
    """Count a service's ready endpoints and its pods by version."""
    selector = (service.get("spec") or {}).get("selector") or {}
    namespace = namespace_of(service)
    pods = {name_of(pod): labels_of(pod) for pod in cluster.list(POD, namespace, selector)}
    slices = cluster.list(ENDPOINT_SLICE, namespace, {"kubernetes.io/service-name": name_of(service)})
    names = {
        str((endpoint.get("targetRef") or {}).get("name", ""))
        for one in slices
        for endpoint in one.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready") is not False
    }
    counted = Endpoints({}, {})
    for name, labels in pods.items():
        version = labels.get(LABEL, "")
        counted.pods[version] = counted.pods.get(version, 0) + 1
        if name in names:
            counted.ready[version] = counted.ready.get(version, 0) + 1
    return counted


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


def everywhere(cluster: Cluster, kind: Kind, namespace: str) -> tuple[list[Document], bool]:
    """The objects of the whole cluster, or only of `namespace` and False where we may not read the others."""
    try:
        return cluster.list(kind), True
    except Forbidden:
        return cluster.list(kind, namespace), False


def routing_to(documents: Iterable[Document], host: str) -> list[Document]:
    """The VirtualServices that name `host` in a destination, whatever its weight."""
    return [vs for vs in documents if destinations(vs, host)]
