"""Pauses and gates in whole virtual rollouts: who says go, who says no, who says nothing, and who dies meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from rollout.core.attempt import Word
from rollout.core.errors import InvalidInput
from rollout.core.lifecycle import Phase, Reason
from rollout.core.strategy import Act, Bake, Gate, OnNo, OnTimeout, Pause, Step
from rollout.engine.engine import CHECKPOINT_EVERY
from tests.simulation.invariants import Watcher
from tests.simulation.world import START, Faults, World, drive, strategy

HOOK = "https://gate.example/?token=secret"
Events = Callable[[World], None]


def world_with(act: Act, lasts: float = 60.0) -> World:
    """A good version whose strategy waits between 5 and 25 %."""
    plain = strategy()
    at_5 = Step(Decimal(5), Bake(0.0, lasts), act)
    steps = (plain.steps[0], at_5, *plain.steps[1:])
    return World(7, trouble=0.0, strategy=replace(plain, steps=steps, deadline=0.0))


def played(world: World, each: Events = lambda world: None, faults: Faults | None = None) -> World:
    watcher = Watcher(world)
    drive(world, lambda life: faults if faults and life == 1 else Faults(), each)
    watcher.finished()
    return world


def ended(world: World) -> tuple[Phase, Reason | None]:
    attempt = world.attempt()
    assert attempt is not None
    return attempt.phase, attempt.reason


def told(world: World) -> str:
    attempt = world.attempt()
    assert attempt is not None
    return "\n".join(entry.text for entry in attempt.journal)


def waited(world: World, since: str) -> float:
    """Seconds from an entry of the journal to 25 %."""
    attempt = world.attempt()
    assert attempt is not None
    at = {entry.text.split(" (")[0].split(": ")[0]: entry.at for entry in attempt.journal}
    return at["5 → 25 %"] - at[since]


def says(word: Word, after: float) -> Events:
    """A person who answers so many seconds after the start, from another process."""

    def each(world: World) -> None:
        attempt = world.attempt()
        if world.now >= START + after and attempt and attempt.phase is Phase.WAITING and attempt.word is None:
            world.engine("person", Faults()).answer(word, world.now)

    return each


def test_a_pause_lasts_as_long_as_it_says() -> None:
    world = played(world_with(Pause(), lasts=60.0))
    assert ended(world) == (Phase.PROMOTED, None)
    assert 59 < waited(world, "pausing") < 65


def test_a_pause_without_end_waits_for_a_person_and_ends_all_the_same() -> None:
    world = played(world_with(Pause(until_resumed=True), lasts=100.0))
    assert ended(world) == (Phase.ROLLED_BACK, Reason.UNANSWERED)

    def resumes(world: World) -> None:
        if world.now >= START + 60:
            world.engine("person", Faults()).resume(world.now)

    world = played(world_with(Pause(until_resumed=True), lasts=100.0), resumes)
    assert ended(world) == (Phase.PROMOTED, None)
    assert "a person says yes" in told(world)


@pytest.mark.parametrize(
    ("word", "gate", "end"),
    [
        (Word(True, "ann", "looks fine"), Gate(), (Phase.PROMOTED, None)),
        (Word(False, "ann", "not today"), Gate(), (Phase.ROLLED_BACK, Reason.REFUSED)),
        (Word(False, "ann"), Gate(on_no=OnNo.WAIT), (Phase.ROLLED_BACK, Reason.UNANSWERED)),
        (Word(False, "ann"), Gate(on_no=OnNo.WAIT, on_timeout=OnTimeout.ADVANCE), (Phase.PROMOTED, None)),
    ],
)
def test_a_person_decides_at_a_gate(word: Word, gate: Gate, end: tuple[Phase, Reason | None]) -> None:
    world = played(world_with(gate), says(word, 40))
    assert ended(world) == end
    assert str(word) in told(world)


@pytest.mark.parametrize(
    ("said", "gate", "end"),
    [
        (Word(True, "gate.example"), Gate(HOOK), (Phase.PROMOTED, None)),
        (Word(False, "gate.example", "freeze"), Gate(HOOK), (Phase.ROLLED_BACK, Reason.REFUSED)),
        ("gate.example answers with status 500", Gate(HOOK), (Phase.ROLLED_BACK, Reason.UNANSWERED)),
        (None, Gate(HOOK), (Phase.ROLLED_BACK, Reason.UNANSWERED)),
        (None, Gate(HOOK, on_timeout=OnTimeout.ADVANCE), (Phase.PROMOTED, None)),
    ],
)
def test_a_webhook_decides_at_a_gate(said: Word | str | None, gate: Gate, end: tuple[Phase, Reason | None]) -> None:
    world = world_with(gate)
    world.webhooks.said = said
    assert ended(played(world)) == end
    assert "secret" not in told(world)
    if isinstance(said, str):
        assert said in told(world)
        assert 3 <= len(world.webhooks.asked) < 12  # again, and ever more seldom


def test_an_unknown_answer_is_asked_again_until_it_is_known() -> None:
    world = world_with(Gate(HOOK))
    world.webhooks.said = "no answer"

    def each(world: World) -> None:
        if world.now >= START + 45:
            world.webhooks.said = Word(True, "gate.example")

    assert ended(played(world, each)) == (Phase.PROMOTED, None)
    assert world.webhooks.asked[0]["weight"] == "5"


@pytest.mark.parametrize("act", [Pause(), Gate(HOOK), Gate(on_timeout=OnTimeout.ADVANCE)])
def test_a_breach_while_it_waits_takes_back(act: Act) -> None:
    world = world_with(act, lasts=300.0)
    world.webhooks.said = None

    def breaks(world: World) -> None:
        if world.now >= START + 45:
            world.failing["v2"] = 0.3

    assert ended(played(world, breaks)) == (Phase.ROLLED_BACK, Reason.BREACH)


@pytest.mark.parametrize("call", range(1, 140, 6))
@pytest.mark.parametrize("fault", [lambda call: Faults(crash_after=call), lambda call: Faults(lose_at=call)])
def test_whoever_dies_meanwhile_forgets_no_word(fault: Callable[[int], Faults], call: int) -> None:
    world = played(world_with(Gate(), lasts=300.0), says(Word(True, "ann"), 40), fault(40 + call))
    assert ended(world) == (Phase.PROMOTED, None)


def test_anybody_may_pause_what_moves_and_nobody_else() -> None:
    world = World(7, trouble=0.0, strategy=strategy())

    def pauses(world: World) -> None:
        attempt = world.attempt()
        if attempt and attempt.phase is Phase.SHIFTING and attempt.weight == 25 and "paused by" not in told(world):
            world.engine("person", Faults()).pause(world.now, "ann", "lunch")
        if attempt and attempt.phase is Phase.PAUSED and world.now > START + 100:
            world.engine("person", Faults()).resume(world.now)

    assert ended(played(world, pauses)) == (Phase.PROMOTED, None)
    assert "paused by ann: lunch" in told(world)
    engine = world.engine("person", Faults())
    with pytest.raises(InvalidInput, match="no rollout of reviews is in flight"):
        engine.pause(world.now, "ann", "")


def test_a_word_where_nobody_asks_is_refused() -> None:
    world = World(7, trouble=0.0, strategy=strategy())

    def each(world: World) -> None:
        attempt = world.attempt()
        if attempt and attempt.phase is Phase.SHIFTING:
            with pytest.raises(InvalidInput, match="waits at no gate"):
                world.engine("person", Faults()).answer(Word(True, "ann"), world.now)

    assert ended(played(world, each)) == (Phase.PROMOTED, None)


def test_what_is_seen_while_it_waits_is_recorded_now_and_then_too() -> None:
    """Who takes over would else have to read all of it again from a store that may have forgotten it."""
    world, ages = world_with(Gate(), lasts=300.0), list[float]()

    def each(world: World) -> None:
        attempt = world.attempt()
        if attempt is not None and attempt.phase is Phase.WAITING:
            ages.append(world.now - float(attempt.checkpoint["at"]))

    played(world, each)
    assert len(ages) > 100
    assert max(ages) <= CHECKPOINT_EVERY + 10
