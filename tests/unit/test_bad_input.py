"""Bad input: each says what and where, ends with exit code 2, and writes nothing."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from rollout.cli.app import main

GOOD = "bake: 10s\nsteps: [{weight: 100}]\nconfirm: 1m\nchecks: []\n"


def step(text: str) -> str:
    """The good strategy with steps before its weight."""
    return GOOD.replace("[{weight: 100}]", f"[{text}, {{weight: 100}}]")


def fault(text: str) -> str:
    """A strategy with a drill before its weight."""
    return step(f"{{fault: {{on: ratings, {text}, probe: {{url: 'http://reviews/'}}}}}}")


STRATEGIES = {
    "unknown key": (GOOD + "colour: red\n", "5: colour"),
    "falling": (GOOD.replace("[{weight: 100}]", "[{weight: 50}, {weight: 25}, {weight: 100}]"), "must rise"),
    "no steps": ("bake: 10s\nsteps: []\nconfirm: 1m\n", "steps"),
    "percent of 101": ("bake: 10s\nsteps: [{weight: 101}]\nconfirm: 1m\n", "2: steps.0.weight: 101"),
    "parsecs": (GOOD.replace("10s", "5 parsecs"), "1: bake"),
    "not YAML": ("bake: [10s\n", "not YAML"),
    "no floor": (GOOD.replace("[]", "[{errors: {floor: 0%}}]"), "more than 0"),
    "min above max": (GOOD.replace("10s", "{min: 9s, max: 3s}"), "shorter than min"),
    "not a mapping": ("- weight: 5\n", "s.yaml:1"),
    "empty": ("", "s.yaml:1"),
    "no checks": (GOOD.replace("checks: []\n", ""), "checks: this key must be there"),
    "for ever": (GOOD.replace("10s", "9" * 400 + "h"), "longer than 365 days"),
    "query without bounds": (GOOD.replace("[]", "[{query: {name: q, promql: up}}]"), "4: checks.0.query: neither max"),
    "query of nobody": (
        GOOD.replace("[]", "[{query: {name: q, promql: $version, max: 1}}]"),
        "4: checks.0.query",
    ),
    "mirror of nothing": (step("{mirror: {percent: 0, for: 5m}}"), "2: steps.0.mirror.percent: must be more than 0"),
    "mirror of 101": (step("{mirror: {percent: 101, for: 5m}}"), "2: steps.0.mirror.percent: 101 is not between"),
    "mirror without end": (step("{mirror: {percent: 50}}"), "2: steps.0.mirror.for: this key must be there"),
    "mirror of no time": (step("{mirror: {for: 0s}}"), "2: steps.0.mirror.for: must be more than 0s"),
    "mirror of writes": (
        step("{mirror: {for: 5m, safe: writes}}"),
        "2: steps.0.mirror.safe: 'writes' says not which requests may be sent twice; say reads or all",
    ),
    "mirror with another key": (step("{mirror: {for: 5m, color: red}}"), "2: steps.0.mirror.color: there is no such"),
    "mirror and weight": (step("{mirror: {for: 5m}, weight: 5}"), "2: steps.0: a step is one of"),
    "mirror and bake": (step("{mirror: {for: 5m}, bake: 1m}"), "2: steps.0: only a weight or a route bakes"),
    "mirror that is a list": (step("{mirror: [5m]}"), "2: steps.0.mirror: this must be a mapping"),
    "mirror that is text": (step("{mirror: 5m}"), "2: steps.0.mirror: this must be a mapping"),
    "route of nothing": (step("{route: {}}"), "2: steps.0.route: say what it matches"),
    "route of two conditions": (
        step("{route: {uri: {exact: /a, prefix: /b}}}"),
        "2: steps.0.route.uri: write a text, or",
    ),
    "route by no regex": (step("{route: {uri: {regex: '('}}}"), "steps.0.route.uri.regex: '(' is no regular"),
    "route by an odd header": (step("{route: {headers: {'a b': x}}}"), "2: steps.0.route.headers.a b"),
    "route by two cookies": (step("{route: {cookies: {a: x, b: y}}}"), "2: steps.0.route.cookies"),
    "route at the end": (GOOD.replace("weight: 100", "weight: 100, route: {uri: /a}"), "at 100 % everybody is there"),
    "route and gate": (step("{route: {uri: /a}, gate: {person: true}}"), "2: steps.0: a step is one of"),
    "mirror after a route": (step("{route: {uri: /a}}, {mirror: {for: 5m}}"), "step 2 mirrors what users see already"),
    "probe of nothing": (step("{probe: {}}"), "2: steps.0.probe.url: this key must be there"),
    "probe of no URL": (
        step("{probe: {url: 'reviews/?key=s'}}"),
        "2: steps.0.probe.url: this is no URL; write it like",
    ),
    "probe that leaves": (
        step("{probe: {url: 'http://example.com/?key=s'}}"),
        "2: steps.0.probe: example.com is no Service of the cluster (like reviews.shop.svc); where probes may leave it",
    ),
    "probe that writes": (step("{probe: {url: 'http://reviews/', method: post}}"), "2: steps.0.probe: POST changes"),
    "probe of an odd method": (step("{probe: {url: 'http://reviews/', method: BREW}}"), "'BREW' is no method"),
    "probe with our header": (step("{probe: {url: 'http://reviews/', headers: {X-Rollout-Probe: a}}}"), "is ours"),
    "probe of two": (step("{probe: {url: 'http://reviews/', count: 2}}"), "2: steps.0.probe.count"),
    "probe at no pace": (step("{probe: {url: 'http://reviews/', rps: 0}}"), "2: steps.0.probe.rps"),
    "probe of an odd status": (step("{probe: {url: 'http://reviews/', expect: {status: 9xx}}}"), "'9xx' is no status"),
    "probe without time": (
        step("{probe: {url: 'http://reviews/', count: 900, rps: 1, timeout: 5m}}"),
        "2: 900 probes at 1 a second take 15m, and the step stands at most 5m; send fewer",
    ),
    "probe and route": (step("{probe: {url: 'http://reviews/'}, route: {uri: /a}}"), "2: steps.0: a step is one of"),
    "probe and bake": (
        step("{probe: {url: 'http://reviews/'}, bake: 1m}"),
        "2: steps.0: only a weight or a route bakes",
    ),
    "probe at the end": (
        GOOD.replace("weight: 100", "weight: 100, probe: {url: 'http://reviews/'}"),
        "at 100 % everybody is there",
    ),
    "probe of failures beside users": (
        step("{weight: 5}, {probe: {url: 'http://reviews/', expect: {status: 404}}}"),
        "step 2 sends probes that expect neither 2xx nor 3xx",
    ),
    "probe with a timeout and a bake": (
        step("{weight: 5, probe: {url: 'http://reviews/', timeout: 5m}}"),
        "beside a weight its bake says how long",
    ),
    "fault of two kinds": (fault("delay: 7s, abort: 500"), "2: steps.0.fault: a fault is either a `delay: 7s` or an"),
    "fault of nothing": (fault("percent: 5"), "2: steps.0.fault: a fault is either"),
    "fault that aborts well": (
        fault("abort: 200"),
        "2: steps.0.fault.abort: must be a status from 400 to 599, not 200",
    ),
    "fault on nobody": (fault("delay: 7s").replace("on: ratings, ", ""), "2: steps.0.fault.on: this key must be there"),
    "fault without a probe": (step("{fault: {on: ratings, delay: 7s}}"), "2: steps.0.fault.probe: this key must be"),
    "fault beside users": (
        fault("delay: 7s").replace("[{fault", "[{weight: 5}, {fault"),
        "2: steps: step 2 is a fault that users of the canary would meet; put it before the first weight or route",
    ),
    "fault for all and for some": (fault("delay: 7s, everyone: true, only: {headers: {a: b}}"), "leave one out"),
    "fault for nobody": (fault("delay: 7s, only: {}"), "2: steps.0.fault.only: say what it matches"),
    "fault longer than its probes": (fault("delay: 7s, for: 1h"), "say a longer probe.timeout"),
    "fault that bakes": (
        fault("delay: 7s").replace("}}}, {w", "}}, bake: 1m}, {w"),
        "2: steps.0: only a weight or a route bakes",
    ),
    "neither": (step("{}"), "2: steps.0: a step is one of"),
    "late mirror": (step("{weight: 5}, {mirror: {for: 5m}}"), "2: steps: step 2 mirrors what users see already"),
    "mirrors only": (GOOD.replace("{weight: 100}", "{mirror: {for: 5m}}"), "2: steps: no step has a weight"),
    "gate at no port": (step("{gate: {webhook: 'http://a:99999/key'}}"), "2: steps.0.gate.webhook: this is no URL"),
    "a key twice": (GOOD + "steps: [{weight: 100}]\n", "5: the key 'steps' is there twice"),
    "a key that steers the terminal": (
        GOOD + r'"\e[31m\nred": 1' + "\n",
        r"5: \x1b[31m\nred: there is no such key here",
    ),
    "binary": ("\x00\x01", "not YAML"),
}


def state(folder: Path) -> dict[str, str]:
    return {str(p): p.read_text() for p in sorted(folder.rglob("*.yaml"))}


def rollout(*arguments: str) -> tuple[int, str]:
    """The whole command line in this process: a new one takes half a second, and there are hundreds."""
    error = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(io.StringIO()), redirect_stderr(error):
        patched.setattr(sys, "argv", ["rollout", *arguments])
        patched.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), error.getvalue()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_bad_strategy(name: str, cluster: Path, tmp_path: Path) -> None:
    text, said = STRATEGIES[name]
    path = tmp_path / "s.yaml"
    path.write_text(text)
    before = state(cluster)
    code, error = rollout("promote", "reviews", "--to", "v2", "--strategy", str(path), "--cluster", str(cluster))
    assert code == 2, error
    assert said in error
    assert "s.yaml:" in error
    assert state(cluster) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reviwes", "--to", "v2"), "no Service reviwes"),
        (("reviews", "--to", "v9"), "no pod of reviews carries the label version=v9"),
        (("reviews", "--to", "v1"), "at v1 already"),
        (("reviews", "--to", "v2", "--from", "v7"), "version=v7"),
        (("ratings", "--to", "v1"), "no VirtualService routes to ratings"),
        (("reviews", "--to", "v2", "--strategy", "canarry"), "no strategy 'canarry'"),
        (("reviews", "--to", "v2", "--timeout", "soon"), "'soon' is no duration"),
        (("reviews", "--to", "v2", "--output", "xml"), "--output"),
    ],
)
def test_a_bad_request(arguments: tuple[str, ...], said: str, cluster: Path) -> None:
    before = state(cluster)
    code, error = rollout("promote", *arguments, "--cluster", str(cluster))
    assert code == 2, error
    assert said in error
    assert state(cluster) == before


def test_a_query_in_a_playground(cluster: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD.replace("[]", "[{query: {name: q, promql: up, max: 1}}]"))
    before = state(cluster)
    for verb in ("plan", "promote"):
        code, error = rollout(verb, "reviews", "--to", "v2", "--strategy", str(path), "--cluster", str(cluster))
        assert code == 2, error
        assert "the check `query` 'q': the playground has counters only, and this takes a Prometheus" in error
    assert state(cluster) == before


def test_nothing_to_judge_where_nothing_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD.replace("[]", "[{query: {name: q, promql: up, max: 1}}]"))
    for verb in (("judge",), ("backtest", "reviews", "--to", "v2", "--at", "2026-11-24T14:05:00Z", "-n", "shop")):
        code, error = rollout(*verb, "--strategy", str(path))
        assert code == 2, error
        assert "the strategy s compares no versions" in error


def test_no_ready_endpoints(cluster: Path) -> None:
    path = cluster / "bookinfo" / "EndpointSlice" / "reviews-1.yaml"
    path.write_text(path.read_text().replace("ready: true", "ready: false"))
    code, error = rollout("promote", "reviews", "--to", "v2", "--cluster", str(cluster))
    assert code == 2
    assert "ready" in error


def test_two_virtual_services_for_one_host(cluster: Path) -> None:
    path = cluster / "bookinfo" / "VirtualService" / "reviews.yaml"
    (path.parent / "other.yaml").write_text(path.read_text().replace("name: reviews\n", "name: other\n", 1))
    code, error = rollout("promote", "reviews", "--to", "v2", "--cluster", str(cluster))
    assert code == 2
    assert "both claim" in error


def test_weights_that_name_neither_version(cluster: Path) -> None:
    path = cluster / "bookinfo" / "VirtualService" / "reviews.yaml"
    path.write_text(path.read_text().replace("subset: v1", "subset: v3"))
    before = state(cluster)
    code, error = rollout("promote", "reviews", "--to", "v2", "--from", "v1", "--cluster", str(cluster))
    assert code == 2
    assert "no route for everybody in VirtualService bookinfo/reviews sends to v1" in error
    assert state(cluster) == before


def test_an_object_that_is_not_yaml(cluster: Path) -> None:
    path = cluster / "bookinfo" / "VirtualService" / "reviews.yaml"
    path.write_text("spec: [\n")
    code, error = rollout("plan", "reviews", "--to", "v2", "--cluster", str(cluster))
    assert code == 2
    assert "reviews.yaml:2: this is not YAML" in error


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"),
    [
        ("VirtualService/reviews", "  http:", "  http: x\n  old:", "spec.http is not a list of routes"),
        ("VirtualService/reviews", "spec:", "spec: x\nold:", "`spec` is not a mapping"),
        ("Service/reviews", "spec:", "spec: x\nold:", "`spec` is not a mapping"),
        ("Pod/reviews-v1-0", "  labels:", "  labels: x\n  old:", "`labels` is not a mapping"),
        ("DestinationRule/reviews", "name: reviews", "name: other", "file and object have one name"),
    ],
)
def test_an_object_of_another_shape(kind: str, old: str, new: str, said: str, cluster: Path) -> None:
    path = cluster / "bookinfo" / f"{kind}.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    before = state(cluster)
    code, error = rollout("promote", "reviews", "--to", "v2", "--cluster", str(cluster))
    assert code == 2, error
    assert said in error
    assert state(cluster) == before


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    code, error = rollout("status", "reviews", "--cluster", str(tmp_path / "nowhere"))
    assert code == 2
    assert "playground up" in error


def test_a_kubeconfig_without_the_context(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("apiVersion: v1\nkind: Config\ncontexts: []\nclusters: []\nusers: []\ncurrent-context: ''\n")
    command = [sys.executable, "-m", "rollout", "status", "reviews", "--context", "prod"]  # it is read once a process
    done = subprocess.run(
        command, env=os.environ | {"KUBECONFIG": str(path)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert "prod" in done.stderr
