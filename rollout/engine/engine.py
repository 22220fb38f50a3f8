"""One tick: observe, decide, record, act. The next observation, not a call's return, says whether it worked."""

from dataclasses import dataclass, replace
from decimal import Decimal

from rollout.core.attempt import Attempt, Record
from rollout.core.decision import Decision, Observation, RouteState, decide, take_back
from rollout.core.documents import (
    DESTINATION_RULE,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    Kind,
    annotations_of,
    name_of,
    namespace_of,
    version_of,
)
from rollout.core.errors import Conflict, InvalidInput, NotFound, RolloutError
from rollout.core.lifecycle import Phase, Reason, legal
from rollout.engine.lease import Holder
from rollout.engine.looking import Eyes
from rollout.engine.state import StateStore
from rollout.engine.survey import (
    ROOT_NAMESPACE,
    Endpoints,
    Request,
    endpoints,
    restarted,
    rules_for,
    survey,
    target_of,
    virtual_services,
)
from rollout.mesh.claims import Claim, annotation, claim_of, claiming_patch
from rollout.mesh.hosts import fqdn
from rollout.mesh.routes import Pair, http_routes, percents, versions
from rollout.mesh.subsets import added, adding_patch, find, is_ours, new_rule, owner, removing_patch, seen_from
from rollout.ports import Cluster, Metrics

CHECKPOINT_EVERY = 20.0
PATCH_TRIES = 5


@dataclass(frozen=True)
class Tick:
    """What one tick came to: the attempt (None: nothing in flight), and when to look again, in seconds."""

    attempt: Attempt | None
    after: float
    waiting_for: str = ""


@dataclass(frozen=True)
class _Scene:
    """The documents behind one observation; writes are guarded by the versions read here."""

    routes: tuple[Document | None, ...]
    rules: tuple[Document, ...]


