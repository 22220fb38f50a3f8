"""Before anything is written: what is there, which routes would move, and whether a rollout can work at all."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from rollout.core.attempt import Attempt, Drill, RouteRef, Scale
from rollout.core.documents import (
    DESTINATION_RULE,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    labels_of,
    name_of,
    namespace_of,
    ref,
    selector_of,
)
from rollout.core.errors import Forbidden, InvalidInput, NotFound, about
from rollout.core.strategy import Fault, Strategy
from rollout.engine.asking import opened
from rollout.engine.lookup import ROOT_NAMESPACE, Pod, Pods, everywhere, other_clusters, pods_of, routing_to
from rollout.engine.observing import pair_of, plan_subsets, read_scene, spaces_of
from rollout.engine.rehearsal import MESH, rehearse
from rollout.engine.rights import demand_scaling
from rollout.engine.scaling import only, workloads
from rollout.mesh.delegates import delegating, is_delegate
from rollout.mesh.drills import drilled, is_made, made_name
from rollout.mesh.hosts import DOMAIN, covers, exported_to_all, fqdn, resolved
from rollout.mesh.remotes import warning
from rollout.mesh.routes import (
    LEFT,
    NAME,
    Pair,
    alike,
    bearing,
    demand_unlike,
    doubled,
    http_routes,
    key_of,
    leads,
    named,
    serving,
    shifted,
    standing,
    unpinned,
)
from rollout.mesh.subsets import LABEL, find, host_of, labels_for, new_rule, seen_from
from rollout.mesh.workloads import number, template
from rollout.ports import Cluster

LEAST_FOUND, LEAST_ASKED = Fraction(4, 5), Fraction(1, 2)
"""The share of the serving endpoints that stable must have before an unpinned route is pinned to it: where we found
that it serves, and where the user said so."""


@dataclass(frozen=True)
class Request:
    """What a person asks for. `stable` empty: find it. `create`: whether subsets may be added.

    `why` says why the strategy was chosen, for the journal; empty where the person named it. `scale` says who scales.
    `others` are the mesh's other clusters; None: look for them. `names` are those of routes that are to move though
    they have a match.
    """

    service: str
    namespace: str
    canary: str
    strategy: Strategy
    stable: str = ""
    create: bool = True
    why: str = ""
    scale: Scale = Scale.WAIT
    others: tuple[str, ...] | None = None
    names: tuple[str, ...] = ()


@about("service")
def survey(cluster: Cluster, request: Request, number: int, now: float) -> Attempt:
    """The attempt that would start now. Writes nothing; raises `InvalidInput`, with the field, if it cannot work."""
    service = known_service(cluster, request.service, request.namespace)
    host = fqdn(request.service, request.namespace)
    every, whole = everywhere(cluster, VIRTUAL_SERVICE, request.namespace)
    found = routing_to(every, host)
    if not found:
        raise InvalidInput(no_route(request.service, request.namespace))
    demand_borne(found, host, request.service, request.names)
    seen = pods_of(cluster, service)
    stable = request.stable or _serving(found, host, seen, request)
    if stable == request.canary or (request.names and _chosen(found, host, request.names) == {request.canary}):
        # Who names routes means them to follow the others, though he say from where: no other goes back for them.
        raise InvalidInput(
            f"{request.service} is at {request.canary} already", "version", "; name another version with --to"
        )
    rules, all_rules = everywhere(cluster, DESTINATION_RULE, request.namespace)
    level = seen_from(rules, host, request.namespace, request.namespace, ROOT_NAMESPACE)
    theirs, ours = (seen.of(labels_for(level, name)) for name in (stable, request.canary))
    if asleep := _asleep(cluster, request, service, labels_for(level, request.canary)):
        ours = ours if ours.pods else asleep
    for version, pods in ((request.canary, ours), (stable, theirs)):
        if pods is ours and asleep:
            continue
        _there(request, version, labels_for(level, version), pods, seen)
    pair = Pair(host, stable, request.canary)
    moving = _moving(found, pair, request)
    _overlaps([*(vs for vs, _ in moving), *_roots([vs for vs, _ in moving], every, whole)], every)
    if any(unpinned(vs, pair, keys) for vs, keys in moving):
        _pinnable(request, stable, theirs.ready, seen.ready - ours.ready)
    attempt = Attempt(
        number,
        request.service,
        request.namespace,
        stable,
        request.canary,
        request.strategy,
        tuple(route_ref(vs, pair, keys) for vs, keys in moving),
        started=now,
        deadline=now + request.strategy.limit,
        capacity=theirs.ready,
        counted=counted(pair, theirs, ours),
        clients=tuple(_clients(rules, host)),
        narrow=not (whole and all_rules),
        scale=request.scale,
        drills=_drills(cluster, request, every, found, _labels(service, labels_for(level, request.canary))),
        names=request.names,
    )
    _subsets(cluster, request, attempt)
    rehearse(attempt, ours.ready, service, every)
    for where in request.strategy.secrets:
        field = "strategy.notify" if where is request.strategy.notify else "strategy"
        with suppress(Forbidden), about(field):  # who drives is told of every right that is missing, at once
            opened(cluster, request.namespace, where)
    return _noted(attempt, request, there_already(found, pair, request.names), _others(cluster, request))


def _others(cluster: Cluster, request: Request) -> tuple[str, ...]:
    """The mesh's other clusters."""
    return other_clusters(cluster) if request.others is None else request.others


