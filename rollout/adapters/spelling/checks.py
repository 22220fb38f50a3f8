"""How users write the checks of a strategy."""

from decimal import Decimal
from string import Template
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from rollout.adapters.spelling.fields import Number, Percent, Positive, Seconds, Spec, UrlField, at_most_half
from rollout.core.quantities import percent, spoken
from rollout.core.query import LONGEST, PLACEHOLDERS, Aggregate, Effect, Hook, Query
from rollout.core.strategy import ERRORS, LATENCY, REJECTIONS, RESTARTS, Check, Kind


def _points(part: float) -> Decimal:
    return percent(f"{100 * part:g}")


class ErrorsSpec(Spec):
    """Failed requests: 5xx, gRPC errors, no answer."""

    worseBy: Percent = _points(ERRORS.worse_by)  # noqa: N815 - as users write it
    """Harm is to fail by so much more often than stable; 50% where it is left out."""
    floor: Annotated[Positive, AfterValidator(at_most_half)] = _points(ERRORS.floor)
    """Below this share of failed requests nothing is harm; 0.1% where it is left out."""


class RejectionsSpec(Spec):
    """Rejected requests: 4xx and the like."""

    worseBy: Percent = _points(REJECTIONS.worse_by)  # noqa: N815 - as users write it
    """Harm is to reject by so much more often than stable; 100% where it is left out."""
    floor: Annotated[Positive, AfterValidator(at_most_half)] = _points(REJECTIONS.floor)
    """Below this share of rejected requests nothing is harm; 1% where it is left out."""


class LatencySpec(Spec):
    """Slow answers, by edges chosen from stable's past."""

    worseBy: Percent = _points(LATENCY.worse_by)  # noqa: N815 - as users write it
    """Harm is to answer slowly by so much more often than stable; 25% where it is left out."""
    floor: Annotated[Positive, AfterValidator(at_most_half)] = _points(LATENCY.floor)
    """And by so many points more; 0.5% where it is left out."""
    over: Seconds = 0.0
    """An answer that takes longer is slow, too, like 250ms."""


class RestartsSpec(Spec):
    """Containers that restart."""

    worseBy: Percent = _points(RESTARTS.worse_by)  # noqa: N815 - as users write it
    """Harm is to restart by so much more often, a pod; 100% where it is left out."""


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
OnBreach = Annotated[str, _effect(Effect.HOLD, Effect.ROLLBACK), WithJsonSchema({"enum": ["hold", "rollback"]})]
OnLack = Annotated[str, _effect(Effect.HOLD, IGNORE), WithJsonSchema({"enum": ["hold", IGNORE]})]
PORTABLE = {"pattern": "^[^\\u0000-\\u001f]+$"}
"""For the schema: not every reader of regular expressions knows classes by name."""


class AskedSpec(Spec):
    """What every check has that asks somebody."""

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


class QuerySpec(AskedSpec):
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


class WebhookSpec(AskedSpec):
    """A webhook of your own, asked again and again: its no is a breach; see docs/judge.md."""

    url: UrlField
    """Where to ask, or the Secret that keeps it: 2xx is a yes; 403, 409, 412 and 422 are a no."""

    def made(self) -> Hook:
        """As the engine knows it."""
        return Hook(url=self.url, **self.common())


class CheckSpec(Spec):
    """One thing that is compared, or asked for."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    errors: ErrorsSpec | None = None
    rejections: RejectionsSpec | None = None
    latency: LatencySpec | None = None
    restarts: RestartsSpec | None = None
    query: QuerySpec | None = None
    webhook: WebhookSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> "CheckSpec":
        if len(self.model_fields_set) != 1 or (self.one() is None and self.asked is None):
            raise ValueError(f"a check is one of {', '.join(Kind)}, query, webhook, like `errors: {{}}`")
        return self

    @property
    def asked(self) -> QuerySpec | WebhookSpec | None:
        """The query or webhook, if it is one."""
        return self.query or self.webhook

    def one(self) -> Check | None:
        """The check, unless it asks."""
        for kind in Kind:
            said: ErrorsSpec | RejectionsSpec | LatencySpec | RestartsSpec | None = getattr(self, kind)
            if said is not None:
                floor = 0.0 if isinstance(said, RestartsSpec) else float(said.floor) / 100
                over = said.over if isinstance(said, LatencySpec) else 0.0
                return Check(kind, float(said.worseBy) / 100, floor, 1000 * over)
        return None
