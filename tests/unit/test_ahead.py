"""How little a store is asked by who looks again and again, and that no answer is another for it."""

import functools
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.core.documents import Document
from rollout.core.errors import Unavailable
from rollout.core.lifecycle import Phase
from rollout.engine import ahead, looking
from rollout.engine.ahead import Ahead
from rollout.engine.looking import Eyes
from rollout.engine.observing import observe, read_scene
from rollout.engine.survey import survey
from rollout.judge.looks import ALL, Series, Snapshot
from rollout.ports import Asked, Settled, Target
from tests.fakes.unqueried import Unqueried
from tests.simulation.world import VirtualMetrics, World

TARGET = Target("reviews.shop.svc.cluster.local", "shop", (), "v1", "v2")


@dataclass
class Store(Unqueried):
    """Counts a hundred requests a second, of which it knows until `now`; notes what it is asked."""

    now: float = 10.0
    asked: list[str] = field(default_factory=list)

    def _at(self, at: float) -> Snapshot:
        return Snapshot(at, {Series("client", "v1", ALL): 100 * at})

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        self.asked.append("snapshots")
        return [self._at(start + step * i) for i in range(round((end - start) / step) + 1)]

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        self.asked.append("settled")
        return {target: (self._at(min(at, self.now)), self.now) for target in asked}

    def horizon(self, target: Target) -> float | None:
        self.asked.append("horizon")
        return self.now

    def interval(self, target: Target) -> float | None:
        return 1.0


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def metrics(store: Store) -> Ahead:
    """After a look that ended at 10."""
    made = Ahead(store)
    made.snapshots(TARGET, 9.0, 10.0, 1.0)
    made.expect(11.0)
    store.asked.clear()
    return made


def look(metrics: Ahead, start: float, end: float) -> list[tuple[float, float]]:
    return [(one.at, sum(one.counters.values())) for one in metrics.snapshots(TARGET, start, end, 1.0)]


def test_each_look_that_is_there_is_one_question(store: Store, metrics: Ahead) -> None:
    for end in (11.0, 12.0, 13.0):
        store.now = end + 0.4
        assert metrics.horizon(TARGET) == store.now
        assert look(metrics, end - 1, end) == [(end - 1, 100 * (end - 1)), (end, 100 * end)]
        metrics.expect(end + 1)
    assert store.asked == ["settled"] * 3


def test_a_look_that_is_awaited_is_asked_for_until_it_is_there(store: Store, metrics: Ahead) -> None:
    for now in (10.0, 10.5, 11.5):
        store.now = now
        assert metrics.horizon(TARGET) == now
    assert look(metrics, 10.0, 11.0) == [(10.0, 1000.0), (11.0, 1100.0)]
    assert store.asked == ["settled"] * 3


def test_after_a_question_that_is_not_answered_the_look_is_taken_as_ever(
    store: Store, metrics: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a store that refuses this one alone."""

    def refused(asked: Asked, at: float) -> dict[Target, Settled]:
        raise Unavailable("422")

    monkeypatch.setattr(store, "settled", refused)
    for end in (11.0, 12.0):
        store.now = end
        with pytest.raises(Unavailable):
            metrics.horizon(TARGET)
        assert metrics.horizon(TARGET) == end
        assert look(metrics, end - 1, end)[-1] == (end, 100 * end)
        metrics.expect(end + 1)


@pytest.mark.parametrize("span", [(10.0, 12.0), (10.5, 11.5), (9.0, 10.0)])
def test_a_look_that_is_another_than_the_expected_is_asked_for(
    store: Store, metrics: Ahead, span: tuple[float, float]
) -> None:
    """More than one has come, or the grid began anew where another weight came to stand."""
    store.now = 12.0
    metrics.horizon(TARGET)
    assert look(metrics, *span)[-1] == (span[1], 100 * span[1])
    assert store.asked == ["settled", "snapshots"]


def test_what_is_known_is_known_of_its_target_and_its_edges_alone(store: Store, metrics: Ahead) -> None:
    store.now = 11.0
    other = replace(TARGET, reporter="destination")
    assert metrics.horizon(other) == 11.0
    metrics.expect(11.0)
    metrics.horizon(TARGET)
    metrics.snapshots(TARGET, 10.0, 11.0, 1.0, (250.0,))
    assert store.asked == ["horizon", "settled", "snapshots"]


def test_what_is_large_is_not_kept(store: Store, metrics: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "FEW", 0)
    store.now = 11.0
    metrics.horizon(TARGET)
    look(metrics, 10.0, 11.0)
    metrics.expect(12.0)
    store.now = 12.0
    metrics.horizon(TARGET)
    look(metrics, 11.0, 12.0)
    assert store.asked == ["settled", "horizon", "snapshots"]


class Clocked(VirtualMetrics):
    """The world's counters by a clock that is `ahead` of ours, `late` seconds after they were counted."""

    ahead, late = 0.0, 1.0

    def horizon(self, target: Target) -> float | None:
        return self.world.now + self.ahead - self.late

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        found = super().snapshots(target, start - self.ahead, end - self.ahead, step, edges)
        return [replace(one, at=one.at + self.ahead) for one in found]


class TwoQuestions(Ahead):
    """As looks were taken before."""

    def horizon(self, target: Target) -> float | None:
        return self._metrics.horizon(target)

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        return self._metrics.snapshots(target, start, end, step, edges)


def _routed(entries: list[Document], vs: Document) -> None:
    vs["spec"]["http"][1]["route"] = entries


def judged(kind: type[Ahead], ahead: float, late: float, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is remembered after each second of a rollout from 5 to 25 and 50 %."""
    monkeypatch.setattr(looking, "Ahead", kind)
    world = World(seed=1, trouble=0.0)
    metrics = Clocked(world)
    metrics.ahead, metrics.late = ahead, late
    world.metrics = metrics
    world.pass_time(60)
    eyes, found = Eyes(metrics), list[dict[str, Any]]()
    attempt = replace(survey(world.cluster, world.request(), 1, world.now), phase=Phase.SHIFTING)
    for step, weight in enumerate((5, 25, 50)):
        entries = [
            {"destination": {"host": "reviews", "subset": version}, "weight": share}
            for version, share in (("v1", 100 - weight), ("v2", weight))
        ]
        world.edit(functools.partial(_routed, entries))
        world.pass_time(0.25)  # the grid begins anew
        attempt = replace(attempt, weight=Decimal(weight), step=step, since=world.now, landed=world.now)
        for second in range(12):
            world.pass_time(2.5 if second == 7 else 1)  # more than a look comes at once
            scene = read_scene(world.cluster, attempt)
            seen = observe(world.cluster, attempt, scene, world.now)
            eyes.reading(seen, scene.target(attempt))
            found.append(eyes.remembered_by(attempt).checkpoint)
    return found


@pytest.mark.parametrize(("ahead", "late"), [(0.0, 1.0), (0.0, 0.2), (0.0, 5.5), (20.0, 1.0), (-20.0, 1.0)])
def test_whatever_the_clocks_say_the_same_looks_are_judged(
    ahead: float, late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (judged(kind, ahead, late, monkeypatch) for kind in (Ahead, TwoQuestions))
    assert one == two
    assert one[-1]["counts"]["canary"]["requests"] > 0 or ahead < 0


@pytest.mark.parametrize("ahead", [0.0, 200.0])
def test_a_store_whose_clock_is_ahead_is_looked_at_as_often(ahead: float, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [one["at"] for one in judged(Ahead, ahead, 0.5, monkeypatch)]
    assert len(set(ends)) >= 18, "every other second"
