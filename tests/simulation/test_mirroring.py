"""A rollout that begins with a mirror: no user meets what is bad, and no route of ours stays, whatever happens."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.cli import driving
from rollout.cli.driving import Manners
from rollout.core.attempt import Attempt
from rollout.core.documents import CONFIG_MAP, VIRTUAL_SERVICE, Document, copied
from rollout.core.errors import InvalidInput
from rollout.core.lifecycle import Phase, Reason
from rollout.core.query import Effect, Query
from rollout.core.strategy import Bake, Safe, Step
from rollout.engine.lease import DURATION as LEASE
from tests.simulation.invariants import Watcher
from tests.simulation.test_driving import Stage
from tests.simulation.test_worlds import ENDS, FAULTS, story
from tests.simulation.world import HOST, START, Faults, World, drive, mirroring, of_ours, strategy

SHORT: dict[str, Any] = {
    "steps": (mirroring(seconds=4.0), *(Step(Decimal(w), Bake(2.0, 20.0)) for w in (25, 100))),
    "confirm": 2.0,
}
LONG: dict[str, Any] = {"steps": (mirroring(seconds=60.0), Step(Decimal(100), Bake(2.0, 20.0))), "confirm": 2.0}


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, signals: None) -> Stage:
    return Stage(monkeypatch, strategy=strategy(**LONG))


def ended(world: World) -> tuple[Phase, Reason | None]:
    attempt = world.attempt()
    assert attempt is not None
    return attempt.phase, attempt.reason


def texts(attempt: Attempt | None) -> list[str]:
    assert attempt is not None
    return [entry.text for entry in attempt.journal]


def while_mirroring(stage: Stage, event: Callable[[], object], second: float = 0.0) -> None:
    """As soon as our route lies there, or so many seconds later."""

    def check() -> None:
        if of_ours(stage.world.virtual_service()):
            stage.at(stage.world.now - START + second, event)
        else:
            stage.at(stage.world.now - START + 1, check)

    stage.at(1, check)


def remove(world: World) -> None:
    world.edit(lambda vs: vs["spec"].update({"http": [r for r in vs["spec"]["http"] if r not in of_ours(vs)]}))


def fault_at(calls: range, fault: str, failing: float, end: Phase) -> None:
    for call in calls:
        world, _ = story(FAULTS[fault](call), failing, **SHORT)
        assert ended(world)[0] is end, f"at call {call}: {texts(world.attempt())}"
        assert not failing or world.metrics.hurt == 0, f"at call {call}"


@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_a_call_changes_no_end(fault: str, failing: float, end: Phase) -> None:
    whole = story(Faults(), failing, **SHORT)[0].processes[0].calls
    fault_at(range(1 + len(fault) % 23, whole, 23), fault, failing, end)


@pytest.mark.slow
@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_single_call_changes_no_end(fault: str, failing: float, end: Phase) -> None:
    whole = story(Faults(), failing, **SHORT)[0].processes[0].calls
    assert whole > 100, "a rollout makes more calls than that"
    fault_at(range(1, whole + 1), fault, failing, end)


@pytest.mark.slow
@pytest.mark.parametrize(("failing", "end"), ENDS)
def test_two_deaths_change_no_end(failing: float, end: Phase) -> None:
    """After calls that lie apart, so that every stretch of a rollout meets every other."""
    whole = story(Faults(), failing, **SHORT)[0].processes[0].calls
    for first in range(1, whole, 13):
        for second in range(1 + first % 11, whole - first + 30, 11):
            world = World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=strategy(**SHORT))
            watcher = Watcher(world)
            dies = {1: Faults(crash_after=first), 2: Faults(crash_after=second)}
            drive(world, lambda life: dies.get(life, Faults()), lambda _: None)  # noqa: B023 - called at once
            watcher.finished()
            assert ended(world)[0] is end, f"after {first} and {second}: {texts(world.attempt())}"


def test_a_restart_neither_shortens_a_mirror_nor_starts_it_again() -> None:
    whole = story(Faults(), **LONG)[0]
    longest = whole.now - START + LEASE + 2 + 2 * whole.strategy.look
    for call in range(1, whole.processes[0].calls, 29):
        world, _ = story(Faults(crash_after=call), **LONG)
        assert world.now - START <= longest, f"death after call {call} cost {world.now - whole.now:.0f} s"


@pytest.mark.parametrize("safe", Safe)
def test_what_is_bad_is_found_before_any_user_meets_it(safe: Safe) -> None:
    world, _ = story(Faults(), 0.1, steps=(mirroring(safe=safe), *SHORT["steps"][1:]))
    attempt = world.attempt()
    assert attempt is not None
    assert ended(world) == (Phase.ROLLED_BACK, Reason.BREACH)
    assert world.metrics.hurt == 0
    assert attempt.last is not None
    assert attempt.last.hurt == 0
    assert not any("→ 25 %" in text for text in texts(attempt))


def test_at_its_end_the_routes_are_what_they_would_be_without_it() -> None:
    for failing in (0.0, 0.1):
        routes = []
        for steps in (SHORT["steps"], SHORT["steps"][1:]):
            world, _ = story(Faults(), failing, **(SHORT | {"steps": steps}))
            routes.append(world.virtual_service()["spec"])
        assert routes[0] == routes[1]


def test_what_is_repeated_and_seen_by_nobody_is_refused() -> None:
    world = World(seed=7, trouble=0.0, strategy=strategy(**SHORT))
    world.seen = False
    drive(world, lambda _: Faults(), lambda _: None)
    assert ended(world) == (Phase.ROLLED_BACK, Reason.BREACH)
    assert "requests that were repeated at v2 was seen there" in texts(world.attempt())[-1]
    assert world.metrics.hurt == 0


def test_where_nothing_is_asked_nothing_is_proven() -> None:
    world = World(seed=7, trouble=0.0, rps=0, strategy=strategy(**SHORT))
    drive(world, lambda _: Faults(), lambda _: None)
    assert ended(world) == (Phase.ROLLED_BACK, Reason.UNPROVEN)


def test_a_query_holds_and_takes_back_what_is_mirrored() -> None:
    """What the canary does with repeated requests is real: its queue too."""

    def depth(world: World, at: float) -> float:
        return 120.0 if of_ours(world.virtual_service()) else 7.0

    deep = Query("queue depth", "depth", max=100, on_breach=Effect.ROLLBACK)
    world, _ = story(Faults(), 0.0, depth, queries=(deep,), **SHORT)
    assert ended(world) == (Phase.ROLLED_BACK, Reason.BREACH)
    assert world.metrics.hurt == 0


def test_too_few_endpoints_for_the_first_step_are_bad_input() -> None:
    for ready, percent, most in ((1, 100, "25"), (3, 80, "75"), (1, 26, "25")):
        world = World(seed=7, trouble=0.0, strategy=strategy(steps=(mirroring(percent), *SHORT["steps"][1:])))
        world.set_ready("v2", ready)
        engine = world.engine("one", Faults())
        with pytest.raises(InvalidInput, match=f"v2 has {ready} ready .* or mirror at most {most} %"):
            engine.examine(world.request(), world.now)
        assert not world.processes[-1].counts.keys() & {"create", "patch", "delete"}
        assert engine.examine(
            replace(world.request(), strategy=strategy(steps=(mirroring(25), *SHORT["steps"][1:]))), 0
        )


# Somebody else


def test_our_route_comes_back_and_lasts_as_long_as_it_shall(stage: Stage) -> None:
    while_mirroring(stage, lambda: remove(stage.world), 30)
    attempt, code = stage.promote()
    stage.watcher.finished()
    assert code == 0
    assert attempt is not None
    assert attempt.ended - attempt.started > 90
    assert sum("was removed, or is not what its original is now by kubectl; put back" in t for t in texts(attempt)) == 1


@pytest.mark.parametrize("whole", [False, True])
def test_who_removes_it_again_and_again_is_not_fought(stage: Stage, whole: bool) -> None:
    """GitOps among them, that writes its list without us. Asked to go on, it mirrors from the start."""
    world, removed = stage.world, list[float]()

    def gone() -> None:
        if of_ours(world.virtual_service()):
            removed.append(world.now)
            if whole:
                world.edit(lambda vs: vs["spec"].update({"http": copied(world.routes)}), "argocd")
            else:
                remove(world)
        if len(removed) < 4:
            stage.at(world.now - START + 1, gone)

    while_mirroring(stage, gone)
    attempt, code = stage.promote(Manners(wait=False))
    assert (code, len(removed)) == (5, 4)
    assert attempt is not None
    assert "DriftFight" in attempt.message
    assert not of_ours(world.virtual_service())
    again, code = stage.promote()
    assert code == 0
    assert again is not None
    resumed = next(e.at for e in again.journal if e.text.startswith("going on from 0 %"))
    shifted = next(e.at for e in again.journal if e.text.startswith("0 → 100 %"))
    assert shifted - resumed >= 60
    stage.watcher.finished()


def test_an_edit_of_the_original_is_kept_and_our_route_follows(stage: Stage) -> None:
    def check() -> None:
        ours, original = stage.world.virtual_service()["spec"]["http"][-2:]
        assert (ours["timeout"], original["timeout"]) == ("9s", "9s")

    def edit() -> None:
        stage.world.edit(lambda vs: vs["spec"]["http"][-1].update({"timeout": "9s"}))
        stage.at(stage.world.now - START + 3, check)

    while_mirroring(stage, edit, 10)
    assert stage.promote()[1] == 0
    assert stage.world.virtual_service()["spec"]["http"][-1]["timeout"] == "9s"
    stage.watcher.finished()


def test_users_that_somebody_sends_through_our_route_are_taken_back(stage: Stage) -> None:
    def bend(vs: Document) -> None:
        of_ours(vs)[0]["route"][1]["weight"] = 100

    while_mirroring(stage, lambda: stage.world.edit(bend))
    assert stage.promote()[1] == 0
    stage.watcher.finished()


@pytest.mark.parametrize(
    "away", [{"route": [{"destination": {"host": "maintenance"}}]}, {"redirect": {"uri": "/gone"}, "route": None}]
)
def test_our_route_does_not_outlive_its_original(stage: Stage, away: Document) -> None:
    """Somebody sends everybody elsewhere: reads must go there too, at once."""

    def change(vs: Document) -> None:
        route = vs["spec"]["http"][-1]
        route.update(away)
        if away.get("route", True) is None:
            del route["route"]

    while_mirroring(stage, lambda: stage.world.edit(change), 10)
    assert stage.promote(Manners(wait=False))[1] == 5
    stage.world.pass_time(2)
    engine = stage.world.engine("abort", Faults())
    engine.acquire(stage.world.now)
    engine.tick(stage.world.now)
    assert not of_ours(stage.world.virtual_service())
    driving.take_back(engine, Reason.ABORTED, "asked", stage._tell)
    driving.finish(engine, stage._tell, driving.REST_WITHIN)
    stage.watcher.finished()


def test_aborted_after_its_original_went_our_route_goes(stage: Stage) -> None:
    """Before anybody saw that."""
    away = {"route": [{"destination": {"host": "maintenance"}}]}
    while_mirroring(stage, lambda: os.kill(os.getpid(), signal.SIGTERM), 10)
    stage.promote(Manners(hold_on_interrupt=True))
    stage.world.edit(lambda vs: vs["spec"]["http"][-1].update(away))
    engine = stage.world.engine("abort", Faults())
    driving.take_back(engine, Reason.ABORTED, "asked", stage._tell)
    assert not of_ours(stage.world.virtual_service())
    stage.world.pass_time(LEASE)
    driving.finish(engine, stage._tell, driving.REST_WITHIN)
    stage.watcher.finished()


def test_an_edit_for_which_no_route_can_be_made_pauses(stage: Stage) -> None:
    match = [{"method": {"regex": r"\w+"}}]
    while_mirroring(stage, lambda: stage.world.edit(lambda vs: vs["spec"]["http"][-1].update({"match": match})), 10)
    attempt, code = stage.promote(Manners(wait=False))
    assert code == 5
    assert attempt is not None
    assert "a route that moves matches method" in attempt.message


def test_a_canary_that_shrinks_gets_no_route_of_ours_again(stage: Stage) -> None:
    def shrink() -> None:
        stage.world.set_ready("v2", 1)
        remove(stage.world)

    while_mirroring(stage, shrink, 10)
    attempt, code = stage.promote(Manners(wait=False))
    assert code == 5
    assert attempt is not None
    assert "mirroring 100 % of the reads needs 4 ready endpoint(s) of v2, 1 are" in attempt.message


# Leaving


def test_a_signal_takes_our_route_with_it(stage: Stage) -> None:
    while_mirroring(stage, lambda: os.kill(os.getpid(), signal.SIGTERM), 10)
    assert stage.promote()[1] == 143
    stage.watcher.finished()


def test_who_holds_leaves_it_and_the_same_command_goes_on(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    while_mirroring(stage, lambda: os.kill(os.getpid(), signal.SIGINT), 10)
    assert stage.promote(Manners(at_terminal=True))[1] == 130
    assert "v2 keeps its 0 %, mirroring 100 % of the reads, and nobody judges it now" in capsys.readouterr().err
    assert of_ours(stage.world.virtual_service())
    attempt, code = stage.promote()
    assert code == 0
    assert attempt is not None
    assert attempt.ended - attempt.started < 85, "what was mirrored counts"
    stage.watcher.finished()


def test_the_deadline_takes_our_route_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, strategy=strategy(deadline=30.0, **LONG))
    assert stage.promote()[1] == 4
    stage.watcher.finished()


@pytest.mark.parametrize("claimed", [True, False])
def test_abort_without_a_record_removes_our_route(stage: Stage, claimed: bool) -> None:
    world = stage.world
    while_mirroring(stage, lambda: os.kill(os.getpid(), signal.SIGTERM), 10)
    stage.promote(Manners(hold_on_interrupt=True))
    world.write_by_hand((CONFIG_MAP.name, "shop", "rollout-reviews"), None)
    if not claimed:
        world.edit(lambda vs: vs["metadata"].update({"annotations": {}}))
    driving.take_back(world.engine("abort", Faults()), Reason.ABORTED, "asked", stage._tell)
    vs = world.virtual_service()
    assert not of_ours(vs)
    assert not vs["metadata"].get("annotations")
    assert [e["weight"] for e in vs["spec"]["http"][-1]["route"]] == [100, 0]


def test_a_claim_that_is_removed_by_hand_comes_back_and_goes(stage: Stage) -> None:
    while_mirroring(stage, lambda: stage.world.edit(lambda vs: vs["metadata"].update({"annotations": {}})), 10)
    assert stage.promote()[1] == 0
    stage.watcher.finished()


def test_another_services_routes_of_ours_stay(stage: Stage) -> None:
    """Both in one VirtualService, by their paths."""
    world = stage.world
    theirs = {
        "name": f"rollout.dev/{HOST.replace('reviews', 'ratings')}/mirror/name:ratings",
        "match": [{"uri": {"prefix": "/ratings"}, "method": {"exact": "GET"}}],
        "route": [{"destination": {"host": "ratings", "subset": "v1"}}],
        "mirrors": [{"destination": {"host": "ratings", "subset": "v2"}, "percentage": {"value": 100}}],
    }
    world.edit(lambda vs: vs["spec"]["http"].insert(0, theirs))
    attempt, code = stage.promote()
    assert code == 0, texts(attempt)
    assert world.virtual_service()["spec"]["http"][0] == theirs
    assert world.cluster.get(VIRTUAL_SERVICE, "shop", "reviews")["spec"]["http"][-1]["name"] == "main"
    stage.watcher.finished()


def test_a_pause_at_a_weight_that_fell_to_nothing_mirrors_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What users saw of it before may have been why somebody lowered it."""
    steps = (mirroring(seconds=20.0), *(Step(Decimal(w), Bake(20.0, 60.0)) for w in (25, 100)))
    stage = Stage(monkeypatch, strategy=strategy(steps=steps))

    def lower(vs: Document) -> None:
        for entry, weight in zip(vs["spec"]["http"][-1]["route"], (100, 0), strict=True):
            entry["weight"] = weight

    stage.when(25, lambda: stage.world.edit(lower))
    assert stage.promote(Manners(wait=False))[1] == 5
    attempt, code = stage.promote()
    assert code == 0
    assert not any("put back" in text for text in texts(attempt))
    assert attempt is not None
    resumed = next(e.at for e in attempt.journal if e.text.startswith("going on from 0 %"))
    shifted = [e.at for e in attempt.journal if e.text.startswith("0 → 25 %")][-1]
    assert shifted - resumed >= 20
    stage.watcher.finished()


def test_where_no_pod_counts_a_mirror_is_bad_input(stage: Stage) -> None:
    stage.world.pass_time(5)
    stage.world.metrics.sidecars = False
    before = stage.world.virtual_service()
    with pytest.raises(InvalidInput, match="its pods' own proxies count nothing"):
        stage.promote()
    assert (stage.world.attempt(), stage.world.virtual_service()) == (None, before)
