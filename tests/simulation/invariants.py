"""The invariants of the design, checked from outside after every write: what users would see, not what we meant."""

import json
import math
from decimal import Decimal
from typing import Any

from rollout.adapters.store import Key
from rollout.core.attempt import Attempt
from rollout.core.decision import EASE_EVERY, LINGERS, WAITED_FOR, needed
from rollout.core.documents import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DESTINATION_RULE,
    SERVICE_ROLLOUT,
    VIRTUAL_SERVICE,
    Document,
    going,
)
from rollout.core.lifecycle import Phase, Reason
from rollout.core.probe import HEADER, Outcome
from rollout.core.query import Effect
from rollout.engine.objects import retires_after
from rollout.mesh.overlays import bare
from rollout.mesh.routes import Pair, percents, reaching
from rollout.mesh.subsets import subsets_of
from rollout.mesh.workloads import NUMBERS, annotation, most, number, scaled
from tests.simulation.world import API, AT_API, EDGE, HOST, World, for_all, of_ours, probed, repeated, routed

NEVER = float("inf")
SCALED = annotation("reviews", "shop")


class Violation(AssertionError):
    """An invariant does not hold."""


class Watcher:
    """Sees every write to the cluster and holds it against the invariants."""

    def __init__(self, world: World) -> None:
        self.world, self.pair, self.canary = world, world.pair, world.pair.canary
        self.taken_back: set[str] = set()
        self.breached: set[str] = set()
        self.fences: dict[str, int] = {}
        self.back_at: dict[str, float] = {}
        self.recorded: Attempt | None = None
        self.stood_since = NEVER
        self.edited_after_end = False
        self.foreign = False
        """Whether what the canary has was last set by somebody else."""
        self.subset_since = NEVER
        self.pinned = _foreign(world.virtual_service())
        self.pinned_at_edge = _foreign(world.at_edge()) if world.edge else ""
        self.numbers = {key: number(one) for key, one in world.cluster.documents.items() if key[0] in NUMBERS}
        """Of Deployments and autoscalers at the start; of Deployments since a promotion, whose pods stay."""
        self.theirs: set[Key] = set()
        """Those that somebody set by hand since."""
        world.cluster.on_write = self

    def __call__(self, key: Key, before: Document | None, after: Document | None) -> None:
        if key[0] in (CONFIG_MAP.name, SERVICE_ROLLOUT.name) and not self.world.by_hand:
            attempt = self.world.attempt()
            assert attempt is not None or self.world.declared
            if attempt is not None and attempt != self.recorded:
                self._recorded(attempt)
        if key[0] in NUMBERS and before is not None and after is not None:
            self._numbered(key, before, after)
            return
        if key[0] == VIRTUAL_SERVICE.name and key[2] != "reviews":
            (self._at_the_edge if key[2] == EDGE else self._drilled)(before, after)
            return
        if key[0] == DESTINATION_RULE.name and after is not None:
            self._subsets(after)
        if key[0] == VIRTUAL_SERVICE.name and before is not None and after is not None:
            if self._exposed(before) != self._exposed(after):
                self.foreign = self.world.by_hand
            if self.world.by_hand:
                self.pinned = _foreign(after)
                promoted = '"promoted":true' in json.dumps(after["metadata"]).replace("\\", "")
                self.edited_after_end |= promoted or (self.recorded is not None and self.recorded.phase.ended)
            else:
                self._routed(before, after)
            self._stands(after)

    def finished(self) -> None:
        """What must hold when the attempt has ended and its engine has let go."""
        world, attempt = self.world, self.world.attempt()
        if attempt is None or not attempt.phase.ended:
            raise Violation(f"I5: no end by {world.now:.0f}: {attempt and (attempt.phase, attempt.message)}")
        exposed = self._exposed(world.virtual_service())
        if not bare(world.virtual_service(), HOST):
            raise Violation("I6: a route of ours, or its cookie, outlived its attempt")
        left = [vs for vs in world.cluster.list(VIRTUAL_SERVICE) if f"{HOST}/drill" in json.dumps(vs["spec"])]
        left += [vs for vs in world.cluster.list(VIRTUAL_SERVICE) if "/drill" in json.dumps(vs["metadata"])]
        if left:
            raise Violation(f"I6: a drill outlived its attempt: {left}")
        self._given_back(attempt.phase is Phase.ROLLED_BACK and not exposed)
        if self.edited_after_end:
            return  # whoever edits after the end has the last word
        if attempt.phase is Phase.ROLLED_BACK and exposed != 0 and attempt.since:  # else what lies there is not ours
            raise Violation(f"rolled back, yet the canary has {exposed} %")
        if attempt.phase is Phase.PROMOTED and exposed != 100:
            raise Violation(f"promoted, yet the canary has {exposed} %")
        for vs in (world.virtual_service(), *([world.at_edge()] if world.edge else [])):
            wanted = {"v2"} if attempt.phase is Phase.PROMOTED else {"v1"}
            if attempt.since and any(_live(route) != wanted for route in _by_api(vs)):
                raise Violation(f"{attempt.phase}, yet who comes by the route of {API} gets {list(_by_api(vs))}")
        if any("/attempt" in key for key in world.virtual_service()["metadata"].get("annotations") or {}):
            raise Violation("I6: our claim outlived its attempt")

    def settled(self) -> None:
        """What must hold when a controller has nothing left to do: also where the object, or its record, is gone."""
        attempt = self.world.attempt()
        if attempt is not None:
            self.finished()
            return
        vs = self.world.virtual_service()
        if not bare(vs, HOST) or any("/attempt" in key for key in vs["metadata"].get("annotations") or {}):
            raise Violation("I6: something of ours outlived the object, or its record")
        serves = self.recorded is not None and self.recorded.phase is Phase.PROMOTED  # and its record went after that
        self._given_back(not self.world.exposed() and not serves)
        if self.world.exposed() and not self.foreign and not serves:
            raise Violation(f"nobody drives, yet the canary has {self.world.exposed()} %")

    # --- workloads ---------------------------------------------------------------------------------------------

    def _numbered(self, key: Key, before: Document, after: Document) -> None:
        """We raise for an attempt in flight and write down what was; we lower to that when it has ended (I14)."""
        was, now = number(before), number(after)
        if not self.world.by_hand and now > was:
            self._raised(key, before, after)
        elif not self.world.by_hand and now < was:
            self._lowered(key, before, after)
        elif was != now and not self.world.workloads.acting:
            self.theirs.add(key)
        elif (
            was == now
            and scaled(before, SCALED)
            and not scaled(after, SCALED)
            and self.foreign
            and self.world.exposed()
        ):
            self.theirs.add(key)  # whoever gave the canary users since has its pods

    def _raised(self, key: Key, before: Document, after: Document) -> None:
        known, note, attempt = scaled(before, SCALED), scaled(after, SCALED), self.recorded
        claims = json.dumps(self.world.virtual_service()["metadata"].get("annotations")).replace("\\", "")
        if attempt is None or attempt.phase.ended or '"scaling":true' not in claims:
            raise Violation(f"I14: {key} was scaled, and nobody would know: {attempt and attempt.phase}")
        if note is None or (note.attempt, note.put) != (attempt.id, number(after)):
            raise Violation(f"I14: {key} was scaled to {number(after)}, and the note says {note}")
        if known is not None and known.attempt == attempt.id and known.put != number(before):
            raise Violation(f"I14: {key} was scaled though somebody set {number(before)} since")
        scaler = self._scaler(key)
        if scaler is not None and number(after) > most(scaler):
            raise Violation(f"{key} was scaled beyond {most(scaler)}")

    def _lowered(self, key: Key, before: Document, after: Document) -> None:
        known, deployment = scaled(before, SCALED), key[0] == DEPLOYMENT.name
        if deployment and known is None and number(after) == 0:
            self._retired(key)
            return
        attempt = self.world.attempt()  # none, where somebody removed the record: then the claims tell
        if scaled(after, SCALED) is not None or known is None or known.was != number(after):
            raise Violation(f"I14: {key} was given back as {number(after)}, the note said {known}")
        if attempt is not None and attempt.id == known.attempt and not attempt.phase.ended:
            raise Violation(f"I14: {key} was given back while it is {attempt.phase}")
        if deployment and self.world.exposed():
            raise Violation(f"{key} was scaled down while it has {self.world.exposed()} %")
        at_once = self.world.aborting or (attempt is not None and attempt.reason in WAITED_FOR)
        if deployment and attempt and not at_once and self.world.now < attempt.ended + LINGERS:
            self._quiet(key)
        if known.put != number(before) and not (deployment and self._scaler(key)):
            raise Violation(f"I14: {key} was given back though somebody set {number(before)} since")

    def _retired(self, key: Key) -> None:
        """A version that was replaced goes once nothing leads to it, no request comes, and that is recorded (I15)."""
        version, attempt, now = key[2].removeprefix("reviews-"), self.world.attempt(), self.world.now
        document = self.world.cluster.documents[SERVICE_ROLLOUT.name, "shop", "reviews"]
        after = retires_after(document)
        known = attempt.retiring if attempt else None
        if attempt is None or known is None or (known.version, attempt.stable) != (version, version):
            raise Violation(f"I15: {key} was scaled to 0, recorded is {known}")
        if going(document) or document["spec"].get("suspend") or now < attempt.ended + after - 0.01:
            raise Violation(f"I15: {key} was retired too early, or nobody asked for it")
        reached = reaching(self.world.virtual_service(), HOST, version)
        if reached:
            raise Violation(f"I15: {key} was retired, and {reached} leads to it")
        self._quiet(key)
        self.numbers[key] = 0

    def _quiet(self, key: Key) -> None:
        """No request came that the counters could have told of."""
        now, metrics = math.floor(self.world.now + 1e-6), self.world.metrics
        blind = metrics.down_until > self.world.now or metrics.garbage
        if not blind and metrics.came[key[2].removeprefix("reviews-")] & {now - 1.0, now - 2.0}:
            raise Violation(f"I15: {key} was scaled to 0 while requests came to it")

    def _scaler(self, key: Key) -> Document | None:
        return self.world.cluster.documents.get((AUTOSCALER.name, *key[1:]))

    def _given_back(self, went_back: bool) -> None:
        """All is as it was, but for what others set, and the pods of a version that serves (I14)."""
        for key, was in self.numbers.items():
            document = self.world.cluster.documents[key]
            if SCALED in (document["metadata"].get("annotations") or {}):
                raise Violation(f"I14: our note on {key} outlived its attempt")
            autoscaled = key[0] == DEPLOYMENT.name and (AUTOSCALER.name, *key[1:]) in self.numbers and was
            kept = key[0] == DEPLOYMENT.name and not went_back
            if number(document) != was and not (autoscaled or kept or key in self.theirs):
                raise Violation(f"I14: {key} was {was} and is left at {number(document)}")

    # --- records -----------------------------------------------------------------------------------------------

    def _recorded(self, attempt: Attempt) -> None:
        last, self.recorded = self.recorded, attempt
        if attempt.fence < self.fences.get(attempt.id, 0):
            raise Violation(f"I10: an engine of fence {attempt.fence} recorded after {self.fences[attempt.id]}")
        self.fences[attempt.id] = attempt.fence
        if attempt.phase is Phase.PROMOTED and (last is None or last.phase is not Phase.PROMOTED):
            documents = self.world.cluster.documents.items()
            self.numbers |= {key: number(one) for key, one in documents if key[0] == DEPLOYMENT.name}
        queried = any(one.effect is Effect.ROLLBACK for one in attempt.measured)
        missed = attempt.probed is not None and attempt.probed.outcome is Outcome.FAILED
        if attempt.checkpoint.get("breached") or (queried and attempt.exposed) or missed:
            self.breached.add(attempt.id)
        if attempt.id in self.breached and attempt.phase not in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
            raise Violation(f"I9: a breach was seen, and yet it is {attempt.phase}")
        # What a query saw may be over when another process finds what was taken back for it; probes it does not know;
        # and of counters it may be shown none that mean anything, where who took back was.
        asked = attempt.strategy.queries or any(step.probe for step in attempt.strategy.steps)
        unseen = self.world.metrics.garbled or self.world.metrics.down_until > self.world.now - 60.0
        found = (asked or unseen) and attempt.id in self.taken_back
        if attempt.reason is Reason.BREACH and not (attempt.checkpoint.get("breached") or queried or missed or found):
            raise Violation("I8: rolled back for a breach that nobody saw")
        if last and last.id == attempt.id and (attempt.weight > last.weight or attempt.step > last.step):
            self._earned(last, attempt)
        if last is None or last.id != attempt.id or (attempt.weight, attempt.overlays) != (last.weight, last.overlays):
            self.stood_since = NEVER
            self._stands(self.world.virtual_service())

    def _earned(self, last: Attempt, attempt: Attempt) -> None:
        """Between two weights lies a whole bake (I11), and counters of its end (I8)."""
        if last.step < 0 or Phase.PAUSED in (last.phase, attempt.phase) or attempt.phase is Phase.ROLLING_BACK:
            return  # nobody's step: what a person did is written down
        if any(one.effect for one in attempt.measured):
            raise Violation(f"I2: {attempt.weight} % while a query holds: {attempt.measured}")
        least = self.stood_since + last.strategy.steps[last.step].bake.min
        if self.world.now < least - 0.01:
            raise Violation(f"I11: {last.weight} % stood until {self.world.now:.1f} instead of {least:.1f}")
        if probe := last.strategy.steps[last.step].probe:
            if sum(second > self.stood_since for second in self.world.probes.canary_at) < probe.count:
                raise Violation(f"I8: {last.weight} → {attempt.weight} % without a whole round of probes")
            return
        if not attempt.strategy.checks or not last.exposed:
            return  # the first of its weights: nobody has reached the canary, so there is nothing of it to see
        step = last.strategy.steps[last.step]
        if step.wait or not step.bake.max:
            return  # a word, and a bake of no time, ask for nothing to be shown
        seen = self.world.metrics.shown + 1e-6  # times of looks are sums
        if not any(self.stood_since < second <= seen for second in self.world.metrics.canary_at):
            raise Violation(f"I8: {last.weight} → {attempt.weight} % without one request seen")
        if seen < least - self.world.strategy.look:
            raise Violation(f"I8: {last.weight} → {attempt.weight} % without data since {seen:.1f}")

    def _stands(self, vs: Document) -> None:
        a = self.recorded
        if a and self._exposed(vs) == a.weight and bool(a.overlays) == bool(of_ours(vs)):
            self.stood_since = min(self.stood_since, self.world.now)

    def _sealed(self, name: str, before: Document, after: Document) -> None:
        """What is sealed as promoted is so on each route that the attempt holds by a name."""
        was, now = (json.dumps(vs["metadata"]).replace("\\", "") for vs in (before, after))
        attempt = self.recorded
        if attempt is None or '"promoted":true' in was or '"promoted":true' not in now:
            return
        kept = next(route.keys for route in attempt.routes if route.name == name)
        for one in attempt.names:
            bearing = [route for route in after["spec"]["http"] if route.get("name") == one]
            if f"name:{one}" in kept and [_live(route) for route in bearing] != [{self.canary}]:
                raise Violation(f"promoted, yet {one} is {bearing}")

    def _at_the_edge(self, before: Document | None, after: Document | None) -> None:
        """There nothing but the route of API moves, and never above what is recorded."""
        assert before is not None
        assert after is not None
        if self.world.by_hand:
            self.pinned_at_edge = _foreign(after)
            promoted = '"promoted":true' in json.dumps(after["metadata"]).replace("\\", "")
            self.edited_after_end |= promoted or (self.recorded is not None and self.recorded.phase.ended)
            return
        if _foreign(after) != self.pinned_at_edge:
            raise Violation(f"I7: we changed what is not ours: {self.pinned_at_edge} → {_foreign(after)}")
        self._sealed(EDGE, before, after)
        was, now = self._exposed(before), self._exposed(after)
        attempt = self.recorded
        if now > was and (attempt is None or now > attempt.weight or attempt.id in self.breached | self.taken_back):
            raise Violation(f"I2: rose to {now} % at the edge, recorded is {attempt and attempt.weight} %")

    # --- documents ---------------------------------------------------------------------------------------------

    def _subsets(self, rule: Document) -> None:
        if any(s["name"] == self.canary for s in subsets_of(rule)):
            self.subset_since = min(self.subset_since, self.world.now)
            return
        if self.subset_since < NEVER and not self.world.by_hand and self.world.exposed() > 0:
            raise Violation("I13: the subset went before the weight")
        self.subset_since = NEVER

    def _routed(self, before: Document, after: Document) -> None:
        self._sealed("reviews", before, after)
        was, now = self._exposed(before), self._exposed(after)
        if _foreign(after) != self.pinned:
            raise Violation(f"I7: we changed what is not ours: {self.pinned} → {_foreign(after)}")
        if _shares(before, self.pair) != _shares(after, self.pair) and len(_main(before)) > 1:
            raise Violation("I1: the share of both versions together changed")
        if self.recorded is not None and self.recorded.canary != self.canary:
            return  # asked for while v2 was promoted: it leads back to v1, and what follows knows v2 as the canary
        old = before["metadata"].get("annotations") or {}
        claims = {k: v for k, v in (after["metadata"].get("annotations") or {}).items() if "/attempt" in k}
        for key, text in claims.items():
            if text != old.get(key) or now != was:
                self._claimed(json.loads(text), was, now, key not in old)
        if now > was:
            self._rose(now)
        self._dressed(after)
        if any(kind(after) > kind(before) for kind in (repeated, routed, probed)):
            self._reached()

    def _drilled(self, before: Document | None, after: Document | None) -> None:
        """A fault lies only where the attempt asks for it, for the canary's pods alone, and theirs stays theirs."""
        if self.world.by_hand:
            return
        was, now = (list((vs or {"spec": {"http": []}})["spec"]["http"]) for vs in (before, after))
        theirs, kept = ([r for r in routes if "rollout.dev/" not in r.get("name", "")] for routes in (was, now))
        if before is not None and after is not None and theirs != kept:
            raise Violation(f"I7: a drill changed what is not ours: {theirs} → {kept}")
        if before is not None and after is None and "managed-by" not in json.dumps(before["metadata"].get("labels")):
            raise Violation("I7: a drill deleted what is not ours")
        attempt = self.recorded
        for route in (r for r in now if "/drill/" in r.get("name", "")):
            if attempt is None or attempt.fault is None or attempt.id in self.taken_back:
                raise Violation(f"I6: a fault while it is {attempt and (attempt.phase, attempt.step)}")
            if any(match.get("sourceLabels") != {"app": "reviews", "version": self.canary} for match in route["match"]):
                raise Violation(f"others than the canary's pods meet the fault: {route}")
            if self.world.exposed() and not (attempt.fault.only or attempt.fault.everyone):
                raise Violation(f"users of the canary meet the fault: {route}")

    def _dressed(self, after: Document) -> None:
        """A route of ours is its original, but for its match and its mirrors, or where all go who match."""
        routes, attempt = after["spec"]["http"], self.recorded
        for ours in of_ours(after):
            original = next(route for route in routes[routes.index(ours) :] if route not in of_ours(after))
            if attempt is None or not attempt.overlays:
                raise Violation(f"I6: a route of ours while it is {attempt and (attempt.phase, attempt.step)}")
            if "/probe" in ours["name"]:
                self._probing(ours, original, attempt)
                continue
            if "/mirror/" not in ours["name"]:
                if _but(ours, "name", "match", "route") != _but(original, "name", "match", "route"):
                    raise Violation(f"I7: the route of ours is not its original: {ours}, {original}")
                if {r["destination"].get("subset") for r in ours["route"]} != {self.canary}:
                    raise Violation(f"the route of ours does not lead to the canary: {ours}")
                continue
            if _but(ours, "name", "match", "mirrors") != _but(original, "name", "match"):
                raise Violation(f"I7: the route of ours is not its original: {ours}, {original}")
            if any(r.get("weight", 100) for r in ours["route"] if r["destination"].get("subset") == self.canary):
                raise Violation(f"our route sends users to the canary: {ours}")

    def _probing(self, ours: Document, original: Document, attempt: Attempt) -> None:
        """A route for probes takes those of this attempt alone, and leads to one version."""
        if _but(ours, "name", "match", "route", "headers") != _but(original, "name", "match", "route", "headers"):
            raise Violation(f"I7: the route for probes is not its original: {ours}, {original}")
        version = "v1" if "/probe-stable/" in ours["name"] else self.canary
        marks = {match["headers"].get(HEADER, {}).get("exact") for match in ours["match"]}
        if marks != {f"{attempt.id}:{version}"}:
            raise Violation(f"a route for probes takes users' requests: {ours}")
        if {r["destination"].get("subset") for r in ours["route"]} != {version}:
            raise Violation(f"the route for probes does not lead to {version}: {ours}")

    def _capacity(self) -> int:
        """With how many endpoints stable carried everything when the attempt began; where nobody began, with all."""
        return min(4, self.recorded.capacity) if self.recorded and self.recorded.capacity else 4

    def _reached(self) -> None:
        world, attempt = self.world, self.recorded
        assert attempt is not None
        if attempt.id in self.breached or attempt.id in self.taken_back:
            raise Violation("I9: a route of ours reaches the canary after a breach or a take-back")
        if world.ready[self.canary] < needed(self._capacity(), attempt.load):
            raise Violation(f"I3: a route of ours for {world.ready['v2']} ready endpoints")
        if world.now - self.subset_since < world.strategy.propagation - 0.01:
            raise Violation("I13: a route of ours before the subset had reached the proxies")

    def _claimed(self, claim: dict[str, Any], was: Decimal, now: Decimal, first: bool) -> None:
        attempt, world = claim["attempt"], self.world
        if attempt in self.taken_back and now > was:
            raise Violation(f"I4: {attempt} was taken back and rose again to {now}")
        if not claim.get("takenBack"):
            # The first claim, at 0, comes without a record of its own: it moves nothing, and touches no other.
            if claim["fence"] < self.fences.get(attempt, 0) and not (first and now == was == 0):
                raise Violation(f"I10: an engine of fence {claim['fence']} wrote after {self.fences[attempt]}")
            return
        self.taken_back.add(attempt)
        if now < was and world.ready[self.canary] and self.subset_since < NEVER:
            carries = 100 - was
            if not world.ready["v1"]:
                raise Violation(f"I12: no endpoint is ready and got {100 - now} %")
            most = Decimal(math.floor(125 * world.ready["v1"] / claim["capacity"]))
            if world.now - self.back_at.get(attempt, 0.0) >= EASE_EVERY - 0.01:
                most = max(most, 125 * carries / 100, carries + 1)
            if 100 - now > most:
                raise Violation(f"I12: {world.ready['v1']} endpoints carried {carries} % and got {100 - now} %")
        if now < was:
            self.back_at[attempt] = world.now

    def _rose(self, now: Decimal) -> None:
        world, attempt = self.world, self.recorded
        if attempt is None or now > attempt.weight:
            raise Violation(f"I2: rose to {now} %, recorded is {attempt and attempt.weight} %")
        if attempt.id in self.breached:
            raise Violation(f"I9: rose to {now} % after a breach")
        if world.ready[self.canary] < needed(self._capacity(), now):
            raise Violation(f"I3: rose to {now} % on {world.ready['v2']} ready endpoints")
        if world.drilled():
            raise Violation(f"I6: rose to {now} % while a fault lies on the canary's way")
        if world.now - self.subset_since < world.strategy.propagation - 0.01:
            raise Violation("I13: rose before the subset had reached the proxies")

    def _exposed(self, vs: Document) -> Decimal:
        return max(percents(vs, self.pair, self.world.keys), default=Decimal(0))


