"""Strategies as files: what editors are told of them, how they are shown, and files that are none."""

import math
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rollout.adapters import yaml_text
from rollout.adapters.strategy_files import load, parse, presets, schema, shown
from rollout.core.documents import copied
from rollout.core.errors import InvalidInput
from rollout.core.strategy import Route
from tests.unit.test_bad_input import GOOD, STRATEGIES, step
from tests.unit.test_docs import BLOCK, YAMLED, completed

SCHEMA = Draft202012Validator(schema())
EVERYTHING = """
description: every key
budget: 1
bake: 1m30s
inconclusive: hold
steps:
- mirror: {percent: .5, for: 90.25s, safe: all}
- {weight: 1.50 %, bake: {min: 0.5s, max: 3m}}
- probe: {url: "http://reviews:9080/a?b", method: post, safe: all, headers: {x-a: "1"}, count: 50, rps: 2.5,
          expect: {status: 201, within: 2s, body: ok}}
- {weight: 2, probe: {url: "https://shop.example/", outside: true, expect: {status: 3xx}}}
- fault: {on: ratings, delay: 7s, percent: 50, only: {headers: {end-user: jason}}, for: 30s, probe: {url: "http://a/"}}
- fault: {on: ratings.shop.svc, abort: 503, everyone: true, probe: {url: "http://a/"}}
- pause: {}
- pause: {for: 1h}
- gate: {person: true, onNo: wait}
- gate: {webhook: "https://ask.example/a?b", timeout: 2h, onTimeout: advance}
- weight: 100
confirm: " 5m "
deadline: 3d
checks:
- errors: {}
- rejections: {worseBy: 7%}
- latency: {over: 250ms, floor: 0.25}
- restarts: {worseBy: 0}
- query: {name: a, promql: up, max: "1e3", min: -1, for: 10s, aggregate: max, onNoData: ignore, onBreach: rollback}
- webhook: {name: b, url: "https://ask.example/a?b", max: 5, onBreach: rollback, onError: ignore}
- webhook: {name: c, url: {secret: hooks, key: c}}
drift: {gitopsManagers: [argocd-controller]}
notify: {url: {secret: hooks, key: slack}}
"""


def accepted(text: str) -> bool:
    return bool(SCHEMA.is_valid(yaml_text.load(text)))


def test_the_schema_is_one_and_says_what_each_key_means() -> None:
    SCHEMA.check_schema(SCHEMA.schema)
    kinds = [SCHEMA.schema, *SCHEMA.schema["$defs"].values()]
    assert all("description" in kind for kind in kinds)
    assert all("default" not in key for kind in kinds for key in kind.get("properties", {}).values())


@pytest.mark.parametrize("text", [*presets().values(), GOOD, EVERYTHING, step("{gate: {person: true}}")])
def test_the_schema_accepts_what_we_take(text: str) -> None:
    assert parse(text, "s", "s").steps
    assert [*SCHEMA.iter_errors(yaml_text.load(text))] == []


def test_the_schema_accepts_every_strategy_that_the_docs_show() -> None:
    for block in (block for path in YAMLED for block in BLOCK.findall(path.read_text())):
        assert "kind: ServiceRollout" in block or accepted(completed(block))


UNSAYABLE = {
    "a key twice", "gate at no port",
    "falling", "mirrors only", "min above max", "for ever", "query without bounds", "query of nobody",
    "mirror of nothing", "mirror of no time", "mirror and bake", "late mirror", "no floor",
    "route of nothing", "route by no regex", "route by an odd header", "route at the end", "mirror after a route",
    "fault of two kinds", "fault of nothing", "fault beside users", "fault for all and for some", "fault for nobody",
    "fault longer than its probes", "fault that bakes", "fault that aborts well",
    "probe that leaves", "probe and route", "probe and bake", "probe that writes",
    "probe of an odd method", "probe with our header", "probe without time",
    "probe of an odd status", "probe at the end", "probe of failures beside users", "probe with a timeout and a bake",
}  # fmt: skip
"""What compares two values, or says more of one than its form."""


@pytest.mark.parametrize("name", [name for name, (_, said) in STRATEGIES.items() if said != "not YAML"])
def test_the_schema_refuses_what_we_refuse_by_form(name: str) -> None:
    assert accepted(STRATEGIES[name][0]) == (name in UNSAYABLE)