def _noted(attempt: Attempt, request: Request, staying: Sequence[str], others: tuple[str, ...]) -> Attempt:
    """With what people are told at its start."""
    now = attempt.started
    text = f"{attempt.stable} → {attempt.canary} with strategy {request.strategy.name}"
    if attempt.narrow:
        text += f"; only namespace {request.namespace} could be listed: routes and rules elsewhere are not known"
    attempt = attempt.noted(now, text)
    for text in (*staying, *([warning(others)] if others else ())):
        attempt = attempt.remarked(now, text)
    return attempt.noted(now, request.why) if request.why else attempt


def _labels(service: Document, subset: dict[str, str]) -> dict[str, str]:
    """What tells a version's pods from all others."""
    return {**selector_of(service), **subset}


@about("scale")
def _asleep(cluster: Cluster, request: Request, service: Document, subset: dict[str, str]) -> Pods | None:
    """The pods that a canary without replicas would have, where we are to scale it; None where it has some, or must."""
    if request.scale is Scale.WAIT:
        return None
    demand_scaling(cluster, request.namespace)
    one = only(workloads(cluster, service, subset)[0], request.service, request.canary)
    return None if number(one.deployment) else Pods((Pod(labels_of(template(one.deployment)), False),))


@about("strategy.steps")
def _drills(
    cluster: Cluster, request: Request, every: Sequence[Document], ours: Sequence[Document], labels: dict[str, str]
) -> tuple[Drill, ...]:
    """Where each fault of the strategy would lie."""
    found: list[Drill] = []
    faults = [step.fault for step in request.strategy.steps if step.fault]
    seen: dict[str, str] = {}
    for fault in faults:
        on, host = fault.on, _asked(cluster, fault, request)
        if host in seen and seen[host] == on:
            continue
        if host in seen:
            raise InvalidInput(f"faults on {seen[host]} and {on} are on one Service; write it alike")
        seen[host] = on
        theirs = [vs for vs in every if any(covers(one, host) for one in _mesh_hosts(vs))]
        theirs = [vs for vs in theirs if not is_made(vs, request.service)]
        if theirs[1:]:
            names = " and ".join(ref(VIRTUAL_SERVICE, vs) for vs in theirs)
            raise InvalidInput(
                f"{names} all claim {host} in the mesh; Istio obeys only one of them: merge them into one"
            )
        if theirs and theirs[0] in ours:
            raise InvalidInput(
                f"{ref(VIRTUAL_SERVICE, theirs[0])} routes both {request.service} and {on}; split it into one for "
                "each, or leave the step `fault` out"
            )
        if theirs:
            for one in faults:
                if one.on == on:
                    drilled(theirs[0], fqdn(request.service, request.namespace), labels, one)  # refuses what cannot be
            found.append(Drill(on, host, namespace_of(theirs[0]), name_of(theirs[0]), False, labels))
        else:
            found.append(Drill(on, host, request.namespace, made_name(request.service, on), True, labels))
    return tuple(found)


