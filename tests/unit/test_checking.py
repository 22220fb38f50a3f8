"""`rollout check`: what is missing is named before a promotion needs it."""

import math
from dataclasses import dataclass

from rollout.cli.checking import Finding, checked
from rollout.core.address import SecretKey
from rollout.core.documents import SECRET, SERVICE, SERVICE_ROLLOUT
from rollout.core.query import Hook
from rollout.judge.looks import ALL, Series, Snapshot, within
from rollout.ports import Target
from tests.fakes.memory import MemoryCluster
from tests.fakes.unqueried import Unqueried
from tests.simulation.world import strategy


@dataclass
class Store(Unqueried):
    """A metrics store with one reporting proxy."""

    reporter: str
    timed: bool
    newest: float = 990.0

    def interval(self, target: Target) -> float | None:
        return 15.0 if target.reporter == self.reporter else None

    def horizon(self, target: Target) -> float | None:
        return self.newest if target.reporter == self.reporter else None

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        counters = {Series("envoy", "v1", ALL): 5.0}
        if self.timed:
            counters[Series("envoy", "v1", within(math.inf))] = 5.0
        return [Snapshot(start, counters), Snapshot(end, counters)]


def told(store: Store) -> list[tuple[bool, str]]:
    cluster = MemoryCluster()
    cluster.create(SERVICE, {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {}})
    return [(one.good, one.text) for one in checked(cluster, store, "reviews", "shop", 1000.0)][-4:]


def test_what_came_while_we_asked_is_not_of_the_future() -> None:
    assert (True, "the newest are complete up to 0.0 s ago") in told(Store("source", timed=True, newest=1000.6))


def test_clients_that_time_their_answers_are_all_it_takes() -> None:
    assert told(Store("source", timed=True)) == [
        (True, "counters are read every 15 s"),
        (True, "the newest are complete up to 10.0 s ago"),
        (True, "1 client(s) report reviews.shop.svc.cluster.local; versions with requests: v1"),
        (True, "answers are timed"),
    ]


def test_pods_that_report_alone_and_a_missing_histogram_are_said() -> None:
    *_, reporters, timed = told(Store("destination", timed=False))
    assert reporters[0] is timed[0] is False
    assert "only 1 of its pods' own proxies report" in reporters[1]
    assert "leave the check `latency` out" in timed[1]


def test_with_a_strategy_its_webhooks_and_secrets_are_looked_at_and_no_prometheus_that_it_does_not_need() -> None:
    cluster, kept = MemoryCluster(), SecretKey("hooks", "budget")
    cluster.create(SERVICE, {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {}})
    made = strategy(checks=(), queries=(Hook("budget", kept, max=5),), notify=SecretKey("hooks", "slack"))
    urls = {"budget": "https://slo.example/s3cret"}
    cluster.create(SECRET, {"metadata": {"name": "hooks", "namespace": "shop"}, "stringData": urls})
    assert list(checked(cluster, None, "reviews", "shop", 1000.0, made))[-4:] == [
        Finding(True, "webhook budget: asking the URL in Secret hooks, key budget, at most 5"),
        Finding(True, "Secret hooks, key budget holds a URL"),
        Finding(False, "Secret hooks in namespace shop has no key slack"),
        Finding(False, "no Prometheus named: --prometheus URL or ROLLOUT_PROMETHEUS", needed=False),
    ]
    assert list(checked(cluster, None, "reviews", "shop", 1000.0))[-1].needed


def test_what_the_object_names_is_looked_at_too_and_what_is_wrong_in_it_is_said() -> None:
    cluster = MemoryCluster()
    cluster.create(SERVICE, {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {}})
    spec = {"service": "reviews", "version": "v2", "notify": {"url": {"secret": "hooks", "key": "slack"}}}
    cluster.create(SERVICE_ROLLOUT, {"metadata": {"name": "ours", "namespace": "shop"}, "spec": spec})
    lacks = Finding(False, "there is no Secret hooks in namespace shop; create it, with the URL under the key slack")
    for named in (None, strategy()):
        assert list(checked(cluster, None, "reviews", "shop", 1000.0, named))[-2] == lacks
    cluster.documents[SERVICE_ROLLOUT.name, "shop", "ours"]["spec"] = spec | {"notify": {"url": "x"}}
    told = [one.text for one in checked(cluster, None, "reviews", "shop", 1000.0) if not one.good]
    assert told[0].startswith("ServiceRollout shop/ours: spec.notify.url: this is no URL")
