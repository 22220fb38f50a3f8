"""Before anything is written: what is there, which routes would move, and whether a rollout can work at all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rollout.core.attempt import Attempt, RouteRef
from rollout.core.documents import (
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    labels_of,
    name_of,
    namespace_of,
    ref,
)
from rollout.core.errors import Forbidden, InvalidInput, NotFound
from rollout.core.strategy import Strategy
from rollout.mesh.hosts import fqdn, resolved
from rollout.mesh.routes import Pair, http_routes, key_of, shifted, versions
from rollout.mesh.subsets import LABEL, find, seen_from
from rollout.ports import Cluster, Target

ROOT_NAMESPACE = "istio-system"
MESH = "mesh"


@dataclass(frozen=True)
class Request:
    """What a person asks for. `stable` empty: find it. `create`: whether subsets may be added."""

    service: str
    namespace: str
    canary: str
    strategy: Strategy
    stable: str = ""
    create: bool = True


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


def rules_for(cluster: Cluster, namespaces: Sequence[str]) -> list[Document]:
    """The DestinationRules of these namespaces; the root's are left out where we may not read them."""
    found = []
    for namespace in dict.fromkeys((*namespaces, ROOT_NAMESPACE)):
        try:
            found += cluster.list(DESTINATION_RULE, namespace)
        except Forbidden:
            if namespace != ROOT_NAMESPACE:
                raise
    return found


def virtual_services(cluster: Cluster, host: str, namespace: str) -> list[Document]:
    """The VirtualServices with a route to `host`: of the whole cluster, or only of `namespace` if need be."""
    try:
        every = cluster.list(VIRTUAL_SERVICE)
    except Forbidden:
        every = cluster.list(VIRTUAL_SERVICE, namespace)
    return [vs for vs in every if versions(vs, host) or _names(vs, host)]


def _names(vs: Document, host: str) -> bool:
    return any(
        resolved(str((entry.get("destination") or {}).get("host", "")), namespace_of(vs)) == host
        for route in http_routes(vs)
        for entry in route.get("route") or []
    )


def survey(cluster: Cluster, request: Request, number: int, now: float) -> Attempt:
    """The attempt that would start now. Writes nothing; raises `InvalidInput` if it cannot work."""
    service = _service(cluster, request)
    host = fqdn(request.service, request.namespace)
    found = virtual_services(cluster, host, request.namespace)
    if not found:
        raise InvalidInput(_no_route(request))
    seen = endpoints(cluster, service)
    stable = request.stable or _serving(found, host, seen, request)
    if stable == request.canary:
        raise InvalidInput(f"{request.service} is at {stable} already; name another version with --to")
    _pods(request, stable, seen)
    pair = Pair(host, stable, request.canary)
    routes = tuple(
        RouteRef(namespace_of(vs), name_of(vs), tuple(key_of(http_routes(vs)[i]) for i in shifted(vs, pair)))
        for vs in found
        if shifted(vs, pair)
    )
    if not routes:
        names = ", ".join(ref(VIRTUAL_SERVICE, vs) for vs in found)
        raise InvalidInput(f"no unmatched route of {names} sends to {stable} of {request.service}; try --from")
    _overlaps([vs for vs in found if shifted(vs, pair)])
    _subsets(cluster, request, routes, stable)
    attempt = Attempt(
        number,
        request.service,
        request.namespace,
        stable,
        request.canary,
        request.strategy,
        routes,
        started=now,
        deadline=now + request.strategy.limit,
        capacity=seen.ready.get(stable, 0),
    )
    return attempt.noted(now, f"{stable} → {request.canary} with strategy {request.strategy.name}")


def target_of(cluster: Cluster, attempt: Attempt) -> Target:
    """Whose counters the judge needs."""
    try:
        service = cluster.get(SERVICE, attempt.namespace, attempt.service)
    except NotFound:
        service = {}
    ports = tuple(int(port["port"]) for port in (service.get("spec") or {}).get("ports") or [])
    return Target(fqdn(attempt.service, attempt.namespace), attempt.namespace, ports, attempt.stable, attempt.canary)


