"""The error families, by what the caller can do about them.

RolloutError
├── InvalidInput    the user mends the command, the strategy or the objects    (exit 2)
└── Unreachable     somebody restores the service, or grants the right         (exit 3)
    ├── Unavailable     no answer, or one that promises nothing; the write may have landed
    │   ├── Unintelligible  what answers there is not what was asked for
    │   └── Expired         what was asked about lies too far back to be told; begin again with a list
    ├── Forbidden       the answer was no
    ├── NotFound        the object is not there
    └── Conflict        the object changed since it was read (or exists already); read again
"""

from collections.abc import Iterator
from contextlib import contextmanager


class RolloutError(Exception):
    """The base of every error that we raise on purpose; its text is a sentence to a person."""


class InvalidInput(RolloutError):
    """What was asked for cannot work; nothing was written.

    `field` is what it is about, as the spec of a ServiceRollout names it; empty where it is about nothing there, or
    the text says so. `hint` ends the sentence for whoever sits at a command line, and means nothing elsewhere.
    """

    def __init__(self, text: str, field: str = "", hint: str = "") -> None:
        super().__init__(text + hint)
        self.text, self.field = text, field


@contextmanager
def about(field: str) -> Iterator[None]:
    """Whatever is refused herein is about this field, unless it says of another."""
    try:
        yield
    except InvalidInput as error:
        error.field = error.field or field
        raise


class Unreachable(RolloutError):
    """The cluster or the metrics store did not do as asked."""


class Unavailable(Unreachable):
    """No answer, or no useful one. A write that ends so may have landed."""


class Unintelligible(Unavailable):
    """What answers is something else. Before a start the user mends the address; later it may pass."""


class Expired(Unavailable):
    """The server no longer knows what came after the version that was named; whoever lists anew goes on from there."""


class Forbidden(Unreachable):
    """The answer was no; the text names the verb and the object."""


class NotFound(Unreachable):
    """The object is not there."""


class Conflict(Unreachable):
    """The object is not the one that was read: it changed, or it exists already."""
