"""What Argo CD, Flux and `kubectl wait` make of a ServiceRollout, however its controller leaves it."""

from dataclasses import replace
from typing import Any

import pytest
from lupa.lua51 import LuaRuntime

from rollout.cli import health
from rollout.core.attempt import Attempt, Record
from rollout.core.documents import SERVICE_ROLLOUT, Document, version_of
from rollout.core.lifecycle import Phase
from rollout.engine.state import StatusShelf
from rollout.engine.status import Trouble
from tests.fakes.memory import MemoryCluster
from tests.unit.test_report import attempt

NOW = 2_000_000.0
OBJECT = (SERVICE_ROLLOUT, "shop", "ours")
BACK = replace(attempt(), cleaned=True)
PROMOTED = replace(BACK, phase=Phase.PROMOTED, reason=None, message="promoted")


def flying(phase: Phase) -> Attempt:
    return replace(attempt(), phase=phase, reason=None, message=f"it is {phase}", ended=0.0)


def made(**spec: Any) -> MemoryCluster:
    """A cluster with an object that no controller has seen yet."""
    cluster = MemoryCluster()
    whole = {"service": "reviews", "version": "v2", **spec}
    cluster.create(SERVICE_ROLLOUT, {"metadata": {"name": "ours", "namespace": "shop"}, "spec": whole})
    return cluster


def left(one: Attempt | None, trouble: Trouble | None = None, rests: bool = True, **spec: Any) -> MemoryCluster:
    """The object as its controller leaves it after it has recorded an attempt; at rest it tells what else is so."""
    cluster = made(**spec)
    shelf = StatusShelf(cluster, "ours", "shop", observing=True)
    shelf.load()
    if one is not None:
        shelf.keep(Record(one), NOW)
    shelf.trouble = trouble
    if one is None or (one.phase.ended and rests):
        shelf.tell(NOW)
    elif trouble is not None:
        shelf.keep(Record(one.noted(NOW, "on it goes")), NOW)
    return cluster


def written(cluster: MemoryCluster, subresource: str = "", **patch: Any) -> MemoryCluster:
    """The object once somebody else has written into it, before its controller has seen that."""
    cluster.patch(*OBJECT, patch, version_of(cluster.get(*OBJECT)), subresource)
    return cluster


def deleted(cluster: MemoryCluster) -> MemoryCluster:
    cluster.delete(*OBJECT, version_of(cluster.get(*OBJECT)))
    return cluster


V3 = {"version": "v3"}
WAITS = Trouble("Suspended", "spec.suspend: v2 is not begun", stalls=False)
WRONG = Trouble("InvalidSpec", "spec.strategy: no")
FAILED, MISSED = "rolled back: Breach: it fails", "the controller has not seen this spec yet"
BUSY, BACK_AGAIN, SERVES = ("Progressing", MISSED), ("Degraded", FAILED), ("Healthy", "v2 serves")
STATES: dict[str, tuple[MemoryCluster, tuple[str, str], str, bool]] = {
    **{f"in flight, {phase}": (left(flying(phase)), ("Progressing", f"it is {phase}"), "InProgress", False)
       for phase in Phase if not phase.ended},
    "wrong in the middle": (left(flying(Phase.SHIFTING), WRONG), ("Degraded", WRONG.message), "InProgress", False),
    "suspended in the middle": (
        left(flying(Phase.PAUSED), suspend=True), ("Progressing", "it is Paused"), "InProgress", False
    ),
    "deleted in the middle": (
        deleted(left(flying(Phase.SHIFTING))), ("Progressing", "it is Shifting"), "Terminating", False
    ),
    "promoted": (left(PROMOTED), SERVES, "Current", True),
    "it serves already": (left(None), SERVES, "Current", True),
    "another is asked for": (written(left(PROMOTED), spec=V3), BUSY, "InProgress", False),
    "another cannot begin": (left(PROMOTED, WRONG), ("Degraded", WRONG.message), "Failed", False),
    "suspended before it begins": (left(None, WAITS, suspend=True), ("Suspended", WAITS.message), "InProgress", False),
    "suspended at rest": (left(PROMOTED, suspend=True), ("Suspended", "v2 serves"), "Current", True),
    "went back": (left(BACK), BACK_AGAIN, "Failed", False),
    "went back, and the one before is asked for": (left(BACK, version="v1"), ("Healthy", "v1 serves"), "Current", True),
    "went back, and another is asked for": (written(left(BACK), spec=V3), BUSY, "InProgress", False),
    "went back, and another comes next": (left(BACK, rests=False, version="v3"), BUSY, "InProgress", False),
    "new": (made(), BUSY, "InProgress", False),
    "new, by a definition that is older": (written(made(), "status", status=None), BUSY, "Current", False),
}  # fmt: skip
"""Each with Argo CD's health, kstatus, and whether `kubectl wait --for=condition=Promoted` is over."""


def in_argo(one: Document) -> tuple[str, str]:
    """As Argo CD does: the script has the base library and that of tables."""
    runtime = LuaRuntime()
    known = runtime.globals()
    for name in ("string", "math", "io", "os", "debug", "package", "coroutine", "python"):
        known[name] = None
    known.obj = runtime.table_from(one, recursive=True)
    found = runtime.execute(health.SCRIPT)
    return found.status, found.message


WORST = {"Reconciling": "InProgress", "Stalled": "Failed"}


def kstatus(one: Document) -> str:
    """As cli-utils computes it for a kind that it does not know: the first condition that tells something counts."""
    metadata, status = one["metadata"], one.get("status") or {}
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    found = [(one["type"], one["status"]) for one in status.get("conditions") or []]
    worst = (WORST[kind] for kind, holds in found if kind in WORST and holds == "True")
    return next(worst, "Current" if dict(found).get("Ready", "True") == "True" else "InProgress")


def waited(one: Document, kind: str) -> bool:
    """As `kubectl wait` looks at a condition."""
    found = [told for told in (one.get("status") or {}).get("conditions") or [] if told["type"] == kind]
    return any(o["status"] == "True" and o["observedGeneration"] >= one["metadata"]["generation"] for o in found)


@pytest.mark.parametrize("name", STATES)
def test_what_others_make_of_it(name: str) -> None:
    cluster, argo, flux, over = STATES[name]
    one = cluster.get(*OBJECT)
    assert (in_argo(one), kstatus(one), waited(one, "Promoted")) == (argo, flux, over)
