"""Fixtures of the tests with real parts; where a part cannot be had they fail in CI and skip elsewhere."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from tests.real.parts import Missing
from tests.real.servers import ApiServer

# A busy machine is slow, and that is no fault of the code; in CI the same examples come every time.
settings.register_profile("steady", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("steady")


@contextmanager
def needed() -> Iterator[None]:
    """What is made within takes a real part. Skipped is not passed: in CI a missing one is a failure."""
    try:
        yield
    except Missing as reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"a real part is missing: {reason}")


def running(folder: Path) -> Iterator[ApiServer]:
    """An API server of its own, until it is no longer needed."""
    with needed():
        server = ApiServer(folder)
    yield server
    server.down()


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    yield from running(tmp_path_factory.mktemp("api"))
