"""What is told beforehand: bounds and order of the forecast, and how it compares with simulated evidence.

The simulation has a judge of its own, a few lines of textbook: the forecast must not depend on how the real one is
written, and the real one may find evidence sooner.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollout.core.strategy import ERRORS, Bake, OnInconclusive, Step, Strategy
from rollout.judge.bets import BETS, TIMES
from rollout.judge.forecast import fitting, forecast, nice, starting, warnings
from rollout.judge.growth import ENOUGH, Traffic, detectable, growth_of_harm, until_found, until_shown
from rollout.judge.judge import BETA

RULE = ERRORS
CANARY = Strategy("canary", tuple(Step(Decimal(w), Bake(30.0, 600.0)) for w in (5, 25, 50, 100)), 300.0)

traffics = st.floats(0.05, 5000)
rates = st.one_of(st.just(0.0), st.floats(1e-5, 0.3))
margins = st.floats(0.003, 0.9)
lengths = st.sampled_from([1.0, 5.0, 15.0])


@given(traffics, st.floats(1, 10), st.floats(0.01, 0.5), rates, margins, lengths)
def test_more_traffic_is_never_slower(
    rps: float, times: float, share: float, rate: float, margin: float, look: float
) -> None:
    _, seconds, likely = until_shown(Traffic(rps, share, look), rate, margin)
    _, sooner, likely_sooner = until_shown(Traffic(rps * times, share, look), rate, margin)
    assert sooner <= seconds <= likely
    assert likely_sooner <= likely


@given(traffics, st.floats(0.01, 0.5), st.floats(0.01, 0.5), rates, margins, lengths)
def test_a_larger_weight_is_never_slower_up_to_one_half(
    rps: float, one: float, other: float, rate: float, margin: float, look: float
) -> None:
    _, slow, _ = until_shown(Traffic(rps, min(one, other), look), rate, margin)
    _, fast, _ = until_shown(Traffic(rps, max(one, other), look), rate, margin)
    assert fast <= slow


@given(traffics, st.floats(0.01, 0.5), rates, lengths, st.integers(1, 500))
def test_twice_the_traffic_or_time_finds_no_less(rps: float, share: float, rate: float, look: float, n: int) -> None:
    """The approximation is smooth to a percent or so, where its parts change hands."""
    worse = detectable(Traffic(rps, share, look), rate, RULE, 0.4, n)
    for traffic, looks in ((Traffic(2 * rps, share, look), n), (Traffic(rps, share, look), 2 * n)):
        finer = detectable(traffic, rate, RULE, 0.4, looks)
        assert worse is None or (finer is not None and finer <= 1.03 * worse)


@settings(max_examples=50)
@given(st.floats(0, 5000), st.floats(0, 1), lengths)
@example(100.0, 0.9999999999999999, 5.0)
def test_a_forecast_keeps_its_bounds(rps: float, rate: float, look: float) -> None:
    told = forecast(rps, rate, CANARY, look)
    assert [step.weight for step in told.steps] == [5, 25, 50]
    for step in told.steps:
        assert step.at_min <= step.at_max == pytest.approx(rps * float(step.weight) / 100 * 600)
        assert step.needed >= 1
        assert look <= step.seconds <= step.likely
        assert step.proven == (step.seconds <= 600)
        assert step.worst >= 0 <= step.costs
        if step.detectable is not None:
            assert 0 < step.detectable <= 1 - rate
            assert look <= step.found <= 600
    assert all(isinstance(sentence, str) for sentence in warnings(told))


def test_two_arms_need_more_than_one() -> None:
    """Stable's rate is not known but seen: at 5 % that costs little, at 50 % a good third."""
    known = (math.log(1 / BETA) + math.log(3)) / (0.01 * math.log(0.01 / 0.02) + 0.99 * math.log(0.99 / 0.98))
    few, _, _ = until_shown(Traffic(1000, 0.05, 5), 0.01, 0.01)
    many, _, _ = until_shown(Traffic(1000, 0.5, 5), 0.01, 0.01)
    assert known < few < 1.15 * known
    assert 1.3 * known < many < 1.5 * known


