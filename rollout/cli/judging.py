"""Judge a stream of looks that somebody else took: one line in, one verdict out."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from rollout.adapters.look_lines import Implausible, Line, parsed
from rollout.core.attempt import Reading, Verdict
from rollout.core.strategy import Strategy
from rollout.judge.judge import Evidence, Terms, edges_of, judged, read, resting
from rollout.judge.looks import Look, altogether
from rollout.judge.telling import reading

NAMES = ("stable", "canary")


@dataclass(frozen=True)
class Told:
    """One answer: at what time, the reading, the total e-value, and what was wrong with the line."""

    at: float
    reading: Reading
    evidence: float
    note: str = ""

    def document(self) -> dict[str, Any]:
        """The answer as people's scripts read it."""
        made = {
            "at": self.at,
            "verdict": str(self.reading.verdict),
            "check": self.reading.check,
            "evidence": float(f"{self.evidence:.6g}"),
            "p_value": float(f"{self.reading.luck:.6g}"),
        }
        return made | ({"note": self.note} if self.note else {})


class Stream:
    """The judge over lines. The stream decides the weights; looks at weight 0 before the first step are history."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._evidence = Evidence(at=-math.inf)
        self._past: list[Look] = []
        self._terms = _terms(strategy, None)
        self._before: float | None = None

    def answers(self, lines: Iterable[str]) -> Iterator[Told]:
        """An answer for each line that is not empty."""
        for number, text in enumerate(lines, 1):
            if text.strip():
                yield self._answer(text, number)

    def _answer(self, text: str, number: int) -> Told:
        try:
            line = parsed(text, number, self._before)
        except Implausible as error:
            return self._told(self._before or 0.0, str(error))
        self._before = line.look.at
        if not line.weight and not self._terms.weight:
            self._past.append(line.look)
            return self._told(line.look.at)
        if line.weight != self._terms.weight:
            self._remember()
            self._terms = _terms(self._strategy, line)
        self._evidence = judged(self._evidence, line.look, self._terms)
        return self._told(line.look.at)

    def _remember(self) -> None:
        """Read the history, whose whole histogram says at which edges slow answers are counted."""
        checks = self._strategy.checks
        if not self._evidence.edges:
            answers = altogether(look.stable for look in self._past).answers
            self._evidence = replace(self._evidence, edges=edges_of(checks, answers))
        self._evidence, self._past = resting(self._evidence, self._past, checks), []

    def _told(self, at: float, note: str = "") -> Told:
        longest = self._strategy.step_at(self._terms.weight).bake.max
        overdue = self._terms.since is not None and at - self._terms.since >= longest
        found = read(self._evidence, self._strategy.checks, overdue)
        said = reading(self._evidence, found, NAMES)
        if note and said.verdict not in (Verdict.ROLLBACK, Verdict.DOUBT):
            said = replace(said, verdict=Verdict.NO_DATA)
        return Told(at, said, math.exp(min(found.harm, 690.0)), note)


def _terms(strategy: Strategy, line: Line | None) -> Terms:
    """The circumstances from a line on, whose weight differs from the one before."""
    if line is None:
        return Terms(strategy.checks, strategy.steps[0].weight * 0, None, 0.0)
    return Terms(strategy.checks, line.weight, line.look.since, strategy.margin_at(line.weight))
