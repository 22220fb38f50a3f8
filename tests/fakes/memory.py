"""A cluster in memory, under the same contract tests as the folder and the real API server."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from rollout.adapters.store import DocumentStore, Key
from rollout.core.documents import Document, Kind, carries, copied
from rollout.core.errors import Expired, InvalidInput, Unavailable
from rollout.ports import Change


class MemoryCluster(DocumentStore):
    """Documents in a dictionary; `on_write` sees each key with the document before and after."""

    def __init__(self) -> None:
        self.documents: dict[Key, Document] = {}
        self.on_write: Callable[[Key, Document | None, Document | None], None] | None = None
        self._count = 0

    def _locked(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _read(self, key: Key) -> Document | None:
        return self.documents.get(key)

    def _keys(self, kind: Kind) -> Iterator[Key]:
        return iter(sorted(key for key in self.documents if key[0] == kind.name))

    def _write(self, key: Key, document: Document | None) -> None:
        before = self.documents.get(key)
        if document is None:
            self.documents.pop(key, None)
        else:
            self._count += 1
            document = copied(document)
            document["metadata"]["resourceVersion"] = str(self._count)
            self.documents[key] = document
        if self.on_write:
            self.on_write(key, before, document)


@dataclass(frozen=True)
class Event:
    """One write: the version that it made, and the object before and after."""

    version: int
    key: Key
    before: Document | None
    after: Document | None

    def told(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Change | None:
        """What somebody who watches these objects hears of it."""
        if self.key[0] != kind.name or namespace not in (None, self.key[1]):
            return None
        if self.after is not None and carries(self.after, labels):
            return Change(copied(self.after))
        if self.before is None or not carries(self.before, labels):
            return None
        metadata = {**self.before["metadata"], "resourceVersion": str(self.version)}
        return Change({**copied(self.before), "metadata": metadata}, gone=True)


class WatchedMemory(MemoryCluster):
    """A cluster in memory that tells what changes, to any number of threads; it can be away, and it can forget."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Event] = []
        self.forgotten = 0
        self.asked: list[str] = []
        """Each request, in words."""
        self.streams = True
        """Whether a watch may begin with all that is there."""
        self._turn = threading.Condition(threading.RLock())
        self._away = False

    def _locked(self) -> AbstractContextManager[object]:
        return self._turn

    def _read(self, key: Key) -> Document | None:
        with self._turn:
            if self._away:
                raise Unavailable("no answer")
            return super()._read(key)

    def _write(self, key: Key, document: Document | None) -> None:
        with self._turn:
            before = self.documents.get(key)
            if document is None:
                self._count += 1  # as in etcd, where a deletion makes a version too
            super()._write(key, document)
            self.history.append(Event(self._count, key, before, self.documents.get(key)))
            self._turn.notify_all()

    def away(self, gone: bool = True) -> None:
        """Answer nobody, and cut whoever watches; or answer again."""
        with self._turn:
            self._away = gone
            self._turn.notify_all()

    def compact(self) -> None:
        """Forget what was before now."""
        with self._turn:
            self.forgotten = self._count
            self.history.clear()
            self._turn.notify_all()

    def listing(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[list[Document], str]:
        with self._turn:
            self.asked.append(f"list {kind.plural}")
            if self._away:
                raise Unavailable("no answer")
            return self.list(kind, namespace, labels), str(self._count)

    def watch(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None, since: str, seconds: float
    ) -> "MemoryWatch":
        return MemoryWatch(self, (kind, namespace, labels or {}), since, seconds)


class MemoryWatch:
    """See `Watch` in the ports."""

    def __init__(
        self, cluster: WatchedMemory, what: tuple[Kind, str | None, Mapping[str, str]], since: str, seconds: float
    ) -> None:
        self._cluster, self._what, self._seconds = cluster, what, seconds
        self._since, self._whole = int(since or 0), not since
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Change | str]:
        cluster, turn = self._cluster, self._cluster._turn
        with turn:
            cluster.asked.append(f"watch {self._what[0].plural}")
            there: list[Document] = []
            if self._whole:
                if not cluster.streams:
                    raise InvalidInput("sendInitialEvents is forbidden for watch")
                there, self._since = cluster.list(*self._what), cluster._count
            self._demand()
        yield from (Change(document) for document in there)
        yield str(self._since)
        until = time.monotonic() + self._seconds
        while not self._closed.is_set() and time.monotonic() < until:
            with turn:
                self._demand()
                events = [event for event in cluster.history if event.version > self._since]
                self._since = max([self._since, *(event.version for event in events)])
                if not events:
                    turn.wait(max(0.0, until - time.monotonic()))
            told = (event.told(*self._what) for event in events)
            yield from (change for change in told if change is not None)
        yield str(self._since)

    def _demand(self) -> None:
        if self._cluster._away:
            raise Unavailable("the watch was cut")
        if self._since < self._cluster.forgotten:
            raise Expired(f"too old resource version: {self._since} ({self._cluster.forgotten})")

    def close(self) -> None:
        self._closed.set()
        with self._cluster._turn:
            self._cluster._turn.notify_all()
