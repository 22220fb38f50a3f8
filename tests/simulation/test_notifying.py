"""Messages to people in whole virtual rollouts: each change is told, once, whoever dies and whatever gets lost."""

import itertools
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.adapters.store import Key
from rollout.cli import driving
from rollout.cli.driving import TELL_WITHIN, Manners
from rollout.core.attempt import Attempt, Word
from rollout.core.documents import Document, copied
from rollout.core.lifecycle import Phase, Reason
from rollout.core.notices import HELD_AFTER
from rollout.core.query import Hook
from rollout.core.strategy import Bake, Gate, Pause, Step
from rollout.engine.notifying import GIVE_UP
from tests.simulation.invariants import Watcher
from tests.simulation.test_driving import Stage
from tests.simulation.test_worlds import FAULTS, SHORT
from tests.simulation.world import START, Faults, World, drive, strategy

SLACK = "https://slack.example/services/s3cret"
Events = Callable[[World], None]


class Witness:
    """Sees every record, and so what people are to be told, by rules of its own."""

    def __init__(self, world: World) -> None:
        self.world, self.watcher = world, Watcher(world)
        self.last: Attempt | None = None
        self.expected: list[str] = []
        world.cluster.on_write = self

    def __call__(self, key: Key, before: Document | None, after: Document | None) -> None:
        self.watcher(key, before, after)
        now, last = self.world.attempt(), self.last
        self.last = now
        if now is None or now == last:
            return
        if last is None or last.id != now.id:
            self.expected.append("started")
            return
        told = {Phase.PAUSED: "paused", Phase.PROMOTED: "promoted", Phase.ROLLED_BACK: "rolledBack"}
        if isinstance(now.wait, Gate) and now.phase is Phase.WAITING:
            self.expected += ["waiting"] if (last.phase, last.step) != (now.phase, now.step) else []
        elif now.phase is not last.phase and now.phase in told:
            self.expected.append(told[now.phase])
        self.expected += ["stuck"] if now.stuck and not last.stuck else []

    def finished(self) -> None:
        """All of it was told, in its order; what was told again carries the id that it had."""
        self.watcher.finished()
        first = {message["id"]: message for message in reversed(self.world.webhooks.arrived)}
        assert [message["event"] for message in reversed(first.values())] == self.expected
        for message in self.world.webhooks.arrived:
            assert message == first[message["id"]]
        assert "s3cret" not in str(self.world.webhooks.arrived)


def played(
    first: Faults | None = None, each: Events = lambda world: None, failing: float = 0.0, **changes: Any
) -> tuple[World, Witness]:
    """A quiet world in which the first process meets these faults."""
    made = strategy(**{"notify": SLACK} | changes)
    world = World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=made)
    witness = Witness(world)
    drive(world, lambda life: first if first and life == 1 else Faults(), each)
    return world, witness


def events(world: World) -> list[str]:
    return [message["event"] for message in world.webhooks.arrived]


def waits_at_5(act: Gate | Pause) -> dict[str, Any]:
    plain = strategy().steps
    return {"steps": (plain[0], Step(Decimal(5), Bake(0.0, 60.0), act), *plain[1:])}


def journal(world: World) -> list[str]:
    attempt = world.attempt()
    assert attempt is not None
    return [entry.text for entry in attempt.journal]


# What is told


@pytest.mark.parametrize(
    ("failing", "changes", "told"),
    [
        (0.0, {}, ["started", "promoted"]),
        (0.1, {}, ["started", "rolledBack"]),
        (0.0, waits_at_5(Gate("https://gate.example/")), ["started", "waiting", "promoted"]),
        (0.0, waits_at_5(Gate()), ["started", "waiting", "rolledBack"]),
        (0.0, waits_at_5(Pause()), ["started", "promoted"]),
    ],
)
def test_each_change_is_told_once(failing: float, changes: dict[str, Any], told: list[str]) -> None:
    world, witness = played(None, failing=failing, **changes)
    assert events(world) == told
    witness.finished()
    assert "slack" not in "".join(journal(world))


def test_without_a_place_to_tell_nothing_is_kept() -> None:
    world, _ = played(notify="")
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.notices, attempt.noticed, world.webhooks.posts) == ((), 0, [])


def test_what_a_person_does_is_told_too() -> None:
    def each(world: World) -> None:
        attempt = world.attempt()
        if attempt and attempt.phase is Phase.SHIFTING and attempt.weight == 25 and attempt.noticed == 1:
            world.engine("person", Faults()).pause(world.now, "ann", "lunch <!channel>")
        if attempt and attempt.phase is Phase.PAUSED and world.now > START + 90:
            world.engine("person", Faults()).resume(world.now)

    world, witness = played(each=each)
    witness.finished()
    assert events(world) == ["started", "paused", "promoted"]
    paused = world.webhooks.arrived[1]
    assert paused["text"] == ("reviews in shop: v1 → v2 at 25 % is paused: paused by ann: lunch &lt;!channel&gt;")
    assert (paused["message"], paused["needs_person"]) == ("paused by ann: lunch <!channel>", True)


