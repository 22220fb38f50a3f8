"""Names that are due, each at its time: one name is never in two hands, and never twice in the line."""

import heapq
import math
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Queue(Generic[T]):
    """Names with the moment (by the `clock`, in seconds) at which each is due. Safe for threads.

    What becomes due while somebody has it in hand is due again as soon as that one gives it back. Of those who wait one
    watches the clock, and the rest sleep until it has taken what was due: else all would wake for each name.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._watcher, self._sleepers = threading.Condition(self._lock), threading.Condition(self._lock)
        self._watched = False
        self._due: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0
        self._held: set[T] = set()
        self._closed = False

    def add(self, name: T, at: float) -> None:
        """Make it due at `at`, unless it is due before."""
        with self._lock:
            if at < self._due.get(name, math.inf):
                self._due[name] = at
                if name not in self._held:
                    self._push(name)

    def take(self, timeout: float = 0.0) -> T | None:
        """The name that has been due for longest, now in the caller's hand until `done`.

        Waits so many seconds until one is due; None if none is, or the queue is closed.
        """
        with self._lock:
            end = self._clock() + timeout
            while not self._closed:
                now, at = self._clock(), self._next()
                if at <= now:
                    _, _, name = heapq.heappop(self._heap)
                    del self._due[name]
                    self._held.add(name)
                    self._wake()
                    return name
                if now >= end:
                    break
                self._wait(now, at, end)
            self._wake()
            return None

    def _wait(self, now: float, at: float, end: float) -> None:
        if self._watched:
            self._sleepers.wait(end - now)
            return
        self._watched = True
        self._watcher.wait(min(at, end) - now)
        self._watched = False

    def _wake(self) -> None:
        """Let somebody look at the clock again, for it may show another time to wait for."""
        (self._watcher if self._watched else self._sleepers).notify()

    def done(self, name: T) -> None:
        """Give a name back."""
        with self._lock:
            self._held.discard(name)
            if name in self._due:
                self._push(name)

    def close(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._closed = True
            self._watcher.notify_all()
            self._sleepers.notify_all()

    def __len__(self) -> int:
        """How many wait, due or not."""
        with self._lock:
            return len(self._due)

    def _push(self, name: T) -> None:
        if len(self._heap) > 2 * len(self._due) + 64:  # most are of names that were made due at another time since
            self._heap = [one for one in self._heap if self._due.get(one[2]) == one[0] and one[2] not in self._held]
            heapq.heapify(self._heap)
        self._count += 1
        heapq.heappush(self._heap, (self._due[name], self._count, name))
        if self._heap[0][2] == name:
            self._wake()

    def _next(self) -> float:
        while self._heap:
            at, _, name = self._heap[0]
            if self._due.get(name) == at and name not in self._held:
                return at
            heapq.heappop(self._heap)  # it was made due at another time since
        return math.inf
