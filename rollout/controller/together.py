"""Rollouts that await the counters of the same moment ask for them in one question (decision 0020)."""

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rollout.adapters import clock
from rollout.core.errors import Unavailable, Unintelligible, Unreachable
from rollout.core.query import Points
from rollout.judge.looks import Snapshot
from rollout.ports import Asked, Edges, Metrics, Settled, Target

T = TypeVar("T")
MOST = 50
"""Targets of one question: what it costs to take its answer apart delays them all."""
FRESH = 0.25
"""Seconds for which an answer that came too early is as good as one that is asked for now."""
ALONE, LONGEST = 60.0, 3600.0
"""Seconds without questions for many, after one that could not be answered: it may be one of them, or too much. After
the next twice as many, and so on."""
LONG = 1.0
"""Seconds after which no answer is a sign that the store hangs; who refuses at once does not."""
PAST = 600.0
"""Seconds after which who asked no more is forgotten."""


@dataclass
class _Follower:
    """Who looks at one target again and again."""

    edges: Edges = ()
    at: float = 0.0
    """The moment that was asked for last."""
    pace: float = 0.0
    """Seconds between that and the one before; 0 while nothing tells."""
    there: bool = False
    """Whether the counters of that moment were there: then the next is the one after."""
    asked: float = 0.0
    answer: tuple[float, Settled] | None = None
    """What came for the next moment in somebody else's question, and when; it is taken once."""
    under_way: bool = False
    failed: Unreachable | None = None
    """Why the question in which it was asked for last got no answer."""

    @property
    def next(self) -> float:
        """The moment that will be asked for next, as far as the last two tell; infinite where they do not."""
        return self.at if not self.there else self.at + self.pace if self.pace else float("inf")

    def known(self, edges: Edges, at: float, now: float) -> Settled | None:
        """The answer, if it is to this question."""
        if self.answer is None or self.edges != edges or not _same(self.next, at):
            return None
        came, found = self.answer
        return found if _settled(found[1], at) or now - came <= FRESH else None

    def took(self, edges: Edges, at: float, horizon: float | None, now: float) -> None:
        """Remember what it asked for, and whether that was there."""
        if not _same(self.at, at):
            self.pace = max(0.0, at - self.at) if self.there else 0.0
        self.edges, self.at, self.there, self.asked, self.answer = edges, at, _settled(horizon, at), now, None


def _same(one: float, other: float) -> bool:
    """Whether two moments are the same to the millisecond, which is what is asked for."""
    return abs(one - other) < 0.0005


def _settled(horizon: float | None, at: float) -> bool:
    return horizon is not None and at <= horizon


class Together:
    """The Metrics port before another one, for many who look at a target each.

    Whoever asks for the counters of a moment asks also for others of the same namespace who will ask for the same
    moment, which their last two questions tell. What was counted at a moment that has passed never changes, so it is
    theirs whenever they come for it.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.answered = 0.0
        """When the port behind this one answered last, or refused at once (epoch seconds)."""
        self._groups: defaultdict[tuple[str, str], dict[Target, _Follower]] = defaultdict(dict)
        """By namespace and reporter."""
        self._turn = threading.Condition()
        self._alone_until, self._alone = 0.0, ALONE

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        """See the port."""
        if len(asked) != 1:
            return self._heard(lambda: self._metrics.settled(asked, at))
        ((target, edges),) = asked.items()
        with self._turn:
            group = self._groups[target.namespace, target.reporter]
            mine = group.setdefault(target, _Follower())
            if mine.under_way:
                self._turn.wait_for(lambda: not mine.under_way)
                if mine.failed is not None:  # who waited for one answer does not wait for another
                    raise type(mine.failed)(str(mine.failed))
                group[target] = mine
            now = clock.now()
            found = mine.known(edges, at, now)
            if found is not None:
                mine.took(edges, at, found[1], now)
                return {target: found}
            batch = self._batch(group, target, edges, at)
            for one in batch:
                group[one].under_way, group[one].failed = True, None
        return {target: self._asked(group, batch, target, at)}

    def _batch(self, group: dict[Target, _Follower], target: Target, edges: Edges, at: float) -> dict[Target, Edges]:
        """The target, and who will ask for the same; who asked no more for a long time is forgotten here."""
        now = clock.now()
        for one in [one for one, other in group.items() if other.asked < now - PAST and not other.under_way]:
            if one != target:
                del group[one]
        batch = {target: edges}
        if now >= self._alone_until:
            for one, other in group.items():
                waits = not other.under_way and _same(other.next, at) and other.known(other.edges, at, now) is None
                if waits and len(batch) < MOST:
                    batch.setdefault(one, other.edges)
        return batch

    def _asked(self, group: dict[Target, _Follower], batch: dict[Target, Edges], target: Target, at: float) -> Settled:
        found: dict[Target, Settled] = {}
        failed: Unreachable | None = None
        try:
            found = self._question(batch, target, at)
        except Unreachable as error:
            failed = error
            raise
        finally:
            now = clock.now()
            with self._turn:
                for one in batch:
                    group[one].under_way, group[one].failed = False, failed
                    if one in found:
                        group[one].answer = now, found[one]
                if target in found:
                    group[target].took(batch[target], at, found[target][1], now)
                self._turn.notify_all()
        return found[target]

    def _question(self, batch: dict[Target, Edges], target: Target, at: float) -> dict[Target, Settled]:
        try:
            found = self._heard(lambda: self._metrics.settled(batch, at))
            if len(batch) > 1:
                self._alone = ALONE
            return found
        except Unreachable as error:
            if len(batch) == 1:
                raise
            self._alone_until = clock.now() + self._alone
            if not isinstance(error, Unintelligible):
                raise
            self._alone = min(2 * self._alone, LONGEST)
        return self._heard(lambda: self._metrics.settled({target: batch[target]}, at))

    def _heard(self, question: Callable[[], T]) -> T:
        """What the port behind this one answers; that it did is remembered, though what it said be of no use."""
        began, answered = clock.now(), True
        try:
            return question()
        except Unavailable as error:
            answered = isinstance(error, Unintelligible) or clock.now() - began < LONG
            raise
        finally:
            if answered:
                self.answered = clock.now()

    def snapshots(self, target: Target, start: float, end: float, step: float, edges: Edges = ()) -> list[Snapshot]:
        """See the port."""
        return self._heard(lambda: self._metrics.snapshots(target, start, end, step, edges))

    def horizon(self, target: Target) -> float | None:
        """See the port."""
        return self._heard(lambda: self._metrics.horizon(target))

    def interval(self, target: Target) -> float | None:
        """See the port."""
        return self._heard(lambda: self._metrics.interval(target))

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        """See the port."""
        return self._heard(lambda: self._metrics.values(promql, start, end, step))
