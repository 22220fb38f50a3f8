"""The CustomResourceDefinition of ServiceRollout: the models of its spec and status as a structural schema."""

import re
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rollout.adapters import yaml_text
from rollout.adapters.spelling.service_rollout import ONE_OF_BOTH, ServiceRolloutSpec, ServiceRolloutStatus
from rollout.adapters.strategy_files import schema_of
from rollout.core.documents import SERVICE_ROLLOUT, UNSEEN, Document, copied

PRESERVED, INT_OR_TEXT = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"
RULES, LIST_TYPE, LIST_KEYS = "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"
MAP_TYPE = "x-kubernetes-map-type"
Node = dict[str, Any]

ONE_STRATEGY: Node = {
    "rule": "[has(self.name), has(self.configMap), has(self.steps)].filter(one, one).size() == 1",
    "message": "write one of `name: PRESET`, `configMap: NAME`, and the strategy itself with its `steps`",
}
SAME_SERVICE: Node = {
    "rule": "self == oldSelf",
    "message": "the service cannot be changed: delete this ServiceRollout, and make one for the other service",
}
ONE_WISH: Node = {"rule": "has(self.version) != has(self.trigger)", "message": ONE_OF_BOTH}
COLUMNS: tuple[tuple[str, str, str, bool], ...] = (
    ("Service", "string", ".spec.service", False),
    ("Version", "string", ".spec.version", False),
    ("Phase", "string", ".status.phase", False),
    ("Weight", "number", ".status.weight", False),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', False),
    ("Strategy", "string", ".spec.strategy.name", True),
    ("Message", "string", ".status.message", True),
    ("Retires", "string", ".status.retireAt", True),  # of a date its age would be shown, and none that is to come
    ("Age", "date", ".metadata.creationTimestamp", False),
)
"""Name, type, path, and whether it is shown with `-o wide` only."""


def definition() -> Document:
    """The CustomResourceDefinition as a document."""
    kind, (version,) = SERVICE_ROLLOUT, SERVICE_ROLLOUT.versions
    names = {
        "kind": kind.name, "listKind": f"{kind.name}List", "plural": kind.plural,
        "singular": kind.name.lower(), "shortNames": ["sr"],
    }  # fmt: skip
    served = {
        "name": version, "served": True, "storage": True, "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path, **({"priority": 1} if wide else {})}
            for name, type_, path, wide in COLUMNS
        ],
        "schema": {"openAPIV3Schema": _whole()},
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {"group": kind.group, "names": names, "scope": "Namespaced", "versions": [served]},
    }


def text() -> str:
    """The file that the chart carries."""
    return "# Written by `make crd` from rollout/adapters/spelling; do not edit.\n" + yaml_text.dump(definition())


def _whole() -> Node:
    spec, status = structural(ServiceRolloutSpec), structural(ServiceRolloutStatus)
    below = spec["properties"]
    spec[RULES] = [ONE_WISH]
    below["service"][RULES] = [SAME_SERVICE]
    below["strategy"][RULES] = [ONE_STRATEGY]
    below["suspend"]["default"] = False
    below["scale"]["default"] = "wait"
    below["retire"]["properties"]["after"]["default"] = "never"
    status["properties"]["conditions"] |= {LIST_TYPE: "map", LIST_KEYS: ["type"]}
    status["default"] = dict(UNSEEN)
    # We write all of it, and to tell who owns which line of it took the API server a sixth of each write.
    status[MAP_TYPE] = "atomic"
    return {
        "description": "A service of the mesh, and the version of it that is to serve.",
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "required": ["spec"],
    }


def structural(model: type[BaseModel]) -> Node:
    """The schema of a model as the API server takes it: nothing that it refuses, and as little lost as can be."""
    schema = schema_of(model)
    made: Node = copied(_Structural(schema.get("$defs", {})).of(schema))  # YAML would write what is shared as an alias
    return made


class _Structural:
    """JSON Schema to the structural form: a type at every place, none below `anyOf`, and no references."""

    def __init__(self, known: Node) -> None:
        self._known = known

    def of(self, schema: Node) -> Node:
        """The structural form of a schema."""
        schema = self._resolved(schema)
        options = [one for one in map(self._resolved, schema.pop("anyOf", [])) if one.get("type") != "null"]
        if len(options) == 1:
            schema = options.pop() | schema
        if not options:
            return self._facts(schema)
        said = {"description": schema["description"]} if "description" in schema else {}
        forms = [self._facts(one) for one in options]
        types = [form.pop("type") for form in forms]
        if set(types) == {"object"}:
            return said | _one_of(forms)
        whole = {INT_OR_TEXT: True} if set(types) == {"integer", "string"} else {PRESERVED: True}
        merged: Node = {}
        for form in forms:
            merged = form | merged
            if "properties" in form:  # unknown keys are kept there; their number tells them all the same
                merged.setdefault("maxProperties", len(form["properties"]))
        return merged | said | whole

    def _resolved(self, schema: Node) -> Node:
        """Without a reference, or what only people's editors need."""
        name = schema.get("$ref", "").rpartition("/")[2]
        found = (self._known[name] if name else {}) | schema
        return {key: value for key, value in found.items() if key not in ("$ref", "title", "$defs")}

    def _facts(self, schema: Node) -> Node:
        """What holds where one type may stand."""
        said = {"description": schema["description"]} if "description" in schema else {}
        facts: Node = said | {"type": schema.get("type", "string" if "enum" in schema else "object")}
        for key, value in schema.items():
            if key not in facts:
                facts |= self._fact(key, value, schema)
        return facts

    def _fact(self, key: str, value: Any, schema: Node) -> Node:
        match key:
            case "properties":
                return {key: {name: self.of(one) for name, one in value.items()}}
            case "items":
                return {key: self.of(value)}
            case "additionalProperties":  # "none" is said by no schema: the server drops or refuses what is unknown
                return {key: self.of(value)} if value else {}
            case "patternProperties":
                (below,) = value.values()
                return {"additionalProperties": self.of(below)}
            case "pattern":
                return {key: re.sub(r"\\u([0-9a-f]{4})", r"\\x{\1}", value)}  # as RE2 writes it
            case "exclusiveMinimum":
                return {"minimum": value, key: True}
            case "oneOf" if value == [{"required": [name]} for name in schema["properties"]]:
                return {"minProperties": 1, "maxProperties": 1}  # where a text may stand, `required` would refuse it
            case _:
                return {key: value}


def _one_of(forms: list[Node]) -> Node:
    """A mapping that is one of several: where keys of one stand, there is all that it must have.

    Which one, a rule says in better words.
    """
    every: Node = {}
    whole = []
    for form in forms:
        every |= form["properties"]
        none = {"not": {"anyOf": [{"required": [key]} for key in form["properties"]]}}
        if len(form["properties"]) > 1:
            whole.append({"anyOf": [{"required": form["required"]}, none]})
    return {"type": "object", "properties": every, "allOf": whole}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
