"""The comparison in Markdown, from lines of JSON: `python -m bench.controller.table FILE...`.

Of two lines of the same controller in the same case the later one counts. With `--write` it goes into the README.
"""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.controller.candidate import Candidate
from bench.controller.ours import Ours

Line = dict[str, Any]
Case = tuple[str, int, float]
"""Scenario, services, and the seconds of a bake."""
TITLES = {"flagger": "Flagger", "argo": "Argo Rollouts", "ours": "rollout"}
README = Path(__file__).parents[2] / "README.md"
RESULTS = Path(__file__).with_name("results.jsonl")
BEGIN, END = "<!-- measured: python -m bench.controller.comparison -->\n", "<!-- measured -->\n"


@dataclass(frozen=True)
class Figure:
    """A row: how a controller's numbers are shown, and the one that is compared, where less is better."""

    scenario: str
    title: str
    shown: Callable[[Line], str]
    value: Callable[[Line], float] | None = None


def _spread(key: str) -> Callable[[Line], str]:
    def shown(line: Line) -> str:
        found = line[key]
        return f"{found['median']:.3g} ({found['min']:.3g} to {found['max']:.3g})" if found else "never"

    return shown


def _median(key: str) -> Callable[[Line], float]:
    return lambda line: float(line[key]["median"]) if line[key] else float("inf")


def _number(scenario: str, title: str, key: str) -> Figure:
    return Figure(scenario, title, lambda line: f"{line[key]:.3g}", lambda line: float(line[key]))


FIGURES = (
    _number("idle", "idle: requests for each service and second", "requests_per_service_second"),
    _number("idle", "idle: s of CPU a minute", "cpu_minute"),
    _number("rollout", "requests for one rollout", "requests_per_rollout"),
    _number("rollout", "s of CPU for one rollout", "cpu_per_rollout"),
    Figure("bake", "s that a weight stood", _spread("baked")),
    Figure(
        "reaction", "s from the deciding sample to weight 0", _spread("sample_to_zero"), _median("sample_to_zero")
    ),
    Figure("reaction", "s from the fault to weight 0", _spread("flip_to_zero"), _median("flip_to_zero")),
    Figure(
        "reaction-loaded", "s from the deciding sample to weight 0 while all roll", _spread("sample_to_zero"),
        _median("sample_to_zero"),
    ),
    Figure("kill", "killed in a bake: s that it lasted", _spread("stood_at_25")),
    Figure(
        "outage", "metrics gone for 60 s: rolled back, moved on, promoted later",
        lambda at: f"{at['rolled_back']}, {at['moved_on']}, {at['promoted_afterwards']}",
    ),
    Figure("drift", "s until a raised weight is back", _spread("back_at_25"), _median("back_at_25")),
    Figure("drift", "foreign timeouts kept", lambda at: f"{at['timeout_kept']} of {at['timed']}"),
    _number("memory", "MiB while idle", "idle"),
    _number("memory", "MiB with up to 200 in flight", "flying"),
    _number("start", "s until all were looked at after a start", "looked_at_all"),
)  # fmt: skip


def table(lines: Iterable[Line]) -> str:
    """All figures of which there is a number."""
    cases: dict[Case, dict[str, dict[str, Line]]] = {}
    for line in lines:
        case = cases.setdefault((line["scenario"], line["services"], line["bake"]), {})
        case.setdefault(line["controller"], {})[_otherwise(line)] = line
    if not cases:
        return ""
    rows = [f"| figure | {' | '.join(TITLES.values())} | best peer / rollout |", "|---" * (len(TITLES) + 2) + "|"]
    for figure in FIGURES:
        for (scenario, services, bake), case in sorted(cases.items()):
            if scenario == figure.scenario:
                where = f"{figure.title}; {services} services" + f", bake {bake:g} s" * (scenario in ("bake", "kill"))
                cells = [_cell(figure, case.get(name, {})) for name in TITLES]
                rows.append(f"| {where} | {' | '.join(cells)} | {_ratio(figure, case)} |")
    return "\n".join(rows)


def _otherwise(line: Line) -> str:
    """What was otherwise than it is by default."""
    own = Ours.interval if line["controller"] == Ours.name else Candidate.interval
    told = [f"looks each {line['interval']:g} s"] if line["interval"] != own else []
    return ", ".join([*told, *(["limits raised"] if line["raised"] else [])])


def _cell(figure: Figure, found: dict[str, Line]) -> str:
    return "; ".join(figure.shown(line) + f" with {other}" * bool(other) for other, line in sorted(found.items()))


def _ratio(figure: Figure, case: dict[str, dict[str, Line]]) -> str:
    """How many times as much the best peer takes."""
    if not figure.value or "ours" not in case or not case.keys() - {"ours"}:
        return ""
    ours = min(map(figure.value, case["ours"].values()))
    best = min(figure.value(line) for name in case.keys() - {"ours"} for line in case[name].values())
    if not ours:
        return "both 0" if not best else "rollout 0"
    return f"{best / ours:.2g}"


def recorded() -> list[Line]:
    """What was measured last, and is told."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def put(text: str, measured: str) -> str:
    """The README with this table in its place, if it has one."""
    before, begin, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    told = f"{measured}\n" if measured else ""
    return f"{before}{BEGIN}{told}{END}{after}" if begin else text


if __name__ == "__main__":
    named = [name for name in sys.argv[1:] if name != "--write"]
    found = [json.loads(line) for name in named for line in Path(name).read_text().splitlines() if line[:1] == "{"]
    made = table(found or recorded())
    print(made)
    if "--write" in sys.argv:
        README.write_text(put(README.read_text(), made))
