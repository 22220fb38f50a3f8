"""The promises of the Metrics port: one suite for the virtual world, the playground's files, and a real Prometheus."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rollout.adapters.counters import CounterFiles
from rollout.core.errors import InvalidInput, Unavailable
from rollout.judge.looks import ALL, FAILED, REJECTED, Look, difference, grid_time, within
from rollout.ports import Metrics, Target
from tests.fakes.exporter import exporting, histogram
from tests.simulation.world import World

HOST = "reviews.shop.svc.cluster.local"
TARGET = Target(HOST, "shop", (), "v1", "v2")
INBOUND = Target("ratings.shop.svc.cluster.local", "shop", (), "v1", "v2", "destination")
"""Of this service the pods' own proxies count the same, and nobody else; the virtual world has no such."""
SHORT = Target("details.shop.svc.cluster.local", "shop", (), "v1", "v2")
"""Its clients name no domain, and a third version of it is counted; in the virtual world it is the same as all."""
STABLE, CANARY = 95, 5
"""Requests a second that both versions get in every world of this suite.

Stable answers all of them, in 400 ms; the canary rejects all of them.
"""
NONE = "vector(7) > 8"
BUCKETS = {"100": 0, "250": 0, "500": STABLE, "+Inf": STABLE}


@dataclass
class Store:
    """A store that has counted for some seconds, and ways to let time pass and to take it away."""

    metrics: Metrics
    wait: Callable[[float], None]
    away: Callable[[], None]
    pods: bool = True


def _virtual() -> Store:
    world = World(seed=1, trouble=0.0, rps=STABLE + CANARY)
    routes = [
        {"destination": {"host": "reviews", "subset": version}, "weight": weight}
        for version, weight in (("v1", STABLE), ("v2", CANARY))
    ]
    world.slow["v1"] = world.rejecting["v2"] = 1.0
    world.edit(lambda vs: vs["spec"]["http"][1].update({"route": routes}))
    world.metrics.answer = _answer
    world.metrics.sidecars = False
    world.pass_time(6)
    return Store(world.metrics, world.pass_time, lambda: setattr(world.metrics, "down_until", world.now + 1e9), False)


def _answer(promql: str, at: float) -> list[float]:
    """As Prometheus answers the expressions of this suite."""
    if promql == "max(":
        raise InvalidInput("it does not parse")
    return {"vector(7)": [7.0], NONE: [], "vector(0)/0": [math.nan]}[promql]


def _files(folder: Path) -> Store:
    store, first = CounterFiles(folder), int(time.time()) - 6

    def count(until: int) -> None:
        for second in range(first, until + 1):
            n = second - first + 1
            counts = [("v1", ALL, STABLE), ("v2", ALL, CANARY), ("v2", REJECTED, CANARY)]
            counts += [("v1", within(float(edge)), count) for edge, count in BUCKETS.items()]
            rows = [
                (*who, of, outcome, float(n * count))
                for of, outcome, count in counts
                for who in (
                    ("source", "gateway", HOST),
                    ("source", "gateway", SHORT.service),
                    ("destination", f"ratings-{of}", INBOUND.service),
                )
            ]
            store.keep(second, rows)

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

        pods = {"reporter": "destination", "destination_service": INBOUND.service}
        canary = {"destination_version": "v2", "response_code": "403"}
        short = {"destination_service": "details"}
        rows = [({}, STABLE), (canary, CANARY), (pods, STABLE), (pods | canary, CANARY)]
        rows += [(short, STABLE), (short | {"destination_version": "v3"}, CANARY)]
        with exporting(rows, histogram({}, BUCKETS) + histogram(pods, BUCKETS)) as address:
            server = Prometheus(folder, [address])
            metrics = PrometheusMetrics(server.url)
            scraped(metrics, TARGET)
            yield Store(metrics, time.sleep, server.stop)
            server.stop()


def last_second(store: Store, edges: tuple[float, ...] | None = (), target: Target = TARGET) -> Look:
    horizon = store.metrics.horizon(target)
    assert horizon is not None
    end = grid_time(horizon, 1.0)
    before, after = store.metrics.snapshots(target, end - 1, end, 1.0, edges)
    assert (before.at, after.at) == (end - 1, end)
    return difference(before, after, "v1", "v2", target.reporter == "destination")


def test_neighbouring_moments_differ_by_what_was_counted_between(store: Store) -> None:
    look = last_second(store)
    assert (look.stable.requests, look.canary.requests) == (STABLE, CANARY)


def test_a_rejected_request_is_no_failure(store: Store) -> None:
    look = last_second(store)
    assert (look.stable.failures, look.stable.rejections) == (0, 0)
    assert (look.canary.failures, look.canary.rejections) == (0, CANARY)


def test_the_histogram_has_the_edges_that_were_asked_for_and_exist(store: Store) -> None:
    answers = last_second(store, (250.0, 500.0, 777.0)).stable.answers
    assert answers == ((250.0, 0), (500.0, STABLE), (math.inf, STABLE))
    answers = last_second(store, None).stable.answers
    assert answers == ((100.0, 0), (250.0, 0), (500.0, STABLE), (math.inf, STABLE))


def test_where_no_edge_exists_every_answer_is_still_timed(store: Store) -> None:
    assert last_second(store, (777.0,)).stable.answers == ((math.inf, STABLE),)


def test_what_was_rejected_is_not_in_the_histogram(store: Store) -> None:
    for edges in ((500.0,), None):
        assert last_second(store, edges).canary.slower(500.0) == (0, 0)


