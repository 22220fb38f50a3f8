"""The controller's loop in the virtual world: the same engine, led by one of two replicas."""

from collections import Counter
from decimal import Decimal

import pytest

from rollout.adapters.store import Key
from rollout.controller.events import event_of
from rollout.core.documents import DESTINATION_RULE, SECRET, SERVICE_ROLLOUT, VIRTUAL_SERVICE, Document
from rollout.core.lifecycle import Phase, Reason
from rollout.engine.objects import RETRY
from rollout.engine.rights import CONTROLLED, FOR_SUBSETS, LEADING, pairs
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import OBJECT, SPEC, Replica, asked, controlled, replicas, storm
from tests.simulation.world import START, Faults, World
from tests.simulation.worlds import _reapply, faults_of
from tests.unit.test_crd import STATUS


def status(world: World) -> Document:
    found: Document = world.cluster.get(SERVICE_ROLLOUT, *OBJECT).get("status") or {}
    return found


def conditions(world: World) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status(world)["conditions"]}


def events(world: World, living: list[Replica]) -> list[str]:
    """The Events about attempts, in their order if one replica led."""
    document = world.cluster.get(SERVICE_ROLLOUT, *OBJECT)
    found = (event_of(document, *change, 1.0) for one in living for change in one.told)
    return [one["reason"] for one in found if one]


@pytest.mark.parametrize("failing", [0.0, 0.1])
def test_a_new_version_in_the_spec_is_a_release(failing: float) -> None:
    world = World(3, trouble=0.0, declared=SPEC, failing={"v1": 0.0, "v2": failing})
    watcher, living = Watcher(world), replicas(world)
    controlled(world, living=living)
    watcher.finished()
    attempt = world.attempt()
    assert attempt is not None
    assert attempt.phase is (Phase.ROLLED_BACK if failing else Phase.PROMOTED)
    assert world.exposed() == (Decimal(0) if failing else Decimal(100))
    told = conditions(world)
    ends = ["RollingBack", "RolledBack"] if failing else ["Promoted"]
    assert events(world, living) == ["Started", *ends], "each is a request"
    if failing:
        assert told["Ready"] == ("False", "Breach")
        assert told["Stalled"] == ("True", "Breach")
    else:
        assert told["Ready"] == told["Promoted"] == ("True", "Promoted")
    assert world.now < START + 200


@pytest.mark.parametrize("phase", [Phase.PREFLIGHT, Phase.SHIFTING])
def test_who_takes_over_does_not_tell_again_that_it_has_begun(phase: Phase) -> None:
    world = World(3, trouble=0.0, declared=SPEC)
    first = Replica(world, "replica-1")
    controlled(world, living=[first], until=lambda w: bool((a := w.attempt()) and a.phase is phase))
    assert events(world, [first]) == ["Started"]
    first.leader.release(world.now)
    second = Replica(world, "replica-2")
    controlled(world, living=[second])
    assert events(world, [second]) == ["Promoted"]


@pytest.mark.parametrize("part", range(8))
def test_no_invariant_breaks_whatever_happens_to_two_replicas(part: int) -> None:
    ends = [storm(seed) for seed in range(part, 200, 8)]
    assert any(one.phase is Phase.PROMOTED for one in ends)
    assert not [one for one in ends if one.bad and one.phase is Phase.PROMOTED]


def test_a_promotion_over_four_weights_takes_sixteen_writes() -> None:
    """The claim, each weight, the seal and its removal; the start, a record before each, the end; the finalizer."""
    world = World(3, trouble=0.0, declared=SPEC, rps=1000)
    rule = world.cluster.documents[DESTINATION_RULE.name, "shop", "reviews"]
    rule["spec"]["subsets"] = [{"name": one, "labels": {"version": one}} for one in ("v1", "v2")]
    written: Counter[str] = Counter()
    world.cluster.on_write = lambda key, before, after: written.update([key[0]])
    controlled(world)
    assert status(world)["phase"] == Phase.PROMOTED
    assert (written[SERVICE_ROLLOUT.name], written[VIRTUAL_SERVICE.name]) == (9, 7)


def test_a_new_target_in_the_middle_takes_back_first() -> None:
    world = World(4, trouble=0.0, declared=SPEC)
    watcher = Watcher(world)
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    asked(world, {"spec": {"version": "v1"}})
    controlled(world, living=living)
    watcher.finished()
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.SUPERSEDED)
    assert conditions(world)["Ready"][0] == "True", "v1 is asked for, and serves"


def shares(vs: Document) -> dict[str, int]:
    """What the route for everybody gives each version."""
    entries = vs["spec"]["http"][-1]["route"]
    return {one["destination"]["subset"]: one.get("weight", 100) for one in entries}


