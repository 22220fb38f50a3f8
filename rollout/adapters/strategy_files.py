"""Strategies from presets and from users' YAML files, checked key by key, with the line of each fault."""

import math
import re
from decimal import Decimal
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from rollout.adapters import yaml_text
from rollout.core.errors import InvalidInput
from rollout.core.quantities import duration, percent, spoken
from rollout.core.query import LONGEST, PLACEHOLDERS, Aggregate, Effect, Query
from rollout.core.strategy import (
    ERRORS,
    LATENCY,
    REJECTIONS,
    RESTARTS,
    Bake,
    Check,
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


def _sentence(parse: Any) -> Any:
    def checked(value: object) -> Any:
        try:
            return parse(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(checked)


Seconds = Annotated[float, _sentence(duration)]
Percent = Annotated[Decimal, _sentence(percent)]


def _bake(value: object) -> object:
    return value if isinstance(value, dict) else {"min": value, "max": value}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Bake(_Model):
    min: Seconds
    max: Seconds

    @model_validator(mode="after")
    def _ordered(self) -> "_Bake":
        if self.max < self.min:
            raise ValueError(f"max ({self.max:g}s) is shorter than min ({self.min:g}s)")
        return self


BakeField = Annotated[_Bake, BeforeValidator(_bake)]


def _positive(value: Decimal) -> Decimal:
    if not value:
        raise ValueError("must be more than 0")
    return value


def _half(value: Decimal) -> Decimal:
    if value > 50:
        raise ValueError("must be at most 50%")
    return value


Positive = Annotated[Decimal, _sentence(percent), AfterValidator(_positive)]


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{value!r} is no URL; write it like https://approvals.example/gate")
    return value


def _some(value: float) -> float:
    if not value:
        raise ValueError("must be more than 0s")
    return value


def _safe(value: object) -> Safe:
    if value not in list(Safe):
        raise ValueError(f"{value!r} says not which requests may be sent twice; say {' or '.join(Safe)}")
    return Safe(str(value))


class _Mirror(_Model):
    percent: Positive = Decimal(100)
    for_: Annotated[Seconds, AfterValidator(_some), Field(alias="for")]
    safe: Annotated[Safe, BeforeValidator(_safe)] = Safe.READS


class _Pause(_Model):
    for_: Annotated[Seconds, AfterValidator(_some), Field(alias="for")] = DAY


class _Gate(_Model):
    person: Literal[True] | None = None
    webhook: Annotated[str, AfterValidator(_url)] | None = None
    timeout: Annotated[Seconds, AfterValidator(_some)] = 3600.0
    onNo: OnNo = OnNo.ROLLBACK  # noqa: N815 - as users write it
    onTimeout: OnTimeout = OnTimeout.ROLLBACK  # noqa: N815 - as users write it

    @model_validator(mode="after")
    def _one(self) -> "_Gate":
        if (self.person is None) == (self.webhook is None):
            raise ValueError("a gate asks either a `person: true` or a `webhook: URL`")
        return self


def _condition(value: object) -> object:
    return {"exact": value} if isinstance(value, str) else value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression: {error}") from None
    return value


class _Text(_Model):
    exact: Annotated[str, Field(min_length=1)] | None = None
    prefix: Annotated[str, Field(min_length=1)] | None = None
    regex: Annotated[str, Field(min_length=1), AfterValidator(_regex)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "_Text":
        if len(self.model_fields_set) != 1:
            raise ValueError("write a text, or one of `exact`, `prefix` and `regex`")
        return self


Condition = Annotated[_Text, BeforeValidator(_condition)]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"), AfterValidator(str.lower)]
Cookie = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.=:/_`|~-]+$")]


class _Match(_Model):
    headers: dict[Token, Condition] = {}
    cookies: Annotated[dict[Cookie, Cookie], Field(max_length=1)] = {}
    queryParams: dict[str, Condition] = {}  # noqa: N815 - as Istio has it
    uri: Condition | None = None
    method: Condition | None = None

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
    percent: Positive = Decimal(100)
    sticky: Seconds = 0.0

    @model_validator(mode="after")
    def _something(self) -> "_Route":
        if not self.istio() and not self.sticky:
            raise ValueError("say what it matches: headers, cookies, queryParams, uri or method; or `sticky: 1h`")
        return self


class _Step(_Model):
    weight: Percent | None = None
    bake: BakeField | None = None
    mirror: _Mirror | None = None
    route: _Route | None = None
    pause: _Pause | None = None
    gate: _Gate | None = None

    @model_validator(mode="after")
    def _one(self) -> "_Step":
        beside, alone = (self.route,), (self.mirror, self.pause, self.gate)
        acts = sum(one is not None for one in (*beside, *alone))
        if acts + (self.weight is not None) < 1 or acts > 1 or (self.weight is not None and any(alone)):
            raise ValueError("a step is one of `weight`, `mirror`, `route`, `pause`, `gate`, or a weight and a route")
        if self.bake and any(alone):
            raise ValueError("only a weight or a route bakes; leave `bake` out")
        if acts and self.weight == 100:
            raise ValueError("at 100 % everybody is there already; leave the rest of the step out")
        return self

    def made(self, bake: Bake, weight: Decimal) -> Step:
        """The step after one with `weight`, where bakes are usually `bake`."""
        if self.mirror:
            act = Mirror(self.mirror.percent, self.mirror.safe)
            return Step(weight, Bake(self.mirror.for_, self.mirror.for_), act)
        if self.pause:
            wait = Pause("for_" not in self.pause.model_fields_set)
            return Step(weight, Bake(self.pause.for_, self.pause.for_), wait)
        if self.gate:
            gate = Gate(self.gate.webhook or "", self.gate.onNo, self.gate.onTimeout)
            return Step(weight, Bake(0.0, self.gate.timeout), gate)
        route = Route(self.route.istio(), self.route.percent, self.route.sticky) if self.route else None
        bake = Bake(self.bake.min, self.bake.max) if self.bake else bake
        return Step(weight if self.weight is None else self.weight, bake, route)


class _Rate(_Model):
    worseBy: Percent | None = None  # noqa: N815 - as users write it
    floor: Annotated[Positive, AfterValidator(_half)] | None = None


class _Latency(_Rate):
    over: Seconds = 0.0


class _Restarts(_Model):
    worseBy: Percent | None = None  # noqa: N815 - as users write it
    floor: None = None


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
    def checked(value: object) -> Effect | None:
        if value not in allowed:
            raise ValueError(f"must be {' or '.join(allowed)}, not {value!r}")
        return None if value == IGNORE else Effect(str(value))

    return BeforeValidator(checked)


IGNORE = "ignore"
Number = Annotated[float, BeforeValidator(_number)]
OnBreach = Annotated[Effect, _effect(Effect.HOLD, Effect.ROLLBACK)]
OnLack = Annotated[Effect | None, _effect(Effect.HOLD, IGNORE)]


class _Query(_Model):
    name: Annotated[str, Field(max_length=60, pattern=r"^\P{C}+$")]
    promql: Annotated[str, Field(min_length=1), AfterValidator(_promql)]
    max: Number | None = None
    min: Number | None = None
    aggregate: Aggregate | None = None
    lasting: Annotated[Seconds, AfterValidator(_lasting)] = Field(0.0, alias="for")
    onBreach: OnBreach = Effect.HOLD  # noqa: N815 - as users write it
    onNoData: OnLack = Effect.HOLD  # noqa: N815
    onError: OnLack = Effect.HOLD  # noqa: N815

    @model_validator(mode="after")
    def _bounded(self) -> "_Query":
        if self.max is None and self.min is None:
            raise ValueError("neither max nor min is there; say from where on a value is a breach")
        if self.max is not None and self.min is not None and self.max < self.min:
            raise ValueError(f"min ({self.min:g}) is above max ({self.max:g}), so every value would be a breach")
        return self

    def made(self) -> Query:
        """As the engine knows it."""
        return Query(
            self.name, self.promql, self.max, self.min, self.aggregate, self.lasting, self.onBreach, self.onNoData,
            self.onError,
        )  # fmt: skip


class _Check(_Model):
    errors: _Rate | None = None
    rejections: _Rate | None = None
    latency: _Latency | None = None
    restarts: _Restarts | None = None
    query: _Query | None = None

    @model_validator(mode="after")
    def _one(self) -> "_Check":
        if len(self.model_fields_set) != 1 or (self.one() is None and self.query is None):
            raise ValueError(f"a check is one of {', '.join(Kind)}, query, like `errors: {{}}`")
        return self

    def one(self) -> Check | None:
        """The check, with what the user left out as we ship it."""
        for usual in (ERRORS, REJECTIONS, LATENCY, RESTARTS):
            said: _Rate | _Restarts | None = getattr(self, usual.kind)
            if said is not None:
                worse = usual.worse_by if said.worseBy is None else float(said.worseBy) / 100
                floor = usual.floor if said.floor is None else float(said.floor) / 100
                return Check(usual.kind, worse, floor, 1000 * said.over if isinstance(said, _Latency) else 0.0)
        return None


class _Drift(_Model):
    gitopsManagers: list[str] = []  # noqa: N815 - as users write it


class _Strategy(_Model):
    description: str = ""
    budget: Positive = percent("0.5")
    bake: BakeField
    inconclusive: OnInconclusive = OnInconclusive.HOLD
    steps: Annotated[list[_Step], Field(min_length=1)]
    confirm: Seconds
    deadline: Seconds = 0.0
    checks: list[_Check]  # `[]` says on purpose that nothing is judged
    drift: _Drift = _Drift()

    @field_validator("checks")
    @classmethod
    def _once(cls, checks: list[_Check]) -> list[_Check]:
        kinds = [kind for check in checks if check.query is None for kind in check.model_fields_set]
        names = [f"query {check.query.name!r}" for check in checks if check.query is not None]
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
        if steps[-1].weight is None:
            raise ValueError("after 100 % there is nothing to wait for; put the last step before it")
        return steps


def presets() -> dict[str, str]:
    """The presets by name, as YAML text."""
    files = resources.files("strategies").iterdir()
    return {f.name.removesuffix(".yaml"): f.read_text() for f in sorted(files, key=str) if f.name.endswith(".yaml")}


def load(name: str) -> Strategy:
    """A preset by name, or a file by path. Raises `InvalidInput` with file and line."""
    known = presets()
    if name in known:
        return parse(known[name], name, f"strategies/{name}.yaml")
    path = Path(name)
    if not path.is_file():
        raise InvalidInput(f"there is no strategy {name!r}: neither a preset ({', '.join(known)}) nor a file")
    try:
        return parse(path.read_text(encoding="utf-8"), path.stem, name)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name} cannot be read as text: {error}") from None


def parse(text: str, name: str, source: str) -> Strategy:
    """Read a strategy document; `source` names it in errors."""
    try:
        model = _Strategy.model_validate(yaml_text.load(text))
    except yaml_text.NotYaml as error:
        raise InvalidInput(f"{source}:{error.line}: this is not YAML: {error}") from None
    except ValidationError as error:
        faults = [f"{source}:{yaml_text.line_of(text, e['loc'])}: {_said(e)}" for e in error.errors()]
        raise InvalidInput("\n".join(faults)) from None
    bake = Bake(model.bake.min, model.bake.max)
    steps: list[Step] = []
    for one in model.steps:
        steps.append(one.made(bake, steps[-1].weight if steps else Decimal(0)))
    return Strategy(
        name,
        tuple(steps),
        model.confirm,
        float(model.budget) / 100,
        model.inconclusive,
        tuple(check for one in model.checks if (check := one.one())),
        model.deadline,
        gitops_managers=tuple(model.drift.gitopsManagers),
        description=model.description,
        queries=tuple(one.query.made() for one in model.checks if one.query is not None),
    )


SENTENCES = {
    "extra_forbidden": "there is no such key here",
    "missing": "this key must be there",
    "model_type": "this must be a mapping, like `key: value`",
    "list_type": "this must be a list",
    "too_short": "there must be at least one",
    "string_type": "this must be text",
    "string_too_short": "this must not be empty",
    "string_pattern_mismatch": "this must be one line of text",
}


def _said(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    text = str(error["msg"]).removeprefix("Value error, ")
    text = SENTENCES.get(error["type"], text)
    return f"{where}: {text}" if where else text
