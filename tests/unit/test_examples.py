"""Every file of the examples: read as who would obey it, planned in the playground's mesh, and named where it is told.

What needs servers (the pipelines, and whether an API server takes each object) is in tests/real/test_examples.py.
"""

import itertools
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from rollout.adapters.folder import FolderCluster
from rollout.adapters.spelling.service_rollout import declared
from rollout.adapters.strategy_files import load, parse
from rollout.cli.app import app
from rollout.core.documents import DESTINATION_RULE, SERVICE_ROLLOUT, VIRTUAL_SERVICE, Document
from rollout.core.strategy import Strategy
from rollout.mesh.delegates import merged
from rollout.mesh.routes import http_routes
from rollout.playground.stage import _put
from tests.unit.test_default_strategy import rollout

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ONE, ARGO, FLUX, DELEGATE = "01-one-service", "04-gitops-argo-cd", "05-gitops-flux", "06-delegate"
DRILLS = "10-drills"
TASKS = {
    "delay": """
        http:
        - match:
          - headers: {end-user: {exact: jason}}
          fault:
            delay: {percentage: {value: 100.0}, fixedDelay: 7s}
        """,
    "abort": """
        http:
        - fault:
            abort: {percentage: {value: 10.0}, httpStatus: 500}
        """,
    "mirror": """
        http:
        - mirrors:
          - destination: {host: reviews, subset: v2}
            percentage: {value: 100.0}
        """,
}
"""As people write it into a VirtualService; the canary's labels come to the match, or the match of everything."""


def documents(*names: str) -> list[Document]:
    """The documents of these files and folders."""
    paths = [path for name in names for path in sorted(EXAMPLES.glob(f"{name}/**/*.yaml")) or [EXAMPLES / name]]
    return [one for path in paths for one in yaml.safe_load_all(path.read_text()) if one]


def kinds(kind: str, *names: str) -> list[Document]:
    return [one for one in documents(*names) if one.get("kind") == kind]


def routed_by(cluster: Path, *names: str) -> Path:
    """The mesh with the routes and subsets of these examples, in the order of the files."""
    for one in documents(*names):
        for kind in (VIRTUAL_SERVICE, DESTINATION_RULE):
            if one["kind"] == kind.name:
                _put(FolderCluster(cluster), one)
    return cluster


def printed(cluster: Path, *more: str) -> Any:
    """What `rollout gitops` prints."""
    done = CliRunner().invoke(app, ["gitops", "reviews", "--cluster", str(cluster), "-o", "json", *more])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


# --- drills --------------------------------------------------------------------------------------------------------


def added(out: str, heading: str) -> Any:
    """What a plan adds first below a heading."""
    lines = iter(out[out.index(heading) :].splitlines()[2:])
    block = [line[3:] for line in itertools.takewhile(str.strip, lines) if line.startswith("  +")]
    return yaml.safe_load("\n".join(block))


@pytest.mark.parametrize("name", TASKS)
def test_a_drill_writes_what_the_task_would_and_takes_it_out_again(name: str, cluster: Path) -> None:
    code, out, err = rollout(cluster, "plan", "--strategy", str(EXAMPLES / DRILLS / f"{name}.yaml"))
    assert (code, err) == (0, "")
    (task,) = yaml.safe_load(textwrap.dedent(TASKS[name]))["http"]
    if name == "mirror":
        route, match = added(out, "bookinfo/reviews mirroring 100 % of all requests:")[0], {"uri": {"prefix": "/"}}
        assert "  -- name: rollout.dev/" in out, "it goes before the first user comes"
    else:
        route = added(out, "rollout-drill.reviews.ratings is created")["spec"]["http"][0]
        match = {"sourceLabels": {"app": "reviews", "version": "v2"}, **(task.pop("match", None) or [{}])[0]}
        assert "rollout-drill.reviews.ratings is made for the drill, and deleted after it" in out
    assert {key: route[key] for key in task} == task
    assert route["match"] == [match]


# --- from one service to GitOps ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "moved"),
    [
        ((ONE,), "reviews"),
        ((f"{ARGO}/git",), "reviews"),
        ((f"{FLUX}/git",), "reviews"),
        ((ONE, DELEGATE), "reviews-rollout"),
    ],
)
def test_a_rollout_of_each_can_be_planned(names: tuple[str, ...], moved: str, cluster: Path) -> None:
    code, out, err = rollout(routed_by(cluster, *names), "plan", "--strategy", "canary")
    assert (code, err) == (0, "")
    changed = set(re.findall(r"^VirtualService bookinfo/(\S+) with v2 at 5 %:$", out, re.MULTILINE))
    assert changed == {moved}


OWN = EXAMPLES / "02-own-strategy" / "strategy.yaml"


def test_the_strategy_of_ones_own_is_understood() -> None:
    assert [one for one in load(str(OWN)).told if one.endswith(" %")] == ["2 %", "10 %", "40 %", "100 %"]


