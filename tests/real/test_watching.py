"""`rollout watch` beside a foreign hand: the playground's folder, and a real cluster that lets us read alone."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rollout.core.documents import ENDPOINT_SLICE, SERVICE, VIRTUAL_SERVICE, Document, Kind, name_of, version_of
from rollout.engine.rights import RIGHTS, pairs
from rollout.playground.stage import NAMESPACE, Playground
from tests.real.mesh import STATE, Mesh, ended, set_weights, wait

pytestmark = pytest.mark.real
STRATEGY = "bake: {min: 3s, max: 60s}\nsteps: [{weight: 25}, {weight: 100}]\nconfirm: 4s\nchecks: [{errors: {}}]\n"
READING = [
    {"apiGroups": [kind.group], "resources": [kind.plural], "verbs": [verb]}
    for kind, verb in pairs(RIGHTS)
    if verb in ("get", "list")
]


def by_subset(canary: int) -> list[Document]:
    both = (("v1", 100 - canary), ("v2", canary))
    return [{"destination": {"host": "reviews", "subset": subset}, "weight": weight} for subset, weight in both]


def by_host(canary: int) -> list[Document]:
    both = (("reviews-primary", 100 - canary), ("reviews-canary", canary))
    return [{"destination": {"host": host}, "weight": weight} for host, weight in both]


def harm_told(lines: list[str]) -> dict[str, Any]:
    """The summary, after at least one line that said ROLLBACK."""
    *looks, last = map(json.loads, lines)
    assert any(look["verdict"] == "ROLLBACK" for look in looks)
    assert (last["went_back"], last["ending"]) == (True, "nothing")
    assert 0 < last["failed"]["until"] < last["failed"]["until"] + last["failed"]["after"]
    found: dict[str, Any] = last
    return found


def test_in_the_playground_a_hand_gives_a_bad_version_users_and_we_only_say_so(tmp_path: Path) -> None:
    with Playground(tmp_path, 300) as playground:
        (tmp_path / "strategy.yaml").write_text(STRATEGY)

        def move(canary: int) -> None:
            vs = playground.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
            vs["spec"]["http"][-1]["route"] = by_subset(canary)
            playground.cluster.patch(
                VIRTUAL_SERVICE, NAMESPACE, "reviews", {"spec": {"http": vs["spec"]["http"]}}, version_of(vs)
            )

        time.sleep(6)
        playground.fail("v2", 0.2)
        before = sorted(path.name for path in tmp_path.glob("*/*/*.yaml"))
        command = [sys.executable, "-m", "rollout", "watch", "reviews", "--cluster", str(tmp_path)]
        command += ["--strategy", str(tmp_path / "strategy.yaml"), "-o", "json"]
        with (tmp_path / "out").open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        wait(lambda: "nothing is shifting: v1 has" in (tmp_path / "out").read_text(), 20)
        move(25)
        wait(lambda: "ROLLBACK" in (tmp_path / "out").read_text(), 60)
        time.sleep(3)
        move(0)
        assert process.wait(30) == 1
        users = [json.loads(line)["failed"] for line in playground.users_log.read_text().splitlines()]
        assert sorted(path.name for path in tmp_path.glob("*/*/*.yaml")) == before, "no record, no lease"
    last = harm_told((tmp_path / "out").read_text().splitlines())
    failed = sum(sum(line.values()) for line in users if any("500" in kind for kind in line))
    assert failed - 40 <= last["failed"]["until"] + last["failed"]["after"] <= failed


def test_on_a_cluster_rights_to_read_are_enough_for_flaggers_two_services(mesh: Mesh) -> None:
    """Who watches may read what a promotion reads, and write nothing."""
    mesh.server.grant("pipeline", READING)
    made: list[tuple[Kind, Document]] = []
    for name, version in (("reviews-primary", "v1"), ("reviews-canary", "v2")):
        spec = {"selector": {"app": "reviews", "version": version}, "ports": [{"name": "http", "port": 9080}]}
        made.append((SERVICE, {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}))
        pod = {"kind": "Pod", "name": f"reviews-{version}-0"}
        endpoint = {"addresses": ["10.0.0.9"], "conditions": {"ready": True}, "targetRef": pod}
        labels = {"kubernetes.io/service-name": name}
        metadata = {"name": f"{name}-1", "namespace": NAMESPACE, "labels": labels}
        made.append((ENDPOINT_SLICE, {"metadata": metadata, "addressType": "IPv4", "endpoints": [endpoint]}))
    try:
        for kind, document in made:
            mesh.cluster.create(kind, {"apiVersion": kind.api_version(), "kind": kind.name, **document})
        mesh.edit(lambda route: route.update(route=by_host(0)), "flagger")
        mesh.playground.fail("v2", 0.2)
        process = mesh.start(
            "watch", "reviews", "--strategy", str(mesh.folder / "strategy.yaml"), "-o", "json", user="pipeline"
        )
        time.sleep(5)
        mesh.edit(lambda route: route.update(route=by_host(25)), "flagger")
        time.sleep(25)
        mesh.edit(lambda route: route.update(route=by_host(0)), "flagger")
        code, out, err = ended(process)
    finally:
        for kind, document in made:
            there = mesh.cluster.get(kind, NAMESPACE, name_of(document))
            mesh.cluster.delete(kind, NAMESPACE, name_of(document), version_of(there))
    assert code == 1, out + err
    last = harm_told(out.splitlines())
    assert (last["stable"], last["canary"]) == ("reviews-primary", "reviews-canary")
    assert '"editor": "flagger"' in out
    for group, plural in STATE:
        assert mesh.server.call("GET", f"{group}/namespaces/{NAMESPACE}/{plural}")["items"] == []


def test_on_a_cluster_subsets_are_followed_until_the_new_one_has_everything(mesh: Mesh) -> None:
    process = mesh.start("watch", "reviews", "--strategy", str(mesh.folder / "strategy.yaml"))
    time.sleep(4)
    mesh.edit(lambda route: route.update(route=by_subset(25)), "argo-rollouts")
    time.sleep(15)
    mesh.edit(set_weights(100), "argo-rollouts")
    code, out, err = ended(process)
    assert code == 0, out + err
    assert "v2 at 25 % by argo-rollouts  CONTINUE: v2 fails" in out
    assert "in fact it had everything after 1" in out.splitlines()[-1]
