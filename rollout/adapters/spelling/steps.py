"""How users write the steps of a strategy."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from rollout.adapters.spelling.fields import (
    BakeField,
    MatchSpec,
    Percent,
    Positive,
    Seconds,
    Spec,
    Token,
    UrlField,
    not_zero,
)
from rollout.core.address import host_of, inside
from rollout.core.probe import HEADER, Expected, Probe
from rollout.core.strategy import (
    READS,
    Bake,
    Fault,
    Gate,
    Mirror,
    OnNo,
    OnTimeout,
    Pause,
    Route,
    Safe,
    Step,
)

DAY = 86400.0
"""Seconds that a pause may last which somebody is to end: every wait has an end."""


def _safe(value: object) -> Safe:
    if value not in list(Safe):
        raise ValueError(f"{value!r} says not which requests may be sent twice; say {' or '.join(Safe)}")
    return Safe(str(value))


class MirrorSpec(Spec):
    """Repeat stable's requests at the canary, whose answers no user sees; before the first weight."""

    percent: Positive = Decimal(100)
    """Of stable's requests; 100% where it is left out."""
    for_: Annotated[Seconds, AfterValidator(not_zero), Field(alias="for")]
    """How long, like 5m."""
    safe: Annotated[Safe, BeforeValidator(_safe)] = Safe.READS
    """Which requests may be sent twice: reads (GET, HEAD, OPTIONS), where it is left out, or all."""


class PauseSpec(Spec):
    """Stand still; it is judged on meanwhile."""

    for_: Annotated[Seconds, AfterValidator(not_zero)] | None = Field(None, alias="for")
    """How long, like 10m; until `rollout resume` where it is left out."""


class GateSpec(Spec):
    """Ask whether to go on."""

    person: StrictBool = False
    """Wait for `rollout approve`."""
    webhook: UrlField | None = None
    """Ask this URL, or the one that a Secret keeps: 2xx is a yes; 403, 409, 412 and 422 are a no."""
    timeout: Annotated[Seconds, AfterValidator(not_zero)] = 3600.0
    """How long to wait for an answer; 1h where it is left out."""
    onNo: OnNo = OnNo.ROLLBACK  # noqa: N815 - as users write it
    """After a no: rollback, or wait and ask again until the timeout."""
    onTimeout: OnTimeout = OnTimeout.ROLLBACK  # noqa: N815 - as users write it
    """Without an answer in time: rollback, or advance."""

    @model_validator(mode="after")
    def _one(self) -> "GateSpec":
        if self.person == (self.webhook is not None):
            raise ValueError("a gate asks either a `person: true` or a `webhook: URL`")
        return self


class RouteSpec(MatchSpec):
    """Send what matches to the canary, whatever its weight, until everybody is there."""

    percent: Positive = Decimal(100)
    """At most so many percent of the requests match; the canary must have the endpoints for them."""
    sticky: Seconds = 0.0
    """Whom the weight brought to the canary stays there for so long, by a cookie."""

    @model_validator(mode="after")
    def _something(self) -> "RouteSpec":
        if not self.istio() and not self.sticky:
            raise ValueError("say what it matches: headers, cookies, queryParams, uri or method; or `sticky: 1h`")
        return self


def _status(value: object) -> object:
    """200 as it is, 2xx as 2."""
    text = str(value)
    if not re.fullmatch(r"[1-5](xx|\d\d)", text) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no status; write it like 200, or 2xx for all of them")
    return int(text.removesuffix("xx"))


Status = Annotated[
    int,
    BeforeValidator(_status),
    PlainSerializer(lambda value: value if value > 9 else f"{value}xx"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 100, "maximum": 599}, {"type": "string"}]}),
]


class ExpectedSpec(Spec):
    """How each answer must be."""

    status: Status = 2
    """Like 200, or 2xx, which it is where it is left out."""
    within: Seconds = 0.0
    """No later than that, like 500ms."""
    body: str = ""
    """A text that must be in it (in its first 64 KiB)."""


def _probed_url(value: object) -> str:
    """A URL; what was written instead may hold a secret, and is not repeated."""
    if not isinstance(value, str) or not host_of(value):
        raise ValueError("this is no URL; write it like http://reviews.shop.svc:9080/health")
    return value


