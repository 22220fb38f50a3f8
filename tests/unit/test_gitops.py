"""`rollout gitops`: what Argo CD must ignore, and a VirtualService split into a root and its delegates."""

import json
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from rollout.adapters.folder import FolderCluster
from rollout.cli.app import app
from rollout.cli.gitops import ignored
from rollout.core.documents import VIRTUAL_SERVICE, Document, copied
from rollout.core.errors import InvalidInput
from rollout.core.strategy import Mirror, Route, Safe
from rollout.mesh.claims import annotation
from rollout.mesh.delegates import merged, split
from rollout.mesh.overlays import laid_out
from rollout.mesh.routes import Pair, http_routes, movable
from tests.unit.test_bad_input import state

HOST = "reviews.shop.svc.cluster.local"
V1, V2, RATINGS = (
    {"destination": {"host": "reviews", "subset": "v1"}},
    {"destination": {"host": "reviews", "subset": "v2"}},
    {"destination": {"host": "ratings"}},
)
ADDED = {
    "resourceVersion": "7", "uid": "x", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
    "managedFields": [{"manager": "argocd-controller"}],
}  # fmt: skip


def vs(*routes: Document, **metadata: Any) -> Document:
    meta = {"name": "reviews", "namespace": "shop", **metadata}
    spec = {"hosts": ["reviews"], "gateways": ["mesh", "edge"], "http": list(routes)}
    return {"apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService", "metadata": meta, "spec": spec}


def weighted(*weights: int) -> list[Document]:
    return [{**to, "weight": weight} for to, weight in zip((V1, V2, RATINGS), weights, strict=False)]


FIELDS = {
    "timeout": "3s", "retries": {"attempts": 3}, "fault": {"delay": {"fixedDelay": "1s"}},
    "mirror": {"host": "ratings"}, "headers": {"request": {"set": {"a": "b"}}}, "rewrite": {"uri": "/x"},
    "unknown": {"kept": [1]},
}  # fmt: skip
MATCHES = ([{"uri": {"regex": "/a.*"}}], [{"uri": {"prefix": "/b"}}, {"port": 80}], [{"gateways": ["mesh"]}])
ROUTES = st.builds(
    lambda name, match, to, fields: name | match | {"route": to} | {key: FIELDS[key] for key in fields},
    st.sampled_from([{}, {"name": "main"}]),
    st.sampled_from([{}, *({"match": match} for match in MATCHES)]),
    st.sampled_from([weighted(100), weighted(80, 20), weighted(0, 80, 20), [RATINGS], [V2]]),
    st.lists(st.sampled_from(sorted(FIELDS)), unique=True),
)


@given(st.lists(ROUTES, min_size=1, max_size=4))
def test_root_and_delegates_together_route_as_before(routes: list[Document]) -> None:
    whole = vs(*routes)
    moving = movable(whole, HOST)
    if not moving:
        with pytest.raises(InvalidInput, match="nothing to delegate"):
            split(whole, HOST)
        return
    root, delegates = split(whole, HOST)
    assert http_routes(merged(root, delegates)) == routes
    assert {**root["spec"], "http": routes} == whole["spec"]
    assert len(delegates) == len(moving)
    for index, route in enumerate(http_routes(root)):
        assert (set(route) <= {"name", "match", "delegate"}) if index in moving else (route == routes[index])
    for one in delegates:
        assert set(one["spec"]) == {"http"}
        assert movable(one, HOST) == [0], "a rollout moves it"
        assert not {"match", "name", "delegate"} & set(http_routes(one)[0])


