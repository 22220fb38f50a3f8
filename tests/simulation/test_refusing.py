"""Objects that cannot be obeyed: each says why and in which field, once, and hinders no other."""

from collections.abc import Callable
from typing import Any

import pytest

from rollout.adapters import clock
from rollout.adapters.store import Key
from rollout.controller.backoff import delay
from rollout.controller.controller import Controller, Settings
from rollout.controller.reconcile import AGAIN, SELDOM
from rollout.controller.telemetry import Standing, Telemetry
from rollout.core.documents import (
    CONFIG_MAP,
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    SERVICE_ROLLOUT,
    VIRTUAL_SERVICE,
    Document,
    finalizers_of,
    version_of,
)
from rollout.core.errors import Conflict, Unavailable
from rollout.core.lifecycle import Phase
from rollout.engine.status import FINALIZER, Trouble, trouble_of
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import OBJECT, SPEC, Replica, asked, controlled, replicas
from tests.simulation.test_controller import conditions, events, status
from tests.simulation.world import START, Faults, ProcessWebhooks, VirtualProbes, World, _document

WRONG = ("shop", "wrong")
GOOD: Document = {**SPEC, "service": "ratings"}
QUERY: Document = {"query": {"name": "depth", "promql": "depth", "max": 1}}
QUERIED: Document = {**SPEC["strategy"], "checks": [{"errors": {}}, QUERY]}
NO_POD = "no pod of ratings carries the label version=v9 (versions there: v1, v2)"
DEPTH = "the check `query` 'depth': 2 series came back; name one in promql, or say `aggregate: max`, min, sum or avg"
CASES: dict[str, tuple[Document, str, str]] = {
    "strategy": (
        {**GOOD, "strategy": {**SPEC["strategy"], "steps": []}}, "InvalidSpec",
        "ServiceRollout shop/wrong: spec.strategy.steps: there must be at least one",
    ),
    "a strategy that is not there": (
        {**GOOD, "strategy": {"configMap": "none"}}, "Preflight",
        "spec.strategy.configMap: there is no ConfigMap shop/none",
    ),
    "a strategy that is kept wrongly": (
        {**GOOD, "strategy": {"configMap": "ours", "key": "bad"}}, "Preflight",
        "spec.strategy: ConfigMap shop/ours, bad:1: steps: there must be at least one",
    ),
    "service": (
        {**GOOD, "service": "nobody"}, "Preflight",
        "spec.service: there is no Service nobody in namespace shop (there: ratings, reviews)",
    ),
    "version": (
        {**GOOD, "version": "v9"}, "Preflight", f"spec.version: {NO_POD}; deploy it first, or name another version",
    ),
    "query": ({**GOOD, "strategy": QUERIED}, "Preflight", f"spec.strategy.checks: {DEPTH}"),
    "a query that is kept elsewhere": (
        {**GOOD, "strategy": {"configMap": "ours", "key": "queried"}}, "Preflight", f"spec.strategy: {DEPTH}",
    ),
    "whom to tell": (
        {**GOOD, "notify": {"url": {"secret": "none", "key": "a"}}}, "Preflight",
        "spec.notify: there is no Secret none in namespace shop; create it, with the URL under the key a",
    ),
    "twin": (
        SPEC, "Preflight",
        "spec.service: ServiceRollout reviews is older and has the Service reviews already; delete one",
    ),
}  # fmt: skip


def two(wrong: Document) -> World:
    """A world in which reviews is to be released, and beside it something is asked for, of a Service that could be."""
    world = World(3, trouble=0.0, declared=SPEC)
    world.with_ratings([{"route": [{"destination": {"host": "ratings", "subset": "v1"}}]}])
    names = [f"ratings-{version}" for version in ("v1", "v2")]
    for name in names:
        world.cluster.create(POD, _document(POD, name, {"app": "ratings", "version": name[-2:]}))
    slice_ = _document(ENDPOINT_SLICE, "ratings-1", {"kubernetes.io/service-name": "ratings"})
    ends: list[Any] = [{"addresses": [n], "conditions": {"ready": True}, "targetRef": {"name": n}} for n in names]
    world.cluster.create(ENDPOINT_SLICE, {**slice_, "endpoints": ends})
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    rule = _document(DESTINATION_RULE, "ratings", spec={"host": "ratings", "subsets": subsets})
    world.cluster.create(DESTINATION_RULE, rule)
    kept = {"bad": str({**SPEC["strategy"], "steps": []}), "queried": str(QUERIED)}
    world.cluster.create(CONFIG_MAP, _document(CONFIG_MAP, "ours", data=kept))
    metadata = {"name": "wrong", "namespace": "shop", "creationTimestamp": "2030-01-01T00:00:00Z"}
    world.cluster.create(SERVICE_ROLLOUT, {"metadata": metadata, "spec": wrong})
    world.metrics.answer = lambda promql, at: [1.0, 2.0]
    return world


