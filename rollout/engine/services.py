"""The counters of two Services, read as those of two versions of one."""

from collections.abc import Iterator
from dataclasses import replace

from rollout.core.query import Points
from rollout.engine.past import PODS
from rollout.judge.looks import Series, Snapshot
from rollout.ports import Asked, Edges, Metrics, Settled, Target


class ByService:
    """A Metrics port for targets whose `stable` and `canary` are hosts of Services: those tell the two apart.

    What the pods carry as `version` does not matter: under Flagger both carry the same, or nothing. Only the clients'
    proxies know which host a route chose; a pod's own names any Service that selects it, so those are not asked.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def snapshots(self, target: Target, start: float, end: float, step: float, edges: Edges = ()) -> list[Snapshot]:
        """See the port."""
        both = [self._metrics.snapshots(one, start, end, step, edges) for one in _each(target)]
        return [_both(target, *snapshots) for snapshots in zip(*both, strict=True)]

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        """See the port."""
        return {target: self._settled(target, edges, at) for target, edges in asked.items()}

    def _settled(self, target: Target, edges: Edges, at: float) -> Settled:
        both = (self._metrics.settled({one: edges}, at)[one] for one in _each(target))
        snapshots, horizons = zip(*both, strict=True)
        return _both(target, *snapshots), min((one for one in horizons if one is not None), default=None)

    def horizon(self, target: Target) -> float | None:
        """See the port."""
        if target.reporter == PODS:
            return None
        horizons = (self._metrics.horizon(one) for one in _each(target))
        return min((one for one in horizons if one is not None), default=None)

    def interval(self, target: Target) -> float | None:
        """See the port."""
        return max((often for one in _each(target) if (often := self._metrics.interval(one))), default=None)

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        """See the port."""
        return self._metrics.values(promql, start, end, step)


def _each(target: Target) -> Iterator[Target]:
    """Stable's Service and the canary's, each with all its versions."""
    for host in (target.stable, target.canary):
        yield replace(target, service=host, namespace=host.split(".")[1], ports=(), stable="", canary="")


def _both(target: Target, stable: Snapshot, canary: Snapshot) -> Snapshot:
    return Snapshot(stable.at, _of(stable, target.stable) | _of(canary, target.canary))


def _of(snapshot: Snapshot, version: str) -> dict[Series, float]:
    """The counters of one Service, all as this version's: it was chosen even where no pod of it was."""
    found: dict[Series, float] = {}
    for series, count in snapshot.counters.items():
        one = series._replace(version=version)
        found[one] = found.get(one, 0.0) + count
    return found
