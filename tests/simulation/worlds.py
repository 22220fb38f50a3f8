"""What goes wrong in the world of a seed: faults of calls, edits by people, pods, metrics, clocks, rivals."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rollout.adapters.strategy_files import load
from rollout.core.attempt import Attempt, Word
from rollout.core.documents import AUTOSCALER, DEPLOYMENT, DESTINATION_RULE, LEASE, Document, copied
from rollout.core.errors import RolloutError
from rollout.core.lifecycle import Phase, Reason
from rollout.core.query import Hook
from rollout.core.strategy import Bake, Safe, Strategy
from rollout.engine.engine import Engine
from rollout.ports import Question
from tests.simulation.invariants import Violation, Watcher
from tests.simulation.workloads import Staff
from tests.simulation.world import (
    AHEAD,
    API,
    AT_API,
    EDGE,
    START,
    Crash,
    Faults,
    World,
    drilling,
    drive,
    for_all,
    mirroring,
    of_ours,
    probing,
    routing,
    strategy,
)

BAD = 0.08
TO_V1: Document = {"host": "reviews", "subset": "v1"}
ODD = [{"uri": {"prefix": "/odd"}}]
"""What a tester's rule matches."""
TOLD = "https://slack.example/"
SPEED = {"ab-test": 20, "blue-green": 10, "canary": 5, "cautious": 50, "dark-launch": 10, "fault-drill": 5}
"""With which the shortest bakes of the presets last six seconds."""


@dataclass(frozen=True)
class Outcome:
    """How a world ended."""

    phase: Phase | None
    reason: str
    bad: bool
    lives: int
    text: str


def play(
    seed: int,
    preset: str = "",
    failing: float | None = None,
    staffed: bool = False,
    named: bool = False,
    beside: bool = False,
) -> Outcome:
    """Run the world of a seed to its end. Raises `Violation` with the way to see it again.

    With `preset` the rollout takes its steps, and a person lets it through each gate; with `failing` the canary fails
    so many requests (0 to 1), whatever the seed says. `staffed`: the canary is scaled as it goes. `named`: the route
    for everybody has a match. `beside`: routes with a match beside it are named, which lose their names by and by.
    """
    world = _world(seed, staff_of(seed) if staffed else {}, named, beside_of(seed) if beside else {})
    world.strategy = shortened(preset) if preset else world.strategy
    world.failing["v2"] = world.failing["v2"] if failing is None else failing
    watcher = Watcher(world)
    rival = world.engine("rival", Faults(stale=0.1, crash=0.002))

    def each(w: World) -> None:
        approve(w)
        events(w)
        if w.random.random() < 0.03 * w.trouble and w.attempt() is not None:
            try:
                rival.tick(w.now)
            except RolloutError:
                pass
            except Crash:
                w.log.append("the rival dies")

    try:
        lives = drive(world, lambda life: faults_of(world, life), each)
        if world.attempt() is not None:
            _end(world)
            watcher.finished()
    except (Violation, AssertionError) as error:
        story = "\n".join(world.log[-12:])
        again = f"python -m tests.simulation --from {seed} --seeds 1"
        again += (
            f" --preset {preset}" * bool(preset)
            + f" --failing {failing}" * (failing is not None)
            + " --staffed" * staffed
            + " --named" * named
            + " --beside" * beside
        )
        raise Violation(f"seed {seed}: {error}\n{story}\nsee it again: {again}") from error
    attempt = world.attempt()
    if attempt is None:
        return Outcome(Phase.PREFLIGHT, "refused", False, 1, "refused before anything was written")
    return Outcome(attempt.phase, attempt.reason or "", world.failing["v2"] > 0, lives, attempt.message)


def played(
    world: World, each: Callable[[World], None] = lambda world: None, first: Faults | None = None
) -> tuple[Attempt, str]:
    """Run a world to its end, its first process with these faults: the attempt, and its journal as one text."""
    watcher = Watcher(world)
    drive(world, lambda life: first if first and life == 1 else Faults(), each)
    watcher.finished()
    attempt = world.attempt()
    assert attempt is not None
    return attempt, "\n".join(entry.text for entry in attempt.journal)


