"""Before anything is written: what is there, which routes would move, and whether a rollout can work at all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rollout.core.attempt import Attempt, RouteRef
from rollout.core.documents import (
    DESTINATION_RULE,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    name_of,
    namespace_of,
    ref,
)
from rollout.core.errors import Forbidden, InvalidInput, NotFound
from rollout.core.strategy import Strategy
from rollout.engine.lookup import ROOT_NAMESPACE, Endpoints, endpoints, routing_to, rules_for, virtual_services
from rollout.mesh.hosts import fqdn, resolved
from rollout.mesh.routes import Pair, http_routes, key_of, serving, shifted
from rollout.mesh.subsets import LABEL, find, new_rule, owner, seen_from
from rollout.ports import Cluster

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


def survey(cluster: Cluster, request: Request, number: int, now: float) -> Attempt:
    """The attempt that would start now. Writes nothing; raises `InvalidInput` if it cannot work."""
    service = _service(cluster, request)
    host = fqdn(request.service, request.namespace)
    every = virtual_services(cluster, request.namespace)
    found = routing_to(every, host)
    if not found:
        raise InvalidInput(_no_route(request))
    seen = endpoints(cluster, service)
    stable = request.stable or _serving(found, host, seen, request)
    if stable == request.canary:
        raise InvalidInput(f"{request.service} is at {stable} already; name another version with --to")
    _pods(request, stable, seen)
    pair = Pair(host, stable, request.canary)
    moving = [vs for vs in found if shifted(vs, pair)]
    if not moving:
        names = ", ".join(ref(VIRTUAL_SERVICE, vs) for vs in found)
        raise InvalidInput(
            f"no route for everybody in {names} sends to {stable} of {request.service}; name the version that "
            "serves with --from"
        )
    _overlaps(moving, every)
    routes = tuple(
        RouteRef(namespace_of(vs), name_of(vs), tuple(key_of(http_routes(vs)[i]) for i in shifted(vs, pair)))
        for vs in moving
    )
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


def _service(cluster: Cluster, request: Request) -> Document:
    try:
        return cluster.get(SERVICE, request.namespace, request.service)
    except NotFound:
        names = _services(cluster, request.namespace)
        raise InvalidInput(
            f"there is no Service {request.service} in namespace {request.namespace} (there: {names}); "
            "name another, or another namespace with -n"
        ) from None


def _services(cluster: Cluster, namespace: str) -> str:
    try:
        return ", ".join(name_of(service) for service in cluster.list(SERVICE, namespace)) or "none"
    except Forbidden:
        return "we may not list them"


def _serving(found: Sequence[Document], host: str, seen: Endpoints, request: Request) -> str:
    """The version that serves: what the routes name, else the only other version with ready pods."""
    named = set().union(*(serving(vs, host) for vs in found)) - {""}
    if named == {request.canary}:
        return request.canary
    others = named - {request.canary} or ({v for v in seen.ready if v} - {request.canary})
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


def _overlaps(moving: Sequence[Document], every: Sequence[Document]) -> None:
    """Two VirtualServices for one host on the mesh: Istio obeys the older and ignores the other (IST0109)."""
    for vs in moving:
        for other in every:
            both = _mesh_hosts(vs) & _mesh_hosts(other)
            if both and (namespace_of(other), name_of(other)) != (namespace_of(vs), name_of(vs)):
                raise InvalidInput(
                    f"{ref(VIRTUAL_SERVICE, vs)} and {ref(VIRTUAL_SERVICE, other)} both claim {both.pop()} "
                    "in the mesh; Istio obeys only the older one: merge them into one"
                )


def _mesh_hosts(vs: Document) -> set[str]:
    spec = vs.get("spec") or {}
    if MESH not in (spec.get("gateways") or [MESH]):
        return set()
    return {resolved(str(host), namespace_of(vs)) for host in spec.get("hosts") or []}


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
        if level and namespace_of(level[0]) not in (request.namespace, ROOT_NAMESPACE):
            raise InvalidInput(
                f"{ref(DESTINATION_RULE, level[0])} decides for clients in {client} and lacks the subset(s) "
                f"{', '.join(missing)}; add them there"
            )
        if owner(level, host, request.namespace) is None:
            new_rule(request.service, request.namespace, missing, level)  # refuses where it would hide others
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
