"""Which Deployment begins a rollout by having appeared, and which never does."""

from typing import Any

import pytest

from rollout.core.documents import DEPLOYMENT, Document
from rollout.core.quantities import stamp
from rollout.mesh.appearing import appeared

SELECTOR = {"app": "reviews"}
SINCE = 1000.5


def deployment(version: str = "v2", created: float = 1002.0, **changes: Any) -> Document:
    """One that is ready, but for these changes of its status, and of what is named here."""
    labels = changes.pop("labels", {"app": "reviews", "version": version})
    metadata = {"name": f"reviews-{version}", "creationTimestamp": stamp(created), "generation": 2}
    ready = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3}
    return {
        "kind": DEPLOYMENT.name,
        "metadata": metadata | changes.pop("metadata", {}),
        "spec": {"replicas": changes.pop("wanted", 3), "template": {"metadata": {"labels": labels}}},
        "status": ready | changes,
    }


def found(*deployments: Document, tried: set[str] = set(), selector: dict[str, str] = SELECTOR) -> str:  # noqa: B006
    return appeared(deployments, selector, SINCE, tried)


def test_one_that_is_new_and_ready_is_found() -> None:
    assert found(deployment()) == "v2"
    assert found(deployment("v1", 10.0), deployment("v2"), deployment("v3", 1005.0)) == "v3"


OTHERS: dict[str, Document] = {
    "older": deployment(created=990.0),
    "of the same second": deployment(created=1000.0),
    "another service's": deployment(labels={"app": "ratings", "version": "v2"}),
    "without a version": deployment(labels={"app": "reviews"}),
    "with an empty version": deployment(labels={"app": "reviews", "version": ""}),
    "that is being deleted": deployment(metadata={"deletionTimestamp": stamp(1003.0)}),
    "with a pod that is not ready": deployment(readyReplicas=2),
    "with a pod of an older template": deployment(updatedReplicas=2),
    "with an older pod beside the new ones": deployment(replicas=4),
    "whose change nobody has seen": deployment(observedGeneration=1),
    "of no pods": deployment(wanted=0, replicas=0, updatedReplicas=0, readyReplicas=0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_one_begins_nothing(name: str) -> None:
    assert not found(OTHERS[name])


def test_what_was_tried_is_not_tried_again() -> None:
    assert not found(deployment(), tried={"v2"})


@pytest.mark.parametrize("youngest", [deployment("v3", 1005.0, readyReplicas=0), deployment("v1", 1005.0)])
def test_an_older_one_does_not_count_whatever_becomes_of_the_youngest(youngest: Document) -> None:
    assert not found(deployment("v2"), youngest, tried={"v1"})


def test_a_service_that_selects_nothing_has_no_deployments() -> None:
    assert not found(deployment(), selector={})
