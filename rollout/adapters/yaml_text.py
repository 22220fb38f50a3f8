"""YAML as text: read safely, written plainly, and where in it a value stands."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

# libyaml's loader where PyYAML was built with it: ten times faster on the files read at every look.
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_BOOLEAN = "tag:yaml.org,2002:bool"


class _LOADER(_SAFE):  # type: ignore[misc, valid-type]  # the C one, or not
    """As YAML 1.2 has it: `on`, `off`, `yes` and `no` are text, so that `on` may be a key."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the library has it
        first: [(tag, pattern) for tag, pattern in known if tag != _BOOLEAN]
        for first, known in _SAFE.yaml_implicit_resolvers.items()
    }


_LOADER.add_implicit_resolver(_BOOLEAN, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Path = tuple[Any, ...]
"""Keys and indexes from the root of a document to a value."""


class NotYaml(ValueError):
    """The text cannot be read; `line` counts from 1."""

    def __init__(self, error: Exception) -> None:
        mark = getattr(error, "problem_mark", None)
        self.line = mark.line + 1 if mark else 1
        said = str(getattr(error, "problem", None) or error)
        said += " (is it a tab?)" if "cannot start any token" in said else ""
        super().__init__(said if isinstance(error, _Unbounded) else f"this is not YAML: {said}")


class _Unbounded(yaml.MarkedYAMLError):
    """Well written, and yet nothing to build."""


def load(text: str | bytes, most: int = 0) -> Any:
    """The one document of a text. Raises `NotYaml`.

    With `most`, a text that a person wrote: also where it has more values than that, or a key twice in one mapping.
    """
    try:
        if most:
            _bound(text, most)
            _once(text)
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - it is a safe loader, in C or not
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotYaml(error) from error


def _bound(text: str | bytes, most: int) -> None:
    """Count the values, those behind an alias each time that it stands there: a small text can mean a huge document."""
    count, sizes, begun = 0, dict[str, int](), list[tuple[str, int]]()
    for event in yaml.parse(text, Loader=_LOADER):
        problem, anchor = "", getattr(event, "anchor", None) or ""
        if isinstance(event, yaml.AliasEvent) and anchor not in sizes:
            problem = f"*{anchor} names nothing that ended before it"
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = begun.pop()
            sizes[anchor] = count - before
        elif isinstance(event, yaml.CollectionStartEvent):
            begun.append((anchor, count))
            sizes.pop(anchor, None)
            count += 1
        elif isinstance(event, yaml.NodeEvent):
            count += sizes[anchor] if isinstance(event, yaml.AliasEvent) else 1
            sizes.setdefault(anchor, 1)
        if count > most or problem:
            problem = problem or f"there are more than {most} values"
            raise _Unbounded(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]  # or the C one


def _once(text: str | bytes) -> None:
    """Refuse a key that stands twice in one mapping: the first would be lost, and nobody would notice."""
    seen, left = set[int](), [yaml.compose(text, Loader=_LOADER)]
    while left:
        node = left.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += node.value
            continue
        keys = set[tuple[str, str]]()
        for key, value in node.value:
            left.append(value)
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in keys:
                raise _Unbounded(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
            keys.add((key.tag, key.value))


def dump(value: Any) -> str:
    """A value as YAML, keys in their order."""
    return str(yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True))


def lines_of(text: str, paths: Iterable[Path]) -> list[int]:
    """The line (from 1) of the deepest value of each path that is written. The text must be readable."""
    root = yaml.compose(text, Loader=_LOADER)
    return [_line_of(root, path) for path in paths]


def _line_of(node: Any, path: Path) -> int:
    line = node.start_mark.line if node else 0
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if not found:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return int(line) + 1
