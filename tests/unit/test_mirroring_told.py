"""What people and scripts are told of a step that mirrors: by `plan`, `explain` and the JSON of `status`."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from rollout.adapters import yaml_text
from rollout.cli.console import document as shown
from rollout.cli.explaining import explained
from rollout.core.attempt import Attempt, RouteRef
from rollout.core.documents import Document
from rollout.core.lifecycle import Phase
from rollout.mesh.envoy import Source, routes
from tests.simulation.world import mirroring, strategy
from tests.unit.test_bad_input import GOOD, state
from tests.unit.test_default_strategy import rollout
from tests.unit.test_routes import to, vs

SHIFTING = Attempt(
    1, "reviews", "shop", "v1", "v2", strategy(steps=(mirroring(50, seconds=300.0), *strategy().steps)),
    (RouteRef("shop", "reviews", ("*",)),), started=0.0, deadline=900.0, phase=Phase.SHIFTING, step=0, since=60.0,
    landed=60.0, message="mirroring 50 % of the reads",
)  # fmt: skip


def test_a_plan_shows_the_route_that_comes_and_goes(cluster: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    steps = "[{mirror: {percent: 50, for: 5m}}, {weight: 25}, {weight: 100}]"
    path.write_text(GOOD.replace("[{weight: 100}]", steps))
    before = state(cluster)
    code, out, err = rollout(cluster, "plan", "--strategy", str(path))
    assert (code, err) == (0, "")
    assert (
        "mirroring 50 % of the reads: needs 1 ready endpoint(s) of v2; stands 5m; no user sees an answer of v2" in out
    )
    name = "- name: rollout.dev/reviews.bookinfo.svc.cluster.local/mirror/name:primary"
    assert [line.strip() for line in out.splitlines() if name in line] == [f"+{name}", f"-{name}"]

    code, out, err = rollout(cluster, "plan", "--strategy", str(path), "--output", "json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert plan["steps"][0].startswith("mirroring 50 % of the reads: needs 1")
    changes = {change["when"]: change["diff"] for change in plan["changes"]}
    assert list(changes) == ["with v2 at 0 %", "mirroring 50 % of the reads", "with v2 at 25 %", "with v2 at 100 %"]
    assert f"+{name}" in changes["mirroring 50 % of the reads"]
    assert not any(line.startswith("-") for line in changes["mirroring 50 % of the reads"])
    assert f"-{name}" in changes["with v2 at 25 %"]
    assert state(cluster) == before


def test_what_cannot_be_mirrored_is_refused_by_plan_and_promote_alike(cluster: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD.replace("[{weight: 100}]", "[{mirror: {for: 5m}}, {weight: 100}]"))
    route = cluster / "bookinfo" / "VirtualService" / "reviews.yaml"
    document = yaml_text.load(route.read_text())
    split = [to("v1", 90), to("v2", 10)]
    document["spec"]["http"].insert(0, {"match": [{"method": {"regex": r"\w+"}}], "route": split})
    route.write_text(yaml_text.dump(document))
    before = state(cluster)
    for verb in ("plan", "promote"):
        code, _, err = rollout(cluster, verb, "--strategy", str(path))
        assert code == 2, err
        assert "VirtualService bookinfo/reviews: a route that moves matches method {'regex': '\\\\w+'}" in err
    assert state(cluster) == before


def test_explain_says_what_goes_on_until_when() -> None:
    told = "\n".join(explained(SHIFTING, 100.0, ""))
    assert "It is mirroring 50 % of the reads until" in told
    assert "at least; no user sees v2 yet." in told
    assert "Before " not in told
    assert (hint := "Whether the proxies obey is what `rollout explain reviews --proxies` asks them.") in told
    assert hint not in explained(SHIFTING, 100.0, "", asked=True)
    unlanded = replace(SHIFTING, landed=0.0)
    assert list(explained(unlanded, 100.0, "")) == list(explained(SHIFTING, 100.0, "")), "the record may not say it yet"
    weights = "\n".join(explained(replace(SHIFTING, step=1, weight=Decimal(5)), 100.0, ""))
    assert "Before 25 % it waits for evidence" in weights
    fought = replace(SHIFTING, phase=Phase.PAUSED, fought=True)
    told = "\n".join(explained(fought, 100.0, ""))
    assert '.spec.http[] | select((.name // "") | startswith("rollout.dev/"))' in told
    assert "`rollout gitops reviews` says more" in told


def test_scripts_see_the_act() -> None:
    assert shown(SHIFTING)["act"] == "mirroring 50 % of the reads"
    assert shown(replace(SHIFTING, step=1))["act"] is None


def test_envoy_repeats_as_istio_lets_it() -> None:
    service: Document = {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {"ports": [{"port": 9080}]}}
    canary = {"destination": to("v2")["destination"]}
    mirrors = [canary, canary | {"percentage": {"value": 0.5}}, canary | {"percentage": {}}]
    config = routes([service], [vs({"route": [to("v1")], "mirrors": mirrors})], Source("shop", {}))
    made = config["virtual_hosts"][0]["routes"][0]["route"]
    parts = [policy["runtime_fraction"]["default_value"]["numerator"] for policy in made["request_mirror_policies"]]
    assert parts == [1_000_000, 5_000]
    assert made["request_mirror_policies"][0]["cluster"] == "outbound|9080|v2|reviews.shop.svc.cluster.local"
