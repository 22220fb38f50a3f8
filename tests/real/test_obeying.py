"""`rollout promote` and its like where a ServiceRollout governs, with the controller as its own process."""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from rollout.core.documents import SERVICE_ROLLOUT, VIRTUAL_SERVICE, annotations_of
from rollout.engine.rights import ASKED, LEADS, RIGHTS, pairs
from rollout.engine.status import trouble_of
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import STRATEGY, ended, wait
from tests.real.test_controller import HOME, OBJECTS, Controllers, controllers

__all__ = ["controllers"]

pytestmark = pytest.mark.real

PROMOTE = ("promote", "reviews", "--to", "v2")
PERSON = "person"


@pytest.fixture
def person(controllers: Controllers) -> Iterator[str]:
    """Who may ask and look, and write nothing but the object."""
    reads = [(kind, verb) for kind, verb in pairs(RIGHTS) if verb in ("get", "list")]
    rights = [*pairs(ASKED), *pairs(LEADS), *reads]
    rules: list[Any] = [{"apiGroups": [k.group], "resources": [k.plural], "verbs": [verb]} for k, verb in rights]
    rules.append(
        {"apiGroups": [SERVICE_ROLLOUT.group], "resources": [f"{SERVICE_ROLLOUT.plural}/status"], "verbs": ["patch"]}
    )
    server = controllers.mesh.server
    server.grant(PERSON, rules)
    yield PERSON
    for kind in ("clusterroles", "clusterrolebindings"):
        server.call("DELETE", f"/apis/rbac.authorization.k8s.io/v1/{kind}/{PERSON}")


def declare(controllers: Controllers, manager: str = "kubectl-create") -> None:
    spec = {"service": "reviews", "version": "v1", "strategy": yaml.safe_load(STRATEGY)}
    metadata = {"name": "reviews", "namespace": NAMESPACE}
    body = {"apiVersion": "rollout.dev/v1alpha1", "kind": "ServiceRollout", "metadata": metadata, "spec": spec}
    controllers.mesh.server.call("POST", f"{OBJECTS}?fieldManager={manager}", body)


def test_promoted_and_undone_by_who_may_write_nothing_but_the_object(controllers: Controllers, person: str) -> None:
    mesh = controllers.mesh
    controllers.start()
    declare(controllers)
    code, out, err = mesh.run(*PROMOTE, user=person)
    assert code == 0, out + err
    assert "the controller" in out
    assert "v2 serves all of it" in out
    assert (mesh.weights(), controllers.read()["spec"]["version"]) == ({"v1": 0, "v2": 100}, "v2")
    code, out, err = mesh.run("undo", "reviews", "--output", "json", user=person)
    assert code == 0, out + err
    assert (json.loads(out)["canary"], controllers.read()["spec"]["version"]) == ("v1", "v1")
    assert mesh.weights() == {"v1": 100, "v2": 0}
    assert mesh.seen() == []


def test_a_bad_version_ends_1_and_retry_tries_it_again(controllers: Controllers, person: str) -> None:
    mesh = controllers.mesh
    controllers.start()
    declare(controllers)
    mesh.playground.fail("v2", 0.2)
    code, out, err = mesh.run(*PROMOTE, user=person)
    assert code == 1, out + err
    assert "Breach" in out
    mesh.playground.fail("v2")
    code, out, err = mesh.run("retry", "reviews", user=person)
    assert (code, mesh.canary(), controllers.status()["attempt"]) == (0, 100, 2), out + err


def test_sigterm_aborts_through_the_object(controllers: Controllers, person: str) -> None:
    mesh = controllers.mesh
    controllers.start()
    declare(controllers)
    process = mesh.start(*PROMOTE, user=person)
    mesh.wait_for(5, process)
    process.send_signal(signal.SIGTERM)
    code, out, err = ended(process, 20)
    assert (code, mesh.canary()) == (143, 0), out + err
    assert controllers.wait_for("RolledBack")["reason"] == "Interrupted"


def test_without_a_controller_nothing_is_written_but_local_drives(controllers: Controllers, person: str) -> None:
    mesh = controllers.mesh
    declare(controllers)
    before = controllers.read()
    code, _, err = mesh.run(*PROMOTE, user=person)
    assert (code, controllers.read()) == (3, before)
    assert f"no controller lives in {HOME}" in err
    assert "--local" in err
    code, out, err = mesh.run(*PROMOTE, "--local")
    assert code == 0, out + err
    assert controllers.status()["phase"] == "Promoted"
    assert not mesh.server.call("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps")["items"]
    controllers.start()
    wait(lambda: controllers.status().get("observedGeneration") == controllers.read()["metadata"]["generation"], 30)
    assert (controllers.status()["phase"], mesh.weights()) == ("Promoted", {"v1": 0, "v2": 100})
    assert not annotations_of(mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews"))


def test_what_git_owns_is_left_to_git(controllers: Controllers, person: str) -> None:
    mesh = controllers.mesh
    controllers.start()
    declare(controllers, "argocd-controller")
    code, _, err = mesh.run(*PROMOTE, user=person)
    assert code == 2
    assert "argocd-controller keeps spec.version at v1" in err
    assert err.rstrip().endswith("version: v2")
    assert controllers.read()["spec"]["version"] == "v1"
    mesh.server.call("PATCH", f"{OBJECTS}/reviews?fieldManager=argocd-controller", {"spec": {"version": "v2"}})
    code, out, err = mesh.run(*PROMOTE, user=person)
    assert (code, mesh.canary()) == (0, 100), out + err
    assert mesh.run("undo", "reviews", user=person)[0] == 2
    code, out, err = mesh.run("undo", "reviews", "--override", user=person)
    assert (code, mesh.canary(), controllers.read()["spec"]["version"]) == (0, 0, "v2"), out + err
    wait(lambda: stalled(controllers) == "GitDisagrees", 10)
    mesh.server.call("PATCH", f"{OBJECTS}/reviews?fieldManager=argocd-controller", {"spec": {"version": "v1"}})
    wait(lambda: not stalled(controllers) and not annotations_of(controllers.read()), 30)
    assert mesh.weights() == {"v1": 100, "v2": 0}


def stalled(controllers: Controllers) -> str:
    trouble = trouble_of(controllers.read())
    return trouble.reason if trouble else ""
