"""A controller that is asked to end finishes the write that is under way, begins no other, and hands over."""

import threading
import time
from typing import Any

import pytest

from rollout.adapters import clock
from rollout.controller import controller as controllers
from rollout.controller.controller import Controller, Settings
from rollout.controller.leading import Leader
from rollout.controller.telemetry import Telemetry
from rollout.core.documents import DESTINATION_RULE, LEASE, SERVICE_ROLLOUT, VIRTUAL_SERVICE, Document, Kind
from rollout.engine.lease import CONTROLLER, holder_of
from tests.fakes.memory import WatchedMemory
from tests.unit.test_survey import BOTH, Shop, to

HOME = "rollout-system"
NOBODY: Any = None
SPEC: Document = {
    "service": "reviews",
    "version": "v2",
    "strategy": {"bake": "1s", "confirm": "1s", "checks": [], "steps": [{"weight": 50}, {"weight": 100}]},
}


class Slow(WatchedMemory):
    """Takes its time over the first write that gives the canary anything."""

    def __init__(self) -> None:
        super().__init__()
        shop = Shop({"v1": 1, "v2": 1}, to("v1"), BOTH)
        self.documents, self._count = shop.cluster.documents, shop.cluster._count
        written = {"manager": "us", "time": "2020-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}}
        rule = self.documents[DESTINATION_RULE.name, "shop", "reviews"]
        rule["metadata"]["managedFields"] = [written]  # long ago: the proxies have it
        self.create(SERVICE_ROLLOUT, {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": SPEC})
        self.asked_for, self.may_land = threading.Event(), threading.Event()

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Document, version: str, subresource: str = ""
    ) -> Document:
        if kind is VIRTUAL_SERVICE and shares(patch).get("v2"):
            self.asked_for.set()
            assert self.may_land.wait(10.0)
        return super().patch(kind, namespace, name, patch, version, subresource)

    @property
    def holder(self) -> str:
        return holder_of(self.get(LEASE, HOME, CONTROLLER))


def shares(vs: Document) -> dict[str, int]:
    """What each version gets by the last route of a VirtualService, or of a patch; nothing where that has none."""
    routes = vs.get("spec", {}).get("http", [{}])
    return {one["destination"]["subset"]: one["weight"] for one in routes[-1].get("route", [])}


def test_a_write_that_is_under_way_lands_before_anybody_else_may_lead() -> None:
    cluster = Slow()
    controller = Controller(
        cluster, NOBODY, lambda: NOBODY, lambda: NOBODY, Settings(HOME, workers=2), "one", Telemetry()
    )
    controller.start()
    stopping = threading.Thread(target=controller.stop, daemon=True)
    try:
        assert cluster.asked_for.wait(10.0)
        stopping.start()
        stopping.join(0.5)
        assert stopping.is_alive()
        assert cluster.holder == "one"
    finally:
        cluster.may_land.set()
    stopping.join(5.0)
    assert not stopping.is_alive()
    assert shares(cluster.get(VIRTUAL_SERVICE, "shop", "reviews")) == {"v1": 50, "v2": 50}
    assert cluster.get(SERVICE_ROLLOUT, "shop", "reviews")["status"]["weight"] == 50
    assert cluster.holder == ""
    landed = [event.key[0] for event in cluster.history]
    assert landed[-2:] == [VIRTUAL_SERVICE.name, LEASE.name], "the lead went after it, and nothing else came"
    time.sleep(1.5)  # the bake is over
    assert len(cluster.history) == len(landed)
    assert Leader(cluster, HOME, "two").renew(clock.now())


def test_those_that_hang_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other they would outlast a pod's grace period. What they write may land yet: the lead is kept."""
    monkeypatch.setattr(controllers, "LEAVING", 0.5)
    cluster = Slow()
    controller = Controller(
        cluster, NOBODY, lambda: NOBODY, lambda: NOBODY, Settings(HOME, workers=1), "one", Telemetry()
    )
    assert controller.leader.renew(clock.now())
    over = threading.Event()

    def hangs() -> None:
        over.wait(30.0)

    for number in range(6):
        controller._run(f"hangs {number}", hangs)
    began = time.monotonic()
    controller.stop()
    assert 0.5 <= time.monotonic() - began < 1.0
    assert cluster.holder == "one"
    over.set()
