"""Rollouts that send probes: to both versions by routes of ours, counted in rounds, and nobody's evidence if lost."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.core.attempt import Attempt
from rollout.core.lifecycle import Phase, Reason
from rollout.core.strategy import Bake, Step
from rollout.ports import Errand
from tests.simulation.invariants import Watcher
from tests.simulation.test_worlds import FAULTS
from tests.simulation.world import START, Faults, World, drive, of_ours, probed, probing, strategy

SHORT: dict[str, Any] = {
    "steps": (probing(), Step(Decimal(25), Bake(2.0, 20.0)), Step(Decimal(100), Bake(2.0, 20.0))), "confirm": 2.0,
}  # fmt: skip
Setting = Callable[[World], None]


def played(setting: Setting = lambda world: None, first: Faults | None = None, **changes: Any) -> World:
    world = World(3, trouble=0.0, strategy=strategy(**SHORT | changes))
    setting(world)
    watcher = Watcher(world)
    drive(world, lambda life: first if first and life == 1 else Faults(), lambda w: None)
    watcher.finished()
    return world


def told(world: World) -> tuple[Attempt, str]:
    attempt = world.attempt()
    assert attempt is not None
    return attempt, "\n".join(entry.text for entry in attempt.journal)


def missing(v1: float, v2: float) -> Setting:
    return lambda world: world.probes.missing.update(v1=v1, v2=v2)


def test_answers_as_expected_let_it_go_on_and_the_routes_go() -> None:
    world = played()
    attempt, journal = told(world)
    assert attempt.phase is Phase.PROMOTED, journal
    assert "probing http://reviews.shop.svc/…" in journal
    assert "v2 answers 20 of 20 probes as expected, v1 20 of 20" in journal
    assert world.probes.sent == {"v1": 20, "v2": 20}
    assert not of_ours(world.virtual_service())


def test_a_canary_that_misses_them_goes_back_before_it_has_users() -> None:
    world = played(missing(0.0, 0.6))
    attempt, journal = told(world)
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.BREACH), journal
    assert "status 500 instead of 2xx" in attempt.message
    assert max(entry.weight or 0 for entry in attempt.journal) == 0
    assert world.metrics.hurt == 0


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (missing(1.0, 1.0), "v1 0 of"),
        (lambda w: setattr(w.probes, "away", "reviews.shop.svc does not answer (ConnectError)"), "ConnectError"),
        (lambda w: w.probes.late.update(("v1", "v2")), "no answer in time"),
    ],
)
def test_what_stable_cannot_do_either_and_silence_are_nobodys_fault(setting: Setting, text: str) -> None:
    attempt, journal = told(played(setting))
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.UNANSWERED), journal
    assert text in attempt.message


def test_a_canary_that_alone_does_not_answer_has_missed() -> None:
    attempt, journal = told(played(lambda w: w.probes.late.add("v2")))
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.BREACH), journal
    assert "no answer in time" in attempt.message


def test_beside_a_weight_they_prove_what_users_are_too_few_to_prove() -> None:
    """No users at all: to get 25 % its probes must exclude two points, to get 100 % half a point."""
    steps = (*(probing(weight, Bake(6.0, 600.0)) for weight in (5, 25)), Step(Decimal(100), Bake(2.0, 20.0)))
    world = World(3, trouble=0.0, rps=0, strategy=strategy(steps=steps, confirm=2.0, deadline=900.0))
    Watcher(world)
    rose: list[tuple[float, int]] = []

    def each(world: World) -> None:
        if world.exposed() == 25 and not rose:
            rose.append((world.now, world.probes.sent["v2"]))

    drive(world, lambda life: Faults(), each)
    (at, sent) = rose[0]
    assert at < START + 120
    assert sent == 320
    assert world.probes.sent["v2"] > 740
    assert "25 → 100 %" in told(world)[1]


def test_while_it_is_paused_none_is_sent_and_afterwards_they_are_counted_anew() -> None:
    world = World(3, trouble=0.0, strategy=strategy(**SHORT))
    watcher, said = Watcher(world), list[str]()
    errands: list[Errand] = []

    def each(world: World) -> None:
        engine = world.engine("person", Faults())
        if world.probes.sent.get("v2") and not said:
            engine.states.read()
            engine.pause(world.now, "ann", "")
            said.append("pause")
            errands.extend(world.probes.errands)
        elif said == ["pause"] and world.now > START + 60:
            assert not probed(world.virtual_service())
            engine.resume(world.now)
            said.append("resume")

    drive(world, lambda life: Faults(), each)
    watcher.finished()
    assert told(world)[0].phase is Phase.PROMOTED
    assert len(world.probes.errands) > len(errands)
    assert world.probes.sent["v2"] == 20


@pytest.mark.parametrize(("v2", "end"), [(0.0, Phase.PROMOTED), (0.7, Phase.ROLLED_BACK)])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_a_call_changes_no_end(fault: str, v2: float, end: Phase) -> None:
    steps = (probing(rps=20.0), *SHORT["steps"][1:])
    whole = played(missing(0.0, v2), steps=steps).processes[0].calls
    for call in range(1 + len(fault) % 41, whole, 41):
        world = played(missing(0.0, v2), FAULTS[fault](call), steps=steps)
        assert told(world)[0].phase is end, f"at call {call}: {told(world)[1]}"


def test_a_crash_in_the_middle_begins_the_count_again() -> None:
    world = World(3, trouble=0.0, strategy=strategy(**SHORT))
    watcher, died = Watcher(world), list[int]()

    def each(world: World) -> None:
        if world.probes.sent.get("v2", 0) > 5 and not died:
            died.append(world.probes.sent["v2"])
            world.processes[0].faults = replace(Faults(), crash=1.0)

    drive(world, lambda life: Faults(), each)
    watcher.finished()
    assert died
    assert told(world)[0].phase is Phase.PROMOTED
