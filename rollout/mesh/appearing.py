"""Which version asks to be rolled out by having appeared: the youngest Deployment of a Service decides. Pure."""

from collections.abc import Collection, Iterable, Mapping

from rollout.core.documents import Document, age_of, carries, going, labels_of
from rollout.core.quantities import moment
from rollout.mesh.subsets import LABEL
from rollout.mesh.workloads import number, template


def appeared(deployments: Iterable[Document], selector: Mapping[str, str], since: float, tried: Collection[str]) -> str:
    """The version of the youngest Deployment that the Service selects, where it is new and ready; otherwise empty.

    New is what was created after the second `since` and is no version that was `tried`. No older Deployment than the
    youngest ever counts, ready or not: what lies about is nobody's wish.
    """
    ours = (one for one in deployments if _made(one, selector).get(LABEL) and not going(one))
    youngest = max(ours, key=age_of, default=None) if selector else None
    if youngest is None or moment(youngest["metadata"].get("creationTimestamp")) < int(since) + 1:
        return ""
    version = _made(youngest, selector)[LABEL]
    return version if version not in tried and _ready(youngest) else ""


def _made(deployment: Document, selector: Mapping[str, str]) -> dict[str, str]:
    """The labels of its pods, if these are the Service's."""
    pods = template(deployment)
    return labels_of(pods) if carries(pods, selector) else {}


def _ready(deployment: Document) -> bool:
    """Whether it has all its pods, of this very template, and one at least."""
    status, wanted = deployment.get("status") or {}, number(deployment)
    seen = int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
    counts = [int(status.get(key) or 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
    return seen and wanted > 0 and counts == [wanted] * 3
