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


def test_a_key_twice_is_refused_where_a_person_wrote_it_and_not_in_another_mapping() -> None:
    with pytest.raises(yaml_text.NotYaml, match="the key 'b' is there twice") as found:
        yaml_text.load("a:\n- b: 1\n  c: {}\n  b: 2\n", 100)
    assert found.value.line == 4
    assert yaml_text.load("a: &a {b: 1}\nb: [*a, *a, {b: 2}]\n", 100) == {
        "a": {"b": 1},
        "b": [{"b": 1}, {"b": 1}, {"b": 2}],
    }
