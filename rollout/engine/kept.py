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
        self._documents: Sequence[Document | None] | None = None
        self._beside: object = None
        self._answer: list[T] = []

    def found(self, documents: Sequence[Document | None], beside: object, find: Callable[[], T]) -> T:
        """What `find` finds in them."""
        known = self._documents
        same = known is not None and len(known) == len(documents) and beside == self._beside
        if known is None or not same or any(one is not other for one, other in zip(known, documents, strict=True)):
            self._answer = [find()]
            self._documents, self._beside = documents, beside
        return self._answer[0]
