"""Documents that watches keep current, and a Cluster port that reads from them."""

import builtins
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from rollout.controller.readers import Key, Readers, pairs
from rollout.controller.shelf import Difference, Scope, Shelf, Standing
from rollout.core.documents import Document, Kind, finalizers_of, gone, name_of, namespace_of, version_of
from rollout.core.errors import Conflict, Forbidden, NotFound, RolloutError
from rollout.ports import Change, Cluster

__all__ = ["Cache", "CachedCluster", "Changed", "Scope"]


@dataclass(frozen=True)
class Changed:
    """An object that is not as it was: `before` and `after` are None where it was, or is, not there.

    `readers` have read it, or a list to which it belonged or belongs, since they last began afresh; `writer` is the
    reader whose own write this was (empty: somebody else's), who is not among them.
    """

    key: Key
    before: Document | None
    after: Document | None
    readers: frozenset[str]
    writer: str = ""


class Cache:
    """The documents of all scopes that are watched. Safe for threads.

    Documents are given out as they are kept, without a copy: whoever reads them changes nothing in them. `listener`
    hears of each change once, in the thread that brought it, outside of any lock; changes of one object that come from
    two threads may be heard in the wrong order, so it had better look at the cache than at the change.
    """

    def __init__(self, listener: Callable[[Changed], None] = lambda _: None) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._shelves: defaultdict[str, Shelf] = defaultdict(Shelf)
        self._readers = Readers()

    # --- what a watch tells ------------------------------------------------------------------------------------

    def cover(self, scope: Scope) -> None:
        """Begin to keep what a scope holds; reads go to the API until it was listed."""
        with self._lock:
            self._shelf(scope).cover(scope)

    def replaced(self, scope: Scope, documents: list[Document], version: str) -> None:
        """All of a scope, as it stood at a version: what is not among it is gone."""
        with self._lock:
            shelf = self._shelf(scope)
            found = shelf.replaced(scope, documents, version) if scope in shelf.scopes else []
            changes = self._told(scope.kind, found)
        self._tell(changes)

    def changed(self, scope: Scope, change: Change) -> None:
        """What the watch of a scope tells of one object."""
        with self._lock:
            shelf = self._shelf(scope)
            found = shelf.changed(scope, change.document, change.gone) if scope in shelf.scopes else None
            changes = self._told(scope.kind, [found])
        self._tell(changes)

    def reached(self, scope: Scope, version: str) -> None:
        """The watch of a scope has told all up to this version."""
        with self._lock:
            shelf = self._shelf(scope)
            if scope in shelf.scopes:
                shelf.reached(scope, version)

    def doubted(self, scope: Scope) -> None:
        """Nobody follows the scope just now: reads go to the API until it was listed, or its watch tells something."""
        self._stand(scope, Standing(trusted=False))

    def refused(self, scope: Scope, why: str) -> None:
        """We may not list there: whoever asks for that list is told so, without asking the API again."""
        self._stand(scope, Standing(trusted=False, refused=why))

    def forget(self, scope: Scope) -> None:
        """Keep no longer what only this scope holds. Nobody is told: in the world nothing changed."""
        with self._lock:
            self._shelf(scope).forget(scope)

    def synced(self, scope: Scope) -> bool:
        """Whether reads of the scope come from here."""
        with self._lock:
            standing = self._shelf(scope).scopes.get(scope)
            return standing is not None and standing.trusted

    def settled(self, scope: Scope) -> bool:
        """Whether no read of the scope asks the API: it comes from here, or is refused."""
        with self._lock:
            standing = self._shelf(scope).scopes.get(scope)
            return standing is not None and (standing.trusted or bool(standing.refused))

    def _stand(self, scope: Scope, standing: Standing) -> None:
        with self._lock:
            scopes = self._shelf(scope).scopes
            if scope in scopes:
                scopes[scope] = replace(standing, version=scopes[scope].version)

    # --- what readers ask --------------------------------------------------------------------------------------

    def fresh(self, reader: str) -> None:
        """Forget what this reader has read: from now on it is told only of what it reads anew."""
        with self._lock:
            self._readers.fresh(reader)

    def find(self, reader: str, kind: Kind, namespace: str, name: str) -> tuple[bool, Document | None]:
        """Whether we know how an object stands, and how it stood last (None: it was not there)."""
        with self._lock:
            if reader:
                self._readers.got(reader, (kind.name, namespace, name))
            return self._shelves[kind.name].current(namespace, name)

    def select(
        self, reader: str, kind: Kind, namespace: str | None, labels: Mapping[str, str]
    ) -> list[Document] | None:
        """The objects with these labels, by namespace and name; None if no scope holds them all.

        Raises `Forbidden` where the API has just said that we may not list them.
        """
        with self._lock:
            if reader:
                self._readers.listed(reader, (kind.name, namespace), pairs(labels))
            shelf = self._shelves[kind.name]
            found = shelf.selected(namespace, labels)
            why = shelf.refused(namespace, labels) if found is None else ""
        if found is None and why:
            raise Forbidden(why)
        return found

    # --- what we ask and write ourselves -----------------------------------------------------------------------

    @contextmanager
    def asking(self, kind: Kind) -> Iterator[None]:
        """While a request is under way whose answer is to be kept."""
        with self._lock:
            self._shelves[kind.name].asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._shelves[kind.name].asking -= 1

    def stands(self, kind: Kind, document: Document, writer: str = "") -> None:
        """Keep what the API has answered, if a scope covers it."""
        with self._lock:
            changes = self._told(kind, [self._shelves[kind.name].stands(document)], writer)
        self._tell(changes)

    def covers(self, kind: Kind, namespace: str) -> bool:
        """Whether any scope holds objects of this kind there."""
        with self._lock:
            return any(one.namespace in (None, namespace) for one in self._shelves[kind.name].scopes)

    def deleted(self, kind: Kind, namespace: str, name: str, version: str, writer: str = "") -> None:
        """The object that stood there at this version is no more."""
        with self._lock:
            found = self._shelves[kind.name].deleted((namespace, name), version)
            changes = self._told(kind, [found], writer)
        self._tell(changes)

    # -----------------------------------------------------------------------------------------------------------

    def _shelf(self, scope: Scope) -> Shelf:
        return self._shelves[scope.kind.name]

    def _told(self, kind: Kind, found: Iterable[Difference | None], writer: str = "") -> builtins.list[Changed]:
        """The changes that these differences are, with those who depend on each. Called under the lock."""
        changes = []
        for difference in found:
            if difference is not None:
                name, before, after = difference
                key = (kind.name, *name)
                changes.append(Changed(key, before, after, self._readers.of(key, before, after) - {writer}, writer))
        return changes

    def _tell(self, changes: builtins.list[Changed]) -> None:
        for change in changes:
            self._listener(change)


