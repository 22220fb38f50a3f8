"""Checks that ask: a query to the metrics store or a webhook, the bounds of its answer, and what follows."""

import json
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from enum import StrEnum
from string import Template
from typing import ClassVar, Self

from rollout.core.address import Url, shown
from rollout.core.errors import InvalidInput
from rollout.core.quantities import spoken

PLACEHOLDERS = ("canary", "stable", "service", "namespace")
SPACING, FEWEST, LONGEST = 15.0, 4, 900.0
"""Over a time that a breach must last, values are asked for every SPACING seconds or more often, FEWEST times and one
at least; and no time is longer than LONGEST, so that there are 61 at most."""
Points = Sequence[tuple[float, float]]
"""One series: moments (epoch seconds) with its values."""


class Effect(StrEnum):
    """What follows from an answer, where anything does: no next weight, or everything back."""

    HOLD = "hold"
    ROLLBACK = "rollback"


class Aggregate(StrEnum):
    """How the values of several series become one."""

    MAX = "max"
    MIN = "min"
    SUM = "sum"
    AVG = "avg"

    def of(self, values: Sequence[float]) -> float:
        """One value of several."""
        if self in (Aggregate.MAX, Aggregate.MIN):
            return max(values) if self is Aggregate.MAX else min(values)
        return sum(values) / (len(values) if self is Aggregate.AVG else 1)


@dataclass(frozen=True)
class Asked:
    """What is asked again and again: its value breaches above `max` and below `min` (None: no such bound).

    None instead of an effect: nothing follows.
    """

    kind: ClassVar[str]

    name: str
    _: KW_ONLY
    max: float | None = None
    min: float | None = None
    on_breach: Effect = Effect.HOLD
    on_no_data: Effect | None = Effect.HOLD
    on_error: Effect | None = Effect.HOLD

    def beyond(self, value: float) -> str:
        """Which bound a value breaks; empty if it is within."""
        if self.max is not None and value > self.max:
            return f"above {number(self.max)}"
        if self.min is not None and value < self.min:
            return f"below {number(self.min)}"
        return ""

    @property
    def bounds(self) -> str:
        """Where values belong; empty without a bound."""
        if self.max is None:
            return "" if self.min is None else f"at least {number(self.min)}"
        return f"at most {number(self.max)}" if self.min is None else f"{number(self.min)} to {number(self.max)}"

    @property
    def told(self) -> str:
        """What it asks, in words."""
        return f"{self.kind} {self.name}: {self.bounds}"

    def faster(self, speed: float) -> Self:
        """The same with every duration divided by `speed`."""
        del speed
        return self


@dataclass(frozen=True)
class Query(Asked):
    """A PromQL expression with placeholders.

    Only a breach that has lasted `lasting` seconds counts (0: one moment is enough).
    """

    kind = "query"

    promql: str
    _: KW_ONLY
    aggregate: Aggregate | None = None
    lasting: float = 0.0

    def faster(self, speed: float) -> Self:
        """See `Asked`."""
        return replace(self, lasting=self.lasting / speed)

    def filled(self, **values: str) -> str:
        r"""The PromQL, with a value for each of PLACEHOLDERS, escaped as inside of a double-quoted string.

        >>> Query("q", 'up{v="$canary"} > $$').filled(canary='a"b', stable="", service="", namespace="")
        'up{v="a\\"b"} > $'
        """
        return Template(self.promql).substitute(
            {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}
        )

    def window(self, at: float) -> tuple[float, float, float]:
        """The first and the last moment to ask for, and seconds between two, in whole milliseconds."""
        steps = max(FEWEST, math.ceil(self.lasting / SPACING)) if self.lasting else 0
        step = math.floor(1000 * self.lasting / steps) / 1000 if steps else 1.0
        return at - steps * step, at, step


@dataclass(frozen=True)
class Hook(Asked):
    """A webhook: its no is a breach, as is a value that it says and that breaks a bound."""

    kind = "webhook"

    url: Url

    @property
    def told(self) -> str:
        """What it asks, in words.

        >>> Hook("freeze", "https://ask.example/T0", max=5).told
        'webhook freeze: asking https://ask.example/…, at most 5'
        """
        return ", ".join(part for part in (f"{self.kind} {self.name}: asking {shown(self.url)}", self.bounds) if part)


