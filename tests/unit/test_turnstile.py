"""Who asks a metrics store that hangs: few wait, everybody else is told at once, until it answers again."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rollout.controller import together, turnstile
from rollout.controller.together import Together
from rollout.controller.turnstile import Turnstile
from rollout.core.errors import InvalidInput, Unavailable
from rollout.judge.looks import Snapshot
from rollout.ports import Metrics, Target
from tests.fakes.unqueried import Unqueried

TARGET = Target("reviews.shop.svc.cluster.local", "shop", (), "v1", "v2")
SLOW = "slow.shop.svc.cluster.local"


class Store(Unqueried):
    """Hangs while it is told to, and longer for what is asked of SLOW."""

    def __init__(self) -> None:
        self.answers, self.gone = threading.Event(), threading.Event()
        self.under_way = self.most = 0
        self.asked_by: list[threading.Thread] = []

    def horizon(self, target: Target) -> float | None:
        self.asked_by.append(threading.current_thread())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if target.service == SLOW or not self.answers.is_set():
            self.gone.wait(10.0)
        self.under_way -= 1
        if target.service == SLOW or not self.answers.is_set():
            raise Unavailable("it does not answer")
        return 7.0

    def interval(self, target: Target) -> float | None:
        raise InvalidInput("an answer, too")

    def snapshots(self, *_: object) -> list[Snapshot]:
        return []


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(turnstile, "PATIENCE", 0.05)
    monkeypatch.setattr(together, "LONG", 0.0)
    made = Store()
    yield made
    made.answers.set()
    made.gone.set()


def until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 10.0
    while not there():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_few_wait_for_a_store_that_hangs_and_then_nobody(store: Store) -> None:
    metrics = Turnstile(Together(store), 2)
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(metrics.horizon, TARGET) for _ in range(2)]
        until(lambda: store.under_way == 2)
        for _ in range(3):
            with pytest.raises(Unavailable, match="more may not"):
                metrics.horizon(TARGET)
        store.gone.set()
        assert [str(one.exception()) for one in held] == ["it does not answer"] * 2
        store.gone.clear()
    began = time.monotonic()
    for _ in range(9):
        with pytest.raises(Unavailable, match="it does not answer"):
            metrics.horizon(TARGET)
    assert time.monotonic() - began < 5.0, "nobody waits: each would for 10 s"
    assert store.most == 2, "in the background as before"
    store.answers.set()
    store.gone.set()
    until(lambda: _answer(metrics) == 7.0)


def _answer(metrics: Turnstile) -> float | None:
    try:
        return metrics.horizon(TARGET)
    except Unavailable:
        return None


def test_who_gets_a_turn_from_one_that_waited_in_vain_is_told_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "PATIENCE", 5.0)
    metrics = Turnstile(Together(store), 1)
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        asks = first.submit(metrics.horizon, TARGET)
        until(lambda: store.under_way == 1)
        waits = second.submit(metrics.horizon, TARGET)
        time.sleep(0.1)  # until it waits for its turn
        store.gone.set()
        assert [str(one.exception()) for one in (asks, waits)] == ["it does not answer"] * 2
        assert not second._threads & set(store.asked_by), "it would have waited as long"


def test_one_question_that_is_slow_is_no_store_that_hangs(store: Store) -> None:
    metrics = Turnstile(Together(store), 2)
    store.answers.set()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(metrics.horizon, Target(SLOW, "shop", (), "v1", "v2"))
        until(lambda: store.under_way == 1)
        with pytest.raises(InvalidInput):
            metrics.interval(TARGET)
        store.gone.set()
        assert isinstance(slow.exception(), Unavailable)
    assert metrics.horizon(TARGET) == 7.0


def test_a_store_that_refuses_at_once_holds_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "LONG", 60.0)
    metrics = Turnstile(Together(store), 1)
    store.gone.set()
    for _ in range(3):
        with pytest.raises(Unavailable, match="it does not answer"):
            metrics.horizon(TARGET)
    store.answers.set()
    assert metrics.horizon(TARGET) == 7.0
    assert metrics.snapshots(TARGET, 0.0, 1.0, 1.0) == []


def test_no_question_passes_by() -> None:
    asked = {name for name in vars(Metrics) if not name.startswith("_")}
    assert asked <= vars(Turnstile).keys()


def test_what_others_are_told_is_no_sign_of_a_store_that_lives(store: Store) -> None:
    """Else who asks waits for it again and again: be it an answer that was known, or a failure that came to another."""
    shared = Together(store)
    metrics = Turnstile(shared, 2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(metrics.horizon, TARGET)
        until(lambda: store.under_way == 1)
        store.gone.set()
        assert isinstance(waiting.exception(), Unavailable)
    said = shared.answered
    for tells in (known, failed):
        shared.interval = tells  # type: ignore[method-assign]
        with pytest.raises(Unavailable, match="it does not answer"):
            metrics.interval(TARGET)
        until(lambda: metrics._free._value == 2)
        with pytest.raises(Unavailable):
            metrics.interval(TARGET)
    assert shared.answered == said


def known(target: Target) -> float | None:
    return 15.0


def failed(target: Target) -> float | None:
    raise Unavailable("it does not answer")
