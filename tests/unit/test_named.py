"""`--route` as it is called: what it plans, moves and tells Git, and what it refuses."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rollout.adapters import yaml_text
from rollout.adapters.folder import FolderCluster
from rollout.cli import undoing
from rollout.cli.app import app
from rollout.core.documents import SERVICE_ROLLOUT, VIRTUAL_SERVICE, Document, Kind, copied
from rollout.core.errors import Forbidden, InvalidInput
from rollout.engine.survey import Request
from rollout.mesh.routes import http_routes
from tests.unit.test_bad_input import GOOD, rollout, state
from tests.unit.test_objects import done, leading, recorded, rolled_out

MATCHES = {"api": [{"uri": {"prefix": "/api"}}], "web": [{"uri": {"prefix": "/"}}]}
HIDDEN = (
    "serves now: v1, v3 (every route to it has a match, and none is named); write `routes: {names: [NAME]}` with those "
    "that are to move (there: api, web); name it with --from, or routes that are to move with --route"
)


@pytest.fixture
def matched(cluster: Path) -> Path:
    """A cluster in which every route to reviews has a match."""
    path = cluster / "bookinfo" / "VirtualService" / "reviews.yaml"
    document = yaml_text.load(path.read_text())
    route = next(one for one in document["spec"]["http"] if not one.get("match"))
    routes = [{**copied(route), "name": name, "match": match} for name, match in MATCHES.items()]
    path.write_text(yaml_text.dump({**document, "spec": {**document["spec"], "http": routes}}))
    return cluster


def asked(cluster: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--cluster", str(cluster)])


def routes_of(cluster: Path) -> dict[str, Document]:
    return {
        route["name"]: route
        for route in http_routes(FolderCluster(cluster).get(VIRTUAL_SERVICE, "bookinfo", "reviews"))
    }


@pytest.mark.parametrize("verb", ["promote", "plan", "gitops"])
def test_help_tells_of_it(verb: str) -> None:
    said = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).stdout
    assert "--route" in said
    assert "move though it has a match" in said


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], HIDDEN),
        (["api", "ipa"], "in VirtualService bookinfo/reviews has the name ipa (there: api, web)"),
        ([""], "--route is the name of a route, not empty"),
    ],
)
@pytest.mark.parametrize("verb", ["promote", "plan"])
def test_what_no_route_is_called_is_bad_input(verb: str, names: list[str], said: str, matched: Path) -> None:
    before = state(matched)
    options = [option for name in names for option in ("--route", name)]
    if not names:
        _, error = rollout(verb, "reviews", "--to", "v2", "--from", "v1", "--cluster", str(matched))
        assert "no route for everybody in VirtualService bookinfo/reviews sends to v1" in error
        assert "such a route with --route" in error
    code, error = rollout(verb, "reviews", "--to", "v2", *options, "--cluster", str(matched))
    assert code == 2, error
    assert said in error
    assert state(matched) == before


def test_a_plan_names_what_moves_and_what_is_left_alone(matched: Path) -> None:
    before = state(matched)
    told = asked(matched, "plan", "reviews", "--to", "v2", "--route", "api")
    assert told.exit_code == 0, told.output
    assert "VirtualService bookinfo/reviews: route name:api moves though it has a match, for it is named" in told.stdout
    assert "VirtualService bookinfo/reviews: route name:web is left alone (a pin" in told.stdout
    both = asked(matched, "plan", "reviews", "--to", "v2", "--route", "api", "--route", "web").stdout
    assert "is left alone" not in both
    assert state(matched) == before


@pytest.mark.slow
def test_a_promotion_moves_what_is_named_and_undo_brings_it_back(matched: Path, tmp_path: Path) -> None:
    strategy, before = tmp_path / "s.yaml", routes_of(matched)
    strategy.write_text(GOOD.replace("10s", "0s").replace("1m", "0s"))
    command = ["promote", "reviews", "--to", "v2", "--route", "web", "--strategy", str(strategy), "--output", "json"]
    done = asked(matched, *command)
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.stdout)["phase"] == "Promoted"
    now = routes_of(matched)
    assert now["api"] == before["api"]
    assert now["web"]["match"] == MATCHES["web"]
    assert [entry["weight"] for entry in now["web"]["route"]] == [0, 100]
    assert asked(matched, "undo", "reviews").exit_code == 0
    assert [entry["weight"] for entry in routes_of(matched)["web"]["route"]] == [100, 0]
    assert routes_of(matched)["api"] == before["api"]


def test_git_is_told_of_what_is_named_by_the_option_or_by_the_object(matched: Path) -> None:
    refused = asked(matched, "gitops", "reviews")
    assert isinstance(refused.exception, InvalidInput)
    assert "no route for everybody" in str(refused.exception)
    told = asked(matched, "gitops", "reviews", "--route", "api").stdout
    assert "ignoreDifferences" in told
    rolled_out(FolderCluster(matched), version="v1", routes={"names": ["api"]})
    assert asked(matched, "gitops", "reviews").stdout == told
    planned = asked(matched, "plan", "reviews", "--to", "v2").stdout
    assert "route name:api moves though it has a match" in planned
    assert "route name:web is left alone (a pin" in planned
    other = asked(matched, "plan", "reviews", "--to", "v2", "--route", "web").stdout
    assert "route name:web moves though it has a match" in other
    assert "route name:api is left alone (a pin" in other
    path = matched / "bookinfo" / SERVICE_ROLLOUT.name / "ours.yaml"
    path.write_text(path.read_text().replace("- api", "- ipa"))
    refused = asked(matched, "gitops", "reviews")
    assert isinstance(refused.exception, InvalidInput)
    assert refused.exception.field == "routes.names"


def test_what_is_named_can_be_delegated_and_needs_no_name_then(matched: Path) -> None:
    found = json.loads(asked(matched, "gitops", "reviews", "--delegate", "--route", "api", "--output", "json").stdout)
    delegate, root = found["documents"]
    assert http_routes(root)[0] == {
        "name": "api", "match": MATCHES["api"], "delegate": {"name": "reviews-rollout", "namespace": "bookinfo"}
    }  # fmt: skip
    assert http_routes(root)[1] == routes_of(matched)["web"]
    assert not {"name", "match"} & set(http_routes(delegate)[0])
    text = asked(matched, "gitops", "reviews", "--delegate", "--route", "api").stdout
    assert text.startswith("# What is delegated has no match, and moves without being named")


def test_what_git_is_told_leaves_out_a_name_that_cannot_be_found(matched: Path) -> None:
    text = "left out: no HTTP route to reviews in VirtualService bookinfo/reviews has the name ipa (there: api, web)"
    command = ["gitops", "reviews", "--route", "api", "--output", "json"]
    whole = json.loads(asked(matched, *command).stdout)
    found = json.loads(asked(matched, *command, "--route", "ipa").stdout)
    assert found == whole | {"notes": [text, *whole["notes"]]}
    refused = asked(matched, "gitops", "reviews", "--route", "ipa").exception
    assert isinstance(refused, InvalidInput)
    assert (refused.field, refused.text) == ("routes.names", text.removeprefix("left out: "))
    nothing = asked(matched, "gitops", "reviews").exception
    assert isinstance(nothing, InvalidInput)
    assert nothing.field == "routes.names"
    assert str(nothing).endswith("; name those with a match that are to move with --route")


UNREAD = "whether a ServiceRollout names routes that move though they have a match is not known: "


def test_where_the_object_may_not_be_read_it_is_said_that_its_names_are_unknown(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ("plan", "reviews", "--to", "v2")
    before = [asked(cluster, *one).stdout for one in (("gitops", "reviews"), plan)]
    every = FolderCluster.list

    def denied(self: FolderCluster, kind: Kind, *rest: Any) -> list[Document]:
        if kind is SERVICE_ROLLOUT:
            raise Forbidden("we may not list servicerollouts")
        return every(self, kind, *rest)

    monkeypatch.setattr(FolderCluster, "list", denied)
    for command, was in zip((("gitops", "reviews"), plan), before, strict=True):
        told = asked(cluster, *command).stdout
        assert (UNREAD in was, UNREAD + "we may not list servicerollouts" in told) == (False, True)
        assert UNREAD not in asked(cluster, *command, "--route", "x").stdout, "then it does not matter"


def test_a_plan_says_nothing_of_a_match_where_there_is_none(cluster: Path) -> None:
    path = cluster / "bookinfo" / "VirtualService" / "reviews.yaml"
    document = yaml_text.load(path.read_text())
    next(one for one in document["spec"]["http"] if not one.get("match"))["name"] = "all"
    path.write_text(yaml_text.dump(document))
    plain = asked(cluster, "plan", "reviews", "--to", "v2").stdout
    assert asked(cluster, "plan", "reviews", "--to", "v2", "--route", "all").stdout == plain
    assert plain


def test_undo_looks_at_the_names_of_the_object_before_it_scales(matched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = FolderCluster(matched)
    rolled_out(folder, version="v2", routes={"names": ["api", "ipa"]})
    recorded(folder, replace(done(), stable="v1", canary="v2", names=("api",)))
    leading(folder, time.time())
    scaled: list[object] = []
    monkeypatch.setattr(undoing, "make_ready", lambda *what: scaled.append(what))
    refused = asked(matched, "undo", "reviews").exception
    assert isinstance(refused, InvalidInput)
    assert (refused.field, "has the name ipa (there: api, web)" in refused.text) == ("routes.names", True)
    assert scaled == []


def test_undo_says_what_still_sends_to_what_is_undone(matched: Path) -> None:
    path = matched / "bookinfo" / "VirtualService" / "reviews.yaml"
    path.write_text(path.read_text().replace("subset: v1", "subset: v2"))
    asks = Request("reviews", "bookinfo", "v1", undoing.strategy(), "v2", names=("api", "ipa"))
    found = undoing.as_it_is(FolderCluster(matched), asks)
    where = "VirtualService bookinfo/reviews"
    lost = f"left alone: no HTTP route to reviews in {where} has the name ipa (there: api, web)"
    still = f"{where}: route name:web still sends to v2, and is left alone"
    assert (found.names, found.why) == (("api",), f"{lost}; {still}")
    assert undoing.as_it_is(FolderCluster(matched), replace(asks, names=("api", "web"))).why == ""
