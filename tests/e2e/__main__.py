"""Find a cluster for the suite, give it the images under test, and run the suite there."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.real import images, parts

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
IMAGE, WORLD = "localhost/mesh-rollout:e2e", "localhost/mesh-rollout-world:e2e"
GIVEN = ("ROLLOUT_E2E_IMAGE", "ROLLOUT_E2E_WORLD_IMAGE")
KIND = "rollout-e2e"
NODE = Path(os.environ.get("ROLLOUT_E2E_NODE", ROOT.parent / "shared" / "node"))
"""Scripts `up` and `down` of a one-node cluster without Docker; `up` leaves `kubeconfig` and `in` in its folder."""
NEEDED = (
    "make e2e needs a cluster: name one by ROLLOUT_E2E_KUBECONFIG, and images that it can pull by ROLLOUT_E2E_IMAGE "
    "and ROLLOUT_E2E_WORLD_IMAGE; or have a Docker engine and kind; or be root, and name a node's ROLLOUT_E2E_NODE"
)


def main() -> int:
    """The exit code of the suite; 2 where there is no cluster."""
    with tempfile.TemporaryDirectory(prefix="rollout-e2e-") as name:
        folder = Path(name)
        if os.environ.get("ROLLOUT_E2E_KUBECONFIG"):
            return run([], {}) if all(os.environ.get(one) for one in GIVEN) else lacking()
        builder = images.found(folder)
        if isinstance(builder, images.Docker) and shutil.which("kind"):
            with kind(folder, builder) as variables:
                return run([], variables)
        if (NODE / "up").exists() and os.geteuid() == 0:
            with node(folder, builder or packaged(folder)) as (inside, variables):
                return run(inside, variables)
    return lacking()


def lacking() -> int:
    """Say what is needed."""
    print(NEEDED, file=sys.stderr)
    return 2


def run(inside: list[str], variables: Mapping[str, str]) -> int:
    """Run the suite by way of a command, with these variables beside our own."""
    for part in (parts.helm, parts.istio_crds):
        part()
    command = [*inside, sys.executable, "-m", "pytest", "-v", "-m", "e2e", str(HERE), *sys.argv[1:]]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables).returncode


@contextmanager
def kind(folder: Path, builder: images.Builder) -> Iterator[dict[str, str]]:
    """A cluster of Docker containers."""
    build(folder, builder)
    config = folder / "kubeconfig"
    create = ["kind", "create", "cluster", f"--name={KIND}", f"--config={HERE / 'kind.yaml'}", "--wait=3m"]
    subprocess.run([*create, f"--kubeconfig={config}"], check=True)  # refused where there is one of that name
    try:
        subprocess.run(["kind", "load", "docker-image", f"--name={KIND}", IMAGE, WORLD], check=True)
        yield named(config)
    finally:
        subprocess.run(["kind", "delete", "cluster", f"--name={KIND}"], check=True)


@contextmanager
def node(folder: Path, builder: images.Builder) -> Iterator[tuple[list[str], dict[str, str]]]:
    """A kubelet and a containerd of this machine, in a network of their own; what is to reach it must run inside."""
    build(folder, builder)
    where = folder / "node"
    subprocess.run([NODE / "up", where], check=True)
    try:
        inside = [str(where / "in")]
        for tag in (IMAGE, WORLD):
            builder.save(tag, folder / "image.tar")
            containerd = ["ctr", "-a", str(where / "containerd.sock"), "-n", "k8s.io"]
            subprocess.run([*inside, *containerd, "image", "import", str(folder / "image.tar")], check=True)
            (folder / "image.tar").unlink()
        yield inside, named(where / "kubeconfig")
    finally:
        subprocess.run([NODE / "down", where], check=True)


def named(kubeconfig: Path) -> dict[str, str]:
    """The suite's variables."""
    return {
        "ROLLOUT_E2E_KUBECONFIG": str(kubeconfig), "ROLLOUT_E2E_IMAGE": IMAGE, "ROLLOUT_E2E_WORLD_IMAGE": WORLD,
    }  # fmt: skip


def build(folder: Path, builder: images.Builder) -> None:
    """The image under test, and the one of what runs beside it."""
    parts.say("building the images ...")
    builder.build(IMAGE, ROOT)
    world = folder / "world"
    shutil.copytree(HERE / "world", world)
    shutil.copy(parts.envoy(), world / "envoy")
    shutil.copy(parts.prometheus(), world / "prometheus")
    builder.build(WORLD, world, ROLLOUT=IMAGE)


def packaged(folder: Path) -> images.Builder:
    """Buildah from the system's packages. Raises `Missing` where there is none."""
    parts.buildah()
    return images.Buildah(folder)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except parts.Missing as reason:
        sys.exit(f"make e2e cannot run: {reason}")
