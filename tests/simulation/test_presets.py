"""Every preset as it is shipped, its times shortened: in storms, and with faults at single calls and at two.

Some in the gate, more in `make test`; every single call, and each pair of writes, in `make soak`.
"""

import itertools
from dataclasses import replace

import pytest

from rollout.adapters.strategy_files import presets
from rollout.core.lifecycle import Phase, Reason
from tests.simulation.invariants import Watcher
from tests.simulation.test_worlds import ENDS, FAULTS
from tests.simulation.world import START, Faults, World, drive
from tests.simulation.worlds import BAD, SPEED, Outcome, approve, play, shortened

SOAK = pytest.mark.soak
PARTS = [pytest.param(n, marks=SOAK if n else pytest.mark.slow) for n in range(8)]


def test_each_is_played() -> None:
    assert set(SPEED) == set(presets())


def right(outcomes: list[Outcome]) -> None:
    assert any(one.phase is Phase.PROMOTED for one in outcomes), "a storm in which nothing is promoted shows nothing"
    assert not [one for one in outcomes if one.bad and one.phase is Phase.PROMOTED]


@pytest.mark.parametrize("name", SPEED)
def test_no_storm_breaks_an_invariant_or_promotes_what_is_bad(name: str) -> None:
    right([play(seed, name) for seed in range(28, 34)])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", SPEED)
def test_in_no_storm_of_many_either(name: str, part: int) -> None:
    right([play(seed, name) for seed in range(part, 200, 8)])
    ends = [play(seed, name, BAD) for seed in range(600 + part, 800, 8)]
    assert not [one for one in ends if one.phase is Phase.PROMOTED]


def played(name: str, failing: float, *faults: Faults) -> tuple[World, int]:
    """A quiet world, where the first process meets the first of the faults, the next the next; how many it took.

    The end at 100 % is shortened too, for there are hundreds of calls in which nothing happens.
    """
    quick = replace(shortened(name), confirm=6.0)
    world = World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=quick)
    watcher = Watcher(world)
    lives = drive(world, lambda life: faults[life - 1] if life <= len(faults) else Faults(), approve)
    watcher.finished()
    return world, lives


def faulty(name: str, failing: float, end: Phase, *faults: Faults) -> int:
    """How many processes it took to the right end."""
    world, lives = played(name, failing, *faults)
    attempt = world.attempt()
    assert attempt is not None
    assert attempt.phase is end, f"with {faults}: {attempt.message}"
    return lives


@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("name", SPEED)
def test_a_death_after_a_call_changes_no_end(name: str, failing: float, end: Phase) -> None:
    whole, _ = played(name, failing)
    attempt = whole.attempt()
    assert attempt is not None
    assert (attempt.phase, attempt.reason) == (end, Reason.BREACH if failing else None)
    assert whole.now < START + 400, "it ends before its deadline"
    calls = whole.processes[0].calls
    for call in range(20 + len(name), calls, calls // 3):
        faulty(name, failing, end, Faults(crash_after=call))


@pytest.mark.parametrize("every", [pytest.param(17, marks=pytest.mark.slow), pytest.param(1, marks=SOAK)])
@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SPEED)
def test_a_fault_at_every_single_call_changes_no_end(
    name: str, fault: str, failing: float, end: Phase, every: int
) -> None:
    calls = played(name, failing)[0].processes[0].calls
    assert calls > 50, "a rollout makes more calls than that"
    for call in range(1 + len(name + fault) % every, calls + 1, every):
        faulty(name, failing, end, FAULTS[fault](call))


@pytest.mark.parametrize("every", [pytest.param(17, marks=pytest.mark.slow), pytest.param(1, marks=SOAK)])
@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("name", SPEED)
def test_two_deaths_change_no_end(name: str, failing: float, end: Phase, every: int) -> None:
    """After each pair of writes: until the next one a process that dies leaves the same world, but for the time."""
    writes = played(name, failing)[0].processes[0].writes
    assert writes > 10, "a rollout writes more often than that"
    for first in range(1 + len(name) % every, writes, every):
        for second in itertools.count(1 + first % every, every):
            pair = Faults(crash_after_write=first), Faults(crash_after_write=second)
            if faulty(name, failing, end, *pair) < 3:
                break  # the second had ended before
