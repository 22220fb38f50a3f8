"""A cluster in memory, under the same contract tests as the folder and the real API server."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

from rollout.adapters.store import DocumentStore, Key
from rollout.core.documents import Document, Kind, copied


class MemoryCluster(DocumentStore):
    """Documents in a dictionary; `on_write` sees each key with the document before and after."""

    def __init__(self) -> None:
        self.documents: dict[Key, Document] = {}
        self.on_write: Callable[[Key, Document | None, Document | None], None] | None = None
        self._count = 0

    def _locked(self) -> nullcontext[None]:
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
