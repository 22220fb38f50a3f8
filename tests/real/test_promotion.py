"""Promotions on a real API server with Istio's CRDs, a real Prometheus, and a real Envoy that obeys the objects."""

import json
from typing import Any

import pytest
import yaml

from rollout.core.documents import VIRTUAL_SERVICE, annotations_of
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import NETWORKING, Mesh, ended, wait

pytestmark = pytest.mark.real


def test_a_good_version_is_promoted_and_nobody_notices(mesh: Mesh) -> None:
    before = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
    code, out, err = ended(mesh.promote("--output", "json"))
    assert code == 0, out + err
    document: dict[str, Any] = json.loads(out)
    assert (document["phase"], document["weight"]) == ("Promoted", "100")
    vs = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
    assert vs["spec"]["http"][0] == before["spec"]["http"][0], "the tester's pin is not ours to change"
    assert not annotations_of(vs)
    assert mesh.weights() == {"v1": 0, "v2": 100}
    assert mesh.seen() == []

    code, out, err = mesh.run("undo", "reviews")
    assert code == 0, out + err
    assert mesh.weights() == {"v1": 100, "v2": 0}
    assert mesh.seen() == []


def test_undo_scales_up_what_was_scaled_away_and_waits_for_it(mesh: Mesh) -> None:
    """No controller runs here, so the test makes the pod of a Deployment ready."""
    assert ended(mesh.promote())[0] == 0
    mesh.scale("reviews-v1", 0)
    mesh.set_ready("reviews-v1-0", False)
    process = mesh.start("undo", "reviews")
    mesh.until(lambda: mesh.replicas("reviews-v1") == 1, process)
    assert mesh.canary() == 100, "nothing moves before it is ready"
    mesh.set_ready("reviews-v1-0", True)
    code, out, err = ended(process)
    assert code == 0, out + err
    assert "scaling Deployment reviews-v1 to 1" in err
    assert "0 of 1 ready, since" in err
    assert mesh.weights() == {"v1": 100, "v2": 0}
    assert mesh.seen() == []


def test_a_bad_version_is_taken_back(mesh: Mesh) -> None:
    mesh.playground.fail("v2", 0.1)
    code, out, err = ended(mesh.promote())
    assert code == 1, out + err
    assert "Breach" in out
    assert mesh.canary() == 0
    assert {kind.split("|")[2] for kind in mesh.seen()} == {"v2"}

    mesh.playground.fail("v2")
    code, out, err = mesh.run("retry", "reviews", "--output", "json")
    assert code == 0, out + err
    document: dict[str, Any] = json.loads(out)
    assert (document["phase"], document["attempt"], document["strategy"]) == ("Promoted", 2, "strategy")
    assert mesh.weights() == {"v1": 0, "v2": 100}
    code, out, err = mesh.run("retry", "reviews")
    assert code == 2, out + err
    assert "was promoted: there is nothing to retry" in err


def test_a_plan_foretells_from_what_prometheus_counted(mesh: Mesh) -> None:
    """The latency check, which asks for the histogram of half an hour ago, among the questions."""
    asked = ("plan", "reviews", "--to", "v2", "--output", "json")
    wait(lambda: json.loads(mesh.run(*asked)[1])["forecast"] is not None, 40)
    plan = json.loads(mesh.run(*asked)[1])
    assert plan["strategy"] == "canary (fitted)"
    assert 100 < plan["forecast"]["rps"] < 450
    assert plan["forecast"]["rate"] < 0.1  # while Envoy starts some fail
    assert [step["weight"] for step in plan["forecast"]["steps"]] == [5, 25, 50]


def test_the_first_time_no_subset_no_weight_no_rule(mesh: Mesh) -> None:
    """One destination without a subset already sends to every version; the first write pins stable."""
    mesh.without_rule()
    code, out, err = mesh.run("plan", "reviews", "--to", "v2", "--from", "v1")
    assert code == 0, err
    assert "the first write pins v1" in out
    assert "DestinationRule bookinfo/reviews is created" in out
    assert "annotations" not in mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")["metadata"]

    assert mesh.run(*mesh.promoting("--from", "v1", "--no-create"))[0] == 2
    code, out, err = ended(mesh.promote("--from", "v1"))
    assert code == 0, out + err
    assert mesh.weights() == {"v1": 0, "v2": 100}
    assert [s["name"] for s in mesh.rule()["spec"]["subsets"]] == ["v1", "v2"]
    assert annotations_of(mesh.rule())["rollout.dev/added-subsets"] == "v1,v2"
    assert mesh.seen() == []


def test_a_third_version_keeps_its_share(mesh: Mesh) -> None:
    split = [{"destination": {"host": "reviews", "subset": v}, "weight": w} for v, w in (("v1", 80), ("v3", 20))]
    mesh.set_routes([{"name": "primary", "route": split}])
    code, _, err = mesh.run(*mesh.promoting())
    assert code == 2
    assert "--from" in err

    process = mesh.promote("--from", "v1")
    mesh.until(lambda: mesh.canary() > 0, process)
    assert mesh.weights() == {"v1": 76, "v2": 4, "v3": 20}
    code, out, err = ended(process)
    assert code == 0, out + err
    assert mesh.weights() == {"v1": 0, "v2": 80, "v3": 20}
    assert mesh.seen() == []


def test_what_is_not_ours_is_kept_to_the_byte(mesh: Mesh) -> None:
    """A tester's header rule, and fields of the moving route that we know nothing of."""
    tester, everybody = mesh.routes()
    tester["headers"] = {"response": {"add": {"x-tester": "yes"}}}
    everybody["corsPolicy"] = {"allowOrigins": [{"exact": "https://shop"}], "maxAge": "24h"}
    everybody["route"][0]["headers"] = {"request": {"set": {"x-route": "main"}}}
    mesh.set_routes([tester, everybody])
    before = mesh.routes()
    code, out, err = ended(mesh.promote())
    assert code == 0, out + err
    after = mesh.routes()
    assert json.dumps(after[0]) == json.dumps(before[0])
    assert after[1]["corsPolicy"] == before[1]["corsPolicy"]
    assert after[1]["route"][0] == before[1]["route"][0] | {"weight": 0}
    assert list(after[1]) == list(before[1])


def test_a_delegate_is_moved_and_the_root_is_left_to_git(mesh: Mesh) -> None:
    """As `rollout gitops --delegate` prints the two; the API server checks them against Istio's schema."""
    whole = mesh.routes()
    code, out, err = mesh.run("gitops", "reviews", "--delegate")
    assert code == 0, err
    delegate, root = yaml.safe_load_all(out)
    mesh.server.call("POST", f"{NETWORKING}/virtualservices?fieldValidation=Strict", delegate)
    try:
        version = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")["metadata"]["resourceVersion"]
        root["metadata"]["resourceVersion"] = version
        mesh.server.call("PUT", f"{NETWORKING}/virtualservices/reviews?fieldValidation=Strict", root)
        assert mesh.routes()[0] == whole[0]
        before = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
        code, out, err = ended(mesh.promote())
        assert code == 0, out + err
        assert mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews") == before
        moved = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, delegate["metadata"]["name"])
        assert [r["weight"] for r in moved["spec"]["http"][0]["route"]] == [0, 100]
        wait(lambda: mesh.playground.events[-1][1] == {"v2": 100}, 20)
        assert mesh.seen() == []
    finally:
        mesh.set_routes(whole)
        mesh.server.call("DELETE", f"{NETWORKING}/virtualservices/{delegate['metadata']['name']}")
