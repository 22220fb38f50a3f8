"""The queue: what is due first comes first, nothing is in two hands, and what comes meanwhile is not lost."""

import threading
import time

from rollout.controller.queue import Queue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_due_first_comes_first_and_nothing_before_its_time() -> None:
    clock = Clock()
    queue: Queue[str] = Queue(clock)
    queue.add("late", 105.0)
    queue.add("soon", 101.0)
    assert queue.take() is None
    clock.now = 110.0
    assert [queue.take(), queue.take(), queue.take()] == ["soon", "late", None]


def test_a_name_waits_once_at_the_earliest_of_its_times() -> None:
    clock = Clock()
    queue: Queue[str] = Queue(clock)
    for at in (120.0, 101.0, 130.0):
        queue.add("a", at)
    assert len(queue) == 1
    clock.now = 101.0
    assert queue.take() == "a"
    queue.done("a")
    clock.now = 200.0
    assert queue.take() is None


def test_what_comes_while_it_is_in_hand_is_due_when_it_is_given_back() -> None:
    clock = Clock()
    queue: Queue[str] = Queue(clock)
    queue.add("a", 100.0)
    assert queue.take() == "a"
    queue.add("a", 100.0)
    assert queue.take() is None, "somebody has it in hand"
    queue.done("a")
    assert queue.take() == "a"
    queue.done("a")
    assert queue.take() is None


def test_who_waits_is_woken_at_once_and_when_it_is_closed() -> None:
    queue: Queue[str] = Queue(time.monotonic)
    taken: list[str | None] = []
    waiting = threading.Thread(target=lambda: taken.extend([queue.take(30.0), queue.take(30.0)]))
    waiting.start()
    queue.add("a", time.monotonic() + 0.05)
    while len(queue):
        time.sleep(0.01)
    queue.close()
    waiting.join(5)
    assert not waiting.is_alive()
    assert taken == ["a", None]


def test_of_many_hands_each_name_is_in_one_at_a_time() -> None:
    queue: Queue[int] = Queue(time.monotonic)
    held, seen, clashes = set[int](), list[int](), list[int]()
    lock = threading.Lock()

    def work() -> None:
        while (name := queue.take(0.2)) is not None:
            with lock:
                clashes.extend([name] if name in held else [])
                held.add(name)
                seen.append(name)
            with lock:
                held.discard(name)
            queue.done(name)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for one in workers:
        one.start()
    for _ in range(50):
        for name in range(10):
            queue.add(name, time.monotonic())
    for one in workers:
        one.join(10)
    assert not clashes
    assert set(seen) == set(range(10))
    assert len(queue) == 0
