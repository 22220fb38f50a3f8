"""Which routes with a match are named: on the command line, else in the ServiceRollout; and which names are refused."""

from collections.abc import Callable, Sequence

from rollout.adapters.spelling.service_rollout import declared
from rollout.core.errors import Forbidden, InvalidInput
from rollout.engine.objects import object_seen
from rollout.ports import Cluster


def in_force(cluster: Cluster, service: str, namespace: str, names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """These names, or where there is none the object's, and what people should know of that, or nothing."""
    if names:
        return tuple(names), ""
    try:
        document = object_seen(cluster, service, namespace)
        return (declared(document).names if document else ()), ""
    except (Forbidden, InvalidInput) as error:
        return (), f"whether a ServiceRollout names routes that move though they have a match is not known: {error}"


def refused(names: Sequence[str], demand: Callable[[str], object]) -> dict[str, InvalidInput]:
    """Those of the names that `demand` refuses, and why."""
    found = {}
    for name in names:
        try:
            demand(name)
        except InvalidInput as error:
            found[name] = error
    return found
