"""One object, one tick: what a ServiceRollout asks for, and what its engine does about it."""

import functools
import math
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from rollout.adapters.spelling.service_rollout import ServiceRollout, declared, strategy_of
from rollout.controller.backoff import delay
from rollout.controller.leading import Leader, Led
from rollout.core.attempt import Attempt, Record
from rollout.core.documents import (
    DEPLOYMENT,
    SERVICE_ROLLOUT,
    Document,
    annotations_of,
    carries,
    going,
    name_of,
    namespace_of,
    selector_of,
    version_of,
)
from rollout.core.errors import Conflict, Forbidden, InvalidInput, NotFound, RolloutError, Unreachable, about
from rollout.core.lifecycle import Phase, Reason
from rollout.core.quantities import moment
from rollout.engine.choosing import PRESET, chosen
from rollout.engine.engine import Engine
from rollout.engine.objects import (
    OVERRIDE,
    RETRY,
    asked_again,
    oldest,
    retires_after,
    seen,
    version_asked,
    version_instead,
    version_written,
)
from rollout.engine.observing import returned
from rollout.engine.state import StatusShelf
from rollout.engine.status import (
    IDLE,
    UNREACHABLE,
    Trouble,
    comes_next,
    marked,
    trouble_of,
    unanswered,
    waiting_since,
)
from rollout.engine.survey import Request, known_service, serves
from rollout.mesh.appearing import appeared
from rollout.ports import Cluster, Metrics, Probes, Webhooks

Key = tuple[str, str]
"""An object's namespace and name."""
NEVER = math.inf
"""Seconds until we look again where only a change can bring anything new."""
AGAIN, SELDOM = 15.0, 240.0
"""Seconds after which what could not begin is tried again, though we heard of no change: at first, and at most."""
SUSPENDED = "spec.suspend"
LOST = Trouble(
    "StateLost", "its record was removed or damaged: what it had in flight was taken back; `rollout retry` begins anew"
)
DISAGREES = "GitDisagrees"
"""The reason for which an object is stalled while its annotation overrides its spec."""
INVALID = "InvalidSpec"
LASTING_TROUBLE = (INVALID, LOST.reason)
"""Troubles that only a change of the object itself can end."""


@dataclass(frozen=True)
class World:
    """What the engines of a controller share: `view` gives the cluster as the engine of one object reads it."""

    view: Callable[[Key], Cluster]
    metrics: Metrics
    webhooks: Callable[[], Webhooks]
    probes: Callable[[], Probes]
    follow: Callable[[Cluster, str, str], Callable[[], None]]
    """Keep what a rollout of this Service (namespace and name) looks at every moment current, until the answer is
    called."""
    deployments: Callable[[str], None] = lambda _: None
    """Keep the Deployments of a namespace current from now on."""
    others: Callable[[], tuple[str, ...]] = tuple
    """The mesh's other clusters."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the objects that are ours: others are another shard's."""


