"""Dispersion: 1 where requests are independent, the clumps' size where they clump, unknown from too little."""

import random

import pytest

from rollout.judge.bets import Tally
from rollout.judge.scatter import Scatter


def seen(looks: int, instances: int, clump: float, rate: float = 0.005, requests: int = 500) -> Scatter:
    dice, scatter = random.Random(3), Scatter()
    for _ in range(looks):
        parts = {}
        for instance in range(instances):
            hits, n = 0, requests // instances
            for _ in range(n):
                if dice.random() < rate / clump:
                    hits += 1
                    while clump > 1 and dice.random() < 1 - 1 / clump:
                        hits += 1
            parts[f"client-{instance}"] = Tally(n, min(n, hits))
        scatter = scatter.seen(parts)
    return scatter


@pytest.mark.parametrize("instances", [1, 4])
def test_independent_requests_scatter_as_chance_has_it(instances: int) -> None:
    factor = seen(300, instances, clump=1).factor
    assert factor is not None
    assert 1.0 <= factor <= 1.35


@pytest.mark.parametrize("instances", [1, 4])
@pytest.mark.parametrize("clump", [3, 6])
def test_clumps_are_seen(instances: int, clump: int) -> None:
    """Geometric clumps of mean m scatter 2 m - 1 times as much: their mean square over their mean."""
    factor = seen(400, instances, clump).factor
    assert factor is not None
    assert 0.75 * (2 * clump - 1) <= factor <= 1.8 * (2 * clump - 1)


def test_from_too_little_nothing_is_concluded() -> None:
    assert seen(10, 4, clump=1).factor is None
    assert seen(500, 4, clump=1, rate=0).factor is None


@pytest.mark.parametrize("instances", [1, 4])
def test_an_outage_is_no_clump(instances: int) -> None:
    dice, scatter = random.Random(5), Scatter()
    for i in range(360):
        rate = 0.3 if 100 <= i < 112 else 0.01
        n = 500 // instances
        scatter = scatter.seen(
            {f"client-{j}": Tally(n, sum(dice.random() < rate for _ in range(n))) for j in range(instances)}
        )
    factor = scatter.factor
    assert factor is not None
    assert factor < 1.5 * (2 if instances == 1 else 1), "of its two edges, one instance alone cannot tell much"


def test_clients_that_differ_for_good_are_no_clumps() -> None:
    dice, scatter = random.Random(7), Scatter()
    rates = {"probe": 0.5, "app": 0.01, "web": 0.01, "batch": 0.001}
    for _ in range(120):
        scatter = scatter.seen({n: Tally(250, sum(dice.random() < p for _ in range(250))) for n, p in rates.items()})
    factor = scatter.factor
    assert factor is not None
    assert factor < 1.5
