"""`retire` in the virtual world: a version that was replaced goes once nothing leads to it and nobody asks it (I15)."""

from collections.abc import Callable
from typing import Any

import pytest

from rollout.controller.events import event_of
from rollout.core.attempt import Attempt, Fate
from rollout.core.decision import QUIET_BY
from rollout.core.documents import DEPLOYMENT, DESTINATION_RULE, LEASE, SERVICE, Document, Kind, version_of
from rollout.core.errors import Forbidden
from rollout.core.lifecycle import Phase
from rollout.engine.rights import CONTROLLED, FOR_RETIRING, FOR_SUBSETS, LEADING, pairs
from rollout.mesh.subsets import added, subsets_of
from rollout.mesh.workloads import ASLEEP
from tests.simulation.cached import CachedReplica
from tests.simulation.invariants import Violation, Watcher
from tests.simulation.replicas import SPEC, Replica, asked, controlled, replicas, storm
from tests.simulation.test_controller import conditions, status
from tests.simulation.test_worlds import FAULTS
from tests.simulation.workloads import Staff
from tests.simulation.world import HOST, Faults, World
from tests.simulation.worlds import _weights

AFTER = 60.0
RETIRING = {**SPEC, "retire": {"after": "60s"}}


def promoted(spec: Document = RETIRING, kind: type[Replica] = Replica, **staff: Staff) -> tuple[World, list[Replica]]:
    """A world in which v2 has just taken the place of v1, and who looks after it."""
    world = World(4, trouble=0.0, declared=spec, staff={"v1": Staff(4), "v2": Staff(4)} | staff)
    Watcher(world)
    living = replicas(world, kind=kind)
    controlled(world, living=living)
    assert status(world)["phase"] == Phase.PROMOTED
    return world, living


def later(world: World, living: list[Replica], seconds: float, each: Callable[[World], None] = lambda _: None) -> None:
    controlled(world, living=living, each=each, limit=seconds, rest=2 * seconds)


def ended(world: World) -> Attempt:
    attempt = world.attempt()
    assert attempt is not None
    return attempt


def told(living: list[Replica]) -> list[tuple[str, str]]:
    """The Events about versions that were replaced."""
    document: Document = {"metadata": {"name": "reviews", "namespace": "shop"}}
    found = (event_of(document, *change, 1.0) for one in living for change in one.told)
    return [(one["reason"], one["message"]) for one in found if one and "etired" in one["reason"]]


def fate(world: World) -> tuple[Fate, str]:
    (one,) = ended(world).retired
    assert one.version == "v1"
    assert status(world)["retired"] == [{"version": "v1", "fate": one.fate.value, "text": one.text}]
    assert [entry.text for entry in ended(world).journal].count(str(one)) == 1
    assert "retireAt" not in status(world)
    return one.fate, one.text


@pytest.mark.parametrize("scaler", [None, (1, 4)])
@pytest.mark.parametrize("kind", [Replica, CachedReplica])
def test_after_its_time_the_old_version_goes(kind: type[Replica], scaler: tuple[int, int] | None) -> None:
    world, living = promoted(kind=kind, v1=Staff(4, scaler))
    later(world, living, ended(world).ended + AFTER - 1 - world.now)
    assert world.workloads.replicas("v1") > 0
    later(world, living, 60.0)
    assert world.workloads.replicas("v1") == 0
    how, text = fate(world)
    assert (how, text[-4:]) == (Fate.RETIRED, "to 0")
    assert told(living) == [("Retired", f"v1 is retired: {text}")]
    assert conditions(world)["Ready"] == ("True", "Promoted")
    later(world, living, 300.0)
    assert told(living) == [("Retired", f"v1 is retired: {text}")]


def test_while_it_waits_nothing_is_asked_and_who_comes_next_knows_the_time() -> None:
    world, _ = promoted({**SPEC, "retire": {"after": "30m"}}, CachedReplica)
    living: list[Replica] = [CachedReplica(world, "next")]
    later(world, living, 30.0)  # who led before is gone
    asked_of = world.processes[-1].asked
    asked_of.clear()
    later(world, living, ended(world).ended + 1790.0 - world.now)
    assert {kind for kind, _ in asked_of} == {LEASE.name}
    later(world, living, 60.0)
    assert fate(world)[0] is Fate.RETIRED


@pytest.mark.parametrize("after", [None, "never"])
def test_without_it_nothing_goes(after: str | None) -> None:
    world, living = promoted(SPEC | ({"retire": {"after": after}} if after else {}))
    later(world, living, 300.0)
    assert world.workloads.replicas("v1") == 4
    assert not ended(world).retired


def pinned(world: World) -> None:
    to_v1 = {
        "match": [{"headers": {"who": {"exact": "old"}}}],
        "route": [{"destination": {"host": HOST, "subset": "v1"}}],
    }
    world.edit(lambda vs: vs["spec"]["http"].insert(0, to_v1))


