"""A release that is over, found again by the command line in a real Prometheus, with no cluster to ask."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import needed
from tests.fakes.exporter import Row, exporting, histogram
from tests.real.servers import Prometheus

pytestmark = pytest.mark.real

SECONDS = 25
ROWS: list[Row] = [
    ({}, 94),
    ({"response_code": "500"}, 1),
    ({"destination_version": "v2"}, 3),
    ({"destination_version": "v2", "response_code": "503"}, 2),
]
BUCKETS = [row for version in ("v1", "v2") for row in histogram({"destination_version": version}, {"+Inf": 3})]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has seen v1 and v2 for SECONDS."""
    with exporting(ROWS, BUCKETS) as address:
        with needed():
            found = Prometheus(tmp_path_factory.mktemp("prometheus"), [address])
        time.sleep(SECONDS)
        yield found
        found.stop()


def backtest(prometheus: Prometheus, *arguments: str, ago: float = 15, service: str = "reviews") -> tuple[int, Any]:
    began = datetime.fromtimestamp(time.time() - ago, UTC).isoformat()
    done = subprocess.run(
        [sys.executable, "-m", "rollout", "backtest", service, "--to", "v2", "--at", began, "-n", "shop", "--output",
         "json", "--prometheus", prometheus.url, *arguments],
        capture_output=True, text=True, timeout=60, env=os.environ | {"KUBECONFIG": os.devnull},
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout) if not done.returncode else done.stderr


def test_a_bad_release_is_found_in_the_history(prometheus: Prometheus) -> None:
    code, found = backtest(prometheus)
    assert code == 0, found
    ((release, plateaus),) = ((one, one["plateaus"]) for one in found)
    assert (release["stable"], release["went_back"], release["ending"]) == ("v1", True, "now")
    assert [(one["weight"], one["verdict"], one["check"]) for one in plateaus] == [(5, "ROLLBACK", "errors")]
    assert plateaus[0]["canary"]["failures"] == release["failed"]["until"] + release["failed"]["after"] > 0
    assert plateaus[0]["share"] == pytest.approx(0.05)


def test_where_nothing_was_counted_it_is_said(prometheus: Prometheus) -> None:
    code, error = backtest(prometheus, "--from", "v1", ago=86400)
    assert (code, "there are no counters of reviews" in error) == (2, True), error
    assert "the store has them from" in error
    code, error = backtest(prometheus, "--from", "v1", service="nobody")
    assert (code, "nor has the store any since" in error) == (2, True), error
