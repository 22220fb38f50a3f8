"""The promises of the Cluster port over any keeper of whole documents: versions, conflicts, merge patches."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

from rollout.adapters import clock
from rollout.core.documents import (
    SECRET,
    UNSEEN,
    Document,
    Kind,
    carries,
    copied,
    finalizers_of,
    gone,
    name_of,
    namespace_of,
    ref,
    version_of,
)
from rollout.core.errors import Conflict, NotFound
from rollout.core.quantities import stamp

Key = tuple[str, str, str]
"""Kind, namespace and name of one object."""


def merged(document: Document, patch: Document) -> Document:
    """Apply a JSON merge patch (RFC 7386): null deletes, objects merge, everything else replaces.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": [3]}})
    {'a': {'c': 2, 'd': [3]}}
    """
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = copied(value)
    return result


class DocumentStore(ABC):
    """A Cluster whose documents somebody keeps whole; a subclass says where and how versions are made."""

    @abstractmethod
    def _locked(self) -> AbstractContextManager[object]:
        """Hold every other writer off."""

    @abstractmethod
    def _read(self, key: Key) -> Document | None:
        """The document with its resourceVersion, or None."""

    @abstractmethod
    def _keys(self, kind: Kind) -> Iterator[Key]:
        """The keys of all documents of a kind, in order."""

    @abstractmethod
    def _write(self, key: Key, document: Document | None) -> None:
        """Keep the document (its resourceVersion is to be made anew), or drop it."""

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """See the port."""
        found = self._read((kind.name, namespace, name))
        if found is None:
            raise NotFound(f"{kind.name} {namespace}/{name} does not exist")
        document: Document = copied(found)
        return document

    def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Document]:
        """See the port."""
        keys = [key for key in self._keys(kind) if namespace in (None, key[1])]
        found = [one for one in map(self._read, keys) if one is not None and carries(one, labels or {})]
        return [copied({"metadata": one["metadata"]} if kind is SECRET else one) for one in found]

    def create(self, kind: Kind, document: Document) -> Document:
        """See the port."""
        key = (kind.name, namespace_of(document), name_of(document))
        with self._locked():
            if self._read(key) is not None:
                raise Conflict(f"{ref(kind, document)} exists already")
            self._write(key, _generated({}, copied(document)) if kind.apart else copied(document))
        return self.get(kind, key[1], key[2])

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Document, version: str, subresource: str = ""
    ) -> Document:
        """See the port."""
        with self._locked():
            found = self.get(kind, namespace, name)
            self._guard(kind, found, version)
            if subresource:
                changed = merged(found, {key: value for key, value in patch.items() if key == subresource})
            else:
                changed = merged(found, patch)
                metadata = changed["metadata"] | {"resourceVersion": version_of(found)}
                # as an API server keeps it: without labels and annotations that are empty
                changed["metadata"] = {key: value for key, value in metadata.items() if value != {}}
                changed = _generated(found, changed) if kind.apart else changed
            if gone(changed):
                self._write((kind.name, namespace, name), None)
                return changed
            if changed != found:
                self._write((kind.name, namespace, name), changed)
        return self.get(kind, namespace, name)

    def delete(self, kind: Kind, namespace: str, name: str, version: str) -> None:
        """See the port."""
        with self._locked():
            found = self.get(kind, namespace, name)
            self._guard(kind, found, version)
            after = None
            if finalizers_of(found):
                after = merged(found, {"metadata": {"deletionTimestamp": stamp(clock.now())}})
            self._write((kind.name, namespace, name), after)

    def may(self, verb: str, kind: Kind, namespace: str | None, name: str = "") -> bool:
        """Whoever reaches the store may do everything."""
        del verb, kind, namespace, name
        return True

    def _guard(self, kind: Kind, found: Document, version: str) -> None:
        if version_of(found) != version:
            raise Conflict(f"{ref(kind, found)} changed since it was read; read it again")


def _generated(before: Document, after: Document) -> Document:
    """An object of a kind that is written apart, after a write to all but its status: with the generation of that."""
    rest, old = ({k: v for k, v in one.items() if k not in ("metadata", "status")} for one in (after, before))
    generation = int((before.get("metadata") or {}).get("generation") or 0) + (rest != old)
    status = before.get("status") or copied(UNSEEN)
    return {**rest, "metadata": after["metadata"] | {"generation": generation}, "status": status}
