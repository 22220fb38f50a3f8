"""`rollout check`: what is missing is named before a promotion needs it."""

import math
from dataclasses import dataclass

from rollout.cli.checking import checked
from rollout.core.documents import SERVICE
from rollout.judge.looks import ALL, Series, Snapshot, within
from rollout.ports import Target
from tests.fakes.memory import MemoryCluster
from tests.fakes.unqueried import Unqueried


@dataclass
class Store(Unqueried):
    """A metrics store with one reporting proxy."""

    reporter: str
    timed: bool

    def interval(self, target: Target) -> float | None:
        return 15.0 if target.reporter == self.reporter else None

    def horizon(self, target: Target) -> float | None:
        return 990.0 if target.reporter == self.reporter else None

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
