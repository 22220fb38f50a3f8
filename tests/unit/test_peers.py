"""The peers' rules: each does first what its peer was seen to do, and what was measured of it elsewhere."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median

import pytest

from rollout.lab.draws import dice
from rollout.lab.peers import Outcome, argo, flagger, kayenta
from rollout.lab.ranks import Classified, classified, root, shift
from rollout.lab.traffic import Truth

ALSO_ALL = (5, 25, 50, 100)
"""The measured tables had both tools judge at full weight too, before they promoted."""
RUNS = 400


def good(rps: float, errors: float) -> Truth:
    return Truth(rps, errors, errors)


def runs(rule: Callable[[int], Outcome], number: int = RUNS) -> list[Outcome]:
    return [rule(seed) for seed in range(number)]


def assert_share(outcomes: Sequence[Outcome], percent: float, measured: int = 4000) -> None:
    """Rolled back as often as was measured, within what chance explains of both."""
    chance = min(max(percent / 100, 0.001), 0.999)
    allowed = 4 * math.sqrt(chance * (1 - chance) * (1 / len(outcomes) + 1 / measured))
    share = sum(outcome.rolled_back for outcome in outcomes) / len(outcomes)
    assert share == pytest.approx(percent / 100, abs=allowed)


# ---- Kayenta's comparison


def test_kayentas_published_comparison() -> None:
    assert shift([10, 20, 30, 40], [1, 2, 3, 4], 0.95) == pytest.approx((6.0, 22.5, 39.0), abs=1e-4)
    assert shift([1, 2, 3, 4], [10, 20, 30, 40], 0.95) == pytest.approx((-39.0, -22.5, -6.0), abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_is_a_middle_difference_and_moves_with_the_points(seed: int) -> None:
    """Any shift between the differences beside the median is a root, because continuity is corrected for."""
    rng = dice(seed)
    xs, ys = [rng.gauss(3, 1) for _ in range(15)], [rng.gauss(2, 2) for _ in range(21)]
    low, estimate, high = shift(xs, ys, 0.98)
    assert low < estimate < high
    differences = sorted(x - y for x in xs for y in ys)
    assert differences[156] - 2e-4 <= estimate <= differences[158] + 2e-4
    moved = shift([x + 5 for x in xs], ys, 0.98)
    assert moved == pytest.approx((low + 5, estimate + 5, high + 5), abs=2e-4)
    wider = shift(xs, ys, 0.999)
    assert wider[0] < low < high < wider[2]


def test_bounds_cover_the_true_shift_as_often_as_they_say() -> None:
    rng = dice(1)
    covered = 0
    for _ in range(400):
        low, _, high = shift([rng.gauss(1, 1) for _ in range(12)], [rng.gauss(0, 1) for _ in range(12)], 0.9)
        covered += low <= 1 <= high
    assert covered / 400 == pytest.approx(0.9, abs=0.06)


def test_brents_method_finds_roots_of_smooth_and_of_stepped_functions() -> None:
    assert root(lambda x: x**3 - 2, 0, 50, 1e-12) == pytest.approx(2 ** (1 / 3))
    assert root(lambda x: math.exp(-x) - 0.2, -3, 30, 1e-12) == pytest.approx(math.log(5))
    assert root(lambda x: 1.0 if x < 0.7 else -3.0, 0, 20) == pytest.approx(0.7, abs=1e-4)
    assert root(lambda x: x, 0, 1) == 0 == root(lambda x: x, -1, 0)


@pytest.mark.parametrize(("points", "percent"), [(1, 50.0), (2, 11.0), (3, 2.3), (4, 0.45), (5, 0.12), (8, 0.12)])
def test_few_points_of_two_equal_versions_are_called_high_as_often_as_was_measured(points: int, percent: float) -> None:
    rng, number = dice(points), 3000

    def draw() -> list[float]:
        return [rng.gauss(10, 3) for _ in range(points)]

    high = sum(classified(draw(), draw()) is Classified.HIGH for _ in range(number))
    chance = percent / 100
    assert high / number == pytest.approx(chance, abs=4.5 * math.sqrt(chance / number) + 0.001)


def test_what_cannot_be_compared_passes_or_has_no_data() -> None:
    assert classified([1.0, 2.0], [2.0, 1.0]) is Classified.PASS
    assert classified([0.0] * 5, [0.0] * 3) is Classified.PASS
    assert classified([1.0], []) is Classified.NO_DATA
    assert classified([0.0] * 9, [0.1] * 9) is Classified.HIGH, "constant points are told apart by noise"
    assert classified([0.1] * 9, [0.0] * 9) is Classified.PASS, "a fall is no increase"


# ---- single runs


def broken(rps: float = 100) -> Truth:
    return Truth(rps, 0.001, 0.5)


def test_flagger_rolls_back_one_interval_after_the_failure_that_reached_its_threshold() -> None:
    assert {o.seconds for o in runs(lambda seed: flagger(broken(), seed), 20)} == {360}
    assert {o.seconds for o in runs(lambda seed: flagger(broken(), seed, threshold=10), 20)} == {660}
    assert flagger(broken(), 1, threshold=1, interval=10).seconds == 20


@pytest.mark.parametrize(("rule", "seconds"), [(flagger, 180), (argo, 900), (kayenta, 900)])
def test_a_good_version_is_promoted_when_its_steps_are_through(
    rule: Callable[[Truth, int], Outcome], seconds: int
) -> None:
    outcome = rule(good(100, 0.0), 1)
    assert (outcome.promoted, outcome.rolled_back, outcome.seconds, outcome.excess) == (True, False, seconds, 0)


def test_flagger_counts_silence_as_failures() -> None:
    outcome = flagger(Truth(0.0, 0.0, 0.0), 1)
    assert (outcome.rolled_back, outcome.seconds) == (True, 360)


def test_flagger_remembers_a_failure_for_as_long_as_its_window() -> None:
    truth = Truth(100, 0.0, 0.0, outages=((0, 10, 1.0),))
    assert flagger(truth, 1, threshold=7, interval=10, window=60).seconds == 90
    assert flagger(truth, 1, threshold=6, interval=10, window=60).rolled_back


def test_argo_aborts_at_the_fourth_failed_measurement() -> None:
    assert {o.seconds for o in runs(lambda seed: argo(broken(), seed), 20)} == {240}
    assert {o.seconds for o in runs(lambda seed: argo(broken(), seed, failure_limit=0), 20)} == {60}


def test_argo_takes_emptiness_for_errors_and_what_is_not_a_number_for_failures() -> None:
    assert argo(Truth(0.0, 0.0, 0.0), 1).seconds == 240, "one at once and four more, one after another"
    assert argo(Truth(0.0, 0.0, 0.0), 1, error_limit=99).promoted
    outcomes = runs(lambda seed: argo(Truth(0.4, 0.0, 0.0), seed, failure_limit=0), 50)
    assert sum(o.rolled_back for o in outcomes) > 25, "at 1.2 requests a minute some minutes have none"


def test_kayenta_judges_at_the_end_of_each_step() -> None:
    assert {o.seconds for o in runs(lambda seed: kayenta(broken(), seed), 20)} == {300}
    assert kayenta(Truth(0.0, 0.0, 0.0), 1).rolled_back, "no data at all fails the judgement"


@pytest.mark.parametrize("rule", [flagger, argo, kayenta])
def test_a_rollout_that_is_cut_short_is_neither(rule: Callable[[Truth, int, float], Outcome]) -> None:
    outcome = rule(good(100, 0.0), 1, 150)
    assert not outcome.rolled_back
    assert not outcome.promoted
    assert outcome.seconds <= 150


def test_a_bad_version_that_is_promoted_is_counted_for_an_hour() -> None:
    outcome = flagger(Truth(100, 0.0, 0.005), 1)
    assert outcome.promoted
    assert outcome.excess == pytest.approx(100 * 0.005 * (60 * 0.8 + 3600), rel=0.1)


# ---- what was measured elsewhere: false rollbacks, in percent


@pytest.mark.parametrize(
    ("errors", "rps", "five", "ten"),
    [
        (0.001, 100, 0.0, 0.0),
        (0.01, 1, 4.2, 0.1),
        (0.01, 10, 21.4, 1.5),
        (0.01, 100, 32.5, 3.8),
        (0.01, 1000, 36.1, 4.1),
    ],
)
def test_false_rollbacks_of_flagger(errors: float, rps: float, five: float, ten: float) -> None:
    assert_share(runs(lambda seed: flagger(good(rps, errors), seed, weights=ALSO_ALL)), five)
    assert_share(runs(lambda seed: flagger(good(rps, errors), seed, weights=ALSO_ALL, threshold=10)), ten)


@pytest.mark.parametrize(
    ("errors", "rps", "none", "three"),
    [
        (0.001, 1, 53.6, 0.8),
        (0.001, 10, 19.4, 0.0),
        (0.001, 100, 0.5, 0.0),
        (0.01, 1, 99.8, 73.8),
        (0.01, 10, 100.0, 98.6),
        (0.01, 100, 100.0, 99.8),
    ],
)
def test_false_rollbacks_of_argo(errors: float, rps: float, none: float, three: float) -> None:
    assert_share(runs(lambda seed: argo(good(rps, errors), seed, weights=ALSO_ALL, failure_limit=0)), none)
    assert_share(runs(lambda seed: argo(good(rps, errors), seed, weights=ALSO_ALL)), three)


@pytest.mark.parametrize(
    ("errors", "rps", "percent"), [(0.001, 10, 0.0), (0.001, 1000, 0.7), (0.01, 1, 0.0), (0.01, 100, 0.5)]
)
def test_false_rollbacks_of_kayenta(errors: float, rps: float, percent: float) -> None:
    assert_share(runs(lambda seed: kayenta(good(rps, errors), seed)), percent, measured=1500)


# ---- and detection: median seconds, mean excess


@pytest.mark.parametrize(
    ("rule", "errors", "rps", "worse", "seconds", "excess"),
    [
        (flagger, 0.001, 100, 0.1, 360, 180),
        (flagger, 0.001, 100, 0.02, 360, 71),
        (flagger, 0.01, 1000, 0.1, 360, 1800),
        (argo, 0.001, 100, 0.1, 240, 120),
        (argo, 0.001, 1000, 0.02, 240, 240),
        (kayenta, 0.001, 100, 0.1, 300, 150),
        (kayenta, 0.001, 100, 0.02, 300, 48),
        (kayenta, 0.01, 10, 0.1, 300, 48),
        (kayenta, 0.01, 1000, 0.02, 300, 300),
    ],
)
def test_detection(
    rule: Callable[[Truth, int], Outcome], errors: float, rps: float, worse: float, seconds: float, excess: float
) -> None:
    outcomes = runs(lambda seed: rule(Truth(rps, errors, errors + worse), seed), 200)
    assert all(outcome.rolled_back for outcome in outcomes)
    assert median(outcome.seconds for outcome in outcomes) == seconds
    assert fmean(outcome.excess for outcome in outcomes) == pytest.approx(excess, rel=0.12)


def test_a_shared_outage_makes_threshold_tools_take_back_a_good_version() -> None:
    """One bad minute fails two of Argo's measurements; five take back what either tool rolls out."""
    minute = Truth(100, 0.001, 0.001, outages=((330, 60, 0.3),))
    shared = Truth(100, 0.001, 0.001, outages=((30, 300, 0.3),))
    assert all(argo(minute, seed, failure_limit=0).rolled_back for seed in range(20))
    for seed in range(20):
        assert not argo(minute, seed).rolled_back
        assert not kayenta(shared, seed).rolled_back
        assert argo(shared, seed).rolled_back
        assert flagger(shared, seed).rolled_back
