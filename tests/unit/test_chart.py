"""The chart, as far as it is seen without Helm: its version is the package's, and its schema knows every value."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from rollout.adapters import yaml_text
from rollout.controller.reconcile import INVALID, LOST
from rollout.core.decision import DRIFT_FIGHT
from rollout.engine.status import UNREACHABLE

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "rollout"
VALUES = yaml_text.load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def test_the_chart_has_the_packages_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml_text.load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (project["version"], project["version"])


def names(values: Any, path: str = "") -> set[str]:
    """The paths of all values, and of the mappings that have them."""
    if not isinstance(values, dict):
        return {path}
    return {path}.union(*(names(below, f"{path}.{key}") for key, below in values.items()))


def known(schema: Any, path: str = "") -> set[str]:
    """The paths of all values that a schema has."""
    below = schema.get("properties", {})
    return {path}.union(*(known(one, f"{path}.{key}") for key, one in below.items()))


def test_the_schema_knows_every_value_and_no_other() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert Draft7Validator(SCHEMA).is_valid(VALUES)
    free = {".resources.requests.cpu", ".resources.requests.memory", ".resources.requests"}
    free |= {".resources.limits.memory", ".resources.limits", ".metrics.dashboard.labels.grafana_dashboard"}
    assert names(VALUES) - free == known(SCHEMA) - {".global"}


NAME = re.compile(r"\brollout_[a-z_]+")


def test_people_are_called_for_what_stalls_but_not_for_what_went_back() -> None:
    (told,) = re.findall(
        r'rollout_stalled\{reason=~"([^"]+)"', (CHART / "templates" / "prometheusrule.yaml").read_text()
    )
    assert set(told.split("|")) == {INVALID, LOST.reason, DRIFT_FIGHT, UNREACHABLE, "Preflight", "Trigger"}


def test_alerts_and_dashboard_name_only_what_the_controller_tells() -> None:
    told = set(re.findall(r'"(rollout_[a-z_]+)"', (ROOT / "rollout" / "controller" / "telemetry.py").read_text()))
    ends = ("", "_total", "_bucket")
    for file in (CHART / "templates" / "prometheusrule.yaml", CHART / "dashboards" / "rollout.json"):
        named = set(NAME.findall(file.read_text()))
        assert len(named) >= 6
        assert "rollout_stalled" in named, "what somebody must act upon is seen without looking for it"
        assert named <= {name + end for name in told for end in ends}
