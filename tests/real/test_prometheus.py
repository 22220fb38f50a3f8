"""What becomes of the mesh's counters on their way through a real Prometheus."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from requests import PreparedRequest, Response

from rollout.adapters.bounded import Bounded
from rollout.adapters.prometheus import PrometheusMetrics
from rollout.adapters.questions import calls_query
from rollout.core.errors import InvalidInput, Unavailable, Unintelligible
from rollout.core.query import Aggregate, Effect, Measured, Query, measured
from rollout.engine.services import ByService
from rollout.judge.looks import Arm, Look, difference, grid_time
from rollout.ports import Target
from tests.conftest import needed
from tests.fakes.exporter import Row, exporting, histogram
from tests.real.servers import Prometheus, scraped

pytestmark = pytest.mark.real

HOST = "reviews.shop.svc.cluster.local"
CANARY = 'v2.1+b"|.*'
"""A version that would match everything, or end the query, if it were not escaped."""
CALLER = 're"views'
TARGET = Target(HOST, "shop", (9080,), "v1", CANARY)
SERVED = replace(TARGET, reporter="destination")


def named(service: str, **labels: str) -> dict[str, str]:
    """Labels of another service of the same namespace; an empty label is none."""
    return {"destination_service": f"{service}.shop.svc.cluster.local", **labels}


ROWS: list[Row] = [
    ({}, 100),
    ({"destination_service": f"{HOST}:9080"}, 10),
    ({"response_code": "404"}, 7),
    ({"response_code": "500"}, 5),
    ({"response_code": "0", "response_flags": "UF,URX"}, 4),
    ({"response_code": "503", "response_flags": "UC"}, 3),
    ({"grpc_response_status": "14"}, 2),
    ({"grpc_response_status": "5"}, 1),
    ({"grpc_response_status": "7"}, 30),
    ({"response_code": "404", "grpc_response_status": "12"}, 40),
    ({"response_code": "404", "grpc_response_status": "14"}, 200),
    ({"response_code": "404", "response_flags": "UT"}, 300),
    ({"response_code": "500", "grpc_response_status": "7"}, 400),
    ({"response_code": "503", "response_flags": "FI"}, 1000),
    ({"response_flags": "DI"}, 1000),
    ({"response_code": "0", "response_flags": "DC"}, 1000),
    ({"response_code": "404", "response_flags": "FI"}, 1000),
    ({"destination_service": "other.shop.svc.cluster.local"}, 1000),
    ({"destination_version": "v3"}, 1000),
    ({"destination_version": CANARY}, 20),
    ({"destination_version": CANARY, "response_code": "502"}, 2),
    ({"destination_version": "unknown", "response_code": "503", "response_flags": "UH"}, 6),
    (named("uncoded", response_code=""), 1),
    (named("unversioned", destination_version=""), 1),
    (named("unreported", reporter=""), 1),
    (named("unhosted", destination_version="unknown", response_code="503", response_flags="UH"), 1),
    (named("bare", reporter="", response_code="", destination_version=""), 1),
    (named("halved", response_code=""), 1),
    (named("halved", reporter="destination"), 1),
    (named("inbound", reporter="destination"), 1),
    (named("blind", reporter="destination", response_code=""), 1),
    (named("primary", destination_version="unknown"), 75),
    (named("canary", destination_version="unknown"), 20),
    (named("canary", destination_version="unknown", response_code="503", response_flags="UH"), 5),
    (named("called", destination_version="v1", source_workload_namespace="shop", source_app=CALLER), 5),
]
GOOD = {"100": 1, "250": 2, "2500": 3, "+Inf": 4}
BUCKETS: list[Row] = [
    *histogram({}, {"100": 10, "250": 60, "250.5": 65, "2500": 80, "25000": 85, "+Inf": 90}),
    *histogram({"response_code": "304"}, GOOD),
    *histogram({"response_code": "201", "grpc_response_status": "3"}, GOOD),
    *(
        row
        for labels in (
            {"response_code": "404"},
            {"response_code": "500"},
            {"response_code": "101"},
            {"response_code": "0"},
            {"grpc_response_status": "7"},
            {"grpc_response_status": "14"},
            {"response_flags": "UC"},
            {"response_flags": "DI"},
            {"destination_version": "v3"},
            {"destination_version": "unknown"},
            {"destination_version": ""},
            {"reporter": "destination"},
        )
        for row in histogram(labels, dict.fromkeys(GOOD, 1000))
    ),
    *histogram({"destination_version": CANARY}, {"100.0": 5, "2.5e+02": 9, "2.5e+03": 15, "+Inf": 20}),
    *histogram(named("primary", destination_version="unknown"), {"250": 70, "+Inf": 75}),
    *histogram(named("canary", destination_version="unknown"), {"250": 10, "+Inf": 20}),
    *histogram({"destination_version": CANARY}, {"250": 4, "oops": 1}),
]
"""The last are what an upgraded Prometheus still shows for some minutes: an edge as it was written before."""
POD: list[Row] = [
    ({"reporter": "destination"}, 50),
    ({"reporter": "destination", "response_code": "404"}, 4),
    ({"reporter": "destination", "response_code": "503", "response_flags": "FI"}, 1000),
    ({"reporter": "destination", "response_code": "0", "response_flags": "DC"}, 1000),
    ({"destination_version": CANARY}, 8),
]
POD_BUCKETS: list[Row] = [
    *histogram({"reporter": "destination"}, GOOD),
    *histogram({}, GOOD),
    *histogram({"destination_version": CANARY}, {"100": 3, "250": 6}),
]
"""As a client, this one does not say how many answers to the canary it timed."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrometheusMetrics, str, str]]:
    """The metrics, and the instances that a client's proxy and a pod's proxy are."""
    with exporting(ROWS, BUCKETS) as client, exporting(POD, POD_BUCKETS) as pod:
        instances = [client, pod]
        with needed():
            prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), instances)
        found = PrometheusMetrics(prometheus.url)
        scraped(found, TARGET)
        yield found, instances[0], instances[1]
        prometheus.stop()


