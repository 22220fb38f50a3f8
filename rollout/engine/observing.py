"""From the cluster's documents to one observation: what the routes show, who is ready, which subsets exist."""

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from rollout.core.attempt import Attempt, Drill, RouteRef
from rollout.core.decision import DrillState, Observation, RouteState
from rollout.core.documents import SERVICE, VIRTUAL_SERVICE, Document, Kind, name_of
from rollout.core.errors import InvalidInput, NotFound
from rollout.core.quantities import moment
from rollout.engine.kept import Kept
from rollout.engine.lookup import ROOT_NAMESPACE, Pods, pods_in, ports_of, rules_for, selected, slices_of
from rollout.mesh import drills
from rollout.mesh.claims import annotation, claim_of
from rollout.mesh.hosts import fqdn
from rollout.mesh.overlays import bare, dressed
from rollout.mesh.routes import LEFT, NAME, Pair, alike, bearers, http_routes, key_of, ours, percents, standing
from rollout.mesh.subsets import find, labels_for, owner, seen_from
from rollout.ports import Cluster, Target


@dataclass(frozen=True)
class Scene:
    """The documents behind one observation, None where one is gone; writes are guarded by the versions read here."""

    service: Document | None
    routes: tuple[Document | None, ...]
    rules: tuple[Document, ...]
    own: tuple[Document | None, ...] = ()
    """Stable's Service and the canary's, where each has its own."""
    drilled: tuple[Document | None, ...] = ()
    """The VirtualServices that carry the strategy's faults."""

    def target(self, attempt: Attempt) -> Target:
        """Whose counters the judge needs."""
        host = fqdn(attempt.service, attempt.namespace)
        return Target(host, attempt.namespace, ports_of(self.service), *attempt.counted)


def pair_of(attempt: Attempt) -> Pair:
    """The two versions as routes name them."""
    return Pair(fqdn(attempt.service, attempt.namespace), attempt.stable, attempt.canary, attempt.id)


def spaces_of(attempt: Attempt) -> list[str]:
    """The namespaces whose clients must see both subsets."""
    return list(dict.fromkeys([attempt.namespace, *(route.namespace for route in attempt.routes), *attempt.clients]))


def read_scene(cluster: Cluster, attempt: Attempt) -> Scene:
    """Read what an attempt depends on."""
    return Scene(
        found(cluster, SERVICE, attempt.namespace, attempt.service),
        tuple(found(cluster, VIRTUAL_SERVICE, route.namespace, route.name) for route in attempt.routes),
        tuple(rules_for(cluster, spaces_of(attempt))),
        drilled=tuple(found(cluster, VIRTUAL_SERVICE, one.namespace, one.name) for one in attempt.drills),
    )


def returned(cluster: Cluster, attempt: Attempt) -> bool:
    """Whether all that the attempt moved, as far as it is there, gives its canary nothing."""
    read = zip(read_scene(cluster, attempt).routes, attempt.routes, strict=True)
    return not any(any(percents(vs, pair_of(attempt), route.keys)) for vs, route in read if vs is not None)


class Known:
    """What one who observes again and again has found."""

    def __init__(self) -> None:
        self.routes, self.levels = Kept[tuple[RouteState, ...]](), Kept[list[list[Document]]]()
        self.pods: defaultdict[str, Kept[Pods]] = defaultdict(Kept)
        """By the Service that selects them."""


def observe(cluster: Cluster, attempt: Attempt, scene: Scene, now: float, known: Known | None = None) -> Observation:
    """Put the facts of one moment together, all but the judge's reading."""
    known = known or Known()
    levels = known.levels.found(scene.rules, spaces_of(attempt), lambda: _levels(attempt, scene))
    if scene.own:
        stable, canary = (_pods(cluster, service, known) for service in scene.own)
    else:
        seen = _pods(cluster, scene.service, known)
        stable, canary = (seen.of(labels_for(levels[0], version)) for version in (attempt.stable, attempt.canary))
    return Observation(
        now,
        attempt,
        known.routes.found(
            scene.routes, (attempt.id, attempt.routes, attempt.overlays), lambda: _routes(attempt, scene)
        ),
        stable.ready,
        canary.ready,
        all(find(level, attempt.stable) for level in levels),
        all(find(level, attempt.canary) for level in levels),
        canary.youngest,
        (len(stable.pods), stable.restarts),
        (len(canary.pods), canary.restarts),
        canary.starved,
        subsets_since=max((_written(rule) for level in levels for rule in level), default=math.inf),
        drills=tuple(_drill(vs, one, attempt) for vs, one in zip(scene.drilled, attempt.drills, strict=True)),
    )


def plan_subsets(a: Attempt, scene: Scene) -> tuple[Document | None, list[str], list[Document]]:
    """Which rule gets which missing subsets (None: a new one), and the rules that clients obey now."""
    level = seen_from(scene.rules, pair_of(a).host, a.namespace, a.namespace, ROOT_NAMESPACE)
    missing = [name for name in (a.stable, a.canary) if not find(level, name)]
    return owner(level, pair_of(a).host, a.namespace), missing, level


def found(cluster: Cluster, kind: Kind, namespace: str, name: str) -> Document | None:
    """The object; None where it is gone."""
    try:
        return cluster.get(kind, namespace, name)
    except NotFound:
        return None


