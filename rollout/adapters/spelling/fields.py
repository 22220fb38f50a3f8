"""What users write in one place of a strategy, wherever it stands: durations, percentages, URLs, matches."""

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from rollout.core.address import SecretKey, Url, host_of
from rollout.core.errors import InvalidInput
from rollout.core.quantities import DURATION, PERCENT, duration, exactly, percent
from rollout.mesh.overlays import cookie_regex


def parsed_by(parse: Any) -> Any:
    """Whatever `parse` makes of it, whose own sentences say what is wrong."""

    def checked(value: object) -> Any:
        try:
            return parse(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(checked)


def as_text(pattern: str, *more: dict[str, Any]) -> WithJsonSchema:
    """What the schema says of a text that must match, or of what else may stand there."""
    text = {"type": "string", "pattern": pattern}
    return WithJsonSchema({"anyOf": [text, *more]} if more else text)


Seconds = Annotated[float, parsed_by(duration), PlainSerializer(exactly), as_text(DURATION)]
Percent = Annotated[
    Decimal,
    parsed_by(percent),
    PlainSerializer(lambda value: f"{value}%"),
    as_text(PERCENT, {"type": "number", "minimum": 0, "maximum": 100}),
]


def _bake(value: object) -> object:
    return value if isinstance(value, dict) else {"min": value, "max": value}


class Spec(BaseModel):
    """Its docstrings are what editors show."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        model_title_generator=lambda model: model.__name__.removesuffix("Spec").lower(),
    )


class BakeSpec(Spec):
    """How long a weight stands."""

    min: Seconds
    """Never shorter, like 30s."""
    max: Seconds
    """Without evidence until then, like 10m."""

    @model_validator(mode="after")
    def _ordered(self) -> "BakeSpec":
        if self.max < self.min:
            raise ValueError(f"max ({self.max:g}s) is shorter than min ({self.min:g}s)")
        return self


BakeField = Annotated[BakeSpec, BeforeValidator(_bake, json_schema_input_type=Seconds | BakeSpec)]


def _positive(value: Decimal) -> Decimal:
    if not value:
        raise ValueError("must be more than 0")
    return value


def at_most_half(value: Decimal) -> Decimal:
    """A percentage that is no more than 50."""
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


def not_zero(value: float) -> float:
    """A duration that is more than 0s."""
    if not value:
        raise ValueError("must be more than 0s")
    return value


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


class TextSpec(Spec):
    """How a text must be: as it stands here, beginning so, or matching a regular expression (RE2)."""

    model_config = ConfigDict(json_schema_extra=_one_text)

    exact: Annotated[str, Field(min_length=1)] | None = None
    prefix: Annotated[str, Field(min_length=1)] | None = None
    regex: Annotated[str, Field(min_length=1), AfterValidator(_regex)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "TextSpec":
        if len(self.model_fields_set) != 1:
            raise ValueError("write a text, or one of `exact`, `prefix` and `regex`")
        return self


Condition = Annotated[TextSpec, BeforeValidator(_condition, json_schema_input_type=TextSpec | str)]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"), AfterValidator(str.lower)]
Cookie = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.=:/_`|~-]+$")]


class MatchSpec(Spec):
    """Which requests: what is written must all be so."""

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
    def _cookie(self) -> "MatchSpec":
        if self.cookies and "cookie" in self.headers:
            raise ValueError("`cookies` and the header `cookie` say the same; leave one out")
        return self

    def istio(self) -> dict[str, Any]:
        """As Istio's HTTPMatchRequest has it."""
        found: dict[str, Any] = self.model_dump(exclude_none=True, include={"headers", "queryParams", "uri", "method"})
        for name, value in self.cookies.items():
            found["headers"]["cookie"] = {"regex": cookie_regex(name, value)}
        return {key: value for key, value in found.items() if value}


def _number(value: object) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is no number; write it like 100 or 0.5")
    return found


Number = Annotated[
    float, BeforeValidator(_number), as_text(r"^\s*[+-]?[0-9_.]+([eE][+-]?[0-9_]+)?\s*$", {"type": "number"})
]