def test_a_stable_that_never_fails_leaves_the_rule_of_three() -> None:
    needed, _, _ = until_shown(Traffic(1000, 0.05, 5), 0.0, 0.02)
    assert needed == math.ceil((math.log(1 / BETA) + math.log(3)) / -math.log(1 - 0.02))


@pytest.mark.parametrize(("weight", "looks"), [(0.01, 2), (0.05, 3), (0.25, 8), (0.5, 16)])
def test_one_look_says_only_so_much(weight: float, looks: int) -> None:
    """A canary that fails everything: one look gives at most ln(1 / share), which is little where it has much."""
    assert until_found(growth_of_harm(Traffic(1000, weight, 5), 0.001, 0.999, RULE), 0.4) == looks
    share = 1.5 * weight / (1.5 * weight + 1 - weight)
    assert looks * math.log(1 / share) > ENOUGH


# What people are told


def test_thin_traffic_is_told_where_to_start_and_how_long_to_bake() -> None:
    (sentence,) = warnings(forecast(3, 0.0, CANARY, 5))
    assert sentence.startswith("this rollout will end unproven at 5 %: 203 requests to the new version are needed")
    assert sentence.endswith("start at 25 % or allow 25m")
    steps = tuple(replace(step, bake=Bake(30, 25 * 60)) for step in CANARY.steps)
    for mended in (starting(CANARY, Decimal(25)), replace(CANARY, steps=steps)):
        assert not warnings(forecast(3, 0.0, mended, 5))


def test_warnings_know_what_follows() -> None:
    noted = replace(CANARY, inconclusive=OnInconclusive.ADVANCE_NOTED)
    assert "will leave unproven 5 %" in warnings(forecast(3, 0.0, noted, 5))[0]
    assert "may end unproven at 50 %" in "".join(warnings(forecast(6, 0.001, CANARY, 5)))
    assert "not even a version that fails every request" in "".join(warnings(forecast(0.2, 0.0, CANARY, 5)))
    assert warnings(forecast(0, 0.0, CANARY, 5)) == ["stable serves no requests, so nothing can be shown at any weight"]
    assert not warnings(forecast(math.nan, math.nan, replace(CANARY, checks=()), 5))
    assert not warnings(forecast(1000, 0.001, CANARY, 5))


def test_a_step_that_waits_for_nothing_is_not_warned_of() -> None:
    steps = tuple(replace(step, bake=Bake(30, 0)) for step in CANARY.steps)
    assert not warnings(forecast(0.2, 0.0, replace(CANARY, steps=steps), 5))


def test_durations_are_rounded_up_to_what_people_write() -> None:
    assert [nice(s) for s in (0, 30, 31, 601, 43201, 100000)] == [30, 30, 60, 720, 86400, 172800]


# A strategy that fits


@pytest.mark.parametrize(
    ("rps", "rate", "weights", "why"),
    [
        (5000, 0.001, [1, 5, 25, 50, 100], "at 5000 requests/s the new version needs 41 requests at 1 %"),
        (100, 0.001, [5, 25, 50, 100], "which come within 1m, so it starts there and each step may take up to 10m"),
        (6, 0.0, [5, 25, 50, 100], "which come within 12m, so it starts there and each step may take up to 25m"),
        (3, 0.001, [10, 25, 50, 100], "needs 240 requests at 5 %, which come within 30m, so it starts at 10 %"),
        (1.5, 0.0, [25, 50, 100], "needs 203 requests at 5 %, which come within 1h, so it starts at 25 %"),
        (1, 0.001, [5, 25, 50, 100], "even so it will likely end unproven at 5 %, 25 %, 50 %"),
        (0, 0.0, [5, 25, 50, 100], "which never come, so it starts there and each step may take up to 30m; even so"),
    ],
)
def test_a_strategy_is_fitted_to_its_traffic(rps: float, rate: float, weights: list[int], why: str) -> None:
    fitted = fitting(rps, rate, CANARY, 5)
    assert [step.weight for step in fitted.steps] == weights
    assert why in fitted.description


