"""The controller's loop on what watches keep: late, cut, begun anew; nothing else wakes it."""

import pytest

from rollout.core.documents import LEASE, SERVICE_ROLLOUT
from rollout.core.lifecycle import Phase
from tests.simulation.cached import CachedReplica
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import OBJECT, SPEC, asked, controlled, storm
from tests.simulation.world import World


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(24, 240, 24))])
def test_no_invariant_breaks_whatever_becomes_of_the_watches(first: int) -> None:
    ends = [storm(seed, CachedReplica) for seed in range(first, first + 24)]
    assert any(one.phase is Phase.PROMOTED for one in ends)
    assert not [one for one in ends if one.bad and one.phase is Phase.PROMOTED]


@pytest.mark.soak
@pytest.mark.parametrize("staffed", [False, True])
@pytest.mark.parametrize("first", range(1000, 51000, 500))
def test_no_invariant_breaks_in_a_hundred_thousand_worlds(first: int, staffed: bool) -> None:
    ends = [storm(seed, CachedReplica, staffed) for seed in range(first, first + 500)]
    assert not [one for one in ends if one.bad and one.phase is Phase.PROMOTED]


def test_a_release_asks_the_api_for_nothing_that_a_watch_told() -> None:
    world = World(3, trouble=0.0, declared=SPEC)
    watcher = Watcher(world)
    replica = CachedReplica(world, "replica-1")
    controlled(world, living=[replica])
    watcher.finished()
    attempt = world.attempt()
    assert attempt is not None
    assert attempt.phase is Phase.PROMOTED
    seen = world.processes[-1].asked
    assert {kind for kind, verb in seen if verb in ("get", "list")} == {LEASE.name}
    assert {kind for kind, verb in seen if verb == "patch"} >= {"ServiceRollout", "VirtualService"}


def test_at_rest_it_asks_for_nothing_but_its_lease_and_any_change_of_the_object_wakes_it() -> None:
    world = World(5, trouble=0.0, declared=SPEC)
    replica = CachedReplica(world, "replica-1")
    controlled(world, living=[replica])
    cluster = world.processes[-1]
    cluster.asked.clear()
    for _ in range(300):
        replica.turn()
        world.pass_time(1.0)
    assert {kind for kind, _ in cluster.asked} == {LEASE.name}
    asked(world, {"spec": {"version": "v1"}})
    replica.turn()
    document = world.cluster.get(SERVICE_ROLLOUT, *OBJECT)
    assert document["status"]["observedGeneration"] == document["metadata"]["generation"] == 2


def test_whoever_hears_nothing_asks_the_api_and_comes_to_the_same_end() -> None:
    world = World(3, trouble=0.0, declared=SPEC)
    replica = CachedReplica(world, "replica-1")
    replica.deaf = True
    controlled(world, living=[replica], until=lambda w: w.exposed() == 25)
    replica.deaf = False
    controlled(world, living=[replica])
    attempt = world.attempt()
    assert attempt is not None
    assert attempt.phase is Phase.PROMOTED
    assert ("EndpointSlice", "list") in world.processes[-1].asked
