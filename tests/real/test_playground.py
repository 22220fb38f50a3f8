"""The playground's Envoy counts and times like a sidecar of Istio."""

import math
import time
from pathlib import Path

import pytest

from rollout.judge.looks import difference
from rollout.mesh.hosts import fqdn
from rollout.playground.stage import NAMESPACE, Playground
from rollout.ports import Target

pytestmark = pytest.mark.real


def test_the_playground_times_its_answers_at_the_edges_of_istio(tmp_path: Path) -> None:
    target = Target(fqdn("reviews", NAMESPACE), NAMESPACE, (), "v1", "v2")
    with Playground(tmp_path, 50) as playground:
        time.sleep(6)
        end = playground.metrics.horizon(target)
        assert end is not None
        before, after = playground.metrics.snapshots(target, end - 3, end, 3.0, None)
        assert not playground.trouble
    stable = difference(before, after, "v1", "v2").stable
    assert stable.requests > 50
    edges, counts = zip(*stable.answers, strict=True)
    assert {0.5, 100.0, 250.0, 2500.0, math.inf} <= set(edges)
    assert list(counts) == sorted(counts)
    assert stable.requests / 2 < counts[-1] < stable.requests * 2, "Envoy merges its histograms once a second"
