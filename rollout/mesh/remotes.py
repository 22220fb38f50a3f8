"""The other clusters of a mesh, by the Secrets through which istiod reaches them."""

from collections.abc import Iterable

from rollout.core.documents import Document, annotations_of, name_of

MARK = {"istio/multiCluster": "true"}
"""The label of such a Secret, in the root namespace (istiod's secret controller)."""
CLUSTER, PREFIX = "networking.istio.io/cluster", "istio-remote-secret-"
"""What `istioctl create-remote-secret` writes on it, and how it is called: the rest is the cluster's name."""


def clusters(secrets: Iterable[Document]) -> tuple[str, ...]:
    """Their names, in order, from the Secrets' metadata alone."""
    return tuple(sorted({annotations_of(one).get(CLUSTER) or name_of(one).removeprefix(PREFIX) for one in secrets}))


def warning(others: tuple[str, ...]) -> str:
    """What somebody who releases in one of several clusters has to know; empty in a mesh of one."""
    if not others:
        return ""
    return (
        f"istiod knows other clusters of this mesh: {', '.join(others)}; callers there obey the VirtualServices of "
        "their own cluster, so they do not see this rollout unless this istiod configures their proxies, too"
    )
