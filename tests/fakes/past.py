"""A store that has counted a release whose truth is known: what the lab's traffic did while the weights changed."""

import math
from collections import Counter
from collections.abc import Sequence

from rollout.judge.looks import ALL, FAILED, Arm, Series, Snapshot, within
from rollout.lab.traffic import EDGES, Traffic, Truth
from rollout.ports import Target
from tests.fakes.unqueried import Unqueried

BEGAN = 1_764_000_000.0
"""When the first weight was set."""
HISTORY = 1800.0
EVERY = 15.0


class Past(Unqueried):
    """A Metrics port over a release with weights as (seconds, percent), in looks of EVERY seconds.

    Before `since` (epoch seconds) the store has forgotten everything; `reporter` is who counted.
    """

    def __init__(
        self, truth: Truth, weights: Sequence[tuple[float, float]], seed: int = 1, since: float = 0.0,
        reporter: str = "source",
    ) -> None:  # fmt: skip
        self._reporter, self._since = reporter, since
        traffic = Traffic(truth, seed, start=-HISTORY, timed=True)
        counters: Counter[Series] = Counter({Series(f"client-{i}", "v1", ALL): 1 for i in range(truth.instances)})
        self._kept = {BEGAN - HISTORY: dict(counters)}
        for seconds, weight in ((HISTORY, 0), *weights):
            for _ in range(round(seconds / EVERY)):
                for one in traffic.advance(EVERY, weight).increments:
                    counters.update(self._counted(one.instance, "v1", one.stable))
                    counters.update(self._counted(one.instance, "v2", one.canary))
                self._kept[BEGAN + traffic.at] = dict(counters)
        self.ended = BEGAN + traffic.at
        self.truth = {
            version: sum(n for s, n in counters.items() if (s.version, s.outcome) == (version, FAILED))
            for version in ("v1", "v2")
        }

    def _counted(self, client: str, version: str, arm: Arm) -> dict[Series, int]:
        if not arm.requests:
            return {}
        instance = client if self._reporter == "source" else f"{version}-{client}"
        answers = {within(edge): count for edge, count in arm.answers}
        counts = {ALL: arm.requests, FAILED: arm.failures} | answers
        return {Series(instance, version, outcome): count for outcome, count in counts.items()}

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        times = [start + step * i for i in range(round((end - start) / step) + 1)]
        assert len(times) <= 11_000, "more than Prometheus answers at once"
        outcomes = {ALL, FAILED, *map(within, EDGES if edges is None else (*edges, math.inf) if edges else ())}
        named = {target.stable, target.canary} - {""}
        return [Snapshot(at, self._at(at, outcomes, named, target.reporter)) for at in times]

    def _at(self, at: float, outcomes: set[str], named: set[str], reporter: str) -> dict[Series, float]:
        kept = self._kept.get(min(self.ended, EVERY * math.floor(at / EVERY + 1e-9)))
        if kept is None or at < self._since or reporter != self._reporter:
            return {}
        return {s: float(n) for s, n in kept.items() if s.outcome in outcomes and (not named or s.version in named)}

    def horizon(self, target: Target) -> float | None:
        return self.ended

    def interval(self, target: Target) -> float | None:
        return EVERY
