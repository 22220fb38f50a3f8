"""Our claim on a VirtualService: an annotation that travels in the same write as the weights that it explains."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from rollout.core.documents import Document, annotations_of
from rollout.core.lifecycle import Reason
from rollout.core.strategy import Overlay
from rollout.mesh.overlays import bare, laid_out, without
from rollout.mesh.routes import Pair, http_routes

GROUP = "rollout.dev"


@dataclass(frozen=True)
class Claim:
    """Who moves the weights, and where they were put. `taken_back` is the take-back's own record.

    `since` is when they were put there, `at` when they were taken back (epoch seconds; 0: not known, or not at all).
    `sealed` says that the canary is promoted: nothing may be taken back any more. `capacity` is the number of ready
    endpoints with which stable carried everything: with it, a claim alone is enough for a safe take-back. `scaling`
    says that workloads may have been scaled for the attempt, and are to be given back before the claim goes.
    """

    attempt: str
    fence: int
    weight: Decimal
    stable: str
    canary: str
    keys: tuple[str, ...]
    capacity: int = 0
    scales: dict[str, int] = field(default_factory=dict)
    taken_back: Reason | None = None
    at: float = 0.0
    since: float = 0.0
    sealed: bool = False
    scaling: bool = False


def annotation(service: str, namespace: str) -> str:
    """The annotation's key; one for each service, because a VirtualService may route several.

    >>> annotation("reviews", "shop")
    'reviews.shop.rollout.dev/attempt'
    """
    return f"{service}.{namespace}.{GROUP}/attempt"


def claim_of(vs: Document, key: str) -> Claim | None:
    """The claim under this key; None if there is none, or none that can be read."""
    text = annotations_of(vs).get(key)
    if not text:
        return None
    try:
        raw: dict[str, Any] = json.loads(text)
        back = raw.get("takenBack")
        return Claim(
            str(raw["attempt"]),
            int(raw["fence"]),
            Decimal(raw["weight"]),
            str(raw["stable"]),
            str(raw["canary"]),
            tuple(map(str, raw["routes"])),
            int(raw.get("capacity", 0)),
            {k: int(v) for k, v in raw.get("scales", {}).items()},
            Reason(back["reason"]) if back else None,
            float(back["at"]) if back else 0.0,
            float(raw.get("since", 0)),
            bool(raw.get("promoted")),
            bool(raw.get("scaling")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
        return None


def undressing_patch(vs: Document, host: str) -> Document:
    """The merge patch that removes our routes for `host`, and changes no weight; empty where there is none."""
    return {} if bare(vs, host) else {"spec": {"http": http_routes(without(vs, host))}}


def claiming_patch(vs: Document, key: str, pair: Pair, claim: Claim, acts: Sequence[Overlay]) -> Document:
    """The merge patch that puts the weights, the routes for `acts` and the claim where they belong, in one write.

    A claim that takes back raises no route. Raises `InvalidInput` where no route can be made for it.
    """
    before, back = claim_of(vs, key), claim.taken_back is not None
    routes, scales = laid_out(vs, pair, claim.keys, claim.weight, acts, before.scales if before else {}, back)
    stands = before and before.attempt == claim.attempt
    if not claim.taken_back:
        stands = stands and before and before.weight == claim.weight and routes == http_routes(vs)
    text: dict[str, Any] = {
        "attempt": claim.attempt,
        "fence": claim.fence,
        "weight": str(claim.weight),
        "since": before.since if before and stands else claim.since,
        "stable": claim.stable,
        "canary": claim.canary,
        "routes": list(claim.keys),
        "capacity": claim.capacity,
    }
    if scales:
        text["scales"] = scales
    if claim.scaling:
        text["scaling"] = True
    if claim.sealed:
        text["promoted"] = True
    if claim.taken_back:
        text["takenBack"] = {"reason": claim.taken_back.value, "at": claim.at}
    patch: Document = {"metadata": {"annotations": {key: json.dumps(text, separators=(",", ":"))}}}
    if routes != http_routes(vs):
        patch["spec"] = {"http": routes}
    return patch
