"""One tick: observe, decide, record, act. The next observation, not a call's return, says whether it worked."""

import math
from contextlib import suppress
from dataclasses import dataclass, fields, replace

from rollout.core.attempt import HISTORY_LENGTH, Attempt, Fate, Record, Retirement, Scale, Word
from rollout.core.decision import Decision, Observation, decide, landed, lingers, take_back
from rollout.core.errors import Conflict, Forbidden, InvalidInput, Unintelligible, about
from rollout.core.lifecycle import Phase, Reason, legal
from rollout.core.notices import noticed
from rollout.core.strategy import Gate, Pause
from rollout.engine import rights
from rollout.engine.acting import Hands
from rollout.engine.asking import Asker, question
from rollout.engine.lease import Hold
from rollout.engine.looking import Eyes
from rollout.engine.notifying import Notifier
from rollout.engine.observing import Known, Scene, observe, plan_subsets, read_scene
from rollout.engine.past import Load
from rollout.engine.probing import Prober
from rollout.engine.querying import Queries, examined
from rollout.engine.retiring import LOOK_EVERY, Retiring
from rollout.engine.scaling import Scales, shared
from rollout.engine.state import Shelf, StateStore
from rollout.engine.survey import Request, known_service, survey
from rollout.mesh.workloads import ASLEEP, in_words, number
from rollout.ports import Cluster, Metrics, Probes, Webhooks

CHECKPOINT_EVERY = 20.0
"""Seconds between two records of nothing but what each look changes."""
SELDOM = 60.0
"""Seconds after which we look again while nobody but a person can bring anything new."""
SOON = 0.2
"""Seconds after which we look again at the earliest in the first second in which a bake waits for its last look."""
LASTING = {field.name for field in fields(Attempt)} - {"checkpoint", "last", "measured", "probed"}
"""What is recorded as soon as it changes."""


@dataclass(frozen=True)
class Tick:
    """What one tick came to: the attempt (None: nothing in flight), and when to look again, in seconds.

    Who is told at once of whatever changes in the cluster need not look before `rest` seconds have passed.
    """

    attempt: Attempt | None
    after: float
    waiting_for: str = ""
    rest: float = 0.0