class Engine:
    """The engine for one service. Any number may exist; the Lease lets one of them act."""

    def __init__(self, cluster: Cluster, metrics: Metrics, service: str, namespace: str, identity: str) -> None:
        self._cluster = cluster
        self.service, self.namespace = service, namespace
        self.states = StateStore(cluster, service, namespace)
        self.lease = Holder(cluster, service, namespace, identity)
        self._eyes = Eyes(metrics)
        self._key = annotation(service, namespace)
        self._recorded = 0.0

    # --- doors -------------------------------------------------------------------------------------------------

    def begin(self, request: Request, now: float) -> Attempt:
        """Record a new attempt, or go on with one for the same version. The lease must be held.

        Raises `InvalidInput` if it cannot work or another one is in flight.
        """
        record = self.states.read()
        running = record.attempt
        if running and not running.phase.ended:
            if running.canary != request.canary:
                raise InvalidInput(
                    f"{self.service} is on its way to {running.canary} ({running.phase}); wait for it, or "
                    f"`rollout abort {self.service}`"
                )
            if running.phase is Phase.PAUSED:
                self.states.write(replace(record, attempt=restarted(running, now)))
            return self.states.record.attempt or running
        self.clear(now)
        number = running.number + 1 if running else 1
        attempt = replace(survey(self._cluster, request, number, now), fence=self.lease.fence)
        self.states.write(Record(attempt, record.past()))
        return attempt

    def tick(self, now: float) -> Tick:
        """Take one step, if there is one to take and we hold the lease."""
        record = self.states.read()
        attempt = record.attempt
        if attempt is None or (attempt.phase.ended and attempt.cleaned):
            return Tick(attempt, 60.0)
        if not self.lease.hold(now):
            return Tick(attempt, 1.0, self.lease.other or "another process")
        if attempt.fence != self.lease.fence:
            if attempt.fence > self.lease.fence:
                raise Conflict(f"another process drives {self.service}; this one stops")
            self._record(replace(attempt, fence=self.lease.fence), now)
            return Tick(attempt, 0.0)
        observation, scene = self._observe(attempt, now)
        decision = decide(observation)
        return Tick(self._carry_out(decision, attempt, scene, now), decision.after)

    def take_back(self, reason: Reason, text: str, now: float) -> Attempt | None:
        """Return all traffic to stable, at once and without the lease; who drives will see it and finish.

        One write per VirtualService, each carrying its own record. Works without a record too.
        """
        try:
            attempt = self.states.read().attempt
        except RolloutError:
            self._back_by_claims(reason, now)
            return None
        if attempt is None or attempt.phase.ended:
            self.clear(now)
            return attempt
        observation, scene = self._observe(attempt, now, judge=False)
        decision = take_back(observation, reason, text)
        if decision.taken_back is not None:
            self._write_routes(decision, scene, now)
        return decision.attempt

    def clear(self, now: float) -> int:
        """Take back whatever a claim holds that no record knows, then remove the claims; returns how many."""
        ended = self.states.record.attempt
        known = ended.id if ended is not None and ended.phase.ended else ""
        found = self._back_by_claims(Reason.STATE_LOST, now, known)
        for vs in found:
            self._unclaim(vs)
        return len(found)

    def _back_by_claims(self, reason: Reason, now: float, known: str = "") -> list[Document]:
        """Take back by what the claims alone say, but for those of the attempt `known` to have ended."""
        host = fqdn(self.service, self.namespace)
        found = []
        for vs in virtual_services(self._cluster, host, self.namespace):
            claim, after = claim_of(vs, self._key), vs
            if claim is not None and claim.attempt != known and claim.taken_back is None:
                back = replace(claim, weight=Decimal(0), taken_back=reason, at=now)
                patch = claiming_patch(vs, self._key, Pair(host, claim.stable, claim.canary), back)
                after = self._cluster.patch(VIRTUAL_SERVICE, namespace_of(vs), name_of(vs), patch, version_of(vs))
            if self._key in annotations_of(vs):
                found.append(after)
        return found

    # --- observe -----------------------------------------------------------------------------------------------

    def _observe(self, a: Attempt, now: float, judge: bool = True) -> tuple[Observation, _Scene]:
        pair = self._pair(a)
        documents = tuple(self._find(VIRTUAL_SERVICE, r.namespace, r.name) for r in a.routes)
        spaces = [a.namespace, *(r.namespace for r in a.routes)]
        rules = tuple(rules_for(self._cluster, spaces))
        levels = [seen_from(rules, pair.host, space, a.namespace, ROOT_NAMESPACE) for space in dict.fromkeys(spaces)]
        service = self._find(SERVICE, a.namespace, a.service)
        seen = endpoints(self._cluster, service) if service else Endpoints({}, {})
        reading, silence, checkpoint = None, "", a.checkpoint
        if judge and not a.phase.ended:
            reading, silence, checkpoint = self._eyes.reading(a, target_of(self._cluster, a), now)
        observation = Observation(
            now,
            replace(a, checkpoint=checkpoint),
            tuple(
                self._state(vs, r.namespace, r.name, r.keys, pair) for vs, r in zip(documents, a.routes, strict=True)
            ),
            seen.ready.get(a.stable, 0),
            seen.ready.get(a.canary, 0),
            all(find(level, a.stable) for level in levels),
            all(find(level, a.canary) for level in levels),
            reading,
            silence,
        )
        return observation, _Scene(documents, rules)

    def _find(self, kind: Kind, namespace: str, name: str) -> Document | None:
        try:
            return self._cluster.get(kind, namespace, name)
        except NotFound:
            return None

    def _state(self, vs: Document | None, namespace: str, name: str, keys: tuple[str, ...], pair: Pair) -> RouteState:
        title = f"VirtualService {namespace}/{name}"
        given = percents(vs, pair, keys) if vs else []
        if vs is None or not given:
            return RouteState(title, None, (), present=False)
        claim = claim_of(vs, self._key)
        back = claim.taken_back if claim else None
        return RouteState(title, claim.weight if claim else None, tuple(given), _editor(vs), back)

    def _pair(self, a: Attempt) -> Pair:
        return Pair(fqdn(a.service, a.namespace), a.stable, a.canary)

    # --- record and act ----------------------------------------------------------------------------------------

    def _carry_out(self, d: Decision, before: Attempt, scene: _Scene, now: float) -> Attempt:
        after = d.attempt
        if not legal(before.phase, after.phase):
            raise AssertionError(f"no move leads from {before.phase} to {after.phase}")
        if d.taken_back is not None:  # the one write that comes before its record: it carries its own
            self._write_routes(d, scene, now)
            self._record(after, now)
            return after
        if self._worth_recording(before, after, now):
            self._record(after, now)
        if d.prepare:
            self._add_subsets(after, scene)
        if d.weight is not None and self.lease.sure(now):
            self._write_routes(d, scene, now)
        if d.clean:
            self._clean(after, scene)
            after = replace(after, cleaned=True)
            self._record(after, now)
        return after

    def _worth_recording(self, before: Attempt, after: Attempt, now: float) -> bool:
        same = replace(after, checkpoint=before.checkpoint, last=before.last) == before
        return not same or (after != before and now - self._recorded >= CHECKPOINT_EVERY)

    def _record(self, attempt: Attempt, now: float) -> None:
        self.states.write(replace(self.states.record, attempt=attempt))
        self._recorded = now

    def _write_routes(self, d: Decision, scene: _Scene, now: float) -> None:
        """Write the weight to every route; a take-back does not let a conflict stop it."""
        a, pair = d.attempt, self._pair(d.attempt)
        troubles: list[RolloutError] = []
        for vs, route in zip(scene.routes, a.routes, strict=True):
            if vs is None or not percents(vs, pair, route.keys):
                continue
            weight = d.weight if d.weight is not None else a.weight
            claim = Claim(
                a.id, a.fence, weight, a.stable, a.canary, route.keys, taken_back=d.taken_back,
                at=now if d.taken_back else 0.0,
            )  # fmt: skip
            try:
                self._claim(vs, pair, claim, PATCH_TRIES if d.taken_back else 1)
            except RolloutError as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def _claim(self, vs: Document, pair: Pair, claim: Claim, tries: int) -> None:
        for left in reversed(range(tries)):
            patch = claiming_patch(vs, self._key, pair, claim)
            text = patch["metadata"]["annotations"][self._key]
            if annotations_of(vs).get(self._key) == text and "spec" not in patch:
                return
            try:
                self._cluster.patch(VIRTUAL_SERVICE, namespace_of(vs), name_of(vs), patch, version_of(vs))
                return
            except Conflict:
                if not left:
                    raise
                vs = self._cluster.get(VIRTUAL_SERVICE, namespace_of(vs), name_of(vs))

    def _unclaim(self, vs: Document) -> None:
        patch = {"metadata": {"annotations": {self._key: None}}}
        self._cluster.patch(VIRTUAL_SERVICE, namespace_of(vs), name_of(vs), patch, version_of(vs))

    def _add_subsets(self, a: Attempt, scene: _Scene) -> None:
        host = self._pair(a).host
        level = seen_from(scene.rules, host, a.namespace, a.namespace, ROOT_NAMESPACE)
        missing = [name for name in (a.stable, a.canary) if not find(level, name)]
        if not missing:
            return
        rule = owner(level, a.namespace)
        if rule is None:
            self._cluster.create(DESTINATION_RULE, new_rule(a.service, a.namespace, missing, level))
        else:
            patch = adding_patch(rule, missing)
            self._cluster.patch(DESTINATION_RULE, namespace_of(rule), name_of(rule), patch, version_of(rule))

    def _clean(self, a: Attempt, scene: _Scene) -> None:
        """Remove our claims, and subsets of ours that no route names any more."""
        for vs in scene.routes:
            claim = claim_of(vs, self._key) if vs else None
            if vs is not None and claim is not None and claim.attempt == a.id:
                self._unclaim(vs)
        host = self._pair(a).host
        named: set[str] = set()
        for vs in virtual_services(self._cluster, host, a.namespace):
            named |= {
                str((e.get("destination") or {}).get("subset") or "")
                for route in http_routes(vs)
                for e in route.get("route") or []
            } | versions(vs, host)
        for rule in seen_from(scene.rules, host, a.namespace, a.namespace, ROOT_NAMESPACE):
            idle = [name for name in added(rule) if name not in named]
            if idle and not is_ours(rule):
                patch = removing_patch(rule, idle)
                self._cluster.patch(DESTINATION_RULE, namespace_of(rule), name_of(rule), patch, version_of(rule))


def _editor(vs: Document) -> str:
    """The last foreign writer of the object, by its managed fields."""
    fields = vs["metadata"].get("managedFields") or []
    others = [f for f in fields if f.get("manager") not in (None, "rollout")]
    latest: Document = max(others, key=lambda f: str(f.get("time", "")), default={})
    return str(latest.get("manager", ""))