@pytest.fixture(scope="module")
def metrics(servers: tuple[PrometheusMetrics, str, str]) -> PrometheusMetrics:
    return servers[0]


def last_second(metrics: PrometheusMetrics, target: Target, edges: tuple[float, ...] | None = ()) -> Look:
    horizon = metrics.horizon(target)
    assert horizon is not None
    end = grid_time(horizon, 1.0)
    before, after = metrics.snapshots(target, end - 1, end, 1.0, edges)
    return difference(before, after, "v1", CANARY)


def arms(look: Look, instance: str) -> tuple[Arm, Arm]:
    (found,) = (one for one in look.increments if one.instance == instance)
    return found.stable, found.canary


FAILURES = 5 + 4 + 3 + 2 + 200 + 300 + 400
REJECTIONS = 7 + 1 + 30 + 40


def test_failures_are_what_the_user_got_and_nobody_injected(servers: tuple[PrometheusMetrics, str, str]) -> None:
    metrics, client, _ = servers
    look = last_second(metrics, TARGET)
    assert arms(look, client) == (Arm(100 + 10 + FAILURES + REJECTIONS, FAILURES, REJECTIONS), Arm(22, 2))
    assert look.unattributed == Arm(6, 6)


def test_the_histogram_is_of_good_answers_however_their_edges_are_written(
    servers: tuple[PrometheusMetrics, str, str],
) -> None:
    metrics, client, _ = servers
    stable, canary = arms(last_second(metrics, TARGET, (250.0, 2500.0, 7.0)), client)
    assert stable.answers == ((250.0, 64), (2500.0, 86), (math.inf, 98))
    assert canary.answers == ((250.0, 9), (2500.0, 15), (math.inf, 20))
    assert (stable.requests, canary.requests) == (100 + 10 + FAILURES + REJECTIONS, 22)


def test_two_services_without_versions_are_told_apart_by_their_hosts(
    servers: tuple[PrometheusMetrics, str, str],
) -> None:
    metrics, client, _ = servers
    both = ByService(metrics)
    target = replace(TARGET, stable="primary.shop.svc.cluster.local", canary="canary.shop.svc.cluster.local")
    horizon = both.horizon(target)
    assert horizon is not None
    end = grid_time(horizon, 1.0)
    before, after = both.snapshots(target, end - 1, end, 1.0, (250.0,))
    look = difference(before, after, target.stable, target.canary)
    stable, canary = arms(look, client)
    assert (stable.untimed, stable.answers) == (Arm(75), ((250.0, 70), (math.inf, 75)))
    assert (canary.untimed, canary.answers) == (Arm(25, 5), ((250.0, 10), (math.inf, 20)))
    assert both.interval(target) == 1.0


