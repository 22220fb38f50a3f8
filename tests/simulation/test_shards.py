"""Shards in the virtual world: an object that gets another label in the middle is driven by one leader at a time."""

from dataclasses import dataclass, field

import pytest

from rollout.controller.controller import lease_name
from rollout.core.documents import LEASE, SERVICE_ROLLOUT, VIRTUAL_SERVICE, Document, Kind, carries
from rollout.core.errors import Conflict
from rollout.core.lifecycle import Phase
from tests.simulation.cached import CachedReplica
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import OBJECT, SPEC, Replica, asked, controlled
from tests.simulation.test_controller import conditions
from tests.simulation.world import World
from tests.simulation.worlds import _raise, faults_of

A, B = {"shard": "a"}, {"shard": "b"}


@dataclass
class Shards:
    """One leader for each, whose Leases were taken so often before, and the object in the first."""

    kind: type[Replica] = CachedReplica
    led: tuple[int, int] = (0, 0)
    trouble: float = 0.0
    seed: int = 3
    living: list[Replica] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(self.seed, trouble=self.trouble, declared=SPEC)
        self.world.cluster.documents[SERVICE_ROLLOUT.name, *OBJECT]["metadata"]["labels"] = dict(A)
        for labels, times in zip((A, B), self.led, strict=True):
            metadata = {"name": lease_name(labels), "namespace": "rollout-system"}
            self.world.cluster.create(LEASE, {"metadata": metadata, "spec": {"leaseTransitions": times}})
            self.living.append(self.kind(self.world, f"replica-{labels['shard']}", labels=labels))
        self.watcher = Watcher(self.world)

    def moved(self, to: dict[str, str], at: int) -> None:
        """Somebody gives it another label when the canary has so many percent."""
        controlled(self.world, living=self.living, until=lambda w: w.exposed() == at)
        asked(self.world, {"metadata": {"labels": to}})


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("led", [(0, 0), (7, 0), (0, 7)])
@pytest.mark.parametrize("kind", [Replica, CachedReplica])
def test_who_has_it_no_more_writes_nothing_and_the_other_goes_on(
    kind: type[Replica], led: tuple[int, int], deaf: bool
) -> None:
    shards = Shards(kind, led)
    world, (first, second) = shards.world, shards.living
    shards.moved(B, at=25)
    assert first.reconciler.flies(OBJECT)
    assert world.processes[1].landed == {LEASE.name}, "it is not its own yet"
    first.deaf = deaf
    world.processes[0].landed.clear()
    controlled(world, living=shards.living, until=lambda w: w.exposed() == 50)
    first.deaf = False
    controlled(world, living=shards.living, rest=5.0)
    shards.watcher.finished()
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.number, attempt.phase, attempt.fence) == (1, Phase.PROMOTED, second.leader.fence)
    assert conditions(world)["Promoted"] == ("True", "Promoted")
    assert world.processes[0].landed <= {LEASE.name}
    assert world.processes[1].landed >= {LEASE.name, SERVICE_ROLLOUT.name, VIRTUAL_SERVICE.name}
    assert not first.reconciler.flies(OBJECT)


def test_a_tick_that_has_begun_when_it_goes_writes_nothing_either() -> None:
    """Somebody raises the weight, which is to be put back at once, and gives it away while its leader reads."""
    shards = Shards(Replica)
    world, (first, _) = shards.world, shards.living
    controlled(world, living=shards.living, until=lambda w: w.exposed() == 25)
    cluster, read = world.processes[0], world.processes[0].get

    def given_away(kind: Kind, namespace: str, name: str) -> Document:
        found = read(kind, namespace, name)
        if kind is SERVICE_ROLLOUT and carries(found, A):
            asked(world, {"metadata": {"labels": B}})
        return found

    cluster.get = given_away  # type: ignore[method-assign]
    cluster.landed.clear()
    _raise(world)
    with pytest.raises(Conflict, match="has other labels now"):
        first.reconciler.reconcile(OBJECT, world.now)
    assert not cluster.landed
    assert world.exposed() == 60
    controlled(world, living=shards.living, until=lambda w: w.exposed() == 25, limit=5.0)
    assert world.exposed() == 25
    controlled(world, living=shards.living)
    shards.watcher.finished()
    assert cluster.landed <= {LEASE.name}


def test_it_may_come_back() -> None:
    shards = Shards(led=(0, 7))
    shards.moved(B, at=5)
    shards.moved(A, at=25)
    controlled(shards.world, living=shards.living, rest=5.0)
    shards.watcher.finished()
    assert conditions(shards.world)["Promoted"] == ("True", "Promoted")


def test_where_no_shard_has_it_it_stands_where_it_is() -> None:
    shards = Shards()
    shards.moved({"shard": "c"}, at=25)
    written = shards.world.cluster.get(SERVICE_ROLLOUT, *OBJECT)
    controlled(shards.world, living=shards.living, limit=120.0)
    assert shards.world.exposed() == 25
    assert shards.world.cluster.get(SERVICE_ROLLOUT, *OBJECT) == written
    asked(shards.world, {"metadata": {"labels": B}})
    controlled(shards.world, living=shards.living)
    shards.watcher.finished()


@pytest.mark.parametrize("part", range(4))
def test_whatever_happens_while_it_goes_to_and_fro(part: int) -> None:
    """Both may die, hear late or lose answers."""
    ends = []
    for seed in range(part, 40, 4):
        shards = Shards((Replica, CachedReplica)[seed % 2], [(0, 0), (7, 0), (0, 7)][seed % 3], 1.0, seed)
        world, dice = shards.world, shards.world.random

        def moves(w: World, shards: Shards = shards) -> None:
            attempt = w.attempt()
            if attempt and not attempt.phase.ended and dice.random() < 0.02:  # noqa: B023 - called at once
                asked(w, {"metadata": {"labels": dice.choice([A, B])}})  # noqa: B023

        controlled(world, lambda life, w=world: faults_of(w, life), moves, shards.living)  # type: ignore[misc]
        shards.watcher.finished()
        attempt = world.attempt()
        assert attempt is not None
        ends.append(attempt.phase)
    assert Phase.PROMOTED in ends
