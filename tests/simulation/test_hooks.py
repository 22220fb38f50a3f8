"""Webhook checks in whole virtual rollouts: whoever answers late, wrongly, not at all, and who dies meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout.core.attempt import Attempt, Word
from rollout.core.lifecycle import Phase, Reason
from rollout.core.query import Effect, Hook
from rollout.core.strategy import ERRORS
from rollout.ports import Question
from tests.simulation.invariants import Watcher
from tests.simulation.test_worlds import FAULTS, SHORT
from tests.simulation.world import START, Faults, World, drive, strategy

FREEZE = Hook("freeze", "https://ask.example/?token=secret")
BACK = replace(FREEZE, on_breach=Effect.ROLLBACK)
YES, NO = Word(True, "ask.example"), Word(False, "ask.example", "it is Friday")
Answer = Callable[[World], Word | str | None]


def played(answer: Answer, first: Faults | None = None, **changes: Any) -> tuple[World, Attempt]:
    """A quiet world with a good version, in which the first process meets these faults."""
    world = World(seed=7, trouble=0.0, strategy=strategy(**changes))

    def check(question: Question) -> Word | str | None:
        return answer(world)

    world.webhooks.check = check
    watcher = Watcher(world)
    drive(world, lambda life: first if first and life == 1 else Faults(), lambda _: None)
    watcher.finished()
    attempt = world.attempt()
    assert attempt is not None
    assert "secret" not in "".join(entry.text for entry in attempt.journal)
    return world, attempt


@pytest.mark.parametrize("checks", [(ERRORS,), ()])
@pytest.mark.parametrize("call", [0, 60, 90])
def test_a_no_holds_until_it_is_a_yes_whatever_dies(call: int, checks: tuple[Any, ...]) -> None:
    """The watcher sees a weight that rises while it holds."""
    over = START + 90
    faults = Faults(crash_after=call) if call else None
    _, attempt = played(lambda w: YES if w.now >= over else NO, faults, queries=(FREEZE,), checks=checks)
    assert attempt.phase is Phase.PROMOTED
    texts = [entry.text for entry in attempt.journal]
    assert texts.count("holding: freeze says no: it is Friday") == 1
    (second,) = (entry.at for entry in attempt.journal if entry.text.startswith("5 → 25 %"))
    assert over <= second <= over + 20


def test_reasons_that_change_all_the_time_do_not_fill_the_journal() -> None:
    over = START + 90
    alarms: Answer = lambda w: YES if w.now >= over else Word(False, "ask.example", f"{w.now:.0f} alarms")  # noqa: E731
    _, attempt = played(alarms, queries=(FREEZE,))
    assert sum(entry.text.startswith("holding: freeze says no") for entry in attempt.journal) == 1


def test_one_that_answers_late_is_waited_for_without_stopping_anything() -> None:
    """Each answer takes eight seconds; every bake still needs one that was asked for after it."""
    asked: dict[str, float] = {}

    def late(question: Question) -> Word | None:
        began = asked.setdefault(str(question), world.now)
        return YES if world.now - began >= 8 else None

    world = World(seed=7, trouble=0.0, strategy=strategy(queries=(FREEZE,)))
    world.webhooks.check = late
    watcher = Watcher(world)
    drive(world, lambda _: Faults(), lambda _: None)
    watcher.finished()
    attempt = world.attempt()
    assert attempt is not None
    assert attempt.phase is Phase.PROMOTED
    assert len(asked) < 30, "it is asked again only when it has answered"


@pytest.mark.parametrize("said", [None, "ask.example answers with status 500"])
@pytest.mark.parametrize(
    ("on_error", "end"), [(Effect.HOLD, (Phase.ROLLED_BACK, Reason.OVERDUE)), (None, (Phase.PROMOTED, None))]
)
def test_no_answer_at_all_holds_to_the_deadline_or_is_ignored(
    said: str | None, on_error: Effect | None, end: tuple[Phase, Reason | None]
) -> None:
    _, attempt = played(lambda _: said, queries=(replace(FREEZE, on_error=on_error),))
    assert (attempt.phase, attempt.reason) == end


def _deep(world: World) -> Word:
    """As soon as anybody is sent to the canary."""
    return NO if world.exposed() else YES


def taken_back(fault: str, call: int) -> int:
    """Let a fault happen at a call of a rollback for a no; returns how many calls there were."""
    world, attempt = played(_deep, FAULTS[fault](call), queries=(BACK,), checks=(), **SHORT)
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.BREACH), f"at call {call}"
    assert "freeze says no: it is Friday" in attempt.message or "taken back on" in attempt.message
    return world.processes[0].calls


@pytest.mark.parametrize("call", [30, 36, 38, 40])
def test_a_no_takes_back_whatever_fails(call: int) -> None:
    assert taken_back("gets no answer, then dies", call) >= call


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_no_takes_back_whatever_fails_at_every_single_call(fault: str) -> None:
    call = 1
    while taken_back(fault, call) >= call:
        call += 1
    assert call > 30, "a rollback makes more calls than that; the enumeration ended early"


def test_a_no_at_100_is_not_promoted() -> None:
    _, attempt = played(lambda w: NO if w.exposed() == 100 else YES, queries=(FREEZE,))
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.OVERDUE)