def unpinned(world: World) -> None:
    both = {"match": [{"uri": {"prefix": "/x"}}], "route": [{"destination": {"host": HOST}}]}
    world.edit(lambda vs: vs["spec"]["http"].insert(0, both))


def doubled(world: World) -> None:
    one = world.cluster.get(DEPLOYMENT, "shop", "reviews-v1")
    one["metadata"]["name"] = "twin"
    world.write_by_hand((DEPLOYMENT.name, "shop", "twin"), one)


def renamed(world: World) -> None:
    rule = world.cluster.get(DESTINATION_RULE, "shop", "reviews")
    rule["spec"]["subsets"].append({"name": "legacy", "labels": {"version": "v1"}})
    world.write_by_hand((DESTINATION_RULE.name, "shop", "reviews"), rule)
    to_it = {"match": [{"uri": {"prefix": "/x"}}], "route": [{"destination": {"host": HOST, "subset": "legacy"}}]}
    world.edit(lambda vs: vs["spec"]["http"].insert(0, to_it))


def served_by_another(world: World) -> None:
    spec = {"selector": {"version": "v1"}, "ports": [{"port": 80}]}
    metadata = {"name": "reviews-v1", "namespace": "shop"}
    document = {"apiVersion": "v1", "kind": SERVICE.name, "metadata": metadata, "spec": spec}
    world.write_by_hand((SERVICE.name, "shop", "reviews-v1"), document)


