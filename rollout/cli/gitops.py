"""What keeps a GitOps controller and a rollout from undoing each other's writes: rules to ignore, or a delegate."""

from collections.abc import Iterator, Sequence
from typing import Any

from rollout.adapters import yaml_text
from rollout.cli import health, naming
from rollout.core.documents import SERVICE, VIRTUAL_SERVICE, Document, name_of, namespace_of, ref
from rollout.core.errors import InvalidInput
from rollout.engine.lookup import everywhere, routing_to
from rollout.engine.observing import editor
from rollout.engine.survey import demand_borne, known_service, no_route
from rollout.mesh.claims import annotation
from rollout.mesh.delegates import is_delegate, split
from rollout.mesh.hosts import fqdn
from rollout.mesh.routes import OURS, http_routes, movable, named
from rollout.ports import Cluster

MANAGERS = ("argocd-controller", "kustomize-controller")
"""The field managers under which Argo CD and Flux write."""
ONCE = {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}
"""Flux makes such an object where it is not there, and never writes it again."""
MARK = '.spec.http[].route[] | select((.headers.response.add["set-cookie"] // "") | startswith("rollout-")) | .headers'

ARGO = """\
Argo CD, in the Application. It compares without what these expressions find, so nothing looks out of sync while a
rollout moves weights. An expression, and not `managedFieldsManagers: [rollout]`: spec.http is one list that one manager
owns as a whole, so from our first write on Argo CD would ignore every change of a route in Git, for good.
Leave RespectIgnoreDifferences=true out for these objects: at a sync it keeps what is ignored by a merge patch, which
takes a list from the cluster whole (argo-cd#17694), and again no change of a route in Git arrives. Without it a sync
writes the weights that Git has: while a rollout is in flight the strategy's key below puts ours back; after a promotion
Git must have the new weights before the next sync."""
FLUX = """\
Flux, on the VirtualService in Git: it applies the object where it is not there, and never again. Later changes of it in
Git do not arrive; to let one in, remove the annotation for one reconciliation, between two rollouts."""
STRATEGY = """\
The strategy, or the spec of a ServiceRollout: what these field managers write into the weights while a rollout is in
flight is put back; an edit by anybody else pauses it. After three times in a minute it pauses all the same."""
INSTEAD = "Neither is needed where Git keeps the root and a rollout moves a delegate: `rollout gitops {} --delegate`."
HEALTH = """\
Argo CD, once for all services, where a controller obeys ServiceRollouts: merge this into its ConfigMap
(`kubectl patch configmap argocd-cm -n argocd --patch-file FILE`). It knows the health of a list of kinds only; without
this it waits for no release, and shows none that went back. kubectl and Flux read the conditions as they are."""
DELEGATE = """\
A delegate for each route that a rollout moves. Apply these first, by hand, and keep them out of Git; or, for Flux, put
them into Git with the annotation kustomize.toolkit.fluxcd.io/ssa: IfNotPresent. They carry no labels of the root, by
which Argo CD and Flux would know them as theirs and delete them."""
NAMELESS = """\
What is delegated has no match, and moves without being named: once all is applied, leave --route out, and take the
names out of spec.routes.names, or the next release is refused."""
ROOT = "The root, for Git: as before, but for the routes that delegate. Apply it after its delegates."


def ignored(service: str, namespace: str, objects: Sequence[tuple[str, str]]) -> list[Document]:
    """The `ignoreDifferences` of an Application of Argo CD for these VirtualServices (namespace and name)."""
    found = [
        f'.metadata.annotations["{annotation(service, namespace)}"]',
        f'.spec.http[] | select((.name // "") | startswith("{OURS}"))',
        MARK,
        ".spec.http[].route[].weight",
    ]
    return [
        {
            "group": VIRTUAL_SERVICE.group,
            "kind": VIRTUAL_SERVICE.name,
            "namespace": space,
            "name": name,
            "jqPathExpressions": list(found),
        }
        for space, name in objects
    ]


