"""What is wrong with what a user wrote, each fault with its place and in our own words."""

import re
from collections.abc import Iterable
from typing import Any

from rollout.core.address import host_of

Place = tuple[str | int, ...]
"""Keys and indexes from the root of a document to a value."""

MOST_FAULTS, LONGEST_FAULT = 10, 300
"""How many faults of one document are said, and how much of each."""

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


def said(error: Any, under: Place = ()) -> str:
    """One of the errors of a pydantic `ValidationError`, whose root stands `under` a place."""
    text = str(error["msg"]).removeprefix("Value error, ")
    if sentence := SENTENCES.get(error["type"]):
        text = sentence.format(**error.get("ctx", {}))
    return at((*under, *error["loc"]), text)


def at(place: Iterable[str | int], sentence: str) -> str:
    """A sentence with its place before it, of a length that can be read, and without URLs."""
    where = ".".join(str(part) for part in place)
    text = URL.sub(_host_alone, _visible(f"{where}: {sentence}" if where else sentence))
    half = LONGEST_FAULT // 2
    return text if len(text) <= LONGEST_FAULT else f"{text[:half]} … {text[-half:]}"


def counted(faults: list[str], among: int) -> list[str]:
    """The faults that are said, and how many of `among` there are besides."""
    return faults[:MOST_FAULTS] + ([f"and {among - MOST_FAULTS} more"] if among > MOST_FAULTS else [])