IN_THE_WAY: dict[str, tuple[Callable[[World], None], str]] = {
    "a pin": (pinned, "VirtualService shop/reviews leads to it (match:"),
    "a route to all": (unpinned, "VirtualService shop/reviews leads to it (match:"),
    "a weight since": (
        lambda world: _weights(world, 90, "kubectl"),
        "VirtualService shop/reviews leads to it (name:main)",
    ),
    "two Deployments": (doubled, "Deployment shop/reviews-v1 and Deployment shop/twin make pods of it"),
    "a pin by another name": (renamed, "VirtualService shop/reviews leads to it (match:"),
    "a Service of its own": (served_by_another, "Service shop/reviews-v1 selects its pods, too"),
    "nobody serves": (lambda world: world.set_ready("v2", 0), "no endpoint of v2 is ready"),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_stands_in_the_way_is_said_once_and_the_old_version_stays(name: str) -> None:
    world, living = promoted()
    hinder, said = IN_THE_WAY[name]
    hinder(world)
    later(world, living, 700.0)
    how, text = fate(world)
    assert how is Fate.KEPT
    assert text.startswith(said)
    assert told(living) == [("NotRetired", f"v1 is not retired: {text}")]
    assert world.workloads.replicas("v1") == 4


def test_what_has_no_pods_any_more_is_retired() -> None:
    world, living = promoted()
    world.write_by_hand((DEPLOYMENT.name, "shop", "reviews-v1"), None)
    later(world, living, 300.0)
    assert fate(world) == (Fate.RETIRED, "it has no pods any more")


def test_what_is_asked_for_again_stays() -> None:
    world, living = promoted()
    one = world.cluster.get(DEPLOYMENT, "shop", "reviews-v1")
    later(world, living, 40.0)
    world.cluster.on_write = None
    patch = world.cluster.patch
    world.cluster.patch = lambda kind, *rest: one if kind is DEPLOYMENT else patch(kind, *rest)  # type: ignore[method-assign]
    later(world, living, 120.0)
    assert [one.fate for one in ended(world).retired] == [Fate.GOING], (
        "somebody takes the write, and leaves it as it was"
    )
    asked(world, {"spec": {"version": "v1"}})
    later(world, living, 60.0)
    assert status(world)["canary"] == "v1"


@pytest.mark.parametrize(
    ("until", "away", "how", "least"),
    [
        (AFTER + 100.0, False, Fate.RETIRED, AFTER + 100.0),
        (9999.0, False, Fate.KEPT, AFTER + QUIET_BY),
        (0.0, True, Fate.RETIRED, AFTER + QUIET_BY),
    ],
)
def test_requests_are_waited_for_and_silence_and_neither_for_ever(
    until: float, away: bool, how: Fate, least: float
) -> None:
    world, living = promoted()

    def each(w: World) -> None:
        w.metrics.stragglers["v1"] = 3 if w.now < ended(w).ended + until else 0
        w.metrics.down_until = w.now + 5.0 if away else 0.0

    later(world, living, least + ended(world).ended - world.now - 1.0, each)
    assert world.workloads.replicas("v1") == 4
    later(world, living, 60.0, each)
    assert fate(world)[0] is how
    assert world.workloads.replicas("v1") == (0 if how is Fate.RETIRED else 4)


def test_silence_does_not_tell_that_requests_have_stopped() -> None:
    world, living = promoted()

    def each(w: World) -> None:
        w.metrics.stragglers["v1"] = 3
        w.metrics.down_until = w.now + 5.0 if w.now > ended(w).ended + AFTER + QUIET_BY - 20.0 else 0.0

    later(world, living, AFTER + QUIET_BY + 60.0, each)
    assert fate(world) == (Fate.KEPT, "requests still come to it")


def test_what_is_suspended_or_deleted_retires_nothing() -> None:
    world, living = promoted()
    asked(world, {"spec": {"suspend": True}})
    later(world, living, 300.0)
    assert world.workloads.replicas("v1") == 4
    asked(world, {"spec": {"suspend": False}})
    later(world, living, 60.0)
    assert fate(world)[0] is Fate.RETIRED
    world, living = promoted()
    asked(world, None)
    later(world, living, 300.0)
    assert world.workloads.replicas("v1") == 4


def test_what_the_object_says_later_counts() -> None:
    world, living = promoted(SPEC)
    later(world, living, 300.0)
    asked(world, {"spec": {"retire": {"after": "10m"}}})
    later(world, living, 200.0)
    assert world.workloads.replicas("v1") == 4
    later(world, living, 200.0)
    assert fate(world)[0] is Fate.RETIRED


def test_without_the_right_it_is_said_once_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world, living = promoted()
    tries = 0

    def refusing(ask: Callable[..., Any]) -> Callable[..., Any]:
        def refused(kind: Kind, *rest: object) -> Any:
            nonlocal tries
            if kind is DEPLOYMENT:
                tries += 1
                raise Forbidden("we may not list deployments")
            return ask(kind, *rest)

        return refused

    for process in world.processes:
        monkeypatch.setattr(process, "list", refusing(process.list))
    later(world, living, 1000.0)
    assert fate(world) == (
        Fate.KEPT, "we may not list deployments; for the next one install the chart with `scaling.enabled=true`",
    )  # fmt: skip
    assert tries == 1


def test_the_rights_are_those_that_are_used() -> None:
    world, living = promoted()
    later(world, living, 200.0)
    assert fate(world)[0] is Fate.RETIRED
    used = set[tuple[str, str]]().union(*(process.asked for process in world.processes))
    tables = (CONTROLLED, FOR_RETIRING, FOR_SUBSETS, LEADING)
    expected = {(kind.name, verb) for table in tables for kind, verb in pairs(table)}
    assert used == expected - {("ConfigMap", "get"), ("DestinationRule", "create")}


@pytest.mark.parametrize("scale", ["wait", "auto"])
def test_a_retired_version_is_woken_or_nobody_serves_it(scale: str) -> None:
    world, living = promoted({**RETIRING, "scale": scale})
    later(world, living, 200.0)
    assert fate(world)[0] is Fate.RETIRED
    world.cluster.on_write = None  # the invariants know v2 as the canary alone
    world.edit(lambda vs: vs["spec"]["http"].pop(0))  # the testers' route to v2
    asked(world, {"spec": {"version": "v1"}})
    later(world, living, 100.0)
    if scale == "wait":
        assert conditions(world)["Stalled"] == ("True", "Preflight")
        assert "no pod of reviews carries the label version=v1" in str(status(world)["conditions"])
        world.workloads.scale(DEPLOYMENT, "v1", 4)
    later(world, living, 500.0)
    assert (status(world)["phase"], status(world)["canary"]) == (Phase.PROMOTED, "v1")
    assert world.workloads.replicas("v1") == 4
    assert [(one.version, one.fate) for one in ended(world).retired] == [("v2", Fate.RETIRED)]
    assert world.workloads.replicas("v2") == 0
    rule = world.cluster.get(DESTINATION_RULE, "shop", "reviews")
    assert ([one["name"] for one in subsets_of(rule)], added(rule)) == (["v1"], []), "that of v2 was ours"
    assert "v2" not in str(world.virtual_service()["spec"])


@pytest.mark.parametrize("every", [41, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_dies_at_whatever_call_it_is_retired_once(fault: str, every: int) -> None:
    calls = len(fault) % every
    while True:
        calls += every
        world, _ = promoted()
        living = replicas(world, lambda life: FAULTS[fault](calls) if life == 1 else Faults())  # noqa: B023
        controlled(world, living=living, rest=150.0)
        assert world.workloads.replicas("v1") == 0, f"at call {calls}"
        assert fate(world)[0] is Fate.RETIRED
        assert len(told(living)) == 1 or (fault != "loses a reply" and not told(living)), (
            "once, unless who knew it died"
        )
        if world.processes[2].calls < calls:
            break
    assert calls > 50


@pytest.mark.parametrize("kind", [Replica, CachedReplica])
@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 96, 16))])
def test_no_invariant_breaks_whatever_happens_to_replicas_that_retire(first: int, kind: type[Replica]) -> None:
    ends = [storm(seed, kind, staffed=True, retires=True) for seed in range(first, first + (16 if first else 3))]
    assert any(one.phase is Phase.PROMOTED for one in ends)


def test_the_watcher_bites() -> None:
    world, _ = promoted()
    document = world.cluster.get(DEPLOYMENT, "shop", "reviews-v1")
    with pytest.raises(Violation, match="I15"):
        world.cluster.patch(DEPLOYMENT, "shop", "reviews-v1", ASLEEP, version_of(document))