def _main(vs: Document) -> list[Document]:
    return next(list(r["route"]) for r in vs["spec"]["http"] if for_all(r))


def _by_api(vs: Document) -> list[Document]:
    """The routes by which those of API come, whatever they are called."""
    return [route for route in vs["spec"]["http"] if route.get("match") == AT_API["match"] and route not in of_ours(vs)]


def _live(route: Document) -> set[str]:
    """The versions with a share in it."""
    entries = route["route"]
    return {e["destination"].get("subset", "") for e in entries if e.get("weight", 0) or not entries[1:]}


def _but(route: Document, *keys: str) -> Document:
    return {key: value for key, value in route.items() if key not in keys}


def _shares(vs: Document, pair: Pair) -> tuple[int, int]:
    entries = _main(vs)
    total = sum(e.get("weight", 0) for e in entries)
    ours = sum(e.get("weight", 0) for e in entries if e["destination"].get("subset") in (pair.stable, pair.canary))
    return ours, total


def _foreign(vs: Document) -> str:
    """Everything of the VirtualService that is not ours to change, as text."""
    routes = []
    ours = of_ours(vs)
    for route in (route for route in vs["spec"]["http"] if route not in ours):
        kept = {k: v for k, v in route.items() if k != "route" or not for_all(route)}
        routes.append(kept)
    metadata = {
        "annotations": {k: v for k, v in (vs["metadata"].get("annotations") or {}).items() if "rollout.dev" not in k},
        "labels": vs["metadata"].get("labels"),
    }
    return json.dumps([routes, metadata, vs["spec"].get("hosts")], sort_keys=True)
