"""The invariants of the design, checked from outside after every write: what users would see, not what we meant."""

import json
from decimal import Decimal

from rollout.adapters.store import Key
from rollout.core.attempt import Attempt
from rollout.core.decision import needed
from rollout.core.documents import CONFIG_MAP, DESTINATION_RULE, VIRTUAL_SERVICE, Document
from rollout.core.lifecycle import Phase
from rollout.mesh.routes import percents
from rollout.mesh.subsets import subsets_of
from tests.simulation.world import PAIR, World


class Violation(AssertionError):
    """An invariant does not hold."""


class Watcher:
    """Sees every write to the cluster and holds it against the invariants."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.taken_back: set[str] = set()
        self.allowed = Decimal(0)
        self.edited_after_end = False
        self.subset_since = float("inf")
        self.pinned = _foreign(world.virtual_service())
        world.cluster.on_write = self

    def __call__(self, key: Key, before: Document | None, after: Document | None) -> None:
        if after is None:
            return
        if key[0] == CONFIG_MAP.name:
            self._recorded(self.world.attempt())
        if key[0] == DESTINATION_RULE.name and any(s["name"] == "v2" for s in subsets_of(after)):
            self.subset_since = min(self.subset_since, self.world.now)
        if key[0] == VIRTUAL_SERVICE.name and before is not None:
            if self.world.by_hand:
                self.pinned = _foreign(after)
                attempt = self.world.attempt()
                self.edited_after_end |= attempt is not None and attempt.phase.ended
            else:
                self._routed(before, after)

    def _recorded(self, attempt: Attempt | None) -> None:
        if attempt:
            self.allowed = attempt.weight

    def _routed(self, before: Document, after: Document) -> None:
        was, now = _exposed(before), _exposed(after)
        if _foreign(after) != self.pinned:
            raise Violation(f"I7: we changed what is not ours: {self.pinned} → {_foreign(after)}")
        if _shares(before) != _shares(after) and len(_main(before)) > 1:
            raise Violation("I1: the share of both versions together changed")
        claims = [json.loads(v) for k, v in (after["metadata"].get("annotations") or {}).items() if "/attempt" in k]
        for claim in claims:
            if claim["attempt"] in self.taken_back and now > was:
                raise Violation(f"I4: {claim['attempt']} was taken back and rose again to {now}")
            if claim.get("takenBack"):
                self.taken_back.add(claim["attempt"])
        if now > was:
            self._rose(now)

    def _rose(self, now: Decimal) -> None:
        world = self.world
        if now > self.allowed:
            raise Violation(f"I2: rose to {now} %, recorded is {self.allowed} %")
        if world.ready["v2"] < needed(4, now):
            raise Violation(f"I3: rose to {now} % on {world.ready['v2']} ready endpoints")
        if world.now - self.subset_since < world.strategy.propagation - 0.01:
            raise Violation("I13: rose before the subset had reached the proxies")

    def finished(self) -> None:
        """What must hold when the attempt has ended and its engine has let go."""
        world, attempt = self.world, self.world.attempt()
        if attempt is None or not attempt.phase.ended:
            raise Violation(f"I5: no end by {world.now:.0f}: {attempt and (attempt.phase, attempt.message)}")
        exposed = _exposed(world.virtual_service())
        if self.edited_after_end:
            return  # whoever edits after the end has the last word
        if attempt.phase is Phase.ROLLED_BACK and exposed != 0:
            raise Violation(f"rolled back, yet the canary has {exposed} %")
        if attempt.phase is Phase.PROMOTED and exposed != 100:
            raise Violation(f"promoted, yet the canary has {exposed} %")
        if any("/attempt" in key for key in world.virtual_service()["metadata"].get("annotations") or {}):
            raise Violation("I6: our claim outlived its attempt")


def _main(vs: Document) -> list[Document]:
    return next(list(r["route"]) for r in vs["spec"]["http"] if not r.get("match"))


def _exposed(vs: Document) -> Decimal:
    return max(percents(vs, PAIR, ()), default=Decimal(0))


def _shares(vs: Document) -> tuple[int, int]:
    entries = _main(vs)
    total = sum(e.get("weight", 0) for e in entries)
    ours = sum(e.get("weight", 0) for e in entries if e["destination"].get("subset") in ("v1", "v2"))
    return ours, total


def _foreign(vs: Document) -> str:
    """Everything of the VirtualService that is not ours to change, as text."""
    routes = []
    for route in vs["spec"]["http"]:
        kept = {k: v for k, v in route.items() if k != "route" or route.get("match")}
        routes.append(kept)
    metadata = {
        "annotations": {k: v for k, v in (vs["metadata"].get("annotations") or {}).items() if "rollout.dev" not in k},
        "labels": vs["metadata"].get("labels"),
    }
    return json.dumps([routes, metadata, vs["spec"]["hosts"]], sort_keys=True)
