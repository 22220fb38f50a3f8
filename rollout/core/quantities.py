"""Durations and percentages as people write them: `90s`, `1h30m`, `0.5%`."""

import re
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal

from rollout.core.errors import InvalidInput

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST = 365 * 86400.0
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
DURATION = r"^\s*([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+\s*$"
PERCENT = r"^\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(\s*%)?\s*$"
"""How both are written, as regular expressions that editors read too."""


def duration(text: object) -> float:
    """Seconds of a duration. Raises `InvalidInput`.

    >>> duration("1h30m")
    5400.0
    """
    written = str(text).strip()
    if not re.match(DURATION, written):
        raise InvalidInput(f"{written!r} is no duration; write it like 30s, 5m or 1h30m")
    seconds = float(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(written)))
    if seconds > LONGEST:
        raise InvalidInput(f"{written[:20]!r} is longer than 365 days")
    return seconds


def moment(text: object) -> float:
    """An RFC 3339 time as epoch seconds; 0 where there is none.

    >>> moment("1970-01-01T00:01:00Z"), moment(None)
    (60.0, 0.0)
    """
    return datetime.fromisoformat(str(text)).timestamp() if text else 0.0


def stamp(at: float, to: str = "seconds") -> str:
    """Epoch seconds as Kubernetes writes a time, cut to whole "seconds", or to "microseconds" as in a Lease.

    >>> stamp(60.9), stamp(60.9, "microseconds")
    ('1970-01-01T00:01:00Z', '1970-01-01T00:01:00.900000Z')
    """
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(timespec=to) + "Z"


def spoken(seconds: float) -> str:
    """A duration for people.

    >>> spoken(95), spoken(3600), spoken(0.5)
    ('1m35s', '1h', '0.5s')
    """
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f}s"
    whole, text = round(seconds), ""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def exactly(seconds: float) -> str:
    """A duration as `duration` reads it, without loss.

    >>> exactly(90), exactly(0.25), duration(exactly(12345.6789))
    ('1m30s', '0.25s', 12345.6789)
    """
    return spoken(seconds) if seconds == int(seconds) else f"{Decimal(repr(seconds)):f}s"


def percent(text: object) -> Decimal:
    """A percentage from 0 to 100 with at most two decimals, the sign optional. Raises `InvalidInput`.

    >>> percent("0.5%")
    Decimal('0.5')
    """
    if not re.match(PERCENT, str(text)):
        raise InvalidInput(f"{text!r} is no percentage; write it like 25 or 0.5%")
    value = Decimal(str(text).strip().removesuffix("%").strip())
    if not 0 <= value <= 100:
        raise InvalidInput(f"{text!r} is not between 0 and 100 percent")
    if value != round(value, 2):
        raise InvalidInput(f"{text!r} has more than two decimals")
    return value


def share(part: float) -> str:
    """A part of a whole (0 to 1) as a percentage for people, with two digits that count.

    >>> share(0.00128), share(0.021), share(0.334), share(1)
    ('0.13 %', '2.1 %', '33 %', '100 %')
    """
    percentage = 100 * part
    return f"{percentage:.0f} %" if percentage >= 10 else f"{percentage:.2g} %"


def many(number: int) -> str:
    """A number with its thousands apart.

    >>> many(5120)
    '5 120'
    """
    return f"{number:,}".replace(",", " ")


def floored(value: Decimal) -> Decimal:
    """A percentage cut to the two decimals that a weight has.

    >>> floored(Decimal(100) / 3), floored(Decimal("25.000"))
    (Decimal('33.33'), Decimal('25'))
    """
    cut = value.quantize(Decimal("0.01"), ROUND_DOWN)
    return cut.to_integral() if cut == cut.to_integral() else cut