def test_a_new_target_in_the_middle_that_is_ready_comes_when_all_is_back() -> None:
    world = World(4, trouble=0.0, declared=SPEC)
    Watcher(world)
    world.deploy("v3")
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    asked(world, {"spec": {"version": "v3"}})
    controlled(world, living=living, until=lambda w: bool((a := w.attempt()) and a.canary == "v3"))
    assert world.exposed() == 0
    world.try_out("v3")
    watcher = Watcher(world)
    controlled(world, living=living)
    watcher.finished()
    ends = [after for one in living for _, after in one.told if after and after.phase.ended and after.cleaned]
    assert {(one.canary, one.phase, one.reason) for one in ends} == {
        ("v2", Phase.ROLLED_BACK, Reason.SUPERSEDED), ("v3", Phase.PROMOTED, None),
    }  # fmt: skip
    assert conditions(world)["Promoted"] == ("True", "Promoted")
    path = [shares(one.after) for one in world.cluster.history if one.key[0] == VIRTUAL_SERVICE.name and one.after]
    assert {one.get("v2", 0) for one in path} == {0, 5, 25}
    assert {one.get("v3", 0) for one in path} == {0, 5, 25, 50, 100}
    begins = next(place for place, one in enumerate(path) if one.get("v3"))
    assert not any(one.get("v2") for one in path[begins:])


def test_a_new_target_that_is_not_there_yet_is_asked_for_after_the_take_back() -> None:
    world = World(4, trouble=0.0, declared=SPEC)
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    asked(world, {"spec": {"version": "v3"}})
    controlled(world, living=living, limit=60.0)
    told = conditions(world)
    assert (status(world)["reason"], told["Promoted"], told["Stalled"]) == (
        Reason.SUPERSEDED, ("False", "Preflight"), ("True", "Preflight"),
    )  # fmt: skip


PRESET: Document = {"service": "reviews", "version": "v2", "strategy": {"name": "canary"}}


@pytest.mark.parametrize("named", [True, False])
def test_who_is_put_back_is_named_beside_a_preset(named: bool) -> None:
    """Argo CD writes 0, as Git says, into a release by a preset that knows of no Argo CD."""
    drift: Document = {"drift": {"gitopsManagers": ["argocd"]}} if named else {}
    world = World(3, trouble=0.0, declared=PRESET | drift, rps=1000)
    watcher = Watcher(world)
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    _reapply(world)
    assert world.exposed() == 0
    controlled(world, living=living, limit=10.0)
    assert status(world)["phase"] == ("Shifting" if named else "Paused")
    assert world.exposed() == (25 if named else 0)
    if named:
        controlled(world, living=living)
        watcher.finished()
        assert status(world)["phase"] == Phase.PROMOTED


def test_who_writes_weights_again_and_again_stalls_it_until_it_is_resumed() -> None:
    world = World(3, trouble=0.0, declared=SPEC | {"drift": {"gitopsManagers": ["argocd"]}})
    watcher = Watcher(world)
    living = replicas(world)
    for fight in range(4):
        controlled(world, living=living, until=lambda w: w.exposed() == 25)
        assert conditions(world)["Stalled"] == ("False", "None"), f"put back {fight} times"
        _reapply(world)
    controlled(world, living=living, limit=10.0)
    assert status(world)["phase"] == "Paused"
    assert conditions(world)["Stalled"] == ("True", "DriftFight")
    assert conditions(world)["Reconciling"] == ("False", "Settled")
    assert events(world, living) == ["Started", "Paused"]
    assert [told for one in living for told in one.stalls] == [], "the pause has told it"
    world.engine("person", Faults()).resume(world.now)
    assert conditions(world)["Stalled"] == ("False", "None")
    assert conditions(world)["Reconciling"] == ("True", "Paused")
    controlled(world, living=living)
    watcher.finished()
    assert conditions(world)["Promoted"] == ("True", "Promoted")


def test_a_secret_that_the_object_names_is_looked_for_before_anything_is_written() -> None:
    url = {"secret": "hooks", "key": "slack"}
    world = World(3, trouble=0.0, declared=SPEC | {"notify": {"url": url}})
    before, living = world.virtual_service(), replicas(world)
    controlled(world, living=living, limit=60.0)
    assert conditions(world)["Stalled"] == ("True", "Preflight")
    assert "there is no Secret hooks in namespace shop" in status(world)["conditions"][0]["message"]
    assert world.virtual_service() == before
    metadata = {"name": "hooks", "namespace": "shop"}
    world.cluster.create(SECRET, {"metadata": metadata, "stringData": {"slack": "https://hooks.example/T0"}})
    controlled(world, living=living)
    assert [one["event"] for one in world.webhooks.arrived] == ["started", "promoted"]


