"""Faults on the way from one version's pods to a host: who meets them, who does not, and what is left of them."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters import yaml_text
from rollout.adapters.strategy_files import presets
from rollout.core.attempt import Drill
from rollout.core.documents import Document
from rollout.core.errors import InvalidInput
from rollout.core.probe import Probe
from rollout.core.strategy import Fault
from rollout.mesh import drills
from rollout.mesh.routes import http_routes
from tests.unit.test_bad_input import fault as drilling
from tests.unit.test_bad_input import state
from tests.unit.test_default_strategy import rollout
from tests.unit.test_overlays import REQUEST, ROUTES, first
from tests.unit.test_routes import vs

HOST = "web.shop.svc.cluster.local"
LABELS = {"app": "web", "version": "v2"}
FAULT = Fault("reviews", Probe("http://web/"), delay=7.0)
JASON = Fault("reviews", Probe("http://web/"), abort=500, only={"headers": {"x": {"exact": "tester"}}})


@given(ROUTES, REQUEST, st.sampled_from([LABELS, {"app": "web", "version": "v1"}]), st.sampled_from([FAULT, JASON]))
def test_only_what_these_pods_ask_meets_the_fault_and_all_goes_where_it_went(
    routes: list[Document], request: Document, labels: dict[str, str], fault: Fault
) -> None:
    request = {**request, "labels": labels, "gateway": "mesh"}
    try:
        made = drills.drilled(vs(*routes), HOST, LABELS, fault)
    except InvalidInput:
        return  # two conditions that no match can say together, or nothing to meet it
    before, after = first(routes, request), first(made, request)
    assert before is not None
    assert after is not None
    meets = (
        "redirect" not in before and labels == LABELS and (fault is FAULT or request["headers"].get("x") == "tester")
    )
    kept = ("name", "match", "fault")
    assert {k: v for k, v in before.items() if k not in kept} == {k: v for k, v in after.items() if k not in kept}
    assert ("fault" in after) == (meets or "fault" in before)
    assert drills.lifted(vs(*made), HOST) == routes
    assert drills.drilled(vs(*made), HOST, LABELS, fault) == made


def test_what_was_a_fault_of_the_users_stays_below_ours() -> None:
    theirs = {"fault": {"abort": {"httpStatus": 418}}, "route": [{"destination": {"host": "reviews"}}]}
    ours, original = drills.drilled(vs(theirs), HOST, LABELS, JASON)
    assert original == theirs
    assert ours["fault"] == {"abort": {"httpStatus": 500, "percentage": {"value": 100.0}}}
    assert ours["match"] == [{"headers": {"x": {"exact": "tester"}}, "sourceLabels": LABELS}]


def test_where_a_match_names_gateways_the_labels_still_count() -> None:
    """Istio asks for labels only where no gateways are named: with both, everybody would meet the fault."""
    edge, both = ({"match": [{"gateways": [*named], "uri": {"prefix": "/a"}}], "route": []} for named in (
        ["edge/gw"], ["edge/gw", "mesh"]))  # fmt: skip
    made = drills.drilled(vs(edge, both), HOST, LABELS, FAULT)
    assert [route.get("match") for route in made[:-2]] == [[{"uri": {"prefix": "/a"}, "sourceLabels": LABELS}]]


def test_a_host_without_routes_gets_a_document_of_ours() -> None:
    drill = Drill("ratings", "ratings.shop.svc.cluster.local", "shop", drills.made_name("web", "ratings"), True, LABELS)
    made = drills.new(drill, drills.annotation("web", "shop"), HOST, "v2-1-7", 3, FAULT)
    assert drills.is_made(made, "web")
    assert not drills.is_made(made, "we")
    assert drills.marked(made, drills.annotation("web", "shop")) == ("v2-1-7", 3)
    assert made["spec"]["exportTo"] == ["."]
    ours, plain = http_routes(made)
    assert plain == {"route": [{"destination": {"host": "ratings.shop.svc.cluster.local"}}]}
    assert ours["fault"]["delay"]["fixedDelay"] == "7s"


def test_a_mark_that_cannot_be_read_is_nobodys() -> None:
    for text in ("", "[]", "{", '{"fence": "x"}'):
        assert drills.marked({"metadata": {"annotations": {"k": text}}}, "k") == ("", 0)


def test_a_plan_shows_the_fault_and_says_what_it_tests(cluster: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(drilling("delay: 7s"))
    before = state(cluster)
    code, out, err = rollout(cluster, "plan", "--strategy", str(path))
    assert (code, err) == (0, "")
    assert "drilling the canary with 7s of delay at ratings: needs 1 ready endpoint(s) of v2; 20 requests GET" in out
    assert "VirtualService bookinfo/rollout-drill.reviews.ratings is made for the drill, and deleted after it" in out
    assert "a drill's delay tests the timeout of v2 itself" in out
    assert "fixedDelay: 7s" in out
    assert state(cluster) == before

    code, out, err = rollout(cluster, "plan", "--strategy", str(path), "--output", "json")
    assert (code, err) == (0, "")
    assert json.loads(out)["changes"][-1]["when"] == "is created while drilling the canary with 7s of delay at ratings"


def test_a_plan_for_a_host_that_has_routes(cluster: Path, tmp_path: Path) -> None:
    routes = [{"route": [{"destination": {"host": "ratings"}}]}]
    document = {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "ratings", "namespace": "bookinfo"}, "spec": {"hosts": ["ratings"], "http": routes},
    }  # fmt: skip
    (cluster / "bookinfo" / "VirtualService" / "ratings.yaml").write_text(yaml_text.dump(document))
    path = tmp_path / "s.yaml"
    path.write_text(drilling("abort: 500, percent: 10, only: {headers: {end-user: jason}}"))
    code, out, err = rollout(cluster, "plan", "--strategy", str(path))
    assert (code, err) == (0, "")
    assert (
        "VirtualService bookinfo/ratings gets the fault above its routes: only pods with app=reviews,version=v2" in out
    )
    assert "a fault for some requests `only` works where v2 passes what they are told by on to whom it asks" in out
    unmet = "its probes do not carry end-user: they meet the fault only where v2 adds that itself"
    assert unmet in out
    assert "VirtualService bookinfo/ratings while drilling the canary with status 500 from ratings (10 %):" in out
    probing = "probe: {headers: {End-User: jason}, "
    path.write_text(path.read_text().replace("probe: {", probing))
    assert probing in path.read_text()
    assert unmet not in rollout(cluster, "plan", "--strategy", str(path))[1]


def test_a_fault_on_nobody_is_refused(cluster: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(drilling("delay: 7s").replace("on: ratings", "on: ratingz"))
    before = state(cluster)
    for verb in ("plan", "promote"):
        code, _, err = rollout(cluster, verb, "--strategy", str(path))
        assert code == 2
        assert "there is no Service ratingz in namespace bookinfo" in err
    assert state(cluster) == before


def test_the_preset_of_a_drill_is_refused_until_it_is_edited(cluster: Path, tmp_path: Path) -> None:
    before = state(cluster)
    for verb in ("plan", "promote"):
        code, _, err = rollout(cluster, verb, "--strategy", "fault-drill")
        assert code == 2
        assert "there is no Service name-a-service-that-it-calls in namespace bookinfo (there: " in err
    assert state(cluster) == before
    text = presets()["fault-drill"].replace("name-a-service-that-it-calls", "ratings", 2)
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("http://name-your-service.svc:80/", "http://reviews.bookinfo.svc:9080/"))
    code, out, err = rollout(cluster, "plan", "--strategy", str(path))
    assert (code, err) == (0, "")
    assert [line.strip().split(":")[0] for line in out.splitlines()[2:5]] == [
        "probing http", "drilling the canary with 7s of delay at ratings", "5 %",
    ]  # fmt: skip


def test_the_preset_of_a_dark_launch_is_planned_as_it_is(cluster: Path) -> None:
    code, out, err = rollout(cluster, "plan", "--strategy", "dark-launch")
    assert (code, err) == (0, "")
    assert "mirroring 100 % of the reads" in out
    assert "routing by headers" in out
    assert "waiting for approval, for at most 24h" in out
