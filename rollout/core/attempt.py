"""The memory of one attempt: everything that a process which takes over must know."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rollout.core.lifecycle import Phase, Reason
from rollout.core.probe import Probe, Probed
from rollout.core.query import Measured
from rollout.core.strategy import Fault, Gate, Mirror, Overlay, Pause, Route, Step, Strategy, load

JOURNAL_LENGTH = 80
HISTORY_LENGTH = 20


class Verdict(StrEnum):
    """What the judge says."""

    ADVANCE = "ADVANCE"
    ROLLBACK = "ROLLBACK"
    CONTINUE = "CONTINUE"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_DATA = "NO_DATA"
    BLIND = "BLIND"
    DOUBT = "DOUBT"


@dataclass(frozen=True)
class Reading:
    """The judge's verdict at one moment, with the numbers behind it.

    `looked_at` is the time of the last look with canary traffic (0: none at this weight); `no_worse` whether the
    canary's rates, taken as they are, would be no harm; `text` tells it to a person. `check` is what weighs most,
    `luck` bounds the chance that a good version would look as bad; `to_go_back` and `to_go_on` say how much of the
    evidence needed is there (0 to 1); `hurt` counts the canary's failed requests since the first step.
    """

    verdict: Verdict
    text: str
    looked_at: float = 0.0
    no_worse: bool = False
    check: str = ""
    luck: float = 1.0
    to_go_back: float = 0.0
    to_go_on: float = 0.0
    hurt: int = 0


@dataclass(frozen=True)
class Entry:
    """One line of the journal: at an epoch second, what happened and why, and the canary's `weight` from then on.

    A weight of None was written by a version of ours that did not keep it.
    """

    at: float
    text: str
    weight: Decimal | None = None


@dataclass(frozen=True)
class Word:
    """An answer at a gate, at a pause, or of a webhook: whether to go on, who says so, and why.

    A webhook may name a `value` with it.
    """

    yes: bool
    who: str
    why: str = ""
    value: float | None = None

    def __str__(self) -> str:
        """The answer in words."""
        return f"{self.who} says {'yes' if self.yes else 'no'}" + (f": {self.why}" if self.why else "")


class Scale(StrEnum):
    """Where the endpoints come from that the next weight needs: somebody scales the canary, or we do."""

    WAIT = "wait"
    AUTO = "auto"


class Event(StrEnum):
    """What people are told of."""

    STARTED = "started"
    WAITING = "waiting"
    PAUSED = "paused"
    HELD = "held"
    STUCK = "stuck"
    ROLLED_BACK = "rolledBack"
    PROMOTED = "promoted"


class Fate(StrEnum):
    """What becomes of a version that a promotion replaced: its pods are to go, are gone, or stay."""

    GOING = "going"
    RETIRED = "retired"
    KEPT = "kept"


@dataclass(frozen=True)
class Retirement:
    """What was decided about a version that was replaced, with how its pods go, or why they stay, in words."""

    version: str
    fate: Fate
    text: str

    def __str__(self) -> str:
        """The decision in words."""
        verb = {Fate.GOING: "is being retired", Fate.RETIRED: "is retired", Fate.KEPT: "is not retired"}[self.fate]
        return f"{self.version} {verb}: {self.text}"


@dataclass(frozen=True)
class Notice:
    """One change that people are told of, at an epoch second, with how the attempt stood then.

    `id` is the same however often it is told; `calling` says that somebody may have to act. It says all that is told,
    for it may be told when its attempt is over.
    """

    id: str
    event: Event
    at: float
    attempt: str
    stable: str
    canary: str
    strategy: str
    phase: Phase
    weight: Decimal
    reason: Reason | None
    why: str
    started: float
    calling: bool


@dataclass(frozen=True)
class RouteRef:
    """A VirtualService whose routes we move, and the keys of those routes."""

    namespace: str
    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Drill:
    """Where a fault `on` a host (as the strategy has it) lies: the VirtualService of that host, fully qualified.

    `made`: there was none, and we make one. `labels` are those of the canary's pods.
    """

    on: str
    host: str
    namespace: str
    name: str
    made: bool
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Attempt:
    """One try to bring `canary` where `stable` serves. Times are epoch seconds.

    `since` is when `weight` was recorded, `landed` when every route was first seen to carry it (0: not yet).
    `prepared` is when both subsets were first seen (0: not yet). `fence` is the lease's transition count.
    `checkpoint` is the judge's own. `clients` are namespaces whose own DestinationRules decide what their clients see;
    `counted` are the versions of stable and the canary as the mesh's counters carry them. `narrow` says that only the
    service's namespace could be listed. `capacity` is the number of ready endpoints with which stable carried
    everything. `word` is what was said at this step's gate; a webhook was `asked` so often and is again from `ask_at`
    on. `measured` is what the strategy's queries and webhooks answered last, `probed` what came of this step's probes.
    `notices` are those that nobody was told yet, `noticed` how many there were in all, and `held` is when the hold
    began that people were told of last.
    `fought` says that it was paused last because somebody goes on writing its weights.
    `drills` say where the strategy's faults lie; `passed` that this step's drill is over, and `drilled` when a fault
    was last removed. `retired` is what was decided about versions that this promotion, or those before it, replaced.
    `names` are those of routes that are to move though they have a match; `routes` says where there are such.
    """

    number: int
    service: str
    namespace: str
    stable: str
    canary: str
    strategy: Strategy
    routes: tuple[RouteRef, ...]
    started: float
    deadline: float
    phase: Phase = Phase.PREFLIGHT
    step: int = -1
    weight: Decimal = Decimal(0)
    since: float = 0.0
    landed: float = 0.0
    prepared: float = 0.0
    fence: int = 0
    capacity: int = 0
    clients: tuple[str, ...] = ()
    counted: tuple[str, str] = ("", "")
    narrow: bool = False
    reason: Reason | None = None
    message: str = ""
    cleaned: bool = False
    resume: bool = False
    stuck: bool = False
    word: Word | None = None
    asked: int = 0
    ask_at: float = 0.0
    put_back: tuple[float, ...] = ()
    fought: bool = False
    checkpoint: dict[str, Any] = field(default_factory=dict)
    journal: tuple[Entry, ...] = ()
    last: Reading | None = None
    measured: tuple[Measured, ...] = ()
    probed: Probed | None = None
    drills: tuple[Drill, ...] = ()
    passed: bool = False
    drilled: float = 0.0
    ended: float = 0.0
    notices: tuple[Notice, ...] = ()
    noticed: int = 0
    held: float = 0.0
    scale: Scale = Scale.WAIT
    retired: tuple[Retirement, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What our annotation on a VirtualService names: the start makes it unique though records be lost."""
        return f"{self.canary}-{self.number}-{self.started:.0f}"

    @property
    def at(self) -> Step | None:
        """The step that it stands at; None before the first, and once it goes back or has ended."""
        under_way = self.phase in (Phase.SHIFTING, Phase.WAITING, Phase.PAUSED) and self.step >= 0
        return self.strategy.steps[self.step] if under_way else None

    @property
    def overlays(self) -> tuple[Overlay, ...]:
        """What lies in the routes beside the weight. While it is paused nothing does: nobody may go on."""
        return self.strategy.beside(self.step) if self.phase in (Phase.SHIFTING, Phase.WAITING) else ()

    @property
    def mirror(self) -> Mirror | None:
        """The mirror among them."""
        return next((one for one in self.overlays if isinstance(one, Mirror)), None)

    @property
    def probe(self) -> Probe | None:
        """The probe among them."""
        return next((one for one in self.overlays if isinstance(one, Probe)), None)

    @property
    def fault(self) -> Fault | None:
        """The fault that lies on the canary's way now."""
        return self.at.fault if self.at and self.phase is Phase.SHIFTING and not self.passed else None

    @property
    def routed(self) -> bool:
        """Whether requests reach a canary with users by a match, so that its share is not its weight."""
        return any(isinstance(one, Route) or (isinstance(one, Probe) and self.weight) for one in self.overlays)

    @property
    def wait(self) -> Pause | Gate | None:
        """What it stands still for by its strategy."""
        return self.at.wait if self.at else None

    @property
    def stands(self) -> float:
        """Since when its weight stands, for people: of a new one the record says only when it was decided."""
        return self.landed or self.since

    @property
    def exposed(self) -> bool:
        """Whether requests reach the canary now: users', or repeated ones."""
        return bool(self.weight or self.overlays)

    @property
    def load(self) -> Decimal:
        """Percent of stable's requests that reach the canary now, at most."""
        return load(self.weight, self.overlays)

    @property
    def waits_for_person(self) -> bool:
        """Whether nothing goes on until somebody acts: a pause, an approval, or a take-back that stable cannot bear."""
        asked = self.wait.until_resumed if isinstance(self.wait, Pause) else self.wait and not self.wait.url
        return (
            self.phase is Phase.PAUSED
            or (self.phase is Phase.WAITING and bool(asked))
            or (self.phase is Phase.ROLLING_BACK and self.stuck)
        )

    @property
    def fighting(self) -> bool:
        """Whether it stands still until somebody who goes on writing its weights is stopped."""
        return self.fought and self.phase is Phase.PAUSED

    @property
    def retiring(self) -> Retirement | None:
        """What is recorded of the pods of a version that its promotion made needless, and was not seen done."""
        going = (one for one in self.retired if one.fate is Fate.GOING and self.phase is Phase.PROMOTED)
        return next(going, None)

    def noted(self, now: float, text: str, **changes: Any) -> "Attempt":
        """The attempt with `changes`, and a line in its journal unless the last note says the same."""
        journal = self.journal
        if not journal or self.message != text:
            journal = (*journal, Entry(now, text, changes.get("weight", self.weight)))[-JOURNAL_LENGTH:]
        return replace(self, journal=journal, message=text, **changes)

    def remarked(self, now: float, text: str) -> "Attempt":
        """The attempt with a line in its journal that is no reason why it stands where it does."""
        return replace(self, journal=(*self.journal, Entry(now, text, self.weight))[-JOURNAL_LENGTH:])


