"""In a pod, the users' sidecar: a real Envoy, told by us what istiod would tell it of this namespace's documents."""

import sys
import time
from pathlib import Path

from rollout.adapters.kubernetes import KubernetesCluster
from rollout.core.documents import (
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    labels_of,
    name_of,
)
from rollout.core.errors import RolloutError
from rollout.mesh.envoy import Endpoint, Source, clusters, routes
from rollout.mesh.hosts import fqdn
from rollout.playground.proxy import Proxy
from rollout.ports import Cluster

WORKLOAD, PORT, ADMIN = "users", 15001, 15000
EVERY = 0.2


def endpoints(cluster: Cluster, namespace: str) -> dict[str, list[Endpoint]]:
    """The ready pods of each Service, by its host."""
    labels = {name_of(pod): labels_of(pod) for pod in cluster.list(POD, namespace)}
    found: dict[str, list[Endpoint]] = {}
    for one in cluster.list(ENDPOINT_SLICE, namespace):
        host = fqdn(labels_of(one)["kubernetes.io/service-name"], namespace)
        ready = [place for place in one.get("endpoints") or [] if place["conditions"].get("ready")]
        found.setdefault(host, []).extend(_endpoint(place, one, labels) for place in ready)
    return found


def _endpoint(place: Document, piece: Document, labels: dict[str, dict[str, str]]) -> Endpoint:
    return Endpoint(place["addresses"][0], piece["ports"][0]["port"], labels.get(place["targetRef"]["name"], {}))


def obey(cluster: Cluster, namespace: str, proxy: Proxy) -> None:
    """Make Envoy do what the documents say now."""
    kinds = (SERVICE, DESTINATION_RULE, VIRTUAL_SERVICE)
    services, rules, virtual = (cluster.list(kind, namespace) for kind in kinds)
    config = routes(services, virtual, Source(namespace, {"app": WORKLOAD}), WORKLOAD)
    proxy.apply(clusters(services, rules, endpoints(cluster, namespace)), {WORKLOAD: config})


def main(namespace: str) -> None:
    """Run until the container ends."""
    cluster, proxy = KubernetesCluster(), Proxy(Path("/tmp/envoy"), {WORKLOAD: PORT}, [], ADMIN)
    while proxy.process.poll() is None:
        try:
            obey(cluster, namespace, proxy)
        except RolloutError as error:
            print(f"Envoy keeps what it had: {error}", file=sys.stderr, flush=True)
        time.sleep(EVERY)


if __name__ == "__main__":
    main(sys.argv[1])
