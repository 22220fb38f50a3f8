"""Counters kept as files, one a second: what the playground has instead of Prometheus."""

import json
import math
from collections.abc import Container
from pathlib import Path

from rollout.adapters import clock
from rollout.core.errors import InvalidInput, Unavailable
from rollout.core.query import Points
from rollout.judge.looks import ALL, FAILED, REJECTED, Series, Snapshot, within
from rollout.ports import Asked, Edges, Settled, Target

FRESH = 3.0
KEPT = 1200
ALIVE = 10
Row = tuple[str, str, str, str, str, float]
"""Reporter (as `Target` has it), instance, destination service, version, outcome (as `Series` has it), requests."""


class CounterFiles:
    """A Metrics port over a folder of snapshots named by their epoch second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, second: int, rows: list[Row]) -> None:
        """Write the counters of one second; forget those older than KEPT seconds."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{second}.tmp"
        temporary.write_text(json.dumps(rows))
        temporary.replace(self._folder / f"{second}.json")
        (self._folder / f"{second - KEPT}.json").unlink(missing_ok=True)

    def snapshots(self, target: Target, start: float, end: float, step: float, edges: Edges = ()) -> list[Snapshot]:
        """See the port. A moment takes the latest second that is not after it, at most FRESH seconds old."""
        times = [start + step * i for i in range(round((end - start) / step) + 1)]
        outcomes = {ALL, FAILED, REJECTED, *map(within, (*edges, math.inf) if edges else ())}
        return [Snapshot(at, self._counters(target, at, None if edges is None else outcomes)) for at in times]

    def _counters(self, target: Target, at: float, outcomes: Container[str] | None) -> dict[Series, float]:
        """The counters of these outcomes; with None, of all."""
        for age in range(int(FRESH) + 1):
            rows = self._rows(int(at) - age, target)
            if rows is not None:
                mine = (row for row in rows if outcomes is None or row[4] in outcomes)
                return {Series(row[1], row[3], row[4]): row[5] for row in mine}
        return {}

    def _rows(self, second: int, target: Target) -> list[Row] | None:
        """What was kept of a second that concerns the target; None: nothing was kept."""
        try:
            rows = json.loads((self._folder / f"{second}.json").read_text())
        except FileNotFoundError:
            return None
        return [row for row in rows if row[0] == target.reporter and row[2] == target.service]

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        """See the port."""
        return {
            target: (self.snapshots(target, at, at, 1.0, edges)[0], self.horizon(target))
            for target, edges in asked.items()
        }

    def horizon(self, target: Target) -> float | None:
        """The latest second that was kept, if it has counters of theirs."""
        now = int(clock.now())
        for second in range(now, now - ALIVE, -1):
            rows = self._rows(second, target)
            if rows is not None:
                return float(second) if rows else None
        raise Unavailable(f"no counters in {self._folder} for {ALIVE} s; is the playground up?")

    def interval(self, target: Target) -> float | None:
        """Each second."""
        del target
        return 1.0

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        """Nobody here knows PromQL."""
        del promql, start, end, step
        raise InvalidInput("the playground has counters only, and this takes a Prometheus (--prometheus URL)")