REFUSED = {
    "a text for a list": (GOOD.replace("[{weight: 100}]", "100"), "2: steps: this must be a list"),
    "a number for a duration": (GOOD.replace("10s", "10"), "1: bake.min: '10' is no duration"),
    "a step of nothing": (GOOD.replace("[{weight: 100}]", "[{weight: 100}, {pause: }]"), "2: steps.1: a step is one"),
    "two acts, one empty": (step("{weight: 5, pause: }"), "2: steps.0: a step is one of"),
    "a yes of YAML 1.1": (step("{gate: {person: yes}}"), "2: steps.0.gate.person"),
    "a yes that is none": (step("{gate: {person: 1}}"), "2: steps.0.gate.person"),
    "a check of nothing": (GOOD.replace("[]", "[{}]"), "4: checks.0: a check is one of"),
    "floor of restarts": (GOOD.replace("[]", "[{restarts: {floor: 1%}}]"), "4: checks.0.restarts.floor: there is no"),
    "a place to tell that is no URL": (GOOD + "notify: {url: slack}\n", "5: notify.url: this is no URL"),
    "an effect of nobody": (
        GOOD.replace("[]", "[{query: {name: q, promql: up, max: 1, onError: rollback}}]"),
        "4: checks.0.query.onError: must be hold or ignore",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(name: str) -> None:
    text, said = REFUSED[name]
    with pytest.raises(InvalidInput) as refused:
        parse(text, "s", "s")
    assert said in str(refused.value)
    assert not accepted(text) or name == "a step of nothing"


def test_a_preset_is_shown_with_its_comments_and_may_be_used_as_a_file(tmp_path: Path) -> None:
    for name, text in presets().items():
        assert shown(name) == text
        mine = tmp_path / f"{name}.yaml"
        mine.write_text(text)
        assert load(str(mine)) == load(name)


def test_a_file_is_shown_as_it_is_understood(tmp_path: Path) -> None:
    for name, text in {"everything": EVERYTHING, "good": GOOD, **presets()}.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        meant = load(str(path))
        path.write_text(told := shown(str(path)))
        assert load(str(path)) == replace(meant, name=name)
        assert shown(str(path)) == told
        assert accepted(told)
    path.write_text(EVERYTHING)
    understood = yaml_text.load(shown(str(path)))
    assert understood["steps"][0]["mirror"] == {"percent": "0.5%", "for": "90.25s", "safe": "all"}
    assert understood["checks"][0]["errors"] == {"worseBy": "50%", "floor": "0.1%"}


LAUGHS = "\n".join(
    [
        "a: &a [x, x]",
        *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)),
    ]
)
MERGED = LAUGHS.replace("[x, x]", "{x: 1}").replace("[*", "{<<: [*").replace("]", "]}")
FILES: dict[str, tuple[bytes, str]] = {
    "a list": (b"- weight: 5\n", "s.yaml:1: this must be a mapping"),
    "a string": (b"canary\n", "s.yaml:1: this must be a mapping"),
    "empty": (b"", "s.yaml:1: this must be a mapping"),
    "only a comment": (b"# soon\n", "s.yaml:1: this must be a mapping"),
    "10 MB": (GOOD.encode() + b"#" * 10_000_000, "is larger than 1 MB"),
    "not UTF-8": (GOOD.replace("10s", "10s # für").encode("latin-1"), "s.yaml cannot be read as text"),
    "UTF-16": (GOOD.encode("utf-16"), "s.yaml cannot be read as text"),
    "tabs": (b"bake: 10s\nsteps:\n\t- weight: 100\n", "s.yaml:3: this is not YAML: found character that cannot start"),
    "billion laughs": (LAUGHS.encode() + b"\nbake: *k\n", "there are more than 10000 values"),
    "billion merges": (MERGED.encode() + b"\nbake: *k\n", "there are more than 10000 values"),
    "itself": (b"bake: &a [*a]\n", "s.yaml:1: *a names nothing that ended before it"),
    "itself, named twice": (b"confirm: &a 1s\nbake: &a [*a]\n", "s.yaml:2: *a names nothing"),
    "itself, merged": (b"bake: &a\n  <<: *a\n", "s.yaml:2: *a names nothing"),
    "nobody": (b"bake: *a\n", "s.yaml:1: *a names nothing"),
    "deep": (b"bake: " + b"[" * 400_000, "s.yaml:1: this is not YAML: exceeded"),
    "deep blocks": (b"- " * 400_000, "s.yaml:1: this is not YAML: exceeded"),
    "many faults": (GOOD.encode().replace(b"[{", b"[" + b"{}, " * 3000 + b"{"), "and 2990 more"),
    "long digits": (
        GOOD.encode().replace(b"100", b"1" + b"0" * 500_000),
        "s.yaml:1: this is not YAML: Exceeds the limit",
    ),
    "long almost percent": (GOOD.encode().replace(b"100", b'"' + b"9" * 500_000 + b'x"'), "is no percentage"),
    "long almost duration": (GOOD.encode().replace(b"10s", b"9" * 500_000 + b"x"), "s.yaml:1: bake"),
    "long spaces": (GOOD.encode().replace(b"100", b'"1' + b" " * 500_000 + b'x"'), "is no percentage"),
    "two documents": (GOOD.encode() + b"---\n" + GOOD.encode(), "s.yaml:5: this is not YAML"),
    "a key that is a list": (b"? [a, b]\n: c\n", "s.yaml:1: this is not YAML"),
    "a key that is a number": (GOOD.encode() + b"7: c\n", "s.yaml:5: 7: a key must be text"),
    "a tag": (b"bake: !!python/object/apply:os.system [x]\n", "s.yaml:1: this is not YAML"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_strategy_is_refused_at_once(name: str, tmp_path: Path) -> None:
    text, said = FILES[name]
    path = tmp_path / "s.yaml"
    path.write_bytes(text)
    started = time.monotonic()
    with pytest.raises(InvalidInput) as refused:
        shown(str(path))
    assert time.monotonic() - started < 5
    assert said in str(refused.value)
    assert len(str(refused.value)) < 5000


def directory(path: Path) -> None:
    path.mkdir()


def unreadable_name(path: Path) -> None:
    path.symlink_to(path)


MADE: dict[str, tuple[Callable[[Path], None], str]] = {
    "directory": (directory, "is no regular file"),
    "FIFO": (os.mkfifo, "is no regular file"),
    "loop": (unreadable_name, "there is no strategy"),
}


@pytest.mark.parametrize("name", MADE)
def test_what_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    make, said = MADE[name]
    make(tmp_path / "s.yaml")
    with pytest.raises(InvalidInput, match=said):
        load(str(tmp_path / "s.yaml"))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_name_that_no_file_has_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        load(name)


@pytest.mark.parametrize("name", ["FIFO", "billion laughs"])
def test_the_command_refuses_them_with_bounded_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    if name in MADE:
        MADE[name][0](path)
    else:
        path.write_bytes(FILES[name][0])

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    command = [sys.executable, "-m", "rollout", "strategies", "show", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, preexec_fn=bounded)
    assert done.returncode == 2, done.stderr
    assert "s.yaml" in done.stderr


@pytest.mark.parametrize("regex", ["(?=a)b", "(?<!a)b", r"(a)\1", "(?P<n>a)(?P=n)", "a++", "(?>a)", r"a\Z", "(?x) a"])
def test_a_regex_that_envoy_has_not_is_refused(regex: str) -> None:
    with pytest.raises(InvalidInput, match=r"s\.yaml:2: steps\.0\.route\.uri\.regex: .*RE2"):
        parse(step(f"{{route: {{uri: {{regex: '{regex}'}}}}}}"), "s", "s.yaml")


@pytest.mark.parametrize(
    "regex", [r"(user=a)(;.*)?$", "(?i)a", "(?s-i:a)", "(?P<n>a)", r"[(?=]\d+", r"\\1", "[]+]+", r"\++"]
)
def test_a_regex_that_envoy_has_is_taken(regex: str) -> None:
    (route, _) = parse(step(f"{{route: {{uri: {{regex: '{regex}'}}}}}}"), "s", "s.yaml").steps
    assert isinstance(route.act, Route)
    assert route.act.match == {"uri": {"regex": regex}}


@pytest.mark.parametrize(
    "wrong", ["notify: {'https://ann:pw@hooks.example/T0/secret': 1}", "bake: 'https://ann:pw@hooks.example/T0/secret'"]
)
def test_a_url_where_none_belongs_is_not_repeated(wrong: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(f"{wrong}\nsteps: [{{weight: 100}}]\nconfirm: 1s\nchecks: [{{errors: {{}}}}]", "mine", "mine.yaml")
    assert "secret" not in str(caught.value)
    assert "pw" not in str(caught.value)
    assert "https://hooks.example/…" in str(caught.value)


WRONG: list[Any] = [None, -1, 0, 5, 1e300, math.inf, math.nan, True, "", "x", "a\nb", [], [[]], {}, {"x": 1}]


def bent(document: Any) -> Iterator[Any]:
    """The document with one part of it made something else, or left out."""
    places = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for place, part in list(places):
        for other in (*WRONG, *bent(part)):
            changed = copied(document)
            changed[place] = other
            yield changed
        changed = copied(document)
        del changed[place]
        yield changed


def test_whatever_is_written_wrongly_is_told_in_our_words() -> None:
    refused = list[str]()
    for document in bent(yaml_text.load(EVERYTHING)):
        try:
            parse(yaml_text.dump(document), "x", "x.yaml")
        except InvalidInput as error:
            refused.append(str(error))
    assert len(refused) > 1000
    assert not [text for text in refused if re.search(r"[Ii]nput should|validat|unable to|NoneType|<class", text)]
