"""A rollout that moves a delegate: Git has the root, which nobody touches, whatever dies when."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from rollout.core.documents import VIRTUAL_SERVICE, Document
from rollout.core.errors import InvalidInput
from rollout.core.lifecycle import Phase
from rollout.core.strategy import Bake, Step
from rollout.mesh.delegates import split
from tests.simulation.invariants import Watcher
from tests.simulation.test_worlds import ENDS, FAULTS
from tests.simulation.world import HOST, Faults, World, drive, mirroring, of_ours, routing, strategy

FAST: dict[str, Any] = {"steps": tuple(Step(Decimal(w), Bake(2.0, 20.0)) for w in (25, 100)), "confirm": 2.0}
ROOT = (VIRTUAL_SERVICE.name, "shop", "front")


def delegating(failing: float = 0.0, **changes: Any) -> World:
    """A world whose VirtualService is the delegate of another, as `rollout gitops --delegate` prints the two."""
    world = World(seed=7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=strategy(**(FAST | changes)))
    whole = world.virtual_service()
    root, (delegate,) = split({**whole, "metadata": {"name": "front", "namespace": "shop"}}, HOST)
    delegate["metadata"]["name"] = root["spec"]["http"][-1]["delegate"]["name"] = "reviews"
    world.write_by_hand(ROOT, root)
    world.write_by_hand((VIRTUAL_SERVICE.name, "shop", "reviews"), delegate)
    return world


def played(world: World, faults: Faults | None = None) -> Phase:
    watcher, root = Watcher(world), world.cluster.documents[ROOT]
    drive(world, lambda life: faults if faults and life == 1 else Faults(), lambda _: None)
    watcher.finished()
    assert world.cluster.documents[ROOT] == root
    attempt = world.attempt()
    assert attempt is not None
    return attempt.phase


@pytest.mark.parametrize(("failing", "end"), ENDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_a_call_changes_no_end(fault: str, failing: float, end: Phase) -> None:
    whole = delegating(failing)
    assert played(whole) is end
    for call in range(1 + len(fault) % 41, whole.processes[0].calls, 41):
        assert played(delegating(failing), FAULTS[fault](call)) is end, f"at call {call}"


@pytest.mark.parametrize("first", [mirroring(seconds=4.0), routing()])
def test_routes_of_ours_stand_in_the_delegate(first: Step) -> None:
    world = delegating(steps=(first, *FAST["steps"]))
    seen = []
    watcher = Watcher(world)
    drive(world, lambda _: Faults(), lambda w: seen.append(len(of_ours(w.virtual_service()))))
    watcher.finished()
    assert max(seen) == 1


def edit(world: World, change: Callable[[Document], None]) -> None:
    root = world.cluster.get(VIRTUAL_SERVICE, "shop", "front")
    change(root)
    world.write_by_hand(ROOT, root)


def test_a_root_beside_whose_route_ours_cannot_stand_is_refused_for_that_step_alone() -> None:
    for key, value in (("match", [{"uri": {"prefix": "/a"}}]), ("mirror", {"host": "ratings"})):
        for first in (mirroring(seconds=4.0), routing()):
            world = delegating(steps=(first, *FAST["steps"]))
            edit(world, lambda root: root["spec"]["http"][-1].update({key: value}))  # noqa: B023 - called at once
            with pytest.raises(InvalidInput, match=f"shop/front delegates to .* by a route with `{key}`"):
                world.engine("one", Faults()).examine(world.request(), world.now)
        world = delegating()
        edit(world, lambda root: root["spec"]["http"][-1].update({key: value}))  # noqa: B023
        assert played(world) is Phase.PROMOTED


def test_a_delegate_whose_root_is_elsewhere_or_ignored_is_refused() -> None:
    world = delegating()
    edit(world, lambda root: root["spec"]["http"][-1]["delegate"].update({"namespace": "elsewhere"}))
    with pytest.raises(InvalidInput, match="no VirtualService delegates to it"):
        world.engine("one", Faults()).examine(world.request(), world.now)
    world = delegating()
    other = world.cluster.get(VIRTUAL_SERVICE, "shop", "front")
    other["metadata"]["name"] = "older"
    world.write_by_hand((VIRTUAL_SERVICE.name, "shop", "older"), other)
    with pytest.raises(InvalidInput, match="both claim"):
        world.engine("one", Faults()).examine(world.request(), world.now)
