"""One API server and one mesh for all tests with real parts."""

from collections.abc import Iterator

import pytest

from tests.conftest import needed
from tests.real.mesh import Mesh
from tests.real.servers import ApiServer


@pytest.fixture(scope="session")
def _mesh(tmp_path_factory: pytest.TempPathFactory, api_server: ApiServer) -> Iterator[Mesh]:
    with needed(), Mesh(tmp_path_factory.mktemp("mesh"), api_server) as made:
        yield made


@pytest.fixture
def mesh(_mesh: Mesh) -> Mesh:
    _mesh.reset()
    return _mesh
