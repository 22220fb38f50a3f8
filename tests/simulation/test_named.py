"""Routes with a match that move because they are named: all that there are, as at gateways, or beside others."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.cli import driving, retrying, undoing
from rollout.cli.driving import Manners
from rollout.core.attempt import Attempt, Fate
from rollout.core.documents import Document, copied
from rollout.core.errors import InvalidInput
from rollout.core.lifecycle import Phase
from rollout.core.strategy import Bake, Safe, Step
from rollout.engine.engine import Engine
from rollout.mesh.routes import ours, reaching
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import SPEC, Replica, asked, controlled, replicas
from tests.simulation.test_controller import conditions, status
from tests.simulation.test_driving import Stage
from tests.simulation.test_worlds import ENDS, FAULTS
from tests.simulation.workloads import Staff
from tests.simulation.world import (
    AHEAD,
    API,
    AT_API,
    EDGE,
    HOST,
    MAIN,
    Faults,
    World,
    drive,
    mirroring,
    of_ours,
    probing,
    routing,
    strategy,
)
from tests.simulation.worlds import _whole, beside_of, play, played

FAST: dict[str, Any] = {"steps": tuple(Step(Decimal(w), Bake(2.0, 20.0)) for w in (25, 100)), "confirm": 2.0}
NAMED: Document = {**SPEC, "routes": {"names": [MAIN]}}


def quiet(failing: float = 0.0, **changes: Any) -> World:
    made = strategy(**(FAST | changes))
    return World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=made, named=True)


def main_of(world: World) -> Document:
    found: Document = next(route for route in world.virtual_service()["spec"]["http"] if route.get("name") == MAIN)
    return found


@pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_no_invariant_breaks_in_any_world(first: int) -> None:
    """Those are the very worlds in which the route has no match, and they end as they do there."""
    outcomes = [play(seed, named=True) for seed in range(first, first + 96, 3)]
    assert outcomes == [play(seed) for seed in range(first, first + 96, 3)]
    assert any(o.phase is Phase.PROMOTED for o in outcomes)


@pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_no_invariant_breaks_where_named_routes_stand_beside_others(first: int) -> None:
    """Names are lost in the middle, and borne by two; what is behind when it begins is refused."""
    outcomes = {seed: play(seed, beside=True) for seed in range(first, first + 96, 3)}
    assert {o.phase for o in outcomes.values()} == {Phase.PROMOTED, Phase.ROLLED_BACK, Phase.PREFLIGHT}
    behind = [o.reason for seed, o in outcomes.items() if beside_of(seed).get("behind")]
    assert behind == ["refused"] * len(behind)
    assert len(behind) > 5


@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_a_call_changes_no_end(fault: str, failing: float, end: Phase) -> None:
    world = quiet(failing)
    assert played(world)[0].phase is end
    for call in range(1 + len(fault) % 41, world.processes[0].calls, 41):
        assert played(quiet(failing), first=FAULTS[fault](call))[0].phase is end, f"at call {call}"


def test_nothing_but_what_is_named_moves_and_its_match_stays() -> None:
    world = quiet()
    before, match = world.virtual_service()["spec"]["http"][0], main_of(world)["match"]
    attempt, _ = played(world)
    assert attempt.phase is Phase.PROMOTED
    assert world.exposed() == 100
    assert world.virtual_service()["spec"]["http"][0] == before, "the tester's rule is a pin as ever"
    assert main_of(world)["match"] == match
    assert reaching(world.virtual_service(), HOST, "v1") == []


def test_without_a_name_it_is_refused() -> None:
    world = quiet()
    with pytest.raises(InvalidInput, match="no route for everybody"):
        world.engine("one", Faults()).examine(replace(world.request(), names=()), world.now)


@pytest.mark.parametrize("first", [mirroring(seconds=4.0), routing(), routing(0, sticky=60.0), probing()])
def test_routes_of_ours_match_no_more_than_what_they_stand_above(first: Step) -> None:
    world, seen = quiet(steps=(first, *FAST["steps"])), list[Document]()
    attempt, journal = played(world, lambda w: seen.extend(of_ours(w.virtual_service())))
    assert attempt.phase is Phase.PROMOTED, journal
    assert seen
    assert all(one["uri"] == {"prefix": "/"} for route in seen for one in route["match"])


@pytest.mark.parametrize("first", [mirroring(seconds=4.0), routing()])
def test_where_no_match_can_say_both_that_step_alone_is_refused(first: Step) -> None:
    """As in a delegate to which a match leads."""
    odd = [{"method": {"regex": r"\w+"}, "headers": {"beta": {"regex": r"\w+"}}}]
    for steps in ((first, *FAST["steps"]), FAST["steps"]):
        world = quiet(steps=steps)
        world.edit(lambda vs: vs["spec"]["http"][1].update({"match": odd}))
        if steps == FAST["steps"]:
            assert played(world)[0].phase is Phase.PROMOTED
            continue
        with pytest.raises(InvalidInput, match="leave the step out") as refused:
            world.engine("one", Faults()).examine(world.request(), world.now)
        assert refused.value.field == "strategy.steps"
    whole = quiet(steps=(mirroring(safe=Safe.ALL, seconds=4.0), *FAST["steps"]))
    whole.edit(lambda vs: vs["spec"]["http"][1].update({"match": odd}))
    assert played(whole)[0].phase is Phase.PROMOTED


def renamed(vs: Document) -> None:
    vs["spec"]["http"][1]["name"] = "another"


GO_ON = "then `rollout promote` goes on, or `rollout abort` takes back"
LOST = "VirtualService shop/{} has no route of the name {} any more; give it back to the route that moves, " + GO_ON
TWICE = "VirtualService shop/{} has 2 routes of the name {}; leave it to the one that moves, " + GO_ON


def attempt_of(world: World) -> Attempt:
    attempt = world.attempt()
    assert attempt is not None
    return attempt


def stands(world: World, when: Callable[[World], bool], edit: Callable[[Document], None], place: str) -> Attempt:
    """What is recorded half a minute after somebody has edited a VirtualService, as soon as it was so."""
    at: list[float] = []

    def each(w: World) -> None:
        if not at and when(w):
            at.append(w.now)
            w.edit(edit, name=place)
        if at and w.now > at[0] + 30.0:
            raise Stood

    with pytest.raises(Stood):
        drive(world, lambda _: Faults(), each)
    return attempt_of(world)


class Stood(Exception):
    """It was looked at for long enough."""


def resumed(world: World, each: Callable[[World], None] = lambda _: None) -> Attempt:
    """The same once somebody has asked to go on, and it has ended."""
    person = world.engine("person", Faults())
    person.states.read()
    person.resume(world.now)
    drive(world, lambda _: Faults(), each)
    return attempt_of(world)


def by_api(vs: Document) -> Document:
    """The route by which those of API come, whatever it is called."""
    found: Document = next(one for one in vs["spec"]["http"] if one.get("match") == AT_API["match"] and not ours(one))
    return found


def weights(route: Document) -> list[int]:
    return [entry.get("weight", 100) for entry in route["route"]]


def otherwise(vs: Document) -> None:
    by_api(vs)["name"] = "another"


def as_git_has_it(vs: Document) -> None:
    by_api(vs).update({"name": "another", "route": copied(main_at("v1"))})


def called_twice(vs: Document) -> None:
    vs["spec"]["http"].insert(0, {"name": API, "match": [{"uri": {"prefix": "/odd"}}], "route": main_at("v2")})


def main_at(version: str) -> list[Document]:
    return [{"destination": {"host": "reviews", "subset": version}}]


def at(weight: int) -> Callable[[World], bool]:
    return lambda w: w.exposed() == weight


def mirrors(world: World) -> bool:
    return bool(world.repeated())


A_QUARTER = at(25)
MIRROR_FIRST = {"steps": (mirroring(seconds=12.0), *FAST["steps"])}


@pytest.mark.parametrize("place", ["reviews", EDGE])
@pytest.mark.parametrize(
    ("edit", "said", "steps", "when"),
    [
        (otherwise, LOST, {}, A_QUARTER),
        (as_git_has_it, LOST, {}, A_QUARTER),
        (called_twice, TWICE, {}, A_QUARTER),
        (otherwise, LOST, MIRROR_FIRST, mirrors),
        (as_git_has_it, LOST, MIRROR_FIRST, mirrors),
        (called_twice, TWICE, MIRROR_FIRST, mirrors),
    ],
)
@pytest.mark.parametrize("mended", [True, False])
def test_what_cannot_be_told_by_its_name_any_more_stands_still_and_is_never_left_behind(
    edit: Callable[[Document], None], said: str, steps: dict[str, Any], when: Callable[[World], bool], place: str,
    mended: bool,
) -> None:  # fmt: skip
    """Somebody gives the route its name back and lets it go on, or nobody does: then all of it goes back."""
    world = World(
        7, trouble=0.0, beside=(API,), edge=True, strategy=strategy(**(FAST | {"deadline": 200.0} | steps))
    )  # fmt: skip
    watcher = Watcher(world)
    attempt = stands(world, when, edit, place)
    bare = place == EDGE and edit is not called_twice and (edit, when) != (otherwise, A_QUARTER)
    gone = f"; VirtualService shop/{place} is gone, or lost its routes to v1" if bare else ""
    assert (attempt.phase, attempt.message) == (Phase.PAUSED, said.format(place, API) + gone)
    vs = {"reviews": world.virtual_service(), EDGE: world.at_edge()}[place]
    theirs = [route for route in vs["spec"]["http"] if route.get("match") == [{"uri": {"prefix": "/odd"}}]]
    assert not any(map(ours, vs["spec"]["http"]))
    if mended:
        world.edit(_told_apart_again, name=place)
        assert resumed(world).phase is Phase.PROMOTED
        watcher.finished()
        assert [weights(by_api(one)) for one in (world.virtual_service(), world.at_edge())] == [[0, 100], [0, 100]]
        return
    assert resumed(world).phase is Phase.ROLLED_BACK, "to ask for it alone is no use"
    watcher.finished()
    vs = {"reviews": world.virtual_service(), EDGE: world.at_edge()}[place]
    assert weights(by_api(vs))[0] == 100
    assert [r for r in vs["spec"]["http"] if r.get("match") == [{"uri": {"prefix": "/odd"}}]] == theirs


def _told_apart_again(vs: Document) -> None:
    vs["spec"]["http"] = [one for one in vs["spec"]["http"] if one.get("match") != [{"uri": {"prefix": "/odd"}}]]
    by_api(vs)["name"] = API


def test_a_route_that_loses_its_name_where_no_other_is_stands_still_and_goes_back() -> None:
    """It names both versions: so much is taken back of it, though nobody promotes it."""
    world = quiet(deadline=60.0)
    attempt = stands(world, at(25), renamed, "reviews")
    assert (attempt.phase, attempt.message) == (Phase.PAUSED, LOST.format("reviews", MAIN))
    assert resumed(world).phase is Phase.ROLLED_BACK
    routes = world.virtual_service()["spec"]["http"]
    assert [weights(route) for route in routes if route.get("name") == "another"] == [[100, 0]]


def test_a_route_that_goes_in_the_middle_is_lost_and_goes_back_when_it_is_there_again() -> None:
    """Nothing is written for it; a person has to say what is meant, or the deadline does."""
    world = quiet(deadline=60.0)
    watcher, left = Watcher(world), list[Document]()

    def each(w: World) -> None:
        if w.exposed() == 25 and not left:
            left.append(main_of(w))
            w.edit(lambda vs: vs["spec"]["http"].remove(left[0]))

    watcher.world.cluster.on_write = None  # it looks for the route
    drive(world, lambda _: Faults(), each, limit=40.0)
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, attempt.message[-33:]) == (Phase.PAUSED, "is gone, or lost its routes to v1")
    assert len(world.virtual_service()["spec"]["http"]) == 1
    world.edit(lambda vs: vs["spec"]["http"].append(left[0]))
    world.cluster.on_write = watcher
    drive(world, lambda _: Faults(), lambda _: None)
    attempt = world.attempt()
    assert attempt is not None
    assert attempt.phase is Phase.ROLLED_BACK
    assert world.exposed() == 0
    assert main_of(world)["match"] == [{"uri": {"prefix": "/"}}]


def test_a_take_back_that_stable_cannot_carry_lowers_no_route_to_the_least() -> None:
    """Somebody lowered one route by hand; the other keeps what it has until an endpoint of stable is there again."""
    world = World(7, trouble=0.0, strategy=strategy(**FAST, deadline=20.0), beside=(API,))

    def each(w: World) -> None:
        if w.exposed() == 25 and w.ready["v1"]:
            w.edit(lambda vs: by_api(vs).update({"route": main_at("v1")}))
            w.set_ready("v1", 0)
        if attempt_of(w).phase is Phase.ROLLING_BACK:
            raise Stood

    with pytest.raises(Stood):
        drive(world, lambda _: Faults(), each)
    given = [weights(by_api(world.virtual_service())), weights(main_of(world))]
    assert given == [[100], [75, 25]]
    drive(world, lambda _: Faults(), lambda w: w.set_ready("v1", 4))
    assert attempt_of(world).phase is Phase.ROLLED_BACK
    assert [weights(by_api(world.virtual_service())), weights(main_of(world))] == [[100, 0], [100, 0]]


# One after another


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, signals: None) -> Stage:
    return Stage(monkeypatch, strategy=strategy(**FAST), named=True)


def engine_of(stage: Stage) -> Engine:
    engine = stage.world.engine("next", Faults())
    engine.states.read()
    return engine


def undone(stage: Stage) -> Attempt:
    stage.world.cluster.on_write = None  # whoever watches there takes v2 for the canary
    engine = engine_of(stage)
    request = undoing.as_it_is(stage.world.cluster, undoing.request(engine.states.record, "reviews", "shop"))
    attempt, _ = driving.promote(engine, request, Manners(), stage._tell)
    assert attempt is not None
    return attempt


def test_undo_and_the_next_release_find_the_name_again(stage: Stage) -> None:
    assert stage.promote()[1] == 0
    assert undone(stage).phase is Phase.PROMOTED
    assert stage.world.exposed() == 0
    engine = engine_of(stage)
    attempt, code = driving.promote(engine, stage.world.request(), Manners(), stage._tell)
    assert (code, attempt and (attempt.stable, attempt.canary, attempt.names)) == (0, ("v1", "v2", (MAIN,)))
    stage.world.deploy("v3")
    request = replace(stage.world.request(), canary="v3", strategy=replace(stage.world.strategy, checks=()))
    attempt, code = driving.promote(engine_of(stage), request, Manners(), stage._tell)
    assert (code, attempt and attempt.stable) == (0, "v2")
    shares = {one["destination"]["subset"]: one["weight"] for one in main_of(stage.world)["route"]}
    assert {version for version, weight in shares.items() if weight} == {"v3"}


def test_undo_of_what_was_promoted_before_another_went_back_names_what_that_had_named(stage: Stage) -> None:
    assert stage.promote()[1] == 0
    stage.world.cluster.on_write = None
    stage.world.deploy("v3")
    request = replace(stage.world.request(), canary="v3", names=(MAIN, "beta"))
    stage.world.edit(lambda vs: vs["spec"]["http"][0].update({"name": "beta"}))
    later, _ = driving.promote(engine_of(stage), request, Manners(), stage._tell)
    assert (later and later.phase, later and later.names) == (Phase.ROLLED_BACK, (MAIN, "beta")), "v3 is not counted"
    attempt = undone(stage)
    assert (attempt.phase, attempt.canary, attempt.names) == (Phase.PROMOTED, "v1", (MAIN,))
    assert stage.world.exposed() == 0


def test_undo_lets_a_name_go_that_cannot_be_obeyed_any_more(stage: Stage) -> None:
    """Whoever calls for it is in need: all others go back, and it is said what does not."""
    assert stage.promote()[1] == 0
    to_all = {"route": [{"destination": {"host": "reviews", "subset": "v2"}}]}
    stage.world.edit(lambda vs: vs["spec"].update({"http": [*vs["spec"]["http"], to_all]}))
    stage.world.edit(lambda vs: vs["spec"]["http"][1].update({"name": "another"}))
    attempt = undone(stage)
    assert (attempt.phase, attempt.names) == (Phase.PROMOTED, ())
    assert any("left alone: no HTTP route to reviews in" in entry.text for entry in attempt.journal)
    routes = stage.world.virtual_service()["spec"]["http"]
    assert [one["weight"] for one in routes[2]["route"] if one["destination"]["subset"] == "v1"] == [100]


def test_retry_asks_for_the_same_names(stage: Stage) -> None:
    stage.world.failing["v2"] = 0.1
    assert stage.promote()[1] == 1
    stage.world.failing["v2"] = 0.0
    engine = engine_of(stage)
    request = retrying.request(engine.states.record, "reviews", "shop")
    assert request.names == (MAIN,)
    assert driving.promote(engine, request, Manners(), stage._tell)[1] == 0
    assert stage.world.exposed() == 100
    stage.world.edit(renamed)
    with pytest.raises(InvalidInput) as refused:
        engine.examine(replace(request, canary="v1", stable=""), stage.world.now)
    assert refused.value.field == "routes.names"


# As a ServiceRollout says


def test_the_object_names_it_and_the_old_version_is_retired() -> None:
    spec = NAMED | {"retire": {"after": "20s"}}
    staff = {"v1": Staff(4), "v2": Staff(4)}
    world = World(4, trouble=0.0, declared=spec, named=True, staff=staff)
    watcher, living = Watcher(world), replicas(world)
    controlled(world, living=living)
    watcher.finished()
    assert status(world)["phase"] == Phase.PROMOTED
    assert world.exposed() == 100
    controlled(world, living=living, limit=120.0, rest=240.0)
    attempt = world.attempt()
    assert attempt is not None
    assert [(one.version, one.fate) for one in attempt.retired] == [("v1", Fate.RETIRED)], "no pin leads to it"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["mian"], "spec.routes.names: no HTTP route to reviews in VirtualService shop/reviews has the name mian"),
        (
            [MAIN, "gone"],
            "spec.routes.names: no HTTP route to reviews in VirtualService shop/reviews has the name gone",
        ),
        (["else"], "spec.routes.names: the route else of VirtualService shop/reviews does not lead to reviews"),
        (["twice"], "spec.routes.names: VirtualService shop/reviews has more than one route of the name twice"),
        (
            [MAIN, "beta"],
            "spec.routes.names: cannot tell which version of reviews serves now: v1, v3 (by the routes that are named)",
        ),
    ],
)
def test_a_name_that_cannot_be_obeyed_stalls_and_nothing_is_changed(names: list[str], said: str) -> None:
    world = World(3, trouble=0.0, declared=SPEC | {"routes": {"names": names}}, named=True)
    match = {"match": [{"uri": {"exact": "/x"}}]}
    other, ours = {"destination": {"host": "ratings"}}, {"destination": {"host": "reviews", "subset": "v1"}}
    third = {"destination": {"host": "reviews", "subset": "v3"}}
    more = [{"name": "else", **match, "route": [other]}, {"name": "beta", **match, "route": [third]}]
    more += [{"name": "twice", **match, "route": [ours]}, {"name": "twice", **match, "route": [other]}]
    world.edit(lambda vs: vs["spec"].update({"http": [*vs["spec"]["http"], *more]}))
    Watcher(world)
    before, living = world.virtual_service(), replicas(world)
    controlled(world, living=living, limit=60.0)
    assert conditions(world)["Stalled"] == ("True", "Preflight")
    assert said in status(world)["conditions"][0]["message"]
    assert [trouble.reason for one in living for _, trouble in one.stalls] == ["Preflight"], "it is told once"
    assert world.virtual_service() == before
    world.edit(lambda vs: vs["spec"].update({"http": world.routes}))
    asked(world, {"spec": {"routes": {"names": [MAIN]}}})
    controlled(world, living=living)
    assert status(world)["phase"] == Phase.PROMOTED


def test_what_git_says_is_put_back_as_in_any_route() -> None:
    world = World(3, trouble=0.0, declared=NAMED | {"drift": {"gitopsManagers": ["argocd"]}}, named=True, rps=1000)
    watcher, living = Watcher(world), replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    _whole(world)
    assert world.exposed() == 0
    controlled(world, living=living, limit=10.0)
    assert (status(world)["phase"], world.exposed() >= 25) == ("Shifting", True)
    controlled(world, living=living)
    watcher.finished()
    assert status(world)["phase"] == Phase.PROMOTED


def test_other_names_in_the_middle_are_for_the_next_release() -> None:
    """What an attempt moves is written down when it begins."""
    world = World(3, trouble=0.0, declared=NAMED, named=True)
    watcher, living = Watcher(world), replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    asked(world, {"spec": {"routes": None}})
    controlled(world, living=living)
    watcher.finished()
    assert status(world)["phase"] == Phase.PROMOTED
    assert world.exposed() == 100
    asked(world, {"spec": {"version": "v1"}})
    controlled(world, living=living, limit=60.0)
    assert conditions(world)["Stalled"] == ("True", "Preflight")
    assert status(world)["conditions"][0]["message"] == (
        "spec.routes.names: no route for everybody in VirtualService shop/reviews sends to v2 of reviews: a route "
        "moves if it has no match, splits between both versions already, or is named; write `routes: {names: [NAME]}` "
        "with those that are to move (there: main)"
    )


def settled(world: World, living: list[Replica], seconds: float = 60.0) -> None:
    controlled(world, living=living, limit=seconds, rest=seconds / 2)


ASKS_API: Document = {"routes": {"names": [API]}}


def test_names_that_come_after_the_promotion_begin_nothing_and_the_next_release_says_what_lags() -> None:
    """Never does the route for everybody go back for a route that is named late."""
    world = World(3, trouble=0.0, declared=SPEC, beside=(API,))
    living = replicas(world)
    controlled(world, living=living)
    before = world.virtual_service()["spec"]
    assert (status(world)["phase"], weights(main_of(world)), weights(by_api({"spec": before}))) == (
        Phase.PROMOTED, [0, 100], [100],
    )  # fmt: skip
    asked(world, {"spec": ASKS_API})
    settled(world, living)
    assert (status(world)["phase"], attempt_of(world).number) == (Phase.PROMOTED, 1)
    assert conditions(world)["Stalled"] == ("False", "None")
    world.deploy("v3")
    asked(world, {"spec": {"version": "v3"}})
    settled(world, living)
    assert conditions(world)["Stalled"] == ("True", "Preflight")
    assert status(world)["conditions"][0]["message"] == (
        "spec.routes.names: the route api of VirtualService shop/reviews is at v1, everybody else at v2: bring it to "
        "v2 first, or leave the name out"
    )
    assert world.virtual_service()["spec"] == before
    asked(world, {"spec": {"version": "v1"}})
    controlled(world, living=living)
    assert (status(world)["phase"], attempt_of(world).canary, attempt_of(world).number) == (Phase.PROMOTED, "v1", 2)
    assert (weights(main_of(world)), by_api(world.virtual_service())) == ([100, 0], by_api({"spec": before}))
    told = "the route api of VirtualService shop/reviews is at v1 already, and stays there"
    assert told in [entry.text for entry in attempt_of(world).journal]


def test_names_alone_begin_nothing_where_nothing_is_recorded() -> None:
    world = World(3, trouble=0.0, declared=SPEC, beside=(API,), behind=True)
    before, living = world.virtual_service(), replicas(world)
    for change in ({}, ASKS_API, {"routes": {"names": ["gone"]}}):
        asked(world, {"spec": change})
        settled(world, living)
        assert (status(world)["phase"], conditions(world)["Stalled"]) == ("Idle", ("False", "None"))
    assert (world.virtual_service(), world.attempt()) == (before, None)


def test_names_alone_begin_nothing_after_a_rollback_and_nobody_is_accused_for_what_lags() -> None:
    world = World(3, trouble=0.0, declared=SPEC, beside=(API,), failing={"v1": 0.0, "v2": 0.1, "v3": 0.0})
    living = replicas(world)
    controlled(world, living=living)
    assert status(world)["phase"] == Phase.ROLLED_BACK
    world.edit(lambda vs: by_api(vs).update({"route": main_at("v2")}))
    before = world.virtual_service()["spec"]
    asked(world, {"spec": ASKS_API})
    settled(world, living)
    assert (status(world)["phase"], attempt_of(world).number) == (Phase.ROLLED_BACK, 1)
    asked(world, {"spec": {"version": "v1"}})
    settled(world, living)
    assert conditions(world)["Stalled"] == ("False", "None")
    assert (world.virtual_service()["spec"], attempt_of(world).number) == (before, 1)


def test_after_a_rollback_what_is_named_since_does_not_tell_whether_it_is_back() -> None:
    """Where no route is for everybody, those tell that had moved."""
    world = World(3, trouble=0.0, declared=NAMED, named=True, failing={"v1": 0.0, "v2": 0.1, "v3": 0.0})
    living = replicas(world)
    controlled(world, living=living)
    world.edit(lambda vs: vs["spec"]["http"][0].update({"name": "tester"}))
    asked(world, {"spec": {"version": "v1", "routes": {"names": [MAIN, "tester"]}}})
    settled(world, living)
    assert conditions(world)["Stalled"] == ("False", "None")
    assert attempt_of(world).number == 1


@pytest.mark.parametrize("names", [["gone"], [MAIN]])
def test_what_is_suspended_says_so_whatever_is_named(names: list[str]) -> None:
    world = World(3, trouble=0.0, declared=SPEC | {"suspend": True, "routes": {"names": names}}, named=True)
    settled(world, replicas(world))
    assert conditions(world)["Stalled"] == ("False", "None")
    found = [one for one in status(world)["conditions"] if "spec.suspend: v2 is not begun" in one["message"]]
    assert {one["reason"] for one in found} == {"Suspended"}


# Beside a route for everybody, and at a gateway


@pytest.mark.parametrize("seed", [4, 7])
def test_all_that_is_named_moves_with_the_others_wherever_it_is_and_comes_back(seed: int) -> None:
    world = World(seed, trouble=0.0, beside=(API, AHEAD), edge=True, strategy=strategy(**FAST))
    before = copied(world.virtual_service()["spec"]["http"])
    attempt, journal = played(world)
    assert (attempt.phase, [route.keys for route in attempt.routes]) == (
        Phase.PROMOTED, [("name:api",), ("name:api", "name:main", "!name:ahead")],
    )  # fmt: skip
    assert "the route ahead of VirtualService shop/reviews is at v2 already, and stays there" in journal
    after = world.virtual_service()["spec"]["http"]
    assert [one for one in after if one.get("name") == AHEAD] == [one for one in before if one.get("name") == AHEAD]
    assert [weights(by_api(one)) for one in (world.virtual_service(), world.at_edge())] == [[0, 100], [0, 100]]
    world = World(seed, trouble=0.0, beside=(API, AHEAD), edge=True, strategy=strategy(**FAST))
    world.failing["v2"] = 0.1
    assert played(world)[0].phase is Phase.ROLLED_BACK
    after = world.virtual_service()["spec"]["http"]
    assert [one for one in after if one.get("name") == AHEAD] == [one for one in before if one.get("name") == AHEAD]


def test_where_the_others_are_there_a_name_is_no_reason_to_begin() -> None:
    world = World(4, trouble=0.0, beside=(API,), edge=True, behind=True)
    with pytest.raises(InvalidInput, match="reviews is at v2 already"):
        world.engine("one", Faults()).examine(world.request(), world.now)


def test_who_names_others_is_told_which_go_on(monkeypatch: pytest.MonkeyPatch, signals: None) -> None:
    stage = Stage(monkeypatch, strategy=strategy(**FAST), beside=(API,))
    told = "it goes on with the routes that were named when it began: api"

    def joins(names: tuple[str, ...]) -> Callable[[], None]:
        def join() -> None:
            before = list(stage.told)
            request, engine = replace(stage.world.request(), names=names), stage.world.engine("joins", Faults())
            engine.states.read()
            driving._board(engine, request, engine.running(), Manners(timeout=0.1), stage._tell)
            said.append((names, told in stage.told[len(before) :]))

        return join

    said: list[tuple[tuple[str, ...], bool]] = []
    for names in ((), (API,), (API, AHEAD)):
        stage.when(25, joins(names))
    assert stage.promote()[1] == 0
    assert sorted(said) == [((), False), ((API,), False), ((API, AHEAD), True)]
