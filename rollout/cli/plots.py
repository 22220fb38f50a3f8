"""Small plots over time as inline SVG: lines with axes, ticks and a legend, drawn by hand."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rollout.cli.markup import Markup, tag

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 190, 40, 10, 10, 24
"""Of a plot and its margins, in pixels where it is drawn at its own size."""
TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds between two ticks of time."""
MOST_TICKS = 4
Point = tuple[float, float | None]
"""An epoch second and a value; None leaves a gap."""


@dataclass(frozen=True)
class Line:
    """A line: its name in the legend, its class in the style sheet; a `stair` keeps a value until the next."""

    name: str
    look: str
    points: Sequence[Point]
    stair: bool = False


@dataclass(frozen=True)
class Frame:
    """What is shown: times from `since` to `until`, values from 0 to `top`."""

    since: float
    until: float
    top: float

    def x(self, at: float) -> float:
        """Where a time lies."""
        part = (at - self.since) / max(1e-9, self.until - self.since)
        return round(LEFT + min(1.0, max(0.0, part)) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Where a value lies."""
        return round(HEIGHT - BOTTOM - min(1.0, value / self.top) * (HEIGHT - TOP - BOTTOM), 1)


def plot(title: str, lines: Sequence[Line], span: tuple[float, float], marks: Sequence[float], least: float) -> Markup:
    """A figure of lines over a time (epoch seconds), with vertical marks. Its values reach `least` at least."""
    highest = max((value for line in lines for _, value in line.points if value is not None), default=0.0)
    frame = Frame(*span, rounded(max(highest, least)))
    drawn = [*_axes(frame), *(_mark(frame, at) for at in marks if span[0] < at < span[1])]
    drawn += [tag("path", d=_path(frame, line), class_=f"line {line.look}") for line in lines]
    legend = [tag("span", tag("i", class_=f"key {line.look}"), line.name) for line in lines]
    caption = tag("figcaption", tag("b", title), tag("div", *legend, class_="legend"))
    label = f"{title}: {', '.join(line.name for line in lines)} over time"
    return tag("figure", caption, tag("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label))


def rounded(value: float) -> float:
    """The next number from there on that reads well at half and whole.

    >>> [rounded(value) for value in (0.7, 100, 101, 0.023)]
    [0.8, 100.0, 200.0, 0.04]
    """
    unit = 10.0 ** math.floor(math.log10(value))
    return next(float(f"{step * unit:.3g}") for step in (1, 2, 4, 6, 8, 10) if step * unit >= value * (1 - 1e-9))


def _axes(frame: Frame) -> Iterator[Markup]:
    for value in (0.0, frame.top / 2, frame.top):
        y = frame.y(value)
        yield tag("path", d=f"M{LEFT} {y}H{WIDTH - RIGHT}", class_="grid")
        yield tag("text", f"{value:g}", x=LEFT - 6, y=y + 4, text_anchor="end")
    for at, text in ticks(frame.since, frame.until):
        yield tag("path", d=f"M{frame.x(at)} {HEIGHT - BOTTOM}v4", class_="grid")
        yield tag("text", text, x=min(frame.x(at), WIDTH - 26), y=HEIGHT - 7, text_anchor="middle")


def ticks(since: float, until: float) -> Iterator[tuple[float, str]]:
    """At most MOST_TICKS local times that read well, each with its text."""
    step = next((one for one in TIMES if (until - since) / one <= MOST_TICKS), math.ceil((until - since) / MOST_TICKS))
    offset = (datetime.fromtimestamp(since).astimezone().utcoffset() or datetime.resolution * 0).total_seconds()
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%m-%d"
    for count in range(math.ceil((since + offset) / step), math.floor((until + offset) / step) + 1):
        at = count * step - offset
        yield at, datetime.fromtimestamp(at).astimezone().strftime(form)


def _mark(frame: Frame, at: float) -> Markup:
    return tag("path", d=f"M{frame.x(at)} {TOP}V{HEIGHT - BOTTOM}", class_="mark")


def _path(frame: Frame, line: Line) -> str:
    """The line as SVG draws it; a value between two gaps is a dot."""
    parts, before = [], None
    for at, value in line.points:
        if value is None:
            before = None
            continue
        x, y = frame.x(at), frame.y(value)
        if before is None:
            parts.append(f"M{x} {y}h0")
        else:
            parts.append(f"H{x}V{y}" if line.stair else f"L{x} {y}")
        before = y
    return "".join(parts)
