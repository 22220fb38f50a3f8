"""What Prometheus' HTTP API answered, believed only where it is what was asked for. Pure."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LARGEST = 2.0**53
"""No counter gets so far, and from there on a float tells no two neighbours apart."""
LONGEST = 300.0
"""Seconds after which Prometheus itself takes a sample for gone: nobody scrapes more seldom."""
AHEAD = 300.0
"""Seconds by which a sample may be before the store's clock, or that before ours, and is still believed."""
Fields = Mapping[str, Any]
Sample = tuple[float, float]
"""A moment (epoch seconds) and a value, which may be no number."""


class Strange(ValueError):
    """It is not what was asked for; the text says what came, after "answers with"."""


def rows(result: object) -> Iterator[tuple[dict[str, str], Fields]]:
    """The series of a result, each with its labels. Raises `Strange`, also where one comes twice."""
    if not isinstance(result, list):
        raise Strange("no list of series")
    seen = set()
    for row in result:
        labels = row.get("metric") if isinstance(row, dict) else None
        if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
            raise Strange("a series without labels")
        key = frozenset(labels.items())
        if key in seen:
            raise Strange("the same series twice")
        seen.add(key)
        yield labels, row


def samples(row: Fields) -> Iterator[Sample]:
    """The samples of a series of a range, oldest first. Raises `Strange`."""
    last = -math.inf
    try:
        for at, text in row["values"]:
            _demand(last < at and isinstance(text, str))
            last = at
            yield at, float(text)
    except (KeyError, TypeError, ValueError) as error:
        raise Strange("samples that are none, or out of order") from error


def sample(row: Fields) -> Sample:
    """The only sample of a series. Raises `Strange`."""
    try:
        at, text = row["value"]
        _demand(isinstance(text, str) and math.isfinite(at))
        return at, float(text)
    except (KeyError, TypeError, ValueError) as error:
        raise Strange("a sample that is none") from error


def _demand(good: bool) -> None:
    if not good:
        raise ValueError


def counted(value: float) -> bool:
    """Whether a counter can have this value.

    >>> [counted(value) for value in (0.0, 7.0, -1.0, math.nan, math.inf, 1e300)]
    [True, True, False, False, False, False]
    """
    return 0.0 <= value < LARGEST


def horizon(found: Sequence[tuple[object, Fields]], now: float) -> float | None:
    """The moment that the one sample of one series is, None without any; `now` is by our clock. Raises `Strange`."""
    if not found:
        return None
    if len(found) > 1:
        raise Strange("several moments where one was asked for")
    at, value = sample(found[0][1])
    # No sample is of a moment that the store has not seen yet, nor is its clock believed where ours says otherwise.
    if not 0 < value <= at + AHEAD:
        raise Strange("no moment of its past where one was asked for")
    if value > now + AHEAD:
        raise Strange(f"samples of the future: its clock is {value - now:.0f} s before ours")
    return value


def intervals(targets: object, instances: set[str]) -> list[float]:
    """The scrape intervals of those targets, in seconds. Raises `Strange`."""
    listed = targets.get("activeTargets") if isinstance(targets, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise Strange("no list of targets")
    texts = [
        str(one.get("scrapeInterval", ""))
        for one in listed
        if isinstance(one.get("labels"), dict) and one["labels"].get("instance") in instances
    ]
    return [seconds for text in texts if 0 < (seconds := _seconds(text)) <= LONGEST]


def _seconds(text: str) -> float:
    """A duration as Prometheus writes it; 0 where it is none.

    >>> _seconds("1m30s"), _seconds("15s"), _seconds("-15s")
    (90.0, 15.0, 0.0)
    """
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    if not re.fullmatch(r"(\d{1,9}(ms|s|m|h)){1,4}", text):
        return 0.0
    return sum(float(n) * units[u] for n, u in re.findall(r"(\d+)(ms|s|m|h)", text))
