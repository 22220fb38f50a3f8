"""A controller that is removed: whoever drains takes the lead, begins nothing, and gives all traffic back."""

import random

import pytest

from rollout.controller.leading import DRAINED
from rollout.core.documents import SERVICE_ROLLOUT
from rollout.core.lifecycle import Phase, Reason
from rollout.engine.lease import DURATION
from rollout.engine.status import marked
from tests.simulation.cached import CachedReplica
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import OBJECT, SPEC, Replica, asked, controlled, replicas, storm
from tests.simulation.test_controller import status
from tests.simulation.world import World


def in_flight(world: World) -> bool:
    return marked(world.cluster.get(SERVICE_ROLLOUT, *OBJECT))


@pytest.mark.parametrize("kind", [Replica, CachedReplica])
def test_what_is_in_flight_goes_back_and_nothing_begins_until_all_are_gone(kind: type[Replica]) -> None:
    world = World(7, trouble=0.0, declared=SPEC)
    watcher = Watcher(world)
    living = replicas(world, kind=kind)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    began = world.now
    living.append(kind(world, "drain", drains=True))
    controlled(world, living=living, until=lambda w: not in_flight(w), limit=90.0)
    watcher.finished()
    assert status(world)["reason"] == Reason.DRAINED
    assert world.exposed() == 0
    assert DURATION <= world.now - began < DURATION + 10, "whoever led is trusted to have seen it by then"
    living.pop()  # it has ended, and leaves the lead as it is
    asked(world, {"spec": {"version": "v3"}})
    asked(world, {"spec": {"version": "v2"}, "metadata": {"annotations": {"rollout.dev/retry": "1"}}})
    controlled(world, living=living, until=in_flight, limit=DRAINED - 10.0)
    assert not in_flight(world), "the other replicas have time to go"
    controlled(world, living=replicas(world, kind=kind), rest=DRAINED)
    assert status(world)["phase"] == Phase.PROMOTED, "installed anew it goes on as ever"


def test_what_was_not_begun_is_found_as_it_was_by_the_next() -> None:
    world = World(7, trouble=0.0, declared=SPEC)
    document = world.cluster.get(SERVICE_ROLLOUT, *OBJECT)
    controlled(world, living=[Replica(world, "drain", drains=True)], limit=60.0)
    assert world.cluster.get(SERVICE_ROLLOUT, *OBJECT) == document
    controlled(world)
    assert status(world)["phase"] == Phase.PROMOTED


def test_whoever_drains_and_dies_leaves_the_lead_to_the_others() -> None:
    world = World(7, trouble=0.0, declared=SPEC)
    living = replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 5)
    living.append(Replica(world, "drain", drains=True))
    controlled(world, living=living, limit=5.0)
    living.pop()
    controlled(world, living=living)
    assert status(world)["phase"] == Phase.PROMOTED


@pytest.mark.parametrize("kind", [Replica, CachedReplica])
def test_no_invariant_breaks_where_somebody_drains(kind: type[Replica]) -> None:
    ends = [storm(seed, kind, drained_at=random.Random(seed).uniform(5.0, 100.0)) for seed in range(500, 524)]
    assert sum(one.reason == Reason.DRAINED for one in ends) > 3
