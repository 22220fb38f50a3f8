"""Who has read what: so that a change wakes those who depend on it, and nobody else."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from rollout.core.documents import Document, labels_of

Key = tuple[str, str, str]
"""Kind, namespace and name of one object."""
Place = tuple[str, str | None]
"""A kind and a namespace; None: all of them."""
Labels = frozenset[tuple[str, str]]


def pairs(labels: Mapping[str, str] | None) -> Labels:
    """Labels in a form that can be a key."""
    return frozenset((labels or {}).items())


class Readers:
    """The objects and the lists that each reader has read since it last began afresh. Not safe for threads."""

    def __init__(self) -> None:
        self._objects: defaultdict[Key, set[str]] = defaultdict(set)
        self._lists: defaultdict[Place, defaultdict[Labels, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._read: defaultdict[str, set[Key | tuple[Place, Labels]]] = defaultdict(set)

    def fresh(self, reader: str) -> None:
        """Forget what this one has read."""
        for what in self._read.pop(reader, ()):
            if len(what) == 3:
                _without(self._objects, what, reader)
            else:
                place, labels = what
                _without(self._lists[place], labels, reader)
                if not self._lists[place]:
                    del self._lists[place]

    def got(self, reader: str, key: Key) -> None:
        """It asked for this object, whether or not it was there."""
        self._objects[key].add(reader)
        self._read[reader].add(key)

    def listed(self, reader: str, place: Place, labels: Labels) -> None:
        """It asked for the objects there with these labels."""
        self._lists[place][labels].add(reader)
        self._read[reader].add((place, labels))

    def of(self, key: Key, before: Document | None, after: Document | None) -> frozenset[str]:
        """Who has read the object, or a list in which it stood, or now stands."""
        found = set(self._objects.get(key, ()))
        carried = [pairs(labels_of(one)) for one in (before, after) if one is not None]
        for place in ((key[0], key[1]), (key[0], None)):
            for labels, readers in self._lists.get(place, {}).items():
                if any(labels <= one for one in carried):
                    found |= readers
        return frozenset(found)


def _without(index: dict[Any, set[str]], key: Any, reader: str) -> None:
    index[key].discard(reader)
    if not index[key]:
        del index[key]
