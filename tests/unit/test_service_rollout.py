"""ServiceRollouts as users write them: what is understood, and how each fault is told."""

from dataclasses import replace
from typing import Any

import pytest

from rollout.adapters import yaml_text
from rollout.adapters.spelling.service_rollout import ConfigMapKey, ServiceRollout, declared, strategy_of
from rollout.adapters.strategy_files import load, parse, presets
from rollout.core.address import SecretKey
from rollout.core.attempt import Scale
from rollout.core.documents import CONFIG_MAP
from rollout.core.errors import InvalidInput
from rollout.core.strategy import Strategy
from tests.fakes.memory import MemoryCluster
from tests.unit.test_bad_input import GOOD, STRATEGIES
from tests.unit.test_strategy_files import EVERYTHING

PROBED = "probe: {url: 'http://reviews/', count: 900, timeout: 5m}"


def document(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "ours", "namespace": "shop"}
    whole = {"service": "reviews", "version": "v2"} | spec
    return {"apiVersion": "rollout.dev/v1alpha1", "kind": "ServiceRollout", "metadata": metadata, "spec": whole}


def strategy(written: str) -> dict[str, Any]:
    return document(strategy=yaml_text.load(written))


def test_what_is_left_out() -> None:
    assert declared(document()) == ServiceRollout("shop", "ours", "reviews", "v2", strategy=None, suspend=False)
    assert declared(document(suspend=True, strategy=None)).suspend
    assert declared(document(scale="auto")).scale is Scale.AUTO
    for retire in (None, {}, {"after": "never"}, {"after": "24h"}):
        assert declared(document(retire=retire)) == declared(document())


def test_without_a_version_the_next_that_appears_is_wanted() -> None:
    assert declared(document(version=None, trigger="newVersion")).version == ""


def test_a_strategy_by_a_presets_name() -> None:
    for name in presets():
        assert declared(document(strategy={"name": name})).strategy == load(name)


def test_a_strategy_in_a_config_map() -> None:
    assert declared(document(strategy={"configMap": "ours"})).strategy == ConfigMapKey("ours", "strategy.yaml")
    assert declared(document(strategy={"configMap": "a.b", "key": "c"})).strategy == ConfigMapKey("a.b", "c")


@pytest.mark.parametrize("written", [*presets().values(), GOOD, EVERYTHING])
def test_a_strategy_inline_is_what_it_is_in_a_file(written: str) -> None:
    assert declared(strategy(written)).strategy == parse(written, "inline", "s")


OWN = GOOD + "drift: {gitopsManagers: [theirs]}\nnotify: {url: 'https://theirs.example/'}\n"
"""A strategy that says itself what an object may say in its place."""
WAYS: dict[str, Any] = {"preset": {"name": "canary"}, "ConfigMap": {"configMap": "ours"}, "inline": yaml_text.load(OWN)}


def made(**spec: Any) -> Strategy:
    cluster = MemoryCluster()
    metadata = {"name": "ours", "namespace": "shop"}
    cluster.create(CONFIG_MAP, {"metadata": metadata, "data": {"strategy.yaml": OWN}})
    return strategy_of(cluster, declared(document(**spec)), "cautious")


def test_a_strategy_is_taken_from_where_it_is_kept() -> None:
    assert made(strategy=WAYS["preset"]) == load("canary")
    assert made(strategy=WAYS["ConfigMap"]) == parse(OWN, "ours", "s")
    assert made(strategy=WAYS["inline"]) == parse(OWN, "inline", "s")
    assert made() == load("cautious")


@pytest.mark.parametrize("way", [*WAYS.values(), None])
def test_what_the_object_says_itself_takes_the_place_of_what_the_strategy_says(way: Any) -> None:
    theirs = made(strategy=way)
    drift, notify = {"gitopsManagers": ["argocd-controller"]}, {"url": {"secret": "hooks", "key": "slack"}}
    kept = SecretKey("hooks", "slack")
    found = made(strategy=way, drift=drift, notify=notify)
    assert found == replace(theirs, gitops_managers=("argocd-controller",), notify=kept)
    assert kept in found.secrets
    assert made(strategy=way, drift=drift).notify == theirs.notify
    assert made(strategy=way, notify=notify).gitops_managers == theirs.gitops_managers
    assert made(strategy=way, drift={}).gitops_managers == (), "nobody is named, where a strategy named one"


def test_names_of_routes_are_said_once_each() -> None:
    assert declared(document()).names == ()
    assert declared(document(routes={"names": []})).names == ()
    assert declared(document(routes={"names": ["web", "api", "web"]})).names == ("web", "api")


