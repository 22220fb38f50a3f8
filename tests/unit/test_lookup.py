"""What the engine reads of pods: who is ready, since when, how often it restarted, and for want of what."""

from typing import Any

import pytest

from rollout.core.documents import ENDPOINT_SLICE, POD, SERVICE, Document
from rollout.engine.lookup import pods_of
from tests.fakes.memory import MemoryCluster

LABELS = {"app": "reviews", "version": "v2"}
START, SOON, MUCH_LATER = "2026-11-25T10:00:00Z", "2026-11-25T10:00:40Z", "2026-11-25T11:00:00Z"


def document(name: str, **rest: Any) -> Document:
    return {"metadata": {"name": name, "namespace": "shop", **rest.pop("metadata", {})}, **rest}


@pytest.mark.parametrize(("ready_at", "seconds"), [(SOON, 40), (MUCH_LATER, 0), (None, 0)])
def test_a_pod_serves_since_it_first_was_ready(ready_at: str | None, seconds: int) -> None:
    """Readiness that came back an hour after the start is no start."""
    cluster = MemoryCluster()
    killed = {"terminated": {"reason": "OOMKilled"}}
    statuses = [
        {"name": "reviews", "restartCount": 2, "lastState": killed},
        {"name": "cache", "restartCount": 1, "lastState": {"terminated": {"reason": "Error"}}},
        {"name": "istio-proxy", "restartCount": 9, "lastState": killed},
    ]
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": ready_at}] if ready_at else []
    status = {"startTime": START, "conditions": conditions, "containerStatuses": statuses}
    cluster.create(POD, document("v2-0", metadata={"labels": LABELS}, status=status))
    endpoints = [{"targetRef": {"name": "v2-0"}, "conditions": {"ready": True}}]
    labels = {"kubernetes.io/service-name": "reviews"}
    cluster.create(ENDPOINT_SLICE, document("reviews-1", metadata={"labels": labels}, endpoints=endpoints))
    service = cluster.create(SERVICE, document("reviews", spec={"selector": {"app": "reviews"}}))
    pods = pods_of(cluster, service)
    assert (pods.ready, pods.restarts, pods.starved, pods.youngest - 1795600800) == (1, 3, 1, seconds)