def test_every_service_rollout_is_one_and_its_strategy_is_there() -> None:
    found = [declared(one) for one in kinds(SERVICE_ROLLOUT.name, "*")]
    assert len(found) == 4
    kept = {one["metadata"]["name"]: one["data"] for one in kinds("ConfigMap", "03-controller")}
    for one in found:
        if not isinstance(one.strategy, Strategy):
            assert one.strategy
            text = kept[one.strategy.name][one.strategy.key]
            assert parse(text, one.strategy.name, one.strategy.name).steps


def test_the_values_are_the_charts() -> None:
    schema = json.loads((ROOT / "charts" / "rollout" / "values.schema.json").read_text())
    values = yaml.safe_load((EXAMPLES / "03-controller" / "values.yaml").read_text())
    assert list(Draft202012Validator(schema).iter_errors(values)) == []
    assert values["prometheus"]["url"]


def test_argo_cd_ignores_what_we_print(cluster: Path) -> None:
    told = printed(routed_by(cluster, f"{ARGO}/git"))
    (application,) = kinds("Application", ARGO)
    assert application["spec"]["ignoreDifferences"] == told["argocd"]["spec"]["ignoreDifferences"]
    assert not [note for note in told["notes"] if "one version only" in note]
    (object_,) = kinds(SERVICE_ROLLOUT.name, ARGO)
    managers = set(object_["spec"]["drift"]["gitopsManagers"])
    assert managers <= set(told["strategy"]["drift"]["gitopsManagers"])
    assert (EXAMPLES / ARGO / application["spec"]["source"]["path"]).is_dir()
    (health,) = kinds("ConfigMap", ARGO)
    assert (health["metadata"]["name"], health["data"]) == ("argocd-cm", told["health"]["data"])


def test_flux_leaves_alone_what_we_print(cluster: Path) -> None:
    told = printed(routed_by(cluster, f"{FLUX}/git"))
    (vs,), (object_,) = kinds(VIRTUAL_SERVICE.name, FLUX), kinds(SERVICE_ROLLOUT.name, FLUX)
    assert vs["metadata"]["annotations"] == told["flux"]["metadata"]["annotations"]
    assert "annotations" not in object_["metadata"], "its changes must arrive"
    (waits,) = kinds("Kustomization", FLUX)[0]["spec"]["healthChecks"]
    assert waits == {
        "apiVersion": object_["apiVersion"], "kind": object_["kind"], **object_["metadata"]
    }  # fmt: skip


def test_root_and_delegate_are_what_we_print_of_the_one_service(cluster: Path) -> None:
    (root,), (delegate,) = documents(f"{DELEGATE}/root.yaml"), documents(f"{DELEGATE}/delegate.yaml")
    assert printed(routed_by(cluster, ONE), "--delegate")["documents"] == [delegate, root]
    (whole,) = kinds(VIRTUAL_SERVICE.name, ONE)
    assert http_routes(merged(root, [root, delegate])) == http_routes(whole)


# --- what is told of them ------------------------------------------------------------------------------------------

READMES = sorted(EXAMPLES.glob("*/README.md"))


def test_every_example_is_named() -> None:
    index = (EXAMPLES / "README.md").read_text()
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert sorted(int(name.partition("-")[0]) for name in folders) == [*range(1, len(folders) + 1)]
    assert (
        folders == {path.parent.name for path in READMES} == set(re.findall(r"^\| \[([^\]]+)\]", index, re.MULTILINE))
    )
    for path in EXAMPLES.rglob("*"):
        if path.is_file() and path.name != "README.md":
            folder = EXAMPLES / path.relative_to(EXAMPLES).parts[0]
            assert f"({path.relative_to(folder)})" in (folder / "README.md").read_text(), path
    for readme in (EXAMPLES / "README.md", *READMES):
        for link in re.findall(r"\]\(([^)]+)\)", readme.read_text()):
            assert (readme.parent / link).exists(), (readme, link)


def commands() -> Iterator[tuple[str, list[str]]]:
    for readme in READMES:
        for line in re.findall(r"^    (?:\S+=\S+ )*rollout (.+)$", readme.read_text(), re.MULTILINE):
            yield readme.parent.name, re.findall(r'"[^"]*"|\S+', line.split(" > ")[0])


@pytest.mark.parametrize(("folder", "words"), list(commands()))
def test_every_command_told_is_one(folder: str, words: list[str]) -> None:
    """Parsed, not run: pipelines are run in tests/real."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words:
        command = command.commands[words.pop(0)]
    assert command.make_context(folder, [word.strip('"') for word in words])


def test_every_file_told_in_a_command_is_there() -> None:
    for readme in READMES:
        for path in re.findall(r"\b(?:examples|charts)/[\w./-]+", readme.read_text()):
            assert (ROOT / path).exists(), path
