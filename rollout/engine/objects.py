"""Which ServiceRollout asks for a service, and what it asks for."""

import math
from contextlib import suppress

from rollout.core.documents import SERVICE_ROLLOUT, Document, age_of, annotations_of
from rollout.core.errors import Forbidden, InvalidInput, NotFound
from rollout.core.quantities import duration
from rollout.ports import Cluster

RETRY = "rollout.dev/retry"
"""The annotation that asks to try once more what attempt of this number did not achieve."""
OVERRIDE = "rollout.dev/override"
"""The annotation `v2=v1`: v1 is to serve although spec.version says v2, and as long as it does."""


def object_for(cluster: Cluster, service: str, namespace: str) -> Document | None:
    """The ServiceRollout of a Service: of several the oldest, which the controller obeys.

    None also where the kind is not served, or we may not list it. Raises `Unavailable`.
    """
    with suppress(Forbidden):
        return object_seen(cluster, service, namespace)
    return None


def object_seen(cluster: Cluster, service: str, namespace: str) -> Document | None:
    """The same. Raises `Forbidden` where we may not list it, so that nobody knows whether there is one."""
    try:
        every = cluster.list(SERVICE_ROLLOUT, namespace)
    except NotFound:
        return None
    return oldest(every, service)


def oldest(every: list[Document], service: str) -> Document | None:
    """The oldest of these that asks for a Service."""
    same = (one for one in every if (one.get("spec") or {}).get("service") == service)
    return min(same, key=age_of, default=None)


def version_written(document: Document) -> str:
    """What spec.version says; empty where it waits for new ones."""
    return str((document.get("spec") or {}).get("version") or "")


def version_instead(document: Document) -> str:
    """The version that is to serve instead of that, by the annotation; empty where there is none for this version."""
    known, _, instead = annotations_of(document).get(OVERRIDE, "").partition("=")
    return instead if known and known == version_written(document) else ""


def version_asked(document: Document) -> str:
    """The version that is to serve."""
    return version_instead(document) or version_written(document)


def retires_after(document: Document) -> float:
    """Seconds after which a version that was replaced is to be retired; infinite: never, or nobody can say."""
    retire = (document.get("spec") or {}).get("retire")
    try:
        return duration(retire["after"]) if isinstance(retire, dict) and "after" in retire else math.inf
    except InvalidInput:
        return math.inf


def asked_again(document: Document, number: object) -> bool:
    """Whether it asks to try once more what the attempt of this number (none: the first is 1) did not achieve."""
    return annotations_of(document).get(RETRY) == str(number or 0)


def seen(document: Document) -> bool:
    """Whether the controller has acted upon the spec as it stands."""
    return bool((document.get("status") or {}).get("observedGeneration") == document["metadata"].get("generation"))
