"""A metrics store that hangs holds few of those who ask it, and soon nobody: the rest have other things to do."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from rollout.adapters import clock
from rollout.controller.together import Together
from rollout.core.errors import Unavailable
from rollout.core.query import Points
from rollout.judge.looks import Snapshot
from rollout.ports import Asked, Edges, Settled, Target

T = TypeVar("T")
PATIENCE = 0.5
"""Seconds to wait until one of those who ask is answered."""


class Turnstile:
    """The Metrics port before the shared one, which at most `most` ask at once.

    While the store hangs nobody waits for it: who asks is told so at once, and what was asked goes to the store from a
    thread of its own, until one such question is answered. Whether it lives is told by what the store says itself,
    never by what one who asks is told: that may have been known already, or be what another was told.
    """

    def __init__(self, metrics: Together, most: int) -> None:
        self._metrics = metrics
        self._free = threading.Semaphore(most)
        self._hangs = ""

    def snapshots(self, target: Target, start: float, end: float, step: float, edges: Edges = ()) -> list[Snapshot]:
        """See the port."""
        return self._asked(lambda: self._metrics.snapshots(target, start, end, step, edges))

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        """See the port."""
        return self._asked(lambda: self._metrics.settled(asked, at))

    def horizon(self, target: Target) -> float | None:
        """See the port."""
        return self._asked(lambda: self._metrics.horizon(target))

    def interval(self, target: Target) -> float | None:
        """See the port."""
        return self._asked(lambda: self._metrics.interval(target))

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        """See the port."""
        return self._asked(lambda: self._metrics.values(promql, start, end, step))

    def _asked(self, question: Callable[[], T]) -> T:
        if not self._free.acquire(timeout=0.0 if self._hangs else PATIENCE):
            raise Unavailable(self._hangs or "those who ask the metrics store wait for it, and more may not")
        if hangs := self._hangs:  # maybe since a moment ago: whose turn this was waited for nothing
            threading.Thread(target=self._tried, args=(question,), daemon=True).start()
            raise Unavailable(hangs)
        return self._put(question)

    def _tried(self, question: Callable[[], object]) -> None:
        with suppress(Exception):  # nobody waits to hear it
            self._put(question)

    def _put(self, question: Callable[[], T]) -> T:
        """Ask, and give the turn back. Where others were answered meanwhile the question is slow, and not the store."""
        began, silent = clock.now(), ""
        try:
            return question()
        except Unavailable as error:
            silent = str(error)
            raise
        finally:
            if self._metrics.answered >= began:
                self._hangs = ""
            elif silent:
                self._hangs = silent
            self._free.release()
