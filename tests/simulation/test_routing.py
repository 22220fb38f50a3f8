"""A rollout with a header route beside the weights: its users are judged like others, and it goes when all is over."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.core.attempt import Attempt
from rollout.core.lifecycle import Phase, Reason
from rollout.core.strategy import Bake, Step
from rollout.mesh.overlays import cookie_name
from tests.simulation.invariants import Watcher
from tests.simulation.test_worlds import ENDS, FAULTS, story
from tests.simulation.world import HOST, Faults, World, drive, routed, routing, strategy

HALF = Step(Decimal(50), Bake(2.0, 20.0))
SHORT: dict[str, Any] = {"steps": (routing(0), HALF, Step(Decimal(100), Bake(2.0, 20.0))), "confirm": 2.0}


def told(world: World) -> tuple[Attempt, str]:
    attempt = world.attempt()
    assert attempt is not None
    return attempt, "\n".join(entry.text for entry in attempt.journal)


def play(failing: float, **changes: Any) -> tuple[World, list[tuple[Decimal, bool]]]:
    """The world at its end, and each weight with whether the header route lay there."""
    world, seen = World(3, trouble=0.0, strategy=strategy(**SHORT | changes)), list[tuple[Decimal, bool]]()
    world.failing["v2"] = failing
    Watcher(world)

    def each(world: World) -> None:
        now = world.exposed(), routed(world.virtual_service())
        if not seen or seen[-1] != now:
            seen.append(now)

    drive(world, lambda life: Faults(), each)
    return world, seen


def test_it_stands_beside_the_weights_until_everybody_is_there() -> None:
    world, seen = play(0.0)
    attempt, journal = told(world)
    assert attempt.phase is Phase.PROMOTED, journal
    assert [(int(weight), beside) for weight, beside in seen] == [(0, False), (0, True), (50, True), (100, False)]
    assert "routing by headers" in journal


def test_its_users_are_evidence_before_anybody_else_is_exposed() -> None:
    world, seen = play(0.5)
    attempt, journal = told(world)
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.BREACH), journal
    assert max(weight for weight, _ in seen) == 0
    assert not seen[-1][1]


def test_the_observed_share_is_told_beside_the_weight() -> None:
    first = replace(routing(5), bake=Bake(25.0, 40.0))
    world, texts = World(3, trouble=0.0, strategy=strategy(steps=(first, *SHORT["steps"][1:]))), list[str]()

    def each(world: World) -> None:
        attempt = world.attempt()
        if attempt and attempt.last:
            texts.append(attempt.last.text)

    drive(world, lambda life: Faults(), each)
    assert any("v2 got 14 % of the requests, beside 5 %" in text for text in texts), texts


def test_a_sticky_route_marks_the_answers_and_leaves_no_cookie() -> None:
    first = routing(5, sticky=60.0)
    assert first.act is not None
    world, marks = World(3, trouble=0.0, strategy=strategy(steps=(first, HALF, *SHORT["steps"][2:]), confirm=2.0)), []
    Watcher(world)
    drive(world, lambda life: Faults(), lambda w: marks.append(str(w.virtual_service()).count(cookie_name(HOST))))
    assert told(world)[0].phase is Phase.PROMOTED
    assert max(marks) == 3, "on the split and on both copies"
    assert marks[-1] == 0


def test_while_it_is_paused_nothing_of_ours_lies_there() -> None:
    world = World(3, trouble=0.0, strategy=strategy(**SHORT | {"deadline": 60.0}))
    engine, done = world.engine("other", Faults()), list[Attempt]()

    def each(world: World) -> None:
        if routed(world.virtual_service()) and not done:
            engine.states.read()
            done.append(engine.pause(world.now, "ann", ""))

    drive(world, lambda life: Faults(), each, limit=40.0)
    assert told(world)[0].phase is Phase.PAUSED
    assert not routed(world.virtual_service())


@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_a_call_changes_no_end(fault: str, failing: float, end: Phase) -> None:
    steps = {**SHORT, "steps": (replace(SHORT["steps"][0], weight=Decimal(5)), *SHORT["steps"][1:])}
    whole = story(Faults(), failing, **steps)[0].processes[0].calls
    for call in range(1 + len(fault) % 23, whole, 23):
        world, _ = story(FAULTS[fault](call), failing, **steps)
        assert told(world)[0].phase is end, f"at call {call}: {told(world)[1]}"
