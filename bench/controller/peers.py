"""Flagger and Argo Rollouts, built from their Go modules into the cache of the tests' real parts."""

import json
import shutil
from pathlib import Path

from tests.real import parts

FLAGGER = "v1.44.0"
ARGO = "v1.10.1"
_FLAGGER_MODULE = "github.com/fluxcd/flagger"
_ARGO_MODULE = "github.com/argoproj/argo-rollouts"


def flagger() -> str:
    """The path of Flagger's binary."""
    return parts._built("flagger", FLAGGER, lambda at: parts._module(at, _FLAGGER_MODULE, FLAGGER, "/cmd/flagger"))


def argo() -> str:
    """The path of the controller of Argo Rollouts."""
    return parts._built("rollouts-controller", ARGO, _copied)


def source(peer: str) -> Path:
    """Where the module's files are, for its CustomResourceDefinitions."""
    module = f"{_FLAGGER_MODULE}@{FLAGGER}" if peer == "flagger" else f"{_ARGO_MODULE}@{ARGO}"
    return Path(json.loads(parts._go(["mod", "download", "-json", module], Path("/")))["Dir"])


def _copied(folder: Path) -> str:
    """It has `replace` lines, which count only in the module that is built itself; the user interface is no part."""
    shutil.copytree(
        source("argo"), folder, dirs_exist_ok=True, copy_function=shutil.copyfile,
        ignore=shutil.ignore_patterns("ui", "docs", "test", ".git*"),
    )  # fmt: skip
    for one in [folder, *folder.rglob("*")]:
        one.chmod(0o755 if one.is_dir() else 0o644)
    return "./cmd/rollouts-controller"
