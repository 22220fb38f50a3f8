"""Objects that cannot be obeyed: each says why and in which field, once, and hinders no other."""

from rollout.controller.backoff import delay
from rollout.controller.reconcile import AGAIN, SELDOM
from rollout.core.documents import VIRTUAL_SERVICE
from tests.simulation.replicas import OBJECT, SPEC, asked, replicas
from tests.simulation.world import World


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
