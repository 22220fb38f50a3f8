"""Drills in whole virtual rollouts: the fault lies while its probes are sent, and is gone whatever dies when."""

import math
import os
import signal
from decimal import Decimal
from typing import Any

import pytest

from rollout.cli.driving import Manners
from rollout.cli.planning import planned
from rollout.core.documents import CONFIG_MAP, VIRTUAL_SERVICE, Document
from rollout.core.errors import InvalidInput
from rollout.core.lifecycle import Phase, Reason
from rollout.core.strategy import Bake, Step
from rollout.engine.rights import FOR_DRILLS, FOR_WARNINGS, RIGHTS, pairs
from rollout.engine.survey import survey
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import SPEC, controlled
from tests.simulation.test_controller import status
from tests.simulation.test_driving import Stage
from tests.simulation.test_worlds import FAULTS
from tests.simulation.world import START, Crash, Faults, World, drilling, drive, strategy
from tests.simulation.worlds import played

ROUTES: list[Document] = [
    {"match": [{"headers": {"a": {"exact": "b"}}}], "route": [{"destination": {"host": "ratings"}}]},
    {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new"}},
    {"route": [{"destination": {"host": "ratings"}}], "fault": {"abort": {"httpStatus": 418}}},
]
SHORT: dict[str, Any] = {
    "steps": (drilling(), Step(Decimal(25), Bake(2.0, 20.0)), Step(Decimal(100), Bake(2.0, 20.0))), "confirm": 2.0,
}  # fmt: skip


def world_with(routes: list[Document] | None = ROUTES, fragile: bool = False, **changes: Any) -> World:
    world = World(3, trouble=0.0, strategy=strategy(**SHORT | changes)).with_ratings(routes)
    world.probes.fragile = fragile
    return world


@pytest.mark.parametrize("routes", [None, ROUTES])
def test_a_canary_that_does_without_ratings_goes_on_and_nothing_is_left(routes: list[Document] | None) -> None:
    world, seen = world_with(routes), list[list[Document]]()
    attempt, journal = played(world, lambda w: seen.append(w.faulty()) if w.drilled() else None)
    assert attempt.phase is Phase.PROMOTED, journal
    assert "drilling the canary with 7s of delay at ratings" in journal
    assert "the drill is over: v2 answers 20 of 20 probes as expected, v1 20 of 20" in journal
    faults = [route.get("fault") for route in seen[0]]
    delay = {"delay": {"fixedDelay": "7s", "percentage": {"value": 100.0}}}
    assert faults == ([delay] if routes is None else [delay, None, delay])
    names = [vs["metadata"]["name"] for vs in world.cluster.list(VIRTUAL_SERVICE)]
    assert names == (["reviews"] if routes is None else ["ratings", "reviews"])
    if routes is not None:
        assert world.cluster.get(VIRTUAL_SERVICE, "shop", "ratings")["spec"]["http"] == ROUTES


def test_a_canary_that_waits_for_ratings_goes_back_before_it_has_users() -> None:
    world = world_with(fragile=True)
    attempt, journal = played(world)
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.BREACH), journal
    assert "an answer after 7.0 s instead of 2 s" in attempt.message
    assert max(entry.weight or 0 for entry in attempt.journal) == 0
    assert world.metrics.hurt == 0


def test_the_weight_waits_until_the_proxies_know_that_the_fault_is_gone() -> None:
    world, gone = world_with(), list[float]()

    def each(w: World) -> None:
        if gone and gone[-1] == 0 and not w.drilled():
            gone.append(w.now)
        if not gone and w.drilled():
            gone.append(0.0)

    attempt, _ = played(world, each)
    (rose,) = (entry.at for entry in attempt.journal if entry.text.startswith("0 → 25 %"))
    assert rose - gone[1] >= world.strategy.propagation - 1.1


def test_beside_users_the_drill_is_not_held_against_the_canary() -> None:
    """What they see of it is what the strategy says they may."""
    first = Step(Decimal(25), Bake(2.0, 20.0))
    world = world_with(steps=(first, drilling(25, everyone=True), *SHORT["steps"][2:]))
    failing: list[float] = []

    def each(w: World) -> None:
        w.failing["v2"] = 0.5 if w.drilled() else 0.0
        failing.append(w.failing["v2"])

    attempt, journal = played(world, each)
    assert max(failing) == 0.5
    assert attempt.phase is Phase.PROMOTED, journal