def _asked(cluster: Cluster, fault: Fault, request: Request) -> str:
    """The fully qualified host that a fault is on. Raises `InvalidInput` where it is no Service that it can be on."""
    name, namespace, domain, *_ = [*resolved(fault.on, request.namespace).split(".", maxsplit=2), "", ""]
    if domain not in ("svc", DOMAIN):
        raise InvalidInput(f"a fault on {fault.on}: name a Service of this namespace, or one like ratings.shop.svc")
    if (name, namespace) == (request.service, request.namespace):
        raise InvalidInput(f"a fault on {fault.on} is on {request.service} itself; name a Service that it calls")
    known_service(cluster, name, namespace)
    return fqdn(name, namespace)


@about("service")
def serves(cluster: Cluster, service: str, namespace: str, version: str, names: Sequence[str] = ()) -> bool:
    """Whether every route that chooses a version of the service sends to this one alone.

    Those are the routes for everybody; where there is none, those that bear one of `names`. Raises `InvalidInput` where
    no route leads to the service, or there is no such Service.
    """
    host = fqdn(service, namespace)
    found = routing_to(everywhere(cluster, VIRTUAL_SERVICE, namespace)[0], host)
    if not found:
        known_service(cluster, service, namespace)
        raise InvalidInput(no_route(service, namespace))
    return _chosen(found, host, names) == {version}


def _chosen(found: Sequence[Document], host: str, names: Sequence[str]) -> set[str]:
    """The versions that routes for everybody send requests to, and only where there is none, those of these names.

    What is named follows the others: by a route that lags behind nobody is to take what serves for what does not.
    """
    for_all = set[str]().union(*(serving(vs, host) for vs in found))
    return (for_all or set[str]().union(*(serving(vs, host, bearing(vs, host, names)) for vs in found))) - {""}


@about("routes.names")
def demand_borne(found: Sequence[Document], host: str, service: str, names: Sequence[str]) -> None:
    """Raise `InvalidInput` where a name is borne by no route that leads to the service, or by two in one place."""
    there = {key for vs in found for key in named(vs, host, names)}
    for name in names:
        if f"{NAME}{name}" in there:
            continue
        if elsewhere := [vs for vs in found if f"{NAME}{name}" in map(key_of, http_routes(vs))]:
            raise InvalidInput(f"the route {name} of {ref(VIRTUAL_SERVICE, elsewhere[0])} does not lead to {service}")
        where = ", ".join(ref(VIRTUAL_SERVICE, vs) for vs in found)
        leading = (route for vs in found for route in http_routes(vs) if leads(route, vs, host))
        known = sorted({str(route["name"]) for route in leading if route.get("name")})
        raise InvalidInput(
            f"no HTTP route to {service} in {where} has the name {name} (there: {', '.join(known) or 'none has one'})"
        )


def known_service(cluster: Cluster, service: str, namespace: str) -> Document:
    """The Service. Raises `InvalidInput` with those that are there."""
    try:
        return cluster.get(SERVICE, namespace, service)
    except NotFound:
        names = _services(cluster, namespace)
        raise InvalidInput(
            f"there is no Service {service} in namespace {namespace} (there: {names})",
            hint="; name another, or another namespace with -n",
        ) from None


def _services(cluster: Cluster, namespace: str) -> str:
    try:
        return ", ".join(name_of(service) for service in cluster.list(SERVICE, namespace)) or "none"
    except Forbidden:
        return "we may not list them"


def _serving(found: Sequence[Document], host: str, seen: Pods, request: Request) -> str:
    """The version that serves: what the routes name, else the only other version with ready pods."""
    chosen = _chosen(found, host, request.names)
    if chosen == {request.canary}:
        return request.canary
    ready = {pod.labels.get(LABEL, "") for pod in seen.pods if pod.ready}
    others = chosen - {request.canary} or (ready - {request.canary, ""})
    if len(others) != 1:
        hidden = _hidden(found, host, request)
        apart = bool(request.names and chosen) and not any(serving(vs, host) for vs in found)
        raise InvalidInput(
            f"cannot tell which version of {request.service} serves now: {', '.join(sorted(others)) or 'none found'}"
            + (f" (every route to it has a match, and none is named); {hidden}" if hidden else "")
            + (" (by the routes that are named): bring all of them to one first" if apart else ""),
            "routes.names" if hidden or apart else "",
            "; name it with --from" + (", or routes that are to move with --route" if hidden else ""),
        )
    return others.pop()