def test_without_a_choice_of_edges_there_are_all_that_are_numbers(servers: tuple[PrometheusMetrics, str, str]) -> None:
    metrics, client, _ = servers
    look = last_second(metrics, TARGET, None)
    stable, canary = arms(look, client)
    assert [edge for edge, _ in stable.answers] == [100.0, 250.0, 250.5, 2500.0, 25000.0, math.inf]
    assert [edge for edge, _ in canary.answers] == [100.0, 250.0, 2500.0, math.inf]
    assert look.unattributed == Arm(6, 6)


def test_an_instance_whose_histogram_has_no_end_has_none(servers: tuple[PrometheusMetrics, str, str]) -> None:
    metrics, _, pod = servers
    for edges in ((100.0, 250.0), None):
        assert arms(last_second(metrics, TARGET, edges), pod) == (Arm(), Arm(8))


def test_the_pods_own_proxies_report_as_the_clients_do(servers: tuple[PrometheusMetrics, str, str]) -> None:
    metrics, client, pod = servers
    look = last_second(metrics, SERVED, (250.0,))
    assert arms(look, pod) == (Arm(54, 0, 4, ((250.0, 2), (math.inf, 4))), Arm())
    assert client not in {one.instance for one in look.increments if one.stable.requests}


def test_moments_between_whole_seconds_are_those_that_were_asked_for(metrics: PrometheusMetrics) -> None:
    end = grid_time(metrics.horizon(TARGET) or 0.0, 1.0) - 0.5
    found = metrics.snapshots(TARGET, end - 1.0, end, 1.0, (250.0,))
    assert [one.at for one in found] == [end - 1.0, end]
    assert all(one.counters for one in found)


def test_many_services_are_asked_for_at_once(metrics: PrometheusMetrics) -> None:
    """Each gets what it would get alone: its own versions of interest, its own edges, whatever ports clients name."""
    other = replace(TARGET, service="other.shop.svc.cluster.local", canary="v2")
    nobody = replace(TARGET, service="nobody.shop.svc.cluster.local")
    asked: dict[Target, tuple[float, ...] | None] = {TARGET: (250.0,), other: (), nobody: None}
    end = grid_time(metrics.horizon(TARGET) or 0.0, 1.0)
    together = metrics.snapshots_of(asked, end - 2, end, 1.0)
    for target, edges in asked.items():
        (before, after), (one, two) = together[target][-2:], metrics.snapshots(target, end - 1, end, 1.0, edges)
        for mine, alone in ((before, one), (after, two)):
            assert mine.at == alone.at
            assert alone.counters.items() <= mine.counters.items()
        looks = [difference(*pair, target.stable, target.canary) for pair in ((before, after), (one, two))]
        assert (looks[0].stable, looks[0].canary) == (looks[1].stable, looks[1].canary)
    assert together[other][-1].counters
    assert not together[nobody][-1].counters


