"""Every write to the mesh: weights with their claim, subsets, and their removal. Each is guarded and idempotent."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

from rollout.core.attempt import Attempt, Scale
from rollout.core.decision import EASE_EVERY, remaining
from rollout.core.documents import (
    DESTINATION_RULE,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    annotations_of,
    name_of,
    namespace_of,
    ref,
    version_of,
)
from rollout.core.errors import Conflict, Forbidden, InvalidInput, NotFound, RolloutError
from rollout.core.lifecycle import Reason
from rollout.core.strategy import Fault, Overlay
from rollout.engine.lookup import ROOT_NAMESPACE, everywhere, obeyed, pods_of, routing_to
from rollout.engine.observing import Scene, pair_of, plan_subsets
from rollout.mesh import drills
from rollout.mesh.claims import Claim, annotation, claim_of, claiming_patch, undressing_patch
from rollout.mesh.hosts import fqdn
from rollout.mesh.overlays import bare
from rollout.mesh.routes import Pair, destinations, percents, reaching, relieving_patch
from rollout.mesh.subsets import added, adding_patch, is_ours, labels_for, new_rule, removing_patch, seen_from
from rollout.ports import Cluster

TRIES = 5
"""How often a take-back reads again and writes again when its object changes under it."""
KEEN = 40
"""How often any write is tried again where nothing changed that concerns it: what somebody writes 500 times a second
lets one of ten through."""


class Hands:
    """The writes of one service's engine."""

    def __init__(self, cluster: Cluster, service: str, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._host = fqdn(service, namespace)
        self._service, self._key = service, annotation(service, namespace)
        self._drills = drills.annotation(service, namespace)

    def shift(self, a: Attempt, scene: Scene, weight: Decimal, now: float, sealed: bool = False) -> None:
        """Give the canary `weight` on every route. Raises `Conflict` where a route changed since it was read."""
        claim = Claim(a.id, a.fence, weight, a.stable, a.canary, (), a.capacity, since=now, sealed=sealed)
        claim = replace(claim, scaling=a.scale is Scale.AUTO)
        self._each(a, scene, claim, 1, a.overlays)

    def take_back(self, a: Attempt, scene: Scene, reason: Reason, now: float) -> None:
        """Leave the canary what stable cannot carry (the attempt's weight), with the take-back's own record.

        No route gets more than it has. What an attempt that never started has not claimed is left as it is: its
        subsets may not exist.
        """
        claim = Claim(a.id, a.fence, a.weight, a.stable, a.canary, (), a.capacity, taken_back=reason, at=now)
        claim = replace(claim, scaling=a.scale is Scale.AUTO)
        self._each(a, scene, claim, TRIES, ())

    def take_back_claims(self, reason: Reason, now: float, ended: str = "") -> list[Document]:
        """Take back by what the claims alone say, but for those of the attempt `ended`; returns what carries one.

        A route of ours goes without a claim too: its name says whose it is; and so does a drill's fault. Raises
        `InvalidInput` when all is done that can be and stable could not carry the rest (I12).
        """
        found, troubles = [], list[RolloutError]()
        every = everywhere(self._cluster, VIRTUAL_SERVICE, self._namespace)[0]
        for vs in every:
            made = drills.is_made(vs, self._service) and namespace_of(vs) == self._namespace
            if made or not drills.bare(vs, self._host, self._drills):
                try:
                    self._lift(vs)
                except RolloutError as error:
                    troubles.append(error)
        for vs in routing_to(every, self._host):
            claim, after = claim_of(vs, self._key), vs
            try:
                if claim is not None and claim.attempt != ended and not claim.sealed:
                    after = self._back_by_claim(vs, claim, reason, now)
                else:
                    after = self._undress(vs)
            except RolloutError as error:
                troubles.append(error)
            if self._key in annotations_of(vs):
                found.append(after)
        if troubles:
            raise troubles[0]
        return found

    def _back_by_claim(self, vs: Document, claim: Claim, reason: Reason, now: float) -> Document:
        pair = Pair(self._host, claim.stable, claim.canary)
        rest = self._remaining(vs, pair, claim, now)
        stands = rest == claim.weight == max(percents(vs, pair, claim.keys), default=Decimal(0))
        at = claim.at if claim.taken_back and stands else now
        after = self._claim(
            vs, pair, replace(claim, weight=rest, taken_back=claim.taken_back or reason, at=at), TRIES, ()
        )
        if rest:
            raise InvalidInput(
                f"{claim.stable} cannot carry all of it: {rest} % stay with {claim.canary}; scale it up, or run this "
                "again in half a minute"
            )
        return after

    def _remaining(self, vs: Document, pair: Pair, claim: Claim, now: float) -> Decimal:
        actual = max(percents(vs, pair, claim.keys), default=Decimal(0))
        try:
            seen = pods_of(self._cluster, self._cluster.get(SERVICE, self._namespace, self._service))
            level = obeyed(self._cluster, self._host, self._namespace)
        except (Forbidden, NotFound):
            return Decimal(0)  # nobody can tell; who asked wants it back
        stable, canary = (seen.of(labels_for(level, name)).ready for name in (pair.stable, pair.canary))
        eased = claim.taken_back is None or now - claim.at >= EASE_EVERY
        return remaining(actual, claim.capacity, stable, canary, eased)

    def unclaim(self, vs: Document) -> None:
        """Remove our annotation, and with it whatever route of ours came back."""
        self._patch(vs, {"metadata": {"annotations": {self._key: None}}} | undressing_patch(vs, self._host))

    def undress(self, a: Attempt, scene: Scene) -> None:
        """Remove the routes of ours, and change no weight. Raises `Conflict` where one changed since it was read."""
        for vs in scene.routes:
            if vs is not None:
                _demand(vs, claim_of(vs, self._key), a.id, a.fence)
                self._undress(vs)

    def _undress(self, vs: Document) -> Document:
        patch = undressing_patch(vs, self._host)
        return self._patch(vs, patch) if patch else vs

    def drill(self, a: Attempt, scene: Scene, put: Fault | None) -> None:
        """Put a fault of the attempt's where it belongs, and remove all others. Raises `Conflict`."""
        for vs, one in zip(scene.drilled, a.drills, strict=True):
            fault = put if put and put.on == one.on else None
            if vs is None:
                if fault and one.made:
                    made = drills.new(one, self._drills, self._host, a.id, a.fence, fault)
                    self._cluster.create(VIRTUAL_SERVICE, made)
                continue
            whose, fence = drills.marked(vs, self._drills)
            if whose not in ("", a.id) or fence > a.fence:
                if fault or whose == a.id:
                    raise Conflict(f"{ref(VIRTUAL_SERVICE, vs)} is drilled by another process ({whose})")
                continue
            if fault is None:
                self._lift(vs)
                continue
            patch = {
                "metadata": {"annotations": {self._drills: drills.mark(a.id, a.fence)}},
                "spec": {"http": drills.drilled(vs, self._host, one.labels, fault)},
            }
            self._patch(vs, patch)

    def _lift(self, vs: Document) -> None:
        """Remove what drills of our service left in a VirtualService, or all of it where we made it."""
        if drills.is_made(vs, self._service):
            with suppress(NotFound):
                self._cluster.delete(VIRTUAL_SERVICE, namespace_of(vs), name_of(vs), version_of(vs))
        elif not drills.bare(vs, self._host, self._drills):
            patch = {"metadata": {"annotations": {self._drills: None}}, "spec": {"http": drills.lifted(vs, self._host)}}
            self._patch(vs, patch)

    def add_subsets(self, a: Attempt, scene: Scene) -> None:
        """Add the subsets that clients in the service's namespace lack, to a rule of the user's or a new one."""
        rule, missing, level = plan_subsets(a, scene)
        if not missing:
            return
        if rule is None:
            self._cluster.create(DESTINATION_RULE, new_rule(a.service, a.namespace, missing, level, scene.rules))
        else:
            patch = adding_patch(rule, missing, a.stable)
            self._cluster.patch(DESTINATION_RULE, namespace_of(rule), name_of(rule), patch, version_of(rule))

    def clean(self, a: Attempt, scene: Scene) -> None:
        """Remove the attempt's claims, and subsets of ours that no route names any more."""
        for vs in scene.routes:
            claim = claim_of(vs, self._key) if vs else None
            if vs is not None and claim is not None and claim.attempt == a.id:
                self.unclaim(vs)
            elif vs is not None and claim is None:
                self._undress(vs)
        every, whole = everywhere(self._cluster, VIRTUAL_SERVICE, self._namespace)
        if not whole:
            return  # somebody's route that we may not see could name them
        named = {subset for vs in every for subset in destinations(vs, self._host)}
        for rule in seen_from(scene.rules, self._host, a.namespace, a.namespace, ROOT_NAMESPACE):
            if not is_ours(rule):
                self._drop(rule, [name for name in added(rule) if name not in named])

    def forget(self, version: str) -> None:
        """Remove a subset of ours to which nothing is sent any more, with what names it in the routes."""
        rules = obeyed(self._cluster, self._host, self._namespace)
        every, whole = everywhere(self._cluster, VIRTUAL_SERVICE, self._namespace)
        if not whole or not any(version in added(rule) for rule in rules):
            return
        for vs in routing_to(every, self._host):
            if reaching(vs, self._host, version):
                return
            patch = relieving_patch(vs, self._host, version)
            after = self._patch(vs, patch) if patch else vs
            if version in destinations(after, self._host):
                return
        for rule in rules:
            self._drop(rule, [name for name in added(rule) if name == version])

    def _drop(self, rule: Document, idle: Sequence[str]) -> None:
        """Remove subsets of ours from a rule."""
        if idle:
            with suppress(Forbidden):  # a subset that nobody names does no harm
                patch = removing_patch(rule, idle)
                self._cluster.patch(DESTINATION_RULE, namespace_of(rule), name_of(rule), patch, version_of(rule))

    def _each(self, a: Attempt, scene: Scene, claim: Claim, tries: int, acts: Sequence[Overlay]) -> None:
        """Write the claim to every route there is; the first trouble is raised when all were tried."""
        troubles: list[RolloutError] = []
        for vs, route in zip(scene.routes, a.routes, strict=True):
            given = percents(vs, pair_of(a), route.keys) if vs else []
            if vs is None or not (given or (claim.taken_back and not bare(vs, self._host))):
                continue
            weight = min(claim.weight, max(given, default=Decimal(0))) if claim.taken_back else claim.weight
            if claim.taken_back and not a.since and claim_of(vs, self._key) is None:
                continue
            try:
                self._claim(vs, pair_of(a), replace(claim, weight=weight, keys=route.keys), tries, acts)
            except RolloutError as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def _claim(self, vs: Document, pair: Pair, claim: Claim, tries: int, acts: Sequence[Overlay]) -> Document:
        """Write weights, claim and the routes for `acts` in one patch, unless they stand there.

        Raises `Conflict` where a later engine's claim lies, which a stalled one must not touch.
        """
        seen = False
        for left in reversed(range(tries)):
            there = claim_of(vs, self._key)
            if seen and there is None:
                raise Conflict(f"{ref(VIRTUAL_SERVICE, vs)} was let go meanwhile ({claim.attempt} has ended)")
            if there is not None and there.sealed and claim.taken_back:
                raise Conflict(f"{ref(VIRTUAL_SERVICE, vs)} is promoted already ({there.attempt})")
            seen = there is not None
            _demand(vs, there, claim.attempt, claim.fence)
            patch = claiming_patch(vs, self._key, pair, claim, acts)
            text = patch["metadata"]["annotations"][self._key]
            if annotations_of(vs).get(self._key) == text and "spec" not in patch:
                return vs
            try:
                return self._patch(vs, patch)
            except Conflict:
                if not left:
                    raise
                vs = self._cluster.get(VIRTUAL_SERVICE, namespace_of(vs), name_of(vs))
        raise AssertionError("the last try returns or raises")

    def _patch(self, vs: Document, patch: Document) -> Document:
        """Patch what was read, or what differs from it in nothing that we look at. Raises `Conflict`."""
        where, read = (VIRTUAL_SERVICE, namespace_of(vs), name_of(vs)), self._concerning(vs)
        for _ in range(KEEN):
            try:
                return self._cluster.patch(*where, patch, version_of(vs))
            except Conflict:
                vs = self._cluster.get(*where)
                if self._concerning(vs) != read:
                    raise
        return self._cluster.patch(*where, patch, version_of(vs))

    def _concerning(self, vs: Document) -> tuple[object, ...]:
        """What our writes depend on."""
        written = annotations_of(vs)
        return vs["metadata"].get("uid"), vs.get("spec"), written.get(self._key), written.get(self._drills)


def _demand(vs: Document, there: Claim | None, attempt: str, fence: int) -> None:
    """Raise `Conflict` where the claim that lies there is another attempt's, or a later engine's."""
    if there is not None and (there.attempt != attempt or there.fence > fence):
        raise Conflict(f"{ref(VIRTUAL_SERVICE, vs)} is driven by another process ({there.attempt})")
