"""Controllers in a virtual world: replicas that lead by turns, hear of changes late or never, die and begin anew."""

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from rollout.adapters.store import Key
from rollout.controller.controller import lease_name
from rollout.controller.leading import Leader
from rollout.controller.reconcile import NEVER, Reconciler, _rests, at_rest
from rollout.controller.reconcile import World as Shared
from rollout.core.attempt import Attempt
from rollout.core.decision import QUIET_BY
from rollout.core.documents import SERVICE_ROLLOUT, Document, going, name_of, version_of
from rollout.core.errors import RolloutError
from rollout.engine.lease import RENEW_EVERY
from rollout.engine.objects import RETRY
from rollout.engine.status import Trouble
from tests.simulation.invariants import Violation, Watcher
from tests.simulation.world import START, Crash, Faults, FaultyCluster, ProcessWebhooks, VirtualProbes, World
from tests.simulation.worlds import BAD, Outcome, events, faults_of, staff_of

OBJECT = ("shop", "reviews")
RESYNC = 60.0
"""Seconds after which a replica looks at everything, whatever it has heard."""
SPEC: Document = {
    "service": "reviews",
    "version": "v2",
    "strategy": {
        "bake": {"min": "6s", "max": "40s"},
        "inconclusive": "advanceNoted",
        "steps": [{"weight": 5}, {"weight": 25}, {"weight": 50}, {"weight": 100}],
        "confirm": "10s",
        "deadline": "400s",
        "checks": [{"errors": {}}],
    },
}


@dataclass
class Replica:
    """One process of the controller."""

    world: World
    name: str
    faults: Faults = field(default_factory=Faults)
    deaf: bool = False
    """Whether its watches are cut: it hears of nothing."""
    drains: bool = False
    """Whether it is there to take back what is in flight."""
    labels: dict[str, str] = field(default_factory=dict)
    """Of its shard's objects."""
    option: ClassVar[str] = "--controller"
    """Of `python -m tests.simulation`."""

    def __post_init__(self) -> None:
        cluster = FaultyCluster(self.world, self.faults)
        self.world.processes.append(cluster)
        shared = Shared(
            lambda _: cluster,
            self.world.metrics,
            lambda: ProcessWebhooks(self.world),
            lambda: VirtualProbes(self.world),
            lambda *_: lambda: None,
            labels=self.labels,
        )
        name = lease_name(self.labels)
        self.leader = Leader(cluster, "rollout-system", self.name, name=name, drains=self.drains)
        self.reconciler = Reconciler(shared, self.leader, self._changed, self._stalled)
        self.told: list[tuple[Attempt | None, Attempt | None]] = []
        self.stalls: list[tuple[str, Trouble]] = []
        """What was told of objects that are stalled."""
        self.renew_at, self.due, self.resync_at = 0.0, 0.0, self.world.now + RESYNC

    def _changed(self, document: Document, before: Attempt | None, after: Attempt | None) -> None:
        del document
        self.told.append((before, after))

    def _stalled(self, document: Document, trouble: Trouble) -> None:
        self.stalls.append((name_of(document), trouble))

    def hears(self, at: float) -> None:
        """Something changed that it may depend on."""
        if not self.deaf:
            self.due = min(self.due, at)

    def turn(self) -> None:
        """Whatever is due now. Raises `Crash`."""
        now = self.world.now
        if now >= self.renew_at:
            self.renew_at = now + (RENEW_EVERY if self.leader.renew(now) else 1.0)
        if now >= self.resync_at:
            self.due, self.resync_at = now, now + RESYNC
        if now >= self.due and self.leader.sure(now):
            self.due = NEVER  # what is heard of while it works counts
            self.due = min(self.due, now + self.reconciler.reconcile(OBJECT, now))


def replicas(
    world: World, faults: Callable[[int], Faults] = lambda _: Faults(), kind: type[Replica] = Replica
) -> list[Replica]:
    """Two of them, new."""
    return [kind(world, f"replica-{n}", faults(n)) for n in (1, 2)]


def controlled(
    world: World,
    faults: Callable[[int], Faults] = lambda _: Faults(),
    each: Callable[[World], None] = lambda _: None,
    living: list[Replica] | None = None,
    until: Callable[[World], bool] = lambda _: False,
    limit: float = 1500.0,
    rest: float = 0.0,
) -> None:
    """Run two replicas, or those that are `living`, until the object is at rest for `rest` seconds, or as is said."""
    living = [] if living is None else living
    if not living:
        living += replicas(world, faults)
    lives = itertools.count(len(world.processes) + 1)
    seen, limit, end = world.cluster.on_write, world.now + limit, world.now + rest

    def wrote(key: Key, before: Document | None, after: Document | None) -> None:
        if seen:
            seen(key, before, after)
        for one in living:
            one.hears(world.now + world.random.choice([0.0, 0.1, 2.0]) * world.trouble)

    world.cluster.on_write = wrote
    while world.now < limit and not until(world):
        if not _over(world):
            end = world.now + rest
        elif world.now >= end:
            break
        for place, one in enumerate(living):
            if not _outlives(world, one):
                life = next(lives)
                living[place] = type(one)(world, f"replica-{life}", faults(life), drains=one.drains, labels=one.labels)
                living[place].renew_at = world.now + 2.0
        each(world)
        world.pass_time(0.2)
    world.cluster.on_write = seen


def _outlives(world: World, one: Replica) -> bool:
    """Whether it lives after its turn."""
    try:
        one.turn()
    except Crash:
        world.log.append(f"{world.now - START:.0f}: {one.name} dies")
        return False
    except RolloutError as error:
        one.due = world.now + 1.0
        world.log.append(f"{world.now - START:.0f}: {one.name}: {error}")
    return True