METHODS = (*READS, "POST", "PUT", "PATCH", "DELETE")
SERVED = {2, 3, *range(200, 400)}
PROBED = 600.0
"""Seconds for a step of probes, where nobody says how many."""
MOST_PROBES, FASTEST = 10_000, 50.0
"""Of a round, and a second: more is a load test, and not what this is for."""


class ProbeSpec(Spec):
    """Send requests of our own to the canary, and the same to stable, and compare their answers."""

    url: Annotated[str, PlainValidator(_probed_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
    """By which a route of the service is reached: its own, or a gateway's with `outside: true`."""
    method: Annotated[str, BeforeValidator(lambda value: str(value).upper()), Field(json_schema_extra={})] = "GET"
    """GET, where it is left out; others than GET, HEAD and OPTIONS need `safe: all`."""
    headers: dict[Token, Annotated[str, Field(pattern=r"^[ -~]*$")]] = {}  # noqa: RUF012 - pydantic copies it
    """Sent with each."""
    count: Annotated[int, Field(ge=5, le=MOST_PROBES)] = 20
    """How many each version must answer, at least."""
    rps: Annotated[float, Field(gt=0, le=FASTEST)] = 1.0
    """How many a second to each version."""
    expect: ExpectedSpec = ExpectedSpec()
    """How each answer must be."""
    timeout: Annotated[Seconds, AfterValidator(not_zero)] | None = None
    """Without enough answers by then it goes back, unproven: 10m where it is left out; beside a weight, bake.max."""
    safe: Annotated[Safe, BeforeValidator(_safe)] = Safe.READS
    """Which requests may be sent again, after a crash: reads, where it is left out, or all."""
    outside: StrictBool = False
    """The URL may leave the cluster."""

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(f"{method[:20]!r} is no method; there are {', '.join(METHODS)}")
        return method

    @model_validator(mode="after")
    def _sound(self) -> "ProbeSpec":
        if self.method not in READS and self.safe is not Safe.ALL:
            raise ValueError(f"{self.method} changes things, and probes are sent often, and again after a crash; "
                             "where that does no harm, say `safe: all`")  # fmt: skip
        if not inside(self.url) and not self.outside:
            raise ValueError(f"{host_of(self.url)} is no Service of the cluster (like reviews.shop.svc); where probes "
                             "may leave it, say `outside: true`")  # fmt: skip
        if HEADER in self.headers:
            raise ValueError(f"the header {HEADER} is ours: it says to which version a probe goes")
        return self

    def made(self) -> Probe:
        """As the engine knows it."""
        expected = Expected(self.expect.status, self.expect.within, self.expect.body)
        return Probe(self.url, self.method, self.headers, self.count, self.rps, expected, self.outside)


class OnlySpec(MatchSpec):
    """Which requests of the canary's meet a fault, like {headers: {end-user: jason}}: those that pass them on."""

    @model_validator(mode="after")
    def _something(self) -> "OnlySpec":
        if not self.istio():
            raise ValueError("say what it matches: headers, cookies, queryParams, uri or method; or leave `only` out")
        return self


def _aborted(value: int) -> int:
    if not 400 <= value <= 599:
        raise ValueError(f"must be a status from 400 to 599, not {value}")
    return value


class FaultSpec(Spec):
    """Delay or abort what the canary asks another service, and see how it answers probes meanwhile."""

    on: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=120)]
    """The Service that the canary calls: of this namespace, or like ratings.shop.svc."""
    delay: Annotated[Seconds, AfterValidator(not_zero)] | None = None
    """How late each answer comes, like 7s."""
    abort: Annotated[int, AfterValidator(_aborted)] | None = None
    """The status of each answer, like 500."""
    percent: Positive = Decimal(100)
    """Of what the canary asks; 100% where it is left out."""
    only: OnlySpec | None = None
    """Of that, only what matches; needed where the canary has users, unless `everyone: true`."""
    everyone: StrictBool = False
    """The canary's users may meet the fault."""
    probe: ProbeSpec
    """What must be answered as expected meanwhile."""
    for_: Annotated[Seconds, AfterValidator(not_zero)] | None = Field(None, alias="for")
    """How long it stays at least; until the probes are answered where it is left out."""

    @model_validator(mode="after")
    def _sound(self) -> "FaultSpec":
        if (self.delay is None) == (self.abort is None):
            raise ValueError("a fault is either a `delay: 7s` or an `abort: 500`")
        if self.everyone and self.only:
            raise ValueError("`only` spares the others and `everyone` does not; leave one out")
        if (self.for_ or 0) > (self.probe.timeout or PROBED):
            raise ValueError("it is to stay longer than its probes may take; say a longer probe.timeout")
        return self

    def made(self) -> Fault:
        """As the engine knows it."""
        only = self.only.istio() if self.only else {}
        return Fault(self.on, self.probe.made(), self.delay or 0.0, self.abort or 0, self.percent, only, self.everyone)