def test_what_is_suspended_is_not_promoted() -> None:
    world = World(6, trouble=0.0, declared={**SPEC, "suspend": True})
    living = replicas(world)
    controlled(world, living=living, limit=60.0)
    told = conditions(world)
    assert told["Ready"] == told["Promoted"] == ("False", "Suspended")
    assert told["Stalled"][0] == "False", "nobody need act"
    asked(world, {"spec": {"suspend": False}})
    controlled(world, living=living)
    assert conditions(world)["Promoted"][0] == "True"


def test_what_went_back_stays_so_until_it_is_asked_for_again() -> None:
    world = World(5, trouble=0.0, declared=SPEC, failing={"v1": 0.0, "v2": 0.1})
    living = replicas(world)
    controlled(world, living=living)
    world.failing["v2"] = 0.0
    written = world.cluster.get(SERVICE_ROLLOUT, *OBJECT)
    for _ in range(600):
        for one in living:
            one.turn()
        world.pass_time(1.0)
    assert world.cluster.get(SERVICE_ROLLOUT, *OBJECT) == written
    asked(world, {"metadata": {"annotations": {RETRY: "1"}}})
    controlled(world, living=living)
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.number, attempt.phase) == (2, Phase.PROMOTED)


def test_a_suspended_one_stands_and_goes_on() -> None:
    world = World(6, trouble=0.0, declared=SPEC)
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    asked(world, {"spec": {"suspend": True}})
    controlled(world, living=living, limit=100.0)
    assert status(world)["phase"] == Phase.PAUSED
    assert world.exposed() == 25
    asked(world, {"spec": {"suspend": False}})
    controlled(world, living=living)
    assert status(world)["phase"] == Phase.PROMOTED


def test_a_deleted_object_gives_all_back_and_goes() -> None:
    world = World(7, trouble=0.0, declared=SPEC)
    watcher = Watcher(world)
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    asked(world, None)
    controlled(world, living=living)
    assert not world.cluster.list(SERVICE_ROLLOUT)
    watcher.settled()
    assert world.exposed() == 0


def test_what_was_refused_by_who_did_not_know_it_yet_is_looked_at_again() -> None:
    """As where the definition is renewed before the controller, and an object says at once what only that one knows."""
    world = World(8, trouble=0.0, declared={**SPEC, "strategy": {**SPEC["strategy"], "steps": [{"weight": 5}]}})
    controlled(world)
    one = world.cluster.get(SERVICE_ROLLOUT, *OBJECT)
    one["spec"], one["status"]["observedGeneration"] = SPEC, one["metadata"]["generation"] + 1
    world.write_by_hand(
        (SERVICE_ROLLOUT.name, *OBJECT),
        one | {"metadata": one["metadata"] | {"generation": one["status"]["observedGeneration"]}},
    )
    assert conditions(world)["Stalled"] == ("True", "InvalidSpec")
    controlled(world)
    assert status(world)["phase"] == Phase.PROMOTED


def test_the_rights_that_the_chart_gives_are_those_that_are_used() -> None:
    used: set[tuple[str, str]] = set()
    for seed in range(5):
        spec = {**SPEC, "strategy": {"configMap": "ours"}} if seed == 1 else SPEC
        world = World(seed, trouble=0.0, declared=spec, failing={"v1": 0.0, "v2": 0.1 if seed % 2 else 0.0})
        if seed % 3 == 0:
            world.cluster.documents.pop((DESTINATION_RULE.name, "shop", "reviews"))
        controlled(world)
        used = used.union(*(process.asked for process in world.processes))
    expected = {(kind.name, verb) for table in (CONTROLLED, FOR_SUBSETS, LEADING) for kind, verb in pairs(table)}
    assert used == expected


def test_no_status_has_what_its_definition_has_not() -> None:
    told = 0

    def wrote(key: Key, before: Document | None, after: Document | None) -> None:
        nonlocal told
        if key[0] == SERVICE_ROLLOUT.name and after and after.get("status"):
            told += 1
            assert [*STATUS.iter_errors(after["status"])] == []

    for seed in range(6):
        world = World(seed, trouble=1.0, declared=SPEC, failing={"v1": 0.0, "v2": 0.1 if seed % 2 else 0.0})
        world.cluster.on_write = wrote
        controlled(world, lambda life, world=world: faults_of(world, life))  # type: ignore[misc]
    assert told > 50


@pytest.mark.parametrize("text", [None, "{"])
def test_a_lost_record_is_a_reason_to_take_back(text: str | None) -> None:
    world = World(10, trouble=0.0, declared=SPEC)
    watcher = Watcher(world)
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    world.spoil_record(text)
    controlled(world, living=living)
    watcher.settled()
    assert world.exposed() == 0
    assert conditions(world)["Stalled"] == ("True", "StateLost")
    asked(world, {"metadata": {"annotations": {RETRY: "0"}}})
    controlled(world, living=living)
    assert world.exposed() == 100
