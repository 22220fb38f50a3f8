"""The wheel holds the packages, the presets and the command, and nothing else."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("mesh_rollout-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry = next(archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert "strategies/canary.yaml" in names
    assert "rollout = rollout.__main__:main" in entry
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"rollout", "strategies"}


def pinned(lock: str) -> set[str]:
    """Each requirement of a lock file, with its hashes."""
    blocks = (ROOT / lock).read_text().split("\n")
    text = "\n".join(line for line in blocks if not line.startswith("#"))
    return {block.strip(" \\\n") for block in re.split(r"\n(?=\S)", text)}


def test_the_images_lock_is_a_part_of_the_other() -> None:
    image, whole = pinned("requirements.image.lock"), pinned("requirements.lock")
    assert image < whole, "run `make lock`"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = (*project["dependencies"], *project["optional-dependencies"]["controller"])
    assert {re.split(r"[^\w-]", one)[0].lower() for one in wanted} <= {block.split("==")[0] for block in image}