@settings(max_examples=60)
@given(st.floats(0, 5000), st.floats(0, 0.3), st.sampled_from([1, 2, 5, 20, 60, 100]))
@example(rps=4.3e-153, rate=0.25, start=1)
def test_a_fitted_strategy_keeps_its_bounds(rps: float, rate: float, start: int) -> None:
    base = starting(CANARY, Decimal(start))
    fitted = fitting(rps, rate, base, 5)
    weights = [step.weight for step in fitted.steps]
    assert weights == sorted(set(weights))
    assert weights[-1] == 100
    assert replace(fitted, steps=base.steps, description=base.description) == base
    for told in forecast(rps, rate, fitted, 5).steps:
        assert told.bake.min == 30 <= told.bake.max <= 1800
        assert told.bake.max >= min(1800, 2 * told.seconds)
    if all(told.proven for told in forecast(rps, rate, fitted, 5).steps):
        assert "unproven" not in fitted.description


@pytest.mark.parametrize("rps", [6, 100, 5000])
@pytest.mark.parametrize("rate", [0.0, 0.001, 0.02])
@pytest.mark.parametrize("look", [1, 5, 15, 30])
def test_a_fitted_bake_is_long_enough_to_find_a_version_that_fails_everything(
    rps: float, rate: float, look: float
) -> None:
    """Where counters are read each 15 s, fourteen looks at 50 % take longer than evidence that a version is good."""
    told = forecast(rps, rate, fitting(rps, rate, CANARY, look), look)
    assert all(step.detectable is not None for step in told.steps)


def test_where_nothing_is_judged_nothing_is_fitted() -> None:
    for base in (replace(CANARY, checks=()), starting(CANARY, Decimal(100))):
        assert fitting(10, 0.0, base, 5) == base


# Beside simulated evidence


@pytest.mark.parametrize(
    ("rps", "share", "rate", "margin", "look"),
    [
        (100, 0.05, 0.001, 0.0055, 5),
        (100, 0.05, 0.0, 0.02, 5),
        (10, 0.25, 0.01, 0.02, 5),
        (10, 0.05, 0.001, 0.02, 1),
        (50, 0.05, 0.02, 0.02, 15),
    ],
)
def test_evidence_to_go_on_comes_when_told(rps: float, share: float, rate: float, margin: float, look: float) -> None:
    chance = random.Random(7)
    traffic = Traffic(rps, share, look)
    times = sorted(going_on(chance, traffic, rate, margin) for _ in range(150))
    _, seconds, likely = until_shown(traffic, rate, margin)
    assert 0.6 <= seconds / times[75] <= 1.7, (seconds, times[75])
    assert 0.6 <= likely / times[120] <= 1.7, (likely, times[120])


@pytest.mark.parametrize(
    ("rps", "share", "rate", "look", "longest"),
    [(100, 0.05, 0.001, 5, 600), (100, 0.05, 0.01, 5, 600), (10, 0.25, 0.001, 5, 600), (1000, 0.5, 0.001, 5, 300)],
)
def test_harm_is_found_when_told(rps: float, share: float, rate: float, look: float, longest: int) -> None:
    """What is called detectable is found before the bake ends in four of five cases, or some more."""
    chance = random.Random(7)
    traffic, looks = Traffic(rps, share, look), int(longest / look)
    worse = detectable(traffic, rate, RULE, 0.4, looks)
    assert worse is not None
    times = sorted(going_back(chance, traffic, rate, worse, looks) for _ in range(200))
    found = look * until_found(growth_of_harm(traffic, rate, worse, RULE), 0.4)
    assert 0.6 <= found / times[100] <= 1.7, (found, times[100])
    assert 0.68 <= sum(time < math.inf for time in times) / 200 <= 0.97
    for much in (0.1, 1 - rate):
        times = sorted(going_back(chance, traffic, rate, much, looks) for _ in range(31))
        found = look * until_found(growth_of_harm(traffic, rate, much, RULE), 0.4)
        assert 0.6 <= found / times[15] <= 1.7, (much, found, times[15])