def test_a_pause_lifts_the_fault_and_going_on_puts_it_there_again() -> None:
    world, said, seen = world_with(), list[str](), list[bool]()

    def each(w: World) -> None:
        engine = w.engine("person", Faults())
        if w.drilled() and not said:
            engine.states.read()
            engine.pause(w.now, "ann", "")
            said.append("pause")
        elif said == ["pause"] and w.now > START + 40:
            assert not w.drilled()
            engine.resume(w.now)
            said.append("resume")
        elif said == ["pause", "resume"]:
            seen.append(w.drilled())

    attempt, journal = played(world, each)
    assert attempt.phase is Phase.PROMOTED, journal
    assert any(seen)


@pytest.mark.parametrize("routes", [None, ROUTES])
def test_abort_without_a_record_removes_it_too(routes: list[Document] | None) -> None:
    world, done = world_with(routes), list[bool]()

    def each(w: World) -> None:
        if w.drilled() and not done:
            done.append(True)
            w.write_by_hand((CONFIG_MAP.name, "shop", "rollout-reviews"), None)
            w.engine("person", Faults()).take_back(Reason.ABORTED, "asked", w.now)
            assert not w.drilled()

    drive(world, lambda _: Faults(), each, limit=60.0)
    assert done
    assert not world.faulty()


def test_it_comes_back_where_somebody_removes_it_and_theirs_is_kept() -> None:
    world, edits = world_with(), list[str]()

    def each(w: World) -> None:
        if w.drilled() and not edits:
            vs = w.cluster.get(VIRTUAL_SERVICE, "shop", "ratings")
            vs["spec"]["http"] = [{**ROUTES[2], "timeout": "9s"}]
            w.write_by_hand((VIRTUAL_SERVICE.name, "shop", "ratings"), vs)
            edits.append("edited")

    attempt, journal = played(world, each)
    assert attempt.phase is Phase.PROMOTED, journal
    assert world.cluster.get(VIRTUAL_SERVICE, "shop", "ratings")["spec"]["http"] == [{**ROUTES[2], "timeout": "9s"}]


def test_where_its_routes_are_gone_nobody_knows() -> None:
    world = world_with()

    def each(w: World) -> None:
        if w.drilled():
            w.write_by_hand((VIRTUAL_SERVICE.name, "shop", "ratings"), None)

    attempt, _ = played(world, each)
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.UNANSWERED)
    assert "VirtualService shop/ratings is gone" in attempt.message


@pytest.mark.parametrize(("fragile", "end"), [(False, Phase.PROMOTED), (True, Phase.ROLLED_BACK)])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("routes", [None, ROUTES])
def test_a_fault_at_a_call_changes_no_end(fault: str, routes: list[Document] | None, fragile: bool, end: Phase) -> None:
    tried(fault, routes, fragile, end, 53)


@pytest.mark.slow
@pytest.mark.parametrize(("fragile", "end"), [(False, Phase.PROMOTED), (True, Phase.ROLLED_BACK)])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("routes", [None, ROUTES])
def test_a_fault_at_every_single_call_changes_no_end(
    fault: str, routes: list[Document] | None, fragile: bool, end: Phase
) -> None:
    tried(fault, routes, fragile, end, 1)


def tried(fault: str, routes: list[Document] | None, fragile: bool, end: Phase, every: int) -> None:
    whole = world_with(routes, fragile)
    played(whole)
    for call in range(1 + len(fault) % every, whole.processes[0].calls, every):
        attempt, journal = played(world_with(routes, fragile), first=FAULTS[fault](call))
        assert attempt.phase is end, f"at call {call}: {journal}"


def test_the_rights_for_a_drill_are_those_that_it_uses() -> None:
    used: set[tuple[str, str]] = set()
    for routes in (None, ROUTES):
        world = world_with(routes)
        played(world)
        used = used.union(*(process.asked for process in world.processes))
    subset = {("DestinationRule", "patch")}
    assert used - subset == {
        (kind.name, verb) for kind, verb in (*pairs(RIGHTS), *pairs(FOR_DRILLS), *pairs(FOR_WARNINGS))
    }


REFUSED = {(VIRTUAL_SERVICE, "create"), (VIRTUAL_SERVICE, "delete")}
FAULT = {"on": "ratings", "delay": "7s", "probe": {"url": "http://reviews.shop.svc:9080/", "count": 20}}


