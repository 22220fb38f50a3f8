"""Strategies from presets and from users' YAML files, checked key by key, with the line of each fault."""

import math
import re
from decimal import Decimal
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema

from rollout.adapters import yaml_text
from rollout.core.address import SecretKey, Url, host_of, inside
from rollout.core.errors import InvalidInput
from rollout.core.probe import HEADER, Expected, Probe
from rollout.core.quantities import DURATION, PERCENT, duration, exactly, percent, spoken
from rollout.core.query import LONGEST, PLACEHOLDERS, Aggregate, Effect, Hook, Query
from rollout.core.strategy import (
    ERRORS,
    LATENCY,
    READS,
    REJECTIONS,
    RESTARTS,
    Bake,
    Check,
    Fault,
    Gate,
    Kind,
    Mirror,
    OnInconclusive,
    OnNo,
    OnTimeout,
    Pause,
    Route,
    Safe,
    Step,
    Strategy,
)
from rollout.mesh.overlays import cookie_regex

DAY = 86400.0
"""Seconds that a pause may last which somebody is to end: every wait has an end."""
LONGEST_FILE, MOST_VALUES, MOST_FAULTS, LONGEST_FAULT = 1_000_000, 10_000, 10, 300
"""Bytes and values of a file beyond which nobody wrote it as a strategy; how many of its faults are said, and
how much of each.
"""


