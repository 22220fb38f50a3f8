"""Images, built from their Dockerfiles by a Docker engine or by Buildah; the latter needs no image registry."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
EPOCH = "315532800"
"""The moment at which everything in an image was made, as in the Dockerfile."""


class Builder(Protocol):
    """Builds images, and knows those that it has built by their tags."""

    def build(self, tag: str, folder: Path, **arguments: str) -> None:
        """Do what the folder's Dockerfile says."""

    def save(self, tag: str, archive: Path) -> None:
        """Write an image as `docker load` and containerd read it."""

    def run(self, tag: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `rollout` in it."""


def found(folder: Path) -> Builder | None:
    """Whichever is here; `folder` is for what it keeps."""
    docker = shutil.which("docker")
    if docker and not subprocess.run([docker, "info"], capture_output=True).returncode:
        return Docker()
    return Buildah(folder) if shutil.which("buildah") and not os.geteuid() else None  # others cannot always


class Docker:
    """A Docker engine."""

    def build(self, tag: str, folder: Path, **arguments: str) -> None:
        """See the port."""
        _said(["docker", "build", "--quiet", "--tag", tag, *_given(arguments), str(folder)])

    def save(self, tag: str, archive: Path) -> None:
        """See the port."""
        _said(["docker", "save", "--output", str(archive), tag])

    def run(self, tag: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """See the port: as little may it do as in the chart."""
        command = ["docker", "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", tag, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)


class Buildah:
    """Buildah with a store of its own, in which this machine's Python is the base image."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        store = [f"--root={folder / 'store'}", f"--runroot={folder / 'run'}", "--storage-driver=vfs"]
        self._buildah = ["buildah", *store]
        base = folder / "base"
        _install_python(base / "root")
        (base / "Dockerfile").write_text("FROM scratch\nCOPY root /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n")
        self.build(f"python:{PYTHON}-slim", base)

    def build(self, tag: str, folder: Path, **arguments: str) -> None:
        """See the port. What is built of the same is the same, to the byte."""
        options = ["--pull=never", "--isolation=chroot", f"--timestamp={EPOCH}", *_as_pip_here(self._folder)]
        _said([*self._buildah, "build", *options, *_given({"PYTHON": PYTHON} | arguments), "--tag", tag, str(folder)])

    def save(self, tag: str, archive: Path) -> None:
        """See the port."""
        _said([*self._buildah, "push", "--quiet", tag, f"docker-archive:{archive}:{tag}"])

    def run(self, tag: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """See the port: as whom the image says."""
        container = _said([*self._buildah, "from", "--pull-never", tag]).strip()
        command = [*self._buildah, "run", "--isolation=chroot", container, "--", "/app/bin/rollout", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def inspected(self, tag: str) -> Any:
        """What is known of an image: its configuration and its layers."""
        return json.loads(_said([*self._buildah, "inspect", "--type=image", tag]))["OCIv1"]


def _given(arguments: dict[str, str]) -> list[str]:
    return [f"--build-arg={name}={value}" for name, value in arguments.items()]


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


# --- this machine's Python as an image -------------------------------------------------------------------------------

BASE = str(getattr(sys, "_base_executable", sys.executable))
NEEDLESS = ("__pycache__", "site-packages", "dist-packages", "config-*", "test", "idlelib", "lib2to3", "*tkinter*")
COMPANIONS = ("libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2", "libgcc_s.so.1")
"""Beside the C library, what programs that were built elsewhere may ask for."""


def _install_python(root: Path) -> None:
    """Where the image `python` has it, with pip, a shell and what the Dockerfile asks of that."""
    here, where = Path(sysconfig.get_path("stdlib")), root / "usr" / "local"
    library = where / "lib" / f"python{PYTHON}"
    shutil.copytree(here, library, ignore=shutil.ignore_patterns(*NEEDLESS))
    pip = Path(_said([BASE, "-c", "import pip; print(pip.__path__[0])"]).strip())
    shutil.copytree(pip, library / "site-packages" / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    python = where / "bin" / f"python{PYTHON}"
    programs = {Path(BASE).resolve(): python} | {Path("/bin", name): root / "bin" / name for name in ("sh", "rm")}
    libraries = _libraries([*programs, *library.glob("lib-dynload/*.so")])
    libraries |= {other for one in libraries if one.name == "libc.so.6" for other in map(one.with_name, COMPANIONS)}
    for source, target in (programs | {one: root / str(one).lstrip("/") for one in libraries}).items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for name in ("python", "python3"):
        (python.parent / name).symlink_to(python.name)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """What these programs load when they start."""
    listed = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True).stdout
    return {Path(name) for name in re.findall(r"(/\S+) \(0x", listed)}


def _as_pip_here(folder: Path) -> list[str]:
    """What lets pip in a build ask whom pip asks on this machine, and trust whom it trusts."""
    listed = _said([BASE, "-m", "pip", "config", "list"]).splitlines()
    pairs = [re.fullmatch(r"(\S+)\.(\S+)='(.*)'", line) for line in sorted(listed, key=lambda one: one[0] == ":")]
    settings = {pair[2]: pair[3] for pair in pairs if pair}
    file = folder / "pip.conf"
    file.write_text("".join(["[global]\n", *(f"{key} = {value}\n" for key, value in settings.items())]))
    trusted = [f"--volume={settings['cert']}:{settings['cert']}:ro"] if "cert" in settings else []
    return [f"--volume={file}:/etc/pip.conf:ro", *trusted]
