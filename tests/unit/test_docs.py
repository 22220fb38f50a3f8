"""What can rot: the diagram, rights in the README, names of invariants, importing modules, strategies shown."""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from rollout.adapters.spelling.service_rollout import declared
from rollout.adapters.strategy_files import parse
from rollout.core.lifecycle import MOVES
from rollout.core.strategy import Kind
from rollout.engine.rights import (
    ASKED,
    FOR_DRILLS,
    FOR_RETIRING,
    FOR_SCALING,
    FOR_SECRETS,
    FOR_SUBSETS,
    FOR_UNDO,
    FOR_WARNINGS,
    LEADS,
    RIGHTS,
    Rights,
)

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs" / "design.md").read_text()
README = (ROOT / "README.md").read_text()
YAMLED = (ROOT / "README.md", ROOT / "docs" / "judge.md", ROOT / "docs" / "messages.md")
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def test_the_diagram_shows_the_legal_moves() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+): (\w+)$", DESIGN, re.MULTILINE))
    assert drawn == {(one.value, other.value, name) for name, one, other in MOVES}


def test_every_invariant_is_written_down_and_nobody_names_another() -> None:
    written = set(re.findall(r"\*\*(I\d+)\*\*", DESIGN))
    assert written == {f"I{n}" for n in range(1, 16)}
    for folder in ("rollout", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            named = set(re.findall(r"\b(I\d+)\b", path.read_text()))
            assert named <= written, path


def test_the_readme_names_the_rights_that_we_check() -> None:
    def written(rights: Rights) -> str:
        return "; ".join(f"{', '.join(verbs)} {kind.plural}" for kind, verbs in rights)

    flat = " ".join(README.split())
    for rights in (
        RIGHTS,
        FOR_SUBSETS,
        FOR_SECRETS,
        FOR_DRILLS,
        FOR_UNDO,
        FOR_RETIRING,
        FOR_SCALING,
        FOR_WARNINGS,
        ASKED,
        LEADS,
    ):
        assert written(rights) in flat


SHARED = {"pydantic", "typer", "rich", "urllib3", "prometheus_client"}
"""Models stand where data enters; the terminal is the command line's; urllib3 lies under both clients; by the last the
playground reads what its Envoys count, and the controller tells what it does."""


def test_each_library_has_one_importing_module() -> None:
    users: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "rollout").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.split(".")[0] for name in names} - {"", "rollout", "strategies", *SHARED}:
                if name not in sys.stdlib_module_names:
                    users[name].add(str(path.relative_to(ROOT)))
    assert {name: files for name, files in users.items() if len(files) > 1} == {}


def completed(block: str) -> str:
    """A strategy that is shown in part, with what it must have besides."""
    usual = {"bake": "bake: 1m", "confirm": "confirm: 1m", "checks": "checks: []", "steps": "steps: [{weight: 100}]"}
    missing = [line for key, line in usual.items() if not re.search(rf"^{key}:", block, re.MULTILINE)]
    return "\n".join([*missing, block])


@pytest.mark.parametrize(("name", "block"), [(p.name, b) for p in YAMLED for b in BLOCK.findall(p.read_text())])
def test_every_strategy_and_object_shown_is_one(name: str, block: str) -> None:
    if "kind: ServiceRollout" in block:
        assert declared(yaml.safe_load(block)).strategy
    else:
        assert parse(completed(block), name, name).steps


# CONTRIBUTING.md

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
STEPS = {"Mirror", "Route", "Probe", "Fault", "Pause", "Gate"}


def recipe(title: str) -> set[str]:
    """The files that a section of CONTRIBUTING.md names."""
    section = CONTRIBUTING.split(f"## {title}\n")[1].split("\n## ")[0]
    return set(re.findall(r"`([\w/]+\.(?:py|md))`", section))


def users(uses: Callable[[ast.AST], bool]) -> set[str]:
    """The modules of the package with a node that does so."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "rollout").rglob("*.py")
        if any(uses(node) for node in ast.walk(ast.parse(path.read_text())))
    }


def test_what_contributing_names_exists() -> None:
    named = {name for name in re.findall(r"`([\w./-]+)`", CONTRIBUTING) if "/" in name}
    assert len(named) > 30
    for name in named | set(re.findall(r"\]\(([^)]+)\)", CONTRIBUTING)):
        assert (ROOT / name.removeprefix(".venv/bin/")).exists() or name.startswith(".venv/bin/"), name
    makefile = (ROOT / "Makefile").read_text()
    for verb in re.findall(r"`?make (\w+)", CONTRIBUTING):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb
    assert "(CONTRIBUTING.md)" in README


def test_contributing_has_the_layers_in_their_order() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [re.findall(r"\w+", layer) for layer in contract["layers"] if "__main__" not in layer]
    said = CONTRIBUTING.split("refuses others: ")[1].split(". `core`")[0]
    assert re.findall(r"`(\w+)`", said) == [name for layer in layers for name in layer]


def test_no_module_that_tells_step_kinds_apart_is_missing_in_the_recipe() -> None:
    def tells(node: ast.AST) -> bool:
        return isinstance(node, ast.ImportFrom) and bool({name.name for name in node.names} & STEPS)

    assert users(tells) - recipe("Adding a step kind") == set(), "name it there, with what is done in it"


def test_no_module_that_tells_check_kinds_apart_is_missing_in_the_recipe() -> None:
    def tells(node: ast.AST) -> bool:
        kind = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Kind"
        return kind and isinstance(node, ast.Attribute) and node.attr in Kind.__members__

    assert users(tells) - recipe("Adding a check kind") == set(), "name it there, with what is done in it"