REFUSED: dict[str, tuple[Any, str]] = {
    "no spec": ({"metadata": {"name": "ours", "namespace": "shop"}}, "spec: this must be a mapping"),
    "nothing in it": (document() | {"spec": {}}, "spec.service: this key must be there"),
    "neither version nor trigger": (document(version=None), "spec: write either `version`, or `trigger: newVersion`"),
    "both": (document(trigger="newVersion"), "spec: write either `version`, or `trigger: newVersion`"),
    "another trigger": (document(version=None, trigger="always"), "spec.trigger: this must be 'newVersion'"),
    "another key": (document(colour="red"), "spec.colour: there is no such key here"),
    "no name of a Service": (document(service="Reviews"), "spec.service: 'Reviews' cannot be the name of a Service"),
    "a host": (document(service="reviews.shop"), "spec.service: 'reviews.shop' cannot be"),
    "a name and a line": (document(service="reviews\n"), "spec.service: 'reviews\\n' cannot be"),
    "no service": (document(service=""), "spec.service: '' cannot be the name"),
    "a version that is a number": (document(version=2), "spec.version: this must be text"),
    "a version with a space": (document(version="v 2"), "spec.version: 'v 2' cannot be a version, like v2"),
    "a long version": (document(version="v" * 64), "spec.version: 'vvv"),
    "a scale that is none": (document(scale="up"), "spec.scale: "),
    "no time to retire": (
        document(retire={"after": "soon"}),
        "spec.retire.after: 'soon' is no duration; write it like",
    ),
    "a time that is a number": (document(retire={"after": 5}), "spec.retire.after: this must be text"),
    "another key to retire": (document(retire={"when": "5m"}), "spec.retire.when: there is no such key here"),
    "drift with another key": (document(drift={"managers": []}), "spec.drift.managers: there is no such key here"),
    "drift by text": (document(drift="argocd"), "spec.drift: this must be a mapping"),
    "a notify that is no URL": (document(notify={"url": "SECRET"}), "spec.notify.url: this is no URL; write it like"),
    "a notify without a URL": (document(notify={}), "spec.notify.url: this key must be there"),
    "routes without names": (document(routes={}), "spec.routes.names: this key must be there"),
    "routes with another key": (document(routes={"names": [], "of": "x"}), "spec.routes.of: there is no such key here"),
    "a list of routes": (document(routes=["api"]), "spec.routes: this must be a mapping"),
    "a route without a name": (document(routes={"names": [""]}), "spec.routes.names.0: this must not be empty"),
    "a suspend that is text": (document(suspend="yes"), "spec.suspend: this must be true or false"),
    "a strategy that is text": (document(strategy="canary"), "spec.strategy: this must be a mapping"),
    "a strategy that is a list": (document(strategy=[]), "spec.strategy: this must be a mapping"),
    "a strategy of nothing": (document(strategy={}), "spec.strategy: write one of `name: PRESET`, `configMap"),
    "a strategy of two": (document(strategy={"name": "canary", "configMap": "a"}), "spec.strategy: write one of"),
    "a preset with more": (document(strategy={"name": "canary", "bake": "1m"}), "spec.strategy.bake: there is no such"),
    "no preset": (
        document(strategy={"name": "canarry"}),
        "spec.strategy.name: there is no preset 'canarry'; there are",
    ),
    "a file": (document(strategy={"name": "/etc/passwd"}), "spec.strategy.name: there is no preset '/etc/passwd'"),
    "a ConfigMap's odd name": (document(strategy={"configMap": "../x"}), "spec.strategy.configMap: '../x' cannot be"),
    "a ConfigMap's odd key": (document(strategy={"configMap": "x", "key": "a/b"}), "spec.strategy.key: 'a/b' cannot"),
    "a URL where none belongs": (
        strategy(GOOD + "notify: {url: {secret: 1}}\nhttps://hooks.example/T0/SECRET: 1\n"),
        "https://hooks.example/…: there is no such key here",
    ),
    "probes that take too long": (
        strategy(GOOD.replace("[{weight", f"[{{{PROBED}}}, {{weight")),
        "spec.strategy.steps.0.probe: 900 probes at 1 a second take 15m, and the step stands at most 5m; send fewer",
    ),
    "a dozen of faults": (
        document(**{f"a{n}": 1 for n in range(12)}),
        "spec.a9: there is no such key here; and 2 more",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_is_told_with_its_field(name: str) -> None:
    written, said = REFUSED[name]
    with pytest.raises(InvalidInput) as refused:
        declared(written)
    assert str(refused.value).startswith("ServiceRollout shop/ours: spec")
    assert said in str(refused.value)
    assert "SECRET" not in str(refused.value)
    assert str(refused.value).isprintable()


SEEN = {"a key twice", "not a mapping", "empty", "no steps"}
"""What is no JSON, or told as a strategy of nothing."""


@pytest.mark.parametrize("name", [n for n, (_, said) in STRATEGIES.items() if said != "not YAML" and n not in SEEN])
def test_what_a_file_may_not_say_may_not_stand_inline(name: str) -> None:
    written, _ = STRATEGIES[name]
    with pytest.raises(InvalidInput) as by_file:
        parse(written, "s", "s")
    with pytest.raises(InvalidInput) as inline:
        declared(strategy(written))
    for line in str(by_file.value).splitlines():
        assert line.split(": ", 1)[1] in str(inline.value)