class Reconciler:
    """The engines of all objects that are not at rest. One object is in one thread's hands at a time.

    `changed` hears of each attempt as it was before and after a tick, `stalled` of what newly stalls an object, unless
    that is how its attempt has just ended.
    """

    def __init__(
        self,
        world: World,
        leader: Leader,
        changed: Callable[[Document, Attempt | None, Attempt | None], None],
        stalled: Callable[[Document, Trouble], None],
    ) -> None:
        self._world, self._leader, self._changed, self._stalled = world, leader, changed, stalled
        self._flights: dict[Key, _Flight] = {}

    def reconcile(self, key: Key, now: float) -> float:
        """Take one step for an object; returns after how many seconds to look again, if nothing changes before.

        Raises what the engine raises; nothing of it concerns any other object.
        """
        try:
            document = self._world.view(key).get(SERVICE_ROLLOUT, *key)
        except NotFound:
            return self._gone(key, now)
        if not carries(document, self._world.labels):
            self._drop(key)  # whoever leads the shard to which it went finds all that is in flight in its record
            return NEVER
        rest = _rests(document, now)
        if rest and at_rest(document) and not self._called(key, document, now):
            self._land(key, document, now)
            return rest
        service = str((document.get("spec") or {}).get("service", ""))
        flight = self._flights.get(key)
        if flight is None or flight.engine.service != service:
            self._drop(key)
            flight = self._flights[key] = _Flight(self._world, self._leader, key, service)
        try:
            return flight.step(document, now)
        finally:
            self._tell(document, flight)

    def _tell(self, document: Document, flight: "_Flight") -> None:
        """What a step has changed of the object as it was before."""
        before, flight.told = flight.told, flight.attempt
        after, trouble = flight.attempt, trouble_of(flight.document)
        if after is not before:
            self._changed(document, before, after)
        known, asked_anew = trouble_of(document), seen(flight.document) and not seen(document)
        if trouble in (None, known) or (known and known.matter == trouble.matter and not asked_anew):
            return  # of other numbers people are told where something else is asked for, and that was acted upon
        if after is None or after is before or not (trouble.reason == after.reason or trouble.message == after.message):
            self._stalled(document, trouble)

    def _called(self, key: Key, document: Document, now: float) -> bool:
        """Whether a Deployment calls an object at rest that waits for one, as far as is seen without its record."""
        since = waiting_since(document, now)
        if not since or self._leader.drains or going(document):
            return False
        self._world.deployments(key[0])
        tried = {str((document.get("status") or {}).get(name, "")) for name in ("stable", "canary")}
        try:
            return bool(_appeared(self._world.view(key), document, moment(since), tried))
        except (InvalidInput, Forbidden):
            return True

    def _gone(self, key: Key, now: float) -> float:
        """Somebody deleted the object though our finalizer stood on it: what its claims hold goes back."""
        flight = self._flights.get(key)
        if flight is not None:
            if flight.attempt is not None or marked(flight.document):  # else the claims that lie there are another's
                flight.engine.clear(now)
            self._drop(key)
        return NEVER

    def _land(self, key: Key, document: Document, now: float) -> None:
        """It is at rest: what was recorded after its end is told, though no answer came; what others drove is not."""
        flight = self._flights.get(key)
        if flight is None:
            return
        before = flight.attempt
        if before is not None:  # else the claims that lie there are another's
            flight.sweep(now)
        self._drop(key)
        after = flight.attempt
        if before and after and before.phase.ended and (before.id, before.phase) == (after.id, after.phase):
            self._changed(document, before, after)

    def _drop(self, key: Key) -> None:
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.unfollow()

    def ground(self) -> None:
        """Another process leads: forget what is in flight here, which it will find in the objects."""
        for key in list(self._flights):
            self._drop(key)

    def flies(self, key: Key) -> bool:
        """Whether something of this object is in flight, as far as this process has seen."""
        flight = self._flights.get(key)
        return bool(flight and flight.attempt and not flight.attempt.phase.ended)

    def attempts(self) -> dict[Key, Attempt]:
        """What is in flight now, and what has just ended."""
        return {key: flight.attempt for key, flight in list(self._flights.items()) if flight.attempt is not None}


def at_rest(document: Document) -> bool:
    """Whether its status already says all that there is to say, and nothing is to be done.

    Seen from the object alone, so that ten thousand of them are known at once after a start.
    """
    status = document.get("status") or {}
    if going(document) or marked(document):
        return not marked(document)
    if not seen(document) or comes_next(document) or asked_again(document, status.get("attempt")) or _stale(document):
        return False
    reason, overridden = _stalled(document), _overridden(document)
    if overridden or reason == DISAGREES:
        return trouble_of(document) == overridden and status.get("phase") in (IDLE, Phase.PROMOTED, Phase.ROLLED_BACK)
    if reason == INVALID and _wanted(document)[0] is not None:
        return False  # who wrote that was older than its definition
    if reason and reason not in LASTING_TROUBLE:
        return status.get("phase") == Phase.ROLLED_BACK and reason == status.get("reason")
    return status.get("phase") in (IDLE, Phase.PROMOTED, Phase.ROLLED_BACK)


def _rests(document: Document, now: float) -> float:
    """Seconds until a version that was replaced is to be retired, as the status says; infinite: none is."""
    at = (document.get("status") or {}).get("retireAt")
    suspended = (document.get("spec") or {}).get("suspend")
    waits = at and not (suspended or going(document) or trouble_of(document))
    return max(0.0, moment(at) - now) if waits else NEVER


def _stalled(document: Document) -> str:
    """Why the object is stalled, in a word; empty where it is not."""
    trouble = trouble_of(document)
    return trouble.reason if trouble else ""


