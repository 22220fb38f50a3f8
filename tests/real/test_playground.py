"""The playground's Envoy counts and times like a sidecar of Istio."""

import json
import math
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.adapters.http import client
from rollout.core.documents import POD, VIRTUAL_SERVICE
from rollout.judge.looks import ALL, FAILED, Series, difference
from rollout.mesh.hosts import fqdn
from rollout.mesh.routes import http_routes, key_of, ours
from rollout.playground.stage import ADDRESS, NAMESPACE, Playground
from rollout.ports import Target
from tests.real.mesh import wait

pytestmark = pytest.mark.real
TARGET = Target(fqdn("reviews", NAMESPACE), NAMESPACE, (), "v1", "v2")
MIRRORED = """
bake: {min: 2s, max: 60s}
steps: [{mirror: {for: 8s}}, {weight: 50}, {weight: 100}]
confirm: 4s
checks: [{errors: {}}]
"""

FAULTY = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings, namespace: bookinfo}
spec:
  hosts: [ratings]
  http:
  - match: [{sourceLabels: {app: reviews, version: v2}}]
    fault: {delay: {fixedDelay: 7s, percentage: {value: 100}}}
    route: [{destination: {host: ratings}}]
    timeout: 1s
  - route: [{destination: {host: ratings}}]
"""


def promoted(playground: Playground, strategy: str) -> tuple[int, str, str]:
    (playground.folder / "strategy.yaml").write_text(strategy)
    command = [sys.executable, "-m", "rollout", "promote", "reviews", "--to", "v2", "--cluster", str(playground.folder)]
    command += ["--strategy", str(playground.folder / "strategy.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout, done.stderr


def counted(playground: Playground, reporter: str) -> dict[Series, float]:
    """The counters of the last second, by those who count."""
    target = replace(TARGET, reporter=reporter)
    end = playground.metrics.horizon(target)
    assert end is not None
    return dict(playground.metrics.snapshots(target, end, end, 1.0)[0].counters)


def took(playground: Playground, version: str) -> float:
    """Seconds until a pod of reviews answers as if all were well."""
    address = playground.cluster.get(POD, NAMESPACE, f"reviews-{version}-0")["metadata"]["annotations"][ADDRESS]
    begun = time.monotonic()
    with client(f"http://{address}", timeout=20.0) as pod:
        assert pod.get("/reviews/0").status_code == 200
    return time.monotonic() - begun


def failed(playground: Playground) -> dict[str, int]:
    lines = [json.loads(line) for line in playground.users_log.read_text().splitlines()]
    return dict(sum((Counter(line["failed"]) for line in lines), Counter()))


def answering(playground: Playground) -> None:
    time.sleep(6)
    assert not playground.trouble
    playground.users_log.write_text("")


def test_a_good_version_is_mirrored_then_shifted_then_promoted_and_no_user_notices(tmp_path: Path) -> None:
    with Playground(tmp_path, 200) as playground:
        answering(playground)
        code, out, err = promoted(playground, MIRRORED)
        time.sleep(1.2)
        routes = http_routes(playground.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews"))
        asked, answered = counted(playground, "source"), counted(playground, "destination")
        assert (code, failed(playground)) == (0, {}), out + err
    assert "mirroring 100 % of the reads" in out
    assert not [key_of(route) for route in routes if ours(route)]
    assert [entry["weight"] for entry in routes[-1]["route"]] == [0, 100]
    users, all_of_it = asked[Series("productpage-v1", "v2", ALL)], answered[Series("reviews-v2", "v2", ALL)]
    assert all_of_it - users > 5 * 200, "what was mirrored is counted where it arrived, and not by who sent it"
    assert answered[Series("reviews-v1", "v1", ALL)] == asked[Series("productpage-v1", "v1", ALL)]


def test_a_fault_meets_only_the_client_that_it_is_meant_for(tmp_path: Path) -> None:
    with Playground(tmp_path, 20) as playground:
        changes = len(playground.events)
        document = tmp_path / NAMESPACE / VIRTUAL_SERVICE.name / "ratings.yaml"
        document.write_text(FAULTY)
        wait(lambda: len(playground.events) == changes + 1, 5)
        assert took(playground, "v1") < 0.4
        assert 0.5 <= took(playground, "v2") < 1, "it does without ratings"
        playground.fail("v2", patient=True)
        time.sleep(0.2)
        assert 7 <= took(playground, "v2") < 8, "no timeout of the route ends a delay"
        document.unlink()
        wait(lambda: len(playground.events) == changes + 2, 5)
        assert took(playground, "v2") < 0.4
        assert not playground.trouble


def test_a_service_that_refuses_is_seen_by_its_own_proxy_and_by_its_users(tmp_path: Path) -> None:
    with Playground(tmp_path, 50) as playground:
        answering(playground)
        playground.fail("v1", refuse=True)
        time.sleep(3)
        assert {kind for kind in failed(playground) if "UC" not in kind} == {"503|UF|v1"}
        playground.fail("v1")
        time.sleep(2)
        playground.users_log.write_text("")
        time.sleep(2)
        assert failed(playground) == {}, "it is up again"
        asked, answered = counted(playground, "source"), counted(playground, "destination")
    lost = asked[Series("productpage-v1", "v1", FAILED)]
    assert lost > 50
    assert answered[Series("reviews-v1", "v1", FAILED)] == lost, "one each: the clients' proxies do not ask again"


def test_the_playground_times_its_answers_at_the_edges_of_istio(tmp_path: Path) -> None:
    with Playground(tmp_path, 50) as playground:
        time.sleep(6)
        end = playground.metrics.horizon(TARGET)
        assert end is not None
        before, after = playground.metrics.snapshots(TARGET, end - 3, end, 3.0, None)
        assert not playground.trouble
    stable = difference(before, after, "v1", "v2").stable
    assert stable.requests > 50
    edges, counts = zip(*stable.answers, strict=True)
    assert {0.5, 100.0, 250.0, 2500.0, math.inf} <= set(edges)
    assert list(counts) == sorted(counts)
    assert stable.requests / 2 < counts[-1] < stable.requests * 2, "Envoy merges its histograms once a second"