def _over(world: World) -> bool:
    document = world.cluster.documents.get((SERVICE_ROLLOUT.name, *OBJECT))
    if document is None:
        return True
    return at_rest(document)


ACTS: tuple[Document, ...] = (
    {},
    {"mirror": {"percent": 50, "for": "8s", "safe": "reads"}},
    {"route": {"headers": {"beta": "yes"}, "percent": "20%", "sticky": "60s"}},
)
"""What may stand before the first weight."""


def storm(
    seed: int,
    kind: type[Replica] = Replica,
    staffed: bool = False,
    drained_at: float = math.inf,
    retires: bool = False,
) -> Outcome:
    """Run the controllers of a seed's world until nothing is left to do. Raises `Violation`: how to see it again.

    So many seconds after the start one more of them begins to drain. `retires`: what was replaced is retired, and all
    goes wrong only once there is such a version.
    """
    r = random.Random(seed)
    act = ACTS[seed % 3]
    strategy = {**SPEC["strategy"], "drift": {"gitopsManagers": ["argocd"]}}
    strategy["steps"] = [*([act] if act else []), *strategy["steps"]]
    spec = {**SPEC, "strategy": strategy, "scale": "auto" if staffed else "wait"}
    spec |= {"retire": {"after": "20s"}} if retires else {}
    staff = staff_of(seed) if staffed else {}
    crowd = random.Random(f"stragglers of {seed}")
    world = World(seed, trouble=r.choice([0.0, 0.5, 1.0, 2.0]), declared=spec, staff=staff)
    world.rps = r.choice([0, 3, 40, 120, 300]) if r.random() < 0.5 else 120
    world.failing["v2"] = BAD if r.random() < 0.3 else 0.0
    watcher = Watcher(world)
    if retires:
        _promoted(world, kind)
    living = replicas(world, lambda life: faults_of(world, life), kind)

    def each(w: World) -> None:
        events(w)
        _people(w)
        if staffed and crowd.random() < 0.01:
            w.metrics.stragglers[crowd.choice(["v1", "v2"])] = crowd.choice([0, 0, 1, 5])
        if w.now >= START + drained_at and not any(one.drains for one in living):
            living.append(kind(w, "drain", drains=True))
        for one in living:
            if w.random.random() < 0.002 * w.trouble:
                one.deaf = not one.deaf

    try:
        controlled(world, lambda life: faults_of(world, life), each, living, rest=60.0 * retires)
        world.metrics.stragglers = dict.fromkeys(world.metrics.stragglers, 0)
        world.trouble = world.metrics.down_until = world.metrics.garbage = 0.0
        world.set_ready("v1", 4)
        controlled(world, living=living, rest=5.0)
        watcher.settled()
        if retires:
            # Whoever takes over waits anew for what serves to be ready, and they still die now and then.
            controlled(world, living=living, until=_settled, limit=5000.0, rest=4 * QUIET_BY)
            watcher.settled()
            assert _settled(world), "I15: nobody decides what becomes of a version that was replaced"
    except (Violation, AssertionError) as error:
        story = "\n".join(world.log[-12:])
        drains = f" --drained-at {drained_at}" if drained_at < math.inf else ""
        again = f"python -m tests.simulation {kind.option}{drains} --from {seed} --seeds 1" + " --staffed" * staffed
        again += " --retires" * retires
        raise Violation(f"seed {seed}: {error}\n{story}\nsee it again: {again}") from error
    a = world.attempt()
    lives = len(world.processes)
    return Outcome(a.phase if a else None, str(a and a.reason), world.failing["v2"] > 0, lives, a.message if a else "")


def _promoted(world: World, kind: type[Replica]) -> None:
    """Bring it to an end in peace, good as it is."""
    trouble, world.trouble = world.trouble, 0.0
    world.rps, world.failing["v2"] = 120, 0.0
    calm = replicas(world, kind=kind)
    controlled(world, living=calm)
    world.trouble = trouble


def _settled(world: World) -> bool:
    """Whether it is decided what becomes of the versions that were replaced, or nobody wants to know."""
    document = world.cluster.documents.get((SERVICE_ROLLOUT.name, *OBJECT))
    return document is None or _rests(document, world.now) == NEVER


def _people(world: World) -> None:
    """What people do to the object."""
    r, k = world.random, world.trouble
    if world.now > START + 300:
        return
    document = world.cluster.documents.get((SERVICE_ROLLOUT.name, *OBJECT))
    if document is None or going(document):
        return
    attempt = world.attempt()
    for chance, change in (
        *(((0.0005, {"spec": {"version": "v1"}}),) if attempt and not attempt.phase.ended else ()),
        (0.0005, {"spec": {"version": "v2"}}),
        (0.001, {"spec": {"suspend": True}}),
        (0.01, {"spec": {"suspend": False}}),
        (0.0005, {"spec": {"strategy": {"steps": []}}}),
        (0.0005, {"metadata": {"annotations": {RETRY: "1"}}}),
        (0.0003, None),
    ):
        if r.random() < chance * k:
            world.log.append(f"{world.now - START:.0f}: {change or 'deleted'}")
            asked(world, change)
            return


def asked(world: World, change: Document | None) -> None:
    """Somebody changes the object, or deletes it."""
    version = version_of(world.cluster.get(SERVICE_ROLLOUT, *OBJECT))
    world.by_hand = True
    if change is None:
        world.cluster.delete(SERVICE_ROLLOUT, *OBJECT, version)
    else:
        world.cluster.patch(SERVICE_ROLLOUT, *OBJECT, change, version)
    world.by_hand = False
