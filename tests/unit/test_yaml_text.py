"""Which words are booleans, in files of ours and of users: those of YAML 1.2, so that `on` may be a key."""

import pytest

from rollout.adapters import yaml_text


@pytest.mark.parametrize("text", ["on", "off", "yes", "no", "On", "NO", "y", "n"])
def test_a_word_is_a_word(text: str) -> None:
    assert yaml_text.load(f"{text}: {text}") == {text: text}
    assert yaml_text.load(yaml_text.dump({"a": text})) == {"a": text}


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("TRUE", True)])
def test_true_and_false_are_not(text: str, value: bool) -> None:
    assert yaml_text.load(f"a: {text}")["a"] is value
    assert yaml_text.load(yaml_text.dump({"a": value}))["a"] is value


def test_numbers_and_nothing_are_what_they_were() -> None:
    assert yaml_text.load("{a: 1, b: 1.5, c: null, d: ~, e: '1'}") == {"a": 1, "b": 1.5, "c": None, "d": None, "e": "1"}
