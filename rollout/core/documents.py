"""Kubernetes documents as plain dictionaries, and the kinds that we touch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
"""A JSON object as the API gives it; never changed in place once read."""

MANAGER = "rollout"
"""The name under which we write (`metadata.managedFields`, labels)."""
MANAGED_BY = {"app.kubernetes.io/managed-by": MANAGER}


@dataclass(frozen=True)
class Kind:
    """One kind of object: `group` is empty for the core API; `versions` are those we can read, best first.

    `apart`: its status is written apart from the rest, by the subresource of that name, and the server counts the
    generations of the rest.
    """

    name: str
    plural: str
    group: str = ""
    versions: tuple[str, ...] = ("v1",)
    apart: bool = False

    def api_version(self, version: str = "") -> str:
        """The `apiVersion` of a document of this kind.

        >>> VIRTUAL_SERVICE.api_version()
        'networking.istio.io/v1'
        """
        version = version or self.versions[0]
        return f"{self.group}/{version}" if self.group else version


ISTIO_VERSIONS = ("v1", "v1beta1", "v1alpha3")
"""Istio serves one schema under three names for the networking kinds; older meshes lack the first."""

VIRTUAL_SERVICE = Kind("VirtualService", "virtualservices", "networking.istio.io", ISTIO_VERSIONS)
DESTINATION_RULE = Kind("DestinationRule", "destinationrules", "networking.istio.io", ISTIO_VERSIONS)
SERVICE = Kind("Service", "services")
POD = Kind("Pod", "pods")
CONFIG_MAP = Kind("ConfigMap", "configmaps")
ENDPOINT_SLICE = Kind("EndpointSlice", "endpointslices", "discovery.k8s.io")
DEPLOYMENT = Kind("Deployment", "deployments", "apps")
AUTOSCALER = Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling", ("v2",))
LEASE = Kind("Lease", "leases", "coordination.k8s.io")
SECRET = Kind("Secret", "secrets")
EVENT = Kind("Event", "events")
SERVICE_ROLLOUT = Kind("ServiceRollout", "servicerollouts", "rollout.dev", ("v1alpha1",), apart=True)
UNSEEN: Document = {"observedGeneration": -1}
"""The status of a ServiceRollout that no controller has seen: one without would pass for done, by kstatus."""

KINDS = {
    kind.name: kind
    for kind in (
        VIRTUAL_SERVICE,
        DESTINATION_RULE,
        SERVICE,
        POD,
        CONFIG_MAP,
        ENDPOINT_SLICE,
        DEPLOYMENT,
        AUTOSCALER,
        LEASE,
        SECRET,
        SERVICE_ROLLOUT,
    )
}


def copied(value: Any) -> Any:
    """A deep copy of a JSON value, several times faster than `copy.deepcopy`."""
    if isinstance(value, dict):
        return {key: copied(below) for key, below in value.items()}
    return [copied(below) for below in value] if isinstance(value, list) else value


def name_of(document: Document) -> str:
    """The object's name."""
    return str(document["metadata"]["name"])


def namespace_of(document: Document) -> str:
    """The object's namespace; `default` where it names none."""
    return str(document["metadata"].get("namespace", "default"))


def version_of(document: Document) -> str:
    """The object's resourceVersion, which guards every write."""
    return str(document["metadata"].get("resourceVersion", ""))


def labels_of(document: Document) -> dict[str, str]:
    """The object's labels."""
    return dict(document["metadata"].get("labels") or {})


def annotations_of(document: Document) -> dict[str, str]:
    """The object's annotations."""
    return dict(document["metadata"].get("annotations") or {})


def selector_of(service: Document) -> dict[str, str]:
    """The labels by which a Service selects its pods; none: it selects none by itself."""
    return dict((service.get("spec") or {}).get("selector") or {})


def finalizers_of(document: Document) -> list[str]:
    """Who must be done with the object before it can go."""
    return list(document["metadata"].get("finalizers") or [])


def going(document: Document) -> bool:
    """Whether the object was deleted, and stands only as long as a finalizer does."""
    return bool(document["metadata"].get("deletionTimestamp"))


def gone(document: Document) -> bool:
    """Whether this is how the object stood when the last finalizer let it go."""
    return going(document) and not finalizers_of(document)


def carries(document: Document, labels: Mapping[str, str]) -> bool:
    """Whether the object has all of these labels."""
    return labels.items() <= labels_of(document).items()


def age_of(document: Document) -> tuple[str, str]:
    """Sorts the oldest first, as Istio and we tell which of two comes first; of one second, by name."""
    return str(document["metadata"].get("creationTimestamp", "")), name_of(document)


def ref(kind: Kind, document: Document) -> str:
    """The object as people name it.

    >>> ref(SERVICE, {"metadata": {"name": "reviews", "namespace": "shop"}})
    'Service shop/reviews'
    """
    return f"{kind.name} {namespace_of(document)}/{name_of(document)}"