def shortened(preset: str) -> Strategy:
    """A preset that is over in some minutes; it needs as much evidence as ever."""
    quick = load(preset).faster(SPEED[preset])
    steps = tuple(replace(step, act=replace(step.fault, on="ratings")) if step.fault else step for step in quick.steps)
    return replace(quick, steps=steps, look=2.0, propagation=3.0, deadline=400.0, gitops_managers=("argocd",))


def approve(world: World) -> None:
    """A person says yes to whoever waits for one."""
    attempt = world.attempt()
    if attempt and attempt.phase is Phase.WAITING and attempt.waits_for_person and attempt.word is None:
        try:
            world.engine("person", Faults()).answer(Word(True, "ann"), world.now)
        except RolloutError as error:
            world.log.append(f"{world.now - START:.0f}: nobody hears the yes: {error!r}")


def staff_of(seed: int) -> dict[str, Staff]:
    """What makes the pods in a world in which the canary is scaled."""
    r = random.Random(f"staff of {seed}")
    stable = Staff(4, r.choice([None, (1, 4), (2, 4)]))
    return {"v1": stable, "v2": Staff(r.choice([0, 0, 1, 4]), r.choice([None, None, (1, 4), (1, 4), (1, 2)]))}


def beside_of(seed: int) -> dict[str, Any]:
    """Which routes are named: one that moves, one that is there already, one at a gateway; or v2 serves before."""
    return ({"beside": (API,)}, {"beside": (API, AHEAD)}, {"beside": (API,), "edge": True}, {"edge": True}, {
        "beside": (API,), "behind": True, "edge": seed % 2 > 0,
    })[seed % 5]  # fmt: skip


def _world(seed: int, staff: dict[str, Staff], named: bool, beside: dict[str, Any]) -> World:
    world = World(seed, strategy=strategy(gitops_managers=("argocd",)), staff=staff, named=named, **beside)
    r = world.random
    world.trouble = r.choice([0.0, 0.5, 1.0, 2.0])
    world.rps = r.choice([0, 3, 40, 120, 300]) if r.random() < 0.5 else 120
    world.failing["v2"] = BAD if r.random() < 0.3 else 0.0
    if r.random() < 0.2:
        world.outage = (START + 30, START + 45)
    if seed % 3 == 0:
        first = mirroring(r.choice([10, 50, 100]), r.choice(list(Safe)))
        world.strategy = replace(world.strategy, steps=(first, *world.strategy.steps))
    elif seed % 3 == 1:
        first = routing(r.choice([0, 5]), r.choice([0.0, 60.0]))
        rest = world.strategy.steps[1:] if first.weight else world.strategy.steps
        world.strategy = replace(world.strategy, steps=(first, *rest))
    elif seed % 9 == 2:
        world.probes.missing["v2"] = 0.5 if world.failing["v2"] else 0.0
        rest = world.strategy.steps[r.choice([0, 1]) :]
        first = probing(0 if len(rest) == 4 else 5, Bake(0.0, 60.0))
        world.strategy = replace(world.strategy, steps=(first, *rest))
    elif seed % 9 == 5:
        world.probes.fragile = bool(world.failing["v2"])
        world.with_ratings(r.choice([None, [{"route": [{"destination": {"host": "ratings"}}]}]]))
        world.strategy = replace(world.strategy, steps=(drilling(), *world.strategy.steps))
    else:
        _hooked(world)
    return world


def _hooked(world: World) -> None:
    """A webhook check that says yes, says nothing for a while, fails or says no, and is right again in the end.

    And one where people are told, of which some messages are lost.
    """
    r, k = random.Random(world.seed), world.trouble
    world.strategy = replace(world.strategy, queries=(Hook("freeze", "https://ask.example/"),), notify=TOLD)
    world.webhooks.outcome = lambda message: (True, "no answer" if r.random() < 0.2 * k else "")

    def answer(question: Question) -> Word | str | None:
        no, silence, error = (r.random() < 0.1 * k for _ in range(3))
        if world.now > START + 250 or not (no or silence or error):
            return Word(True, "ask.example")
        return Word(False, "ask.example", "not now") if no else None if silence else "ask.example does not answer"

    world.webhooks.check = answer


