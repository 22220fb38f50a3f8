"""`trigger: newVersion` in the virtual world: a Deployment that appears is a release, and an old one never is."""

from typing import Any

import pytest

from rollout.core.documents import DEPLOYMENT, SERVICE_ROLLOUT, Document, version_of
from rollout.core.lifecycle import Phase, Reason
from rollout.core.quantities import stamp
from tests.simulation.cached import CachedReplica
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import OBJECT, RESYNC, SPEC, Replica, asked, controlled
from tests.simulation.test_controller import conditions, status
from tests.simulation.world import World

WAITING = {key: value for key, value in SPEC.items() if key != "version"} | {"trigger": "newVersion"}


def deployed(world: World, version: str, ready: bool = True, age: float = 0.0) -> None:
    """A Deployment of so many seconds, as the cluster's own controllers would have it."""
    labels = {"app": "reviews", "version": version}
    metadata = {"name": f"reviews-{version}", "namespace": "shop", "creationTimestamp": stamp(world.now - age)}
    spec = {"replicas": 4, "template": {"metadata": {"labels": labels}}}
    world.by_hand = True
    document = {"kind": DEPLOYMENT.name, "metadata": metadata, "spec": spec, "status": counts(4 if ready else 3)}
    world.cluster.create(DEPLOYMENT, document)
    world.by_hand = False


def counts(ready: int) -> Document:
    return {"replicas": 4, "updatedReplicas": 4, "readyReplicas": ready}


def waiting(kind: type[Replica] = CachedReplica, spec: Document = WAITING, **more: Any) -> tuple[World, list[Replica]]:
    """A world whose object has waited for ten seconds, and who looks after it."""
    world = World(4, trouble=0.0, declared=spec, **more)
    document = world.cluster.documents[SERVICE_ROLLOUT.name, *OBJECT]
    document["metadata"]["creationTimestamp"] = stamp(world.now)
    living = [kind(world, "replica-1")]
    controlled(world, living=living, rest=10.0)
    return world, living


@pytest.mark.parametrize("kind", [Replica, CachedReplica])
def test_a_new_deployment_that_is_ready_is_a_release(kind: type[Replica]) -> None:
    world, living = waiting(kind)
    watcher = Watcher(world)
    assert conditions(world)["Ready"] == ("True", "Idle")
    assert status(world)["phase"] == "Idle"
    deployed(world, "v2", ready=False)
    controlled(world, living=living, rest=RESYNC)
    assert status(world)["phase"] == "Idle", "not before all its pods are ready"
    one = world.cluster.get(DEPLOYMENT, "shop", "reviews-v2")
    world.cluster.patch(DEPLOYMENT, "shop", "reviews-v2", {"status": counts(4)}, version_of(one))
    controlled(world, living=living, rest=RESYNC + 1)
    watcher.finished()
    assert status(world)["phase"] == Phase.PROMOTED
    assert conditions(world)["Promoted"] == ("True", "Promoted")


def test_what_went_back_stays_so_until_a_retry() -> None:
    world, living = waiting(failing={"v1": 0.0, "v2": 0.1})
    deployed(world, "v2")
    controlled(world, living=living, rest=5.0)
    assert status(world)["reason"] == Reason.BREACH
    world.failing["v2"] = 0.0
    at_rest = world.cluster.get(SERVICE_ROLLOUT, *OBJECT)
    controlled(world, living=living, rest=2 * RESYNC)
    assert world.cluster.get(SERVICE_ROLLOUT, *OBJECT) == at_rest
    asked(world, {"metadata": {"annotations": {"rollout.dev/retry": "1"}}})
    controlled(world, living=living)
    assert (status(world)["attempt"], status(world)["phase"]) == (2, Phase.PROMOTED)


def test_a_newer_one_takes_back_first() -> None:
    world, living = waiting()
    watcher = Watcher(world)
    deployed(world, "v2")
    controlled(world, living=living, until=lambda w: w.exposed() == 25, rest=5.0)
    deployed(world, "v3")
    controlled(world, living=living, limit=60.0, rest=5.0)
    watcher.finished()
    assert status(world)["reason"] == Reason.SUPERSEDED
    assert conditions(world)["Stalled"] == ("True", "Preflight"), "v3 has no endpoint here, and that is said"


def gone(world: World, version: str) -> None:
    one = world.cluster.get(DEPLOYMENT, "shop", f"reviews-{version}")
    world.by_hand = True
    world.cluster.delete(DEPLOYMENT, "shop", f"reviews-{version}", version_of(one))
    world.by_hand = False


@pytest.mark.parametrize("until", [25, 100])
def test_what_served_before_and_comes_back_is_nothing_new(until: int) -> None:
    world, living = waiting()
    deployed(world, "v1", age=5000.0)
    deployed(world, "v2")
    controlled(world, living=living, until=lambda w: w.exposed() == until, rest=5.0)
    gone(world, "v1")
    controlled(world, living=living, limit=5.0)
    deployed(world, "v1")
    controlled(world, living=living, rest=2 * RESYNC)
    assert (status(world)["attempt"], status(world)["phase"], status(world)["canary"]) == (1, Phase.PROMOTED, "v2")
    assert world.exposed() == 100


def test_a_lost_record_begins_nothing_that_is_there_and_what_appears_later() -> None:
    world, living = waiting()
    deployed(world, "v2")
    controlled(world, living=living, until=lambda w: w.exposed() == 25, rest=5.0)
    world.spoil_record(None)
    for one in living:
        one.reconciler.ground()  # as another replica, which does not know the attempt
    controlled(world, living=living, rest=2 * RESYNC)
    assert world.exposed() == 0
    assert conditions(world)["Stalled"] == ("True", "StateLost")
    deployed(world, "v3")
    controlled(world, living=living, rest=2 * RESYNC)
    assert conditions(world)["Stalled"] == ("True", "Preflight"), "v3 has no endpoint here, and that is said"


def test_what_lay_about_before_begins_nothing() -> None:
    world, living = waiting(spec=SPEC | {"version": "v1"})
    deployed(world, "v2")
    controlled(world, living=living, rest=5.0)
    asked(world, {"spec": {"version": None, "trigger": "newVersion"}})
    controlled(world, living=living, rest=2 * RESYNC)
    assert status(world)["phase"] == "Idle"
    assert status(world)["waitingSince"] > stamp(world.now - 3 * RESYNC)


def test_while_it_is_suspended_nothing_begins() -> None:
    world, living = waiting(spec=WAITING | {"suspend": True})
    deployed(world, "v2")
    controlled(world, living=living, rest=RESYNC)
    assert conditions(world)["Ready"] == ("False", "Suspended")
    asked(world, {"spec": {"suspend": False}})
    controlled(world, living=living)
    assert status(world)["phase"] == Phase.PROMOTED


def test_a_deployment_of_what_serves_begins_nothing() -> None:
    world, living = waiting()
    deployed(world, "v1")
    controlled(world, living=living, rest=RESYNC)
    assert conditions(world)["Ready"] == ("True", "Idle")
