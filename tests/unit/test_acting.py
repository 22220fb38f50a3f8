"""What our writes to a VirtualService do where somebody else writes it all the time."""

import pytest

from rollout.core.documents import VIRTUAL_SERVICE, Document, annotations_of, copied, labels_of
from rollout.core.errors import Conflict
from rollout.engine.acting import KEEN, Hands
from rollout.mesh.claims import annotation
from tests.fakes.memory import MemoryCluster

CLAIMED = {"name": "reviews", "namespace": "shop", "annotations": {annotation("reviews", "shop"): "ours"}}
ROUTE = {"route": [{"destination": {"host": "reviews", "subset": "v1"}}]}


class Busy(MemoryCluster):
    """Before each of so many patches somebody else makes a change; else one of a label."""

    def __init__(self, change: Document, times: int) -> None:
        super().__init__()
        self.change, self.times, self.asked = change, times, 0

    def patch(self, kind, namespace, name, patch, version, subresource=""):  # type: ignore[no-untyped-def]
        self.asked += 1
        if self.asked <= self.times:
            there = self.get(kind, namespace, name)
            labels = {"metadata": {"labels": {"noise": str(self.asked)}}}
            super().patch(kind, namespace, name, self.change or labels, there["metadata"]["resourceVersion"])
        return super().patch(kind, namespace, name, patch, version, subresource)


NOISE: Document = {}


@pytest.mark.parametrize(
    ("change", "times", "asked"),
    [
        (NOISE, 0, 1),
        (NOISE, KEEN, KEEN + 1),
        (NOISE, KEEN + 1, None),
        ({"spec": {"http": [{**ROUTE, "timeout": "9s"}]}}, 1, None),
        ({"metadata": {"annotations": {annotation("reviews", "shop"): "another's"}}}, 1, None),
    ],
    ids=["alone", "noise", "no end of it", "a route", "a claim"],
)
def test_what_does_not_concern_us_is_no_conflict(change: Document, times: int, asked: int | None) -> None:
    cluster = Busy(change, times)
    read = cluster.create(
        VIRTUAL_SERVICE, {"metadata": copied(CLAIMED), "spec": {"hosts": ["reviews"], "http": [ROUTE]}}
    )
    hands = Hands(cluster, "reviews", "shop")
    if asked is None:
        with pytest.raises(Conflict):
            hands.unclaim(read)
        return
    hands.unclaim(read)
    assert cluster.asked == asked
    left = cluster.get(VIRTUAL_SERVICE, "shop", "reviews")
    assert not annotations_of(left)
    assert labels_of(left) == ({"noise": str(times)} if times else {}), "what they wrote is kept"
