"""The `errors` check: valid by enumeration, exact on golden numbers, the same after any interruption."""

import itertools
import math
import random
from dataclasses import replace
from decimal import Decimal
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.attempt import Verdict
from rollout.core.strategy import Errors
from rollout.judge.errors import BETS, Evidence, _absolute, _no_harm, _relative, judged, nearest_harm, read
from rollout.judge.looks import Arm, Increment, Look

RULE = Errors(worse_by=0.5, floor=0.001)


def look(at: float, stable: Arm, canary: Arm) -> Look:
    return Look(at - 1, at, (Increment("gateway", stable, canary),))


def evidence(looks: list[Look], start: Evidence | None = None, blind: bool = False) -> Evidence:
    return reduce(
        lambda e, one: judged(e, one, RULE, 0.02, 0.5, Decimal(100 if blind else 5)), looks, start or Evidence()
    )


def binomial(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize(("n_stable", "n_canary", "rate"), [*itertools.product((3, 12), (1, 4, 9), (0.02, 0.2, 0.6))])
def test_a_version_that_is_no_worse_gains_no_evidence_against_it(n_stable: int, n_canary: int, rate: float) -> None:
    """Expected factors are at most 1 where the canary's odds of failing are at most 1.5 times stable's: enumerated."""
    odds = 1.5 * rate / (1 - rate)
    worst = odds / (1 + odds)
    means = [0.0] * len(BETS)
    for stable, canary in itertools.product(range(n_stable + 1), range(n_canary + 1)):
        chance = binomial(n_stable, stable, rate) * binomial(n_canary, canary, worst)
        for i, factor in enumerate(_relative(Arm(n_stable, stable), Arm(n_canary, canary), 1.5)):
            means[i] += chance * math.exp(factor)
    assert max(means) <= 1 + 1e-9


@pytest.mark.parametrize(("n", "bound"), [(1, 0.001), (7, 0.01), (30, 0.2)])
def test_below_the_floor_there_is_no_evidence_of_being_above_it(n: int, bound: float) -> None:
    for rate in (bound / 10, bound):
        factors = [(binomial(n, k, rate), _absolute(Arm(n, k), bound)) for k in range(n + 1)]
        assert max(sum(p * math.exp(f[i]) for p, f in factors) for i in range(5)) <= 1 + 1e-9


@pytest.mark.parametrize(("n_stable", "n_canary", "base", "margin"), [(10, 3, 0.01, 0.02), (6, 6, 0.2, 0.05)])
def test_a_harmful_version_gains_no_evidence_of_being_harmless(
    n_stable: int, n_canary: int, base: float, margin: float
) -> None:
    means = [0.0, 0.0, 0.0]
    for stable, canary in itertools.product(range(n_stable + 1), range(n_canary + 1)):
        chance = binomial(n_stable, stable, base) * binomial(n_canary, canary, base + margin)
        for i, factor in enumerate(_no_harm(Evidence(), Arm(n_stable, stable), Arm(n_canary, canary), margin)):
            means[i] += chance * math.exp(factor)
    assert max(means) <= 1 + 1e-6


def test_golden_numbers_of_the_block_bet() -> None:
    """950 stable requests with 2 failures, 50 canary requests with 3: odds of 1.2 are still no harm."""
    factors = _relative(Arm(950, 2), Arm(50, 3), 1.2)
    golden = (0.375006, 0.647103, 1.036737, 1.431507, 1.713798, 1.997418, 2.218116, 2.294351)
    assert factors == pytest.approx(golden, abs=1e-6)


def test_the_nearest_harm_is_a_minimum() -> None:
    low, high = nearest_harm(0.01, 0.015, 950, 50, 0.02)
    assert high == pytest.approx(low + 0.02)

    def distance(t: float) -> float:
        u = t + 0.02
        return 950 * _divergence(0.01, t) + 50 * _divergence(0.015, u)

    assert all(distance(low) <= distance(low + step) for step in (-1e-4, 1e-4, 1e-3))


def _divergence(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


ARMS = st.integers(0, 60).flatmap(lambda n: st.integers(0, n).map(lambda k: Arm(n, k)))
STREAMS = st.lists(st.tuples(ARMS, ARMS), min_size=1, max_size=25)


@given(STREAMS, st.integers(0, 25))
def test_a_crash_changes_no_verdict_and_no_digest(stream: list[tuple[Arm, Arm]], died_at: int) -> None:
    """Replay after a checkpoint, looks seen twice among it, ends where an unbroken run ends."""
    looks = [look(i + 2.0, s, c) for i, (s, c) in enumerate(stream)]
    whole = evidence(looks)
    checkpoint = evidence(looks[:died_at])
    assert evidence(looks[max(0, died_at - 3) :], checkpoint) == whole


@given(STREAMS)
def test_a_breach_is_never_forgotten(stream: list[tuple[Arm, Arm]]) -> None:
    breached = replace(Evidence(), breached=True)
    after = evidence([look(i + 2.0, s, c) for i, (s, c) in enumerate(stream)], breached)
    assert read(after, blind=False, overdue=True).verdict is Verdict.ROLLBACK


def test_three_failures_of_the_canary_alone_are_not_yet_enough_and_a_storm_is() -> None:
    one = look(2.0, Arm(950, 0), Arm(50, 50))
    assert read(evidence([one]), False, False).verdict is Verdict.CONTINUE, "one look is one observation"
    storm = [look(2.0 + i, Arm(950, 0), Arm(50, 5)) for i in range(4)]
    assert read(evidence(storm), False, False).verdict is Verdict.ROLLBACK


def test_a_shared_outage_blames_nobody() -> None:
    storm = [look(2.0 + i, Arm(950, 475), Arm(50, 25)) for i in range(200)]
    assert read(evidence(storm), False, True).verdict is Verdict.INCONCLUSIVE


def test_no_data_is_no_verdict() -> None:
    nothing = [look(2.0 + i, Arm(100, 0), Arm()) for i in range(50)]
    assert read(evidence(nothing), False, True).verdict is Verdict.NO_DATA


def test_at_100_percent_only_the_floor_is_left() -> None:
    before = evidence([look(2.0, Arm(1000, 10), Arm(1000, 10))])
    quiet = [look(3.0 + i, Arm(), Arm(1000, 10)) for i in range(20)]
    broken = [look(3.0 + i, Arm(), Arm(1000, 100)) for i in range(3)]
    assert read(evidence(quiet, before, blind=True), True, False).verdict is Verdict.BLIND
    assert read(evidence(broken, before, blind=True), True, False).verdict is Verdict.ROLLBACK


def test_failures_that_reached_no_version_count_against_whom_they_are_missing_from() -> None:
    """Every host of the canary ejected: its 5 % become UH, without a version. A stable that loses hosts is not it."""
    ejected = [Look(1.0 + i, 2.0 + i, (Increment("gateway", Arm(950), Arm(), Arm(50, 50)),)) for i in range(9)]
    assert read(evidence(ejected), False, False).verdict is Verdict.ROLLBACK
    elsewhere = [Look(1.0 + i, 2.0 + i, (Increment("gateway", Arm(550), Arm(50), Arm(400, 400)),)) for i in range(9)]
    assert read(evidence(elsewhere), False, False).verdict is not Verdict.ROLLBACK


@pytest.mark.parametrize(("requests", "lost"), [(3000, 0.0005), (1500, 0.001), (300, 0.005), (300, 0.05)])
def test_a_trickle_without_a_version_blames_nobody(requests: int, lost: float) -> None:
    """Both versions healthy; what is lost is lost for everybody alike. None of 60 good versions may go back."""
    dice = random.Random(1)
    for _ in range(60):
        looks = []
        for i in range(40):
            canary = sum(dice.random() < 0.05 for _ in range(requests))
            gone = sum(dice.random() < lost for _ in range(requests))
            increment = Increment("gateway", Arm(requests - canary), Arm(canary), Arm(gone, gone))
            looks.append(Look(1.0 + i, 2.0 + i, (increment,)))
        assert read(evidence(looks), False, False).verdict is not Verdict.ROLLBACK


def test_what_reached_no_version_is_said() -> None:
    lost = Look(1.0, 2.0, (Increment("gateway", Arm(10, 0), Arm(5, 0), Arm(7, 7)),))
    assert "7 request(s) reached no version" in read(evidence([lost]), False, False).text
