"""Strategies from presets and from users' YAML files, checked key by key, with the line of each fault."""

from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from rollout.adapters import yaml_text
from rollout.adapters.spelling import faults
from rollout.adapters.spelling.strategy import StrategySpec, unsent
from rollout.core.errors import InvalidInput
from rollout.core.strategy import Strategy

LONGEST_FILE, MOST_VALUES = 1_000_000, 10_000
"""Bytes and values of a file beyond which nobody wrote it as a strategy."""


def presets() -> dict[str, str]:
    """The presets by name, as YAML text."""
    files = resources.files("strategies").iterdir()
    return {f.name.removesuffix(".yaml"): f.read_text() for f in sorted(files, key=str) if f.name.endswith(".yaml")}


def load(name: str) -> Strategy:
    """A preset by name, or a file by path. Raises `InvalidInput` with file and line."""
    return parse(*_found(name))


def shown(name: str) -> str:
    """A preset as it is written, comments and all, or a file as it is understood: YAML that `load` takes.

    Raises `InvalidInput` as `load`.
    """
    text, _, source = _found(name)
    model = _model(text, source)
    if source != name:
        return text
    return yaml_text.dump(model.model_dump(mode="json", by_alias=True, exclude_none=True))


def schema() -> dict[str, Any]:
    """The JSON Schema of a strategy: it refuses no strategy that `load` takes, and most that it refuses."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return head | schema_of(StrategySpec) | {"title": "A strategy of rollout"}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of what users write as a model has it."""
    return model.model_json_schema(schema_generator=_Schema)


class _Schema(GenerateJsonSchema):
    """Without titles that repeat the key, and without defaults in a form that users do not write."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False

    def default_schema(self, schema: Any) -> Any:
        return self.generate_inner(schema["schema"])


def _found(name: str) -> tuple[str, str, str]:
    """The text of a strategy, what it is called, and how errors name it."""
    known = presets()
    if name in known:
        return known[name], name, f"strategies/{name}.yaml"
    path = Path(name)
    try:
        if not path.exists():
            raise InvalidInput(f"there is no strategy {name!r}: neither a preset ({', '.join(known)}) nor a file")
        if not path.is_file():  # to open a FIFO would wait for somebody to write
            raise InvalidInput(f"{name} is no regular file; name a preset ({', '.join(known)}) or a file")
        with path.open("rb") as file:
            text = file.read(LONGEST_FILE + 1)
        if len(text) > LONGEST_FILE:
            raise InvalidInput(f"{name} is larger than {LONGEST_FILE // 1_000_000} MB: that is no strategy")
        return text.decode(), path.stem, name
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name} cannot be read as text: {error}") from None


def _model(text: str, source: str) -> StrategySpec:
    try:
        return StrategySpec.model_validate(yaml_text.load(text, MOST_VALUES))
    except yaml_text.NotYaml as error:
        raise InvalidInput(f"{source}:{error.line}: {error}") from None
    except ValidationError as error:
        found = error.errors(include_input=False)
        lines = yaml_text.lines_of(text, [one["loc"] for one in found[: faults.MOST_FAULTS]])
        told = [f"{source}:{line}: {faults.said(one)}" for line, one in zip(lines, found, strict=False)]
        raise InvalidInput("\n".join(faults.counted(told, len(found)))) from None


def parse(text: str, name: str, source: str) -> Strategy:
    """Read a strategy document; `source` names it in errors."""
    strategy = _model(text, source).made(name)
    for place, sentence in unsent(strategy):
        (line,) = yaml_text.lines_of(text, [place])
        raise InvalidInput(f"{source}:{line}: {sentence}")
    return strategy
