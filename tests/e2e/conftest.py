"""One world for all tests, in the cluster that `make e2e` has found."""

import os
from collections.abc import Iterator

import pytest

from tests.conftest import needed
from tests.e2e.cluster import Cluster
from tests.e2e.stage import Stage


@pytest.fixture(scope="session")
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    kubeconfig = os.environ.get("ROLLOUT_E2E_KUBECONFIG")
    if not kubeconfig:
        pytest.skip("no cluster is named; `make e2e` finds one")
    with needed(), Stage(Cluster(kubeconfig), tmp_path_factory.mktemp("e2e")) as made:
        made.build()
        yield made


@pytest.fixture
def stage(_stage: Stage) -> Stage:
    _stage.reset()
    return _stage
