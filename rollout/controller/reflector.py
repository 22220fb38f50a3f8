"""One thread for each scope that is watched: list, then watch, for ever; and whoever needs a scope shares it."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from rollout.adapters import clock
from rollout.controller.cache import Cache, Scope
from rollout.core.documents import Document, version_of
from rollout.core.errors import Expired, Forbidden, InvalidInput
from rollout.ports import Change, Watch, Watchable

WATCH = 300.0
"""Seconds that a watch is asked for; up to twice as long, so that they do not all end at once."""
FIRST, LONGEST = 0.5, 30.0
"""Seconds before we ask again where nobody answered, at first and at most."""
SELDOM = 600.0
"""The same where we may not: rights seldom come by themselves."""
BRIEF = 1.0
"""A watch that ends sooner is followed by another only after that."""


@dataclass(frozen=True)
class Health:
    """Of one scope: whether it is followed, when the server last gave a sign of life, and what is wrong, in words."""

    synced: bool
    alive: float
    trouble: str


class Reflector:
    """Keeps one scope of a cache as the cluster has it, in a thread of its own."""

    def __init__(self, cluster: Watchable, cache: Cache, scope: Scope) -> None:
        self._cluster, self._cache, self.scope = cluster, cache, scope
        self._synced, self._stopped = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._version = ""
        self._failures = 0
        self._lists = not scope.labels
        """Whether it begins with a list, in pages: what has labels is little, and comes with the watch, if it can."""
        self._random = random.Random()  # noqa: S311 - it spreads requests
        self._alive, self._trouble = clock.now(), ""
        self._thread = threading.Thread(target=self._run, name=f"watch {scope}", daemon=True)
        cache.cover(scope)
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds until the scope was listed once; whether it was."""
        return self._synced.wait(timeout)

    def stop(self) -> None:
        """End the watch, wherever it is. Does not wait for that."""
        self._stopped.set()
        with self._lock:
            if self._watch is not None:
                self._watch.close()

    @property
    def health(self) -> Health:
        """See `Health`."""
        return Health(self._cache.synced(self.scope), self._alive, self._trouble)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                rest = self._follow()
            except Expired as error:
                self._version = ""
                rest = self._failed(error) if self._failures else 0.0  # the first time that is no failure: list at once
                self._failures += 1
            except InvalidInput as error:
                rest = self._failed(error) if self._lists else 0.0
                self._lists = True
            except Exception as error:  # noqa: BLE001 - a watch that dies of anything would leave what is kept to rot
                self._failures += 1
                rest = self._failed(error)
            self._stopped.wait(rest)

    def _follow(self) -> float:
        """List if we must, watch until that ends; how long to wait before the next watch."""
        kind, namespace, labels = self.scope.kind, self.scope.namespace, dict(self.scope.labels)
        if not self._version and self._lists:
            self._listed(*self._cluster.listing(kind, namespace, labels))
        there: list[Document] | None = None if self._version else []
        began = clock.now()
        watch = self._cluster.watch(kind, namespace, labels, self._version, WATCH * self._random.uniform(1, 2))
        with self._lock:
            self._watch = watch
        if self._stopped.is_set():
            return 0.0
        for told in watch:
            if self._stopped.is_set():
                return 0.0
            if there is not None and isinstance(told, Change):
                there.append(told.document)
            elif there is not None and isinstance(told, str):
                self._listed(there, told)
                there = None
            elif isinstance(told, str):
                self._version = told
                self._cache.reached(self.scope, told)
            else:
                self._version = version_of(told.document)
                self._cache.changed(self.scope, told)
                self._failures = 0
            self._heard()
        ended = clock.now()
        self._failures = 0 if ended - began >= BRIEF else self._failures
        return max(0.0, BRIEF - (ended - began))

    def _listed(self, documents: list[Document], version: str) -> None:
        """All of the scope, as it stood at a version."""
        if self._stopped.is_set():
            return
        self._version = version
        self._cache.replaced(self.scope, documents, version)
        self._heard()
        self._synced.set()

    def _heard(self) -> None:
        self._alive, self._trouble = clock.now(), ""

    def _failed(self, error: Exception) -> float:
        """How long to wait before we ask again: longer each time, and not together with everybody else.

        The first time that a watch is cut, what is kept is still as new as the moment, and the next watch goes on
        there; if that cannot be had either, it is not to be trusted.
        """
        trouble = str(error) or type(error).__name__
        if isinstance(error, Forbidden):
            self._cache.refused(self.scope, trouble)
        elif self._failures > 1:
            self._cache.doubted(self.scope)
        self._trouble = trouble
        limit = SELDOM if isinstance(error, Forbidden) else LONGEST
        longest = min(limit, FIRST * 2 ** min(self._failures, 16))
        return self._random.uniform(longest / 2, longest)


class Reflectors:
    """The scopes that somebody needs, each followed once, however many need it. Safe for threads."""

    def __init__(self, cluster: Watchable, cache: Cache) -> None:
        self._make: Callable[[Scope], Reflector] = lambda scope: Reflector(cluster, cache, scope)
        self._cache = cache
        self._lock = threading.Lock()
        self._running: dict[Scope, Reflector] = {}
        self._users: Counter[Scope] = Counter()

    def start(self, scope: Scope) -> None:
        """Follow a scope until it is stopped as often as it was started. Does not wait until it was listed."""
        with self._lock:
            self._users[scope] += 1
            if scope not in self._running:
                self._running[scope] = self._make(scope)

    def wait(self, scope: Scope, timeout: float) -> bool:
        """Wait so many seconds until a scope that was started was listed once; whether it was."""
        with self._lock:
            reflector = self._running[scope]
        return reflector.wait(timeout)

    def stop(self, scope: Scope) -> None:
        """One who needed the scope needs it no longer. When nobody does, it is forgotten."""
        with self._lock:
            if self._users[scope] > 1:
                self._users[scope] -= 1
                return
            del self._users[scope]
            reflector = self._running.pop(scope, None)
            if reflector is not None:
                reflector.stop()
                self._cache.forget(scope)

    def close(self) -> None:
        """Stop all of them."""
        with self._lock:
            for scope, reflector in self._running.items():
                reflector.stop()
                self._cache.forget(scope)
            self._running.clear()
            self._users.clear()

    def health(self) -> dict[Scope, Health]:
        """How each scope that is followed does."""
        with self._lock:
            running = dict(self._running)
        return {scope: reflector.health for scope, reflector in running.items()}