class Engine:
    """The engine for one service. Any number may exist; the Lease lets one of them act.

    `load` is what stable served lately, as `examine` found it (None: nothing known).
    """

    def __init__(
        self,
        cluster: Cluster,
        metrics: Metrics,
        webhooks: Webhooks,
        probes: Probes,
        service: str,
        namespace: str,
        lease: Hold,
        shelf: Shelf,
    ) -> None:
        self._cluster, self._asker, self._prober = cluster, Asker(cluster, webhooks, namespace), Prober(probes)
        self.service, self.namespace = service, namespace
        self.lease, self.states = lease, StateStore(shelf)
        self._metrics, self._eyes, self._queries = metrics, Eyes(metrics), Queries(metrics, self._asker)
        self._notifier = Notifier(self._asker)
        self._hands, self._scales = Hands(cluster, service, namespace), Scales(cluster, service, namespace)
        self._retiring = Retiring(cluster, self._eyes, service, namespace)
        self._known = Known()
        self.load: Load | None = None
        self._driven: Attempt | None = None
        self._driven_at = ""
        self._recorded = 0.0

    # --- doors -------------------------------------------------------------------------------------------------

    def running(self) -> Attempt | None:
        """The attempt in flight, if there is one."""
        attempt = self.states.read().attempt
        return attempt if attempt and not attempt.phase.ended else None

    def known(self) -> None:
        """Raise `InvalidInput` if nothing is recorded of this service and no such Service is there: a wrong name."""
        if self.states.read().attempt is None:
            known_service(self._cluster, self.service, self.namespace)

    def examine(self, request: Request, now: float, entitled: bool = False) -> Attempt:
        """The attempt that would start now, once everything that it needs was found there. Writes nothing.

        Where we are known to be `entitled` to what every attempt takes, the API is not asked for that. Raises
        `InvalidInput` if it cannot work, `Forbidden` with every right that is missing, and `Unavailable` if the
        cluster or the metrics do not answer.
        """
        attempt = survey(self._cluster, request, 0, now)
        scene = read_scene(self._cluster, attempt)
        _, missing, _ = plan_subsets(attempt, scene)
        if entitled:
            rights.demand_drills(self._cluster, attempt)
        else:
            rights.demand(self._cluster, attempt, bool(missing), governed=self.states.declared is not None)
        try:
            with about("strategy.checks"):
                self.load = self._eyes.ask(attempt, scene.target(attempt))
                examined(self._metrics, attempt, now)
        except Unintelligible as error:
            raise InvalidInput(str(error)) from error
        return attempt

    def acquire(self, now: float) -> bool:
        """Take the lease, if it is free."""
        attempt = self.states.read().attempt
        return self.lease.hold(now, attempt.fence if attempt else 0)

    def begin(self, request: Request, now: float) -> Attempt:
        """Record a new attempt, or go on with one for the same version. The lease must be held.

        Raises `InvalidInput` if it cannot work or another one is in flight.
        """
        running = self.running()
        if running:
            same_target(running, request)
            return running
        self.clear(now)
        if request.scale is Scale.AUTO:
            self._scales.give_back(())  # nothing is in flight, so whatever is left is of nobody
        record = self.states.record
        number = record.attempt.number + 1 if record.attempt else 1
        untold = record.attempt.notices if record.attempt and request.strategy.notify else ()
        attempt = replace(survey(self._cluster, request, number, now), fence=self.lease.fence, notices=untold)
        if record.attempt:
            retired = (o for o in record.attempt.retired if o.version not in (attempt.stable, attempt.canary))
            attempt = replace(attempt, retired=tuple(retired)[-HISTORY_LENGTH:])
        attempt = noticed(None, attempt, now)
        self.states.write(Record(attempt, record.past()), now)
        self._recorded = now
        return attempt

    def retire(self, after: float, now: float, wanted: str = "") -> float:
        """Let a version go that was replaced so many seconds ago; returns after how many seconds to look again.

        Nothing may be in flight, and the lease must be held. What stands in the way is recorded, and not tried again;
        only requests that still come, counters that tell nothing, and what serves without being ready are waited for.
        """
        record = self.states.read()
        a = record.attempt
        going = a.retiring if a else None
        if a is None or (going is None and record.retires_at(after) > now):
            return record.retires_at(after) - now
        version = going.version if going else next(iter(record.replaced()))
        if going and wanted not in ("", a.canary):
            self._settle(Retirement(version, Fate.KEPT, f"{wanted} is asked for"), now)
            return 0.0
        try:
            deployment = self._retiring.deployment(version, a.canary)
            if deployment is None or not number(deployment):
                with suppress(Forbidden, InvalidInput):  # what is left in routes and rules sends nothing there
                    self._hands.forget(version)
                self._settle(Retirement(version, Fate.RETIRED, going.text if going else "it has no pods any more"), now)
            elif rest := self._retiring.wait(a, version, deployment, now, going is not None):
                return rest
            else:
                if going is None:
                    self._settle(Retirement(version, Fate.GOING, in_words(deployment, ASLEEP)), now)
                if self.lease.sure(now):
                    self._retiring.retire(deployment)
                return LOOK_EVERY if going else 0.0  # who makes it more again is not fought
        except (InvalidInput, Forbidden) as error:
            self._settle(Retirement(version, Fate.KEPT, str(error)), now)
        return 0.0

    def _settle(self, one: Retirement, now: float) -> None:
        """Record what becomes of a version that was replaced."""
        a = self.states.record.attempt
        assert a is not None
        others = (other for other in a.retired if other.version != one.version)
        self._record(replace(a.remarked(now, str(one)), fence=self.lease.fence, retired=(*others, one)), now)

    def resume(self, now: float) -> None:
        """Let a paused attempt go on. Needs no lease: who drives reads it from the record."""
        running = self.running()
        stands = running and (running.phase is Phase.PAUSED or isinstance(running.wait, Pause))
        if running and stands and not running.resume:
            self._say(running.noted(now, "asked to go on", resume=True, fought=False), now)

    def pause(self, now: float, who: str, why: str) -> Attempt:
        """Let the attempt in flight stand still until it is resumed. Needs no lease. Raises `InvalidInput`."""
        running = self._in_flight()
        if not legal(running.phase, Phase.PAUSED):
            raise InvalidInput(f"{self.service} is {running.phase}: there is nothing to pause")
        text = f"paused by {who}" + (f": {why}" if why else "")
        return self._say(running.noted(now, text, phase=Phase.PAUSED, resume=False, fought=False), now)

    def answer(self, word: Word, now: float) -> Attempt:
        """Answer the gate at which the attempt in flight waits. Needs no lease. Raises `InvalidInput`."""
        running = self._in_flight()
        if running.phase is not Phase.WAITING or not isinstance(running.wait, Gate):
            raise InvalidInput(f"{self.service} waits at no gate: it is {running.phase} ({running.message})")
        return self._say(running.noted(now, str(word), word=word), now)

    def _in_flight(self) -> Attempt:
        running = self.running()
        if running is None:
            raise InvalidInput(f"no rollout of {self.service} is in flight in namespace {self.namespace}")
        return running

    def _say(self, attempt: Attempt, now: float) -> Attempt:
        """Write what a person says into the record; who drives reads it there."""
        attempt = noticed(self.states.record.attempt, attempt, now)
        self.states.write(replace(self.states.record, attempt=attempt), now)
        return attempt

    def tick(self, now: float) -> Tick:
        """Take one step, if there is one to take and we hold the lease."""
        attempt, lost = self._remembered()
        over = attempt is None or (attempt.phase.ended and attempt.cleaned)
        if attempt is None or (over and not attempt.notices):
            return Tick(attempt, 60.0)
        if lost:
            self.lease.doubt()
        if not self.lease.hold(now, attempt.fence):
            return Tick(attempt, 1.0, self.lease.other or "another process")
        if lost:
            attempt = replace(attempt, fence=self.lease.fence)
        if attempt.fence != self.lease.fence:
            if attempt.fence > self.lease.fence:
                raise Conflict(f"another process drives {self.service}; this one stops")
            self._record(replace(attempt, fence=self.lease.fence), now)
            return Tick(attempt, 0.0)
        if over:
            return Tick(self._tell(attempt, now), 0.5)
        scene = read_scene(self._cluster, attempt)
        observation = self._judged(attempt, scene, now)
        if attempt.landed != observation.attempt.landed:
            attempt = replace(attempt, landed=observation.attempt.landed)
        if lost:
            decision = take_back(observation, Reason.STATE_LOST, "its record was deleted or damaged")
        else:
            decision = decide(observation)
        after = self._scaled(self._carry_out(decision, attempt, scene, now), scene, now)
        after = self._tell(after, now)
        return Tick(after, decision.after, rest=self._rest(decision, after, now))

    def _rest(self, d: Decision, a: Attempt, now: float) -> float:
        """Seconds in which nothing can happen, if nothing changes in the cluster."""
        if a.notices:
            return d.after
        if a.waits_for_person:
            return max(d.after, min(SELDOM, a.deadline - now))
        looks = a.phase in (Phase.SHIFTING, Phase.CONFIRMING) and a.strategy.checks
        if not (d.passing and looks) or a.probe or a.strategy.queries:
            return d.after
        baked = self._baked(a)
        least = SOON if 0 <= now - baked < 1 else min(d.after, 1.0)
        return max(least, min(self._eyes.due, baked if baked > now else math.inf, a.deadline) - now)

    def _baked(self, a: Attempt) -> float:
        """When the weight will have stood, or stood, as long as it must."""
        return a.landed + (a.strategy.confirm if a.phase is Phase.CONFIRMING else a.strategy.steps[a.step].bake.min)

    def leave(self, now: float) -> Attempt | None:
        """Write down that this process leaves before people were told all; who drives next tells them."""
        attempt = self.states.read().attempt
        if attempt is None or not attempt.notices or not self.lease.sure(now):
            return attempt
        return self._say(self._notifier.left(attempt, now), now)

    def let_go(self, now: float) -> None:
        """Let the next process drive, and let no fault lie meanwhile; who goes on puts it there again."""
        left = self.states.record.attempt
        try:
            if left is not None and left.fault and self.lease.sure(now):
                self._hands.drill(left, read_scene(self._cluster, left), None)
        finally:
            self.lease.release(now)

    def take_back(self, reason: Reason, text: str, now: float) -> Attempt | None:
        """Return all traffic to stable, at once and without the lease; who drives will see it and finish.

        One write per VirtualService, each carrying its own record. Works without a readable record too, and where
        we may not ask how many endpoints are ready. Where the routes are not ours to write, the record asks who drives
        to do it. Raises `Unavailable` without an answer: try again.
        """
        try:
            attempt = self.running()
        except (InvalidInput, Forbidden):
            self._hands.take_back_claims(reason, now)
            return None
        if attempt is None:
            self.clear(now)
            return self.states.record.attempt
        try:
            scene = read_scene(self._cluster, attempt)
            observation = observe(self._cluster, attempt, scene, now)
        except Forbidden:
            self._hands.take_back_claims(reason, now)
            return attempt
        decision = take_back(observation, reason, text)
        if decision.taken_back is None:
            return attempt  # who drives, or our next tick, finishes what is taken back already
        try:
            self._hands.take_back(decision.attempt, scene, decision.taken_back, now)
            if decision.drill:
                self._hands.drill(decision.attempt, scene, decision.attempt.fault)
        except Forbidden:
            self._say(decision.attempt, now)
            return decision.attempt
        if not any(route.touched(attempt) for route in observation.routes):
            # No claim is there to say it, so the record must: whoever drives would go on otherwise.
            self._say(decision.attempt, now)
        return decision.attempt

    def clear(self, now: float) -> int:
        """Take back whatever a claim holds that no record knows, then remove the claims; returns how many."""
        ended = self.states.record.attempt
        known = ended.id if ended is not None and ended.phase.ended else ""
        found = self._hands.take_back_claims(Reason.STATE_LOST, now, known)
        self._scales.give_back_by(found)
        for vs in found:
            self._hands.unclaim(vs)
        return len(found)

    # --- observe, record, act ----------------------------------------------------------------------------------

    def _remembered(self) -> tuple[Attempt | None, bool]:
        """The attempt by the record; where that is lost while we drive, the one we know, and True.

        While nobody else writes the record we know more than it says.
        """
        try:
            attempt = self.states.read().attempt
        except InvalidInput:
            if self._driven is None:
                raise
            attempt = None
        if attempt is not None and self._driven is not None and self.states.version == self._driven_at:
            return self._driven, False
        if attempt is None and self._driven is not None:
            return self._driven, True
        return attempt, False

    def _judged(self, a: Attempt, scene: Scene, now: float) -> Observation:
        seen = observe(self._cluster, a, scene, now, self._known)
        if a.phase.ended:
            reached = self._eyes.reached(scene.target(a), a.ended) if lingers(seen) else None
            return replace(seen, reached=reached)
        a = landed(seen)
        seen = self._gated(replace(seen, attempt=a, scaling=self._scales.said))
        reading, silence = self._eyes.reading(seen, scene.target(a))
        answers, unheard = self._queries.measured(a, now, self._eyes.interval)
        probed = self._prober.probed(a)
        if (answers, probed or a.probed) != (a.measured, a.probed):
            a = replace(a, measured=answers, probed=probed or a.probed)
        return replace(seen, attempt=a, reading=reading, silence=silence or unheard, measured=answers, probed=probed)

    def _gated(self, seen: Observation) -> Observation:
        """With what the webhook says at whose gate the attempt waits."""
        a = seen.attempt
        url = a.wait.url if isinstance(a.wait, Gate) else ""
        if not url or a.phase is not Phase.WAITING or a.word or seen.now < a.ask_at:
            return seen
        said = self._asker.answer(url, question(a, a.asked))
        return replace(seen, silent=said) if isinstance(said, str) else replace(seen, word=said)

    def _carry_out(self, d: Decision, before: Attempt, scene: Scene, now: float) -> Attempt:
        after = noticed(before, d.attempt, now)
        if not legal(before.phase, after.phase):
            raise AssertionError(f"no move leads from {before.phase} to {after.phase}")
        if d.taken_back is not None:  # the one write that comes before its record: it carries its own
            self._hands.take_back(after, scene, d.taken_back, now)
            self._record(after, now)
            if d.drill:
                self._hands.drill(after, scene, after.fault)
            return after
        moves = (d.weight is not None and after.phase is not Phase.PREFLIGHT) or d.bare or d.drill
        if moves or self._worth_recording(d.passing, before, after, now):
            # Before every weight, changed or not: a record that another engine wrote since we read it stops us here.
            # But for the claim at 0, before anything: nobody's traffic moves, and no other's claim is touched.
            self._record(after, now, again=moves)
        self._know(after)
        if d.drill and self.lease.sure(now):
            self._hands.drill(after, scene, after.fault)
        if d.prepare:
            self._hands.add_subsets(after, scene)
        if d.weight is not None and self.lease.sure(now):
            self._hands.shift(after, scene, d.weight, now, d.seal)
        if d.bare and self.lease.sure(now):
            self._hands.undress(after, scene)
        if d.clean:
            after = self._given_back(after, scene, now)
            self._hands.clean(after, scene)
            after = replace(after, cleaned=True)
            self._record(after, now)
        return after

    def _scaled(self, a: Attempt, scene: Scene, now: float) -> Attempt:
        """The attempt once what its next weight needs is asked for; whatever is to be done about traffic came first."""
        after = a

        def record(words: list[str]) -> None:
            """As before every weight: a record that another engine wrote since stops us here."""
            nonlocal after
            after = a.remarked(now, f"scaling: {', '.join(words)}")
            self._record(after, now)

        if self.lease.sure(now):
            self._scales.put(a, scene, now, record)
        return after

    def _given_back(self, a: Attempt, scene: Scene, now: float) -> Attempt:
        """The attempt once what was scaled for it is given back: the claims that say so go after that."""
        if a.scale is Scale.WAIT:
            return a
        done = self._scales.give_back([a.id] if a.phase is Phase.ROLLED_BACK and not shared(scene, a) else [], a.id)
        return a.remarked(now, f"given back: {', '.join(done)}") if done else a

    def _tell(self, attempt: Attempt, now: float) -> Attempt:
        """Tell people what is recorded that they should know, after what had to be done; and record what they know."""
        if not attempt.notices or not self.lease.sure(now):
            return attempt
        after = self._notifier.told(attempt, now)
        if after is not attempt:
            self._record(after, now)
        return after

    def _worth_recording(self, passing: bool, before: Attempt, after: Attempt, now: float) -> bool:
        names = {"notices"} if passing else LASTING
        if any(getattr(after, name) != getattr(before, name) for name in names):
            return True
        return now - self._recorded >= CHECKPOINT_EVERY and (after != before or self._eyes.news)

    def _record(self, attempt: Attempt, now: float, again: bool = False) -> None:
        self.states.write(replace(self.states.record, attempt=self._eyes.remembered_by(attempt)), now, again)
        self._know(attempt)
        self._recorded = now

    def _know(self, attempt: Attempt) -> None:
        self._driven = attempt if not attempt.phase.ended else None
        self._driven_at = self.states.version


def same_target(running: Attempt, request: Request) -> None:
    """Raise `InvalidInput` if the attempt in flight is not the one that is asked for."""
    if running.canary != request.canary:
        raise InvalidInput(
            f"{running.service} is on its way to {running.canary} ({running.phase}); wait for it, or "
            f"`rollout abort {running.service}`"
        )