def test_what_is_the_users_stays_and_what_is_the_servers_goes() -> None:
    labels = {"team": "shop", "app.kubernetes.io/instance": "argo-app", "istio.io/rev": "blue"}
    notes = {"mine": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    whole = vs({"route": [V1]}, labels=labels, annotations=notes, **ADDED)
    whole["spec"] |= {"exportTo": ["."], "tcp": [{"route": [RATINGS]}]}
    whole["status"] = {"observedGeneration": 3}
    root, (delegate,) = split(whole, HOST)
    assert root["metadata"] == {
        "name": "reviews", "namespace": "shop", "labels": labels, "annotations": {"mine": "x"}
    }  # fmt: skip
    assert root["spec"] == {**whole["spec"], "http": [{"delegate": {"name": "reviews-rollout", "namespace": "shop"}}]}
    assert "status" not in root
    assert delegate["metadata"] == {
        "name": "reviews-rollout", "namespace": "shop", "labels": {"istio.io/rev": "blue"}
    }  # fmt: skip
    assert delegate["spec"] == {"http": [{"route": [V1]}], "exportTo": ["."]}
    assert delegate["apiVersion"] == whole["apiVersion"]


CLAIMED = {"annotations": {annotation("ratings", "shop"): "{}"}}


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (vs({"route": [V1]}) | {"spec": {"http": [{"route": [V1]}]}}, "is a delegate already"),
        (vs({"route": [V1]}, **CLAIMED), "is being moved by a rollout"),
        (vs({"name": f"rollout.dev/{HOST}/route/x", "match": [{}], "route": [V2]}, {"route": [V1]}), "is being moved"),
        (vs({"match": [{"uri": {"exact": "/a"}}], "route": [V1]}), "no route for everybody"),
        (vs({"route": [V1]}, name="taken"), "there is a VirtualService shop/taken-rollout already"),
    ],
)
def test_what_cannot_be_split_is_refused(whole: Document, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        split(whole, HOST, ["taken-rollout"])


def test_a_delegate_that_is_not_there_or_conflicts_takes_its_route_with_it() -> None:
    root, (delegate,) = split(
        vs({"match": MATCHES[0], "route": [V1]} | {"route": weighted(80, 20)}, {"route": [RATINGS]}), HOST
    )
    assert http_routes(merged(root, [])) == [{"route": [RATINGS]}]
    delegate["spec"]["http"][0]["match"] = [{"uri": {"prefix": "/a"}}]
    assert http_routes(merged(root, [delegate])) == [{"route": [RATINGS]}]
    delegate["spec"]["http"][0]["match"] = [{"method": {"exact": "GET"}}]
    assert http_routes(merged(root, [delegate]))[0]["match"] == [{**MATCHES[0][0], "method": {"exact": "GET"}}]


# The command


def asked(cluster: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["gitops", "reviews", "--cluster", str(cluster), *more])


def apply(cluster: Path, documents: list[Document]) -> None:
    """As `kubectl apply` would, in a folder."""
    for document in documents:
        name = document["metadata"]["name"]
        path = cluster / "bookinfo" / "VirtualService" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**document, "metadata": document["metadata"] | {"resourceVersion": "1"}}))


def test_the_rules_say_what_to_ignore_and_write_nothing(cluster: Path) -> None:
    before = state(cluster)
    text, document = asked(cluster), json.loads(asked(cluster, "--output", "json").stdout)
    assert state(cluster) == before
    (rule,) = document["argocd"]["spec"]["ignoreDifferences"]
    assert (rule["kind"], rule["namespace"], rule["name"]) == ("VirtualService", "bookinfo", "reviews")
    assert '.metadata.annotations["reviews.bookinfo.rollout.dev/attempt"]' in rule["jqPathExpressions"]
    assert document["strategy"] == {"drift": {"gitopsManagers": ["argocd-controller", "kustomize-controller"]}}
    assert "names one version only" in document["notes"][0]
    found = [yaml.safe_load(part) for part in text.stdout.split("\n\n")]
    told = [document[key] for key in ("argocd", "flux", "strategy", "health")]
    assert [part for part in found if part] == told


