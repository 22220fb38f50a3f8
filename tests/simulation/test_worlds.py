"""200 worlds, and death after every single call of a whole rollout and of a whole rollback."""

import pytest

from rollout.core.lifecycle import Phase
from tests.simulation.invariants import Violation, Watcher
from tests.simulation.world import Faults, World, drive
from tests.simulation.worlds import play

SEEDS, SLICES = 200, 8


@pytest.mark.parametrize("part", range(SLICES))
def test_no_invariant_breaks_in_any_world(part: int) -> None:
    outcomes = [play(seed) for seed in range(part, SEEDS, SLICES)]
    assert any(o.phase is Phase.PROMOTED for o in outcomes), "a storm in which nothing is promoted shows nothing"
    assert not [o for o in outcomes if o.bad and o.phase is Phase.PROMOTED]
    assert not [o for o in outcomes if not o.bad and o.reason == "Breach"]


def story(crash_after: int, failing: float, lost: bool = False) -> tuple[World, int]:
    world = World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing})
    watcher = Watcher(world)
    first = Faults(crash_after=crash_after, lost_reply=1.0 if lost else 0.0)
    lives = drive(world, lambda life: first if life == 1 else Faults(), lambda _: None)
    watcher.finished()
    return world, lives


@pytest.mark.parametrize(("failing", "end"), [(0.0, Phase.PROMOTED), (0.1, Phase.ROLLED_BACK)])
def test_death_after_every_single_call_changes_no_end(failing: float, end: Phase) -> None:
    calls = 0
    while True:
        calls += 1
        world, lives = story(calls, failing)
        attempt = world.attempt()
        assert attempt is not None
        assert attempt.phase is end, f"after call {calls}: {attempt.message}"
        if lives == 1:
            break
    assert calls > 100, "a rollout makes more calls than that; the enumeration ended early"


def test_a_healthy_world_promotes_within_its_bakes() -> None:
    world, lives = story(-1, 0.0)
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, lives) == (Phase.PROMOTED, 1)
    assert attempt.ended - attempt.started < 120


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