def _hidden(found: Sequence[Document], host: str, request: Request) -> str:
    """What to write where a match hides every route to the service, and none is named; empty where that is not so."""
    leading = [route for vs in found for route in http_routes(vs) if leads(route, vs, host)]
    if request.names or not all(route.get("match") for route in leading):
        return ""
    known = ", ".join(sorted({str(route["name"]) for route in leading if route.get("name")}))
    return f"write `routes: {{names: [NAME]}}` with those that are to move (there: {known or 'none has a name'})"


def _there(request: Request, version: str, labels: dict[str, str], pods: Pods, seen: Pods) -> None:
    """Refuse a version without pods, or without one that is ready."""
    field = "version" if version == request.canary else "service"
    wanted = ",".join(f"{key}={value}" for key, value in labels.items())
    if not pods.pods:
        known = ", ".join(v for v in seen.versions if v) or "none"
        raise InvalidInput(
            f"no pod of {request.service} carries the label {wanted} (versions there: {known}); "
            "deploy it first, or name another version",
            field,
        )
    if not pods.ready:
        raise InvalidInput(
            f"none of the {len(pods.pods)} pod(s) of {request.service} {version} is ready; "
            f"see `kubectl get pods -n {request.namespace} -l {wanted}`",
            field,
        )


def counted(pair: Pair, stable: Pods, canary: Pods) -> tuple[str, str]:
    """The versions as the mesh's counters carry them: the pods' `version` label, which must tell the two apart."""
    found = []
    for name, pods in ((pair.stable, stable), (pair.canary, canary)):
        told = ", ".join(version or "none" for version in pods.versions) or "none"
        if pods.versions[1:] or not any(pods.versions):
            raise InvalidInput(
                f"the pods of the subset {name} carry {LABEL}={told}; give them all the same label",
                "version" if name == pair.canary else "service",
            )
        found.append(told)
    if found[0] == found[1]:
        raise InvalidInput(
            f"the pods of {pair.stable} and {pair.canary} both carry {LABEL}={found[0]}; give each its own, "
            "or nobody can tell whose requests fail",
            "version",
        )
    return found[0], found[1]


def _moving(found: Sequence[Document], pair: Pair, request: Request) -> list[tuple[Document, tuple[str, ...]]]:
    """The VirtualServices with a route that moves, each with the keys of those that are named (see `keyed`)."""
    every = [(vs, keyed(vs, pair, request.names)) for vs in found]
    moving = [(vs, keys) for vs, keys in every if shifted(vs, pair, keys)]
    if not moving:
        names = ", ".join(ref(VIRTUAL_SERVICE, vs) for vs in found)
        hidden = _hidden(found, pair.host, request)
        raise InvalidInput(
            f"no route for everybody in {names} sends to {pair.stable} of {request.service}: a route moves if it has "
            "no match, splits between both versions already, or is named" + (f"; {hidden}" if hidden else ""),
            "routes.names" if hidden else "",
            "; name the version that serves with --from, such a route with --route, or add one",
        )
    for vs, keys in moving:
        known = route_ref(vs, pair, keys).keys  # by these alone the attempt finds its routes again
        moves_more = shifted(vs, pair, known) != shifted(vs, pair, keys)
        demand_unlike(vs, known if moves_more else alike(vs, pair, known))
        if twice := doubled(vs, pair, keys):
            raise InvalidInput(f"{ref(VIRTUAL_SERVICE, vs)}: a route names {twice} twice; make it one destination")
    return moving


@about("routes.names")
def keyed(vs: Document, pair: Pair, names: Sequence[str]) -> tuple[str, ...]:
    """The keys by which matched routes of these names move; after `LEFT` those of them that are at the canary already.

    Raises `InvalidInput` where one is at neither, for nobody knows what it is meant for, or two bear the same name.
    """
    keys, found = named(vs, pair.host, names), []
    for route in http_routes(vs):
        if (key := key_of(route)) not in keys or not route.get("match"):
            continue  # what has none is found by its destinations, named or not
        at = standing(vs, route, pair)
        if pair.stable not in at and at != {pair.canary}:
            told = ", ".join(sorted(one or "every version" for one in at)) or "no version"
            raise InvalidInput(
                f"the route {route['name']} of {ref(VIRTUAL_SERVICE, vs)} is at {told}, everybody else at "
                f"{pair.stable}: bring it to {pair.stable} first, or leave the name out"
            )
        found.append(key if pair.stable in at else LEFT + key)
    return tuple(found)