def _overridden(document: Document) -> Trouble | None:
    """That another version than Git's is to serve, which people should know until they agree; None where none is."""
    instead, written = version_instead(document), version_written(document)
    if not instead:
        return None
    text = f"{instead} is to serve instead of {written}, by the annotation {OVERRIDE}"
    return Trouble(DISAGREES, f"{text}, until spec.version says otherwise")


def _stale(document: Document) -> bool:
    """Whether an annotation of ours overrides what spec.version does not say any more."""
    return OVERRIDE in annotations_of(document) and not version_instead(document)


def _begun(document: Document) -> bool:
    """Whether something was in flight, or ended, whatever the record says."""
    return marked(document) or _told(document)


def _told(document: Document) -> bool:
    """Whether its status tells of an attempt."""
    return bool((document.get("status") or {}).get("phase", IDLE) != IDLE)


@about("service")
def _appeared(cluster: Cluster, document: Document, since: float, tried: Collection[str]) -> str:
    """The version that appeared. Raises `InvalidInput` where there is no such Service, `Forbidden`."""
    service = known_service(cluster, str(document["spec"]["service"]), namespace_of(document))
    selector = selector_of(service)
    return appeared(cluster.list(DEPLOYMENT, namespace_of(document)), selector, since, tried)


class _Flight:
    """The engine of one object, with what was seen of its attempt last."""

    def __init__(self, world: World, leader: Leader, key: Key, service: str) -> None:
        self._cluster, self._key = world.view(key), key
        self._drains, self._deployments, self._others = leader.drains, world.deployments, world.others
        namespace, name = key
        self._shelf = StatusShelf(self._cluster, name, namespace, observing=True, labels=world.labels)
        lease = Led(leader, self._cluster, service, namespace)
        self.engine = Engine(
            self._cluster, world.metrics, world.webhooks(), world.probes(), service, namespace, lease, self._shelf
        )
        self.attempt: Attempt | None = None
        self.told: Attempt | None = None
        """The attempt as it was when people were told of it last, by whatever process."""
        self._read = False
        """Whether the record was read here before: until then another process has told what it says."""
        self._orphaned = False
        """Whether claims without a record were found, and the status does not say so yet."""
        self._vain: tuple[object, int] = (None, 0)
        """What is asked for, and what stands in the way, as it was tried last, and how often it was."""
        self._asked: object = None
        self._wanted: tuple[ServiceRollout | None, Trouble | None] = (None, None)
        self._follow = functools.partial(world.follow, self._cluster, namespace, service)
        self._unfollow: Callable[[], None] | None = None

    @property
    def document(self) -> Document:
        """The object as it was read or written last."""
        return self._shelf.declared

    def follow(self) -> None:
        """Be told at once of whatever changes among the pods."""
        if self._unfollow is None:
            self._unfollow = self._follow()

    def unfollow(self) -> None:
        """Nothing is in flight any more."""
        if self._unfollow is not None:
            self._unfollow()
            self._unfollow = None

    def step(self, document: Document, now: float) -> float:
        """Go on with what is in flight, or begin what the spec asks for."""
        if _stale(document):  # it must not come to life again when that version comes again
            self._forget_override(document)
            return 0.0
        asked = document.get("spec"), version_instead(document)
        if self._asked != asked:
            self._asked, self._wanted = asked, _wanted(document)
        wanted, self._shelf.trouble = self._wanted
        try:
            record = self.engine.states.read()
        except InvalidInput:
            return self._lost(now)
        attempt = record.attempt
        if not self._read and attempt and not attempt.phase.ended:
            self.attempt = self.told = attempt  # another process has begun it, and told so
        self._read = True
        if attempt is None and _begun(document) and (_told(document) or self._orphaned or self._cleared(now)):
            return self._lost(now)  # else somebody died before the first record, and nothing was in flight
        landed = attempt is None or (attempt.phase.ended and attempt.cleaned and not attempt.notices)
        wanted = self._named(document, wanted, record, landed, now)
        if attempt is None or landed:
            return self._landed(document, wanted, record, now)
        self.follow()
        if not attempt.phase.ended:
            self._turned(document, wanted, attempt, now)
        tick = self.engine.tick(now)
        self.attempt = tick.attempt
        return tick.rest or tick.after

    def _forget_override(self, document: Document) -> None:
        patch: Document = {"metadata": {"annotations": {OVERRIDE: None}}}
        self._cluster.patch(SERVICE_ROLLOUT, *self._key, patch, version_of(document))

    def _named(
        self, document: Document, wanted: ServiceRollout | None, record: Record, landed: bool, now: float
    ) -> ServiceRollout | None:
        """What is wanted, by the name of the version that has appeared, or appeared last, where one is waited for."""
        if wanted is None or wanted.version:
            return wanted
        last, found = record.attempt, ""
        since = max(moment(waiting_since(document, now)), last.started if last else 0.0)
        tried = {version for one in record.past() for version in (one.stable, one.canary)}
        tried |= {last.stable, last.canary} if last else set()
        try:
            if landed or not wanted.suspend:
                self._deployments(wanted.namespace)
                found = _appeared(self._cluster, document, since, tried)
        except InvalidInput as error:
            self._shelf.trouble = Trouble("Trigger", _said(document, error))
        except Forbidden as error:
            self._shelf.trouble = Trouble("Trigger", f"spec.trigger: {error}; install the chart with `triggers=true`")
        return replace(wanted, version=found or (last.canary if last else ""))

    def sweep(self, now: float) -> None:
        """It is over: remove a claim of ours that crossed with the end, where another process drove it there."""
        self.attempt = self.engine.states.read().attempt
        self.engine.clear(now)

    def _lost(self, now: float) -> float:
        """Nobody knows what was in flight: what the claims hold goes back, and nothing begins by itself."""
        self._orphaned = True  # also if no answer comes to what follows
        self._cleared(now)
        self.attempt, self._shelf.trouble = None, LOST
        self._shelf.forget(now)
        self._orphaned = False
        return 0.0

    def _cleared(self, now: float) -> int:
        """Take back what claims hold that no record knows, but for those that an older object may have put there."""
        return 0 if self._elder() else self.engine.clear(now)

    def _turned(self, document: Document, wanted: ServiceRollout | None, a: Attempt, now: float) -> None:
        """What the object says now of an attempt that began before."""
        if going(document):
            self.engine.take_back(Reason.DELETED, "the ServiceRollout is deleted", now)
        elif self._drains:
            self.engine.take_back(Reason.DRAINED, "the controller is being removed", now)
        elif wanted is not None and wanted.version != a.canary and a.phase is not Phase.ROLLING_BACK:
            self.engine.take_back(Reason.SUPERSEDED, f"{wanted.version} is asked for now", now)
        elif wanted is not None and wanted.suspend != (a.message == f"paused by {SUSPENDED}"):
            if not wanted.suspend:
                self.engine.resume(now)
            elif a.phase not in (Phase.PAUSED, Phase.PREFLIGHT, Phase.ROLLING_BACK):
                self.engine.pause(now, SUSPENDED, "")

    def _landed(self, document: Document, wanted: ServiceRollout | None, record: Record, now: float) -> float:
        """Nothing is in flight: begin, or say why not. Who drains leaves it to the next, who has to find it untold."""
        if self._drains:
            if marked(document):  # nothing is in flight, and nobody is to wait for it
                self._shelf.tell(now, pending=True)
            return NEVER
        if wanted is None or going(document):
            self._shelf.tell(now)
            return NEVER
        last = record.attempt
        if last and last.retiring and not wanted.suspend:
            return self._retired(last, NEVER, now, wanted.version)  # before another can be begun
        begun = self._tried(document, wanted, record, now)
        if begun is not None:
            return begun
        self._shelf.tell(now)
        if self._shelf.trouble and self._shelf.trouble.stalls:
            return self._in_vain(document)
        if last is None or last.canary != wanted.version or wanted.suspend:
            return NEVER
        rest = record.retires_at(retires_after(document)) - now
        return rest if rest > 0 else self._retired(last, retires_after(document), now)

    def _in_vain(self, document: Document) -> float:
        """When to try again: ever more seldom while the object asks for the same, and the same stands in the way."""
        trouble = self._shelf.trouble
        what = document["metadata"].get("generation"), annotations_of(document).get(RETRY), trouble and trouble.matter
        self._vain = (what, self._vain[1] + 1 if self._vain[0] == what else 1)
        return delay(AGAIN, SELDOM, self._vain[1], "/".join(self._key))

    def _tried(self, document: Document, wanted: ServiceRollout, record: Record, now: float) -> float | None:
        """Begin what is asked for. None where nothing is to be begun, or cannot be: then there is trouble to tell.

        Where somebody does not answer that is told at once, and raised, for it is tried again.
        """
        try:
            if not self._due(document, wanted, record):
                return None
            if not wanted.suspend:
                return self._begin(wanted, now)
            self._shelf.trouble = self._shelf.trouble or Trouble(
                "Suspended", f"{SUSPENDED}: {wanted.version} is not begun", stalls=False
            )
        except (InvalidInput, Forbidden) as error:
            self._shelf.trouble = Trouble("Preflight", _said(document, error))
        except Unreachable as error:
            if not isinstance(error, Conflict):  # somebody else's write is no trouble
                self._shelf.trouble = Trouble(UNREACHABLE, str(error), stalls=False)
                if unanswered(document) is None:
                    with suppress(RolloutError):  # it may be the API itself that does not answer
                        self._shelf.tell(now, pending=True)
            raise
        return None

    def _retired(self, last: Attempt, after: float, now: float, wanted: str = "") -> float:
        """Let go what promotions replaced. What happens is told as a change of what this process has seen before."""
        if self.attempt is None:
            self.attempt = last
            return 0.0
        if not self.engine.acquire(now):
            return 1.0
        try:
            return self.engine.retire(after, now, wanted)
        finally:
            self.attempt = self.engine.states.record.attempt

    def _due(self, document: Document, wanted: ServiceRollout, record: Record) -> bool:
        """Whether the version is to be tried. One that went back stands so until another is asked for, or a retry."""
        if other := self._elder():
            raise InvalidInput(
                f"ServiceRollout {other} is older and has the Service {wanted.service} already; delete one", "service"
            )
        last = record.attempt
        if last is not None and last.canary == wanted.version:
            return last.phase is Phase.ROLLED_BACK and asked_again(document, last.number)
        appeared = bool(wanted.version) and not version_asked(document)
        lost = last is None and not appeared and _stalled(document) == LOST.reason
        if lost and seen(document) and not asked_again(document, 0):
            self._shelf.trouble = LOST
            return False
        if not wanted.version:
            return False
        where = (self._cluster, wanted.service, wanted.namespace)
        back = last is not None and last.phase is Phase.ROLLED_BACK and last.stable == wanted.version
        if serves(*where, wanted.version, wanted.names):
            return False
        if back and last is not None and (last.names or wanted.names) and returned(self._cluster, last):
            return False  # what it had moved is back; what is named since, or was elsewhere before, was never with it
        if back and last is not None and not serves(*where, last.canary, wanted.names):
            # Who shares it out by hand is not to find, of all things, what went back at 100 %: a release begins at 0.
            raise InvalidInput(
                f"{last.canary} went back to {last.stable}, and somebody has given others than {last.stable} a share "
                f"since; give it all to {last.stable}, or ask for another version",
                "version",
            )
        return True

    def _elder(self) -> str:
        """An older object for the same Service; empty where there is none."""
        namespace, name = self._key
        first = oldest(self._cluster.list(SERVICE_ROLLOUT, namespace), self.engine.service)
        return name_of(first) if first is not None and name_of(first) != name else ""

    def _begin(self, wanted: ServiceRollout, now: float) -> float:
        if not self.engine.acquire(now):
            return 1.0
        self.follow()
        strategy = strategy_of(self._cluster, wanted, PRESET)
        request = Request(
            wanted.service,
            wanted.namespace,
            wanted.version,
            strategy,
            scale=wanted.scale,
            others=self._others(),
            names=wanted.names,
        )
        self.engine.examine(request, now, entitled=True)
        self.attempt = self.engine.begin(request if wanted.strategy else chosen(request, self.engine.load), now)
        self._vain = (None, 0)
        return 0.0


def _said(document: Document, error: RolloutError) -> str:
    """What is wrong, after the field that it is about. What the spec does not say itself has no fields in it."""
    if not isinstance(error, InvalidInput):
        return str(error)
    spec, field = document["spec"], error.field
    if field == "version" and version_instead(document):
        return f"the annotation {OVERRIDE}: {error.text}"
    if field == "version" and not version_written(document):
        field = "trigger"
    if field == "strategy.notify" and "notify" in spec:
        field = "notify"
    if field.startswith("strategy.") and "steps" not in (spec.get("strategy") or {}):
        field = "strategy"
    return f"spec.{field}: {error.text}" if field else error.text


def _wanted(document: Document) -> tuple[ServiceRollout | None, Trouble | None]:
    try:
        wanted = declared(document)
    except InvalidInput as error:
        return None, Trouble(INVALID, str(error))
    return replace(wanted, version=version_instead(document) or wanted.version), _overridden(document)
