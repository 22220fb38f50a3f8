"""The CustomResourceDefinition: what the chart carries is what the models say, in the form that API servers take."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

from rollout.adapters import yaml_text
from rollout.adapters.crd import definition, text
from rollout.adapters.spelling.fields import Spec
from rollout.adapters.spelling.service_rollout import WAYS, ServiceRolloutSpec, ServiceRolloutStatus
from rollout.adapters.strategy_files import presets
from rollout.core.documents import copied
from tests.unit.test_bad_input import STRATEGIES
from tests.unit.test_strategy_files import EVERYTHING, UNSAYABLE

FILE = Path(__file__).parents[2] / "charts" / "rollout" / "crds" / "servicerollouts.yaml"
SCHEMA: Any = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
JUNCTORS = ("allOf", "anyOf", "oneOf")
FOR_JUNCTORS = {*JUNCTORS, "not", "required"}
KNOWN = {
    "description", "type", "properties", "items", "additionalProperties", "required", "enum", "default", "format",
    "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "minItems", "maxItems",
    "minProperties", "maxProperties", *FOR_JUNCTORS, "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
}  # fmt: skip


def test_the_chart_carries_what_the_models_say() -> None:
    assert FILE.read_text() == text(), "run `make crd`"
    assert yaml_text.load(FILE.read_text()) == definition()


def nodes(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every place of the schema at which a value may stand."""
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from nodes(below, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def junctors(schema: Any) -> Iterator[Any]:
    """Every schema below `anyOf` and its like."""
    for below in (*(one for key in JUNCTORS for one in schema.get(key, [])), *filter(None, [schema.get("not")])):
        yield below
        yield from junctors(below)


def test_the_schema_is_structural() -> None:
    places = dict(nodes(SCHEMA))
    assert len(places) > 150
    for node in places.values():
        structural(node)


def structural(node: Any) -> None:
    assert set(node) <= KNOWN
    loose = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string")
    assert ("type" in node) != bool(loose), "a type, or the word that there may be several"
    assert "description" in node or not loose, "what it may be is said to people"
    assert node.get("type") != "array" or "items" in node
    assert not {"properties", "additionalProperties"} <= set(node)
    assert isinstance(node.get("additionalProperties", {}), dict)
    assert isinstance(node.get("exclusiveMinimum", False), bool)
    assert set(node.get("required", [])) <= set(node.get("properties", {}))
    assert "\\u" not in node.get("pattern", ""), "RE2 has no such escape"
    for below in junctors(node):
        assert set(below) <= FOR_JUNCTORS
        assert set(below.get("required", [])) <= set(node["properties"])


def keys(model: type[Spec]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_no_key_of_the_models_is_lost() -> None:
    spec, status = (SCHEMA["properties"][part]["properties"] for part in ("spec", "status"))
    assert set(spec) == keys(ServiceRolloutSpec)
    assert set(status) == keys(ServiceRolloutStatus)
    assert set(spec["strategy"]["properties"]) == set().union(*(keys(model) for model in WAYS.values()))
    places = {path for path, _ in nodes(SCHEMA)}
    assert ".spec.strategy.steps[].fault.only.headers[].regex" in places
    assert ".spec.strategy.checks[].query.for" in places
    assert ".spec.drift.gitopsManagers[]" in places
    assert ".spec.routes.names[]" in places
    assert SCHEMA["properties"]["spec"]["required"] == ["service"]


def readable(node: Any) -> Any:
    """With regular expressions that Python reads, too."""
    if isinstance(node, dict):
        return {k: re.sub(r"\\x\{00(..)\}", r"\\x\1", v) if k == "pattern" else readable(v) for k, v in node.items()}
    return [readable(one) for one in node] if isinstance(node, list) else node


def closed(node: Any) -> Any:
    """Where only known keys may stand, as they alone are kept."""
    if isinstance(node, list):
        return [closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key: closed(below) for key, below in node.items()}
    return found | {"additionalProperties": False} if node.get("type") == "object" and "properties" in node else found


STATUS = Draft4Validator(closed(SCHEMA["properties"]["status"]))
"""Of what we write: no key would be dropped."""
READER = Draft4Validator(readable(copied(SCHEMA)))
"""OpenAPI v3.0 has the validations of JSON Schema's draft 4."""


def admitted(strategy: Any, **more: Any) -> bool:
    return bool(READER.is_valid({"spec": {"service": "reviews", "version": "v2", "strategy": strategy, **more}}))


def test_beside_a_preset_stands_who_is_put_back_and_who_is_told() -> None:
    drift, kept = {"gitopsManagers": ["argocd-controller"]}, {"secret": "hooks", "key": "slack"}
    for url in ("https://hooks.example/T0", kept):
        assert admitted({"name": "canary"}, drift=drift, notify={"url": url})
    for managers in (["argocd"], {"gitopsManagers": "argocd"}):
        assert not admitted({"name": "canary"}, drift=managers)
    for told in ({}, {"url": "x"}):
        assert not admitted({"name": "canary"}, notify=told)


def test_routes_are_named_by_texts() -> None:
    assert admitted({"name": "canary"}, routes={"names": ["api", "web"]})
    for routes in ({}, {"names": "api"}, {"names": [""]}, {"names": [1]}, ["api"]):
        assert not admitted({"name": "canary"}, routes=routes)


@pytest.mark.parametrize("written", [*presets().values(), EVERYTHING])
def test_every_strategy_may_stand_inline(written: str) -> None:
    assert admitted(yaml_text.load(written))


UNKNOWN = {"unknown key", "mirror with another key", "a key that steers the terminal"}
"""Keys that no schema may refuse there: they are dropped, or refused where the client asks for strict fields."""


@pytest.mark.parametrize("name", [n for n, (_, said) in STRATEGIES.items() if said != "not YAML"])
def test_what_is_wrong_by_its_form_is_not_admitted(name: str) -> None:
    assert admitted(yaml_text.load(STRATEGIES[name][0])) == (name in UNSAYABLE | UNKNOWN)
