"""A strategy: the steps that a rollout takes, and what each must show before the next."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from rollout.core.address import SecretKey, Url, shown
from rollout.core.probe import Probe
from rollout.core.quantities import spoken
from rollout.core.query import Hook, Query


class OnInconclusive(StrEnum):
    """What follows when a bake ends without evidence either way."""

    HOLD = "hold"
    ADVANCE_NOTED = "advanceNoted"


@dataclass(frozen=True)
class Bake:
    """How long a weight stands, in seconds: never shorter than `min`; without evidence until `max`."""

    min: float
    max: float


class Safe(StrEnum):
    """Which requests may be repeated: those that change nothing (GET, HEAD, OPTIONS), or all of them."""

    READS = "reads"
    ALL = "all"


READS = ("GET", "HEAD", "OPTIONS")
"""The methods of requests that change nothing."""


@dataclass(frozen=True)
class Mirror:
    """Repeat `percent` of stable's requests at the canary; nobody sees its answers, whatever they do is real."""

    percent: Decimal
    safe: Safe
    kind: Literal["mirror"] = "mirror"

    def __str__(self) -> str:
        """What is done, in words."""
        return f"mirroring {self.percent} % of {'the reads' if self.safe is Safe.READS else 'all requests'}"


@dataclass(frozen=True)
class Route:
    """Send the requests that match to the canary, whatever its weight; at most `percent` of stable's do.

    `match` is an HTTPMatchRequest of Istio's. With `sticky` (seconds) whom the weight brought there stays there for
    so long, by a cookie; one of both is there at least. It lasts until the next step with a route, or 100 %.
    """

    match: Mapping[str, Any] = field(default_factory=dict)
    percent: Decimal = Decimal(100)
    sticky: float = 0.0
    kind: Literal["route"] = "route"

    def __str__(self) -> str:
        """What is done, in words."""
        sticky = f"keeping users where they are for {spoken(self.sticky)}" if self.sticky else ""
        chosen = f"routing by {', '.join(sorted(self.match))}" if self.match else ""
        return " and ".join(part for part in (chosen, sticky) if part)


@dataclass(frozen=True)
class Pause:
    """Stand still: for the step's bake, or (`until_resumed`) until somebody lets it go on."""

    until_resumed: bool = False
    kind: Literal["pause"] = "pause"

    def __str__(self) -> str:
        """What is done, in words."""
        return "pausing until somebody resumes it" if self.until_resumed else "pausing"


class OnNo(StrEnum):
    """What follows when a gate says no: ask again until its timeout, or take back."""

    WAIT = "wait"
    ROLLBACK = "rollback"


class OnTimeout(StrEnum):
    """What follows when a gate gave no answer in time."""

    ROLLBACK = "rollback"
    ADVANCE = "advance"


@dataclass(frozen=True)
class Gate:
    """Ask before the next step: a person or, with `url`, a webhook. The step's bake ends when nobody answered."""

    url: Url = ""
    on_no: OnNo = OnNo.ROLLBACK
    on_timeout: OnTimeout = OnTimeout.ROLLBACK
    kind: Literal["gate"] = "gate"

    def __str__(self) -> str:
        """What is done, in words."""
        return f"asking {shown(self.url)}" if self.url else "waiting for approval"


@dataclass(frozen=True)
class Fault:
    """Delay (by seconds) or abort (with a status) `percent` of what the canary asks the Service `on`, as a drill.

    Meanwhile `probe` must be answered as expected. Only what the canary's pods ask meets it; of that, where it is
    said, `only` what this HTTPMatchRequest of Istio's matches. `everyone`: users of the canary may meet it.
    """

    on: str
    probe: Probe
    delay: float = 0.0
    abort: int = 0
    percent: Decimal = Decimal(100)
    only: Mapping[str, Any] = field(default_factory=dict)
    everyone: bool = False
    kind: Literal["fault"] = "fault"

    def __str__(self) -> str:
        """What is done, in words."""
        what = f"status {self.abort} from" if self.abort else f"{spoken(self.delay)} of delay at"
        return f"drilling the canary with {what} {self.on}" + (f" ({self.percent} %)" if self.percent < 100 else "")


Overlay = Mirror | Route | Probe
"""What lies in the routes beside the weight while it stands."""
Act = Overlay | Pause | Gate | Fault
"""What a step does beside the weight: the closed vocabulary of steps."""


