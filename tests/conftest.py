"""Fixtures of the tests with real parts; where a part cannot be had they fail in CI and skip elsewhere."""

import os
from collections.abc import Iterator

import pytest

from tests.real.parts import Missing
from tests.real.servers import ApiServer


def unavailable(reason: Missing) -> None:
    """Skipped is not passed: in CI a missing part is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"a real part is missing: {reason}")
    pytest.skip(f"a real part is missing: {reason}")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    try:
        server = ApiServer(tmp_path_factory.mktemp("api"))
    except Missing as reason:
        unavailable(reason)
        raise
    yield server
    server.down()
