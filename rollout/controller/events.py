"""What people see under `kubectl describe` and `kubectl get events`: one Event where it stands otherwise, or why."""

from rollout.core.attempt import Attempt, Fate
from rollout.core.documents import EVENT, MANAGED_BY, MANAGER, SERVICE_ROLLOUT, Document, name_of, namespace_of
from rollout.core.lifecycle import Phase
from rollout.core.quantities import stamp
from rollout.engine.status import Trouble

TOLD = {
    Phase.PREFLIGHT: ("Normal", "Started"),
    Phase.WAITING: ("Normal", "Waiting"),
    Phase.PAUSED: ("Warning", "Paused"),
    Phase.ROLLING_BACK: ("Warning", "RollingBack"),
    Phase.ROLLED_BACK: ("Warning", "RolledBack"),
    Phase.PROMOTED: ("Normal", "Promoted"),
}
"""The phases whose beginning is told, and how."""
SETTLED = {Fate.RETIRED: ("Normal", "Retired"), Fate.KEPT: ("Warning", "NotRetired")}
"""What was decided for good about a version that was replaced, and how it is told."""


def _told(before: Attempt | None, after: Attempt | None) -> tuple[str, str, str] | None:
    """The kind of a change, its reason and its text; None where it concerns nobody, or another process has told it."""
    if after is None or (before is None and after.phase is not Phase.PREFLIGHT):
        return None
    if before and _standing(before) == _standing(after):
        new = (one for one in after.retired if one not in before.retired and one.fate in SETTLED)
        return next(((*SETTLED[one.fate], str(one)) for one in new), None)
    if after.phase is Phase.PAUSED and after.resume:
        return None  # who asked it to go on knows that
    return (*TOLD[after.phase], after.message) if after.phase in TOLD else None


def _standing(a: Attempt) -> tuple[object, ...]:
    """How an attempt stands, and why, as far as people are told: what is said at one gate is one matter."""
    why = {Phase.PAUSED: a.message, Phase.WAITING: a.step}
    return a.id, a.phase, a.reason, why.get(a.phase)


def event_of(document: Document, before: Attempt | None, after: Attempt | None, now: float) -> Document | None:
    """The Event that tells this change of an attempt; None where there is none to tell."""
    told = _told(before, after)
    return _event(document, *told, now) if told else None


def event_of_trouble(document: Document, trouble: Trouble, now: float) -> Document:
    """The Event that tells what stalls the object."""
    return _event(document, "Warning", trouble.reason, trouble.message, now)


def _event(document: Document, kind: str, reason: str, text: str, now: float) -> Document:
    metadata, at = document["metadata"], stamp(now)
    return {
        "apiVersion": EVENT.api_version(),
        "kind": EVENT.name,
        "metadata": {
            "name": f"{name_of(document)}.{int(now * 1e6):x}",
            "namespace": namespace_of(document),
            "labels": dict(MANAGED_BY),
        },
        "involvedObject": {
            "apiVersion": SERVICE_ROLLOUT.api_version(),
            "kind": SERVICE_ROLLOUT.name,
            "name": name_of(document),
            "namespace": namespace_of(document),
            "uid": metadata.get("uid", ""),
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "type": kind,
        "reason": reason,
        "message": text[:1024],
        "source": {"component": MANAGER},
        "reportingComponent": f"rollout.dev/{MANAGER}",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
