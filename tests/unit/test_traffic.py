"""Virtual traffic: it has the truth that was set, and what is read of it is all of it, once."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from statistics import fmean, pvariance

import pytest

from rollout.judge.looks import Arm, Look
from rollout.lab.draws import clumped, dice, poisson
from rollout.lab.traffic import EDGES, Traffic, Truth, latency_shares

GOOD = Truth(rps=200, stable_errors=0.02, canary_errors=0.02)


def looks(traffic: Traffic, number: int, seconds: float, weight: float) -> list[Look]:
    return [traffic.advance(seconds, weight) for _ in range(number)]


def total(looks: list[Look], arm: Callable[[Look], Arm]) -> Arm:
    return sum((arm(look) for look in looks), Arm())


def near(observed: float, mean: float, variance: float, draws: int) -> bool:
    return abs(observed - mean) <= 4.5 * math.sqrt(variance / draws)


@pytest.mark.parametrize("mean", [0.004, 0.7, 12.0, 199.0, 201.0, 1250.0, 90000.0])
def test_poisson_counts_have_the_mean_and_the_variance_of_poisson_counts(mean: float) -> None:
    rng, draws = dice(11), 20000
    counts = [poisson(rng, mean) for _ in range(draws)]
    assert near(fmean(counts), mean, mean, draws)
    assert near(pvariance(counts), mean, mean + 2 * mean * mean, draws)


@pytest.mark.parametrize("mean", [3.0, 150.0, 250.0, 4000.0])
def test_poisson_counts_have_the_distribution_of_poisson_counts(mean: float) -> None:
    rng, draws = dice(12), 20000
    counts = [poisson(rng, mean) for _ in range(draws)]
    for deviations in (-2.5, -1.0, 0.0, 1.0, 2.5):
        limit = math.floor(mean + deviations * math.sqrt(mean))
        chance = math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(limit + 1))
        share = sum(count <= limit for count in counts) / draws
        assert near(share, chance, chance * (1 - chance) + 1e-5, draws)


@pytest.mark.parametrize(("mean", "size"), [(2.0, 5.0), (40.0, 3.0), (3000.0, 5.0), (500.0, 1.2)])
def test_clumps_scatter_as_geometric_clumps_do(mean: float, size: float) -> None:
    rng = dice(13)
    counts = [clumped(rng, mean, size) for _ in range(10000)]
    assert near(fmean(counts), mean, mean * (2 * size - 1), 10000)
    assert pvariance(counts) / mean == pytest.approx(2 * size - 1, rel=0.12)


def test_versions_have_their_rates_and_their_shares() -> None:
    traffic = Traffic(Truth(rps=400, stable_errors=0.01, canary_errors=0.05), seed=1)
    seen = looks(traffic, 400, 5, 25)
    stable, canary = total(seen, lambda look: look.stable), total(seen, lambda look: look.canary)
    assert stable.requests == pytest.approx(600000, rel=0.01)
    assert canary.requests == pytest.approx(200000, rel=0.01)
    assert stable.rate == pytest.approx(0.01, rel=0.06)
    assert canary.rate == pytest.approx(0.05, rel=0.05)
    assert traffic.excess == pytest.approx(canary.failures - 0.01 * canary.requests)


def test_looks_and_counts_have_the_same_truth() -> None:
    truth = replace(GOOD, clump=4.0, canary_errors=0.06)
    one, other = Traffic(truth, 2), Traffic(truth, 3)
    seen = looks(one, 300, 10, 50)
    counted = sum((other.counts(10, 50)[1] for _ in range(300)), Arm())
    canary = total(seen, lambda look: look.canary)
    assert canary.requests == pytest.approx(counted.requests, rel=0.01)
    assert canary.failures == pytest.approx(counted.failures, rel=0.06)


@pytest.mark.parametrize("clump", [1.0, 5.0])
def test_clumps_keep_the_mean_and_scatter_failures(clump: float) -> None:
    traffic = Traffic(replace(GOOD, rps=4, stable_errors=0.1, clump=clump), seed=4)
    failures = [traffic.advance(5, 0).stable.failures for _ in range(20000)]
    assert near(fmean(failures), 2.0, 2.0 * (2 * clump - 1), 20000)
    assert pvariance(failures) / fmean(failures) == pytest.approx(2 * clump - 1, rel=0.1)


def test_the_same_seed_is_the_same_traffic() -> None:
    truth = replace(GOOD, clump=2.0, scrape=15.0)
    one, other, third = Traffic(truth, 7, timed=True), Traffic(truth, 7, timed=True), Traffic(truth, 8, timed=True)
    assert (first := looks(one, 10, 5, 25)) == looks(other, 10, 5, 25)
    assert first != looks(third, 10, 5, 25)


def test_history_lies_before_the_first_step_and_knows_no_canary() -> None:
    traffic = Traffic(GOOD, 1, start=-20.0)
    past = looks(traffic, 4, 5, 0)
    assert [(look.since, look.at) for look in past] == [(-20, -15), (-15, -10), (-10, -5), (-5, 0)]
    assert not any(i.splits for look in past for i in look.increments)
    assert total(past, lambda look: look.stable).requests == pytest.approx(4000, rel=0.1)
    now = traffic.advance(5, 50)
    assert all(i.splits for i in now.increments)
    assert [i.instance for i in now.increments] == ["client-0", "client-1", "client-2", "client-3"]


def test_at_full_weight_stable_gets_nothing() -> None:
    look = Traffic(GOOD, 1).advance(5, 100)
    assert look.stable == Arm()
    assert look.canary.requests > 800


@pytest.mark.parametrize(("scrape", "seconds"), [(15.0, 5.0), (10.0, 10.0), (3.0, 7.0), (15.0, 1.0), (60.0, 13.0)])
def test_whatever_is_read_late_is_read_once_across_changes_of_weight(scrape: float, seconds: float) -> None:
    """Where stable never fails and the canary always does, `excess` counts what the canary was sent."""
    traffic = Traffic(Truth(rps=120, stable_errors=0, canary_errors=1, scrape=scrape), seed=5, timed=True)
    seen = [look for weight in (5, 25, 0, 50) for look in looks(traffic, 7, seconds, weight)]
    assert total(seen, lambda look: look.canary).requests < traffic.excess
    seen += looks(traffic, math.ceil(scrape / seconds), seconds, 0)
    canary = total(seen, lambda look: look.canary)
    assert canary.requests == canary.failures == traffic.excess
    assert canary.answers[-1] == (math.inf, canary.requests)


def test_a_client_is_seen_at_its_own_readings_only() -> None:
    traffic = Traffic(replace(GOOD, scrape=10.0), seed=6)
    seen = looks(traffic, 60, 1, 50)
    for i in range(4):
        read = [look.at for look in seen if look.increments[i].stable.requests]
        assert len(read) == 6
        assert all(after - before == 10 for before, after in pairwise(read))
        counts = [n for look in seen if (n := look.increments[i].stable.requests)]
        assert counts[1:] == pytest.approx([250] * 5, rel=0.3)
    assert len({next(look.at for look in seen if look.increments[i].stable.requests) for i in range(4)}) > 1


def test_a_canary_is_seen_after_its_weight_is_gone_until_every_client_was_read() -> None:
    traffic = Traffic(replace(GOOD, scrape=10.0), seed=6)
    traffic.advance(10, 50)
    late = looks(traffic, 20, 1, 0)
    assert total(late[:10], lambda look: look.canary).requests > 0
    assert total(late[10:], lambda look: look.canary).requests == 0


def test_outages_begin_and_end_sharply_for_both() -> None:
    truth = Truth(rps=1000, stable_errors=0, canary_errors=0, outages=((10, 5, 1.0), (32, 1, 0.5)))
    seen = looks(Traffic(truth, 1), 8, 5, 50)
    for rates in ([look.stable.rate for look in seen], [look.canary.rate for look in seen]):
        assert [rates[i] for i in (0, 1, 2, 3, 4, 5, 7)] == [0, 0, 1, 0, 0, 0, 0]
        assert rates[6] == pytest.approx(0.1, rel=0.2)


def test_an_outage_adds_no_excess_to_a_good_canary_and_is_at_least_what_it_says() -> None:
    truth = Truth(rps=1000, stable_errors=0.4, canary_errors=0.4, outages=((0, 100, 0.3),))
    traffic = Traffic(truth, 1)
    stable, canary = traffic.counts(100, 50)
    assert stable.rate == pytest.approx(0.4, rel=0.02)
    assert abs(traffic.excess) < 5 * math.sqrt(canary.requests * 0.24)


def test_a_late_fault_is_late_in_errors_and_latency() -> None:
    truth = Truth(rps=1000, stable_errors=0, canary_errors=1, late=60, latency_factor=20)
    traffic = Traffic(truth, 1, timed=True)
    before, after = traffic.advance(60, 50).canary, traffic.advance(60, 50).canary
    assert (before.rate, after.rate) == (0, 1)
    assert before.slower(250.0)[1] < 0.02 * before.requests
    assert after.slower(250.0)[1] > 0.98 * after.requests


def test_both_swing_together() -> None:
    truth = Truth(rps=2000, stable_errors=0.0, canary_errors=0.1, oscillate=(0.0, 0.5, 60))
    seen = looks(Traffic(truth, 1, start=-60.0), 4, 60, 50)
    assert [look.stable.rate for look in seen] == pytest.approx([0.5, 0, 0.5, 0], abs=0.02)
    assert [look.canary.rate for look in seen] == pytest.approx([0.5, 0.1, 0.6, 0.1], abs=0.02)


@pytest.mark.parametrize("errors", [0.0, 0.3])
def test_answers_have_the_latency_that_was_set(errors: float) -> None:
    traffic = Traffic(Truth(2000, errors, errors, latency_factor=2.0), 1, timed=True)
    seen = looks(traffic, 20, 5, 50)
    stable, canary = total(seen, lambda look: look.stable), total(seen, lambda look: look.canary)
    for arm in (stable, canary):
        assert tuple(edge for edge, _ in arm.answers) == EDGES
        assert arm.answers[-1][1] == arm.requests
        assert arm.rate == pytest.approx(errors, rel=0.03)
    assert dict(stable.answers)[50.0] == pytest.approx(stable.requests / 2, rel=0.02)
    assert dict(canary.answers)[100.0] == pytest.approx(canary.requests / 2, rel=0.02)
    assert stable.slower(100.0)[1] == pytest.approx(stable.requests * math.fsum(latency_shares(1.0)[5:]), rel=0.04)


def test_untimed_traffic_has_no_histogram() -> None:
    assert Traffic(GOOD, 1).advance(5, 50).canary.answers == ()