def faults_of(world: World, life: int) -> Faults:
    k = world.trouble if life < 12 else 0.0
    return Faults(unavailable=0.01 * k, lost_reply=0.02 * k, conflict=0.03 * k, stale=0.01 * k, crash=0.0015 * k)


def events(world: World) -> None:
    r, k = world.random, world.trouble
    if world.now > START + 350:
        world.set_ready("v1", 4) if world.ready["v1"] < 4 else None
        _served(world)
        return
    for chance, event in (
        (0.003, _raise), (0.002, _lower), (0.004, _timeout), (0.002, _reapply), (0.004, _pods), (0.004, _metrics),
        (0.002, _clock), (0.001, _subset_gone), (0.001, _lease_gone), (0.0003, _record_gone), (0.0003, _record_damaged),
        (0.001, _abort), (0.01, _resume), (0.003, _whole), (0.0005, _elsewhere),
        *(((0.01, _ours_gone), (0.005, _ours_bent)) if world.strategy.steps[0].act else ()),
        *(((0.005, _scaled),) if world.staff else ()),
        *(((0.004, _renamed), (0.003, _twice), (0.03, _told_apart)) if world.beside or world.edge else ()),
    ):  # fmt: skip
        if r.random() < chance * k:
            world.log.append(f"{world.now - START:.0f}: {event.__name__}")
            event(world)


def _weights(world: World, canary: int, manager: str) -> None:
    """Somebody sets the weights of all routes for everybody, or of one of them alone."""
    alone = world.random.random() < 0.5

    def change(vs: dict) -> None:  # type: ignore[type-arg]
        moving = [route for route in vs["spec"]["http"] if for_all(route)]
        for route in moving[-1:] if alone else moving:
            for entry in route["route"]:
                if len(route["route"]) > 1:
                    entry["weight"] = canary if entry["destination"].get("subset") == "v2" else 100 - canary

    world.edit(change, manager)


def _raise(world: World) -> None:
    _weights(world, 60, "kubectl")


def _lower(world: World) -> None:
    _weights(world, 0, "kubectl")


def _timeout(world: World) -> None:
    value = f"{world.random.randint(1, 9)}s"
    world.edit(lambda vs: vs["spec"]["http"][-1].update({"timeout": value}))


def _reapply(world: World) -> None:
    _weights(world, 0, "argocd")


def _whole(world: World) -> None:
    """GitOps writes the list as it has it, without a trace of us."""
    world.edit(lambda vs: vs["spec"].update({"http": copied(world.routes)}), "argocd")


def _elsewhere(world: World) -> None:
    """The route for everybody goes to another service: what we copied from it must not go on."""
    away = [{"destination": {"host": "maintenance"}}]
    world.edit(lambda vs: vs["spec"]["http"][-1].update({"route": away}))


def _places(world: World) -> list[str]:
    """The VirtualServices with a route of API."""
    return (["reviews"] if API in world.beside else []) + ([EDGE] if world.edge else [])


def _renamed(world: World) -> None:
    """The route of API is called otherwise, with the weights that it has, or as Git has it.

    Not where another is called so too: nobody could tell that the name has gone from one to the other.
    """
    whole = world.random.random() < 0.5

    def change(vs: Document) -> None:
        for route in (route for route in vs["spec"]["http"] if route.get("match") == AT_API["match"]):
            if ODD not in [one.get("match") for one in vs["spec"]["http"]] and not str(
                route.get("name", "")
            ).startswith("rollout.dev/"):
                route.update({"name": "another"} | ({"route": [{"destination": TO_V1}]} if whole else {}))

    world.edit(change, "argocd", world.random.choice(_places(world)))


