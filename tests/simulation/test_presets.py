"""Every preset as it is shipped, its times shortened: in storms, and with death after single calls."""

from dataclasses import replace

import pytest

from rollout.adapters.strategy_files import presets
from rollout.core.lifecycle import Phase, Reason
from tests.simulation.invariants import Watcher
from tests.simulation.test_worlds import ENDS, FAULTS
from tests.simulation.world import START, Faults, World, drive
from tests.simulation.worlds import BAD, SPEED, Outcome, approve, play, shortened


def test_each_is_played() -> None:
    assert set(SPEED) == set(presets())


def right(outcomes: list[Outcome]) -> None:
    assert any(one.phase is Phase.PROMOTED for one in outcomes), "a storm in which nothing is promoted shows nothing"
    assert not [one for one in outcomes if one.bad and one.phase is Phase.PROMOTED]


@pytest.mark.parametrize("name", SPEED)
def test_no_storm_breaks_an_invariant_or_promotes_what_is_bad(name: str) -> None:
    right([play(seed, name) for seed in range(28, 34)])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("name", SPEED)
def test_in_no_storm_of_many_either(name: str, part: int) -> None:
    right([play(seed, name) for seed in range(part, 100, 4)])
    ends = [play(seed, name, BAD) for seed in range(600 + part, 700, 4)]
    assert not [one for one in ends if one.phase is Phase.PROMOTED]


def played(name: str, failing: float, faults: Faults | None = None) -> World:
    """A quiet world; the end at 100 % is shortened too, for there are hundreds of calls in which nothing happens."""
    quick = replace(shortened(name), confirm=6.0)
    world = World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=quick)
    watcher = Watcher(world)
    drive(world, lambda life: faults if faults and life == 1 else Faults(), approve)
    watcher.finished()
    return world


def faulty(name: str, failing: float, end: Phase, fault: str, calls: range) -> None:
    for call in calls:
        attempt = played(name, failing, FAULTS[fault](call)).attempt()
        assert attempt is not None
        assert attempt.phase is end, f"at call {call}: {attempt.message}"


@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("name", SPEED)
def test_a_death_after_a_call_changes_no_end(name: str, failing: float, end: Phase) -> None:
    whole = played(name, failing)
    attempt = whole.attempt()
    assert attempt is not None
    assert (attempt.phase, attempt.reason) == (end, Reason.BREACH if failing else None)
    assert whole.now < START + 400, "it ends before its deadline"
    calls = whole.processes[0].calls
    faulty(name, failing, end, "dies when a call has landed", range(20 + len(name), calls, calls // 3))


@pytest.mark.slow
@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SPEED)
def test_a_fault_at_a_call_changes_no_end(name: str, fault: str, failing: float, end: Phase) -> None:
    """Death after every single call; the others, which begin as it does, at a part of them."""
    calls = played(name, failing).processes[0].calls
    assert calls > 50, "a rollout makes more calls than that"
    step = 1 if fault == "dies when a call has landed" else 13
    faulty(name, failing, end, fault, range(1 + len(name) % step, calls + 1, step))
