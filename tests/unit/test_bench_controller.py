"""What the comparison with the peers rests on: its metrics server, what it counts, and its table."""

import json
import time
from collections.abc import Iterator

import pytest

from bench.controller import metrics
from bench.controller.audit import counted
from bench.controller.metrics import RATE, Metrics, scraped
from bench.controller.readiness import ready
from bench.controller.table import BEGIN, END, README, put, recorded, table
from bench.controller.watching import canary_weight
from rollout.adapters.prometheus import PrometheusMetrics
from rollout.core.errors import Unavailable
from rollout.judge.looks import difference
from rollout.ports import Target

TARGET = Target("app3.bench.svc.cluster.local", "bench", (80,), "v1", "v2")


class Clock:
    """Stands until it is set."""

    def __init__(self) -> None:
        self.at = float(int(time.time()))

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[Metrics]:
    made = Metrics(now=clock)
    try:
        yield made
    finally:
        made.close()


def test_the_metrics_server_counts_what_the_weight_says(
    server: Metrics, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SCRAPED", 0.0)
    server.traffic.weighs("app3", 25)
    clock.at += 2
    server.traffic.fails("app3", 0.5)
    clock.at += 2
    ours = PrometheusMetrics(server.url)
    assert ours.horizon(TARGET) == clock.at
    assert ours.interval(TARGET) == 1.0
    good, bad, late = ours.snapshots(TARGET, clock.at - 4, clock.at, 2.0)
    before, after = (difference(a, b, "v1", "v2").increments[0] for a, b in ((good, bad), (bad, late)))
    assert (before.stable.requests, before.canary.requests) == (0.75 * 2 * RATE, 0.25 * 2 * RATE)
    assert before.canary.failures == 0
    assert after.canary.failures == 0.5 * after.canary.requests == 0.125 * 2 * RATE
    end = time.monotonic() + 5.0
    while not server.bad["app3"] and time.monotonic() < end:
        time.sleep(0.01)  # it is noted after the answer
    assert server.bad["app3"] == [clock.at]


@pytest.mark.parametrize(
    ("at", "every", "last"), [(7.5, 1, 7.37), (7.2, 1, 6.37), (20.3, 10, 10.37), (29.9, 10, 20.37)]
)
def test_counters_are_read_now_and_then(at: float, every: float, last: float) -> None:
    assert scraped(at, every) == pytest.approx(last)


def test_a_metrics_server_that_is_gone_answers_nothing(server: Metrics) -> None:
    server.down = True
    with pytest.raises(Unavailable):
        PrometheusMetrics(server.url).horizon(TARGET)


def test_requests_are_counted_once_by_user() -> None:
    def line(user: str, verb: str, stage: str, resource: str, code: int = 200, subresource: str = "") -> str:
        ref = {"resource": resource} | ({"subresource": subresource} if subresource else {})
        entry = {"stage": stage, "verb": verb, "user": {"username": user}, "objectRef": ref, "requestURI": "/"}
        return json.dumps(entry | {"responseStatus": {"code": code}})

    found = counted(
        [
            line("ours", "get", "RequestReceived", "pods"),
            line("ours", "get", "ResponseComplete", "pods"),
            line("ours", "watch", "ResponseStarted", "pods"),
            line("ours", "watch", "ResponseComplete", "pods"),
            line("ours", "patch", "ResponseComplete", "canaries", 409, "status"),
            line("ours", "patch", "ResponseComplete", "leases"),
            line("admin", "get", "ResponseComplete", "pods"),
            line("ours", "get", "ResponseComplete", "pods")[:-9],
        ],
        "ours",
    )
    assert found.requests == {"get pods": 1, "watch pods": 1, "patch canaries/status": 1}
    assert (found.total, found.reads, found.leases, found.refused) == (3, 2, 1, {"409": 1})


def test_the_canary_is_known_by_its_subset_or_its_host() -> None:
    def weighs(*entries: tuple[dict[str, str], int]) -> int:
        route = [{"destination": to, "weight": weight} for to, weight in entries]
        return canary_weight({"spec": {"http": [{"route": []}, {"route": route}]}})

    assert weighs(({"host": "a", "subset": "v1"}, 75), ({"host": "a", "subset": "v2"}, 25)) == 25
    assert weighs(({"host": "a-primary"}, 60), ({"host": "a-canary.bench.svc"}, 40)) == 40


def test_a_workload_is_ready_as_it_was_asked_for() -> None:
    document = {"metadata": {"generation": 3}, "spec": {"replicas": 2}}
    for plural in ("deployments", "replicasets"):
        assert ready(plural, document).items() >= {"observedGeneration": 3, "availableReplicas": 2}.items()


def test_the_table_compares_with_the_best_peer() -> None:
    def line(controller: str, requests: float, raised: bool = False) -> dict[str, object]:
        interval = 1.0 if controller == "ours" else 10.0
        case = {"controller": controller, "scenario": "rollout", "services": 10, "bake": 10.0, "interval": interval}
        baked = {"n": 1, "min": 9.5, "median": 10.0, "max": 11.0}
        numbers = {"requests_per_rollout": requests, "cpu_per_rollout": 0.5, "baked": baked}
        return case | {"raised": raised} | numbers

    rows = table([line("ours", 99), line("argo", 60), line("flagger", 150, raised=True), line("ours", 20)])
    assert "| Flagger | Argo Rollouts | rollout |" in rows
    assert "| requests for one rollout; 10 services | 150 with limits raised | 60 | 20 | 3 |" in rows


def test_the_table_goes_where_the_readme_has_a_place_for_it() -> None:
    text = f"before\n{BEGIN}old\n{END}after\n"
    assert put(put(text, "old"), "new") == f"before\n{BEGIN}new\n{END}after\n"
    assert put("nowhere\n", "new") == "nowhere\n"


def test_the_readme_tells_what_was_measured_last() -> None:
    text = README.read_text()
    assert text.count(BEGIN) <= 1
    assert put(text, table(recorded())) == text