@dataclass(frozen=True)
class Step:
    """Give the canary `weight` percent of stable's share and let it bake; meanwhile, do `act` as well.

    A step that only acts leaves the weight as the step before had it.
    """

    weight: Decimal
    bake: Bake
    act: Act | None = None

    @property
    def mirror(self) -> Mirror | None:
        """The mirror, if that is what it does."""
        return self.act if isinstance(self.act, Mirror) else None

    @property
    def wait(self) -> Pause | Gate | None:
        """The pause or gate, if that is what it does."""
        return self.act if isinstance(self.act, Pause | Gate) else None

    @property
    def probe(self) -> Probe | None:
        """The probe, if it sends one."""
        return self.fault.probe if self.fault else self.act if isinstance(self.act, Probe) else None

    @property
    def fault(self) -> Fault | None:
        """The fault, if it is a drill."""
        return self.act if isinstance(self.act, Fault) else None


def load(weight: Decimal, overlays: Iterable[Overlay]) -> Decimal:
    """Percent of stable's requests that reach a canary with `weight` and what lies beside it, at most.

    Probes are few, and no users' requests: one endpoint is enough for them.

    >>> load(Decimal(20), [Route(percent=Decimal(50))]), load(Decimal(0), [Mirror(Decimal(30), Safe.ALL)])
    (Decimal('60'), Decimal('30'))
    """
    for one in overlays:
        if not isinstance(one, Probe):
            weight += one.percent if isinstance(one, Mirror) else (100 - weight) * one.percent / 100
    return weight


def together(weight: Decimal, beside: Sequence[Overlay]) -> str:
    """A weight and what lies beside it, in words; a weight of 0 is told only where it stands alone.

    >>> together(Decimal(5), [Route({"uri": {}})]), together(Decimal(0), [])
    ('5 % and routing by uri', '0 %')
    """
    return " and ".join([*([f"{weight} %"] if weight or not beside else []), *map(str, beside)])


class Kind(StrEnum):
    """What a check counts: failed requests, rejected ones, slow answers, or restarts of containers."""

    ERRORS = "errors"
    REJECTIONS = "rejections"
    LATENCY = "latency"
    RESTARTS = "restarts"


@dataclass(frozen=True)
class Check:
    """Harm is more than (1 + worse_by) times stable's odds of a hit, and above `floor` (a share, 0 to 1).

    For latency it is a share of slow answers above (1 + worse_by) times stable's plus `floor`; `over` (milliseconds) is
    an edge that counts beside those chosen from stable's past. For restarts it is more than (1 + worse_by) times as
    many a pod.
    """

    kind: Kind
    worse_by: float
    floor: float
    over: float = 0.0


ERRORS = Check(Kind.ERRORS, 0.5, 0.001)
REJECTIONS = Check(Kind.REJECTIONS, 1.0, 0.01)
LATENCY = Check(Kind.LATENCY, 0.25, 0.005)
RESTARTS = Check(Kind.RESTARTS, 1.0, 0.0)