@dataclass(frozen=True)
class Past:
    """What remains of an attempt that ended."""

    number: int
    stable: str
    canary: str
    phase: Phase
    reason: Reason | None
    message: str
    started: float
    ended: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """All that is remembered of one service: the attempt in flight or last ended, and those before it."""

    attempt: Attempt | None = None
    history: tuple[Past, ...] = ()

    def past(self) -> tuple[Past, ...]:
        """Every attempt that ended, oldest first."""
        a = self.attempt
        if a is None or not a.phase.ended:
            return self.history
        last = Past(a.number, a.stable, a.canary, a.phase, a.reason, a.message, a.started, a.ended, a.names)
        return (*self.history, last)[-HISTORY_LENGTH:]

    def replaced(self) -> dict[str, float]:
        """The versions that promotions replaced and no later attempt named, each with when; the first comes first.

        Those alone of which nothing is decided for good, and none while anything but a promotion was last.
        """
        a, past = self.attempt, self.past()
        if a is None or a.phase is not Phase.PROMOTED:
            return {}
        settled = {one.version for one in a.retired if one.fate is not Fate.GOING}
        found = {}
        for place, one in enumerate(past, 1):
            later = {version for other in past[place:] for version in (other.stable, other.canary)}
            if one.phase is Phase.PROMOTED and one.stable not in later | settled:
                found[one.stable] = one.ended
        return found

    def retires_at(self, after: float) -> float:
        """When the next of them is to be retired, so many seconds after it was replaced; infinite: none is.

        The proxies have to know by then.
        """
        a = self.attempt
        least = a.strategy.propagation if a else 0.0
        return min(self.replaced().values(), default=math.inf) + max(after, least)