def looked_after(
    world: World, living: list[Replica], rest: float = 0.0, until: Callable[[World], bool] = lambda _: False
) -> None:
    """Both objects, by whichever replica leads; what is at rest is looked at again, as at every resync."""
    due = dict.fromkeys((one.name for one in living), 0.0)

    def each(w: World) -> None:
        for one in living:
            if w.now >= due[one.name] and one.leader.sure(w.now):
                due[one.name] = w.now + min(one.reconciler.reconcile(WRONG, w.now), 15.0)

    controlled(world, living=living, each=each, rest=rest, until=until)


def series(world: World) -> list[tuple[dict[str, str], float]]:
    """What a controller that takes the lead tells of what is stalled, by its cache alone."""
    hooks = (lambda: ProcessWebhooks(world), lambda: VirtualProbes(world))
    settings = Settings("rollout-system")
    controller = Controller(world.cluster, world.metrics, *hooks, settings, "replica-9", Telemetry())
    for scope in controller._scopes():
        controller.cache.cover(scope)
        controller.cache.replaced(scope, *world.cluster.listing(scope.kind, scope.namespace))
    collector = Standing(controller, clock.now)
    assert [sample for one in collector.collect() for sample in one.samples if one.name == "rollout_stalled"] == []
    assert controller.leader.renew(clock.now())
    found = (sample for one in collector.collect() for sample in one.samples if one.name == "rollout_stalled")
    return [(sample.labels, sample.value) for sample in found]


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_told_with_its_field_once_and_hinders_nobody(name: str) -> None:
    spec, reason, message = CASES[name]
    quiet = World(3, trouble=0.0, declared=SPEC)
    controlled(quiet)
    world = two(spec)
    theirs = world.cluster.get(VIRTUAL_SERVICE, "shop", "ratings")
    watcher, living, written = Watcher(world), replicas(world), list[Key]()

    def wrote(key: Key, before: Document | None, after: Document | None) -> None:
        written.append(key)
        watcher(key, before, after)

    world.cluster.on_write = wrote
    looked_after(world, living)
    watcher.finished()
    assert status(world)["phase"] == Phase.PROMOTED, "its neighbour"
    assert world.virtual_service()["spec"] == quiet.virtual_service()["spec"]
    assert world.cluster.get(VIRTUAL_SERVICE, "shop", "ratings") == theirs
    document = world.cluster.get(SERVICE_ROLLOUT, *WRONG)
    assert trouble_of(document) == Trouble(reason, message)
    assert document["status"]["phase"] == "Idle"
    assert not finalizers_of(document)
    assert written.count((SERVICE_ROLLOUT.name, *WRONG)) == 1
    assert [told for one in living for told in one.stalls] == [("wrong", Trouble(reason, message))]
    for one in living:
        one.leader.release(world.now)
    new = Replica(world, "replica-3")
    looked_after(world, [new], rest=60.0)
    assert new.leader.sure(world.now)
    assert new.stalls == [], "it has been told"
    new.leader.release(world.now)
    assert series(world) == [({"namespace": "shop", "name": "wrong", "reason": reason}, 1.0)]


def test_what_stalls_for_another_reason_is_told_anew() -> None:
    world = World(3, trouble=0.0, declared={**SPEC, "version": "v9"})
    living = replicas(world)
    controlled(world, living=living, limit=30.0)
    asked(world, {"spec": {"service": "reviews", "version": "v8"}})
    controlled(world, living=living, limit=30.0)
    asked(world, {"spec": {"version": "v1"}})
    controlled(world, living=living, limit=30.0)
    told = [trouble.message.partition(" (")[0] for one in living for _, trouble in one.stalls]
    assert told == [f"spec.version: no pod of reviews carries the label version={version}" for version in ("v9", "v8")]
    assert conditions(world)["Stalled"] == ("False", "None")


def test_one_of_whose_numbers_others_are_said_is_the_same_matter() -> None:
    some, more = (Trouble("Preflight", f"none of the {count} pod(s) of v2 is ready") for count in (3, 12))
    assert some.matter == more.matter
    assert some.matter != Trouble("Trigger", some.message).matter


def test_who_died_before_the_first_record_has_lost_nothing() -> None:
    world = World(3, trouble=0.0, declared=SPEC)
    asked(world, {"metadata": {"finalizers": [FINALIZER]}})
    controlled(world, living=replicas(world))
    assert (status(world)["attempt"], status(world)["phase"]) == (1, Phase.PROMOTED)