def test_whoever_asks_for_no_edges_gets_no_histogram(store: Store) -> None:
    horizon = store.metrics.horizon(TARGET)
    assert horizon is not None
    (found,) = store.metrics.snapshots(TARGET, grid_time(horizon, 1.0), grid_time(horizon, 1.0), 1.0)
    assert {series.outcome for series in found.counters} <= {ALL, FAILED, REJECTED}


def test_where_the_pods_own_proxies_count_nothing_nobody_reports(store: Store) -> None:
    end = grid_time(store.metrics.horizon(TARGET) or 0, 1.0)
    served = replace(TARGET, reporter="destination")
    assert store.metrics.horizon(served) is None
    assert [dict(one.counters) for one in store.metrics.snapshots(served, end - 1, end, 1.0, None)] == [{}, {}]


def test_where_the_pods_own_proxies_count_they_report_as_the_clients_do(store: Store) -> None:
    if not store.pods:
        pytest.skip("only clients count here")
    look = last_second(store, (500.0,), INBOUND)
    assert (look.stable.requests, look.stable.failures, look.stable.rejections) == (STABLE, 0, 0)
    assert (look.canary.requests, look.canary.failures, look.canary.rejections) == (CANARY, 0, CANARY)
    assert look.stable.answers == ((500.0, STABLE), (math.inf, STABLE))
    assert store.metrics.interval(INBOUND) == 1.0
    end, asked = look.at, replace(INBOUND, reporter="source")
    assert store.metrics.horizon(asked) is None
    assert [dict(one.counters) for one in store.metrics.snapshots(asked, end - 1, end, 1.0, None)] == [{}, {}]


@pytest.mark.parametrize("edges", [(), (250.0, 500.0), None])
def test_a_moment_that_comes_with_the_horizon_is_as_it_is_alone(store: Store, edges: tuple[float, ...] | None) -> None:
    end = grid_time(store.metrics.horizon(TARGET) or 0, 1.0)
    found, horizon = store.metrics.settled({TARGET: edges}, end)[TARGET]
    assert [found] == store.metrics.snapshots(TARGET, end, end, 1.0, edges)
    assert found.counters
    assert horizon is not None
    assert horizon >= end


def test_a_moment_of_several_targets_is_that_of_each_alone(store: Store) -> None:
    end = grid_time(store.metrics.horizon(TARGET) or 0, 1.0)
    nobody = replace(TARGET, service="nobody.shop.svc.cluster.local")
    all_three: dict[Target, tuple[float, ...] | None] = {TARGET: (250.0, 500.0), SHORT: (), nobody: None}
    found = store.metrics.settled(all_three, end)
    assert found.keys() == all_three.keys()
    for target, edges in all_three.items():
        snapshot, horizon = store.metrics.settled({target: edges}, end)[target]
        assert snapshot == found[target][0]
        assert (horizon is None) is (found[target][1] is None)
    assert {series.version for series in found[SHORT][0].counters} <= {"v1", "v2"}
    assert any(found[SHORT][0].counters.values())


def test_whoever_asks_for_a_moment_too_early_is_told_so(store: Store) -> None:
    horizon = store.metrics.horizon(TARGET)
    assert horizon is not None
    _, now = store.metrics.settled({TARGET: ()}, horizon + 100)[TARGET]
    assert now is not None
    assert horizon <= now < horizon + 100


def test_where_nobody_reports_no_moment_has_counters_nor_a_horizon(store: Store) -> None:
    end = grid_time(store.metrics.horizon(TARGET) or 0, 1.0)
    asked = replace(TARGET, reporter="destination")
    found, horizon = store.metrics.settled({asked: None}, end)[asked]
    assert (dict(found.counters), horizon) == ({}, None)


def test_what_lies_before_the_horizon_never_changes(store: Store) -> None:
    horizon = store.metrics.horizon(TARGET)
    assert horizon is not None
    end = grid_time(horizon, 1.0)
    once = store.metrics.snapshots(TARGET, end - 2, end, 1.0, None)
    store.wait(3)
    assert store.metrics.snapshots(TARGET, end - 2, end, 1.0, None) == once
    later = store.metrics.horizon(TARGET)
    assert later is not None
    assert later > horizon


def test_before_anything_was_counted_there_is_nothing(store: Store) -> None:
    found = store.metrics.snapshots(TARGET, 1000.0, 1002.0, 1.0)
    assert [(one.at, dict(one.counters)) for one in found] == [(1000.0, {}), (1001.0, {}), (1002.0, {})]


def test_the_interval_is_a_second(store: Store) -> None:
    assert store.metrics.interval(TARGET) == 1.0


def test_an_expression_has_the_values_of_each_moment_or_is_refused(store: Store) -> None:
    """Where nobody knows PromQL each is."""
    values = store.metrics.values
    with pytest.raises(InvalidInput, match=r"pars|--prometheus URL"):
        values("max(", 1000.0, 1000.0, 1.0)
    if isinstance(store.metrics, CounterFiles):
        return
    assert values("vector(7)", 1000.0, 1002.5, 1.25) == [[(1000.0, 7.0), (1001.25, 7.0), (1002.5, 7.0)]]
    assert values("vector(7)", 1000.5, 1000.5, 1.0) == [[(1000.5, 7.0)]]
    assert values(NONE, 1000.0, 1060.0, 15.0) == []
    ((_, value),) = values("vector(0)/0", 1000.0, 1000.0, 1.0)[0]
    assert math.isnan(value)


def test_a_store_that_is_away_is_unavailable(store: Store) -> None:
    """The last one: it does not come back."""
    store.away()
    with pytest.raises(Unavailable):
        store.metrics.horizon(TARGET)
    if not isinstance(store.metrics, CounterFiles):
        with pytest.raises(Unavailable):
            store.metrics.values("vector(7)", 1000.0, 1000.0, 1.0)