@pytest.mark.slow
def test_what_is_printed_can_be_applied_and_a_rollout_moves_the_delegate(cluster: Path, tmp_path: Path) -> None:
    before = state(cluster)
    printed = [*yaml.safe_load_all(asked(cluster, "--delegate").stdout)]
    assert printed == json.loads(asked(cluster, "--delegate", "--output", "json").stdout)["documents"]
    assert state(cluster) == before
    assert [one["metadata"]["name"] for one in printed] == ["reviews-rollout", "reviews"]
    apply(cluster, printed)
    root = (cluster / "bookinfo" / "VirtualService" / "reviews.yaml").read_text()
    strategy = tmp_path / "s.yaml"
    strategy.write_text("bake: 0s\nsteps: [{weight: 50}, {weight: 100}]\nconfirm: 0s\nchecks: []\n")
    done = CliRunner().invoke(
        app, ["promote", "reviews", "--to", "v2", "--strategy", str(strategy), "--cluster", str(cluster)]
    )
    assert done.exit_code == 0, done.output
    moved = FolderCluster(cluster).get(VIRTUAL_SERVICE, "bookinfo", "reviews-rollout")
    assert [entry["weight"] for entry in http_routes(moved)[0]["route"]] == [0, 100]
    assert (cluster / "bookinfo" / "VirtualService" / "reviews.yaml").read_text() == root, "Git's part is not touched"
    again = asked(cluster, "--delegate")
    assert isinstance(again.exception, InvalidInput)
    assert "is a delegate already" in str(again.exception)
    assert "is a delegate: where it is not in Git, nothing has to be ignored" in asked(cluster).stdout


def test_a_delegate_to_which_nobody_delegates_is_refused(cluster: Path) -> None:
    (delegate, _) = json.loads(asked(cluster, "--delegate", "--output", "json").stdout)["documents"]
    path = cluster / "bookinfo" / "VirtualService" / "reviews.yaml"
    path.unlink()
    apply(cluster, [delegate])
    done = CliRunner().invoke(app, ["plan", "reviews", "--to", "v2", "--cluster", str(cluster)])
    assert isinstance(done.exception, InvalidInput)
    assert "has no hosts, and no VirtualService delegates to it" in str(done.exception)


def test_where_nothing_would_move_nothing_is_printed(cluster: Path) -> None:
    for arguments, said in ((["ratings"], "no VirtualService routes to ratings"), (["x"], "there is no Service x")):
        done = CliRunner().invoke(app, ["gitops", *arguments, "--cluster", str(cluster)])
        assert isinstance(done.exception, InvalidInput)
        assert said in str(done.exception)


# The expressions


@pytest.mark.skipif(not shutil.which("jq"), reason="without jq, which is Argo CD's language, nothing is shown")
@pytest.mark.parametrize(
    "acts", [(), (Route({"headers": {"z": {"exact": "1"}}}, sticky=60.0), Mirror(Decimal(50), Safe.READS))]
)
def test_what_a_rollout_writes_is_ignored_and_what_git_changes_is_not(acts: tuple[Any, ...]) -> None:
    """Compared as Argo CD compares: what `del(EXPRESSION)` leaves."""
    git = vs({"match": MATCHES[0], "route": [V2]}, {"name": "main", "timeout": "3s", "route": weighted(100, 0)})
    live = copied(git)
    live["metadata"]["annotations"] = {annotation("reviews", "shop"): "{}", "mine": "x"}
    git["metadata"]["annotations"] = {"mine": "x"}
    live["spec"]["http"], _ = laid_out(live, Pair(HOST, "v1", "v2"), ["name:main"], Decimal(25), acts, {})
    assert live["spec"] != git["spec"]
    assert compared(live) == compared(git)
    for change in ({"timeout": "4s"}, {"match": MATCHES[1]}, {"headers": FIELDS["headers"]}):
        edited = copied(git)
        edited["spec"]["http"][1] |= change
        assert compared(live) != compared(edited)


def compared(document: Document) -> Any:
    (rule,) = ignored("reviews", "shop", [("shop", "reviews")])
    program = " | ".join(f"del({one})" for one in rule["jqPathExpressions"])
    done = subprocess.run(["jq", program], input=json.dumps(document), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