def test_no_url_grows_with_the_services(metrics: PrometheusMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    urls: list[str] = []
    send = Bounded.send

    def noted(own: Bounded, request: PreparedRequest, **settings: Any) -> Response:
        urls.append(str(request.url))
        return send(own, request, **settings)

    monkeypatch.setattr(Bounded, "send", noted)
    end = metrics.horizon(TARGET) or 0.0
    metrics.snapshots_of({replace(TARGET, service=f"s{i}.shop"): (250.0,) for i in range(100)}, end, end, 1.0)
    assert len(urls) == 3
    assert not any("?" in url for url in urls)


@pytest.mark.parametrize(
    ("service", "lacking"),
    [
        ("uncoded", "response_code"),
        ("unversioned", "destination_version"),
        ("unreported", "reporter"),
        ("bare", "reporter"),
        ("halved", "response_code"),
        ("blind", "response_code"),
    ],
)
def test_counters_that_lost_a_label_are_named(metrics: PrometheusMetrics, service: str, lacking: str) -> None:
    with pytest.raises(Unintelligible, match=f"{service}.*lack the label {lacking},"):
        metrics.interval(Target(f"{service}.shop.svc.cluster.local", "shop", (), "v1", "v2"))


def test_whoever_else_reports_lacks_no_label(metrics: PrometheusMetrics) -> None:
    inbound = Target("inbound.shop.svc.cluster.local", "shop", (), "v1", "v2")
    assert (metrics.interval(inbound), metrics.horizon(inbound)) == (None, None)
    assert metrics.interval(replace(inbound, reporter="destination")) == 1.0


def test_requests_without_a_host_lack_no_label(metrics: PrometheusMetrics) -> None:
    for service, reporter in (("unhosted", "source"), ("halved", "destination"), ("reviews", "destination")):
        target = Target(f"{service}.shop.svc.cluster.local", "shop", (), "v1", "v2", reporter)
        assert metrics.interval(target) == 1.0


def test_the_horizon_is_the_last_scrape_and_the_interval_that_of_the_target(metrics: PrometheusMetrics) -> None:
    horizon = metrics.horizon(TARGET)
    assert horizon is not None
    assert 0 <= time.time() - horizon < 3
    assert metrics.interval(TARGET) == 1.0
    nobody = Target("nobody.shop.svc.cluster.local", "shop", (), "v1", "v2")
    assert metrics.horizon(nobody) is None
    assert metrics.interval(nobody) is None


# Queries of the user's


def ask(metrics: PrometheusMetrics, promql: str, **more: Any) -> Measured:
    query = Query("q", promql, **{"max": 0.0, **more})
    now = time.time()
    filled = query.filled(canary=CANARY, stable="v1", service="reviews", namespace="shop")
    return measured(query, metrics.values(filled, *query.window(now)), now)


def test_a_query_finds_the_canary_by_what_its_counters_carry(metrics: PrometheusMetrics) -> None:
    """Whatever is in its name."""
    found = ask(metrics, 'max(istio_requests_total{destination_version="$canary",response_code="502"})')
    assert found.value is not None
    assert found.value > 0
    assert found.effect is Effect.HOLD


def test_a_number_alone_is_a_value_too(metrics: PrometheusMetrics) -> None:
    assert ask(metrics, "7").value == 7.0


def test_a_breach_must_have_lasted(metrics: PrometheusMetrics) -> None:
    up = 'max(up{job="envoy"})'
    assert ask(metrics, up, lasting=2.0).text == "q is 1, above 0 for 2s"
    assert ask(metrics, up, lasting=900.0).text == "q is 1, above 0, but not yet for 15m"
    assert ask(metrics, f"{up} and on() (vector(time()) > {time.time() - 1:.0f})", lasting=4.0).effect is None


def test_no_number_is_no_data(metrics: PrometheusMetrics) -> None:
    for promql in ("vector(0) / 0", "vector(1) / 0", "nothing_of_that_name"):
        assert ask(metrics, promql).text == "q has no data"


def test_several_series_need_an_aggregate(metrics: PrometheusMetrics) -> None:
    with pytest.raises(InvalidInput, match="2 series came back"):
        ask(metrics, "up")
    assert ask(metrics, "up", aggregate=Aggregate.SUM).value == 2.0


LONG = " or ".join(f'label_replace(vector(1), "one", "{i}", "", "")' for i in range(40))


@pytest.mark.parametrize(
    ("promql", "said"),
    [
        ("max(up", "parse error: unclosed left parenthesis"),
        ("up[5m]", 'invalid expression type "range vector"'),
        ('"text"', 'invalid expression type "string"'),
        ("up * on() up", "found duplicate series"),
        (LONG, "longer than 4 MB"),
    ],
)
def test_what_prometheus_cannot_answer_is_told_in_its_words(metrics: PrometheusMetrics, promql: str, said: str) -> None:
    now = time.time()
    with pytest.raises(InvalidInput) as told:
        metrics.values(promql, now - 10_000, now, 1.0)
    assert said in str(told.value)


def test_nobody_there_is_no_fault_of_the_query() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        PrometheusMetrics("http://127.0.0.1:1").values("up", 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("namespace", "app", "host", "calls"),
    [
        ("shop", CALLER, "called", True),
        ("shop", "", "called", True),
        ("shop", "reviews", "called", False),
        ("other", CALLER, "called", False),
        ("shop", CALLER, "c.lled", False),
        ("shop", CALLER, "primary", False),
    ],
)
def test_who_calls_whom(
    servers: tuple[PrometheusMetrics, str, str], namespace: str, app: str, host: str, calls: bool
) -> None:
    metrics, now = servers[0], time.time()
    asked = calls_query(namespace, app, f"{host}.shop.svc.cluster.local")
    assert bool(metrics.values(asked, now, now, 1.0)) is calls
