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


def test_of_those_who_wait_one_wakes_for_what_is_due() -> None:
    read = [0]

    def clock() -> float:
        read[0] += 1
        return time.monotonic()

    queue: Queue[int] = Queue(clock)

    def work() -> None:
        while queue.take(30.0) is not None:
            pass

    workers = [threading.Thread(target=work) for _ in range(12)]
    for one in workers:
        one.start()
    began = time.monotonic()
    for name in range(50):
        queue.add(name, began + 0.1 + 0.01 * name)
    while len(queue):
        time.sleep(0.05)
    queue.close()
    for one in workers:
        one.join(10)
    assert read[0] < 50 * 8, "all would have read it twelve times for each"


def test_who_takes_leaves_another_to_watch_the_clock() -> None:
    queue: Queue[str] = Queue(time.monotonic)
    taken: list[str | None] = []
    workers = [threading.Thread(target=lambda: taken.append(queue.take(30.0))) for _ in range(2)]
    for one in workers:
        one.start()
    queue.add("late", time.monotonic() + 0.3)
    queue.add("soon", time.monotonic() + 0.1)  # its taker comes back no more
    for one in workers:
        one.join(10)
    assert taken == ["soon", "late"]


def test_who_is_tired_of_waiting_leaves_another_to_watch_the_clock() -> None:
    queue: Queue[str] = Queue(time.monotonic)
    taken: list[str | None] = []
    workers = [threading.Thread(target=lambda t=t: taken.append(queue.take(t))) for t in (0.2, 30.0)]
    for one in workers:
        one.start()
        time.sleep(0.05)  # the first of them watches
    queue.add("a", time.monotonic() + 2.0)
    for one in workers:
        one.join(10)
    assert taken == [None, "a"]


def test_what_was_made_due_at_another_time_leaves_little_behind() -> None:
    queue: Queue[str] = Queue(lambda: 0.0)
    for _ in range(1000):
        queue.add("a", -1.0)
        assert queue.take(0.0) == "a"
        queue.done("a")
        queue.add("a", 1e9)
    assert len(queue) == 1
    assert len(queue._heap) < 100


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
