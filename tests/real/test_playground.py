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

from rollout.core.documents import VIRTUAL_SERVICE
from rollout.judge.looks import ALL, FAILED, Series, difference
from rollout.mesh.hosts import fqdn
from rollout.mesh.routes import http_routes, key_of, ours
from rollout.playground.stage import NAMESPACE, Playground
from rollout.ports import Target

pytestmark = pytest.mark.real
TARGET = Target(fqdn("reviews", NAMESPACE), NAMESPACE, (), "v1", "v2")
MIRRORED = """
bake: {min: 2s, max: 60s}
steps: [{mirror: {for: 8s}}, {weight: 50}, {weight: 100}]
confirm: 4s
checks: [{errors: {}}]
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
    users, all_of_it = asked[Series("productpage", "v2", ALL)], answered[Series("reviews-v2", "v2", ALL)]
    assert all_of_it - users > 5 * 200, "what was mirrored is counted where it arrived, and not by who sent it"
    assert answered[Series("reviews-v1", "v1", ALL)] == asked[Series("productpage", "v1", ALL)]


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
    lost = asked[Series("productpage", "v1", FAILED)]
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
