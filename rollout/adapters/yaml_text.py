"""YAML as text: read safely, written plainly, and where in it a value stands."""

from typing import Any

import yaml

# libyaml's loader where PyYAML was built with it: ten times faster on the files read at every look.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
Path = tuple[Any, ...]
"""Keys and indexes from the root of a document to a value."""


class NotYaml(ValueError):
    """The text cannot be read; `line` counts from 1."""

    def __init__(self, error: Exception) -> None:
        mark = getattr(error, "problem_mark", None)
        self.line = mark.line + 1 if mark else 1
        super().__init__(str(getattr(error, "problem", None) or error))


def load(text: str | bytes) -> Any:
    """The one document of a text. Raises `NotYaml`."""
    try:
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - it is a safe loader, in C or not
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotYaml(error) from error


def dump(value: Any) -> str:
    """A value as YAML, keys in their order."""
    return str(yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True))


def line_of(text: str, path: Path) -> int:
    """The line (from 1) of the deepest value of `path` that is written. The text must be readable."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = node.start_mark.line if node else 0
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if not found:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return int(line) + 1