def test_an_abort_is_told_by_whoever_finishes_it() -> None:
    def each(world: World) -> None:
        if START + 40 < world.now < START + 42:
            world.engine("person", Faults()).take_back(Reason.ABORTED, "asked", world.now)

    world, witness = played(each=each)
    witness.finished()
    assert events(world) == ["started", "rolledBack"]
    assert world.webhooks.arrived[1]["reason"] == "Aborted"


def test_who_is_held_for_long_is_told_once_for_each_reason() -> None:
    def each(world: World) -> None:
        if world.now > START + 40 and not world.metrics.down_until:
            world.metrics.down_until = START + 40 + 2 * HELD_AFTER

    world, _ = played(each=each, deadline=1200.0)
    assert events(world) == ["started", "held", "promoted"]
    held = world.webhooks.arrived[1]
    assert "stands still for 5m: holding: the metrics store is away" in held["text"]
    assert HELD_AFTER <= held["at"] - START - 40 < HELD_AFTER + 10


def test_a_person_is_called_where_nothing_can_go_back() -> None:
    def each(world: World) -> None:
        if world.exposed() >= 25 and world.ready["v1"] and world.now < START + 100:
            world.set_ready("v1", 0)
            world.engine("person", Faults()).take_back(Reason.ABORTED, "asked", world.now)
        if world.now > START + 100 and not world.ready["v1"]:
            world.set_ready("v1", 4)

    world, witness = played(each=each)
    witness.finished()
    assert events(world) == ["started", "stuck", "rolledBack"]
    assert "a person must act" in world.webhooks.arrived[1]["text"]


# Whoever dies, and whatever is lost


def told_whatever(fault: str, call: int, failing: float = 0.0) -> int:
    """Let a fault happen at a call of a rollout; returns how many calls the first process made."""
    world, witness = played(FAULTS[fault](call), failing=failing, **SHORT)
    witness.finished()
    ids = [message["id"] for message in world.webhooks.arrived]
    assert len(ids) <= len(set(ids)) + (len(world.processes) > 1), f"at call {call}: told twice by one process"
    return world.processes[0].calls


@pytest.mark.parametrize("failing", [0.0, 0.1])
@pytest.mark.parametrize("call", range(5, 60, 11))
def test_a_death_at_any_call_leaves_nothing_untold(call: int, failing: float) -> None:
    told_whatever("dies when a call has landed", call, failing)


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0.0, 0.1])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_single_call_leaves_nothing_untold(fault: str, failing: float) -> None:
    call = 1
    while told_whatever(fault, call, failing) >= call:
        call += 1
    assert call > 60, "a rollout makes more calls than that; the enumeration ended early"


def test_who_dies_between_the_answer_and_its_record_tells_again_with_the_same_id() -> None:
    """The one case in which a message comes twice; it is found by dying at calls around it."""
    twice = 0
    for call in (10, 24, 28, 36):
        world, witness = played(Faults(crash_after=call), **SHORT)
        witness.finished()
        twice += len(world.webhooks.arrived) - len(witness.expected)
    assert 1 <= twice <= 2


@pytest.mark.parametrize("call", [31, 32, 33, 34])
def test_a_record_that_cannot_be_written_tells_nothing_twice(call: int) -> None:
    """What arrived is known to the process that told it."""
    world, witness = played(Faults(fail_at=call), **SHORT)
    witness.finished()
    assert events(world) == ["started", "promoted"]


def test_a_lost_reply_tells_again_with_the_same_id_and_later_each_time() -> None:
    world, witness = _lossy(until=START + 15)
    witness.finished()
    ids = [message["id"] for message in world.webhooks.arrived]
    assert len(set(ids)) == 2
    times = [at for at, one in world.webhooks.posts if one == ids[0]]
    gaps = [later - before for before, later in itertools.pairwise(times)]
    assert len(gaps) >= 2
    assert gaps == sorted(gaps)


def _lossy(until: float) -> tuple[World, Witness]:
    world = World(seed=7, trouble=0.0, strategy=strategy(notify=SLACK))
    witness = Witness(world)
    world.webhooks.outcome = lambda message: (True, "no answer" if world.now < until else "")
    drive(world, lambda _: Faults(), lambda _: None)
    return world, witness


@pytest.mark.parametrize("heard", [pytest.param(None, marks=pytest.mark.slow), "slack.example does not answer"])
def test_one_that_never_answers_delays_nothing_and_is_given_up(heard: str | None) -> None:
    def dead(failing: float, notify: str) -> World:
        made = strategy(notify=notify)
        world = World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=made)
        world.webhooks.outcome = lambda message: (False, heard)
        watcher = Watcher(world)
        drive(world, lambda _: Faults(), lambda _: None)
        watcher.finished()
        return world

    for failing in (0.0, 0.1):
        quiet, silent = dead(failing, ""), dead(failing, SLACK)
        ends = [attempt.ended for world in (quiet, silent) if (attempt := world.attempt())]
        assert ends[0] == ends[1]
        given_up = [text for text in journal(silent) if "given up after 10m" in text]
        assert given_up[0] == f"slack.example was not told `started`, given up after 10m: {heard or 'no answer'}"
        assert len(given_up) == 2
        assert len(silent.webhooks.posts) <= 2 * (GIVE_UP / 60 + 7)


