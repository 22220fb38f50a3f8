"""Strategies from presets and from users' YAML files, checked key by key, with the line of each fault."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema

from rollout.adapters import yaml_text
from rollout.adapters.spelling.strategy import StrategySpec
from rollout.core.address import host_of
from rollout.core.errors import InvalidInput
from rollout.core.quantities import spoken
from rollout.core.strategy import Step, Strategy

LONGEST_FILE, MOST_VALUES, MOST_FAULTS, LONGEST_FAULT = 1_000_000, 10_000, 10, 300
"""Bytes and values of a file beyond which nobody wrote it as a strategy; how many of its faults are said, and
how much of each.
"""


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
    return head | StrategySpec.model_json_schema(schema_generator=_Schema) | {"title": "A strategy of rollout"}


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
        lines = yaml_text.lines_of(text, [one["loc"] for one in found[:MOST_FAULTS]])
        faults = [f"{source}:{line}: {_said(one)}" for line, one in zip(lines, found, strict=False)]
        more = [f"and {len(found) - MOST_FAULTS} more"] if found[MOST_FAULTS:] else []
        raise InvalidInput("\n".join(faults + more)) from None


def parse(text: str, name: str, source: str) -> Strategy:
    """Read a strategy document; `source` names it in errors."""
    strategy = _model(text, source).made(name)
    for place, step in enumerate(strategy.steps):
        _timely(step, source, text, place)
    return strategy


def _timely(step: Step, source: str, text: str, place: int) -> None:
    """Refuse probes that cannot be sent while their step stands."""
    if step.probe and step.probe.round > step.bake.max:
        (line,) = yaml_text.lines_of(text, [("steps", place, "fault" if step.fault else "probe")])
        raise InvalidInput(
            f"{source}:{line}: {step.probe.count} probes at {step.probe.rps:g} a second take "
            f"{spoken(step.probe.round)}, and the step stands at most {spoken(step.bake.max)}; send fewer, or faster, "
            "or give it more time"
        )


SENTENCES = {
    "extra_forbidden": "there is no such key here",
    "invalid_key": "a key must be text",
    "missing": "this key must be there",
    "model_type": "this must be a mapping, like `key: value`",
    "dict_type": "this must be a mapping, like `key: value`",
    "list_type": "this must be a list",
    "int_type": "this must be a whole number",
    "int_parsing": "this must be a whole number",
    "int_from_float": "this must be a whole number",
    "float_type": "this must be a number",
    "float_parsing": "this must be a number",
    "finite_number": "this must be a number",
    "bool_type": "this must be true or false",
    "bool_parsing": "this must be true or false",
    "greater_than": "this must be more than {gt:g}",
    "greater_than_equal": "this must be {ge:g} at least",
    "less_than_equal": "this must be {le:g} at most",
    "enum": "this must be {expected}",
    "literal_error": "this must be {expected}",
    "too_long": "there are too many of them; {max_length} at most",
    "string_too_long": "this is too long; {max_length} characters at most",
    "too_short": "there must be at least one",
    "string_type": "this must be text",
    "string_too_short": "this must not be empty",
    "string_pattern_mismatch": "this must be one line of text",
}


URL = re.compile(r"(https?)://[^\s'\"]*[^\s'\",.;:)]", re.IGNORECASE)
"""A URL in a sentence: it stands where no URL belongs, and may be a secret all the same."""


def _visible(text: str) -> str:
    """A text in which nothing steers a terminal, nor begins another line: keys are what somebody wrote."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _host_alone(found: re.Match[str]) -> str:
    return f"{found[1]}://{host_of(found[0]) or '?'}/…"


def _said(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    text = str(error["msg"]).removeprefix("Value error, ")
    if sentence := SENTENCES.get(error["type"]):
        text = sentence.format(**error.get("ctx", {}))
    text = URL.sub(_host_alone, _visible(f"{where}: {text}" if where else text))
    half = LONGEST_FAULT // 2
    return text if len(text) <= LONGEST_FAULT else f"{text[:half]} … {text[-half:]}"
