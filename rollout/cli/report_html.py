"""The report as one HTML file that needs nothing else: no script, no font, no image, no network."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from rollout import __version__
from rollout.cli.console import at, zone
from rollout.cli.markup import Markup, tag
from rollout.cli.plots import Line, Point, plot
from rollout.cli.reporting import Report, columns, hurt, row, strategy
from rollout.core.quantities import spoken
from rollout.engine.recounting import Stretch, weights_of
from rollout.judge.looks import Arm

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Were anything to break out, the browser would still run and load nothing."""
WEIGHTS = "Dotted lines: the weight changed."
COUNTED = (
    "Where a line is broken there was nothing to count. Evidence is computed anew from the counters, at each weight; "
    "that of restarts, queries and webhooks is in the journal only."
)
STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --ink: #1c2330; --soft: #5c6675; --rule: #dfe3e9;
  --stable: #2b6cb0; --canary: #c2570c; --good: #1f7a4d; --bad: #b42318; --waits: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161d; --card: #1a202a; --ink: #e6e9ee; --soft: #9aa5b4;
  --rule: #303947; --stable: #6fb1f5; --canary: #f59a4b; --good: #5cc994; --bad: #ff8478; --waits: #e6b450; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 40px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 32px 0 10px; }
p { margin: 6px 0; overflow-wrap: anywhere; }
.soft, figcaption .legend, text { color: var(--soft); fill: var(--soft); }
.card, figure { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px;
  margin: 0; }
.Promoted { --state: var(--good); } .RolledBack, .RollingBack { --state: var(--bad); }
.Paused, .Waiting { --state: var(--waits); }
.head { border-left: 6px solid var(--state, var(--stable)); margin-top: 8px; }
.state { color: var(--state, var(--stable)); font-size: 18px; font-weight: 600; }
.hurt p:first-child { font-size: 20px; font-weight: 600; }
.missing { border-left: 6px solid var(--waits); margin-top: 12px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 12px; }
figure { padding: 10px 10px 4px; }
figcaption { font-size: 13px; } .legend { display: flex; flex-wrap: wrap; gap: 0 14px; font-size: 12px; }
.legend span { overflow-wrap: anywhere; }
svg { display: block; width: 100%; max-width: 520px; font: 11px system-ui, sans-serif; }
.grid { stroke: var(--rule); } .mark { stroke: var(--soft); stroke-dasharray: 1 3; }
.line { fill: none; stroke: var(--line); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.key { display: inline-block; width: 18px; border-top: 3px solid var(--line); vertical-align: middle;
  margin-right: 6px; }
.stable { --line: var(--stable); } .canary { --line: var(--canary); } .on { --line: var(--good); }
.back { --line: var(--bad); } .line.back, .line.stable { stroke-dasharray: 5 4; }
.key.back, .key.stable { border-top-style: dashed; } .line.share { --line: var(--soft); stroke-width: 1.5; }
.key.share { --line: var(--soft); border-top-width: 2px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); font-size: 13px; } tr:last-child td { border-bottom: 0; }
ol, ul { list-style: none; margin: 0; padding: 0; }
.journal li { display: grid; grid-template-columns: 72px 58px 1fr; gap: 0 10px; padding: 5px 0;
  border-top: 1px solid var(--rule); }
.journal li:first-child { border-top: 0; } .journal time { color: var(--soft); font-variant-numeric: tabular-nums; }
.journal b { color: var(--canary); text-align: right; white-space: nowrap; } li { overflow-wrap: anywhere; }
@media (max-width: 520px) { .journal li { grid-template-columns: 72px 1fr; } .journal span { grid-column: 1 / -1; }
  .journal b { text-align: left; } }
