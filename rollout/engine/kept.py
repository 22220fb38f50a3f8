"""What was found in documents, as long as they are the very same: who reads from a cache is given those again."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rollout.core.documents import Document

T = TypeVar("T")


class Kept(Generic[T]):
    """The answer to one question about documents, which nobody changes in place.

    Its last answer is given again where every document is the object that it was then, and what was asked `beside` them
    is equal.
    """

    def __init__(self) -> None:
        self._last: tuple[Sequence[Document | None], object, T] | None = None

    def found(self, documents: Sequence[Document | None], beside: object, find: Callable[[], T]) -> T:
        """What `find` finds in them."""
        if self._last is None or not _same(self._last[0], documents) or self._last[1] != beside:
            self._last = documents, beside, find()
        return self._last[2]


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))
