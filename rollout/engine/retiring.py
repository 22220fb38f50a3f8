"""A version that was replaced: whether it may be retired, and which Deployment that is."""

from rollout.core.attempt import Attempt
from rollout.core.decision import QUIET_BY
from rollout.core.documents import (
    DEPLOYMENT,
    DESTINATION_RULE,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    labels_of,
    name_of,
    namespace_of,
    ref,
    selector_of,
    version_of,
)
from rollout.core.errors import Forbidden, InvalidInput
from rollout.engine.looking import Eyes
from rollout.engine.lookup import Pods, everywhere, obeyed, other_clusters, pods_of, ports_of, routing_to
from rollout.engine.survey import known_service
from rollout.mesh.hosts import covers, fqdn
from rollout.mesh.routes import reaching
from rollout.mesh.subsets import LABEL, host_of, labels_for, subsets_of
from rollout.mesh.workloads import ASLEEP, behind, template
from rollout.ports import Cluster, Target

RIGHTS_BY = "for the next one install the chart with `scaling.enabled=true`"
LOOK_EVERY = 15.0
"""Seconds between two looks at whether requests still come."""


class Retiring:
    """What stands in the way of retiring versions of one service. Kept is since when we look, and what was seen."""

    def __init__(self, cluster: Cluster, eyes: Eyes, service: str, namespace: str) -> None:
        self._cluster, self._eyes = cluster, eyes
        self._service, self._namespace, self._host = service, namespace, fqdn(service, namespace)
        self._since: dict[tuple[str, str], float] = {}
        self._came: dict[tuple[str, str], bool] = {}

    def deployment(self, version: str, serving: str) -> Document | None:
        """What makes the version's pods, and no others; None where it has none at all any more.

        Raises `InvalidInput` where it is not one Deployment, `Forbidden`.
        """
        service = known_service(self._cluster, self._service, self._namespace)
        old, new = self._labels(service, version, serving)
        try:
            every = self._cluster.list(DEPLOYMENT, self._namespace)
        except Forbidden as error:
            raise Forbidden(f"{error}; {RIGHTS_BY}") from error
        found = [one.deployment for one in behind(every, (), old)]
        if not found and not pods_of(self._cluster, service).of(old).pods:
            return None
        if len(found) != 1:
            names = " and ".join(ref(DEPLOYMENT, one) for one in found)
            raise InvalidInput(f"{names} make pods of it" if found else "no Deployment makes pods of it")
        if found[0] in [one.deployment for one in behind(every, (), new)]:
            raise InvalidInput(f"{ref(DEPLOYMENT, found[0])} makes pods of {serving}, too")
        return found[0]

    def _labels(self, service: Document, *versions: str) -> list[dict[str, str]]:
        """What tells each version's pods from all others."""
        rules = obeyed(self._cluster, self._host, self._namespace)
        return [{**selector_of(service), **labels_for(rules, one)} for one in versions]

    def wait(self, a: Attempt, version: str, deployment: Document, now: float, at_once: bool) -> float:
        """Seconds until we look again whether requests come to it; 0: none does. Raises `InvalidInput`: it is needed.

        It waits for what serves to be ready, too, and for neither for ever. Where nobody tells for long the routes have
        to do alone, if all of them are known; `at_once`, what is seen now.
        """
        every, whole = everywhere(self._cluster, VIRTUAL_SERVICE, self._namespace)
        labels = labels_of(template(deployment))
        names = (version, *self._named(labels))
        for vs in every:
            for name in names:
                if keys := reaching(vs, self._host, name):
                    raise InvalidInput(f"{ref(VIRTUAL_SERVICE, vs)} leads to it ({keys[0]})")
        service = known_service(self._cluster, self._service, self._namespace)
        (new,) = self._labels(service, a.canary)
        serving = pods_of(self._cluster, service).of(new)
        self._alone(labels, serving, every)
        since = a.ended if at_once else self._since.setdefault((a.id, version), now)
        target = Target(self._host, self._namespace, ports_of(service), a.counted[1], labels.get(LABEL, version))
        reached = self._eyes.reached(target, since)
        if reached is None:  # silence does not tell that they have stopped
            reached = self._came.get((a.id, version))
        else:
            self._came[a.id, version] = reached
        if (reached is not False or not serving.ready) and not at_once and now - since < QUIET_BY:
            return LOOK_EVERY
        if not serving.ready:
            raise InvalidInput(f"no endpoint of {a.canary} is ready")
        if reached:
            raise InvalidInput("requests still come to it")
        if reached is None and not whole:
            raise InvalidInput(f"nobody counts requests, and no routes but those of {self._namespace} are known")
        if reached is None and (others := other_clusters(self._cluster)):
            raise InvalidInput(f"nobody counts requests, and the routes of {', '.join(others)} are not known")
        return 0.0

    def _named(self, labels: dict[str, str]) -> set[str]:
        """The subsets, of whatever name, that such pods belong to for some client."""
        rules, _ = everywhere(self._cluster, DESTINATION_RULE, self._namespace)
        subsets = (one for rule in rules if covers(host_of(rule), self._host) for one in subsets_of(rule))
        return {str(one.get("name", "")) for one in subsets if (one.get("labels") or {}).items() <= labels.items()}

    def _alone(self, labels: dict[str, str], serving: Pods, every: list[Document]) -> None:
        """Raise `InvalidInput` where another Service needs such pods: by routes of its own, or for want of others."""
        for other in self._cluster.list(SERVICE, self._namespace):
            selector = selector_of(other)
            if name_of(other) == self._service or not selector or not selector.items() <= labels.items():
                continue
            if not serving.of(selector).pods or routing_to(every, fqdn(name_of(other), self._namespace)):
                raise InvalidInput(f"{ref(SERVICE, other)} selects its pods, too")

    def retire(self, deployment: Document) -> None:
        """Scale to 0 what was read. Raises `Conflict` where it changed since, `Forbidden`."""
        where = (DEPLOYMENT, namespace_of(deployment), name_of(deployment))
        try:
            self._cluster.patch(*where, ASLEEP, version_of(deployment))
        except Forbidden as error:
            raise Forbidden(f"{error}; {RIGHTS_BY}") from error
