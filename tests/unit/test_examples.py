"""Every file of the examples, in the playground's mesh: what it would write is the block of Istio's own task."""

import itertools
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.test_default_strategy import rollout

EXAMPLES = Path(__file__).parents[2] / "examples"
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


def added(out: str, heading: str) -> Any:
    """What a plan adds first below a heading."""
    lines = iter(out[out.index(heading) :].splitlines()[2:])
    block = [line[3:] for line in itertools.takewhile(str.strip, lines) if line.startswith("  +")]
    return yaml.safe_load("\n".join(block))


@pytest.mark.parametrize("name", TASKS)
def test_a_drill_writes_what_the_task_would_and_takes_it_out_again(name: str, cluster: Path) -> None:
    code, out, err = rollout(cluster, "plan", "--strategy", str(EXAMPLES / "drills" / f"{name}.yaml"))
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


def test_every_example_is_tried_and_named() -> None:
    files = sorted(path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.yaml"))
    assert [str(path) for path in files] == sorted(f"drills/{name}.yaml" for name in TASKS)
    for folder in {path.parent for path in files}:
        assert f"({folder})" in (EXAMPLES / "README.md").read_text()
        told = (EXAMPLES / folder / "README.md").read_text()
        assert all(f"({path.name})" in told for path in files if path.parent == folder)
