"""What becomes of the mesh's counters on their way through a real Prometheus."""

import time
from collections.abc import Iterator

import pytest

from rollout.adapters.prometheus import PrometheusMetrics
from rollout.judge.looks import Arm, difference, grid_time
from rollout.ports import Target
from tests.conftest import unavailable
from tests.fakes.exporter import Row, exporting
from tests.real.parts import Missing
from tests.real.servers import Prometheus, scraped

pytestmark = pytest.mark.real

HOST = "reviews.shop.svc.cluster.local"
CANARY = 'v2.1+b"|.*'
"""A version that would match everything, or end the query, if it were not escaped."""
TARGET = Target(HOST, "shop", (9080,), "v1", CANARY)
ROWS: list[Row] = [
    ({}, 100),
    ({"destination_service": f"{HOST}:9080"}, 10),
    ({"response_code": "404"}, 7),
    ({"response_code": "500"}, 5),
    ({"response_code": "0", "response_flags": "UF,URX"}, 4),
    ({"response_code": "503", "response_flags": "UC"}, 3),
    ({"grpc_response_status": "14"}, 2),
    ({"grpc_response_status": "5"}, 1),
    ({"response_code": "503", "response_flags": "FI"}, 1000),
    ({"response_flags": "DI"}, 1000),
    ({"response_code": "0", "response_flags": "DC"}, 1000),
    ({"reporter": "destination"}, 1000),
    ({"destination_service": "other.shop.svc.cluster.local"}, 1000),
    ({"destination_version": "v3"}, 1000),
    ({"destination_version": CANARY}, 20),
    ({"destination_version": CANARY, "response_code": "502"}, 2),
    ({"destination_version": "unknown", "response_code": "503", "response_flags": "UH"}, 6),
]


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusMetrics]:
    with exporting(ROWS) as port:
        try:
            prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), [f"127.0.0.1:{port}"])
        except Missing as reason:
            unavailable(reason)
            return
        found = PrometheusMetrics(prometheus.url)
        scraped(found, TARGET)
        yield found
        prometheus.stop()


def test_failures_are_what_the_user_got_and_nobody_injected(metrics: PrometheusMetrics) -> None:
    horizon = metrics.horizon(TARGET)
    assert horizon is not None
    end = grid_time(horizon, 1.0)
    before, after = metrics.snapshots(TARGET, end - 1, end, 1.0)
    look = difference(before, after, "v1", CANARY)
    assert look.stable == Arm(100 + 10 + 7 + 5 + 4 + 3 + 2 + 1, 5 + 4 + 3 + 2)
    assert look.canary == Arm(22, 2)
    assert look.unattributed == Arm(6, 6)


def test_the_horizon_is_the_last_scrape_and_the_interval_that_of_the_target(metrics: PrometheusMetrics) -> None:
    horizon = metrics.horizon(TARGET)
    assert horizon is not None
    assert 0 <= time.time() - horizon < 3
    assert metrics.interval(TARGET) == 1.0
    nobody = Target("nobody.shop.svc.cluster.local", "shop", (), "v1", "v2")
    assert metrics.horizon(nobody) is None
    assert metrics.interval(nobody) is None