def _service(cluster: Cluster, request: Request) -> Document:
    try:
        return cluster.get(SERVICE, request.namespace, request.service)
    except NotFound:
        names = ", ".join(name_of(s) for s in cluster.list(SERVICE, request.namespace)) or "none"
        raise InvalidInput(
            f"there is no Service {request.service} in namespace {request.namespace} (there: {names}); "
            "name another, or another namespace with -n"
        ) from None


def _serving(found: Sequence[Document], host: str, seen: Endpoints, request: Request) -> str:
    """The version that serves: what the routes name, else the only other version with ready pods."""
    named = set().union(*(versions(vs, host, pinned=False) for vs in found)) - {""}
    others = named - {request.canary} or ({v for v in seen.ready if v} - {request.canary})
    if not others and named == {request.canary}:
        return request.canary
    if len(others) != 1:
        raise InvalidInput(
            f"cannot tell which version of {request.service} serves now: {', '.join(sorted(others)) or 'none found'}; "
            "name it with --from"
        )
    return others.pop()


def _pods(request: Request, stable: str, seen: Endpoints) -> None:
    known = ", ".join(sorted(v for v in seen.pods if v)) or "none"
    for version in (request.canary, stable):
        if version not in seen.pods:
            raise InvalidInput(
                f"no pod of {request.service} carries the label {LABEL}={version} (there: {known}); "
                "deploy it first, or name another version"
            )
        if not seen.ready.get(version):
            raise InvalidInput(
                f"none of the {seen.pods[version]} pod(s) of {request.service} {version} is ready; "
                f"see `kubectl get pods -n {request.namespace} -l {LABEL}={version}`"
            )


def _overlaps(found: Sequence[Document]) -> None:
    """Two VirtualServices for one host on the mesh: Istio obeys the older and ignores the other (IST0109)."""
    owner: dict[str, Document] = {}
    for vs in found:
        spec = vs.get("spec") or {}
        if MESH not in (spec.get("gateways") or [MESH]):
            continue
        for host in {resolved(str(h), namespace_of(vs)) for h in spec.get("hosts") or []}:
            if host in owner:
                raise InvalidInput(
                    f"{ref(VIRTUAL_SERVICE, owner[host])} and {ref(VIRTUAL_SERVICE, vs)} both claim {host} "
                    "in the mesh; Istio obeys only the older one: merge them into one"
                )
            owner[host] = vs


def _subsets(cluster: Cluster, request: Request, routes: Sequence[RouteRef], stable: str) -> None:
    """Refuse where a client's namespace has rules of its own that lack the subsets: ours would not be seen there."""
    host = fqdn(request.service, request.namespace)
    spaces = list(dict.fromkeys([request.namespace, *(r.namespace for r in routes)]))
    rules = rules_for(cluster, spaces)
    for client in spaces:
        level = seen_from(rules, host, client, request.namespace, ROOT_NAMESPACE)
        missing = [name for name in (stable, request.canary) if not find(level, name)]
        if not missing:
            continue
        if not request.create:
            raise InvalidInput(
                f"no DestinationRule for {host} that {client} sees has the subset(s) {', '.join(missing)}; "
                "add them, or leave --no-create out"
            )
        if level and namespace_of(level[0]) != request.namespace:
            raise InvalidInput(
                f"{ref(DESTINATION_RULE, level[0])} decides for clients in {client} and lacks the subset(s) "
                f"{', '.join(missing)}; add them there"
            )
    for name in (stable, request.canary):
        found = find(seen_from(rules, host, request.namespace, request.namespace, ROOT_NAMESPACE), name)
        if found and (found.get("labels") or {}).get(LABEL, name) != name:
            raise InvalidInput(f"the subset {name} of {host} selects {found['labels']}, not {LABEL}={name}")


def _no_route(request: Request) -> str:
    return (
        f"no VirtualService routes to {request.service}.{request.namespace}; nothing could be shifted. Apply one:\n"
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {request.service}, namespace: {request.namespace}}}\n"
        f"spec:\n  hosts: [{request.service}]\n  http:\n  - route:\n    - destination: {{host: {request.service}}}"
    )


def restarted(attempt: Attempt, now: float) -> Attempt:
    """A paused attempt that its user asks to go on."""
    return replace(attempt.noted(now, "asked to go on"), resume=True)
