"""A bad version on the playground, promoted as a job of GitHub Actions would, and its report in every form."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rollout.playground.stage import Playground

pytestmark = pytest.mark.real
QUICK = """
bake: {min: 3s, max: 60s}
steps: [{weight: 25}, {weight: 100}]
confirm: 4s
checks: [{errors: {}}]
"""


def rollout(folder: Path, verb: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "rollout", verb, "reviews", "--cluster", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=os.environ | environment)
    return done.returncode, done.stdout, done.stderr


def test_a_job_tells_that_a_bad_version_went_back_and_whom_it_hurt(tmp_path: Path) -> None:
    mesh, strategy, summary, outputs = (tmp_path / name for name in ("mesh", "quick.yaml", "summary", "outputs"))
    strategy.write_text(QUICK)
    with Playground(mesh, 200) as playground:
        playground.fail("v2", 0.3)
        time.sleep(6)
        code, out, err = rollout(
            mesh, "promote", "--to", "v2", "--strategy", str(strategy), "--output", "github",
            GITHUB_STEP_SUMMARY=str(summary), GITHUB_OUTPUT=str(outputs),
        )  # fmt: skip
        assert code == 1, out + err
        time.sleep(2)
        page = tmp_path / "report.html"
        assert rollout(mesh, "report", "--file", str(page))[0] == 0
        found = json.loads(rollout(mesh, "report", "--output", "json")[1])
        assert rollout(mesh, "report", "--file", str(tmp_path / "no" / "where"))[0] == 2
        assert rollout(mesh, "report", "--format", "pdf")[0] == 2
    errors = [line for line in out.splitlines() if line.startswith("::error")]
    assert len(errors) == 1
    assert errors[0].startswith("::error title=reviews v1 → v2%3A RolledBack::rolled back: Breach: ")
    assert outputs.read_text() == "phase=RolledBack\nreason=Breach\n"
    assert "| 25 % |" in summary.read_text()
    assert found["missing"] == []
    (standing,) = found["standings"]
    assert standing["weight"] == 25
    assert 0.15 < standing["canary"]["failures"] / standing["canary"]["requests"] < 0.45
    assert "requests of users failed on v2." in page.read_text()
    assert page.read_text().count("<figure>") >= 4
