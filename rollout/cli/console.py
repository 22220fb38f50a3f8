"""What people and pipes see: lines, the live view, JSON. stdout is data, stderr is talk."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TextIO

from pydantic import TypeAdapter
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rollout.adapters import clock
from rollout.core.attempt import Attempt, Entry, Past, Reading
from rollout.core.lifecycle import Phase
from rollout.core.probe import Outcome
from rollout.core.quantities import spoken
from rollout.core.query import Effect

_ATTEMPT = TypeAdapter(Attempt)
COLORS = {Phase.PROMOTED: "green", Phase.ROLLED_BACK: "red", Phase.ROLLING_BACK: "red", Phase.PAUSED: "yellow"}
EFFECTS = {None: "", Effect.HOLD: "yellow", Effect.ROLLBACK: "red"}
SHOWN, BAR = 8, 30


def at(seconds: float, date: bool = False) -> str:
    """A local time of day, with the date where asked for."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")


def zone(seconds: float) -> str:
    """How local times of then differ from UTC."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("UTC%z")


def document(attempt: Attempt | None) -> dict[str, Any]:
    """The attempt as people's scripts read it."""
    if attempt is None:
        return {"phase": "Idle"}
    full = _ATTEMPT.dump_python(attempt, mode="json")
    kept = ("service", "namespace", "stable", "canary", "phase", "step", "weight", "since", "started", "deadline")
    made = {key: full[key] for key in (*kept, "reason", "message", "ended", "journal", "last")}
    made["act"] = str(attempt.at.act) if attempt.at and attempt.at.act else None
    return made | {
        "queries": full["measured"],
        "probes": full["probed"],
        "strategy": attempt.strategy.name,
        "attempt": attempt.number,
    }


def as_json(value: Any) -> str:
    """One JSON document."""
    return json.dumps(value, indent=2) + "\n"


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(as_json(value))


def summary(attempt: Attempt | None, notice: str = "") -> str:
    """One line that says where it stands."""
    if attempt is None:
        return notice
    a = attempt
    said = f"{a.service} {a.stable} → {a.canary}: {a.phase}, {a.canary} at {a.weight} %; {a.message}"
    return f"{said} ({notice})" if notice else said


def verdict_line(when: float, said: Reading) -> str:
    """A verdict in one line."""
    return f"{when:10.1f}  {said.verdict:12}  {said.text}"


def print_view(attempt: Attempt | None, notice: str) -> None:
    """The live view, once."""
    Console(highlight=False).print(view(attempt, notice))


def print_diff(lines: Iterable[str]) -> None:
    """Lines with differences among them: coloured on a terminal, plain in a pipe, never wrapped."""
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        sign = line[2:3] if line.startswith("  ") else ""
        console.print(Text(line, style={"+": "green", "-": "red", "@": "cyan"}.get(sign, "")))


def print_history(past: tuple[Past, ...]) -> None:
    """Earlier attempts as a table, as wide as it needs to be in a pipe."""
    table = Table(box=None, pad_edge=False)
    for title in ("ATTEMPT", "FROM", "TO", "PHASE", "REASON", "TOOK", "ENDED"):
        table.add_column(title)
    for p in past:
        took = spoken(p.ended - p.started)
        table.add_row(str(p.number), p.stable, p.canary, p.phase, p.reason or "", took, at(p.ended, date=True))
    Console(highlight=False, width=None if sys.stdout.isatty() else 1000).print(table)


def mute(stream: TextIO) -> None:
    """Let a stream that nobody reads any more end in nothing, so that neither a line nor our exit fails for it."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


class Teller:
    """Tells each change once: a moving view on a terminal, a line in a pipe."""

    def __init__(self, live: Live | None, quiet: bool) -> None:
        self._live, self._quiet = live, quiet
        self._told = Entry(0.0, "")
        self._notice = ""

    def __call__(self, attempt: Attempt | None, notice: str = "") -> None:
        """Show where the attempt stands; `notice` is what we wait for. Never fails: driving matters more."""
        try:
            self._tell(attempt, notice)
        except OSError:  # whoever read this went away
            mute(sys.stderr if self._quiet else sys.stdout)

    def _tell(self, attempt: Attempt | None, notice: str) -> None:
        if self._live:
            self._live.start()  # not before there is something to show: a question may come first
            self._live.update(view(attempt, notice))
            return
        news, self._notice = notice.split(" in ", maxsplit=1)[0] != self._notice, notice.split(" in ", maxsplit=1)[0]
        if notice and news:
            self._line(clock.now(), notice)
        journal = attempt.journal if attempt else ()
        for entry in journal[journal.index(self._told) + 1 if self._told in journal else 0 :]:
            self._told = entry
            self._line(entry.at, entry.text)

    def _line(self, when: float, text: str) -> None:
        print(f"{at(when)}  {text}", file=sys.stderr if self._quiet else sys.stdout, flush=True)


def view(attempt: Attempt | None, notice: str = "") -> Panel:
    """The live view: who has how much, the last verdict, the last lines of the journal."""
    if attempt is None:
        return Panel(notice or "nothing in flight")
    share = float(attempt.weight)
    color = COLORS.get(attempt.phase, "cyan")
    bar = Table.grid(expand=True, padding=(0, 1))
    bar.add_column()
    bar.add_column(ratio=1)
    bar.add_column()
    bar.add_row(
        Text.assemble((attempt.stable, "bold"), f" {100 - share:g} %"),
        ProgressBar(total=100, completed=100 - share, complete_style="bright_black", finished_style="bright_black",
                    style=color),
        Text.assemble(f"{share:g} % ", (attempt.canary, "bold")),
    )  # fmt: skip
    lines: list[RenderableType] = [bar, Text("")]
    if attempt.last:
        lines += [Text.assemble((f"{attempt.last.verdict}  ", "bold"), attempt.last.text)]
        lines += [_evidence(attempt.last)] if attempt.strategy.checks else []
    lines += [Text(one.text, style=EFFECTS[one.effect]) for one in attempt.measured]
    lines += (
        [Text(attempt.probed.text, style="bold" if attempt.probed.outcome is Outcome.FAILED else "")]
        if attempt.probed
        else []
    )
    lines += [Text("")] if attempt.last or attempt.measured or attempt.probed else []
    lines += [Text.assemble((at(e.at), "dim"), f"  {e.text}") for e in attempt.journal[-SHOWN:]]
    if notice:
        lines.append(Text(notice, style="yellow"))
    stood = spoken(max(0.0, (attempt.ended or clock.now()) - attempt.started))
    title = f"[bold]{attempt.service}[/]  {attempt.strategy.name}  [{color}]{attempt.phase}[/]  {stood}"
    return Panel(Group(*lines), title=title, title_align="left", border_style=color)


def _evidence(last: Reading) -> Table:
    """How far the evidence is, both ways."""
    table = Table.grid(padding=(0, 1))
    for title, part, style in (("to go on", last.to_go_on, "green"), ("to go back", last.to_go_back, "red")):
        bar = ProgressBar(total=1.0, completed=part, width=BAR, complete_style=style, finished_style=style)
        table.add_row(Text(f"evidence {title}", style="dim"), bar, f"{part:.0%}")
    return table


@contextmanager
def teller(output: str) -> Iterator[Teller]:
    """A teller that fits where it speaks."""
    console = Console(stderr=output == "json")
    if not console.is_terminal:
        yield Teller(None, output == "json")
        return
    live = Live(console=console, refresh_per_second=8)
    try:
        yield Teller(live, output == "json")
    finally:
        live.stop()