def _sentence(parse: Any) -> Any:
    def checked(value: object) -> Any:
        try:
            return parse(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(checked)


def _written(pattern: str, *more: dict[str, Any]) -> WithJsonSchema:
    text = {"type": "string", "pattern": pattern}
    return WithJsonSchema({"anyOf": [text, *more]} if more else text)


Seconds = Annotated[float, _sentence(duration), PlainSerializer(exactly), _written(DURATION)]
Percent = Annotated[
    Decimal,
    _sentence(percent),
    PlainSerializer(lambda value: f"{value}%"),
    _written(PERCENT, {"type": "number", "minimum": 0, "maximum": 100}),
]


def _bake(value: object) -> object:
    return value if isinstance(value, dict) else {"min": value, "max": value}


class _Model(BaseModel):
    """Its docstrings are what editors show."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, model_title_generator=lambda model: model.__name__[1:].lower()
    )


class _Bake(_Model):
    """How long a weight stands."""

    min: Seconds
    """Never shorter, like 30s."""
    max: Seconds
    """Without evidence until then, like 10m."""

    @model_validator(mode="after")
    def _ordered(self) -> "_Bake":
        if self.max < self.min:
            raise ValueError(f"max ({self.max:g}s) is shorter than min ({self.min:g}s)")
        return self


BakeField = Annotated[_Bake, BeforeValidator(_bake, json_schema_input_type=Seconds | _Bake)]


def _positive(value: Decimal) -> Decimal:
    if not value:
        raise ValueError("must be more than 0")
    return value


def _half(value: Decimal) -> Decimal:
    if value > 50:
        raise ValueError("must be at most 50%")
    return value


Positive = Annotated[Percent, AfterValidator(_positive)]


def _url(value: object) -> Url:
    """A URL, or the name of one; what was written instead may be a secret, and is not repeated."""
    if isinstance(value, str) and host_of(value):
        return value
    if (
        isinstance(value, dict)
        and value.keys() == {"secret", "key"}
        and all(isinstance(v, str) for v in value.values())
    ):
        return SecretKey(**value)
    raise ValueError("this is no URL; write it like https://approvals.example/gate, or {secret: NAME, key: KEY}")


_IN_A_SECRET = {
    "type": "object",
    "properties": {"secret": {"type": "string"}, "key": {"type": "string"}},
    "required": ["secret", "key"],
    "additionalProperties": False,
}
UrlField = Annotated[
    Url,
    PlainValidator(_url),
    PlainSerializer(lambda url: url if isinstance(url, str) else vars(url)),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^https?://"}, _IN_A_SECRET]}),
]


def _some(value: float) -> float:
    if not value:
        raise ValueError("must be more than 0s")
    return value


def _safe(value: object) -> Safe:
    if value not in list(Safe):
        raise ValueError(f"{value!r} says not which requests may be sent twice; say {' or '.join(Safe)}")
    return Safe(str(value))


class _Mirror(_Model):
    """Repeat stable's requests at the canary, whose answers no user sees; before the first weight."""

    percent: Positive = Decimal(100)
    """Of stable's requests; 100% where it is left out."""
    for_: Annotated[Seconds, AfterValidator(_some), Field(alias="for")]
    """How long, like 5m."""
    safe: Annotated[Safe, BeforeValidator(_safe)] = Safe.READS
    """Which requests may be sent twice: reads (GET, HEAD, OPTIONS), where it is left out, or all."""


class _Pause(_Model):
    """Stand still; it is judged on meanwhile."""

    for_: Annotated[Seconds, AfterValidator(_some)] | None = Field(None, alias="for")
    """How long, like 10m; until `rollout resume` where it is left out."""


class _Gate(_Model):
    """Ask whether to go on."""

    person: StrictBool = False
    """Wait for `rollout approve`."""
    webhook: UrlField | None = None
    """Ask this URL, or the one that a Secret keeps: 2xx is a yes; 403, 409, 412 and 422 are a no."""
    timeout: Annotated[Seconds, AfterValidator(_some)] = 3600.0
    """How long to wait for an answer; 1h where it is left out."""
    onNo: OnNo = OnNo.ROLLBACK  # noqa: N815 - as users write it
    """After a no: rollback, or wait and ask again until the timeout."""
    onTimeout: OnTimeout = OnTimeout.ROLLBACK  # noqa: N815 - as users write it
    """Without an answer in time: rollback, or advance."""

    @model_validator(mode="after")
    def _one(self) -> "_Gate":
        if self.person == (self.webhook is not None):
            raise ValueError("a gate asks either a `person: true` or a `webhook: URL`")
        return self


def _condition(value: object) -> object:
    return {"exact": value} if isinstance(value, str) else value


_ESCAPED = re.compile(r"\\[^1-9ZuUN]|\[\^?\]?(\\.|[^\]\\])*\]", re.DOTALL)
_NOT_RE2 = re.compile(r"\\[1-9ZuUN]|\(\?(?!P<|[ims-]*[:)])|[*+?}]\+")
"""What Python's regular expressions have and Envoy's (RE2) have not: Istio refuses it, or proxies keep old routes."""


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression: {error}") from None
    if _NOT_RE2.search(_ESCAPED.sub("a", value)):
        raise ValueError(
            f"{value!r} is no regular expression for Envoy, which has RE2: without lookaround, references back and "
            "possessive repeats"
        )
    return value


def _one_text(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": [kind]} for kind in schema["properties"]]


class _Text(_Model):
    """How a text must be: as it stands here, beginning so, or matching a regular expression (RE2)."""

    model_config = ConfigDict(json_schema_extra=_one_text)

    exact: Annotated[str, Field(min_length=1)] | None = None
    prefix: Annotated[str, Field(min_length=1)] | None = None
    regex: Annotated[str, Field(min_length=1), AfterValidator(_regex)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "_Text":
        if len(self.model_fields_set) != 1:
            raise ValueError("write a text, or one of `exact`, `prefix` and `regex`")
        return self


Condition = Annotated[_Text, BeforeValidator(_condition, json_schema_input_type=_Text | str)]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"), AfterValidator(str.lower)]
Cookie = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.=:/_`|~-]+$")]


class _Match(_Model):
    headers: dict[Token, Condition] = {}
    """Headers by name, each a text, or exact, prefix or regex."""
    cookies: Annotated[dict[Cookie, Cookie], Field(max_length=1)] = {}
    """A cookie with its value; one at most."""
    queryParams: dict[str, Condition] = {}  # noqa: N815 - as Istio has it
    """Query parameters by name."""
    uri: Condition | None = None
    """The path, such as {prefix: /beta}."""
    method: Condition | None = None
    """The method, such as GET."""

    @model_validator(mode="after")
    def _cookie(self) -> "_Match":
        if self.cookies and "cookie" in self.headers:
            raise ValueError("`cookies` and the header `cookie` say the same; leave one out")
        return self

    def istio(self) -> dict[str, Any]:
        """As Istio's HTTPMatchRequest has it."""
        found: dict[str, Any] = self.model_dump(exclude_none=True, include={"headers", "queryParams", "uri", "method"})
        for name, value in self.cookies.items():
            found["headers"]["cookie"] = {"regex": cookie_regex(name, value)}
        return {key: value for key, value in found.items() if value}


class _Route(_Match):
    """Send what matches to the canary, whatever its weight, until everybody is there."""

    percent: Positive = Decimal(100)
    """At most so many percent of the requests match; the canary must have the endpoints for them."""
    sticky: Seconds = 0.0
    """Whom the weight brought to the canary stays there for so long, by a cookie."""

    @model_validator(mode="after")
    def _something(self) -> "_Route":
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


class _Expected(_Model):
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


class _Probe(_Model):
    """Send requests of our own to the canary, and the same to stable, and compare their answers."""

    url: Annotated[str, PlainValidator(_probed_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
    """By which a route of the service is reached: its own, or a gateway's with `outside: true`."""
    method: Annotated[str, BeforeValidator(lambda value: str(value).upper()), Field(json_schema_extra={})] = "GET"
    """GET, where it is left out; others than GET, HEAD and OPTIONS need `safe: all`."""
    headers: dict[Token, Annotated[str, Field(pattern=r"^[ -~]*$")]] = {}
    """Sent with each."""
    count: Annotated[int, Field(ge=5, le=MOST_PROBES)] = 20
    """How many each version must answer, at least."""
    rps: Annotated[float, Field(gt=0, le=FASTEST)] = 1.0
    """How many a second to each version."""
    expect: _Expected = _Expected()
    """How each answer must be."""
    timeout: Annotated[Seconds, AfterValidator(_some)] | None = None
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
    def _sound(self) -> "_Probe":
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


class _Only(_Match):
    """Which requests of the canary's meet a fault, like {headers: {end-user: jason}}: those that pass them on."""

    @model_validator(mode="after")
    def _something(self) -> "_Only":
        if not self.istio():
            raise ValueError("say what it matches: headers, cookies, queryParams, uri or method; or leave `only` out")
        return self


def _aborted(value: int) -> int:
    if not 400 <= value <= 599:
        raise ValueError(f"must be a status from 400 to 599, not {value}")
    return value


class _Fault(_Model):
    """Delay or abort what the canary asks another service, and see how it answers probes meanwhile."""

    on: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=120)]
    """The Service that the canary calls: of this namespace, or like ratings.shop.svc."""
    delay: Annotated[Seconds, AfterValidator(_some)] | None = None
    """How late each answer comes, like 7s."""
    abort: Annotated[int, AfterValidator(_aborted)] | None = None
    """The status of each answer, like 500."""
    percent: Positive = Decimal(100)
    """Of what the canary asks; 100% where it is left out."""
    only: _Only | None = None
    """Of that, only what matches; needed where the canary has users, unless `everyone: true`."""
    everyone: StrictBool = False
    """The canary's users may meet the fault."""
    probe: _Probe
    """What must be answered as expected meanwhile."""
    for_: Annotated[Seconds, AfterValidator(_some)] | None = Field(None, alias="for")
    """How long it stays at least; until the probes are answered where it is left out."""

    @model_validator(mode="after")
    def _sound(self) -> "_Fault":
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


class _Step(_Model):
    """One of `weight` (with a `bake` of its own, if it needs one) and what may stand between weights."""

    model_config = ConfigDict(json_schema_extra=_one_step)

    weight: Percent | None = None
    """Percent of what stable serves that the canary gets."""
    bake: BakeField | None = None
    """How long this weight stands, where not as long as the others: a duration, or min and max."""
    mirror: _Mirror | None = None
    route: _Route | None = None
    """Send what matches to the canary; alone, or beside a weight."""
    probe: _Probe | None = None
    """Send requests of our own to both versions; alone, or beside a weight, for which their answers are evidence."""
    fault: _Fault | None = None
    pause: _Pause | None = None
    gate: _Gate | None = None

    @model_validator(mode="after")
    def _one(self) -> "_Step":
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


def _points(part: float) -> Decimal:
    return percent(f"{100 * part:g}")


class _Errors(_Model):
    """Failed requests: 5xx, gRPC errors, no answer."""

    worseBy: Percent = _points(ERRORS.worse_by)  # noqa: N815 - as users write it
    """Harm is to fail by so much more often than stable; 50% where it is left out."""
    floor: Annotated[Positive, AfterValidator(_half)] = _points(ERRORS.floor)
    """Below this share of failed requests nothing is harm; 0.1% where it is left out."""


class _Rejections(_Model):
    """Rejected requests: 4xx and the like."""

    worseBy: Percent = _points(REJECTIONS.worse_by)  # noqa: N815 - as users write it
    """Harm is to reject by so much more often than stable; 100% where it is left out."""
    floor: Annotated[Positive, AfterValidator(_half)] = _points(REJECTIONS.floor)
    """Below this share of rejected requests nothing is harm; 1% where it is left out."""


class _Latency(_Model):
    """Slow answers, by edges chosen from stable's past."""

    worseBy: Percent = _points(LATENCY.worse_by)  # noqa: N815 - as users write it
    """Harm is to answer slowly by so much more often than stable; 25% where it is left out."""
    floor: Annotated[Positive, AfterValidator(_half)] = _points(LATENCY.floor)
    """And by so many points more; 0.5% where it is left out."""
    over: Seconds = 0.0
    """An answer that takes longer is slow, too, like 250ms."""


class _Restarts(_Model):
    """Containers that restart."""

    worseBy: Percent = _points(RESTARTS.worse_by)  # noqa: N815 - as users write it
    """Harm is to restart by so much more often, a pod; 100% where it is left out."""


def _number(value: object) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is no number; write it like 100 or 0.5")
    return found


def _promql(value: str) -> str:
    known = ", ".join(f"${name}" for name in PLACEHOLDERS)
    template = Template(value)
    if not template.is_valid():
        raise ValueError(f"a dollar begins one of {known}; write $$ for a dollar")
    if unknown := set(template.get_identifiers()) - set(PLACEHOLDERS):
        raise ValueError(f"there is no ${min(unknown)}; there are {known}, and $$ for a dollar")
    return value


def _lasting(value: float) -> float:
    if value and not 1 <= value <= LONGEST:
        raise ValueError(f"must be 0s, or from 1s to {spoken(LONGEST)}")
    return value


def _effect(*allowed: str) -> BeforeValidator:
    def checked(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"must be {' or '.join(allowed)}, not {value!r}")
        return str(value)

    return BeforeValidator(checked)


IGNORE = "ignore"
Number = Annotated[
    float, BeforeValidator(_number), _written(r"^\s*[+-]?[0-9_.]+([eE][+-]?[0-9_]+)?\s*$", {"type": "number"})
]
OnBreach = Annotated[str, _effect(Effect.HOLD, Effect.ROLLBACK), WithJsonSchema({"enum": ["hold", "rollback"]})]
OnLack = Annotated[str, _effect(Effect.HOLD, IGNORE), WithJsonSchema({"enum": ["hold", IGNORE]})]
PORTABLE = {"pattern": "^[^\\u0000-\\u001f]+$"}
"""For the schema: not every reader of regular expressions knows classes by name."""


class _Asked(_Model):
    name: Annotated[str, Field(max_length=60, pattern=r"^\P{C}+$", json_schema_extra=PORTABLE)]
    """What people call it."""
    max: Number | None = None
    """A value above is a breach."""
    min: Number | None = None
    """A value below is a breach."""
    onBreach: OnBreach = Effect.HOLD  # noqa: N815 - as users write it
    """After a breach: hold, or rollback."""
    onNoData: OnLack = Effect.HOLD  # noqa: N815
    """Without a value: hold, or ignore it."""
    onError: OnLack = Effect.HOLD  # noqa: N815
    """Where it cannot be asked: hold, or ignore it."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.min is not None and self.max < self.min:
            raise ValueError(f"min ({self.min:g}) is above max ({self.max:g}), so every value would be a breach")
        return self

    def common(self) -> dict[str, Any]:
        """What every check that asks has, as the engine knows it."""
        no_data, error = (None if lack == IGNORE else Effect(lack) for lack in (self.onNoData, self.onError))
        return {
            "name": self.name, "max": self.max, "min": self.min,
            "on_breach": Effect(self.onBreach), "on_no_data": no_data, "on_error": error,
        }  # fmt: skip


class _Query(_Asked):
    """PromQL of your own with bounds; see docs/judge.md."""

    promql: Annotated[str, Field(min_length=1), AfterValidator(_promql)]
    """The expression; $canary, $stable and the like are filled in."""
    aggregate: Aggregate | None = None
    """Which of several series counts."""
    lasting: Annotated[Seconds, AfterValidator(_lasting)] = Field(0.0, alias="for")
    """How long it must be beyond its bound to be a breach."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("neither max nor min is there; say from where on a value is a breach")
        return self

    def made(self) -> Query:
        """As the engine knows it."""
        return Query(promql=self.promql, aggregate=self.aggregate, lasting=self.lasting, **self.common())


class _Webhook(_Asked):
    """A webhook of your own, asked again and again: its no is a breach; see docs/judge.md."""

    url: UrlField
    """Where to ask, or the Secret that keeps it: 2xx is a yes; 403, 409, 412 and 422 are a no."""

    def made(self) -> Hook:
        """As the engine knows it."""
        return Hook(url=self.url, **self.common())


class _Check(_Model):
    """One thing that is compared, or asked for."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    errors: _Errors | None = None
    rejections: _Rejections | None = None
    latency: _Latency | None = None
    restarts: _Restarts | None = None
    query: _Query | None = None
    webhook: _Webhook | None = None

    @model_validator(mode="after")
    def _one(self) -> "_Check":
        if len(self.model_fields_set) != 1 or (self.one() is None and self.asked is None):
            raise ValueError(f"a check is one of {', '.join(Kind)}, query, webhook, like `errors: {{}}`")
        return self

    @property
    def asked(self) -> _Query | _Webhook | None:
        """The query or webhook, if it is one."""
        return self.query or self.webhook

    def one(self) -> Check | None:
        """The check, unless it asks."""
        for kind in Kind:
            said: _Errors | _Rejections | _Latency | _Restarts | None = getattr(self, kind)
            if said is not None:
                floor = 0.0 if isinstance(said, _Restarts) else float(said.floor) / 100
                over = said.over if isinstance(said, _Latency) else 0.0
                return Check(kind, float(said.worseBy) / 100, floor, 1000 * over)
        return None


class _Drift(_Model):
    """What follows when somebody else changes weights."""

    gitopsManagers: list[str] = []  # noqa: N815 - as users write it
    """Field managers whose edits are put back, like argocd-controller."""


class _Notify(_Model):
    """Where people are told what they should know; see docs/messages.md."""

    url: UrlField
    """An incoming webhook, of Slack or one that takes its messages, or the Secret that keeps its URL."""


class _Strategy(_Model):
    """The steps that a rollout takes, and what each must show before the next."""

    description: str = ""
    """What it is for, in a line."""
    budget: Positive = percent("0.5")
    """Share of all users' requests that a step may put at risk; 0.5% where it is left out."""
    bake: BakeField
    """How long a weight stands: a duration, or min (never shorter) and max (without evidence until then)."""
    inconclusive: OnInconclusive = OnInconclusive.HOLD
    """At bake.max without evidence: hold until the deadline, or advanceNoted if the canary looks no worse."""
    steps: Annotated[list[_Step], Field(min_length=1)]
    """In this order; the weights rise, and the last step is the weight 100."""
    confirm: Seconds
    """How long 100 % stands before it is promoted, like 5m: nobody is left to compare with."""
    deadline: Seconds | None = None
    """Without an end by then it goes back; where it is left out, after twice what its bakes may take."""
    checks: list[_Check]
    """What is compared; `[]` says on purpose that nothing is judged."""
    drift: _Drift = _Drift()
    """What follows when somebody else changes weights."""
    notify: _Notify | None = None
    """Where people are told that it started, waits, stands still, was promoted or taken back."""

    @field_validator("checks")
    @classmethod
    def _once(cls, checks: list[_Check]) -> list[_Check]:
        kinds = [kind for check in checks if check.asked is None for kind in check.model_fields_set]
        names = [repr(check.asked.name) for check in checks if check.asked is not None]
        if twice := sorted({one for one in (*kinds, *names) if (*kinds, *names).count(one) > 1}):
            raise ValueError(f"the check {', '.join(twice)} is there twice")
        return checks

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: list[_Step]) -> list[_Step]:
        weights = [step.weight for step in steps if step.weight is not None]
        if any(after <= before for before, after in zip([Decimal(0), *weights], weights, strict=False)):
            raise ValueError(f"the weights must rise: {', '.join(map(str, weights))}")
        if not weights:
            raise ValueError("no step has a weight; the last must be `weight: 100`")
        if weights[-1] != 100:
            raise ValueError(f"the last weight must be 100, not {weights[-1]}")
        first = next(i for i, step in enumerate(steps, 1) if step.weight is not None or step.route)
        if late := next((i for i, step in enumerate(steps, 1) if step.mirror and i > first), None):
            raise ValueError(
                f"step {late} mirrors what users see already; a mirror comes before the first weight or route"
            )
        users = False
        for place, step in enumerate(steps, 1):
            users |= bool(step.weight or step.route)
            if step.fault and users and not (step.fault.only or step.fault.everyone):
                raise ValueError(
                    f"step {place} is a fault that users of the canary would meet; put it before the first weight or "
                    "route, say `only: {headers: …}` which requests are for it, or `everyone: true`"
                )
            if step.probe and users and step.probe.expect.status not in SERVED:
                raise ValueError(
                    f"step {place} sends probes that expect neither 2xx nor 3xx, and beside users' requests they would "
                    "count as the canary's failures; put it before the first weight or route"
                )
        if steps[-1].weight is None:
            raise ValueError("after 100 % there is nothing to wait for; put the last step before it")
        return steps


def presets() -> dict[str, str]:
    """The presets by name, as YAML text."""
    files = resources.files("strategies").iterdir()
    return {f.name.removesuffix(".yaml"): f.read_text() for f in sorted(files, key=str) if f.name.endswith(".yaml")}


def load(name: str) -> Strategy:
    """A preset by name, or a file by path. Raises `InvalidInput` with file and line."""
    return parse(*_found(name))


def shown(name: str) -> str:
    """A preset as it is written, comments and all, or a file as it is understood: YAML that `load` takes.

    Raises `InvalidInput` as `load`.
    """
    text, _, source = _found(name)
    model = _model(text, source)
    if source != name:
        return text
    return yaml_text.dump(model.model_dump(mode="json", by_alias=True, exclude_none=True))


def schema() -> dict[str, Any]:
    """The JSON Schema of a strategy: it refuses no strategy that `load` takes, and most that it refuses."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return head | _Strategy.model_json_schema(schema_generator=_Schema) | {"title": "A strategy of rollout"}


class _Schema(GenerateJsonSchema):
    """Without titles that repeat the key, and without defaults in a form that users do not write."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False

    def default_schema(self, schema: Any) -> Any:
        return self.generate_inner(schema["schema"])


def _found(name: str) -> tuple[str, str, str]:
    """The text of a strategy, what it is called, and how errors name it."""
    known = presets()
    if name in known:
        return known[name], name, f"strategies/{name}.yaml"
    path = Path(name)
    try:
        if not path.exists():
            raise InvalidInput(f"there is no strategy {name!r}: neither a preset ({', '.join(known)}) nor a file")
        if not path.is_file():  # to open a FIFO would wait for somebody to write
            raise InvalidInput(f"{name} is no regular file; name a preset ({', '.join(known)}) or a file")
        with path.open("rb") as file:
            text = file.read(LONGEST_FILE + 1)
        if len(text) > LONGEST_FILE:
            raise InvalidInput(f"{name} is larger than {LONGEST_FILE // 1_000_000} MB: that is no strategy")
        return text.decode(), path.stem, name
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name} cannot be read as text: {error}") from None


def _model(text: str, source: str) -> _Strategy:
    try:
        return _Strategy.model_validate(yaml_text.load(text, MOST_VALUES))
    except yaml_text.NotYaml as error:
        raise InvalidInput(f"{source}:{error.line}: {error}") from None
    except ValidationError as error:
        found = error.errors(include_input=False)
        lines = yaml_text.lines_of(text, [one["loc"] for one in found[:MOST_FAULTS]])
        faults = [f"{source}:{line}: {_said(one)}" for line, one in zip(lines, found, strict=False)]
        more = [f"and {len(found) - MOST_FAULTS} more"] if found[MOST_FAULTS:] else []
        raise InvalidInput("\n".join(faults + more)) from None


def parse(text: str, name: str, source: str) -> Strategy:
    """Read a strategy document; `source` names it in errors."""
    model = _model(text, source)
    bake = Bake(model.bake.min, model.bake.max)
    steps: list[Step] = []
    for place, one in enumerate(model.steps):
        steps.append(one.made(bake, steps[-1].weight if steps else Decimal(0)))
        _timely(steps[-1], source, text, place)
    return Strategy(
        name,
        tuple(steps),
        model.confirm,
        float(model.budget) / 100,
        model.inconclusive,
        tuple(check for one in model.checks if (check := one.one())),
        model.deadline or 0.0,
        gitops_managers=tuple(model.drift.gitopsManagers),
        description=model.description,
        queries=tuple(one.asked.made() for one in model.checks if one.asked is not None),
        notify=model.notify.url if model.notify else "",
    )


def _timely(step: Step, source: str, text: str, place: int) -> None:
    """Refuse probes that cannot be sent while their step stands."""
    if step.probe and step.probe.round > step.bake.max:
        (line,) = yaml_text.lines_of(text, [("steps", place, "fault" if step.fault else "probe")])
        raise InvalidInput(
            f"{source}:{line}: {step.probe.count} probes at {step.probe.rps:g} a second take "
            f"{spoken(step.probe.round)}, and the step stands at most {spoken(step.bake.max)}; send fewer, or faster, "
            "or give it more time"
        )


SENTENCES = {
    "extra_forbidden": "there is no such key here",
    "invalid_key": "a key must be text",
    "missing": "this key must be there",
    "model_type": "this must be a mapping, like `key: value`",
    "dict_type": "this must be a mapping, like `key: value`",
    "list_type": "this must be a list",
    "int_type": "this must be a whole number",
    "int_parsing": "this must be a whole number",
    "int_from_float": "this must be a whole number",
    "float_type": "this must be a number",
    "float_parsing": "this must be a number",
    "finite_number": "this must be a number",
    "bool_type": "this must be true or false",
    "bool_parsing": "this must be true or false",
    "greater_than": "this must be more than {gt:g}",
    "greater_than_equal": "this must be {ge:g} at least",
    "less_than_equal": "this must be {le:g} at most",
    "enum": "this must be {expected}",
    "literal_error": "this must be {expected}",
    "too_long": "there are too many of them; {max_length} at most",
    "string_too_long": "this is too long; {max_length} characters at most",
    "too_short": "there must be at least one",
    "string_type": "this must be text",
    "string_too_short": "this must not be empty",
    "string_pattern_mismatch": "this must be one line of text",
}


URL = re.compile(r"(https?)://[^\s'\"]*[^\s'\",.;:)]", re.IGNORECASE)
"""A URL in a sentence: it stands where no URL belongs, and may be a secret all the same."""


def _visible(text: str) -> str:
    """A text in which nothing steers a terminal, nor begins another line: keys are what somebody wrote."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _host_alone(found: re.Match[str]) -> str:
    return f"{found[1]}://{host_of(found[0]) or '?'}/…"


def _said(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    text = str(error["msg"]).removeprefix("Value error, ")
    if sentence := SENTENCES.get(error["type"]):
        text = sentence.format(**error.get("ctx", {}))
    text = URL.sub(_host_alone, _visible(f"{where}: {text}" if where else text))
    half = LONGEST_FAULT // 2
    return text if len(text) <= LONGEST_FAULT else f"{text[:half]} … {text[-half:]}"