def _written(rule: Document) -> float:
    """When the rule's spec was last changed, by the API server's clock; infinite where nothing tells."""
    entries = [f for f in rule["metadata"].get("managedFields") or [] if "f:spec" in (f.get("fieldsV1") or {})]
    return max((moment(entry.get("time")) or math.inf for entry in entries), default=math.inf)


def _levels(a: Attempt, scene: Scene) -> list[list[Document]]:
    """The rules that the clients of each namespace obey."""
    host = pair_of(a).host
    return [seen_from(scene.rules, host, space, a.namespace, ROOT_NAMESPACE) for space in spaces_of(a)]


def _pods(cluster: Cluster, service: Document | None, known: Known) -> Pods:
    if service is None:
        return Pods()
    slices, pods = slices_of(cluster, service), selected(cluster, service)
    return known.pods[name_of(service)].found([*slices, *pods], None, lambda: pods_in(slices, pods))


def _routes(a: Attempt, scene: Scene) -> tuple[RouteState, ...]:
    return tuple(_route(vs, ref, a) for vs, ref in zip(scene.routes, a.routes, strict=True))


def _route(vs: Document | None, ref: RouteRef, attempt: Attempt) -> RouteState:
    title = f"VirtualService {ref.namespace}/{ref.name}"
    given = percents(vs, pair_of(attempt), ref.keys) if vs else []
    if vs is None:
        return RouteState(title, None, (), present=False)
    clothes = {"bare": bare(vs, pair_of(attempt).host), **_clothes(vs, ref, attempt)}
    clothes["stray"] = _stray(vs, title, ref, attempt)
    if not given:
        return RouteState(title, None, (), present=False, **clothes)
    claim = claim_of(vs, annotation(attempt.service, attempt.namespace))
    state = RouteState(title, None, tuple(given), editor(vs), **clothes)
    if claim is None:
        return state
    return replace(
        state, claimed=claim.weight, taken_back=claim.taken_back, taken_at=claim.at, put_at=claim.since,
        sealed=claim.sealed,
    )  # fmt: skip


def _stray(vs: Document, title: str, ref: RouteRef, attempt: Attempt) -> str:
    """Which route by name is not any more what the attempt knows by it, and what to do; empty where all are.

    Without it the rest would be promoted, and who comes by that route would stay behind unseen.
    """
    pair = pair_of(attempt)
    for key in ref.keys:
        known = key.removeprefix(LEFT)
        there = bearers(vs, pair.host, known)
        name, count = known.removeprefix(NAME), len(there)
        lost = name in attempt.names and not any(key_of(route) == known for route in http_routes(vs))
        if not known.startswith(NAME) or not (count or lost):
            continue  # what leads elsewhere now leads nobody to either version
        if key != known and any(standing(vs, route, pair) != {pair.canary} for route in there):
            return f"the route {name} of {title} was at {pair.canary} and is not any more; bring it back there"
        if not count:
            return f"{title} has no route of the name {name} any more; give it back to the route that moves"
        if count > 1 and (name in attempt.names or key in alike(vs, pair, ref.keys)):
            return f"{title} has {count} routes of the name {name}; leave it to the one that moves"
    return ""


def _clothes(vs: Document, ref: RouteRef, attempt: Attempt) -> dict[str, Any]:
    """Whether the routes of ours are those that the step asks for, and why those cannot be made: of an edit since."""
    try:
        wanted = dressed(vs, pair_of(attempt), ref.keys, attempt.overlays)
        there = {route.get("name") for route in http_routes(vs)}
        return {
            "dressed": wanted == http_routes(vs),
            "lacking": any(ours(route) and route["name"] not in there for route in wanted),
        }
    except InvalidInput as error:
        return {"dressed": False, "trouble": str(error)}


def _drill(vs: Document | None, drill: Drill, a: Attempt) -> DrillState:
    """What lies there of this attempt's drill; another's is not ours to see."""
    key, host = drills.annotation(a.service, a.namespace), pair_of(a).host
    wanted = a.fault if a.fault and a.fault.on == drill.on else None
    if vs is None:
        trouble = "" if drill.made else f"VirtualService {drill.namespace}/{drill.name} is gone"
        return DrillState(drill.on, trouble=trouble if wanted else "")
    whose, _ = drills.marked(vs, key)
    if drill.made and not drills.is_made(vs, a.service):
        return DrillState(drill.on, trouble=f"VirtualService {drill.namespace}/{drill.name} is not ours")
    bare = whose not in ("", a.id) or (drills.bare(vs, host, key) and not drill.made)
    try:
        dressed = bool(wanted and drills.drilled(vs, host, drill.labels, wanted) == http_routes(vs) and whose == a.id)
    except InvalidInput as error:
        return DrillState(drill.on, bare=bare, trouble=str(error))
    return DrillState(drill.on, dressed, bare)


def editor(vs: Document) -> str:
    """The field manager, other than us, that wrote the routes last; where nothing says so, the object.

    `spec.http` is one atomic list: whoever changed any of it owns all of it.
    """
    fields = [f for f in vs["metadata"].get("managedFields") or [] if f.get("manager") not in (None, "rollout")]
    routes = [f for f in fields if "f:http" in ((f.get("fieldsV1") or {}).get("f:spec") or {})]
    latest: Document = max(routes or fields, key=lambda f: str(f.get("time", "")), default={})
    return str(latest.get("manager", ""))