@dataclass(frozen=True)
class Measured:
    """What was answered at an epoch second (0: nothing yet): a value (None: none), that in words, and what follows.

    `text` begins with the check's name; an effect of None says that nothing follows. Of a webhook it is the moment
    when its question was asked.
    """

    name: str
    at: float
    text: str
    value: float | None = None
    effect: Effect | None = None


def measured(query: Query, series: Sequence[Points], at: float) -> Measured:
    """What the series mean that came back for the moments of `query.window(at)`.

    Values that are no number are none. Raises `InvalidInput` for several series that nothing makes one value of.
    """
    start, _, step = query.window(at)
    values = _by_moment(query, series)
    latest = next((value for moment, value in sorted(values.items()) if moment > at - step / 2), None)
    if latest is None:
        return Measured(query.name, at, f"{query.name} has no data", None, query.on_no_data)
    said, beyond = f"{query.name} is {number(latest)}", query.beyond(latest)
    if not beyond:
        return Measured(query.name, at, f"{said} ({query.bounds})", latest)
    during = f" for {spoken(query.lasting)}" if query.lasting else ""
    if len(values) <= round((at - start) / step) or not all(map(query.beyond, values.values())):
        return Measured(query.name, at, f"{said}, {beyond}, but not yet{during}", latest)
    return Measured(query.name, at, f"{said}, {beyond}{during}", latest, query.on_breach)


def heard(hook: Hook, yes: bool, why: str, value: float | None, at: float) -> Measured:
    """What a yes or a no means that a webhook said, with its reason and the value that it named, if it named one.

    >>> heard(Hook("freeze", ""), False, "it is Friday", None, 0).text
    'freeze says no: it is Friday'
    >>> heard(Hook("lag", "", max=5), True, "", 7, 0).text
    'lag is 7, above 5'
    """
    name, because = hook.name, f": {why}" if why else ""
    if not yes:
        return Measured(name, at, f"{name} says no{because}", value, hook.on_breach)
    if value is None:
        if hook.bounds:
            return Measured(name, at, f"{name} has no data: its answer has no `value`", None, hook.on_no_data)
        return Measured(name, at, f"{name} says yes{because}")
    if beyond := hook.beyond(value):
        return Measured(name, at, f"{name} is {number(value)}, {beyond}{because}", value, hook.on_breach)
    return Measured(name, at, f"{name} is {number(value)}" + (f" ({hook.bounds})" if hook.bounds else ""), value)


def unheard(hook: Hook) -> Measured:
    """What follows until a webhook has answered for the first time."""
    return Measured(hook.name, 0.0, f"{hook.name} has not answered yet", None, Effect.HOLD)


def unanswered(asked: Asked, error: object, at: float) -> Measured:
    """What follows where there is no answer that means anything."""
    return Measured(asked.name, at, f"{asked.name} cannot be told: {error}", None, asked.on_error)


def gist(one: Measured) -> str:
    """The part of its text that stays the same while values and reasons change.

    >>> gist(Measured("lag", 0, "lag is 7, above 5", 7)), gist(Measured("a: b", 0, "a: b says no: 3 alarms"))
    ('lag is ', 'a: b says no')
    """
    rest = one.text[len(one.name) :]
    return one.name + (" is " if rest.startswith(" is ") else rest.partition(": ")[0])


def _by_moment(query: Query, series: Sequence[Points]) -> dict[float, float]:
    found: dict[float, list[float]] = {}
    for points in series:
        for moment, value in points:
            found.setdefault(moment, []).append(value)
    most = max(map(len, found.values()), default=0)
    if most > 1 and query.aggregate is None:
        raise InvalidInput(f"{most} series came back; name one in promql, or say `aggregate: max`, min, sum or avg")
    one = query.aggregate or Aggregate.MAX
    finite = {moment: [value for value in values if math.isfinite(value)] for moment, values in found.items()}
    return {moment: one.of(values) for moment, values in finite.items() if values}


def number(value: float) -> str:
    """A value for people.

    >>> number(120.0), number(0.05), number(1234567.0)
    ('120', '0.05', '1234567')
    """
    return f"{value:.10g}"