@pytest.mark.parametrize("change", [None, {"strategy": {"name": "nonsense"}}, {"suspend": True}])
def test_a_twin_that_goes_or_is_changed_takes_nothing_back_from_the_elder(change: Document | None) -> None:
    world = two(SPEC)
    watcher, living = Watcher(world), replicas(world)
    world.cluster.on_write = watcher
    looked_after(world, living, until=lambda w: w.exposed() == 25)
    if change is None:
        world.write_by_hand((SERVICE_ROLLOUT.name, *WRONG), None)
    else:
        twin = world.cluster.get(SERVICE_ROLLOUT, *WRONG)
        world.cluster.patch(SERVICE_ROLLOUT, *WRONG, {"spec": change}, version_of(twin))
    looked_after(world, living)
    watcher.finished()
    assert (status(world)["attempt"], status(world)["phase"]) == (1, Phase.PROMOTED)


def test_a_twin_that_says_it_was_in_flight_takes_nothing_back_from_the_elder() -> None:
    world = two(SPEC)
    living = replicas(world)
    looked_after(world, living, until=lambda w: w.exposed() == 25)
    twin = world.cluster.get(SERVICE_ROLLOUT, *WRONG)
    world.cluster.patch(SERVICE_ROLLOUT, *WRONG, {"metadata": {"finalizers": [FINALIZER]}}, version_of(twin))
    looked_after(world, living)
    assert (status(world)["attempt"], status(world)["phase"]) == (1, Phase.PROMOTED)
    assert not finalizers_of(world.cluster.get(SERVICE_ROLLOUT, *WRONG))


def test_who_drains_waits_for_nothing_where_somebody_died_before_the_first_record() -> None:
    world = World(3, trouble=0.0, declared=SPEC)
    asked(world, {"metadata": {"finalizers": [FINALIZER]}})
    one = Replica(world, "replica-3", drains=True)
    one.leader.renew(world.now)
    world.pass_time(60.0)
    one.leader.renew(world.now)
    one.reconciler.reconcile(OBJECT, world.now)
    assert not finalizers_of(world.cluster.get(SERVICE_ROLLOUT, *OBJECT))
    one.leader.release(world.now)
    world.pass_time(120.0)
    controlled(world, living=[Replica(world, "replica-4")])
    assert (status(world)["attempt"], status(world)["phase"]) == (1, Phase.PROMOTED), "whoever comes next begins it"


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_what_is_spelt_wrongly_in_the_middle_is_told_once_and_not_at_every_tick(version: str) -> None:
    world = World(3, trouble=0.0, declared=SPEC)
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    asked(world, {"spec": {"version": version, "strategy": {"steps": []}}})
    controlled(world, living=living, until=lambda w: w.exposed() == 50)
    asked(world, {"spec": {"strategy": {"stepz": 1}}})
    controlled(world, living=living)
    told = [trouble.message.partition("spec.strategy.")[2] for one in living for _, trouble in one.stalls]
    empty = "steps: there must be at least one"
    assert told == [empty, f"{empty}; spec.strategy.stepz: there is no such key here"]


def test_what_stalled_before_is_not_told_anew_while_nobody_can_act_upon_the_new_wish() -> None:
    world = World(3, trouble=0.0, declared={**SPEC, "version": "v9"})
    (one, _) = replicas(world)
    assert one.leader.renew(world.now)
    one.reconciler.reconcile(OBJECT, world.now)
    asked(world, {"spec": {"version": "v8"}})
    one.reconciler._world.view(OBJECT).faults = Faults(fail_writes=True)  # type: ignore[attr-defined]
    for _ in range(3):
        with pytest.raises(Unavailable):
            one.reconciler.reconcile(OBJECT, world.now)
    assert len(one.stalls) == 1
    one.reconciler._world.view(OBJECT).faults = Faults()  # type: ignore[attr-defined]
    one.reconciler.reconcile(OBJECT, world.now)
    assert len(one.stalls) == 2, "of the new wish the same is said, which is not known yet"


def test_how_an_attempt_ended_is_told_by_its_end_alone() -> None:
    world = World(3, trouble=0.0, declared=SPEC, failing={"v1": 0.0, "v2": 0.1})
    living = replicas(world)
    controlled(world, living=living)
    assert conditions(world)["Stalled"] == ("True", "Breach")
    assert events(world, living) == ["Started", "RollingBack", "RolledBack"]
    assert [told for one in living for told in one.stalls] == []
    asked(world, {"spec": {"version": "v1"}})
    controlled(world, living=living, limit=30.0)
    asked(world, {"spec": {"version": "v2"}})
    controlled(world, living=living, limit=30.0)
    assert [trouble.reason for one in living for _, trouble in one.stalls] == ["Breach"], "who asks again is told"


