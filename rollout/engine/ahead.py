"""The counters of the next look come in one answer with the horizon, and those of the last one are still known."""

from rollout.core.query import Points
from rollout.judge.looks import Snapshot
from rollout.ports import Asked, Edges, Metrics, Settled, Target

FEW = 2000
"""Counters that are kept for the next look, at most; more are asked for again."""


class Ahead:
    """A Metrics port for who looks at one target again and again: one question for each look in place of two."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._whose: tuple[Target, Edges] | None = None
        self._kept: list[Snapshot] = []
        self._next = 0.0

    def expect(self, at: float) -> None:
        """The next look ends at that moment (epoch seconds), and begins where the last one ended."""
        self._next = at

    def horizon(self, target: Target) -> float | None:
        """See the port. With it come the counters of the next look, if they are there.

        After a question that was not answered the horizon alone is asked for: a store may know that, and not the other.
        """
        at, self._next = self._next, 0.0
        if not at or not self._kept or self._whose is None or self._whose[0] != target:
            return self._metrics.horizon(target)
        snapshot, horizon = self._metrics.settled({target: self._whose[1]}, at)[target]
        if horizon is not None and at <= horizon:
            self._kept = [self._kept[0], snapshot]
        else:
            self._next = at
        return horizon

    def snapshots(self, target: Target, start: float, end: float, step: float, edges: Edges = ()) -> list[Snapshot]:
        """See the port. What lies before the horizon never changes, so what is known of it is not asked for again."""
        times = [round(start, 3), round(end, 3)]
        known = self._whose == (target, edges) and [round(one.at, 3) for one in self._kept] == times
        found = (
            self._kept if known and step == end - start else self._metrics.snapshots(target, start, end, step, edges)
        )
        self._whose, self._kept = (target, edges), [one for one in found[-1:] if len(one.counters) <= FEW]
        return found

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        """See the port."""
        return self._metrics.settled(asked, at)

    def interval(self, target: Target) -> float | None:
        """See the port."""
        return self._metrics.interval(target)

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        """See the port."""
        return self._metrics.values(promql, start, end, step)
