"""The documents of one kind as watches and our own writes tell of them, in whatever order that comes."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from rollout.controller.readers import Labels, pairs
from rollout.core.documents import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    POD,
    SERVICE,
    Document,
    Kind,
    carries,
    labels_of,
    name_of,
    namespace_of,
    version_of,
)

Name = tuple[str, str]
"""Namespace and name."""
Difference = tuple[Name, Document | None, Document | None]
"""An object before and after; None where it is not there."""


@dataclass(frozen=True)
class Scope:
    """What one watch covers: the objects of a kind in a namespace (None: in all) that have these labels."""

    kind: Kind
    namespace: str | None = None
    labels: Labels = frozenset()

    @staticmethod
    def of(kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> "Scope":
        """The scope with labels as documents have them."""
        return Scope(kind, namespace, pairs(labels))

    @property
    def clue(self) -> tuple[str, str] | None:
        """One of its labels, by which it is found; None if it has none."""
        return min(self.labels, default=None)

    def __str__(self) -> str:
        wanted = ",".join(f"{key}={value}" for key, value in sorted(self.labels))
        where = f" in {self.namespace}" if self.namespace is not None else ""
        return f"{self.kind.plural}{where}" + (f" with {wanted}" if wanted else "")


@dataclass
class Standing:
    """How far a scope has been followed: `version` is the last of which all is known. While it is not `trusted`, what
    is kept of it may be old; `refused` says in words that we may not list there.
    """

    version: int = 0
    trusted: bool = False
    refused: str = ""


MANAGED = ("metadata", "managedFields")
UNREAD = {
    POD.name: (MANAGED, ("spec",)),
    ENDPOINT_SLICE.name: (MANAGED,),
    DEPLOYMENT.name: (MANAGED, ("spec", "template", "spec")),
    SERVICE.name: (MANAGED,),
}
"""What nobody reads, by kind, of objects of which there are many: it is not kept, for it is most of them."""


def lean(document: Document) -> Document:
    """The document as it is kept.

    >>> lean({"kind": "Pod", "metadata": {"name": "a", "managedFields": []}, "spec": {}, "status": {}})
    {'kind': 'Pod', 'metadata': {'name': 'a'}, 'status': {}}
    """
    return functools.reduce(_without, UNREAD.get(document.get("kind", ""), ()), document)


def _without(document: Document, path: tuple[str, ...]) -> Document:
    first, *rest = path
    if rest and first in document:
        return {**document, first: _without(document[first], tuple(rest))}
    return {key: value for key, value in document.items() if key != first}


def number(version: str) -> int:
    """A resourceVersion, of which the later is the greater one."""
    return int(version or 0)


@dataclass
class Shelf:
    """Not safe for threads. A document that is older than what is known of its object changes nothing.

    What an object that is gone leaves behind is the version from which one of its name may stand there, so that older
    news that comes late does not bring it back. One that loses a label leaves a scope, and stands in another from the
    very same version: the other's watch brings it back.
    """

    scopes: dict[Scope, Standing] = field(default_factory=dict)
    asking: int = 0
    """How many requests are under way, of whose answers nobody knows how old they will be."""
    _places: defaultdict[tuple[str | None, tuple[str, str] | None], list[Scope]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """The scopes by namespace and clue: hundreds may be followed, each with labels of its own."""
    _kept: dict[str, dict[str, Document]] = field(default_factory=dict)
    _named: defaultdict[tuple[str, str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """By namespace, label and its value: the names."""
    _gone: dict[Name, int] = field(default_factory=dict)
    _lists: defaultdict[str | None, dict[Labels, list[Document]]] = field(default_factory=lambda: defaultdict(dict))
    """What was selected from a namespace (None: from all) since anything changed there."""

    def cover(self, scope: Scope) -> None:
        """Keep what this scope holds from now on."""
        if scope not in self.scopes:
            self.scopes[scope] = Standing()
            self._places[scope.namespace, scope.clue].append(scope)

    # --- what is told ------------------------------------------------------------------------------------------

    def replaced(self, scope: Scope, documents: Iterable[Document], version: str) -> list[Difference]:
        """All of a scope, as it stood at a version."""
        found = {(namespace_of(one), name_of(one)): one for one in documents}
        differences = [self.stands(one) for one in found.values()]
        at = number(version)
        absent = [(n, v) for n, v in self._within(scope) if n not in found and v <= at]
        differences += [self.left(scope, name, before + 1) for name, before in absent]
        self.scopes[scope] = Standing(at, trusted=True)
        self._prune()
        return [one for one in differences if one is not None]

    def reached(self, scope: Scope, version: str) -> None:
        """Nothing of the scope is unknown up to this version."""
        self._advance(scope, version)
        self._prune()

    def changed(self, scope: Scope, document: Document, gone: bool) -> Difference | None:
        """The next that the watch of a scope tells."""
        version = version_of(document)
        self._advance(scope, version)
        if gone:
            return self.left(scope, (namespace_of(document), name_of(document)), number(version))
        return self.stands(document)

    def stands(self, document: Document) -> Difference | None:
        """An object as it stood at its version; None if that is no news."""
        name, version = (namespace_of(document), name_of(document)), number(version_of(document))
        kept = self.kept(*name)
        if version < self._gone.get(name, 0) or (kept is not None and version <= number(version_of(kept))):
            return None
        if not any(self._around(document)):
            return self._drop(name, version) if kept is not None else None
        self._gone.pop(name, None)
        return self._put(name, document)

    def left(self, scope: Scope, name: Name, version: int) -> Difference | None:
        """The object left the scope at a version: it was deleted, or lost a label."""
        kept = self.kept(*name)
        if kept is None:
            self._gone[name] = max(version, self._gone.get(name, 0))
            return None
        if version < number(version_of(kept)) or scope not in self._around(kept):
            return None
        return self._drop(name, version)

    def deleted(self, name: Name, version: str) -> Difference | None:
        """The object that stood there at this version is no more."""
        kept, after = self.kept(*name), number(version) + 1
        if kept is not None and number(version_of(kept)) < after:
            return self._drop(name, after)
        if self.scopes:
            self._gone[name] = max(after, self._gone.get(name, 0))
        return None

    def forget(self, scope: Scope) -> None:
        """Keep no longer what no other scope covers."""
        if self.scopes.pop(scope, None) is None:
            return
        self._lists.clear()
        place = self._places[scope.namespace, scope.clue]
        place.remove(scope)
        if not place:
            del self._places[scope.namespace, scope.clue]
        within = list(self._within(scope))
        for name, _ in within:
            kept = self.kept(*name)
            if kept is not None and not any(self._around(kept)):
                self._put(name, None)
        if not self.scopes:
            self._gone.clear()

    # --- what is kept ------------------------------------------------------------------------------------------

    def kept(self, namespace: str, name: str) -> Document | None:
        """The document that is kept, if there is one, however old."""
        return self._kept.get(namespace, {}).get(name)

    def current(self, namespace: str, name: str) -> tuple[bool, Document | None]:
        """Whether we know how an object stands, and how it stood last (None: it was not there)."""
        kept = self.kept(namespace, name)
        if kept is not None:
            return any(self.scopes[one].trusted for one in self._around(kept)), kept
        return self._trusted(namespace, frozenset()), None

    def selected(self, namespace: str | None, labels: Mapping[str, str]) -> list[Document] | None:
        """The objects with these labels, by namespace and name; None if nobody keeps them current.

        Who looks each second at what seldom changes is given the same list again, which nobody changes.
        """
        wanted = pairs(labels)
        if not self._trusted(namespace, wanted):
            return None
        lists = self._lists[namespace]
        if wanted not in lists:
            spaces = sorted(self._kept) if namespace is None else [namespace]
            lists[wanted] = [one for space in spaces for one in self._carrying(space, labels)]
        return lists[wanted]

    def refused(self, namespace: str | None, labels: Mapping[str, str]) -> str:
        """Why we may not list there, in words, if that was said."""
        wanted = pairs(labels)
        return next((self.scopes[one].refused for one in self._over(namespace, wanted) if self.scopes[one].refused), "")

    def _carrying(self, namespace: str, labels: Mapping[str, str]) -> Iterator[Document]:
        kept = self._kept.get(namespace, {})
        if not labels:
            return (kept[name] for name in sorted(kept))
        names = min((self._named.get((namespace, *pair), set()) for pair in labels.items()), key=len)
        return (kept[name] for name in sorted(names) if carries(kept[name], labels))

    def _trusted(self, namespace: str | None, labels: Labels) -> bool:
        """Whether a scope holds all objects with these labels, and is followed."""
        return any(self.scopes[one].trusted for one in self._over(namespace, labels))

    def _over(self, namespace: str | None, labels: Labels) -> Iterator[Scope]:
        """The scopes that hold all objects with these labels."""
        for space in {None, namespace}:
            for clue in (None, *labels):
                for one in self._places.get((space, clue), ()):
                    if one.labels <= labels:
                        yield one

    def _around(self, document: Document) -> Iterator[Scope]:
        """The scopes that the object stands in."""
        return self._over(namespace_of(document), pairs(labels_of(document)))

    def _within(self, scope: Scope) -> Iterator[tuple[Name, int]]:
        """What is kept of a scope: names and versions."""
        spaces = list(self._kept) if scope.namespace is None else [scope.namespace]
        for space in spaces:
            for document in self._carrying(space, dict(scope.labels)):
                yield (space, name_of(document)), number(version_of(document))

    # --- how it is kept ----------------------------------------------------------------------------------------

    def _advance(self, scope: Scope, version: str) -> None:
        standing = self.scopes[scope]
        standing.version, standing.trusted = max(standing.version, number(version)), True

    def _drop(self, name: Name, version: int) -> Difference:
        self._gone[name] = version
        return self._put(name, None)

    def _put(self, name: Name, document: Document | None) -> Difference:
        space, own = name
        for changed in (space, None):
            self._lists.pop(changed, None)
        kept = self._kept.setdefault(space, {})
        before = kept.pop(own, None)
        for pair in labels_of(before).items() if before else ():
            names = self._named[space, *pair]
            names.discard(own)
            if not names:
                del self._named[space, *pair]
        if document is not None:
            document = lean(document)
            kept[own] = document
            for pair in labels_of(document).items():
                self._named[space, *pair].add(own)
        if not kept:
            del self._kept[space]
        return name, before, document

    def _prune(self) -> None:
        """Forget what was gone before the version that every scope has reached: no older news can come."""
        if self._gone and not self.asking:
            reached = min(standing.version for standing in self.scopes.values())
            self._gone = {name: version for name, version in self._gone.items() if version > reached}
