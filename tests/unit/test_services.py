"""Two Services read as two versions, and their counters as those versions'."""

from dataclasses import dataclass
from typing import Any

from rollout.core.documents import Document
from rollout.engine.services import ByService
from rollout.judge.looks import ALL, Series, Snapshot
from rollout.mesh.routes import Pair, percents, sharing
from rollout.mesh.services import as_subsets, services_of
from rollout.ports import Asked, Settled, Target
from tests.fakes.unqueried import Unqueried

HOST = "reviews.shop.svc.cluster.local"


def vs(*routes: Document, hosts: tuple[str, ...] = ("reviews",)) -> Document:
    spec = {"hosts": list(hosts), "http": list(routes)}
    return {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": spec}


def to(weights: dict[str, int], **more: Any) -> Document:
    entries = []
    for name, weight in weights.items():
        host, _, subset = name.partition("/")
        entries.append({"destination": {"host": host} | ({"subset": subset} if subset else {}), "weight": weight})
    return {"route": entries, **more}


def test_flaggers_services_are_versions_of_the_host_that_the_virtual_service_is_for() -> None:
    read = as_subsets(vs(to({"reviews-primary": 75, "reviews-canary": 25})), HOST)
    assert sharing(read, HOST) == {"reviews-primary", "reviews-canary"}
    assert percents(read, Pair(HOST, "reviews-primary", "reviews-canary")) == [25]


def test_argos_stable_service_may_be_the_host_itself_behind_a_gateways_name() -> None:
    read = as_subsets(
        vs(to({"reviews": 90, "reviews-next.front.svc.cluster.local": 10}), hosts=("shop.example",)), HOST
    )
    assert sharing(read, HOST) == {"reviews", "reviews-next.front.svc.cluster.local"}


def test_what_names_subsets_or_another_service_alone_stays_as_it_is() -> None:
    for document in (
        vs(to({"reviews/v1": 90, "reviews/v2": 10})),
        vs(to({"reviews": 100})),
        vs(to({"ratings-a": 90, "ratings-b": 10}), hosts=("shop.example",)),
        vs(to({"reviews/v1": 90, "reviews-next": 10})),
    ):
        assert services_of(document, HOST) == set()
        assert as_subsets(document, HOST) is document


def test_a_route_with_a_match_shares_only_where_it_divides() -> None:
    matched = [{"uri": {"prefix": "/"}}]
    read = vs(to({"reviews/v1": 90, "reviews/v2": 10}, match=matched), to({"reviews/v3": 100}, match=matched))
    assert sharing(read, HOST) == {"v1", "v2"}


@dataclass
class Store(Unqueried):
    """Counts for each host what it was given, by the pods' versions; asked for all versions."""

    counts: dict[str, dict[str, float]]

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        assert (target.stable, target.canary, target.ports) == ("", "", ())
        found = self.counts[target.service]
        return [Snapshot(at, {Series("client", v, ALL): n for v, n in found.items()}) for at in (start, end)]

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        return {
            target: (self.snapshots(target, at, at, 1.0, edges)[0], self.horizon(target))
            for target, edges in asked.items()
        }

    def horizon(self, target: Target) -> float | None:
        return {"a.shop.svc.cluster.local": 90.0, "b.front.svc.cluster.local": 80.0}.get(target.service)

    def interval(self, target: Target) -> float | None:
        return {"shop": 15.0, "front": 30.0}[target.namespace]


def test_whatever_version_the_pods_carry_their_host_tells_whose_requests_they_were() -> None:
    one, other = "a.shop.svc.cluster.local", "b.front.svc.cluster.local"
    both = ByService(Store({one: {"v1": 7.0, "": 2.0}, other: {"v1": 4.0}}))
    target = Target(HOST, "shop", (9080,), one, other)
    settled, horizon = both.settled({target: ()}, 5.0)[target]
    assert horizon == 80.0
    for snapshot in (*both.snapshots(target, 0.0, 5.0, 5.0), settled):
        assert snapshot.counters == {Series("client", one, ALL): 9.0, Series("client", other, ALL): 4.0}
    assert both.horizon(target) == 80.0
    assert both.horizon(Target(HOST, "shop", (), one, "c.shop.svc.cluster.local")) == 90.0, "nobody asked it yet"
    assert both.horizon(Target(HOST, "shop", (), one, other, "destination")) is None
    assert both.interval(target) == 30.0
