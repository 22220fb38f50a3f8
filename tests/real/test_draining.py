"""`helm uninstall` for real: its hook's Job takes back what is in flight, or says what it could not."""

import signal
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rollout.core.documents import VIRTUAL_SERVICE, annotations_of
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import ended, wait
from tests.real.test_chart import CHART, PATHS, Helm
from tests.real.test_controller import HOME, Controllers, controllers

__all__ = ["controllers"]

pytestmark = pytest.mark.real

JOBS = PATHS["Job"].format(namespace=HOME)
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases"


@contextmanager
def installed(controllers: Controllers, **drain: Any) -> Iterator[tuple[Helm, list[str]]]:
    """A release of the chart, without a cluster's controllers: nobody runs its pods but we."""
    mesh = controllers.mesh
    helm = Helm(mesh.folder)
    where = ["--namespace", HOME, "--kubeconfig", str(mesh.server.kubeconfig())]
    values = {"namespaces": [NAMESPACE], "prometheus": {"url": mesh.prometheus.url}, "drain": drain}
    done = helm.run("install", "rollout", str(CHART), *where, values=values)
    assert done.returncode == 0, done.stderr
    try:
        yield helm, where
    finally:
        helm.run("uninstall", "rollout", "--no-hooks", *where)
        mesh.server.call("DELETE", f"{JOBS}?propagationPolicy=Background")


def job_of(controllers: Controllers) -> dict[str, Any]:
    """The Job, as soon as Helm has made it."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = controllers.mesh.server.call("GET", JOBS)["items"]
        return bool(found)

    wait(there, 30)
    return found[0]


def completed(controllers: Controllers, name: str) -> None:
    """What a cluster says of a Job whose pod has ended well."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    told = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
    status = {"startTime": at, "completionTime": at, "succeeded": 1, "conditions": told}
    controllers.mesh.server.call("PATCH", f"{JOBS}/{name}/status", {"status": status})


@pytest.mark.parametrize("alive", [True, False])
def test_what_is_in_flight_goes_back_before_helm_removes_anything(controllers: Controllers, alive: bool) -> None:
    mesh = controllers.mesh
    with installed(controllers) as (helm, where):
        config = mesh.server.kubeconfig("rollout", HOME, mesh.server.token("rollout", HOME))
        port = controllers.start(config, [NAMESPACE])
        controllers.reach(25, steps=[{"weight": 25}, {"weight": 100}], bake={"min": "60s", "max": "2m"})  # Helm is slow
        if not alive:
            controllers.end(port, signal.SIGKILL)
        helms = helm.start("uninstall", "rollout", *where)
        job = job_of(controllers)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        variables = mesh.environment() | {"KUBECONFIG": str(config)}
        drained = subprocess.run(
            mesh.command(*container["args"]), env=variables, capture_output=True, text=True, timeout=120
        )
        assert drained.returncode == 0, drained.stderr
        assert "forbidden" not in drained.stderr.lower()
        assert (mesh.canary(), controllers.status()["reason"]) == (0, "Drained")
        assert not controllers.read()["metadata"].get("finalizers")
        assert not annotations_of(mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews"))
        assert mesh.seen() == []
        controllers.patch({"metadata": {"annotations": {"rollout.dev/retry": "1"}}})
        time.sleep(5)
        assert controllers.status()["phase"] == "RolledBack", "whoever is left begins nothing"
        completed(controllers, job["metadata"]["name"])
        code, _, said = ended(helms, 60)
        assert code == 0, said
        with pytest.raises(urllib.error.HTTPError, match="404"):
            mesh.server.call("GET", PATHS["Deployment"].format(namespace=HOME) + "/rollout")
        assert controllers.read()["spec"]["version"] == "v2", "the objects outlive the chart"


def test_what_stable_cannot_carry_is_told_and_a_controller_goes_on(controllers: Controllers) -> None:
    mesh = controllers.mesh
    controllers.start()
    controllers.reach(25)
    mesh.set_ready("reviews-v1-0", False)
    code, _, said = mesh.run("controller", f"--namespace={NAMESPACE}", f"--lease-namespace={HOME}", "--drain=20")
    assert code == 4, said
    assert f"ServiceRollout {NAMESPACE}/reviews: RollingBack, 25 % to v2" in said
    assert "`rollout abort SERVICE -n NAMESPACE`" in said
    mesh.set_ready("reviews-v1-0", True)
    assert controllers.wait_for("RolledBack", 60)["reason"] == "Drained"
    assert mesh.canary() == 0
