"""Looks as JSON lines, as anybody may write them: one comparison of both versions a line."""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rollout.core.errors import InvalidInput
from rollout.judge.looks import Arm, Increment, Look, altogether


class Implausible(Exception):
    """A line that can be read, and whose numbers cannot be true."""


@dataclass(frozen=True)
class Line:
    """A line: the canary's weight (percent) and the look."""

    weight: Decimal
    look: Look


def parsed(text: str, number: int, before: float | None) -> Line:
    """The look of a line; it begins where the line before it ended.

    Raises `InvalidInput` where the line is not JSON of this shape, and `Implausible` where its numbers cannot be.
    """
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"line {number}: this is not JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(raw, dict):
        raise InvalidInput(f"line {number}: this must be an object with `at`, `weight`, `stable` and `canary`")
    unknown = raw.keys() - {"at", "weight", "stable", "canary"}
    if unknown:
        raise InvalidInput(f"line {number}: there is no key {min(unknown)!r} here")
    at, weight = (_number(raw.get(key), f"line {number}: {key}") for key in ("at", "weight"))
    if not math.isfinite(at):
        raise Implausible(f"line {number}: at is {at}")
    if not 0 <= weight <= 100:
        raise Implausible(f"line {number}: the weight is {weight:g}; it must be between 0 and 100")
    arms = [_arms(raw.get(name) or {}, f"line {number}: {name}") for name in ("stable", "canary")]
    timed = [{edge for edge, _ in arm.answers} for one, parts in arms for arm in (one, *parts) if arm.answers]
    if any(edges != timed[0] for edges in timed):
        raise Implausible(f"line {number}: the histograms have different buckets")
    if before is not None and at <= before:
        raise Implausible(f"line {number}: at is {at:g}, which is not after {before:g}")
    (stable, stables), (canary, canaries) = arms
    parts = [Increment(f"stable-{i}", one, Arm()) for i, one in enumerate(stables or [stable])]
    parts += [Increment(f"canary-{i}", Arm(), one) for i, one in enumerate(canaries or [canary])]
    return Line(Decimal(f"{weight:g}"), Look(at - 1 if before is None else before, at, tuple(parts)))


def _arms(raw: object, where: str) -> tuple[Arm, list[Arm]]:
    """A version's counts, and those of its instances, which must add up to them."""
    if not isinstance(raw, dict):
        raise InvalidInput(f"{where}: this must be an object with `requests` and `errors`")
    instances = raw.get("instances", [])
    if not isinstance(instances, list):
        raise InvalidInput(f"{where}.instances: this must be a list")
    whole = _arm({key: value for key, value in raw.items() if key != "instances"}, where)
    parts = [_arm(one, f"{where}.instances[{i}]") for i, one in enumerate(instances)]
    told = [(arm.requests, arm.failures, arm.rejections) for arm in (whole, altogether(parts))]
    if parts and told[0] != told[1]:
        raise Implausible(f"{where}: its instances do not add up to it")
    return whole, parts


def _arm(raw: object, where: str) -> Arm:
    if not isinstance(raw, dict):
        raise InvalidInput(f"{where}: this must be an object with `requests` and `errors`")
    unknown = raw.keys() - {"requests", "errors", "rejections", "latency"}
    if unknown:
        raise InvalidInput(f"{where}: there is no key {min(unknown)!r} here")
    counts = [_count(raw.get(key, 0), f"{where}.{key}") for key in ("requests", "errors", "rejections")]
    if counts[1] + counts[2] > counts[0]:
        raise Implausible(f"{where}: more errors and rejections than requests")
    return Arm(counts[0], counts[1], counts[2], _answers(raw.get("latency") or {}, where))


def _answers(raw: object, where: str) -> tuple[tuple[float, int], ...]:
    if not isinstance(raw, Mapping):
        raise InvalidInput(f"{where}.latency: this must be an object of cumulative counts by edge in ms, up to +Inf")
    if not raw:
        return ()
    try:
        counts = sorted((float(edge), _count(value, f"{where}.latency.{edge}")) for edge, value in raw.items())
    except ValueError:
        raise InvalidInput(f"{where}.latency: its keys are edges in milliseconds, and +Inf") from None
    if counts[-1][0] != math.inf:
        raise Implausible(f"{where}: the histogram has no +Inf")
    if any(after[1] < before[1] for before, after in itertools.pairwise(counts)):
        raise Implausible(f"{where}: the histogram falls; its counts are cumulative")
    return tuple(counts)


def _count(value: Any, where: str) -> int:
    number = _number(value, where)
    if not math.isfinite(number) or number < 0:
        raise Implausible(f"{where} is {number}; a count is 0 or more")
    if number != int(number):
        raise Implausible(f"{where} is {number}; a count is whole")
    return int(number)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{where}: this must be a number")
    return float(value)
