"""What a command asks of the ServiceRollout that governs a service: whether it may, the patch, and taking that back."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from rollout.adapters import clock
from rollout.adapters.spelling.service_rollout import declared, strategy_of
from rollout.adapters.strategy_files import load
from rollout.controller.reconcile import AGAIN, LOST
from rollout.core.attempt import Attempt, Record
from rollout.core.documents import (
    MANAGER,
    SERVICE_ROLLOUT,
    Document,
    annotations_of,
    name_of,
    namespace_of,
    ref,
    version_of,
)
from rollout.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable, Unreachable
from rollout.core.lifecycle import Phase, Reason
from rollout.core.strategy import Strategy
from rollout.engine import byhand
from rollout.engine.choosing import PRESET
from rollout.engine.engine import Engine, same_target
from rollout.engine.lease import RENEW_EVERY
from rollout.engine.objects import RETRY, seen, version_asked
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
    """That `version` serve. `strategy` and `stable` are what the command line names; `create`: subsets may be added."""

    version: str
    strategy: Strategy | None = None
    stable: str = ""
    create: bool = True


@dataclass(frozen=True)
class Change:
    """What is to be written to an object: a merge patch (empty: it asks for this already), and how to take it back.

    What comes of it is an attempt with a higher number than `since`.
    """

    patch: Document
    reverse: Document
    since: int


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


def change(document: Document, record: Record, version: str) -> Change:
    """What makes the object ask for the version, and for another try where that went back before.

    Raises `InvalidInput` where the object cannot be obeyed, something else is in flight, the version is another's to
    change, or nothing would come of it.
    """
    wanted, last, theirs = declared(document), record.attempt, owner(document)
    if wanted.suspend:
        raise InvalidInput(f"{ref(SERVICE_ROLLOUT, document)}: spec.suspend is true, so nothing begins; make it false")
    if last and not last.phase.ended:
        return _joined(document, last, version)
    if wanted.version != version and theirs:
        raise InvalidInput(_in_git(document, theirs, version))
    again = _to_repeat(document, last, version)
    number = last.number if last else 0
    if wanted.version == version and last and last.canary == version:
        if theirs:  # what Git asks for was tried: to try it once more is for `retry` to say
            return Change({}, {}, number - 1)
        if not again:
            raise InvalidInput(
                f"{ref(SERVICE_ROLLOUT, document)} has brought {last.service} to {version} already (attempt {number}); "
                "name another version with --to"
            )
    return _written(document, {"version": version} if wanted.version != version else {}, again, number)


def retried(document: Document, record: Record) -> Change:
    """What has the controller try once more what went back. Raises `InvalidInput` as above, or if nothing did."""
    version, last = version_asked(document), record.attempt
    if last and last.canary != version:
        raise InvalidInput(
            f"{ref(SERVICE_ROLLOUT, document)} asks for {version}, and what went back was {last.canary}: "
            f"`rollout promote {last.service} --to {last.canary}`"
        )
    again = _to_repeat(document, last, version)
    if again is None:
        raise InvalidInput(f"{ref(SERVICE_ROLLOUT, document)}: nothing went back, so there is nothing to retry")
    return _written(document, {}, again, last.number if last else 0)


def _joined(document: Document, running: Attempt, version: str) -> Change:
    if version_asked(document) != version:
        same_target(running, Request(running.service, running.namespace, version, running.strategy))
        raise InvalidInput(
            f"{running.service} is on its way to {version}, but {ref(SERVICE_ROLLOUT, document)} asks for "
            f"{version_asked(document)} now, so it goes back; wait for that"
        )
    return Change({}, {}, running.number - (running.canary == version))


def _to_repeat(document: Document, last: Attempt | None, version: str) -> int | None:
    """The number of the attempt that is to be tried once more; None where the version alone says all."""
    if last is None:
        trouble = trouble_of(document)
        return 0 if trouble and trouble.reason == LOST.reason else None
    return last.number if last.canary == version and last.phase is Phase.ROLLED_BACK else None


def _written(document: Document, spec: Document, again: int | None, since: int) -> Change:
    patch: Document = {"spec": spec} if spec else {}
    reverse: Document = {"spec": {"version": version_asked(document)}} if spec else {}
    if again is not None:
        patch |= {"metadata": {"annotations": {RETRY: str(again)}}}
        reverse |= {"metadata": {"annotations": {RETRY: annotations_of(document).get(RETRY)}}}
    return Change(patch, reverse, since)


def _in_git(document: Document, theirs: str, version: str) -> str:
    return (
        f"{ref(SERVICE_ROLLOUT, document)}: {theirs} keeps spec.version at {version_asked(document)} and would put it "
        f"back; change this line where it has it from, in Git:\n  version: {version}"
    )


class Order:
    """One wish, told to the object: written, looked after, and withdrawn as long as nobody has begun it.

    `home` is the namespace of the controllers' Leases. `changing` says what to write, by the object and the record.
    """

    def __init__(
        self,
        engine: Engine,
        cluster: Cluster,
        home: str,
        wish: Wish,
        changing: Callable[[Document, Record], Change] | None = None,
    ) -> None:
        self.engine, self.wish = engine, wish
        self._cluster, self._home = cluster, home
        self._changing = changing or (lambda document, record: change(document, record, wish.version))
        self._change = Change({}, {}, 0)
        self._trouble: Trouble | None = None
        self._written = 0.0
        self._leader, self._asked_at = "", 0.0

    # --- beforehand --------------------------------------------------------------------------------------------

    def checked(self) -> Change:
        """What would be written now. Raises `InvalidInput` where it may not be."""
        record = self.engine.states.read()
        return self._changing(self.document, record)

    @property
    def document(self) -> Document:
        """The object as it was read last."""
        document = self.engine.states.declared
        if document is None:
            raise InvalidInput(f"the ServiceRollout of {self.engine.service} is gone")
        return document

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
        strategy = strategy_of(self._cluster, wanted)
        if wish.strategy and (strategy is None or not _alike(wish.strategy, strategy)):
            raise InvalidInput(
                f"{ref(SERVICE_ROLLOUT, self.document)} says by which strategy; edit its spec.strategy, or leave "
                "--strategy out"
            )
        made = Request(
            wanted.service, wanted.namespace, wish.version, strategy or load(PRESET), wish.stable, wish.create
        )
        return made, strategy is None

    def examined(self, now: float) -> Request:
        """What the controller will be asked for, looked at beforehand as far as we may. Raises `InvalidInput`."""
        request, _ = self.request()
        with suppress(Forbidden):  # who may not look is told by the controller
            attempt = survey(self._cluster, replace(request, stable=""), 0, now)
            if self.wish.stable not in ("", attempt.stable):
                raise InvalidInput(
                    f"the controller finds that {attempt.stable} serves, not {self.wish.stable}; leave --from out, or "
                    "drive from here with --local, where no controller lives"
                )
        return request

    # --- the write ---------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Have the object ask for it, unless it does. Raises what `checked` does: others may have been faster."""

        def attempted() -> None:
            made = self.checked()
            self._trouble, self._written = trouble_of(self.document), clock.now()
            self._change = replace(made, reverse=self._change.reverse or made.reverse)
            if made.patch:
                self._patch(made.patch)

        _until_answered(attempted)

    @property
    def wrote(self) -> bool:
        """Whether the object asks for it by our hand."""
        return bool(self._change.reverse)

    def withdraw(self) -> bool:
        """Have the object say what it said before; False where somebody has begun what was asked for."""

        def attempted() -> bool:
            try:
                record = self.engine.states.read()
            except NotFound:
                return True
            begun = self._ours(record.attempt)
            if not begun and self._change.reverse and self._stands():
                self._patch(self._change.reverse)
            return not begun

        return _until_answered(attempted)

    def _stands(self) -> bool:
        reverse = self._change.reverse
        ours = version_asked(self.document) == self.wish.version
        return ours and ("spec" in reverse or RETRY in annotations_of(self.document))

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
        attempt, trouble = record.attempt, trouble_of(self.document)
        if before is not None:
            if attempt and attempt.number == before.number:
                return attempt
            past = next((one for one in record.past() if one.number == before.number), None)
            if past:  # the next has begun between two looks
                return replace(
                    before, phase=past.phase, reason=past.reason, message=past.message, ended=past.ended, cleaned=True
                )
            if trouble and trouble.reason == LOST.reason:
                return _lost(before, Reason.STATE_LOST, trouble.message, now)
            return before
        if self._ours(attempt):
            return attempt
        asked = version_asked(self.document)
        if asked != self.wish.version:
            raise InvalidInput(f"{ref(SERVICE_ROLLOUT, self.document)} asks for {asked} now: somebody changed it")
        fresh = trouble != self._trouble or now > self._written + AGAIN + RENEW_EVERY
        if trouble and fresh and seen(self.document) and not (attempt and attempt.reason == trouble.reason):
            raise InvalidInput(f"{ref(SERVICE_ROLLOUT, self.document)}: {trouble.reason}: {trouble.message}")
        return None


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
