"""The comparison in Markdown, from lines of JSON: `python -m bench.controller.table FILE...`.

Of two lines of the same controller in the same case the later one counts.
"""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Line = dict[str, Any]
PEERS = ("flagger", "argo")
EVERY = (*PEERS, "ours")


@dataclass(frozen=True)
class Figure:
    """A row: how a controller's numbers are shown, and the one that is compared, where less is better."""

    scenario: str
    title: str
    shown: Callable[[Line], str]
    value: Callable[[Line], float] | None = None


def _spread(line: Line, key: str) -> str:
    found = line[key]
    return f"{found['median']:g} ({found['min']:g} to {found['max']:g})" if found else "never"


def _median(key: str) -> Callable[[Line], float]:
    return lambda line: float(line[key]["median"]) if line[key] else float("nan")


def _number(key: str) -> Callable[[Line], float]:
    return lambda line: float(line[key])


FIGURES = (
    Figure(
        "idle", "idle: requests for each service and second", lambda at: f"{at['requests_per_service_second']:g}",
        _number("requests_per_service_second"),
    ),
    Figure("idle", "idle: s of CPU a minute", lambda at: f"{at['cpu_minute']:g}", _number("cpu_minute")),
    Figure(
        "rollout", "requests for one rollout", lambda at: f"{at['requests_per_rollout']:g}",
        _number("requests_per_rollout"),
    ),
    Figure("rollout", "s of CPU for one rollout", lambda at: f"{at['cpu_per_rollout']:g}", _number("cpu_per_rollout")),
    Figure("rollout", "s that a weight stood", lambda at: _spread(at, "baked")),
    Figure("bake", "s that a weight stood", lambda at: _spread(at, "baked")),
    Figure(
        "reaction", "s from the deciding sample to weight 0", lambda at: _spread(at, "sample_to_zero"),
        _median("sample_to_zero"),
    ),
    Figure("reaction", "s from the fault to weight 0", lambda at: _spread(at, "flip_to_zero"), _median("flip_to_zero")),
    Figure(
        "reaction-loaded", "s from the deciding sample to weight 0 while all roll",
        lambda at: _spread(at, "sample_to_zero"), _median("sample_to_zero"),
    ),
    Figure("kill", "killed in a bake: s that it lasted", lambda at: _spread(at, "stood_at_25")),
    Figure(
        "outage", "metrics gone for 60 s: rolled back, moved on, promoted later",
        lambda at: f"{at['rolled_back']}, {at['moved_on']}, {at['promoted_afterwards']}",
    ),
    Figure("drift", "s until a raised weight is back", lambda at: _spread(at, "back_at_25"), _median("back_at_25")),
    Figure("drift", "foreign timeouts kept", lambda at: f"{at['timeout_kept']} of {at['timed']}"),
    Figure("memory", "MiB while idle", lambda at: f"{at['idle']:g}", _number("idle")),
    Figure("memory", "MiB with up to 200 in flight", lambda at: f"{at['flying']:g}", _number("flying")),
)  # fmt: skip


def table(lines: Iterable[Line]) -> str:
    """All figures of which there is a number."""
    cases: dict[tuple[str, int, float], dict[str, Line]] = {}
    for line in lines:
        name = line["controller"] + f", looks each {line['interval']:g} s" * (line["interval"] != 10)
        name += ", limits raised" * line["raised"]
        cases.setdefault((line["scenario"], line["services"], line["bake"]), {})[name] = line
    columns = sorted({name for case in cases.values() for name in case}, key=lambda name: (_place(name), name))
    rows = ["| figure | services | bake | " + " | ".join(columns) + " | best peer / ours |"]
    rows.append("|---" * (len(columns) + 4) + "|")
    for figure in FIGURES:
        for (scenario, services, bake), case in sorted(cases.items()):
            if scenario == figure.scenario:
                cells = [figure.shown(case[name]) if name in case else "" for name in columns]
                where = f"| {figure.title} | {services} | {bake:g} s | "
                rows.append(f"{where}{' | '.join(cells)} | {_ratio(figure, case)} |")
    return "\n".join(rows)


def _place(name: str) -> int:
    return EVERY.index(name.partition(",")[0])


def _ratio(figure: Figure, case: dict[str, Line]) -> str:
    """How many times as much the best peer takes."""
    theirs = [figure.value(line) for name, line in case.items() if figure.value and not name.startswith("ours")]
    if not figure.value or not theirs or "ours" not in case:
        return ""
    ours, best = figure.value(case["ours"]), min(theirs)
    if not ours:
        return "both 0" if not best else "ours 0"
    return f"{best / ours:.2g}"


if __name__ == "__main__":
    texts = [Path(name).read_text() for name in sys.argv[1:]] or [sys.stdin.read()]
    print(table(json.loads(line) for text in texts for line in text.splitlines() if line.startswith("{")))
