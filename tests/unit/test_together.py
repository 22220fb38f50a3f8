"""Who asks for the same moment asks once, for all; and nobody suffers from whom he was asked for together with."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from rollout.adapters import clock
from rollout.controller import together
from rollout.controller.together import Together
from rollout.core.errors import Unavailable, Unintelligible
from rollout.judge.looks import ALL, Series, Snapshot
from rollout.ports import Asked, Edges, Settled, Target
from tests.fakes.unqueried import Unqueried

A, B, C = (Target(f"{name}.shop.svc.cluster.local", "shop", (), "v1", "v2") for name in "abc")


@dataclass
class Store(Unqueried):
    """Knows all counters until `known`; notes for whom it was asked, and when."""

    known: float = 100.0
    asked: list[tuple[str, float]] = field(default_factory=list)
    edges: dict[Target, Edges] = field(default_factory=dict)
    refuses: dict[int, Exception] = field(default_factory=dict)
    """What it says to questions for so many."""
    until: threading.Event | None = None

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        self.asked.append(("".join(sorted(one.service[0] for one in asked)), at))
        self.edges |= asked
        if self.until:
            self.until.wait(10.0)
        if len(asked) in self.refuses:
            raise self.refuses[len(asked)]
        return {one: (Snapshot(at, {Series(one.service, "v1", ALL): 10 * at}), self.known) for one in asked}

    def horizon(self, target: Target) -> float | None:
        return self.known

    def interval(self, target: Target) -> float | None:
        return 1.0

    def snapshots(self, *_: object) -> list[Snapshot]:
        return []


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: found[0])
    return found


@pytest.fixture
def metrics(store: Store, now: list[float]) -> Together:
    """A, B and C have looked at 10 and at 11."""
    made = Together(store)
    for at in (10.0, 11.0):
        for one in (A, B, C):
            look(made, one, at)
    store.asked.clear()
    return made


def look(metrics: Together, target: Target, at: float, edges: Edges = ()) -> float:
    """What it counted by then."""
    snapshot, _ = metrics.settled({target: edges}, at)[target]
    assert [series.instance for series in snapshot.counters] == [target.service]
    return sum(snapshot.counters.values())


def looks_at_once(store: Store, metrics: Together) -> list[Future[float]]:
    """Of all three at 12, while the first question waits for its answer."""
    store.until = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        made = [pool.submit(look, metrics, one, 12.0) for one in (A, B, C)]
        while not store.asked:
            time.sleep(0.005)
        time.sleep(0.05)
        store.until.set()
    return made


def test_those_who_look_at_the_same_moments_ask_once(store: Store, metrics: Together) -> None:
    for at in (12.0, 13.0, 14.0):
        assert [look(metrics, one, at) for one in (B, A, C)] == [10 * at] * 3
    assert store.asked == [("abc", 12.0), ("abc", 13.0), ("abc", 14.0)]


def test_each_is_asked_for_with_the_edges_of_its_own_last_question(store: Store, metrics: Together) -> None:
    look(metrics, B, 12.0, (250.0,))
    look(metrics, A, 12.0)
    look(metrics, B, 13.0, (250.0,))
    look(metrics, A, 13.0)
    assert store.edges == {A: (), B: (250.0,), C: ()}
    store.asked.clear()
    look(metrics, A, 14.0, (500.0,))
    assert look(metrics, B, 14.0, (100.0,)) == 140.0, "what came was for other edges"
    assert [who for who, _ in store.asked] == ["ab", "b"]


def test_who_looks_at_other_moments_or_another_namespace_is_left_alone(store: Store, metrics: Together) -> None:
    far = replace(A, namespace="far")
    look(metrics, A, 11.5)
    look(metrics, far, 12.0)
    look(metrics, replace(A, reporter="destination"), 12.0)
    assert [who for who, _ in store.asked] == ["a", "a", "a"]


def test_who_came_for_nothing_any_more_is_asked_for_once_at_most(store: Store, metrics: Together) -> None:
    for at in (12.0, 13.0, 14.0):
        look(metrics, A, at)
        look(metrics, B, at)
    assert [who for who, _ in store.asked] == ["abc", "ab", "ab"]


def test_an_answer_that_came_too_early_is_good_for_a_moment(store: Store, now: list[float], metrics: Together) -> None:
    store.known = 11.5
    look(metrics, A, 12.0)
    look(metrics, B, 12.0)
    assert store.asked == [("abc", 12.0)]
    now[0] += 1
    store.known = 12.5
    assert metrics.settled({C: ()}, 12.0)[C][1] == 12.5
    now[0] += 60
    assert metrics.settled({A: ()}, 12.0)[A][1] == 12.5, "what was there once is there for ever"
    assert store.asked == [("abc", 12.0)] * 2


def test_after_a_question_that_was_too_much_each_asks_for_itself(
    store: Store, now: list[float], metrics: Together
) -> None:
    store.refuses = {3: Unintelligible("too long")}
    assert [look(metrics, one, 12.0) for one in (A, B, C)] == [120.0] * 3
    assert [who for who, _ in store.asked] == ["abc", "a", "b", "c"]
    now[0] += together.ALONE
    assert [look(metrics, one, 13.0) for one in (A, B)] == [130.0] * 2
    assert [who for who, _ in store.asked][4:] == ["abc", "a", "b"]
    now[0] += together.ALONE
    assert look(metrics, C, 13.0) == 130.0
    assert [who for who, _ in store.asked][7:] == ["c"], "alone for two minutes now"


def test_a_store_that_is_away_is_asked_once_by_each(store: Store, metrics: Together) -> None:
    store.refuses = dict.fromkeys((1, 2, 3), Unavailable("away"))
    for one in (A, B, C):
        with pytest.raises(Unavailable):
            look(metrics, one, 12.0)
    assert [who for who, _ in store.asked] == ["abc", "b", "c"]


def test_who_comes_while_he_is_asked_for_waits_for_that_answer(store: Store, metrics: Together) -> None:
    assert [one.result(10.0) for one in looks_at_once(store, metrics)] == [120.0] * 3
    assert store.asked == [("abc", 12.0)]


def test_who_waited_for_an_answer_that_did_not_come_does_not_wait_for_another(
    store: Store, now: list[float], metrics: Together
) -> None:
    store.refuses = {3: Unavailable("away")}
    assert [str(one.exception(10.0)) for one in looks_at_once(store, metrics)] == ["away"] * 3
    assert [who for who, _ in store.asked] == ["abc"]
    assert [look(metrics, one, 12.0) for one in (A, B, C)] == [120.0] * 3
    now[0] += together.ALONE
    with pytest.raises(Unavailable):
        look(metrics, A, 13.0)
    now[0] += together.ALONE
    with pytest.raises(Unavailable):
        look(metrics, B, 13.0)
    assert [who for who, _ in store.asked] == ["abc", "a", "b", "c", "abc", "abc"], "no question was too much"


def test_no_question_is_for_more_than_can_be_read_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MOST", 2)
    made = Together(store)
    for at in (10.0, 11.0, 12.0):
        for one in (A, B, C):
            look(made, one, at)
    assert max(len(who) for who, _ in store.asked) == 2
    assert [who for who, at in store.asked if at == 12.0] == ["ab", "c"]


def test_who_has_not_asked_for_long_is_forgotten(store: Store, now: list[float], metrics: Together) -> None:
    now[0] += together.PAST + 1
    look(metrics, A, 700.0)
    assert [len(group) for group in metrics._groups.values()] == [1]


def test_who_has_his_answer_and_did_not_come_for_it_yet_is_not_asked_for_again(
    store: Store, metrics: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "MOST", 2)
    for one in (A, C, B):
        look(metrics, one, 12.0)
    assert [who for who, _ in store.asked] == ["ab", "c"]


def test_only_what_the_store_itself_says_shows_that_it_lives(
    store: Store, now: list[float], metrics: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "LONG", 0.0)
    now[0] += 1
    look(metrics, A, 12.0)
    assert metrics.answered == now[0]
    now[0] += 1
    look(metrics, B, 12.0)
    assert metrics.answered == now[0] - 1, "that was known"
    store.refuses = {1: Unintelligible("a page of HTML"), 3: Unavailable("away")}
    with pytest.raises(Unavailable):
        look(metrics, C, 13.0)
    assert metrics.answered == now[0] - 1
    with pytest.raises(Unintelligible):
        look(metrics, C, 17.0)
    assert metrics.answered == now[0], "of no use, and an answer"
