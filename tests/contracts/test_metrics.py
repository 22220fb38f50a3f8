"""The promises of the Metrics port: one suite for the virtual world, the playground's files, and a real Prometheus."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollout.adapters.counters import CounterFiles
from rollout.core.errors import Unavailable
from rollout.judge.looks import difference, grid_time
from rollout.ports import Metrics, Target
from tests.fakes.exporter import exporting
from tests.simulation.world import World

HOST = "reviews.shop.svc.cluster.local"
TARGET = Target(HOST, "shop", (), "v1", "v2")
STABLE, CANARY = 95, 5
"""Requests a second that both versions get in every world of this suite."""


@dataclass
class Store:
    """A store that has counted for some seconds, and ways to let time pass and to take it away."""

    metrics: Metrics
    wait: Callable[[float], None]
    away: Callable[[], None]


def _virtual() -> Store:
    world = World(seed=1, trouble=0.0, rps=STABLE + CANARY)
    routes = [
        {"destination": {"host": "reviews", "subset": version}, "weight": weight}
        for version, weight in (("v1", STABLE), ("v2", CANARY))
    ]
    world.edit(lambda vs: vs["spec"]["http"][1].update({"route": routes}))
    world.pass_time(6)
    return Store(world.metrics, world.pass_time, lambda: setattr(world.metrics, "down_until", world.now + 1e9))


def _files(folder: Path) -> Store:
    store, first = CounterFiles(folder), int(time.time()) - 6

    def count(until: int) -> None:
        for second in range(first, until + 1):
            n = second - first + 1
            rows = [("gateway", HOST, "v1", "all", STABLE * n), ("gateway", HOST, "v2", "all", CANARY * n)]
            store.keep(second, [(*row[:4], float(row[4])) for row in rows])

    def wait(seconds: float) -> None:
        time.sleep(seconds)
        count(int(time.time()))

    def away() -> None:
        for path in folder.glob("*.json"):
            path.unlink()

    count(int(time.time()))
    return Store(store, wait, away)


@pytest.fixture(scope="module", params=["virtual", "files", pytest.param("prometheus", marks=pytest.mark.real)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("metrics")
    if request.param == "virtual":
        yield _virtual()
    elif request.param == "files":
        yield _files(folder)
    else:
        from rollout.adapters.prometheus import PrometheusMetrics  # noqa: PLC0415
        from tests.real.servers import Prometheus, scraped  # noqa: PLC0415

        rows = [({"destination_version": "v1"}, STABLE), ({"destination_version": "v2"}, CANARY)]
        with exporting(rows) as port:
            server = Prometheus(folder, [f"127.0.0.1:{port}"])
            metrics = PrometheusMetrics(server.url)
            scraped(metrics, TARGET)
            yield Store(metrics, time.sleep, server.stop)
            server.stop()


def test_neighbouring_moments_differ_by_what_was_counted_between(store: Store) -> None:
    horizon = store.metrics.horizon(TARGET)
    assert horizon is not None
    end = grid_time(horizon, 1.0)
    before, after = store.metrics.snapshots(TARGET, end - 1, end, 1.0)
    assert (before.at, after.at) == (end - 1, end)
    look = difference(before, after, "v1", "v2")
    assert (look.stable.requests, look.canary.requests) == (STABLE, CANARY)


def test_what_lies_before_the_horizon_never_changes(store: Store) -> None:
    horizon = store.metrics.horizon(TARGET)
    assert horizon is not None
    end = grid_time(horizon, 1.0)
    once = store.metrics.snapshots(TARGET, end - 2, end, 1.0)
    store.wait(3)
    assert store.metrics.snapshots(TARGET, end - 2, end, 1.0) == once
    later = store.metrics.horizon(TARGET)
    assert later is not None
    assert later > horizon


def test_before_anything_was_counted_there_is_nothing(store: Store) -> None:
    found = store.metrics.snapshots(TARGET, 1000.0, 1002.0, 1.0)
    assert [(one.at, dict(one.counters)) for one in found] == [(1000.0, {}), (1001.0, {}), (1002.0, {})]


def test_the_interval_is_a_second(store: Store) -> None:
    assert store.metrics.interval(TARGET) == 1.0


def test_a_store_that_is_away_is_unavailable(store: Store) -> None:
    """The last one: it does not come back."""
    store.away()
    with pytest.raises(Unavailable):
        store.metrics.horizon(TARGET)