class CachedCluster:
    """The Cluster port for one reader: reads come from the cache where a scope covers them, writes go to the API.

    What it gives out is shared and must not be changed. What a write was answered is in the cache at once, so that its
    reader never reads what was before, and its echo by the watch is no news. `reader` is the name under which a change
    of what was read since `fresh` is told (empty: nobody is told). `narrow`: we may look at single namespaces only; a
    list of all is refused at once, without a request.
    """

    def __init__(self, cluster: Cluster, cache: Cache, reader: str = "", narrow: bool = False) -> None:
        self._cluster, self._cache, self.reader, self._narrow = cluster, cache, reader, narrow

    def fresh(self) -> None:
        """Begin afresh: what was read until now is no longer waited for."""
        self._cache.fresh(self.reader)

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """See the port."""
        known, found = self._cache.find(self.reader, kind, namespace, name)
        if not known:
            return self._asked(kind, namespace, name)
        if found is None:
            raise NotFound(f"{kind.name} {namespace}/{name} does not exist")
        return found

    def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Document]:
        """See the port."""
        if self._narrow and namespace is None:
            raise Forbidden(f"we may not list {kind.plural} in all namespaces: we were told to look at some only")
        found = self._cache.select(self.reader, kind, namespace, labels or {})
        if found is None:
            with self._cache.asking(kind):
                found = self._cluster.list(kind, namespace, labels)
                for document in found:
                    self._cache.stands(kind, document)
        return found

    def create(self, kind: Kind, document: Document) -> Document:
        """See the port."""
        with self._written(kind, namespace_of(document), name_of(document)):
            made = self._cluster.create(kind, document)
            self._cache.stands(kind, made, self.reader)
        return made

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Document, version: str, subresource: str = ""
    ) -> Document:
        """See the port."""
        with self._written(kind, namespace, name):
            made = self._cluster.patch(kind, namespace, name, patch, version, subresource)
            if gone(made):
                self._cache.deleted(kind, namespace, name, version_of(made), self.reader)  # it went with the last one
            else:
                self._cache.stands(kind, made, self.reader)
        return made

    def delete(self, kind: Kind, namespace: str, name: str, version: str) -> None:
        """See the port."""
        with self._written(kind, namespace, name):
            self._cluster.delete(kind, namespace, name, version)
            _, known = self._cache.find("", kind, namespace, name)
            if known is not None and finalizers_of(known):
                with suppress(NotFound):  # it stands until the last of them goes, which may be now
                    self._asked(kind, namespace, name)
            else:
                self._cache.deleted(kind, namespace, name, version, self.reader)

    def may(self, verb: str, kind: Kind, namespace: str | None, name: str = "") -> bool:
        """See the port."""
        return self._cluster.may(verb, kind, namespace, name)

    @contextmanager
    def _written(self, kind: Kind, namespace: str, name: str) -> Iterator[None]:
        """Where a write is refused because the object is another, or gone, look at it anew before anybody goes on.

        That is somebody else's change, so our own reader is told of it, too.
        """
        with self._cache.asking(kind):
            try:
                yield
            except (Conflict, NotFound):
                if self._cache.covers(kind, namespace):
                    with suppress(RolloutError):  # the watch will tell it
                        self._asked(kind, namespace, name)
                raise

    def _asked(self, kind: Kind, namespace: str, name: str) -> Document:
        """What the API says, and it is kept where a scope covers it: what changes after that is a change, then."""
        _, before = self._cache.find("", kind, namespace, name)
        with self._cache.asking(kind):
            try:
                found = self._cluster.get(kind, namespace, name)
            except NotFound:
                self._cache.deleted(kind, namespace, name, version_of(before) if before else "")
                raise
            self._cache.stands(kind, found)
        return found
