"""A scope follows its cluster through cuts and gaps, asks for nothing while nothing happens, and stops when told."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rollout.controller import reflector
from rollout.controller.cache import Cache, CachedCluster, Changed, Scope
from rollout.controller.reflector import Reflector, Reflectors
from rollout.core.documents import POD, Document, version_of
from rollout.core.errors import Forbidden
from tests.fakes.memory import WatchedMemory

ALL = Scope.of(POD)


def document(name: str) -> Document:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}}


def until(there: Callable[[], object], within: float = 5) -> None:
    end = time.monotonic() + within
    while not there():
        assert time.monotonic() < end
        time.sleep(0.005)


class Played:
    def __init__(self, cluster: WatchedMemory) -> None:
        self.cluster, self.calls = cluster, list[Changed]()
        self.cache = Cache(self.calls.append)
        self.reflectors = Reflectors(cluster, self.cache)
        self.view = CachedCluster(cluster, self.cache, "us")

    def watches(self) -> int:
        return self.cluster.asked.count("watch pods")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    monkeypatch.setattr(reflector, "FIRST", 0.02)
    monkeypatch.setattr(reflector, "LONGEST", 0.1)
    monkeypatch.setattr(reflector, "BRIEF", 0.0)
    made = Played(WatchedMemory())
    made.cluster.create(POD, document("a"))
    yield made
    made.reflectors.close()


def started(played: Played) -> None:
    played.reflectors.start(ALL)
    assert played.reflectors.wait(ALL, 5)
    until(played.watches)
    played.calls.clear()


def test_it_lists_once_and_then_only_listens(played: Played) -> None:
    started(played)
    for name in ("b", "c"):
        played.cluster.create(POD, document(name))
    until(lambda: len(played.calls) == 2)
    assert len(played.view.list(POD)) == 3
    assert played.cluster.asked == ["list pods", "watch pods"]
    assert played.reflectors.health()[ALL].synced
    assert played.reflectors.health()[ALL].trouble == ""


def test_a_watch_that_ends_is_taken_up_where_it_ended(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector, "WATCH", 0.05)
    started(played)
    for index in range(20):
        played.cluster.create(POD, document(f"p{index}"))
        time.sleep(0.01)
    until(lambda: len(played.calls) == 20)
    until(lambda: played.watches() > 2)
    assert played.cluster.asked.count("list pods") == 1
    assert all(call.before is None for call in played.calls)


def test_a_short_watch_is_not_followed_by_another_at_once(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector, "WATCH", 0.001)
    monkeypatch.setattr(reflector, "BRIEF", 0.2)
    started(played)
    time.sleep(0.5)
    assert 2 <= played.watches() <= 4


def test_after_a_cut_nothing_is_missed(played: Played) -> None:
    started(played)
    for index in range(5):
        played.cluster.away()
        until(lambda: played.reflectors.health()[ALL].trouble)
        with played.cluster._turn:  # nobody hears of it before it is back
            played.cluster._away = False
            played.cluster.create(POD, document(f"p{index}"))
        until(lambda index=index: len(played.calls) == index + 1)  # type: ignore[misc]
        until(lambda: not played.reflectors.health()[ALL].trouble)
    assert played.cluster.asked.count("list pods") == 1


def test_while_nobody_answers_what_is_kept_is_not_given_out(played: Played) -> None:
    started(played)
    assert played.reflectors.health()[ALL].synced
    played.cluster.away()
    until(lambda: not played.reflectors.health()[ALL].synced)
    alive = played.reflectors.health()[ALL].alive
    time.sleep(0.15)
    assert played.reflectors.health()[ALL].alive == alive
    assert "cut" in played.reflectors.health()[ALL].trouble
    played.cluster.away(False)
    until(lambda: played.reflectors.health()[ALL].synced)
    assert played.reflectors.health()[ALL].alive > alive
    assert played.cluster.asked.count("list pods") == 1


def test_after_a_gap_it_lists_anew(played: Played) -> None:
    started(played)
    played.view.list(POD)
    played.cluster.away()
    until(lambda: played.reflectors.health()[ALL].trouble)
    with played.cluster._turn:
        played.cluster._away = False
        made = played.cluster.get(POD, "shop", "a")
        played.cluster.delete(POD, "shop", "a", version_of(made))
        played.cluster.create(POD, document("b"))
        played.cluster.compact()
    until(lambda: len(played.calls) == 2)
    assert {(call.key[2], call.after is None) for call in played.calls} == {("a", True), ("b", False)}
    assert all(call.readers == {"us"} for call in played.calls)
    assert played.cluster.asked.count("list pods") == 2


def test_a_server_that_has_always_forgotten_is_not_listed_without_end(played: Played) -> None:
    played.cluster.forgotten = 10**9
    played.reflectors.start(ALL)
    assert played.reflectors.wait(ALL, 5)
    time.sleep(0.5)
    assert 3 < played.cluster.asked.count("list pods") < 20


def test_where_we_may_not_list_it_says_so_and_tries_again(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise Forbidden("we may not list pods")

    allowed = played.cluster.listing
    monkeypatch.setattr(played.cluster, "listing", refuse)
    played.reflectors.start(ALL)
    assert not played.reflectors.wait(ALL, 0.1)
    with pytest.raises(Forbidden, match="may not list"):
        played.view.list(POD)
    assert "may not list" in played.reflectors.health()[ALL].trouble
    monkeypatch.setattr(played.cluster, "listing", allowed)
    assert played.reflectors.wait(ALL, 5)
    assert len(played.view.list(POD)) == 1


def test_a_fault_of_our_own_is_told_and_does_not_end_the_thread(played: Played) -> None:
    started(played)
    broken = document("broken")
    del broken["metadata"]["name"]
    with played.cluster._turn:
        played.cluster._write(("Pod", "shop", "broken"), broken)
    until(lambda: "name" in played.reflectors.health()[ALL].trouble)
    with played.cluster._turn:
        played.cluster.history.clear()
        played.cluster.forgotten = played.cluster._count
        played.cluster.documents.pop(("Pod", "shop", "broken"))
    until(lambda: played.reflectors.health()[ALL].trouble == "")
    played.cluster.create(POD, document("b"))
    until(lambda: len(played.view.list(POD)) == 2)


def test_who_shares_a_scope_shares_its_watch_until_the_last_one_goes(played: Played) -> None:
    others = set(threading.enumerate())  # another test's may not have ended yet
    started(played)
    played.reflectors.start(ALL)
    assert played.cluster.asked == ["list pods", "watch pods"]
    played.reflectors.stop(ALL)
    assert played.cache.synced(ALL)
    running = [one for one in set(threading.enumerate()) - others if one.name == "watch pods"]
    assert len(running) == 1
    before = time.monotonic()
    played.reflectors.stop(ALL)
    running[0].join(2)
    assert not running[0].is_alive()
    assert time.monotonic() - before < 1
    assert not played.cache.synced(ALL)
    assert played.reflectors.health() == {}
    started(played)
    assert len(played.view.list(POD)) == 1


def test_it_stops_at_once_also_while_it_waits_to_ask_again(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector, "FIRST", 60.0)
    monkeypatch.setattr(reflector, "LONGEST", 60.0)
    played.cluster.away()
    one = Reflector(played.cluster, played.cache, ALL)
    until(lambda: one.health.trouble)
    one.stop()
    one._thread.join(1)
    assert not one._thread.is_alive()


@pytest.mark.parametrize(
    ("streams", "asked"), [(True, ["watch pods"]), (False, ["watch pods", "list pods", "watch pods"])]
)
def test_what_has_labels_comes_with_its_watch_where_the_server_can(
    played: Played, streams: bool, asked: list[str]
) -> None:
    played.cluster.streams = streams
    made = document("b")
    made["metadata"]["labels"] = {"app": "b"}
    played.cluster.create(POD, made)
    scope = Scope.of(POD, "shop", {"app": "b"})
    played.reflectors.start(scope)
    assert played.reflectors.wait(scope, 5)
    until(lambda: played.cluster.asked == asked)
    assert [one["metadata"]["name"] for one in played.view.list(POD, "shop", {"app": "b"})] == ["b"]
    assert played.cluster.asked == asked
    made = document("c")
    made["metadata"]["labels"] = {"app": "b"}
    played.cluster.create(POD, made)
    until(lambda: len(played.view.list(POD, "shop", {"app": "b"})) == 2)
