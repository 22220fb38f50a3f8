"""`rollout retry` as it is called: what it refuses, and that it asks for the metrics that its strategy needs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rollout.adapters.folder import FolderCluster
from rollout.cli import undoing
from rollout.cli.app import app
from rollout.cli.explaining import explained
from rollout.core.attempt import Record
from rollout.core.errors import InvalidInput, Unavailable
from rollout.core.lifecycle import Phase
from rollout.engine.state import ConfigMapShelf, StateStore
from tests.unit.test_bad_input import state
from tests.unit.test_report import attempt


def asked(cluster: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["retry", "reviews", "--cluster", str(cluster), *more])


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        (None, "nothing of reviews was ever promoted from here"),
        (Phase.PAUSED, "is on its way to v2 (Paused)"),
        (Phase.PROMOTED, "was promoted: there is nothing to retry"),
    ],
)
def test_nothing_to_retry_is_bad_input(phase: Phase | None, said: str, cluster: Path) -> None:
    if phase:
        StateStore(ConfigMapShelf(FolderCluster(cluster), "reviews", "bookinfo")).write(
            Record(replace(attempt(), namespace="bookinfo", phase=phase)), 0.0
        )
    before = state(cluster)
    done = asked(cluster)
    assert isinstance(done.exception, InvalidInput)
    assert said in str(done.exception)
    assert state(cluster) == before


def test_it_begins_and_ends_as_promote_does(cluster: Path) -> None:
    """With a strategy that compares nothing, for nobody counts anything here."""
    undone = replace(attempt(), namespace="bookinfo", strategy=undoing.strategy())
    StateStore(ConfigMapShelf(FolderCluster(cluster), "reviews", "bookinfo")).write(Record(undone), 0.0)
    done = asked(cluster, "--output", "json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["exit"], document["phase"]) == (0, 0, "Promoted")
    assert (document["attempt"], document["strategy"]) == (2, "undo")
    assert "once more, after attempt 1 ended: rolled back: Breach: it fails" in done.stderr


def test_what_is_compared_needs_metrics(cluster: Path) -> None:
    StateStore(ConfigMapShelf(FolderCluster(cluster), "reviews", "bookinfo")).write(
        Record(replace(attempt(), namespace="bookinfo")), 0.0
    )
    before = state(cluster)
    done = asked(cluster)
    assert isinstance(done.exception, Unavailable)
    assert "no counters" in str(done.exception)
    assert state(cluster) == before


def test_explain_says_how(cluster: Path) -> None:
    assert "`rollout retry reviews` begins the same once more." in explained(attempt(), 0.0, "")
    assert not any("retry" in line for line in explained(replace(attempt(), phase=Phase.PROMOTED), 0.0, ""))