footer { margin-top: 28px; font-size: 13px; }
"""


def page(r: Report) -> str:
    """The report as a whole document."""
    a = r.attempt
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        tag("title", f"{r.title}, {r.outcome}"),
        tag("style", Markup(STYLE)),
    )
    body = tag("body", tag("main", *_head(r), *_plots(r), *_table(r), *_journal(r), *_strategy(r), _foot(r)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en', class_=a.phase)}\n"


def _head(r: Report) -> Iterator[Markup]:
    a = r.attempt
    yield tag("p", f"rollout report · namespace {a.namespace} · attempt {a.number}", class_="soft")
    times = f"{at(a.started, date=True)} to {at(a.ended) if a.ended else 'now, ' + at(r.now)}"
    lines = [tag("h1", r.title), tag("p", r.outcome, class_="state"), tag("p", f"{r.why}.")]
    yield tag("header", *lines, tag("p", f"{times} · strategy {a.strategy.name}", class_="soft"), class_="card head")
    yield tag("h2", "Who was hurt")
    yield tag("div", *(tag("p", line) for line in hurt(r)), class_="card hurt")
    if r.missing:
        yield tag("div", *(tag("p", line) for line in r.missing), class_="card missing")


def _plots(r: Report) -> Iterator[Markup]:
    figures = list(_figures(r))
    if figures:
        yield tag("h2", "Over time")
        yield tag("div", *figures, class_="plots")
        legend = [WEIGHTS, *([COUNTED] if r.recount else [])]
        yield tag("p", " ".join(legend), class_="soft")


def _figures(r: Report) -> Iterator[Markup]:
    a, stretches = r.attempt, r.recount.stretches if r.recount else ()
    span = (stretches[0].since, max(r.until, stretches[-1].until)) if stretches else (a.started, r.until)
    weights = weights_of(a, r.until)
    marks = [when for when, _ in weights[1:]]
    if weights:
        known = [(span[0], 0.0), *((when, float(weight)) for when, weight in weights), (span[1], float(a.weight))]
        lines = [Line(f"weight of {a.canary}", "canary", known, stair=True)]
        if stretches:
            shares = [
                (_middle(s), _percent(s.canary.requests, s.canary.requests + s.stable.requests)) for s in stretches
            ]
            lines.insert(0, Line("its share of the requests", "share", shares))
        yield plot("Weight, %", lines, span, marks, 100)
    if any(s.to_go_back is not None for s in stretches):
        on = Line("to go on", "on", _grown(stretches, lambda s: s.to_go_on))
        back = Line("to go back", "back", _grown(stretches, lambda s: s.to_go_back))
        yield plot("Evidence, % of what it takes", [on, back], span, marks, 100)
    if stretches:
        yield plot("Requests a second", _both(r, lambda arm, s: arm.requests / (s.until - s.since)), span, marks, 1)
        yield plot("Failed requests, %", _both(r, lambda arm, _: _percent(arm.failures, arm.requests)), span, marks, 1)
    for edge in r.recount.edges if r.recount else ():
        yield plot(f"Answers slower than {edge:g} ms, %", _both(r, _slower(edge)), span, marks, 1)


def _grown(stretches: Sequence[Stretch], part: Callable[[Stretch], float | None]) -> list[Point]:
    """How evidence grew, in percent; at each weight it begins anew."""
    points: list[Point] = []
    for before, s in itertools.pairwise((stretches[0], *stretches)):
        points += [(s.since, None)] if s.weight != before.weight else []
        share = part(s)
        points.append((s.until, None if share is None else 100 * share))
    return points


def _slower(edge: float) -> Callable[[Arm, Stretch], float | None]:
    return lambda arm, _: _percent(*reversed(arm.slower(edge)))


def _both(r: Report, value: Callable[[Arm, Stretch], float | None]) -> list[Line]:
    """A line for each version."""
    stretches = r.recount.stretches if r.recount else ()
    stable, canary = (
        [(_middle(s), value(s.stable, s)) for s in stretches],
        [(_middle(s), value(s.canary, s)) for s in stretches],
    )
    return [Line(r.attempt.stable, "stable", stable), Line(r.attempt.canary, "canary", canary)]


def _middle(s: Stretch) -> float:
    return (s.since + s.until) / 2


def _percent(hits: int, of: int) -> float | None:
    return 100 * hits / of if of else None


def _table(r: Report) -> Iterator[Markup]:
    if not r.standings:
        return
    yield tag("h2", "At each weight")
    rows = [tag("tr", *(tag("th", title) for title in columns(r)))]
    rows += [tag("tr", *(tag("td", cell) for cell in row(r, standing))) for standing in r.standings]
    yield tag("div", tag("table", *rows), class_="card wide")


def _journal(r: Report) -> Iterator[Markup]:
    yield tag("h2", "What happened, and why")
    lines, before = [], None
    for entry in r.attempt.journal:
        weight = "" if entry.weight in (None, before) else f"{entry.weight} %"
        lines.append(tag("li", tag("time", at(entry.at)), tag("b", weight), tag("span", entry.text)))
        before = entry.weight
    yield tag("ol", *lines, class_="card journal")


def _strategy(r: Report) -> Iterator[Markup]:
    yield tag("h2", f"Strategy {r.attempt.strategy.name}")
    yield tag("ul", *(tag("li", line) for line in strategy(r)), class_="card")


def _foot(r: Report) -> Markup:
    every = f" Counters are compared every {spoken(r.recount.every)}." if r.recount else ""
    return tag(
        "footer",
        f"Made by rollout {__version__} at {at(r.now, date=True)}. Times are {zone(r.now)}.{every}",
        class_="soft",
    )
