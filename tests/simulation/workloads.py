"""The Deployment controller and the autoscaler of a virtual world: replicas become pods by and by."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rollout.adapters.store import Key
from rollout.core.documents import AUTOSCALER, DEPLOYMENT, POD, Document, Kind

if TYPE_CHECKING:
    from tests.simulation.world import World

STARTS_IN, SYNCS_EVERY = 3.0, 5.0
"""Seconds until a pod is ready, and between two decisions of an autoscaler."""


@dataclass(frozen=True)
class Staff:
    """How many replicas a version has at first, and, where it has an autoscaler, the least and the most of that."""

    replicas: int = 4
    scaler: tuple[int, int] | None = None


class Workloads:
    """A Deployment for each version. `healthy` is how many of its pods become ready at most."""

    def __init__(self, world: "World", staff: Mapping[str, Staff]) -> None:
        self.world, self.staff = world, staff
        self.healthy = dict.fromkeys(staff, 4)
        self.acting = False
        """Whether what is written now is written by these controllers."""
        self._born: dict[str, float] = {}
        for version, one in staff.items():
            labels = {"app": "reviews", "version": version}
            spec = {"replicas": one.replicas, "template": {"metadata": {"labels": labels}}}
            self._create(DEPLOYMENT, version, spec)
            if one.scaler:
                target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"reviews-{version}"}
                least, most = one.scaler
                spec = {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most}
                self._create(AUTOSCALER, version, spec)
            self._pods(version, world.now - STARTS_IN)

    def _create(self, kind: Kind, version: str, spec: Document) -> None:
        metadata = {"name": f"reviews-{version}", "namespace": "shop"}
        document = {"apiVersion": kind.api_version(), "kind": kind.name, "metadata": metadata, "spec": spec}
        self.world.cluster.create(kind, document)

    def document(self, kind: Kind, version: str) -> Document | None:
        return self.world.cluster.documents.get(_key(kind, version))

    def replicas(self, version: str) -> int:
        document = self.document(DEPLOYMENT, version)
        return int(document["spec"]["replicas"]) if document else 0

    def least(self, version: str) -> int:
        document = self.document(AUTOSCALER, version)
        return int(document["spec"]["minReplicas"]) if document else 0

    def second(self) -> None:
        """What the controllers do in a second."""
        self.acting = True
        for version in self.staff:
            if self.world.now % SYNCS_EVERY == 0:
                self._autoscale(version)
            self._pods(version, self.world.now)
        self.acting = False
        self.count()

    def count(self) -> None:
        """Who is ready now."""
        for version in self.staff:
            old = [born for name, born in self._born.items() if name.startswith(f"reviews-{version}-")]
            ready = min(self.healthy[version], sum(self.world.now - born >= STARTS_IN for born in old))
            if self.world.ready[version] != ready:
                self.world.ready[version] = ready
                self.world.endpoints()

    def _autoscale(self, version: str) -> None:
        """As many as its requests ask for, between its bounds; none is left at 0."""
        scaler, document = self.document(AUTOSCALER, version), self.document(DEPLOYMENT, version)
        if scaler is None or document is None or not self.replicas(version):
            return
        share = float(self.world.exposed()) / 100
        want = math.ceil(4 * (share if version == "v2" else 1 - share))
        want = min(max(want, int(scaler["spec"]["minReplicas"])), int(scaler["spec"]["maxReplicas"]))
        if want != self.replicas(version):
            changed = {**document, "spec": {**document["spec"], "replicas": want}}
            self.world.write_by_hand(_key(DEPLOYMENT, version), changed)

    def _pods(self, version: str, now: float) -> None:
        """Pods come and go at once; ready they are later."""
        wanted = [f"reviews-{version}-{i}" for i in range(self.replicas(version))]
        there = [name for name in self._born if name.startswith(f"reviews-{version}-")]
        for name in set(there) - set(wanted):
            del self._born[name]
            self.world.write_by_hand((POD.name, "shop", name), None)
        for name in (one for one in wanted if one not in there):
            self._born[name] = now
            metadata = {"name": name, "namespace": "shop", "labels": {"app": "reviews", "version": version}}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
            self.world.write_by_hand((POD.name, "shop", name), pod)

    def scale(self, kind: Kind, version: str, count: int) -> None:
        """Somebody sets a number by hand."""
        document = self.document(kind, version)
        field = "replicas" if kind is DEPLOYMENT else "minReplicas"
        if document is not None:
            changed = {**document, "spec": {**document["spec"], field: count}}
            self.world.write_by_hand(_key(kind, version), changed)


def _key(kind: Kind, version: str) -> Key:
    return (kind.name, "shop", f"reviews-{version}")
