"""The judge's promises over whole virtual rollouts as shipped, from seeds. `bench/judge.py` has the long tables.

Slow: `make test` runs it, `make check` does not.
"""

import math

import pytest

from bench.judge import CANARY, OUTAGE, truths, upper
from rollout.lab.study import ours, theirs
from rollout.lab.traffic import Truth

pytestmark = pytest.mark.slow
RUNS = 80
MOST = 3
"""Rollbacks of 80 good versions: were the chance 1 %, there would be more in fewer than 1 of 100 tries."""

GOOD = {
    "independent errors": (Truth(100, 0.01, 0.01), None),
    "clumps of 5": (Truth(100, 0.005, 0.005, clump=5), None),
    "clumps of 10 at high traffic": (Truth(1000, 0.001, 0.001, clump=10), None),
    "both oscillate": (Truth(100, 0.001, 0.001, oscillate=(0.001, 0.02, 60)), None),
    "both oscillate, compared for two minutes": (Truth(1000, 0.001, 0.001, oscillate=(0.001, 0.02, 60)), None),
    "outages, scrapes at random phases": (Truth(10, 0.005, 0.005, scrape=15), OUTAGE),
    "one client reports": (Truth(100, 0.005, 0.005, clump=6, instances=1), None),
    "exactly on the margin": (Truth(1000, 0.01, 0.015 / 1.005), None),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_version_is_not_rolled_back_by_chance(name: str) -> None:
    truth, outage = GOOD[name]
    found = ours(truth, RUNS, 1, CANARY, 5.0, outage)
    assert round(found.rolled_back * RUNS) <= MOST, found


def test_a_good_version_goes_through_on_evidence() -> None:
    found = ours(Truth(100, 0.001, 0.001), 60, 1, CANARY, 5.0)
    assert (found.promoted, found.median_seconds < 360) == (1.0, True), found
    assert found.unproven <= 0.1


def test_at_one_request_a_second_nothing_is_proven_and_it_says_so() -> None:
    found = ours(Truth(1, 0.001, 0.001), 30, 1, CANARY, 5.0)
    assert (found.rolled_back, found.unproven) == (0.0, 1.0), found


def test_bad_versions_hurt_fewer_users_than_under_the_peers_rules() -> None:
    """Failed requests until the take-back, geometric mean of 18 cells: a tenth, a sixth, a tenth of the peers'."""
    logs: dict[str, list[float]] = {}
    for truth in truths():
        mine = ours(truth, 30, 1, CANARY, 5.0)
        assert mine.rolled_back >= 0.9, truth
        for name, summary in theirs(truth, 60, 1):
            logs.setdefault(name, []).append(math.log(summary.excess_failed_mean / mine.excess_failed_mean))
    ratios = {name: math.exp(sum(found) / len(found)) for name, found in logs.items()}
    assert (ratios["flagger"] >= 10, ratios["argo"] >= 6, ratios["kayenta"] >= 10) == (True, True, True), ratios


def test_the_bound_is_clopper_and_pearsons() -> None:
    assert upper(0, 400) == pytest.approx(1 - 0.05 ** (1 / 400), abs=1e-6)
    assert upper(0, 2000, 0.01) == pytest.approx(1 - 0.01 ** (1 / 2000), abs=1e-6)
    assert upper(399, 400) == pytest.approx(0.95 ** (1 / 400), abs=1e-6)
    assert upper(400, 400) == 1
