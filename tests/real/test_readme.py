"""Every command block of the README runs, in the order in which a reader meets them."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.real.mesh import Mesh

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
DEMO, UP, VERBS, CLUSTER = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def sh(block: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        ["bash", "-euxc", block], cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.alone
def test_make_demo_plays_both() -> None:
    out = sh(DEMO, ROOT)
    assert "good: Promoted" in out
    assert "errors: RolledBack" in out
    assert out.count(", 0 of them because traffic was shifted") == 2


def test_the_playground_obeys_every_verb(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    log = tmp_path / "up.log"
    with log.open("w") as written:
        up = subprocess.Popen(["bash", "-c", f"exec {UP}"], cwd=tmp_path, stdout=written, stderr=written)
    try:
        until = time.monotonic() + 60
        while "up in" not in log.read_text():
            assert up.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.2)
        time.sleep(3)
        out = sh(VERBS, tmp_path)
        assert "v2 serves all of it" in out
        assert "v1 serves all of it" in out
    finally:
        up.terminate()
        up.wait(20)


def test_ten_minutes_to_a_first_promotion(mesh: Mesh) -> None:
    """As a stranger would, but with the tests' faster strategy and at their Prometheus."""
    strategy = mesh.folder / "strategy.yaml"
    block = CLUSTER.replace("http://localhost:9090", mesh.prometheus.url)
    block = block.replace("promote reviews --to v2", f"promote reviews --to v2 --strategy {strategy}")
    block += "rollout report reviews -n bookinfo --format markdown\n"
    out = sh(block, ROOT, KUBECONFIG=str(mesh.server.kubeconfig()))
    assert "### ✅ reviews: v1 → v2: Promoted after" in out
    assert "*Missing:* Requests" not in out
    assert "**Who was hurt:** No request of a user failed on v2, of " in out
    assert "ok   may patch virtualservices in bookinfo" in out
    assert "v2 serves all of it" in out
    assert mesh.weights() == {"v1": 0, "v2": 100}
    assert mesh.seen() == []
