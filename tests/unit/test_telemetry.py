"""What the controller tells of itself over HTTP, and when it takes itself for ill, or not ready."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection

import pytest

from rollout.adapters import clock
from rollout.controller.backoff import delay
from rollout.controller.controller import IN_FLIGHT, RETRY, SELDOM, Controller, Settings
from rollout.controller.telemetry import STALE, Server, Telemetry
from rollout.core.documents import SERVICE_ROLLOUT, Document
from rollout.core.errors import Unavailable
from rollout.core.lifecycle import Phase, Reason
from tests.fakes.memory import WatchedMemory
from tests.simulation.world import ProcessWebhooks, VirtualProbes, World
from tests.unit.test_report import attempt


@dataclass
class Served:
    """A controller that was not started, with its server and the server's clock."""

    cluster: WatchedMemory = field(default_factory=WatchedMemory)

    def __post_init__(self) -> None:
        world, self.telemetry = World(1), Telemetry()
        hooks = (lambda: ProcessWebhooks(world), lambda: VirtualProbes(world))
        settings = Settings("rollout-system", workers=3)
        self.controller = Controller(self.cluster, world.metrics, *hooks, settings, "us", self.telemetry)
        self.now = clock.now()
        self.server = Server(self.controller, self.telemetry, 0, lambda: self.now)

    def ask(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=5)
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def list_all(self) -> None:
        for scope in self.controller._scopes():
            self.controller.cache.cover(scope)
            self.controller.cache.replaced(scope, *self.cluster.listing(scope.kind, scope.namespace))

    def told(self, name: str) -> list[str]:
        return [line for line in self.ask("metrics")[1].splitlines() if line.startswith(name)]


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.stop()


def test_one_worker_that_does_not_come_back_is_an_illness_though_others_work(served: Served) -> None:
    assert served.ask("healthz") == (200, "ok\n")
    served.now += STALE + 1.0
    assert served.ask("healthz") == (503, "a worker has not looked for work\n")
    served.controller._beats[:2] = [served.now] * 2
    assert served.ask("healthz")[0] == 503
    served.controller._beats[2] = served.now
    assert served.ask("healthz")[0] == 200
    assert served.ask("else") == (404, "not found\n")


def test_every_worker_looks_for_work_again_and_again(served: Served) -> None:
    began = clock.now()
    served.controller.start()
    try:
        until(lambda: served.controller.beat > began)
        after = served.controller.beat
        until(lambda: served.controller.beat > after)
        assert len(served.controller._beats) == 3
    finally:
        served.controller.stop()


def until(there: Callable[[], bool], within: float = 10) -> None:
    end = time.monotonic() + within
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_it_is_not_ready_before_all_is_listed(served: Served) -> None:
    assert served.ask("readyz") == (503, "not all that is watched has been listed\n")
    served.list_all()
    assert served.ask("readyz") == (200, "ok\n")
    served.controller.cache.doubted(next(iter(served.controller._scopes())))
    assert served.ask("readyz")[0] == 503


def stalled(name: str, reason: str) -> Document:
    conditions = [
        {"type": "Ready", "status": "False", "reason": "Preflight", "message": "why"},
        {"type": "Stalled", "status": str(bool(reason)), "reason": reason or "None", "message": "why"},
    ]
    return {"metadata": {"name": name, "namespace": "shop"}, "status": {"conditions": conditions}}


def test_what_is_stalled_is_told_by_who_leads(served: Served) -> None:
    for name, reason in (("a", "Preflight"), ("b", ""), ("c", "InvalidSpec")):
        served.cluster._write((SERVICE_ROLLOUT.name, "shop", name), stalled(name, reason))
    served.list_all()
    assert served.told("rollout_stalled{") == []
    assert served.controller.leader.renew(clock.now())
    asked = list(served.cluster.asked)
    assert served.told("rollout_stalled{") == [
        'rollout_stalled{name="a",namespace="shop",reason="Preflight"} 1.0',
        'rollout_stalled{name="c",namespace="shop",reason="InvalidSpec"} 1.0',
    ]
    assert served.cluster.asked == asked
    served.controller.cache.refused(served.controller._scopes()[0], "we may not")
    assert served.told("rollout_stalled{") == []


@pytest.mark.parametrize("reason", Reason)
def test_only_harm_that_was_found_is_reacted_to(reason: Reason) -> None:
    telemetry = Telemetry()
    flying = replace(attempt(), phase=Phase.SHIFTING, reason=None)
    back = replace(flying, phase=Phase.ROLLING_BACK, reason=reason)
    for before, after in ((None, back), (flying, flying), (flying, back), (back, back), (back, attempt())):
        telemetry.changed(before, after, 0.02)
    found = 1.0 if reason is Reason.BREACH else 0.0
    assert telemetry.registry.get_sample_value("rollout_reaction_seconds_count") == found
    assert telemetry.registry.get_sample_value("rollout_reaction_seconds_sum") == 0.02 * found
    ended = telemetry.registry.get_sample_value("rollout_attempts_total", {"phase": "RolledBack", "reason": "Breach"})
    assert ended == 1.0


# How soon what failed is tried again


@pytest.mark.parametrize(("flies", "most"), [(True, IN_FLIGHT), (False, SELDOM)])
def test_what_fails_is_tried_ever_more_seldom(served: Served, flies: bool, most: float) -> None:
    fails, key = True, ("shop", "a")

    class Failing:
        def reconcile(self, *_: object) -> float:
            if fails:
                raise Unavailable("no answer")
            return 7.0

        def flies(self, _: object) -> bool:
            return flies

    served.controller.reconciler = Failing()  # type: ignore[assignment]
    waits = [served.controller._reconciled(key) for _ in range(12)]
    assert waits == [delay(RETRY, most, time + 1, "shop/a") for time in range(12)]
    fails = False
    assert served.controller._reconciled(key) == 7.0
    fails = True
    assert served.controller._reconciled(key) == waits[0], "it begins anew"


def test_delays_double_up_to_the_most_and_are_spread() -> None:
    for times, whole in enumerate((1.0, 2.0, 4.0, 5.0, 5.0), 1):
        spread = [delay(1.0, 5.0, times, f"shop/{n}") for n in range(200)]
        assert 0.8 * whole <= min(spread) < 0.82 * whole
        assert 0.98 * whole < max(spread) <= whole
    assert delay(1.0, 5.0, 10_000, "shop/a") <= 5.0