def rules(cluster: Cluster, service: str, namespace: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """What to tell Argo CD, Flux and the strategy, as data; `names` are those of routes that move though they match.

    Where none is given, those of the ServiceRollout. A name that cannot be obeyed is left out, with a note. Raises
    `InvalidInput` where nothing would move.
    """
    moving, _, unknown = _moving(cluster, service, namespace, names)
    objects = [(namespace_of(vs), name_of(vs)) for vs, _ in moving]
    return {
        "service": service,
        "namespace": namespace,
        "notes": [*unknown, *_notes(moving, fqdn(service, namespace))],
        "argocd": {"spec": {"ignoreDifferences": ignored(service, namespace, objects)}},
        "flux": {"metadata": {"annotations": dict(ONCE)}},
        "strategy": {"drift": {"gitopsManagers": list(MANAGERS)}},
        "health": health.patch(),
    }


def delegated(cluster: Cluster, service: str, namespace: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """The VirtualServices split into roots and delegates, as data: `documents` in the order in which to apply them.

    `names` are as in `rules`. Raises `InvalidInput` where one cannot be split.
    """
    moving, every, unknown = _moving(cluster, service, namespace, names)
    roots, made = [], list[Document]()
    for vs, keys in moving:
        root, delegates = split(vs, fqdn(service, namespace), [name_of(o) for o in every if _near(o, vs)], keys)
        roots.append(root)
        made += delegates
    notes = [NAMELESS] if any(keys for _, keys in moving) else []
    found = {"service": service, "namespace": namespace, "delegates": len(made), "documents": [*made, *roots]}
    return found | {"notes": [*unknown, *notes]}


def _near(one: Document, other: Document) -> bool:
    return namespace_of(one) == namespace_of(other)


Moving = tuple[Document, tuple[str, ...]]
"""A VirtualService with the keys of those of its routes that move because they are named."""


def _moving(
    cluster: Cluster, service: str, namespace: str, names: Sequence[str]
) -> tuple[list[Moving], list[Document], list[str]]:
    """The VirtualServices with a route that a rollout of the service moves, all that there are, and what is not known
    of names.
    """
    known_service(cluster, service, namespace)
    host = fqdn(service, namespace)
    asked, unread = naming.in_force(cluster, service, namespace, names)
    every, _ = everywhere(cluster, VIRTUAL_SERVICE, namespace)
    found = routing_to(every, host)
    if not found:
        raise InvalidInput(no_route(service, namespace))
    lost = naming.refused(asked, lambda name: demand_borne(found, host, service, (name,)))
    left = [name for name in asked if name not in lost]
    keyed = [(vs, named(vs, host, left)) for vs in found]
    moving = [(vs, keys) for vs, keys in keyed if movable(vs, host, keys)]
    if not moving:
        if lost:
            raise next(iter(lost.values()))
        where = ", ".join(ref(VIRTUAL_SERVICE, vs) for vs in found)
        raise InvalidInput(
            f"no route for everybody in {where} sends to {ref(SERVICE, _named(service, namespace))}"
            + (f"; {unread}" if unread else ""),
            "routes.names",
            "; name those with a match that are to move with --route",
        )
    notes = [f"left out: {error.text}" for error in lost.values()] + [unread] * bool(unread)
    return moving, every, notes


def _named(service: str, namespace: str) -> Document:
    return {"metadata": {"name": service, "namespace": namespace}}


def _notes(moving: Sequence[Moving], host: str) -> Iterator[str]:
    for vs, keys in moving:
        title = ref(VIRTUAL_SERVICE, vs)
        if is_delegate(vs):
            yield f"{title} is a delegate: where it is not in Git, nothing has to be ignored"
        if by := editor(vs):
            yield f"the routes of {title} were written by {by} last"
        if any(len(http_routes(vs)[index]["route"]) == 1 for index in movable(vs, host, keys)):
            yield (
                f"{title} names one version only, and a rollout adds the other: write both into Git, with the weights "
                "100 and 0, or Argo CD shows the one that is added as a difference"
            )


def told_rules(found: dict[str, Any]) -> Iterator[str]:
    """The rules for a person, as YAML with comments."""
    yield from _comment("\n".join(found["notes"]))
    for text, key in ((ARGO, "argocd"), (FLUX, "flux"), (STRATEGY, "strategy")):
        yield from _comment(text)
        yield yaml_text.dump(found[key])
    yield from _comment(INSTEAD.format(found["service"]))
    yield ""
    yield from _comment(HEALTH)
    yield health.told()


def told_documents(found: dict[str, Any]) -> Iterator[str]:
    """The documents for `kubectl apply`, as YAML with comments."""
    yield from _comment("\n".join(found["notes"]))
    for place, document in enumerate(found["documents"]):
        if place in (0, found["delegates"]):
            yield from _comment(ROOT if place else DELEGATE)
        yield "---"
        yield yaml_text.dump(document).rstrip()


def _comment(text: str) -> Iterator[str]:
    yield from (f"# {line}" for line in text.splitlines())
