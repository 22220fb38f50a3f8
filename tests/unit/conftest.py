"""The fixture that several unit tests share."""

from pathlib import Path

import pytest

from rollout.adapters.folder import FolderCluster
from rollout.playground.stage import _documents, _put


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """The playground's documents in a folder, which nobody serves."""
    folder = tmp_path / "mesh"
    folder.mkdir()
    for document in _documents([1, 2, 3, 4, 5]):
        _put(FolderCluster(folder), document)
    return folder
