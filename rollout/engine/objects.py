"""Which ServiceRollout asks for a service, if there is one."""

from rollout.core.documents import SERVICE_ROLLOUT, Document, age_of
from rollout.core.errors import Forbidden, NotFound
from rollout.ports import Cluster


def object_for(cluster: Cluster, service: str, namespace: str) -> Document | None:
    """The ServiceRollout of a Service: of several the oldest, which the controller obeys.

    None also where the kind is not served, or we may not list it. Raises `Unavailable`.
    """
    try:
        every = cluster.list(SERVICE_ROLLOUT, namespace)
    except (NotFound, Forbidden):
        return None
    return oldest(every, service)


def oldest(every: list[Document], service: str) -> Document | None:
    """The oldest of these that asks for a Service."""
    same = (one for one in every if (one.get("spec") or {}).get("service") == service)
    return min(same, key=age_of, default=None)
