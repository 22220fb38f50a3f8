"""Faults on the way to a host that the canary calls: copies of all its routes, for what the canary's pods ask alone.

The copies stand at the top, in the order of their originals, each with a match of the canary's `sourceLabels` and the
fault: whom they do not match nothing changes for, and to remove them restores what was. A host without routes gets a
VirtualService of ours, which goes with them.
"""

import json
from collections.abc import Mapping
from typing import Any

from rollout.core.attempt import Drill
from rollout.core.documents import (
    MANAGED_BY,
    VIRTUAL_SERVICE,
    Document,
    annotations_of,
    copied,
    labels_of,
    name_of,
    ref,
)
from rollout.core.errors import InvalidInput
from rollout.core.strategy import Fault
from rollout.mesh.overlays import narrowed
from rollout.mesh.routes import OURS, http_routes, key_of, ours, with_routes

MADE = "rollout-drill"
INSTEAD = ("redirect", "directResponse", "direct_response")
"""What a route may do instead of asking anybody: Istio allows no fault beside it."""


def annotation(service: str, namespace: str) -> str:
    """The key under which a VirtualService says whose drill it carries.

    >>> annotation("reviews", "shop")
    'reviews.shop.rollout.dev/drill'
    """
    return f"{service}.{namespace}.rollout.dev/drill"


def made_name(service: str, on: str) -> str:
    """The name of the VirtualService that we make for a drill of this service on a host.

    >>> made_name("reviews", "ratings.shop.svc")
    'rollout-drill.reviews.ratings.shop.svc'
    """
    return f"{MADE}.{service}.{on.lower()}"


def mark(attempt: str, fence: int) -> str:
    """What the annotation holds: the attempt, and the fence of the engine that wrote it."""
    return json.dumps({"attempt": attempt, "fence": fence}, separators=(",", ":"))


def marked(vs: Document, key: str) -> tuple[str, int]:
    """Whose drill lies there by its annotation, and the fence; nobody's and 0 where it cannot be read."""
    try:
        raw: dict[str, Any] = json.loads(annotations_of(vs).get(key, "{}"))
        return str(raw.get("attempt", "")), int(raw.get("fence", 0))
    except (ValueError, TypeError, AttributeError):
        return "", 0


def lifted(vs: Document, host: str) -> list[Document]:
    """The http routes without those of drills of the service `host`."""
    return [route for route in http_routes(vs) if not ours(route, f"{host}/drill")]


def bare(vs: Document, host: str, key: str) -> bool:
    """Whether nothing of a drill of the service `host` lies there, nor the annotation `key`."""
    return len(lifted(vs, host)) == len(http_routes(vs)) and key not in annotations_of(vs)


def drilled(vs: Document, host: str, labels: Mapping[str, str], fault: Fault) -> list[Document]:
    """The http routes with the fault above them, for what pods with `labels` ask, on behalf of the service `host`.

    Raises `InvalidInput` where it cannot be made.
    """
    theirs = lifted(vs, host)
    by = {**fault.only, "sourceLabels": dict(labels)}
    copies = []
    for route in theirs:
        if route.get("delegate"):
            raise InvalidInput(
                f"{ref(VIRTUAL_SERVICE, vs)} delegates to others, where no fault of ours can be put above the routes; "
                "leave the step `fault` out"
            )
        if matches := narrowed(vs, _in_the_mesh(route), by):
            copy = {**copied(route), "name": f"{OURS}{host}/drill/{key_of(route)}", "match": matches}
            copies.append(copy if any(key in route for key in INSTEAD) else {**copy, "fault": _fault(fault)})
    if not any("fault" in copy for copy in copies):
        raise InvalidInput(
            f"{fault} would meet no request: no route of {ref(VIRTUAL_SERVICE, vs)} takes what it is for"
        )
    return [*copies, *theirs]


def _in_the_mesh(route: Document) -> list[Document]:
    """What a route matches of pods' requests. Where a match names gateways Istio asks nobody for labels: names go."""
    matches = [match for match in route.get("match") or [{}] if "mesh" in (match.get("gateways") or ["mesh"])]
    return [{key: value for key, value in match.items() if key != "gateways"} for match in matches]


def _fault(fault: Fault) -> Document:
    percentage = {"percentage": {"value": float(fault.percent)}}
    if fault.abort:
        return {"abort": {"httpStatus": fault.abort, **percentage}}
    return {"delay": {"fixedDelay": f"{fault.delay:g}s", **percentage}}


def new(drill: Drill, key: str, host: str, attempt: str, fence: int, fault: Fault | None) -> Document:
    """The VirtualService of ours for a host that has none: all goes as before, but for the fault.

    It is for clients of its own namespace alone: the canary's.
    """
    metadata = {"name": drill.name, "namespace": drill.namespace, "labels": dict(MANAGED_BY)}
    metadata["annotations"] = {key: mark(attempt, fence)}
    plain = {"route": [{"destination": {"host": drill.host}}]}
    spec: Document = {"hosts": [drill.host], "exportTo": ["."], "http": [plain]}
    made: Document = {"apiVersion": VIRTUAL_SERVICE.api_version(), "kind": VIRTUAL_SERVICE.name, "metadata": metadata}
    made["spec"] = spec
    return with_routes(made, drilled(made, host, drill.labels, fault)) if fault else made


def is_made(vs: Document, service: str) -> bool:
    """Whether we made it for a drill of this service."""
    return name_of(vs).startswith(f"{MADE}.{service}.") and MANAGED_BY.items() <= labels_of(vs).items()