Arm = tuple[int, int]
"""Requests, and among them failures."""


def arriving(chance: random.Random, traffic: Traffic, ours: float, theirs: float) -> Iterator[tuple[Arm, Arm]]:
    """Looks at stable and at the canary, which fail at these rates."""
    while True:
        failures = poisson(chance, traffic.stable * ours), poisson(chance, traffic.canary * theirs)
        answers = poisson(chance, traffic.stable * (1 - ours)), poisson(chance, traffic.canary * (1 - theirs))
        yield (failures[0] + answers[0], failures[0]), (failures[1] + answers[1], failures[1])


def poisson(chance: random.Random, mean: float) -> int:
    if mean > 50:
        return round(chance.gauss(mean, math.sqrt(mean)))
    count, left, limit = -1, 1.0, math.exp(-mean)
    while left >= limit:
        count, left = count + 1, left * chance.random()
    return count


def log_mean(logs: list[float]) -> float:
    high = max(logs)
    return high + math.log(sum(math.exp(log - high) for log in logs) / len(logs))


def going_on(chance: random.Random, traffic: Traffic, rate: float, margin: float) -> float:
    """Seconds until a good version is shown to fail less than `margin` more: three alternatives, stable's rate learned.

    It starts from a rate of 0.5 %: were stable's far from that, what it learns in the first looks would cost more.
    """
    logs, failed, seen = [0.0, 0.0, 0.0], 0.5, 100.0
    for look, ((n, x), (m, y)) in enumerate(arriving(chance, traffic, rate, rate), 1):
        if not n or not m:
            continue
        base = failed / seen
        for i, part in enumerate((0.0, 0.3, 0.6)):
            other = base + part * margin
            low = projected(base, other, n, m, margin)
            high = low + margin
            logs[i] += x * math.log(base / low) + (n - x) * math.log((1 - base) / (1 - low))
            logs[i] += y * math.log(other / high) + (m - y) * math.log((1 - other) / (1 - high))
        failed, seen = max(0.5, 0.98 * failed + x), 0.98 * seen + n
        if log_mean(logs) >= math.log(1 / BETA):
            return look * traffic.look
    raise AssertionError


def projected(base: float, other: float, n: int, m: int, margin: float) -> float:
    least, most = 1e-12, 1 - margin - 1e-12
    for _ in range(36):
        low = (least + most) / 2
        high = low + margin
        slope = m * (other - high) / (high * (1 - high)) + n * (base - low) / (low * (1 - low))
        least, most = (low, most) if slope > 0 else (least, low)
    return (least + most) / 2


def going_back(chance: random.Random, traffic: Traffic, rate: float, worse: float, looks: int) -> float:
    """Seconds until a bad version is found, by block bets and by the absolute rate, in the first step."""
    relative, absolute, reserve = [-math.inf] * len(BETS), [-math.inf] * len(TIMES), 1.0
    stream = arriving(chance, traffic, rate, min(1.0, rate + worse))
    for look, ((n, x), (m, y)) in zip(range(1, looks + 1), stream, strict=False):
        if not m:
            continue
        stake = 0.4 if reserve == 1 else 0.3 / 2000
        reserve -= stake
        share = 1.5 * m / (1.5 * m + n)
        part = y / (x + y) if x + y else share
        for i, bet in enumerate(BETS):
            relative[i] = staked(relative[i], stake) + (math.log(1 + bet * (part - share) / share) if n else 0.0)
        for i, times in enumerate(TIMES):
            claimed = min(0.95, 0.001 * times)
            grown = y * math.log(claimed / 0.001) + (m - y) * math.log((1 - claimed) / 0.999)
            absolute[i] = staked(absolute[i], stake) + grown
        if min(log_mean(relative), log_mean(absolute)) >= ENOUGH:
            return look * traffic.look
    return math.inf


def staked(log: float, stake: float) -> float:
    high, low = max(log, math.log(stake)), min(log, math.log(stake))
    return high + math.log1p(math.exp(low - high))
