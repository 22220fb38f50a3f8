"""What the status of a ServiceRollout says of its record: fields for people, and conditions that tools wait for."""

import math
import re
from dataclasses import dataclass
from typing import Any

from rollout.core.attempt import Attempt, Record
from rollout.core.decision import DRIFT_FIGHT
from rollout.core.documents import Document, finalizers_of
from rollout.core.lifecycle import Phase
from rollout.core.quantities import stamp
from rollout.engine.objects import retires_after, version_asked

FINALIZER = "rollout.dev/traffic"
"""Stands on the object while an attempt is in flight: traffic goes back before it may go."""
IDLE, PENDING = "Idle", "Pending"
"""The phase where nothing was ever tried; the reason where something else has just ended, and this is not begun."""
UNREACHABLE = "Unreachable"
"""The reason for which an object is not ready while somebody does not answer who must before it can begin."""
TOLD_LINES = 20
"""How many of the journal's last lines are told."""


def marked(document: Document) -> bool:
    """Whether our finalizer stands on it."""
    return FINALIZER in finalizers_of(document)


@dataclass(frozen=True)
class Trouble:
    """Why the spec is not obeyed now: a reason in one word, and a sentence; `stalls`: somebody must act."""

    reason: str
    message: str
    stalls: bool = True

    @property
    def matter(self) -> tuple[str, str]:
        """What is the same for two of which only numbers differ, like how many pods are not ready."""
        return self.reason, re.sub(r"\b\d+\b", "", self.message)


def waiting_since(document: Document, now: float) -> str:
    """Since when it waits for new versions, as it is written; empty where it asks for a version itself.

    Whoever begins to wait later than with the object's creation means none that is there already.
    """
    if not (document.get("spec") or {}).get("trigger"):
        return ""
    status = document.get("status") or {}
    obeyed = status.get("observedGeneration", 0) > 0  # -1 by the definition: nobody has seen it yet
    first = stamp(now) if obeyed else document["metadata"].get("creationTimestamp")
    return str(status.get("waitingSince") or first or "")


def status_of(
    document: Document, record: Record | None, trouble: Trouble | None, now: float, observing: bool, settled: bool
) -> Any:
    """The whole status but for the record's own text.

    `observing`: the spec as it stands was acted upon. `settled`: its version is the one that is, or was, tried, or
    serves already, or there is a `trouble` that does not pass by itself; otherwise it comes next.
    Conditions are those of kstatus (Ready, Reconciling, Stalled), and Promoted: that spec.version, or
    the version that appeared last, serves all traffic.
    """
    attempt = record.attempt if record else None
    before = document.get("status") or {}
    seen = document["metadata"].get("generation", 0) if observing else before.get("observedGeneration", 0)
    found: Document = {"observedGeneration": seen, "phase": IDLE}
    if since := waiting_since(document, now):
        found["waitingSince"] = since
    if attempt is not None:
        found |= _attempted(attempt)
    if record is not None and (at := record.retires_at(retires_after(document))) < math.inf:
        found["retireAt"] = stamp(at)
    version = version_asked(document) or (attempt.canary if attempt else "")
    told = _conditions(attempt, version, trouble, settled)
    found["conditions"] = [_since(one, before.get("conditions") or [], now, seen) for one in told]
    return found


def updating(before: Document, after: Document) -> Document:
    """The merge patch that makes one status the other, as far as `after` is concerned; empty where it is that."""
    patch = {
        key: value for key, value in after.items() if before.get(key) != value or (value is None and key in before)
    }
    return patch | {key: None for key in before if key not in after and key != "record"}


def _attempted(a: Attempt) -> Document:
    found: Document = {
        "phase": a.phase.value,
        "stable": a.stable,
        "canary": a.canary,
        "attempt": a.number,
        "step": max(a.step, 0),
        "weight": float(a.weight),
        "since": stamp(a.since or a.started),
        "message": a.message,
        "journal": [
            {"at": stamp(one.at), "text": one.text, "weight": float(one.weight or 0)} for one in a.journal[-TOLD_LINES:]
        ],
    }
    if not a.phase.ended:
        found["until"] = stamp(a.deadline)
    if a.reason or a.fighting:
        found["reason"] = a.reason.value if a.reason else DRIFT_FIGHT
    if a.retired:
        found["retired"] = [{"version": o.version, "fate": o.fate.value, "text": o.text} for o in a.retired]
    if a.last:
        found["evidence"] = {
            "verdict": a.last.verdict.value,
            "text": a.last.text,
            "toGoOn": round(a.last.to_go_on, 3),
            "toGoBack": round(a.last.to_go_back, 3),
            "hurt": a.last.hurt,
        }
    return found


def _conditions(a: Attempt | None, version: str, trouble: Trouble | None, settled: bool) -> list[Document]:
    flies = a is not None and not a.phase.ended
    back = a is not None and a.phase is Phase.ROLLED_BACK and a.canary == version and settled
    serving = f"{version} serves" if version else "no new version has appeared"
    text, reason = (a.message, (a.reason or a.phase).value) if a else (serving, IDLE)
    if not flies and not settled:
        text, reason = f"{version} comes next", PENDING
    elif not flies and not back:
        text, reason = serving, "Promoted" if a and a.phase is Phase.PROMOTED else IDLE
    fight = Trouble(DRIFT_FIGHT, text) if a and a.fighting and settled else None
    stalled = fight or (trouble if trouble and trouble.stalls else Trouble(reason, text) if back else None)
    serves, goes_on = not flies and settled and not (trouble or stalled), not fight and (flies or not settled)
    if why := fight or (None if flies else trouble or stalled):
        reason, text = why.reason, why.message
    return [
        _condition("Ready", serves, reason, text),
        _condition("Reconciling", goes_on, reason if goes_on else "Settled", text if goes_on else ""),
        _condition("Stalled", bool(stalled), stalled.reason if stalled else "None", stalled.message if stalled else ""),
        _condition("Promoted", serves, reason, text),
    ]


def _condition(kind: str, holds: bool, reason: str, message: str) -> Document:
    return {"type": kind, "status": "True" if holds else "False", "reason": reason, "message": message}


def _since(one: Document, before: list[Document], now: float, generation: int) -> Document:
    """The condition with when its status last changed."""
    known = next((old for old in before if old["type"] == one["type"] and old["status"] == one["status"]), None)
    at = known["lastTransitionTime"] if known else stamp(now)
    return {**one, "lastTransitionTime": at, "observedGeneration": generation}


def trouble_of(document: Document) -> Trouble | None:
    """Why the object is stalled, by its status; None where it is not."""
    return _holding(document, "Stalled")


def unanswered(document: Document) -> Trouble | None:
    """Who does not answer, before what it asks for can begin, by its status; None where nobody is waited for so."""
    waits = _holding(document, "Reconciling")
    return waits if waits and waits.reason == UNREACHABLE else None


def comes_next(document: Document) -> bool:
    """Whether its status says that something is in flight, or is to begin by itself."""
    return _holding(document, "Reconciling") is not None


def _holding(document: Document, kind: str) -> Trouble | None:
    """Why a condition holds, by the status; None where it does not."""
    for one in (document.get("status") or {}).get("conditions") or []:
        if one.get("type") == kind and one.get("status") == "True":
            return Trouble(str(one.get("reason", "")), str(one.get("message", "")))
    return None
