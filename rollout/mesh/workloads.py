"""Deployments and autoscalers: which make a version's pods, and how a number is put there and given back. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rollout.core.documents import AUTOSCALER, DEPLOYMENT, KINDS, Document, annotations_of, carries, name_of, ref
from rollout.mesh.claims import GROUP

NUMBERS = {DEPLOYMENT.name: "replicas", AUTOSCALER.name: "minReplicas"}
"""By kind: the field of its spec that is scaled."""


ASLEEP: Document = {"spec": {NUMBERS[DEPLOYMENT.name]: 0}}
"""The merge patch that scales a Deployment to 0, where its autoscaler leaves it alone."""

Write = tuple[Document, Document]
"""An object as it was read, and the merge patch for it."""


@dataclass(frozen=True)
class Workload:
    """What makes a version's pods, and what scales it by itself (None: nothing does)."""

    deployment: Document
    autoscaler: Document | None = None


@dataclass(frozen=True)
class Scaled:
    """Our annotation on what was scaled: for which attempt, what its number was, and what we put."""

    attempt: str
    was: int
    put: int


def annotation(service: str, namespace: str) -> str:
    """The annotation's key; one for each service.

    >>> annotation("reviews", "shop")
    'reviews.shop.rollout.dev/scaled'
    """
    return f"{service}.{namespace}.{GROUP}/scaled"


def behind(
    deployments: Iterable[Document], autoscalers: Iterable[Document], labels: Mapping[str, str]
) -> list[Workload]:
    """The Deployments whose pods have these labels, each with its autoscaler."""
    known = {target: one for one in autoscalers if (target := scales(one))}
    return [Workload(one, known.get(name_of(one))) for one in deployments if carries(template(one), labels)]


def template(deployment: Document) -> Document:
    """What its pods are made from, with the labels that they get."""
    found = (deployment.get("spec") or {}).get("template") or {}
    return {"metadata": found.get("metadata") or {}}


def scales(autoscaler: Document) -> str:
    """The Deployment whose number an autoscaler sets; empty where it is none."""
    target = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    return str(target.get("name", "")) if target.get("kind") == DEPLOYMENT.name else ""


def number(document: Document) -> int:
    """A Deployment's replicas, or an autoscaler's least; 1 where it says nothing."""
    value = (document.get("spec") or {}).get(NUMBERS[document["kind"]])
    return 1 if value is None else int(value)


def most(autoscaler: Document) -> int:
    """The replicas beyond which an autoscaler does not go."""
    return int((autoscaler.get("spec") or {}).get("maxReplicas") or 1)


def scaled(document: Document, key: str) -> Scaled | None:
    """What we wrote down on it; None where there is nothing, or nothing that can be read."""
    try:
        raw: dict[str, Any] = json.loads(annotations_of(document).get(key, ""))
        return Scaled(str(raw["attempt"]), int(raw["was"]), int(raw["put"]))
    except (ValueError, KeyError, TypeError):
        return None


def taken_over(document: Document, key: str, attempt: str) -> bool:
    """Whether somebody changed the number since we put it for this attempt: it is theirs."""
    note = scaled(document, key)
    return note is not None and note.attempt == attempt and note.put != number(document)


def putting_patch(document: Document, key: str, attempt: str, value: int) -> Document:
    """The merge patch that raises the number to `value`, with what it was; empty where it need, or may, not."""
    if number(document) >= value or taken_over(document, key, attempt):
        return {}
    note = scaled(document, key)
    was = note.was if note and note.put == number(document) else number(document)
    text = json.dumps({"attempt": attempt, "was": was, "put": value}, separators=(",", ":"))
    return {"metadata": {"annotations": {key: text}}, "spec": {NUMBERS[document["kind"]]: value}}


def giving_patch(document: Document, key: str, back: bool, autoscaled: bool = False) -> Document:
    """The merge patch that removes our annotation, and where the number is still ours, puts `back` what it was.

    What an autoscaler makes of a Deployment that we woke from 0 is nobody's wish: `autoscaled`, it sleeps again. Empty
    where we wrote nothing.
    """
    if key not in annotations_of(document):
        return {}
    note, patch = scaled(document, key), {"metadata": {"annotations": {key: None}}}
    if note and back and number(document) and (number(document) == note.put or (autoscaled and not note.was)):
        return patch | {"spec": {NUMBERS[document["kind"]]: note.was}}
    return patch


def waking(one: Workload, key: str, attempt: str, want: int) -> tuple[list[Write], str]:
    """What to write so that a workload has `want` replicas, and what stands in the way, in words.

    One with an autoscaler is scaled by its least, and never beyond its most; but an autoscaler does nothing while a
    Deployment is at 0, so that is woken by its own number.
    """
    scaler, trouble, documents = one.autoscaler, "", [one.deployment]
    if scaler is not None:
        if want > most(scaler):
            trouble = f"{ref(AUTOSCALER, scaler)} allows at most {most(scaler)} replicas"
        want = min(want, most(scaler))
        documents = [scaler, *([] if number(one.deployment) else documents)]
    for document in documents:
        if number(document) < want and taken_over(document, key, attempt):
            trouble = f"somebody set {_field(document)} to {number(document)} since, and it is left so"
    return _writes(documents, key, attempt, want), trouble


def holding(one: Workload, key: str, attempt: str, want: int) -> list[Write]:
    """What to write so that an autoscaler does not take a workload's replicas below `want`."""
    scaler = one.autoscaler
    return _writes([scaler], key, attempt, min(want, most(scaler))) if scaler is not None else []


def _writes(documents: Iterable[Document], key: str, attempt: str, want: int) -> list[Write]:
    return [(one, patch) for one in documents if (patch := putting_patch(one, key, attempt, want))]


def in_words(document: Document, patch: Document) -> str:
    """A patch of a number in words; empty where none changes."""
    after = (patch.get("spec") or {}).get(NUMBERS[document["kind"]])
    return "" if after is None else f"{_field(document)} goes from {number(document)} to {after}"


def _field(document: Document) -> str:
    return f"{NUMBERS[document['kind']]} of {ref(KINDS[document['kind']], document)}"