# Who does not answer before the start


def test_who_does_not_answer_is_named_once_and_asked_again() -> None:
    world = World(5, trouble=0.0, declared=SPEC)
    world.metrics.down_until = START + 60
    living, written = replicas(world), list[Document]()
    world.cluster.on_write = lambda key, _, after: written.append(after or {}) if key[2] == "reviews" else None
    controlled(world, living=living, limit=40.0)
    told = {one["type"]: (one["status"], one["reason"], one["message"]) for one in status(world)["conditions"]}
    away = ("Unreachable", "the metrics store is away")
    assert (told["Ready"], told["Promoted"]) == (("False", *away), ("False", *away))
    assert told["Reconciling"] == ("True", *away)
    assert told["Stalled"] == ("False", "None", "")
    assert [one["kind"] for one in written] == [SERVICE_ROLLOUT.name], "once"
    assert status(world)["observedGeneration"] == -1, "nothing was done about it yet"
    controlled(world, living=living)
    assert status(world)["phase"] == Phase.PROMOTED
    assert [told for one in living for told in one.stalls] == [], "nobody need act"


def test_who_does_not_answer_once_something_else_was_mended_is_asked_again() -> None:
    world = World(5, trouble=0.0, declared=SPEC)
    world.set_ready("v2", 0)
    living = replicas(world)
    controlled(world, living=living, limit=20.0)
    assert conditions(world)["Stalled"] == ("True", "Preflight")
    world.metrics.down_until = world.now + 60
    world.set_ready("v2", 4)
    controlled(world, living=living, limit=30.0)
    assert (conditions(world)["Ready"], conditions(world)["Stalled"]) == (("False", "Unreachable"), ("False", "None"))
    for one in living:  # as the next who leads, by what the object says
        one.reconciler.ground()
    controlled(world, living=living)
    assert status(world)["phase"] == Phase.PROMOTED


def test_a_retry_for_which_somebody_does_not_answer_is_under_way() -> None:
    world = World(5, trouble=0.0, declared=SPEC, failing={"v1": 0.0, "v2": 0.1})
    living = replicas(world)
    controlled(world, living=living)
    world.failing["v2"], world.metrics.down_until = 0.0, world.now + 60
    asked(world, {"metadata": {"annotations": {"rollout.dev/retry": "1"}}})
    controlled(world, living=living, limit=30.0)
    assert (conditions(world)["Ready"], conditions(world)["Stalled"]) == (("False", "Unreachable"), ("False", "None"))
    controlled(world, living=living)
    assert (status(world)["attempt"], status(world)["phase"]) == (2, Phase.PROMOTED)


def test_a_write_of_somebody_else_is_nothing_to_tell() -> None:
    world = World(4, trouble=0.0, declared=SPEC)
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    living[0].leader.release(world.now)
    world.write_by_hand((SERVICE_ROLLOUT.name, *OBJECT), None)  # what its attempt has put there is to go beforehand
    metadata = {"name": "reviews", "namespace": "shop"}
    new = world.cluster.create(SERVICE_ROLLOUT, {"metadata": metadata, "spec": SPEC})
    one = Replica(world, "replica-3", Faults(conflict=1.0))
    assert one.leader.renew(world.now)
    with pytest.raises(Conflict):
        one.reconciler.reconcile(OBJECT, world.now)
    assert world.cluster.get(SERVICE_ROLLOUT, *OBJECT) == new


# How often


def test_what_cannot_begin_is_tried_ever_more_seldom_until_something_changes() -> None:
    world = World(3, trouble=0.0, declared={**SPEC, "version": "v9"})
    (one, _) = replicas(world)
    one.leader.renew(world.now)

    def waits(times: int) -> list[float]:
        return [one.reconciler.reconcile(OBJECT, world.now) for _ in range(times)]

    def usual(times: int) -> list[float]:
        return [delay(AGAIN, SELDOM, time + 1, "shop/reviews") for time in range(times)]

    assert waits(7) == usual(7)
    asked(world, {"spec": {"version": "v8"}})
    assert waits(3) == usual(3), "the object asks for something else"
    world.write_by_hand((VIRTUAL_SERVICE.name, "shop", "reviews"), None)
    assert waits(2) == usual(2), "something else stands in the way"


def test_that_somebody_does_not_answer_is_told_to_who_runs_it_who_tries_again() -> None:
    world = World(5, trouble=0.0, declared=SPEC)
    world.metrics.down_until = START + 60
    (one, _) = replicas(world)
    one.leader.renew(world.now)
    with pytest.raises(Unavailable, match="the metrics store is away"):
        one.reconciler.reconcile(OBJECT, world.now)
