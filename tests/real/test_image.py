"""The image: the steps of the Dockerfile, taken here in a folder, and by a builder where one is at hand."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real import images

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
TAG = "localhost/mesh-rollout:test"
FOLDERS = ("/src", "/tools", "/app", "/wheel")


class Stage:
    """The first stage of the Dockerfile, with a folder in place of the root, and our Python in place of the image's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "src").mkdir()
        text = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1]
        self.steps = [line.split(" ", 1) for line in text.splitlines() if re.match(r"(COPY|ENV|RUN) ", line)]
        self._variables: dict[str, str] = {}

    def run(self) -> None:
        for verb, rest in self.steps:
            if verb == "ENV":
                self._variables |= dict(one.split("=", 1) for one in rest.split())
            elif verb == "COPY":
                self._copy(*rest.split())
            else:
                self._run(rest)

    def _copy(self, *names: str) -> None:
        for name in names[:-1]:
            source, target = ROOT / name, self.folder / "src" / names[-1]
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)

    def _run(self, command: str) -> None:
        here = re.sub(rf"(?<!\S)({'|'.join(FOLDERS)})\b", lambda found: f"{self.folder}{found[1]}", command)
        python = str(getattr(sys, "_base_executable", sys.executable))
        here = re.sub(r"^python\b", python, here)
        variables = os.environ | self._variables
        variables.pop("PIP_NO_CACHE_DIR", None)  # that spares the image, and costs us what is downloaded anew
        done = subprocess.run(
            ["sh", "-c", here], cwd=self.folder / "src", env=variables, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def names(lock: str) -> set[str]:
    """What a lock file has for this machine, by normal name."""
    lines = (ROOT / lock).read_text().splitlines()
    return {line.split("==")[0] for line in lines if "==" in line[:60] and "win32" not in line}


def test_the_steps_make_a_program_that_runs_and_holds_nothing_else(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert [verb for verb, _ in stage.steps].count("RUN") >= 6
    stage.run()
    app = tmp_path / "app"
    program = [str(app / "bin" / "rollout"), "strategies", "show", "canary"]
    quiet = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(program, env=quiet, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, (ROOT / "strategies" / "canary.yaml").read_text()), done.stderr
    said = (
        "import importlib.metadata as all, rollout.controller.serve; print(*(one.name for one in all.distributions()))"
    )
    listed = subprocess.run([str(app / "bin" / "python"), "-c", said], env=quiet, capture_output=True, text=True)
    there = {re.sub(r"[-_.]+", "-", name).lower() for name in listed.stdout.split()}
    assert there == names("requirements.image.lock") | {"mesh-rollout"}
    assert sum(one.lstat().st_size for one in app.rglob("*")) < 90e6, "of the Kubernetes client, what is used"
    assert list(app.glob("lib/python*/site-packages/rollout/__pycache__/*.pyc")), "compiled, for nobody can write there"


def test_what_runs_is_no_root(tmp_path: Path) -> None:
    last = (ROOT / "Dockerfile").read_text().split("\nFROM ")[-1]
    assert re.search(r"^USER 65532:65532$", last, re.MULTILINE)
    assert "RUN" not in last, "nothing but copies: no shell left its traces"
    assert 'ENTRYPOINT ["/app/bin/rollout"]' in last


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> images.Builder:
    """Where one is at hand; elsewhere the steps above are all that can be tried."""
    found = images.found(tmp_path_factory.mktemp("builder"))
    if found is None:
        pytest.skip("neither a Docker engine answers, nor is there a Buildah")
    return found


def test_a_builder_builds_it(builder: images.Builder) -> None:
    builder.build(TAG, ROOT)
    done = builder.run(TAG, "strategies")
    assert done.returncode == 0, done.stderr
    assert "canary" in done.stdout


@pytest.mark.soak
def test_what_is_built_again_is_the_same(builder: images.Builder) -> None:
    if not isinstance(builder, images.Buildah):
        pytest.skip("a Docker engine says when it built each file")
    for tag in (TAG, f"{TAG}-again"):
        builder.build(tag, ROOT)
    assert builder.inspected(TAG)["rootfs"] == builder.inspected(f"{TAG}-again")["rootfs"]