@dataclass(frozen=True)
class Strategy:
    """Steps as data. `budget` is the share of all users' requests (0 to 1) that a step may put at risk.

    `confirm`, `deadline` and `propagation` (from a new subset to all proxies) are seconds; `look` is the shortest
    time between two looks, where counters arrive as often; `warm_up` what fresh pods get before they count in full.
    `gitops_managers` are field managers whose edits are put back; `queries` are asked beside the judge.
    `notify` is where people are told what they should know (empty: nowhere).
    """

    name: str
    steps: tuple[Step, ...]
    confirm: float
    budget: float = 0.005
    inconclusive: OnInconclusive = OnInconclusive.HOLD
    checks: tuple[Check, ...] = (ERRORS,)
    deadline: float = 0.0
    look: float = 1.0
    propagation: float = 10.0
    warm_up: float = 30.0
    gitops_managers: tuple[str, ...] = ()
    description: str = ""
    queries: tuple[Query | Hook, ...] = ()
    notify: Url = ""

    @property
    def limit(self) -> float:
        """Seconds after which an attempt ends, whatever it waits for: set, or twice what its bakes may take."""
        return self.deadline or 60 + 2 * (sum(step.bake.max for step in self.steps) + self.confirm)

    def margin(self, weight: Decimal) -> float:
        """How much worse (in points, 0 to 1) the canary may be before it gets `weight`: budget over weight."""
        return min(0.9, self.budget / float(weight / 100))

    @property
    def weights(self) -> tuple[Step, ...]:
        """The steps that give the canary more users by weight, as far as they do."""
        before = (Decimal(0), *(step.weight for step in self.steps))
        rising = (step for step, weight in zip(self.steps, before, strict=False) if step.weight > weight)
        return tuple(replace(step, act=None) for step in rising)

    def beside(self, step: int) -> tuple[Overlay, ...]:
        """What lies in the routes beside the weight at a step (its place; -1: before the first)."""
        if step < 0 or self.steps[step].weight == 100:
            return ()
        routes = [one.act for one in self.steps[: step + 1] if isinstance(one.act, Route)]
        alone = [one for one in (self.steps[step].probe, self.steps[step].mirror) if one]
        return (*alone[:1], *routes[-1:]) if self.steps[step].probe else (*routes[-1:], *alone)

    def rises(self, step: int) -> bool:
        """Whether a step (its place) gives the canary more users by weight than the one before."""
        return self.steps[step].weight > (self.steps[step - 1].weight if step else 0)

    def comparable(self, step: int) -> int | None:
        """The last step before one (its place) that left both versions users, for as long as looks at them take."""
        return next((one for one in reversed(range(step)) if self.rises(one) and self._compares(self.steps[one])), None)

    def _compares(self, step: Step) -> bool:
        return step.weight < 100 and bool(step.bake.max) and not step.probe

    @property
    def overlays(self) -> tuple[Overlay, ...]:
        """All that ever lies in the routes beside a weight, once each."""
        every = [act for step in range(len(self.steps)) for act in self.beside(step)]
        return tuple(act for place, act in enumerate(every) if act not in every[:place])

    @property
    def routes(self) -> bool:
        """Whether requests ever reach the canary by a match, so that its share is not its weight."""
        return any(not isinstance(one, Mirror) for one in self.overlays)

    @property
    def secrets(self) -> tuple[SecretKey, ...]:
        """Where the URLs lie that it does not name itself."""
        urls = [step.act.url for step in self.steps if isinstance(step.act, Gate)]
        urls += [*(one.url for one in self.queries if isinstance(one, Hook)), self.notify]
        return tuple(dict.fromkeys(url for url in urls if isinstance(url, SecretKey)))

    @property
    def measures(self) -> bool:
        """Whether anything in it asks the metrics store."""
        return bool(self.checks) or any(isinstance(one, Query) for one in self.queries)

    @property
    def shifting(self) -> "Strategy":
        """The same strategy without the steps that only act: what it is about users."""
        return replace(self, steps=self.weights)

    @property
    def told(self) -> tuple[str, ...]:
        """Each step in words.

        >>> step = Step(Decimal(5), Bake(0, 0))
        >>> Strategy("", (step, replace(step, act=Pause()), Step(Decimal(50), Bake(0, 0), Route({"uri": {}}))), 0).told
        ('5 %', 'pausing', '50 %, routing by uri')
        """
        before = (Decimal(0), *(step.weight for step in self.steps))
        rises = (f"{step.weight} %" if step.weight > was else "" for step, was in zip(self.steps, before, strict=False))
        return tuple(
            ", ".join(part for part in (rise, str(step.act or "")) if part)
            for step, rise in zip(self.steps, rises, strict=True)
        )

    def step_at(self, weight: Decimal) -> Step:
        """The step whose bake a weight has that somebody else set: the last that is not above it, or the first."""
        return next((step for step in reversed(self.weights) if step.weight <= weight), self.weights[0])

    def after(self, weight: Decimal) -> Decimal:
        """The next weight that is larger; after the last, the last."""
        return next((step.weight for step in self.steps if step.weight > weight), self.steps[-1].weight)

    def margin_at(self, weight: Decimal) -> float:
        """How much worse (in points, 0 to 1) the canary may be at `weight` before it gets the next that is larger."""
        return self.margin(self.after(weight))

    def faster(self, speed: float) -> "Strategy":
        """The same strategy with every duration divided by `speed`; evidence is not."""
        steps = tuple(replace(s, bake=Bake(s.bake.min / speed, s.bake.max / speed)) for s in self.steps)
        changed: dict[str, Any] = self.__dict__ | {
            "steps": steps,
            "confirm": self.confirm / speed,
            "deadline": self.deadline / speed,
            "propagation": max(1.0, self.propagation / speed),
            "warm_up": self.warm_up / speed,
            "queries": tuple(query.faster(speed) for query in self.queries),
        }
        return Strategy(**changed)
