"""A replica as it is in a cluster: it reads what watches keep, which come late, are cut, and must begin anew."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from rollout.controller.cache import Cache, CachedCluster, Changed, Scope
from rollout.controller.reconcile import Key, Reconciler
from rollout.controller.reconcile import World as Shared
from rollout.core.documents import (
    DEPLOYMENT,
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    SERVICE,
    SERVICE_ROLLOUT,
    VIRTUAL_SERVICE,
)
from rollout.ports import Cluster
from tests.simulation.replicas import OBJECT, Replica
from tests.simulation.world import ProcessWebhooks, VirtualProbes

AT_ONCE = {POD, ENDPOINT_SLICE, DESTINATION_RULE, VIRTUAL_SERVICE}
"""Kinds whose watches are cut, but never late here: the invariants know only how the mesh is now. An edit by hand that
we hear of when the attempt has ended is one that was made afterwards, to us."""
SCOPES = [Scope.of(kind) for kind in (SERVICE, DESTINATION_RULE, VIRTUAL_SERVICE)]
IN_FLIGHT = [
    Scope.of(POD, "shop", {"app": "reviews"}),
    Scope.of(ENDPOINT_SLICE, "shop", {"kubernetes.io/service-name": "reviews"}),
]
"""Followed only while something is in flight."""
DEPLOYMENTS = Scope.of(DEPLOYMENT)
"""Followed as soon as an object waits for new versions."""
NOTICED = 1.5
"""Seconds until a watch that was cut has failed twice."""


@dataclass
class Stream:
    """One watch: how many of the cluster's writes it has told, and since when it is cut."""

    scope: Scope
    told: int = 0
    late: list[float] = field(default_factory=list)
    cut: float = 0.0


class CachedReplica(Replica):
    """Woken by the cache alone; its reads are those of `CachedCluster`."""

    option = "--cached"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.random = random.Random(f"{self.world.random.random()}")
        self.cache = Cache(self._heard)
        self.view = CachedCluster(self.world.processes[-1], self.cache, "reviews")
        shared = Shared(
            self._fresh,
            self.world.metrics,
            lambda: ProcessWebhooks(self.world),
            lambda: VirtualProbes(self.world),
            self._follow,
            self._deployments,
            labels=self.labels,
        )
        self.reconciler = Reconciler(shared, self.leader, self._changed, self._stalled)
        self.streams: list[Stream] = []
        self._start([Scope.of(SERVICE_ROLLOUT, None, self.labels), *SCOPES])

    def hears(self, at: float) -> None:
        """Not by word of mouth."""

    def turn(self) -> None:
        for stream in self.streams:
            self._listen(stream)
        super().turn()

    def _fresh(self, key: Key) -> Cluster:
        assert key == OBJECT
        self.view.fresh()
        return self.view

    def _start(self, scopes: list[Scope]) -> None:
        for scope in scopes:
            stream = Stream(scope)
            self.cache.cover(scope)
            self._list(stream)
            self.streams.append(stream)

    def _follow(self, cluster: Cluster, namespace: str, service: str) -> Callable[[], None]:
        del cluster
        assert (namespace, service) == OBJECT
        self._start(IN_FLIGHT)

        def unfollow() -> None:
            self.streams = [one for one in self.streams if one.scope not in IN_FLIGHT]
            for scope in IN_FLIGHT:
                self.cache.forget(scope)

        return unfollow

    def _deployments(self, namespace: str) -> None:
        assert namespace == OBJECT[0]
        if not any(one.scope == DEPLOYMENTS for one in self.streams):
            self._start([DEPLOYMENTS])

    def _heard(self, change: Changed) -> None:
        ours = change.key == (SERVICE_ROLLOUT.name, *OBJECT) and change.writer != "reviews"
        if ours or "reviews" in change.readers:
            self.due = min(self.due, self.world.now)

    def _list(self, stream: Stream) -> None:
        scope, cluster = stream.scope, self.world.cluster
        self.cache.replaced(scope, *cluster.listing(scope.kind, scope.namespace, dict(scope.labels)))
        stream.told, stream.late, stream.cut = len(cluster.history), [], 0.0

    def _listen(self, stream: Stream) -> None:
        """Hear what has come by now; it is cut sometimes, and then goes on where it was, or has missed too much."""
        now, trouble = self.world.now, self.world.trouble
        noticed = now - stream.cut > NOTICED * (stream.scope.kind not in AT_ONCE)
        if stream.cut and noticed and self.cache.synced(stream.scope):
            self.cache.doubted(stream.scope)
        if stream.cut and not self.deaf and self.random.random() < 0.2:
            stream.cut = 0.0
            if self.random.random() < 0.5:
                self._list(stream)
        elif not stream.cut and (self.deaf or self.random.random() < 0.002 * trouble):
            stream.cut = now
            if stream.scope.kind in AT_ONCE:
                self.cache.doubted(stream.scope)
        if stream.cut:
            return
        history = self.world.cluster.history
        while len(stream.late) < len(history) - stream.told:
            late = 0.0 if stream.scope.kind in AT_ONCE else self.random.choice([0.0, 0.1, 2.0]) * trouble
            stream.late.append(max(now + late, *stream.late[-1:], 0.0))
        while stream.late and stream.late[0] <= now:
            change = history[stream.told].told(stream.scope.kind, stream.scope.namespace, dict(stream.scope.labels))
            stream.told += 1
            stream.late.pop(0)
            if change is not None:
                self.cache.changed(stream.scope, change)