def test_what_is_left_untold_is_told_by_the_next_rollout() -> None:
    world, _ = _lossy(until=START)
    attempt = world.attempt()
    assert attempt is not None
    engine = world.engine("next", Faults())
    assert engine.acquire(world.now)
    record = engine.states.read()
    left = replace(attempt, notices=played_notices(world))
    engine.states.write(replace(record, attempt=left), world.now)
    world.edit(lambda vs: vs["spec"].update({"http": copied(world.routes)}))
    world.webhooks.arrived.clear()
    engine.begin(world.request(), world.now)
    for _ in range(6):
        engine.tick(world.now)
        world.pass_time(1.0)
    assert [(one["event"], one["attempt"] == attempt.id) for one in world.webhooks.arrived] == [
        ("promoted", True), ("started", False),
    ]  # fmt: skip


def played_notices(world: World) -> tuple[Any, ...]:
    """The notice of the promotion, as it was before it was told."""
    copies: list[Attempt] = []
    again = World(seed=7, trouble=0.0, strategy=world.strategy)

    def keep(*_: object) -> None:
        found = again.attempt()
        copies.extend([found] if found and found.phase is Phase.PROMOTED else [])

    again.cluster.on_write = keep
    drive(again, lambda _: Faults(), lambda _: None)
    return copies[0].notices[-1:]


def storm(seed: int) -> int:
    """A world in which calls fail, processes die and messages get lost; returns how many messages there were."""
    gate = Gate("https://gate.example/")
    made = strategy(notify=SLACK, queries=(Hook("freeze", "https://ask.example/"),), **waits_at_5(gate))
    world = World(seed, trouble=0.0, strategy=made)
    r = random.Random(seed)
    world.failing["v2"] = 0.08 if seed % 3 == 0 else 0.0
    calm = START + 250

    def outcome(message: object) -> tuple[bool, str | None]:
        lost = r.random() < 0.3 and world.now < calm
        return (r.random() < 0.5, "slack.example does not answer") if lost else (True, "")

    def each(world: World) -> None:
        attempt = world.attempt()
        if attempt and attempt.phase is Phase.PAUSED and r.random() < 0.05:
            world.engine("person", Faults()).resume(world.now)
        elif attempt and attempt.phase is Phase.SHIFTING and r.random() < 0.005:
            world.engine("person", Faults()).pause(world.now, "ann", "")

    def faults(life: int) -> Faults:
        return (
            Faults(unavailable=0.01, lost_reply=0.02, conflict=0.02, stale=0.01, crash=0.003) if life < 9 else Faults()
        )

    world.webhooks.outcome = outcome
    world.webhooks.said = Word(True, "gate.example")
    witness = Witness(world)
    drive(world, faults, each)
    witness.finished()
    return len(witness.expected)


@pytest.mark.parametrize("seed", range(6))
def test_in_a_storm_everything_is_told(seed: int) -> None:
    assert storm(seed) >= 2


@pytest.mark.slow
def test_in_many_storms_everything_is_told() -> None:
    assert sum(storm(seed) for seed in range(6, 206)) > 600


# Before a driving process exits


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, signals: None) -> Stage:
    return Stage(monkeypatch, strategy=strategy(notify=SLACK))


def test_the_last_message_arrives_before_the_process_exits(stage: Stage) -> None:
    attempt, code = stage.promote()
    assert (code, events(stage.world)) == (0, ["started", "promoted"])
    assert attempt is not None
    assert attempt.notices == ()


def test_a_take_back_on_sigterm_is_told_before_the_process_exits(stage: Stage) -> None:
    stage.when(25, lambda: os.kill(os.getpid(), signal.SIGTERM))
    _, code = stage.promote()
    assert (code, events(stage.world)) == (143, ["started", "rolledBack"])
    assert stage.world.webhooks.arrived[1]["reason"] == "Interrupted"


def test_nobody_waits_long_for_one_that_does_not_answer(stage: Stage) -> None:
    stage.world.webhooks.outcome = lambda message: (False, "slack.example does not answer")
    attempt, code = stage.promote()
    assert code == 0
    assert attempt is not None
    assert stage.world.now - attempt.ended < TELL_WITHIN + 3
    assert journal(stage.world)[-1] == (
        "slack.example is not told yet: started, promoted; slack.example does not answer"
    )


def test_who_leaves_where_a_person_must_act_has_called_one(monkeypatch: pytest.MonkeyPatch, signals: None) -> None:
    stage = Stage(monkeypatch, strategy=strategy(notify=SLACK, **waits_at_5(Gate())))
    _, code = stage.promote(Manners(wait=False))
    assert (code, events(stage.world)) == (driving.WAITING, ["started", "waiting"])