@pytest.mark.parametrize("routes", [None, ROUTES])
def test_a_controller_without_the_rights_for_a_drill_begins_none(
    routes: list[Document] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"fault": FAULT}, *SPEC["strategy"]["steps"]]
    world = World(3, trouble=0.0, declared={**SPEC, "strategy": {**SPEC["strategy"], "steps": steps}})
    world.with_ratings(routes)
    monkeypatch.setattr(world.cluster, "may", lambda verb, kind, *_: (kind, verb) not in REFUSED)
    before = world.cluster.list(VIRTUAL_SERVICE)
    controlled(world, limit=60.0)
    told = {one["type"]: one for one in status(world)["conditions"]}
    assert (told["Stalled"]["status"], told["Stalled"]["reason"]) == ("True", "Preflight")
    assert "create virtualservices in shop, delete virtualservices in shop; grant" in told["Stalled"]["message"]
    assert "install the chart with `drills=true`" in told["Stalled"]["message"]
    assert world.cluster.list(VIRTUAL_SERVICE) == before
    monkeypatch.undo()
    controlled(world)
    assert status(world)["phase"] == Phase.PROMOTED, "it begins as soon as it may"


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("ratingz", "there is no Service ratingz in namespace shop"),
        ("reviews", "a fault on reviews is on reviews itself"),
        ("ratings.example.com", "a fault on ratings.example.com: name a Service"),
        ("ratings.shop", "a fault on ratings.shop: name a Service"),
    ],
)
def test_a_fault_on_what_is_no_service_is_refused(on: str, said: str) -> None:
    world = world_with(steps=(drilling(on=on), *SHORT["steps"][1:]))
    with pytest.raises(InvalidInput, match=said):
        world.engine("one", Faults()).examine(world.request(), world.now)


def test_routes_that_delegate_or_take_nothing_of_it_are_refused() -> None:
    for routes, said in (
        ([{"delegate": {"name": "other"}}], "delegates to others"),
        ([{"match": [{"sourceLabels": {"app": "web"}}], "route": []}], "would meet no request"),
    ):
        world = world_with(routes)
        with pytest.raises(InvalidInput, match=said):
            world.engine("one", Faults()).examine(world.request(), world.now)


def test_two_that_die_leave_nothing() -> None:
    """The second process dies as well, at whatever call."""
    for call in range(3, 60, 9):
        world = world_with()
        watcher = Watcher(world)
        drive(world, lambda life, call=call: Faults(crash_after=45 if life == 1 else call if life == 2 else -1),  # type: ignore[misc]
              lambda _: None)  # fmt: skip
        watcher.finished()
        attempt = world.attempt()
        assert attempt is not None
        assert attempt.phase is Phase.PROMOTED


def test_another_attempt_finds_what_an_older_one_left() -> None:
    world = world_with()

    def each(w: World) -> None:
        if w.drilled():
            raise Crash  # and nobody takes over

    with pytest.raises(Crash):
        drive(world, lambda _: Faults(), each)
    world.write_by_hand((CONFIG_MAP.name, "shop", "rollout-reviews"), None)
    assert world.drilled()
    engine = world.engine("next", Faults())
    while not engine.acquire(world.now):
        assert world.now < START + 120
        world.pass_time(1.0)
    engine.begin(world.request(), world.now)
    assert not world.drilled()


@pytest.mark.usefixtures("signals")
def test_who_leaves_a_drill_to_others_takes_the_fault_along(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, strategy=strategy(**SHORT))
    world = stage.world.with_ratings(ROUTES)

    def leave() -> None:
        os.kill(os.getpid(), signal.SIGINT) if world.drilled() else stage.at(world.now - START + 1, leave)

    stage.at(1, leave)
    left, code = stage.promote(Manners(at_terminal=True))
    assert (code, left and left.fault and left.fault.on) == (130, "ratings")
    assert not world.drilled()
    assert stage.promote()[1] == 0
    stage.watcher.finished()


@pytest.mark.parametrize(
    ("answer", "down", "said"),
    [
        ([7.0], 0.0, ""),
        ([], 0.0, "reviews is not known to have called ratings.shop.svc.cluster.local: if it does not, the drill"),
        ([], math.inf, "whether reviews calls ratings.shop.svc.cluster.local was not asked: the metrics store is away"),
        (None, 0.0, "whether reviews calls ratings.shop.svc.cluster.local was not asked: no Prometheus is named"),
    ],
)
def test_a_plan_warns_of_a_host_that_is_not_called(answer: list[float] | None, down: float, said: str) -> None:
    world = world_with()
    world.metrics.answer = lambda promql, at: answer or []
    world.metrics.down_until = down
    attempt = survey(world.cluster, world.request(), 0, world.now)
    notes = planned(world.cluster, attempt, None if answer is None else world.metrics, fit=False).notes
    told = [note for note in notes if "call" in note]
    assert len(told) == bool(said)
    assert all(note.startswith(said) for note in told)