def _one_step(schema: dict[str, Any]) -> None:
    both = ("weight", "route", "probe")
    alone = [{"required": [kind]} for kind in schema["properties"] if kind not in ("bake", *both)]
    schema["oneOf"] = [{"anyOf": [{"required": [kind]} for kind in both]}, *alone]


class StepSpec(Spec):
    """One of `weight` (with a `bake` of its own, if it needs one) and what may stand between weights."""

    model_config = ConfigDict(json_schema_extra=_one_step)

    weight: Percent | None = None
    """Percent of what stable serves that the canary gets."""
    bake: BakeField | None = None
    """How long this weight stands, where not as long as the others: a duration, or min and max."""
    mirror: MirrorSpec | None = None
    route: RouteSpec | None = None
    """Send what matches to the canary; alone, or beside a weight."""
    probe: ProbeSpec | None = None
    """Send requests of our own to both versions; alone, or beside a weight, for which their answers are evidence."""
    fault: FaultSpec | None = None
    pause: PauseSpec | None = None
    gate: GateSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> "StepSpec":
        kinds = self.model_fields_set - {"bake"}
        alone = kinds - {"weight", "route", "probe"}
        if (
            not kinds
            or (alone and kinds != {min(alone)})
            or {"route", "probe"} <= kinds
            or any(getattr(self, kind) is None for kind in kinds)
        ):
            raise ValueError(
                "a step is one of `weight`, `mirror`, `route`, `probe`, `fault`, `pause`, `gate`, or a weight with a "
                "route or with a probe"
            )
        if self.bake and (alone or kinds == {"probe"}):
            raise ValueError("only a weight or a route bakes; leave `bake` out")
        if self.probe and self.probe.timeout and self.weight is not None:
            raise ValueError("beside a weight its bake says how long there may be probes; leave `timeout` out")
        if (self.route or self.probe) and self.weight == 100:
            raise ValueError("at 100 % everybody is there already; leave the rest of the step out")
        return self

    def made(self, bake: Bake, weight: Decimal) -> Step:
        """The step after one with `weight`, where bakes are usually `bake`."""
        if self.mirror:
            act = Mirror(self.mirror.percent, self.mirror.safe)
            return Step(weight, Bake(self.mirror.for_, self.mirror.for_), act)
        if self.pause:
            seconds = self.pause.for_ or DAY
            return Step(weight, Bake(seconds, seconds), Pause(self.pause.for_ is None))
        if self.gate:
            gate = Gate(self.gate.webhook or "", self.gate.onNo, self.gate.onTimeout)
            return Step(weight, Bake(0.0, self.gate.timeout), gate)
        if self.fault:
            bake = Bake(self.fault.for_ or 0.0, self.fault.probe.timeout or PROBED)
            return Step(weight, bake, self.fault.made())
        bake = Bake(self.bake.min, self.bake.max) if self.bake else bake
        if self.probe:
            bake = Bake(0.0, self.probe.timeout or PROBED) if self.weight is None else bake
            return Step(weight if self.weight is None else self.weight, bake, self.probe.made())
        route = Route(self.route.istio(), self.route.percent, self.route.sticky) if self.route else None
        return Step(weight if self.weight is None else self.weight, bake, route)
