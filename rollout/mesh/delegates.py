"""VirtualServices without hosts, to which others delegate routes: split one, find who delegates, merge. Pure.

A rollout that moves a delegate leaves its root to whoever keeps it in Git. As Istio has it, a delegate has neither
hosts nor gateways, delegates to nobody itself, and what it matches must be a part of what its root's route matches.
"""

from collections.abc import Iterator, Sequence

from rollout.core.documents import (
    VIRTUAL_SERVICE,
    Document,
    annotations_of,
    copied,
    labels_of,
    name_of,
    namespace_of,
    ref,
)
from rollout.core.errors import InvalidInput
from rollout.mesh.hosts import resolved
from rollout.mesh.routes import http_routes, movable, ours, with_routes

REVISION = "istio.io/rev"
"""The label by which a control plane chooses the objects that it reads."""
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KEPT = ("name", "match")
"""What stays in the root's route: who may come. What becomes of them is the delegate's."""


def is_delegate(vs: Document) -> bool:
    """Whether it routes only what others delegate to it."""
    return not (vs.get("spec") or {}).get("hosts")


def delegating(vs: Document, every: Sequence[Document]) -> list[tuple[Document, Document]]:
    """The VirtualServices that delegate to this one, each with the route that does."""
    wanted = (namespace_of(vs), name_of(vs))
    return [(root, route) for root in every for route in http_routes(root) if _delegate_of(root, route) == wanted]


def _delegate_of(root: Document, route: Document) -> tuple[str, str] | None:
    """Namespace and name of whom a route delegates to."""
    to = route.get("delegate")
    if not isinstance(to, dict) or is_delegate(root):
        return None
    return str(to.get("namespace") or namespace_of(root)), str(to.get("name", ""))


def split(
    vs: Document, host: str, taken: Sequence[str] = (), keys: Sequence[str] = ()
) -> tuple[Document, list[Document]]:
    """The VirtualService as a root, and a delegate for each of its routes that a rollout of `host` moves.

    Together they route as it does. `taken` are names of VirtualServices that are there, `keys` those of routes that
    move because they are named. Raises `InvalidInput` where it cannot be split.
    """
    title = ref(VIRTUAL_SERVICE, vs)
    if is_delegate(vs):
        raise InvalidInput(f"{title} has no hosts: it is a delegate already, and a delegate may not delegate further")
    claimed = [key for key in annotations_of(vs) if key.endswith(".rollout.dev/attempt")]
    if claimed or any(ours(route) for route in http_routes(vs)):
        raise InvalidInput(f"{title} is being moved by a rollout; split it when that has ended")
    routes, made = copied(http_routes(vs)), list[Document]()
    for index in movable(vs, host, keys):
        name = f"{name_of(vs)}-rollout" + (f"-{len(made) + 1}" if made else "")
        if name in taken:
            raise InvalidInput(f"there is a VirtualService {namespace_of(vs)}/{name} already; rename it, or delete it")
        made.append(_delegate(vs, name, routes[index]))
        kept = {key: value for key, value in routes[index].items() if key in KEPT}
        routes[index] = {**kept, "delegate": {"name": name, "namespace": namespace_of(vs)}}
    if not made:
        raise InvalidInput(f"no route for everybody in {title} sends to {host}, so there is nothing to delegate")
    return _as_written(with_routes(vs, routes)), made


def _delegate(vs: Document, name: str, route: Document) -> Document:
    """With all of the route but what stays in the root.

    Without a match of its own it takes whatever the root's route matches, regular expressions too, which may not stand
    on both sides; without a name it is called as the root's route. No label of the root comes along: by those Argo CD
    and Flux know what is theirs, and delete what Git does not have.
    """
    labels = {key: value for key, value in labels_of(vs).items() if key == REVISION}
    metadata: Document = {"name": name, "namespace": namespace_of(vs), **({"labels": labels} if labels else {})}
    spec: Document = {"http": [{key: value for key, value in route.items() if key not in KEPT}]}
    if scope := (vs.get("spec") or {}).get("exportTo"):
        spec["exportTo"] = list(scope)
    return {"apiVersion": vs["apiVersion"], "kind": vs["kind"], "metadata": metadata, "spec": spec}


def _as_written(vs: Document) -> Document:
    """Without what the API server and kubectl added."""
    was = vs["metadata"]
    notes = {key: value for key, value in annotations_of(vs).items() if key != APPLIED}
    metadata = {key: was[key] for key in ("name", "namespace", "labels") if was.get(key)}
    metadata |= {"annotations": notes} if notes else {}
    rest = {key: value for key, value in vs.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    return {"apiVersion": vs["apiVersion"], "kind": vs["kind"], "metadata": metadata, **rest}


def merged(vs: Document, every: Sequence[Document]) -> Document:
    """A VirtualService with its delegates' routes in place of those that delegate, as Istio reads it.

    A route whose delegate is not there, or matches something beside what the root's route matches, is left out.
    """
    known = {(namespace_of(one), name_of(one)): one for one in every if is_delegate(one)}
    routes: list[Document] = []
    for route in http_routes(vs):
        to = _delegate_of(vs, route)
        if to is None:
            routes.append(route)
        elif to in known:
            theirs = http_routes(known[to])
            if namespace_of(known[to]) != namespace_of(vs):
                theirs = [_at_home(one, namespace_of(known[to])) for one in theirs]
            routes += _joined(route, theirs)
    return with_routes(vs, routes)


def _at_home(route: Document, namespace: str) -> Document:
    """With its hosts in full: a delegate's are short for its own namespace, and not for its root's."""
    found: Document = copied(route)
    mirrored = [{"destination": found["mirror"]}] if found.get("mirror") else []
    for one in (*(found.get("route") or []), *mirrored, *(found.get("mirrors") or [])):
        to = one.get("destination") or {}
        if to.get("host"):
            to["host"] = resolved(str(to["host"]), namespace)
    return found


def _joined(root: Document, delegated: Sequence[Document]) -> Iterator[Document]:
    beside = {key: value for key, value in root.items() if key not in (*KEPT, "delegate")}
    for route in delegated:
        theirs, own = root.get("match") or [], route.get("match") or []
        both = [{**one, **other} for other in own for one in theirs if not one.keys() & other.keys()]
        if theirs and own and not both:
            continue
        found = {**beside, **route, "match": both or own or theirs}
        name = "-".join(part for part in (str(root.get("name", "")), str(route.get("name", ""))) if part)
        yield {key: value for key, value in {**found, "name": name}.items() if value or key not in KEPT}
