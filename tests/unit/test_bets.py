"""Every bet is valid by enumeration of all outcomes, and exact on golden numbers."""

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.judge.bets import (
    Line,
    Logs,
    Tally,
    absolute,
    beyond,
    block,
    bounded,
    conditional,
    fair_share,
    nearest,
    short_of,
)


def chance(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def expected(n_stable: int, n_canary: int, rates: tuple[float, float], bet: Callable[[Tally, Tally], Logs]) -> float:
    """The largest expected factor of a bet over all outcomes of a look."""
    means: dict[int, float] = {}
    for stable, canary in itertools.product(range(n_stable + 1), range(n_canary + 1)):
        p = chance(n_stable, stable, rates[0]) * chance(n_canary, canary, rates[1])
        for i, log in enumerate(bet(Tally(n_stable, stable), Tally(n_canary, canary))):
            means[i] = means.get(i, 0.0) + p * math.exp(log)
    return max(means.values())


def worse(rate: float, odds: float) -> float:
    return odds * rate / (1 - rate + odds * rate)


def shares(bet: Callable[[int, int, float, float], Logs], odds: float) -> Callable[[Tally, Tally], Logs]:
    def made(stable: Tally, canary: Tally) -> Logs:
        total = stable.hits + canary.hits
        return bet(canary.hits, total, canary.of / (canary.of + stable.of), odds) if total else (0.0,)

    return made


SIZES = [*itertools.product((1, 4, 19), (1, 5, 12))]
RATES = st.floats(0.001, 0.9)


@pytest.mark.parametrize(("n_stable", "n_canary"), SIZES)
@pytest.mark.parametrize("bet", [conditional, block])
def test_bets_on_the_canarys_part_are_fair(n_stable: int, n_canary: int, bet: Callable[..., Logs]) -> None:
    for rate, odds in itertools.product((0.001, 0.05, 0.3, 0.7), (1.0, 1.2, 1.5, 10.0)):
        for actual in (rate, worse(rate, odds)):
            assert expected(n_stable, n_canary, (rate, actual), shares(bet, odds)) <= 1 + 1e-9


@pytest.mark.parametrize(("n", "bound"), [(1, 0.001), (7, 0.01), (30, 0.2), (9, 0.5)])
def test_below_the_bound_there_is_no_evidence_of_being_above_it(n: int, bound: float) -> None:
    for rate in (bound / 10, bound):
        assert expected(0, n, (0.0, rate), lambda _, canary: absolute(canary, bound)) <= 1 + 1e-9
        assert expected(0, n, (0.0, rate), lambda _, canary: bounded(canary, bound)) <= 1 + 1e-9


@settings(max_examples=60)
@given(st.sampled_from(SIZES), RATES, st.floats(1.0, 2.0), st.floats(0.001, 0.3), st.floats(0.0005, 0.6))
def test_bets_on_a_line_are_fair_on_its_other_side(
    sizes: tuple[int, int], rate: float, ratio: float, points: float, foretold: float
) -> None:
    """Whatever stable's rate was foretold to be, and whatever it is."""
    line = Line(ratio, points)
    on_line = min(1.0, line.at(rate))
    above = lambda s, c: beyond(s, c, line, foretold)  # noqa: E731
    below = lambda s, c: short_of(s, c, line, foretold)  # noqa: E731
    for actual in (on_line, rate, on_line / 2):
        assert actual > line.at(rate) or expected(*sizes, (rate, actual), above) <= 1 + 1e-6
    for actual in (line.at(rate), (1 + line.at(rate)) / 2):
        assert actual >= 1 or expected(*sizes, (rate, actual), below) <= 1 + 1e-6


def test_golden_numbers() -> None:
    """Of a prototype that somebody else wrote: 950 requests of stable, 50 of the canary, odds of 1.2 are no harm."""
    golden = (0.392672, 0.838577, 1.304942, 1.906317, 2.959035, 4.188734, 5.622841, 7.19864, 8.029137, 8.422955)
    assert conditional(3, 3, 0.05, 1.2) == pytest.approx(golden, abs=1e-6)
    of_blocks = (0.375006, 0.647103, 1.036737, 1.431507, 1.713798, 1.997418, 2.218116, 2.294351)
    assert block(3, 5, 0.05, 1.2) == pytest.approx(of_blocks, abs=1e-6)
    low, high = nearest(0.01, 0.05, 950, 50, Line(1.25, 0.005))
    assert (low, high) == pytest.approx((0.01121154, 0.01901443), abs=1e-8)
    log = 9 * math.log(0.01 / low) + 941 * math.log(0.99 / (1 - low))
    log += 4 * math.log(0.05 / high) + 46 * math.log(0.95 / (1 - high))
    assert log == pytest.approx(2.513948, abs=1e-6)


def test_one_look_of_the_block_bet_is_one_observation() -> None:
    for hits in (1, 10, 1000):
        assert max(block(hits, hits, 0.05, 1.5)) <= math.log(1 / fair_share(0.05, 1.5))


@given(RATES, RATES, st.integers(1, 5000), st.integers(1, 5000), st.floats(1.0, 2.0), st.floats(0.0, 0.3))
def test_the_nearest_point_is_the_nearest(
    base: float, alternative: float, n_stable: int, n_canary: int, ratio: float, points: float
) -> None:
    line = Line(ratio, points)

    def distance(t: float) -> float:
        return n_stable * _divergence(base, t) + n_canary * _divergence(alternative, line.at(t))

    low, high = nearest(base, alternative, n_stable, n_canary, line)
    assert high == pytest.approx(line.at(low))
    for step in (-1e-3, 1e-3):
        other = low * (1 + step)
        if other > 0 and line.at(other) < 1:
            assert distance(low) <= distance(other) + 1e-9


def _divergence(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
