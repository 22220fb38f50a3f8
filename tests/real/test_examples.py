"""The examples with real parts: each object is taken by an API server, and each pipeline releases, and takes back."""

import os
import re
import subprocess
import sys
import time
import urllib.error
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout.core.documents import KINDS, Document
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import STRATEGY, Mesh, wait
from tests.real.servers import ApiServer
from tests.unit.test_examples import EXAMPLES, OWN, documents

pytestmark = pytest.mark.real

APPLIED = [one for one in documents("*") if one.get("kind") in KINDS]
SPACE = "examples"
THEIRS = {"Application", "Kustomization"}
"""Objects of Argo CD's and Flux's kinds, which no server of ours has; tests/unit/test_examples.py holds them."""


def test_what_is_not_applied_is_no_object_of_ours() -> None:
    others = {str(one["kind"]) for one in documents("*") if one.get("kind") and one["kind"] not in KINDS}
    assert others == THEIRS


@pytest.mark.parametrize("one", APPLIED, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_an_api_server_takes_each_object(one: Document, api_server: ApiServer) -> None:
    """As `kubectl apply --server-side --dry-run=server` would; a field that the schema does not know is refused."""
    with suppress(urllib.error.HTTPError):  # another of these tests has made it
        api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": SPACE}})
    kind, own = KINDS[one["kind"]], one["metadata"]["name"]
    root = f"/apis/{one['apiVersion']}" if kind.group else "/api/v1"
    path = f"{root}/namespaces/{SPACE}/{kind.plural}/{own}"
    named = one | {"metadata": one["metadata"] | {"namespace": SPACE}}
    query = "dryRun=All&fieldManager=examples&fieldValidation=Strict"
    made = api_server.call("PATCH", f"{path}?{query}", named, kind="application/apply-patch+yaml")
    assert made["metadata"]["uid"]


def test_the_strategy_of_ones_own_is_planned(mesh: Mesh) -> None:
    """Its query needs a Prometheus that can answer it."""
    code, out, err = mesh.run("plan", "reviews", "--to", "v2", "--strategy", str(OWN))
    assert (code, err) == (0, "")
    assert "40 %" in out


# --- pipelines -----------------------------------------------------------------------------------------------------

INSTALLS = re.compile(r"^pip install .*\$ROLLOUT", re.MULTILINE)
"""What brings the command into a runner; here it is there."""
EXPRESSION = re.compile(r"\$\{\{ *(\w+)\.(\w+) *\}\}")


class Runner:
    """Does with a pipeline's steps as its runner does: a shell for each, with variables and files of its own."""

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        self.mesh, self.folder = mesh, folder
        (folder / "rollout.yaml").write_text(STRATEGY)
        own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CI": "true", "RUNNER_TEMP": str(folder)}
        for file in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY"):
            own[file] = str(folder / file)
            (folder / file).write_text("")
        self.environment = mesh.environment() | own

    def step(self, script: str, **variables: str) -> Any:
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script], cwd=self.folder, env=self.environment | variables,
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip

    def text(self, file: str) -> str:
        return (self.folder / file).read_text()

    def github(self, version: str) -> tuple[int, str]:
        """The first exit code that is not 0 is the job's; steps with `always()` run all the same."""
        given = {"inputs.version": version, "secrets.KUBECONFIG": Path(self.environment["KUBECONFIG"]).read_text()}
        given["vars.ROLLOUT_PROMETHEUS"] = self.mesh.prometheus.url
        del self.environment["KUBECONFIG"]
        job = yaml.safe_load((EXAMPLES / "07-github" / "release.yaml").read_text())["jobs"]["promote"]
        code, said = 0, ""
        for step in job["steps"]:
            if "run" not in step or INSTALLS.search(step["run"]) or (code and step.get("if") != "always()"):
                continue
            assert "${{" not in step["run"], "what people type in must not become a script"
            wanted = {**job["env"], **step.get("env", {})}
            variables = {key: EXPRESSION.sub(lambda m: given[f"{m[1]}.{m[2]}"], text) for key, text in wanted.items()}
            done = self.step(step["run"], **variables)
            for line in self.text("GITHUB_ENV").splitlines():
                key, _, value = line.partition("=")
                self.environment[key] = value
            said += done.stdout + done.stderr
            code = code or done.returncode
        return code, said

    def gitlab(self, version: str) -> tuple[int, str]:
        """`before_script` and `script` are one shell's; `after_script` has another, whatever came before."""
        job = yaml.safe_load((EXAMPLES / "08-gitlab" / "release.yaml").read_text())["promote"]
        variables = {key: value.replace("$CI_COMMIT_TAG", version) for key, value in job["variables"].items()}
        lines = [line for line in (*job["before_script"], *job["script"]) if not INSTALLS.search(line)]
        assert len(lines) == len(job["script"])
        done = self.step("\n".join(lines), **variables)
        after = self.step("\n".join(job["after_script"]), **variables)
        assert after.returncode == 0, after.stderr
        assert job["artifacts"]["paths"] == ["report.html"]
        return done.returncode, done.stdout + done.stderr

    def shell(self, version: str) -> tuple[int, str]:
        done = self.step(f"{EXAMPLES}/09-shell/release.sh reviews {version} {NAMESPACE}", STRATEGY="rollout.yaml")
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def runner(mesh: Mesh, tmp_path: Path) -> Runner:
    return Runner(mesh, tmp_path)


@pytest.mark.parametrize("pipeline", ["github", "gitlab", "shell"])
def test_a_pipeline_releases_a_good_version(pipeline: str, runner: Runner) -> None:
    code, said = getattr(runner, pipeline)("v2")
    assert code == 0, said
    assert runner.mesh.weights() == {"v1": 0, "v2": 100}
    assert runner.mesh.seen() == []
    assert "<html" in runner.text("report.html")
    if pipeline == "github":
        assert "phase=Promoted" in runner.text("GITHUB_OUTPUT")
        assert "reviews: v1 → v2: Promoted" in runner.text("GITHUB_STEP_SUMMARY")
    if pipeline == "shell":
        assert "reviews v2 serves" in said


@pytest.mark.parametrize("pipeline", ["github", "gitlab", "shell"])
def test_a_pipeline_fails_where_a_bad_version_was_taken_back(pipeline: str, runner: Runner) -> None:
    runner.mesh.playground.fail("v2", 0.3)
    code, said = getattr(runner, pipeline)("v2")
    assert code == 1, said
    assert runner.mesh.canary() == 0
    assert "Breach" in said
    assert "<html" in runner.text("report.html")
    if pipeline == "github":
        assert "::error" in said
        assert "phase=RolledBack" in runner.text("GITHUB_OUTPUT")
    if pipeline == "shell":
        assert "reviews v2 did harm, and was taken back" in said


def test_a_shell_step_that_is_stopped_takes_back_first(runner: Runner) -> None:
    """The signal comes to the script alone, as from an agent that ends its own child."""
    process = subprocess.Popen(
        [f"{EXAMPLES}/09-shell/release.sh", "reviews", "v2", NAMESPACE], cwd=runner.folder, text=True,
        env=runner.environment | {"STRATEGY": "rollout.yaml"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    runner.mesh.wait_for(5, process)
    process.terminate()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert "interrupted (143)" in said
    wait(lambda: runner.mesh.canary() == 0, 5)
    time.sleep(0.5)
    assert runner.mesh.canary() == 0
