"""What a command asks of the ServiceRollout that governs a service: whether it may, the patch, and taking that back."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from rollout.adapters import clock
from rollout.adapters.spelling.service_rollout import declared, strategy_of
from rollout.adapters.store import merged
from rollout.controller.reconcile import AGAIN, DISAGREES, LOST
from rollout.core.attempt import Attempt, Record, Scale
from rollout.core.documents import (
    MANAGER,
    SERVICE_ROLLOUT,
    Document,
    name_of,
    namespace_of,
    ref,
    version_of,
)
from rollout.core.errors import Conflict, Forbidden, InvalidInput, NotFound, RolloutError, Unavailable, Unreachable
from rollout.core.lifecycle import Phase, Reason
from rollout.core.strategy import Strategy
from rollout.engine import byhand
from rollout.engine.choosing import PRESET
from rollout.engine.engine import Engine, same_target
from rollout.engine.lease import RENEW_EVERY
from rollout.engine.objects import OVERRIDE, RETRY, seen, version_asked, version_written
from rollout.engine.status import Trouble, trouble_of
from rollout.engine.survey import Request, survey
from rollout.ports import Cluster

WITHIN = 20.0
"""Seconds in which a write is tried again, where others write at the same moment or no answer comes."""


Answer = TypeVar("Answer")


class Leaderless(Unreachable):
    """No controller lives that would do it."""


@dataclass(frozen=True)
class Wish:
    """That `version` serve. `strategy`, `stable`, `scale` and `names` (of routes) are what the command line names;
    `create`: subsets may be added.

    `override`: also where Git has another version, by an annotation that says so.
    """

    version: str
    strategy: Strategy | None = None
    stable: str = ""
    create: bool = True
    override: bool = False
    scale: Scale | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """What is to be written to an object: a merge patch (empty: it asks for this already), and how to take it back.

    What comes of it is an attempt with a higher number than `since`.
    """

    patch: Document
    reverse: Document
    since: int


def asks(document: Document, last: Attempt | None) -> str:
    """The version that is to serve: where the object waits for new ones, the last that came; empty where none did."""
    return version_asked(document) or (last.canary if last else "")


def owner(document: Document) -> str:
    """Who else keeps `spec.version` as he has it, by managedFields; empty where the version is for us to change.

    Ours are what we wrote ourselves, and what a person wrote with kubectl; any other field manager (Argo CD, Flux,
    Helm, Terraform, a program of yours) has it from somewhere, and is taken to write it again.
    """
    for one in document["metadata"].get("managedFields") or []:
        name = str(one.get("manager", ""))
        if "f:version" in ((one.get("fieldsV1") or {}).get("f:spec") or {}) and not _interactive(name):
            return name or "somebody"
    return ""


def _interactive(manager: str) -> bool:
    return manager in (MANAGER, "kubectl") or manager.startswith("kubectl-")


def change(document: Document, record: Record, wish: Wish) -> Change:
    """What makes the object ask for the version, and for another try where that went back before.

    Raises `InvalidInput` where the object cannot be obeyed, something else is in flight, the version is another's to
    change, or nothing would come of it.
    """
    last, version = record.attempt, wish.version
    _demand_awake(document)
    if last and not last.phase.ended:
        return _joined(document, last, version)
    again, number = _to_repeat(document, last, version), last.number if last else 0
    if asks(document, last) == version and last and last.canary == version:
        if owner(document):  # what Git asks for was tried: to try it once more is for `retry` to say
            return Change({}, {}, number - 1)
        if again is None:
            raise InvalidInput(
                f"{ref(SERVICE_ROLLOUT, document)} has brought {last.service} to {version} already (attempt {number}); "
                "name another version with --to"
            )
    return _changed(document, _asking(document, record, wish), again, number)


def retried(document: Document, record: Record, wish: Wish) -> Change:
    """What has the controller try once more what went back. Raises `InvalidInput` as above, or if nothing did."""
    version, last = wish.version, record.attempt
    _demand_awake(document)
    if not version:
        raise InvalidInput(
            f"{ref(SERVICE_ROLLOUT, document)} begins what appears (spec.trigger), and nothing is known of what did: "
            "a Deployment of a new version is released by itself"
        )
    if last and last.canary != version:
        raise InvalidInput(
            f"{ref(SERVICE_ROLLOUT, document)} asks for {version}, and what went back was {last.canary}: "
            f"`rollout promote {last.service} --to {last.canary}`"
        )
    if last and not last.phase.ended:
        return _joined(document, last, version)
    again = _to_repeat(document, last, version)
    if again is None:
        raise InvalidInput(f"{ref(SERVICE_ROLLOUT, document)}: nothing went back, so there is nothing to retry")
    return _changed(document, {}, again, last.number if last else 0)


def _demand_awake(document: Document) -> None:
    if declared(document).suspend:
        raise InvalidInput(f"{ref(SERVICE_ROLLOUT, document)}: spec.suspend is true, so nothing begins; make it false")


def _joined(document: Document, running: Attempt, version: str) -> Change:
    if asks(document, running) != version:
        same_target(running, Request(running.service, running.namespace, version, running.strategy))
        raise InvalidInput(
            f"{running.service} is on its way to {version}, but {ref(SERVICE_ROLLOUT, document)} asks for "
            f"{asks(document, running)} now, so it goes back; wait for that"
        )
    return Change({}, {}, running.number - (running.canary == version))


def _asking(document: Document, record: Record, wish: Wish) -> Document:
    """The patch that makes the object ask for another version; empty where it asks for this one."""
    written, version, theirs = version_written(document), wish.version, owner(document)
    if asks(document, record.attempt) == version:
        return {}
    if not written:
        raise InvalidInput(
            f"{ref(SERVICE_ROLLOUT, document)} begins what appears (spec.trigger): a new Deployment of {version} is "
            f"released by itself; to say which version serves, write `version: {version}` in place of `trigger`"
        )
    if written == version:
        return {"metadata": {"annotations": {OVERRIDE: None}}}
    if not theirs:
        return {"spec": {"version": version}}
    if wish.override:
        return {"metadata": {"annotations": {OVERRIDE: f"{written}={version}"}}}
    served = any(one.phase is Phase.PROMOTED and one.stable == version for one in record.past())
    until = f"\nuntil then: rollout undo {record.attempt.service} --override" if served and record.attempt else ""
    raise InvalidInput(
        f"{ref(SERVICE_ROLLOUT, document)}: {theirs} keeps spec.version at {written} and would put it back; change "
        f"this line where it has it from, in Git:\n  version: {version}{until}"
    )


def _to_repeat(document: Document, last: Attempt | None, version: str) -> int | None:
    """The number of the attempt that is to be tried once more; None where the version alone says all."""
    if last is None:
        trouble = trouble_of(document)
        return 0 if trouble and trouble.reason == LOST.reason else None
    return last.number if last.canary == version and last.phase is Phase.ROLLED_BACK else None


def _changed(document: Document, patch: Document, again: int | None, since: int) -> Change:
    if again is not None:
        patch = merged(patch, {"metadata": {"annotations": {RETRY: str(again)}}})
    return Change(patch, _values(document, patch), since)


def _values(document: Document, patch: Document) -> Document:
    """What the document has where the patch has something; None where it has nothing."""
    return {
        key: _values(document.get(key) or {}, value) if isinstance(value, dict) else document.get(key)
        for key, value in patch.items()
    }


class Order:
    """One wish, told to the object: written, looked after, and withdrawn as long as nobody has begun it.

    `home` is the namespace of the controllers' Leases. `changing` says what to write.
    """

    def __init__(
        self,
        engine: Engine,
        cluster: Cluster,
        home: str,
        wish: Wish,
        changing: Callable[[Document, Record, Wish], Change] = change,
    ) -> None:
        self.engine, self.wish = engine, wish
        self._cluster, self._home = cluster, home
        self._changing = changing
        self._change = Change({}, {}, 0)
        self._trouble: Trouble | None = None
        self._written = 0.0
        self._leader, self._asked_at = "", 0.0

    # --- beforehand --------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `InvalidInput` where what the wish takes may not be written."""
        self._checked()

    def _checked(self) -> Change:
        record = self.engine.states.read()
        made = self._changing(self.document, record, self.wish)
        if not self.wrote:
            self._change = replace(self._change, since=made.since)
        return made

    @property
    def document(self) -> Document:
        """The object as it was read last."""
        document = self.engine.states.declared
        if document is None:
            raise InvalidInput(f"the ServiceRollout of {self.engine.service} is gone")
        return document

    @property
    def begun(self) -> bool:
        """Whether what was asked for had begun, or ended, as the record was read last."""
        return self._ours(self.engine.states.record.attempt)

    @property
    def busy(self) -> bool:
        """Whether something was in flight as the record was read last."""
        attempt = self.engine.states.record.attempt
        return attempt is not None and not attempt.phase.ended

    def leader(self, now: float) -> str:
        """Which controller leads; asked for as often as one renews its Lease. Raises `Leaderless`."""
        if not self._leader or now - self._asked_at >= RENEW_EVERY:
            try:
                self._leader, self._asked_at = byhand.leader(self._cluster, self._home, now), now
            except Forbidden as error:
                raise Forbidden(f"whether a controller lives, its Lease in {self._home} says: {error}") from error
        if not self._leader:
            raise Leaderless(
                f"no controller lives in {self._home} that would obey {ref(SERVICE_ROLLOUT, self.document)} "
                f"(--lease-namespace, if it is elsewhere); --local drives from here"
            )
        return self._leader

    def request(self) -> tuple[Request, bool]:
        """What the object comes to, and whether its strategy is to be fitted to the traffic.

        Raises `InvalidInput` where an option of the command line says otherwise than the object.
        """
        wish, wanted = self.wish, declared(self.document)
        strategy, fits = strategy_of(self._cluster, wanted, PRESET), wanted.strategy is None
        if wish.strategy and (fits or not _alike(wanted.own(wish.strategy), strategy)):
            raise InvalidInput(
                f"{ref(SERVICE_ROLLOUT, self.document)} says by which strategy; edit its spec.strategy, or leave "
                "--strategy out"
            )
        if wish.scale not in (None, wanted.scale):
            raise InvalidInput(
                f"{ref(SERVICE_ROLLOUT, self.document)} says `scale: {wanted.scale}`; edit its spec.scale, or leave "
                "--scale out"
            )
        if wish.names and set(wish.names) != set(wanted.names):
            raise InvalidInput(
                f"{ref(SERVICE_ROLLOUT, self.document)} says which routes with a match move "
                f"({', '.join(wanted.names) or 'none'}); edit its spec.routes.names, or leave --route out"
            )
        made = Request(
            wanted.service,
            wanted.namespace,
            wish.version,
            strategy,
            wish.stable,
            wish.create,
            scale=wanted.scale,
            names=wanted.names,
        )
        return made, fits

    def examined(self, now: float) -> Request:
        """What the controller will be asked for, looked at beforehand as far as we may. Raises `InvalidInput`."""
        request, _ = self.request()
        attempt = self.engine.states.record.attempt if self.begun else None
        if attempt is None and not self.busy:
            with suppress(Forbidden):  # who may not look is told by the controller
                attempt = survey(self._cluster, replace(request, stable=""), 0, now)
        if attempt and self.wish.stable not in ("", attempt.stable):
            raise InvalidInput(
                f"the controller finds that {attempt.stable} serves, not {self.wish.stable}; leave --from out, or "
                "drive from here with --local, where no controller lives"
            )
        return request

    # --- the write ---------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Have the object ask for it, unless it does. Raises what `check` does: others may have been faster."""

        def attempted() -> None:
            made = self._checked()
            self._trouble, self._written = trouble_of(self.document), clock.now()
            if _values(self.document, made.patch) == made.patch:
                # It says so already: nothing is to be written, or a write has landed whose answer was lost.
                self._change = self._change if self.wrote else Change({}, {}, made.since)
            else:
                self._change = made
                try:
                    self._patch(made.patch)
                except Conflict:  # it did not land: what stands there is another's
                    self._change = Change({}, {}, made.since)
                    raise

        try:
            _until_answered(attempted)
        except RolloutError:
            with suppress(RolloutError):  # it may have landed
                self.withdraw()
            raise

    @property
    def wrote(self) -> bool:
        """Whether the object asks for it by our hand."""
        return bool(self._change.patch)

    def withdraw(self) -> bool:
        """Have the object say what it said before; False where somebody has begun what was asked for."""

        def attempted() -> bool:
            try:
                self.engine.states.read()
            except NotFound:
                return True
            stands = _values(self.document, self._change.patch) == self._change.patch
            if not self.begun and self.wrote and stands:
                self._patch(self._change.reverse)
            return not self.begun

        return _until_answered(attempted)

    def _ours(self, attempt: Attempt | None) -> bool:
        return bool(attempt and attempt.number > self._change.since and attempt.canary == self.wish.version)

    def _patch(self, patch: Document) -> None:
        document = self.document
        self._cluster.patch(SERVICE_ROLLOUT, namespace_of(document), name_of(document), patch, version_of(document))

    # --- what comes of it --------------------------------------------------------------------------------------

    def look(self, before: Attempt | None, now: float) -> Attempt | None:
        """The attempt that comes of it, as it stands; None while there is none. `before` is how it was seen last.

        Raises `InvalidInput` where there will be none as things are.
        """
        try:
            record = self.engine.states.read()
        except NotFound:
            if before is None:
                raise InvalidInput(f"the ServiceRollout of {self.engine.service} was deleted") from None
            return _lost(before, Reason.DELETED, "the ServiceRollout is gone, which gives all traffic back before", now)
        if before is not None:
            return self._again(before, record, now)
        if self.begun:
            return record.attempt
        asked = asks(self.document, record.attempt)
        if asked != self.wish.version:
            raise InvalidInput(f"{ref(SERVICE_ROLLOUT, self.document)} asks for {asked} now: somebody changed it")
        if trouble := self._stalled(record.attempt, now):
            raise InvalidInput(f"{ref(SERVICE_ROLLOUT, self.document)}: {trouble.reason}: {trouble.message}")
        return None

    def _again(self, before: Attempt, record: Record, now: float) -> Attempt:
        """The attempt that was seen before, as it stands or ended."""
        there = record.attempt
        if there and there.id == before.id:
            return there
        past = next(
            (one for one in record.past() if (one.number, one.started) == (before.number, before.started)), None
        )
        if past:  # the next has begun between two looks
            ended = replace(before, phase=past.phase, reason=past.reason, message=past.message, ended=past.ended)
            return replace(ended, cleaned=True)
        trouble = trouble_of(self.document)
        if trouble and trouble.reason == LOST.reason:
            return _lost(before, Reason.STATE_LOST, trouble.message, now)
        if there or not self.document.get("status"):
            return _lost(before, Reason.DELETED, "the ServiceRollout, or its record, is another one now", now)
        return before

    def _stalled(self, last: Attempt | None, now: float) -> Trouble | None:
        """Why the controller cannot begin. What was said before we asked is old, unless it is still said later."""
        trouble = trouble_of(self.document)
        if trouble is None or not seen(self.document) or trouble.reason == DISAGREES:
            return None
        fresh = trouble != self._trouble or now > self._written + AGAIN + RENEW_EVERY
        return trouble if fresh and not (last and last.reason == trouble.reason) else None


def _alike(one: Strategy, other: Strategy) -> bool:
    """Whether they are the same but for what they are called."""
    return replace(one, name="", description="") == replace(other, name="", description="")


def _lost(attempt: Attempt, reason: Reason, text: str, now: float) -> Attempt:
    return attempt.noted(now, text, phase=Phase.ROLLED_BACK, reason=reason, ended=now, cleaned=True)


def _until_answered(act: Callable[[], Answer]) -> Answer:
    until = clock.now() + WITHIN
    while True:
        try:
            return act()
        except (Conflict, Unavailable):
            if clock.now() > until:
                raise
            clock.wait(0.1)
