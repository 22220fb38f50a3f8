"""What is measured beforehand, the strategy that is chosen by it, and what people and scripts are told."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import pytest

from rollout.adapters.strategy_files import load
from rollout.cli import foretelling
from rollout.cli.planning import planned, told
from rollout.core.attempt import Attempt
from rollout.core.errors import InvalidInput, Unavailable
from rollout.core.strategy import Strategy
from rollout.engine import choosing
from rollout.engine.looking import Eyes
from rollout.engine.past import HISTORY, Load
from rollout.engine.survey import survey
from rollout.judge.looks import ALL, FAILED, Series, Snapshot, within
from rollout.ports import Target
from tests.fakes.unqueried import Unqueried
from tests.simulation.world import World, strategy

NOW = 10_000.0
TARGET = Target("reviews.shop.svc.cluster.local", "shop", (80,), "v1", "v2")
CANARY = load("canary")
Counters = Mapping[Series, float]


class Store(Unqueried):
    """Counters as a function of time; counts how often they are asked for."""

    def __init__(self, counters: Callable[[float], Counters], reporter: str = "source") -> None:
        self.counters, self.reporter, self.spans = counters, reporter, list[float]()

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        assert (target.reporter, step) == (self.reporter, end - start)
        self.spans.append(end - start)
        return [Snapshot(at, self.counters(at)) for at in (start, end)]

    def horizon(self, target: Target) -> float | None:
        return NOW if target.reporter == self.reporter else None

    def interval(self, target: Target) -> float | None:
        return 5.0


def attempt(chosen: Strategy) -> Attempt:
    return Attempt(0, "reviews", "shop", "v1", "v2", chosen, (), NOW, NOW)


def served(instance: str, seconds: float, rps: float, failing: float = 0.0, version: str = "v1") -> Counters:
    counts = {ALL: rps * seconds, FAILED: rps * seconds * failing, within(math.inf): rps * seconds * (1 - failing)}
    return {Series(instance, version, outcome): float(round(count)) for outcome, count in counts.items()}


def measure(store: Store, chosen: Strategy | None = None) -> Load | None:
    return Eyes(store).ask(attempt(chosen or strategy()), TARGET)


# What is measured


def test_the_load_is_what_every_instance_counted_in_half_an_hour() -> None:
    """Also one that sends to the canary, by a pin, beside one that never did."""
    store = Store(lambda at: {**served("a", at, 20, 0.05), **served("b", at, 80), **served("b", at, 1, version="v2")})
    assert measure(store) == Load(100.0, 0.01, 5.0, HISTORY)
    assert store.spans == [HISTORY]


@pytest.mark.parametrize(("age", "span"), [(700, 300), (299, 60), (20, 10)])
def test_where_an_instance_is_younger_the_load_is_that_of_a_shorter_time(age: float, span: float) -> None:
    store = Store(lambda at: {**served("old", at, 30), **(served("new", at, 70) if at > NOW - age else {})})
    assert measure(store) == Load(100.0, 0.0, 5.0, span)


def test_where_no_time_is_known_whole_the_one_with_most_requests_counts() -> None:
    store = Store(lambda at: {**served("old", at, 30), **(served("new", at, 70) if at == NOW else {})})
    assert measure(store) == Load(30.0, 0.0, 5.0, HISTORY)


def test_spans_that_hold_less_than_two_looks_tell_nothing() -> None:
    store = Store(lambda at: served("new", at, 100) if at > NOW - 15 else {})
    store.interval = lambda target: 15.0  # type: ignore[method-assign]
    assert measure(store) is None
    assert store.spans == [1800, 300, 60]


@pytest.mark.parametrize("counters", [{}, served("a", 10, 7), served("a", 10, 7, version="v3")])
def test_without_requests_there_is_no_load(counters: Counters) -> None:
    store = Store(lambda at: counters)
    assert measure(store) is None
    assert store.spans == [HISTORY]


def test_where_nobody_reports_nothing_is_asked() -> None:
    store = Store(lambda at: {}, reporter="nobody")
    assert measure(store) is None
    assert store.spans == []


def test_versions_that_are_counted_apart_are_looked_at_half_as_often() -> None:
    store = Store(lambda at: served("reviews-v1-0", at, 10), reporter="destination")
    found = measure(store)
    assert found is not None
    assert found.look == 10.0


def test_where_nothing_is_checked_nothing_is_measured() -> None:
    store = Store(lambda at: served("a", at, 10))
    assert measure(store, strategy(checks=())) is None
    assert store.spans == []


def test_answers_that_nobody_timed_are_refused_by_the_same_question() -> None:
    timed = Store(lambda at: served("a", at, 10))
    assert measure(timed, CANARY) == Load(10.0, 0.0, 5.0, HISTORY)
    untimed = Store(lambda at: {s: n for s, n in served("a", at, 10).items() if s.outcome in (ALL, FAILED)})
    with pytest.raises(InvalidInput, match="no answer is timed"):
        measure(untimed, CANARY)
    assert timed.spans == untimed.spans == [HISTORY]


# What is chosen


def test_a_known_load_chooses_and_says_why() -> None:
    chosen, why = choosing.fitted(CANARY, Load(3.0, 0.0, 5.0, HISTORY))
    assert chosen.name == "canary (fitted)"
    assert [step.weight for step in chosen.steps] == [10, 25, 50, 100]
    assert why == chosen.description
    assert "at 3 requests/s the new version needs 203 requests at 5 %" in why
    kept = ("budget", "checks", "confirm", "inconclusive", "deadline", "look", "propagation")
    assert all(getattr(chosen, name) == getattr(CANARY, name) for name in kept)


def test_an_unknown_load_leaves_the_preset_as_it_is_and_says_so() -> None:
    chosen, why = choosing.fitted(CANARY, None)
    assert chosen is CANARY
    assert why == "canary as it is, not fitted to the traffic: there is no history of its traffic yet"


# What is told


def test_what_never_comes_is_null_in_json() -> None:
    (first, *_) = foretelling.outlook(CANARY, Load(0.05, 0.5, 5.0, HISTORY)).steps
    assert not first.proven
    assert (first.detectable_rate, first.hurt) == (None, None)
    for rate in (0.0, 0.5, 1.0):
        told = foretelling.outlook(CANARY, Load(0.0001, rate, 5.0, HISTORY))
        json.dumps(asdict(told), allow_nan=False)
        assert list(foretelling.lines(told, "v1", "v2"))


def test_the_table_is_aligned_and_ends_with_what_to_beware_of() -> None:
    first, *table, last = foretelling.lines(foretelling.outlook(CANARY, Load(4.0, 0.001, 5.0, 300.0)), "v1", "v2")
    assert first == "v1 served 4 requests/s in the last 5m and failed 0.1 %, so:"
    assert table[0].split("  ")[1:3] == ["weight", "requests to v2"]
    assert len(set(map(len, table[:4]))) == 1
    assert last.startswith("beware: this rollout ")


def test_without_a_check_of_errors_there_is_no_table() -> None:
    other = replace(CANARY, checks=CANARY.checks[1:])
    assert list(foretelling.lines(foretelling.outlook(other, Load(4.0, 0.0, 5.0, 300.0)), "v1", "v2")) == [
        "v1 served 4 requests/s in the last 5m and failed 0 %"
    ]


# The plan


@pytest.fixture
def world() -> World:
    made = World(seed=3, trouble=0.0, rps=40)
    made.pass_time(70)
    return made


def test_a_plan_fits_the_preset_and_foretells(world: World) -> None:
    plan = planned(world.cluster, survey(world.cluster, world.request(), 0, world.now), world.metrics, fit=True)
    assert plan.strategy == "test (fitted)"
    assert plan.forecast is not None
    assert (plan.forecast.rps, plan.forecast.span_seconds) == (40.0, 60.0)
    text = list(told(plan))
    assert text[1] == plan.why
    assert "v1 served 40 requests/s in the last 1m and failed 0 %, so:" in text


def test_a_plan_of_a_named_strategy_is_foretold_and_not_fitted(world: World) -> None:
    plan = planned(world.cluster, survey(world.cluster, world.request(), 0, world.now), world.metrics, fit=False)
    assert (plan.strategy, plan.why) == ("test", "")
    assert plan.forecast is not None
    assert [step.weight for step in plan.forecast.steps] == [5, 25, 50]
    json.dumps(asdict(plan), allow_nan=False)


@pytest.mark.parametrize("fit", [True, False])
def test_a_plan_without_metrics_says_so_and_shows_the_rest(world: World, fit: bool) -> None:
    attempt = survey(world.cluster, world.request(), 0, world.now)
    world.metrics.down_until = math.inf
    away = planned(world.cluster, attempt, world.metrics, fit)
    unnamed = planned(world.cluster, attempt, None, fit)
    for plan, said in ((away, "the metrics store is away"), (unnamed, foretelling.UNASKED)):
        assert plan.forecast is None
        assert plan.strategy == "test"
        line = f"test as it is, not fitted to the traffic: {said}" if fit else f"- no forecast: {said}"
        assert line in told(plan)
        assert len(plan.changes) == 1 + len((0, 5, 25, 50, 100))


def test_a_plan_where_nothing_is_judged_misses_no_forecast(world: World) -> None:
    world.strategy = strategy(checks=())
    plan = planned(world.cluster, survey(world.cluster, world.request(), 0, world.now), None, fit=False)
    assert not any("forecast" in note for note in plan.notes)


def test_what_cannot_work_is_no_reason_to_go_without_a_forecast() -> None:
    untimed = Store(lambda at: {s: n for s, n in served("a", at, 10).items() if s.outcome in (ALL, FAILED)})
    with pytest.raises(InvalidInput):
        foretelling.measured(untimed, attempt(CANARY), TARGET)
    untimed.horizon = _away  # type: ignore[method-assign]
    assert foretelling.measured(untimed, attempt(CANARY), TARGET) == (None, "away")


def _away(target: Target) -> float | None:
    raise Unavailable("away")
