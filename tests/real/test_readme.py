"""Every command block of the README runs."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_blocks_are_those_that_we_run() -> None:
    assert len(BLOCKS) == 3
    assert [b.split()[0:2] for b in BLOCKS[:2]] == [["make", "demo"], ["rollout", "playground"]]


def test_make_demo_plays_both_within_two_minutes() -> None:
    started = time.monotonic()
    done = subprocess.run(["sh", "-euc", BLOCKS[0]], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 120
    assert "good: Promoted" in done.stdout
    assert "errors: RolledBack" in done.stdout
    assert done.stdout.count(", 0 of them because traffic was shifted") == 2


def test_the_playground_obeys_every_verb(tmp_path: Path) -> None:
    binaries = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    with (tmp_path / "up.log").open("w") as log:
        up = subprocess.Popen(["sh", "-c", f"exec {BLOCKS[1]}"], cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while "up in" not in (tmp_path / "up.log").read_text():
            assert up.poll() is None, (tmp_path / "up.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.2)
        time.sleep(3)
        done = subprocess.run(
            ["sh", "-eux", "-c", BLOCKS[2]], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "v2 serves all of it" in done.stdout
        assert "v1 serves all of it" in done.stdout
    finally:
        up.terminate()
        up.wait(20)
