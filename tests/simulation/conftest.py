"""The fixture that several simulations share."""

import signal
from collections.abc import Iterator

import pytest

from rollout.cli.driving import SIGNALS


@pytest.fixture
def signals() -> Iterator[None]:
    """Signals arrive, although whoever started the tests may ignore some (nohup, a shell's `&`)."""
    before = {one: signal.signal(one, signal.default_int_handler) for one in SIGNALS}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)
