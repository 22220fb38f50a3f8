"""What a promotion asks of the cluster, verb by verb: checked before the first write, and by `rollout check`."""

from collections.abc import Iterator

from rollout.core.attempt import Attempt
from rollout.core.documents import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    LEASE,
    POD,
    SECRET,
    SERVICE,
    SERVICE_ROLLOUT,
    VIRTUAL_SERVICE,
    Kind,
)
from rollout.core.errors import Forbidden
from rollout.ports import Cluster

Rights = tuple[tuple[Kind, tuple[str, ...]], ...]

RIGHTS: Rights = (
    (SERVICE, ("get",)),
    (POD, ("list",)),
    (ENDPOINT_SLICE, ("list",)),
    (VIRTUAL_SERVICE, ("get", "list", "patch")),
    (DESTINATION_RULE, ("list",)),
    (CONFIG_MAP, ("get", "create", "patch")),
    (LEASE, ("get", "create", "patch")),
)
"""Every promotion; a test holds this table against the calls of whole rollouts."""
FOR_SUBSETS: Rights = ((DESTINATION_RULE, ("create", "patch")),)
"""Only where subsets are missing."""
FOR_SECRETS: Rights = ((SECRET, ("get",)),)
"""Only where the strategy names URLs by the Secrets that keep them, and of those only."""
FOR_WARNINGS: Rights = ((SECRET, ("list",)),)
"""In the root namespace, of no need to a promotion: whether the mesh has other clusters, which do not see it."""
FOR_DRILLS: Rights = ((VIRTUAL_SERVICE, ("get", "patch", "create", "delete")),)
"""Only where the strategy has a step `fault`, in the namespace of the Service that it is on, or of ours."""
FOR_UNDO: Rights = ((DEPLOYMENT, ("list", "patch")),)
"""Only where `undo` must scale the old version up."""
ASKED: Rights = ((SERVICE_ROLLOUT, ("get", "list", "patch")),)
"""Where a ServiceRollout governs the service, its status too, which keeps the record in place of a ConfigMap."""
LEADS: Rights = ((LEASE, ("list",)),)
"""There, in the namespace of the controllers' Leases: whether one lives."""
FOR_RETIRING: Rights = ((SERVICE, ("list",)), (DEPLOYMENT, ("list", "patch")))
"""A controller, only where objects say `retire`."""
FOR_TRIGGERS: Rights = ((DEPLOYMENT, ("list",)),)
"""A controller, only where objects say `trigger: newVersion`."""
FOR_SCALING: Rights = ((DEPLOYMENT, ("list", "patch")), (AUTOSCALER, ("list", "patch")))
"""Only where `scale: auto` is asked for."""
CONTROLLED: Rights = (
    (SERVICE_ROLLOUT, ("get", "list", "patch")),
    *((kind, verbs) for kind, verbs in RIGHTS if kind not in (CONFIG_MAP, LEASE)),
    (CONFIG_MAP, ("get",)),
    (LEASE, ("get", "list")),
)
"""A controller, where its objects are: their status keeps the record, a ConfigMap may keep the strategy, and whoever
drives a service by hand holds a Lease there."""
LEADING: Rights = ((LEASE, ("get", "create", "patch")),)
"""A controller, in its own namespace."""


def pairs(rights: Rights) -> Iterator[tuple[Kind, str]]:
    """Each kind with each of its verbs."""
    for kind, verbs in rights:
        for verb in verbs:
            yield kind, verb


def demand(cluster: Cluster, attempt: Attempt, subsets: bool, governed: bool = False) -> None:
    """Raise `Forbidden`, naming every missing right, unless this attempt may do all it needs.

    `governed`: its record lies in the status of a ServiceRollout.
    """
    missing = []
    record = [one for one in RIGHTS if not (governed and one[0] is CONFIG_MAP)] + [*(ASKED if governed else ())]
    for kind, verb in (*pairs(tuple(record)), *(pairs(FOR_SUBSETS) if subsets else ())):
        spaces = [route.namespace for route in attempt.routes] if kind is VIRTUAL_SERVICE else [attempt.namespace]
        missing += [f"{verb} {kind.plural} in {n}" for n in dict.fromkeys(spaces) if not cluster.may(verb, kind, n)]
    for name in dict.fromkeys(where.secret for where in attempt.strategy.secrets):
        for kind, verb in pairs(FOR_SECRETS):
            if not cluster.may(verb, kind, attempt.namespace, name):
                missing.append(f"{verb} {kind.plural} {name} in {attempt.namespace}")
    missing += [one for one in _undrilled(cluster, attempt) if one not in missing]
    if missing:
        raise Forbidden(f"we may not {', '.join(missing)}; grant these rights (`rollout check` lists all it takes)")


def demand_drills(cluster: Cluster, attempt: Attempt) -> None:
    """Raise `Forbidden`, naming what is missing, unless the faults of the strategy, if any, may be put and removed."""
    if missing := _undrilled(cluster, attempt):
        raise Forbidden(
            f"the step `fault` needs rights that we do not have: {', '.join(missing)}; grant them (install the chart "
            "with `drills=true`), or leave the step out"
        )


def _undrilled(cluster: Cluster, attempt: Attempt) -> list[str]:
    spaces = dict.fromkeys(drill.namespace for drill in attempt.drills)
    every = [(verb, kind, space) for space in spaces for kind, verb in pairs(FOR_DRILLS)]
    return [f"{verb} {kind.plural} in {space}" for verb, kind, space in every if not cluster.may(verb, kind, space)]


def demand_scaling(cluster: Cluster, namespace: str) -> None:
    """Raise `Forbidden`, naming what is missing, unless workloads may be scaled there."""
    missing = [f"{verb} {kind.plural}" for kind, verb in pairs(FOR_SCALING) if not cluster.may(verb, kind, namespace)]
    if missing:
        raise Forbidden(
            f"scale: auto needs rights in {namespace} that we do not have: {', '.join(missing)}; grant them (to the "
            "controller by the chart's scaling.enabled=true), or leave it at scale: wait"
        )