def there_already(found: Sequence[Document], pair: Pair, names: Sequence[str]) -> list[str]:
    """Of each route of these names that stays where it is, why. Raises `InvalidInput` as `keyed` does."""
    staying = [(vs, key) for vs in found for key in keyed(vs, pair, names) if key.startswith(LEFT)]
    there = [(ref(VIRTUAL_SERVICE, vs), key.removeprefix(LEFT + NAME)) for vs, key in staying]
    return [f"the route {name} of {title} is at {pair.canary} already, and stays there" for title, name in there]


def _roots(moving: Sequence[Document], every: Sequence[Document], whole: bool) -> list[Document]:
    """Who delegates to those that move; where `every` is all there is, a delegate that nobody knows moves nothing."""
    found = []
    for vs in filter(is_delegate, moving):
        roots = [root for root, _ in delegating(vs, every)]
        if not roots and whole:
            raise InvalidInput(
                f"{ref(VIRTUAL_SERVICE, vs)} has no hosts, and no VirtualService delegates to it: no request comes to "
                "its routes; name its hosts, let one delegate to it, or delete it"
            )
        found += roots
    return found


def route_ref(vs: Document, pair: Pair, keys: Sequence[str] = ()) -> RouteRef:
    """The VirtualService with the keys of its routes that move, among them those that are named, and of those left."""
    moving = (key_of(http_routes(vs)[index]) for index in shifted(vs, pair, keys))
    return RouteRef(namespace_of(vs), name_of(vs), (*moving, *(key for key in keys if key.startswith(LEFT))))


def _pinnable(request: Request, stable: str, ready: int, serving_now: int) -> None:
    """A route without a subset uses every pod: to pin it puts their load on stable alone."""
    if Fraction(ready, serving_now) < (LEAST_ASKED if request.stable else LEAST_FOUND):
        raise InvalidInput(
            f"the route to {request.service} names no subset, and the first step would pin it to {stable}, which has "
            f"only {ready} of the {serving_now} ready endpoints that serve now; scale {stable} up, label all pods with "
            f"{LABEL}, or name the subsets in the route"
        )


def _clients(rules: Sequence[Document], host: str) -> list[str]:
    """The namespaces with a rule of their own for the host: their clients see its subsets, not the service's."""
    covering = {namespace_of(rule) for rule in rules if covers(host_of(rule), host)}
    return sorted(covering - {ROOT_NAMESPACE})


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


def _subsets(cluster: Cluster, request: Request, attempt: Attempt) -> None:
    """Refuse where clients obey rules that lack the subsets and are not ours to complete."""
    scene = read_scene(cluster, attempt)
    host, pair = pair_of(attempt).host, pair_of(attempt)
    for client in spaces_of(attempt):
        level = seen_from(scene.rules, host, client, request.namespace, ROOT_NAMESPACE)
        missing = [name for name in (attempt.stable, attempt.canary) if not find(level, name)]
        if missing and not request.create:
            raise InvalidInput(
                f"no DestinationRule for {host} that clients in {client} see has the subset(s) {', '.join(missing)}; "
                "add them, or leave --no-create out"
            )
        if missing and level and namespace_of(level[0]) not in (request.namespace, ROOT_NAMESPACE):
            raise InvalidInput(
                f"{ref(DESTINATION_RULE, level[0])} decides for clients in {client} and lacks the subset(s) "
                f"{', '.join(missing)}; add them there"
            )
    rule, missing, level = plan_subsets(attempt, scene)
    if missing and rule is None:
        new_rule(request.service, request.namespace, missing, level, scene.rules)  # refuses if it would hide others
    read = zip(scene.routes, attempt.routes, strict=True)
    pinning = [vs for vs, route in read if vs is not None and unpinned(vs, pair, route.keys)]
    if any(map(exported_to_all, pinning)) and level and not exported_to_all(level[0]):
        raise InvalidInput(
            f"{ref(DESTINATION_RULE, level[0])} is exported to some namespaces only (exportTo), the route to all: "
            "clients elsewhere would be sent to a subset that they do not have; export it as widely as the route"
        )


def no_route(service: str, namespace: str) -> str:
    """What to do where nothing routes to the service."""
    return (
        f"no VirtualService routes to {service}.{namespace}; nothing could be shifted. Apply one:\n"
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {service}, namespace: {namespace}}}\n"
        f"spec:\n  hosts: [{service}]\n  http:\n  - route:\n    - destination: {{host: {service}}}"
    )
