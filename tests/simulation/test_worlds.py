"""200 worlds, and death at single calls of a whole rollout and of a whole rollback: some of them, and every one."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.core.documents import DESTINATION_RULE
from rollout.core.lifecycle import Phase, Reason
from rollout.core.query import Effect, Query
from rollout.core.strategy import ERRORS, LATENCY, Bake, Check, Step
from rollout.engine.lease import DURATION as LEASE
from rollout.engine.past import UNKNOWN
from rollout.engine.rights import FOR_SUBSETS, FOR_WARNINGS, RIGHTS, pairs
from tests.simulation.invariants import Violation, Watcher
from tests.simulation.world import START, Faults, World, drive, strategy
from tests.simulation.worlds import play

SEEDS, SLICES = 200, 8
SHORT: dict[str, Any] = {"steps": tuple(Step(Decimal(w), Bake(2.0, 20.0)) for w in (25, 100)), "confirm": 2.0}
Depth = Callable[[World, float], float]


@pytest.mark.parametrize("part", range(SLICES))
def test_no_invariant_breaks_in_any_world(part: int) -> None:
    outcomes = [play(seed) for seed in range(part, SEEDS, SLICES)]
    assert any(o.phase is Phase.PROMOTED for o in outcomes), "a storm in which nothing is promoted shows nothing"
    assert not [o for o in outcomes if o.bad and o.phase is Phase.PROMOTED]
    assert not [o for o in outcomes if not o.bad and o.reason == "Breach"]


def story(first: Faults, failing: float = 0.0, depth: Depth | None = None, **changes: Any) -> tuple[World, int]:
    """A quiet world in which the first process meets these faults; the number of processes that it took.

    `depth` is what a query finds at each moment.
    """
    world = World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=strategy(**changes))
    if depth is not None:
        world.metrics.answer = lambda promql, at: [depth(world, at)]
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


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_single_call_changes_no_end(fault: str, failing: float, end: Phase, every: int) -> None:
    """Among them: the take-back lands, the record of it gets no answer, the process dies."""
    calls = len(fault) % every
    while True:
        calls += every
        world, _ = story(FAULTS[fault](calls), failing, **SHORT)
        attempt = world.attempt()
        assert attempt is not None
        assert attempt.phase is end, f"at call {calls}: {attempt.message}"
        if world.processes[0].calls < calls:
            break
    assert calls > 100, "a rollout makes more calls than that; the enumeration ended early"


def test_proxies_that_never_learn_of_the_last_weight_are_told_of() -> None:
    world, told = World(3, trouble=0.0, strategy=replace(strategy(), confirm=60.0)), set[str]()
    world.metrics.stragglers["v1"] = 60  # as where istiod is gone, and half of its proxies are what they were

    def each(_: World) -> None:
        attempt = world.attempt()
        told.update([attempt.last.text] if attempt and attempt.last and attempt.weight == 100 else [])

    drive(world, lambda _: Faults(), each)
    assert any("v2 got 67 % of the requests, not 100 %" in text for text in told), told


@pytest.mark.parametrize("every", [29, pytest.param(3, marks=pytest.mark.slow)])
def test_a_restart_neither_shortens_a_bake_nor_starts_it_again(every: int) -> None:
    """The watcher sees one that is too short; what a death costs in time is its lease and one look."""
    bakes: dict[str, Any] = {"steps": tuple(Step(Decimal(w), Bake(60.0, 120.0)) for w in (25, 100)), "confirm": 60.0}
    whole = story(Faults(), **bakes)[0]
    longest = whole.now - START + LEASE + 2 + 2 * whole.strategy.look
    for call in range(1, whole.processes[0].calls, every):
        world, _ = story(Faults(crash_after=call), **bakes)
        assert world.now - START <= longest, f"death after call {call} cost {world.now - whole.now:.0f} s"


def test_a_healthy_world_promotes_within_its_bakes() -> None:
    world, lives = story(Faults())
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, lives) == (Phase.PROMOTED, 1)
    assert attempt.ended - attempt.started < 120


DEPTH = Query("queue depth", 'queue_depth{version="$canary"}', max=100)
BACK = replace(DEPTH, on_breach=Effect.ROLLBACK)


@pytest.mark.parametrize("checks", [(ERRORS,), ()])
@pytest.mark.parametrize("call", [0, 40, 60, 80, 100])
def test_a_breach_of_a_query_holds_until_it_is_over_whatever_dies(call: int, checks: tuple[Check, ...]) -> None:
    """It is in the metrics store, so a crash changes nothing. The watcher sees a weight that rises all the same."""
    over = START + 90
    faults = Faults(crash_after=call) if call else Faults()
    world, lives = story(faults, 0.0, lambda _, at: 120.0 if at < over else 7.0, queries=(DEPTH,), checks=checks)
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, lives) == (Phase.PROMOTED, 2 if call else 1)
    texts = [entry.text for entry in attempt.journal]
    assert texts.count("holding: queue depth is 120, above 100") == 1
    (second,) = (entry.at for entry in attempt.journal if entry.text.startswith("5 → 25 %"))
    assert over <= second <= over + (2 * world.strategy.look if checks else UNKNOWN + 2)


def _deep(world: World, at: float) -> float:
    """As soon as anybody is sent to the canary."""
    return 120.0 if world.exposed() else 7.0


def test_a_breach_of_a_query_that_does_not_end_ends_by_the_deadline() -> None:
    world, _ = story(Faults(), 0.0, lambda _, at: 120.0, queries=(DEPTH,))
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.OVERDUE)
    assert "holding: queue depth is 120, above 100" in attempt.message


def test_a_breach_at_100_is_not_promoted() -> None:
    world, _ = story(Faults(), 0.0, lambda w, _: 120.0 if w.exposed() == 100 else 7.0, queries=(DEPTH,))
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.OVERDUE)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_breach_of_a_query_takes_back_whatever_fails_at_every_single_call(fault: str) -> None:
    calls = 0
    while True:
        calls += 1
        world, _ = story(FAULTS[fault](calls), 0.0, _deep, queries=(BACK,), checks=(), **SHORT)
        attempt = world.attempt()
        assert attempt is not None
        assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.BREACH), f"at call {calls}"
        assert "queue depth is 120, above 100" in attempt.message or "taken back on" in attempt.message
        if world.processes[0].calls < calls:
            break
    assert calls > 30, "a rollback makes more calls than that; the enumeration ended early"


def test_a_breach_of_a_moment_is_not_forgotten_though_nothing_can_be_written() -> None:
    """The moment in which it is seen is the last one for a while in which the API server answers."""
    world = World(seed=7, trouble=0.0, strategy=strategy(queries=(BACK,)))
    watcher = Watcher(world)
    seen: list[float] = []

    def answer(promql: str, at: float) -> list[float]:
        if seen or world.exposed() < 25:
            return [7.0]
        seen.append(at)
        world.processes[0].faults = Faults(fail_writes=True)
        return [120.0]

    def each(world: World) -> None:
        if seen and world.now > seen[0] + 30:
            world.processes[0].faults = Faults()

    world.metrics.answer = answer
    drive(world, lambda _: Faults(), each)
    watcher.finished()
    attempt = world.attempt()
    assert attempt is not None
    assert attempt.ended > seen[0] + 30
    assert attempt.message == "rolled back: Breach: queue depth is 120, above 100"


def test_the_rights_that_we_ask_for_are_those_that_we_use() -> None:
    used: set[tuple[str, str]] = set()
    for seed in range(30):
        world = World(seed, trouble=0.0, failing={"v1": 0.0, "v2": 0.1 if seed % 2 else 0.0})
        if seed % 3 == 0:
            world.cluster.documents.pop((DESTINATION_RULE.name, "shop", "reviews"))
        drive(world, lambda _: Faults(), lambda _: None)
        used = used.union(*(process.asked for process in world.processes))
    assert used == {(kind.name, verb) for kind, verb in (*pairs(RIGHTS), *pairs(FOR_SUBSETS), *pairs(FOR_WARNINGS))}


def test_an_outage_that_both_versions_share_is_nobodys_fault() -> None:
    for start in (0, 8, 16, 24):
        world = World(seed=3, trouble=0.0)
        world.outage = (world.now + start, world.now + start + 6)
        drive(world, lambda _: Faults(), lambda _: None)
        attempt = world.attempt()
        assert attempt is not None
        assert attempt.phase is Phase.PROMOTED, attempt.message


SLOW_TOO: dict[str, Any] = {"checks": (ERRORS, LATENCY), "confirm": 40.0, "deadline": 900.0}


def slowed(world: World, faults: Faults, versions: str) -> list[int]:
    """The weights of a rollout in which, from 100 % on, everybody's answers are slow, or v2's under the whole load."""
    weights: list[int] = []
    watcher = Watcher(world)

    def each(_: World) -> None:
        attempt = world.attempt()
        weight = int(attempt.weight) if attempt and not attempt.phase.ended else 0
        if weight and weights[-1:] != [weight]:
            weights.append(weight)
        late = 100 in weights if versions == "both" else world.exposed() == 100
        world.slow = dict.fromkeys(world.slow, 0.01) | ({"v1": 0.1, "v2": 0.1} if late and versions == "both" else {})
        world.slow["v2"] = 0.1 if late else 0.01

    drive(world, lambda life: faults if life == 1 else Faults(), each)
    watcher.finished()
    return weights


@pytest.mark.parametrize("every", [211, pytest.param(11, marks=pytest.mark.slow)])
def test_who_is_slow_at_100_because_everybody_is_goes_on_after_a_comparison_whatever_dies(every: int) -> None:
    calls = 0
    while True:
        world = World(seed=3, trouble=0.0, strategy=strategy(**SLOW_TOO))
        weights = slowed(world, Faults(crash_after=calls) if calls else Faults(), "both")
        attempt = world.attempt()
        assert attempt is not None
        assert (attempt.phase, weights) == (Phase.PROMOTED, [5, 25, 50, 100, 50, 100]), attempt.message
        if calls and world.processes[0].calls < calls:
            break
        calls += every


def test_who_is_slow_under_the_whole_load_alone_goes_back_the_second_time() -> None:
    world = World(seed=3, trouble=0.0, strategy=strategy(**SLOW_TOO))
    assert slowed(world, Faults(), "v2") == [5, 25, 50, 100, 50, 100]
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.BREACH)
    assert any(entry.text.startswith("100 → 50 %, to compare anew (DOUBT: v2 answers") for entry in attempt.journal)


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
