"""A version that was replaced: whether it may be retired, and which Deployment that is."""

from rollout.core.attempt import Attempt
from rollout.core.decision import QUIET_BY
from rollout.core.documents import (
    DEPLOYMENT,
    VIRTUAL_SERVICE,
    Document,
    labels_of,
    name_of,
    namespace_of,
    ref,
    version_of,
)
from rollout.core.errors import Forbidden, InvalidInput
from rollout.engine.looking import Eyes
from rollout.engine.lookup import everywhere, obeyed, pods_of, ports_of
from rollout.engine.survey import known_service
from rollout.mesh.hosts import fqdn
from rollout.mesh.routes import reaching
from rollout.mesh.subsets import LABEL, labels_for
from rollout.mesh.workloads import ASLEEP, behind, template
from rollout.ports import Cluster, Target

LOOK_EVERY = 15.0
"""Seconds between two looks at whether requests still come."""


class Retiring:
    """What stands in the way of retiring versions of one service. What is kept here is since when we look."""

    def __init__(self, cluster: Cluster, eyes: Eyes, service: str, namespace: str) -> None:
        self._cluster, self._eyes = cluster, eyes
        self._service, self._namespace, self._host = service, namespace, fqdn(service, namespace)
        self._since: dict[tuple[str, str], float] = {}

    def deployment(self, version: str, serving: str) -> Document:
        """What makes the version's pods, and no others. Raises `InvalidInput` where there is no such, `Forbidden`."""
        service = known_service(self._cluster, self._service, self._namespace)
        old, new = (self._labels(service, one) for one in (version, serving))
        try:
            every = self._cluster.list(DEPLOYMENT, self._namespace)
        except Forbidden as error:
            raise Forbidden(f"{error}; install the chart with `scaling.enabled=true`") from error
        found = [one.deployment for one in behind(every, (), old)]
        if len(found) != 1:
            names = " and ".join(ref(DEPLOYMENT, one) for one in found)
            raise InvalidInput(f"{names} make pods of it" if found else "no Deployment makes pods of it")
        if found[0] in [one.deployment for one in behind(every, (), new)]:
            raise InvalidInput(f"{ref(DEPLOYMENT, found[0])} makes pods of {serving}, too")
        return found[0]

    def _labels(self, service: Document, version: str) -> dict[str, str]:
        """What tells a version's pods from all others."""
        selector = (service.get("spec") or {}).get("selector") or {}
        return {**selector, **labels_for(obeyed(self._cluster, self._host, self._namespace), version)}

    def wait(self, a: Attempt, version: str, deployment: Document, now: float, at_once: bool) -> float:
        """Seconds until we look again whether requests come to it; 0: none does. Raises `InvalidInput`: it is needed.

        Where nobody tells for long the routes alone have to do, if all of them are known; `at_once`, what is seen now.
        """
        every, whole = everywhere(self._cluster, VIRTUAL_SERVICE, self._namespace)
        for vs in every:
            if keys := reaching(vs, self._host, version):
                raise InvalidInput(f"{ref(VIRTUAL_SERVICE, vs)} leads to it ({keys[0]})")
        service = known_service(self._cluster, self._service, self._namespace)
        if not pods_of(self._cluster, service).of(self._labels(service, a.canary)).ready:
            raise InvalidInput(f"no endpoint of {a.canary} is ready")
        since = a.ended if at_once else self._since.setdefault((a.id, version), now)
        label = labels_of(template(deployment)).get(LABEL, version)
        target = Target(self._host, self._namespace, ports_of(service), a.counted[1], label)
        reached = self._eyes.reached(target, since)
        if reached is not False and not at_once and now - since < QUIET_BY:
            return LOOK_EVERY
        if reached:
            raise InvalidInput("requests still come to it")
        if reached is None and not whole:
            raise InvalidInput(f"nobody counts requests, and no routes but those of {self._namespace} are known")
        return 0.0

    def retire(self, deployment: Document) -> None:
        """Scale to 0 what was read. Raises `Conflict` where it changed since."""
        where = (DEPLOYMENT, namespace_of(deployment), name_of(deployment))
        self._cluster.patch(*where, ASLEEP, version_of(deployment))