def _twice(world: World) -> None:
    """A tester's rule is called as the route of API."""
    odd = {"name": API, "match": ODD, "route": [{"destination": {**TO_V1, "subset": "v2"}}]}

    def change(vs: Document) -> None:
        if API in [route.get("name") for route in vs["spec"]["http"]]:
            vs["spec"]["http"].insert(0, odd)

    world.edit(change, name=world.random.choice(_places(world)))


def _told_apart(world: World) -> None:
    """The route of API alone is called so again, wherever it is not."""

    def change(vs: Document) -> None:
        vs["spec"]["http"] = [r for r in vs["spec"]["http"] if r.get("match") != ODD]
        for route in vs["spec"]["http"]:
            if route.get("name") == "another":
                route["name"] = API

    for place in _places(world):
        world.edit(change, name=place)


def _ours_gone(world: World) -> None:
    world.edit(lambda vs: vs["spec"].update({"http": [r for r in vs["spec"]["http"] if r not in of_ours(vs)]}))


def _ours_bent(world: World) -> None:
    """Somebody makes our copy another than its original."""

    def change(vs: Document) -> None:
        for route in of_ours(vs):
            route["timeout"] = "77s"

    world.edit(change)


def _pods(world: World) -> None:
    world.set_ready(world.random.choice(["v1", "v2"]), world.random.choice([0, 1, 2, 4, 4]))


def _scaled(world: World) -> None:
    """Somebody scales by hand: an autoscaler's least, or a Deployment; one with an autoscaler they can only stop."""
    version, count = world.random.choice(["v1", "v2"]), world.random.choice([0, 1, 2, 4])
    if world.staff[version].scaler:
        kind, count = (AUTOSCALER, max(count, 1)) if count else (DEPLOYMENT, 0)
        world.workloads.scale(kind, version, count)
    else:
        world.workloads.scale(DEPLOYMENT, version, count)


def _served(world: World) -> None:
    """Somebody sees to it that stable has pods."""
    if world.staff and not world.workloads.replicas("v1"):
        world.workloads.scale(DEPLOYMENT, "v1", 4)


def _metrics(world: World) -> None:
    world.metrics.down_until = world.now + world.random.choice([5, 60])
    world.metrics.garbage = world.random.choice([0.0, 0.0, 0.2])


def _clock(world: World) -> None:
    world.pass_time(world.random.choice([20.0, 90.0]))


def _subset_gone(world: World) -> None:
    rule = world.cluster.get(DESTINATION_RULE, "shop", "reviews")
    rule["spec"]["subsets"] = [s for s in rule["spec"]["subsets"] if s["name"] != "v2"]
    world.write_by_hand((DESTINATION_RULE.name, "shop", "reviews"), rule)


def _lease_gone(world: World) -> None:
    for key in [key for key in world.cluster.documents if key[0] == LEASE.name]:
        world.write_by_hand(key, None)


def _record_gone(world: World) -> None:
    world.spoil_record(None)


def _record_damaged(world: World) -> None:
    world.spoil_record("{")


def _abort(world: World) -> None:
    world.aborting = True
    _second(world, lambda engine: engine.take_back(Reason.ABORTED, "asked", world.now))
    world.aborting = False


def _resume(world: World) -> None:
    _second(world, lambda engine: engine.resume(world.now))


def _second(world: World, act: Callable[[Engine], object]) -> None:
    """Another process does something without the lease, with the faults of its own calls."""
    try:
        act(world.engine("second", faults_of(world, 1)))
    except (RolloutError, Crash) as error:
        world.log.append(f"{world.now - START:.0f}: the second process fails: {error!r}")


def _end(world: World) -> None:
    """The storm is over: one more healthy process must bring any attempt to its end."""
    world.trouble = 0.0
    world.metrics.down_until = world.metrics.garbage = 0.0
    world.set_ready("v1", 4)
    _served(world)
    engine = world.engine("last", Faults())
    for _ in range(2000):
        tick = engine.tick(world.now)
        if tick.attempt is None or (tick.attempt.phase.ended and tick.attempt.cleaned):
            return
        world.pass_time(max(0.5, min(tick.after, 5.0)))
