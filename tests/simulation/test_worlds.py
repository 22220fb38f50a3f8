"""200 worlds, and death after every single call of a whole rollout and of a whole rollback."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from rollout.core.documents import DESTINATION_RULE
from rollout.core.lifecycle import Phase
from rollout.core.strategy import Bake, Step
from rollout.engine.lease import DURATION as LEASE
from rollout.engine.rights import FOR_SUBSETS, RIGHTS, pairs
from tests.simulation.invariants import Violation, Watcher
from tests.simulation.world import START, Faults, World, drive, strategy
from tests.simulation.worlds import play

SEEDS, SLICES = 200, 8


@pytest.mark.parametrize("part", range(SLICES))
def test_no_invariant_breaks_in_any_world(part: int) -> None:
    outcomes = [play(seed) for seed in range(part, SEEDS, SLICES)]
    assert any(o.phase is Phase.PROMOTED for o in outcomes), "a storm in which nothing is promoted shows nothing"
    assert not [o for o in outcomes if o.bad and o.phase is Phase.PROMOTED]
    assert not [o for o in outcomes if not o.bad and o.reason == "Breach"]


def story(first: Faults, failing: float = 0.0, **changes: Any) -> tuple[World, int]:
    """A quiet world in which the first process meets these faults; the number of processes that it took."""
    world = World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=strategy(**changes))
    watcher = Watcher(world)
    lives = drive(world, lambda life: first if life == 1 else Faults(), lambda _: None)
    watcher.finished()
    return world, lives


ENDS = [(0.0, Phase.PROMOTED), (0.1, Phase.ROLLED_BACK)]
FAULTS: dict[str, Callable[[int], Faults]] = {
    "dies when a call has landed": lambda n: Faults(crash_after=n),
    "loses a reply": lambda n: Faults(lose_at=n),
    "loses a reply, then dies": lambda n: Faults(lose_at=n, crash_after=n + 1),
    "gets no answer, then dies": lambda n: Faults(fail_at=n, crash_after=n + 1),
}


@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_single_call_changes_no_end(fault: str, failing: float, end: Phase) -> None:
    """Among them: the take-back lands, the record of it gets no answer, the process dies."""
    calls = 0
    short = {"steps": tuple(Step(Decimal(w), Bake(2.0, 20.0)) for w in (25, 100)), "confirm": 2.0}
    while True:
        calls += 1
        world, _ = story(FAULTS[fault](calls), failing, **short)
        attempt = world.attempt()
        assert attempt is not None
        assert attempt.phase is end, f"at call {calls}: {attempt.message}"
        if world.processes[0].calls < calls:
            break
    assert calls > 100, "a rollout makes more calls than that; the enumeration ended early"


def test_a_restart_neither_shortens_a_bake_nor_starts_it_again() -> None:
    """The watcher sees one that is too short; what a death costs in time is its lease and one look."""
    bakes: dict[str, Any] = {"steps": tuple(Step(Decimal(w), Bake(60.0, 120.0)) for w in (25, 100)), "confirm": 60.0}
    whole = story(Faults(), **bakes)[0]
    longest = whole.now - START + LEASE + 2 + 2 * whole.strategy.look
    for call in range(1, whole.processes[0].calls, 7):
        world, _ = story(Faults(crash_after=call), **bakes)
        assert world.now - START <= longest, f"death after call {call} cost {world.now - whole.now:.0f} s"


def test_a_healthy_world_promotes_within_its_bakes() -> None:
    world, lives = story(Faults())
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, lives) == (Phase.PROMOTED, 1)
    assert attempt.ended - attempt.started < 120


def test_the_rights_that_we_ask_for_are_those_that_we_use() -> None:
    used: set[tuple[str, str]] = set()
    for seed in range(30):
        world = World(seed, trouble=0.0, failing={"v1": 0.0, "v2": 0.1 if seed % 2 else 0.0})
        if seed % 3 == 0:
            world.cluster.documents.pop((DESTINATION_RULE.name, "shop", "reviews"))
        drive(world, lambda _: Faults(), lambda _: None)
        used = used.union(*(process.asked for process in world.processes))
    assert used == {(kind.name, verb) for kind, verb in (*pairs(RIGHTS), *pairs(FOR_SUBSETS))}


def test_an_outage_that_both_versions_share_is_nobodys_fault() -> None:
    for start in (0, 8, 16, 24):
        world = World(seed=3, trouble=0.0)
        world.outage = (world.now + start, world.now + start + 6)
        drive(world, lambda _: Faults(), lambda _: None)
        attempt = world.attempt()
        assert attempt is not None
        assert attempt.phase is Phase.PROMOTED, attempt.message


def test_a_violation_is_seen() -> None:
    """The watcher bites: a write above the recorded weight does not pass."""
    world = World(seed=1, trouble=0.0)
    Watcher(world)
    vs = world.virtual_service()
    vs["spec"]["http"][1]["route"] = [
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": 50},
        {"destination": {"host": "reviews", "subset": "v2"}, "weight": 50},
    ]
    with pytest.raises(Violation, match="I2"):
        world.cluster._write(("VirtualService", "shop", "reviews"), vs)
