"""Query checks: what users write, what an answer means, and how often it is asked for."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from rich.console import Console

from rollout.adapters.counters import CounterFiles
from rollout.adapters.prometheus import PrometheusMetrics
from rollout.adapters.strategy_files import parse
from rollout.cli.console import document, view
from rollout.cli.explaining import explained
from rollout.cli.planning import planned, told
from rollout.core.attempt import Attempt
from rollout.core.errors import Forbidden, InvalidInput, Unavailable, Unintelligible
from rollout.core.lifecycle import Phase
from rollout.core.query import LONGEST, Aggregate, Effect, Measured, Points, Query, measured, unanswered
from rollout.engine.asking import Asker
from rollout.engine.querying import Queries, examined
from rollout.engine.survey import survey
from tests.fakes.serving import serving
from tests.simulation.world import ProcessWebhooks, World, strategy

AT = 1000.0
DEPTH = Query("queue depth", 'queue_depth{version="$canary"}', max=100, min=0)
LASTING = replace(DEPTH, lasting=60.0)

# What users write

WRITTEN = """bake: 10s
steps: [{weight: 50}, {weight: 100}]
confirm: 1m
checks:
- errors: {}
- query:
    name: queue depth
    promql: 'queue_depth{version="$canary"}'
    max: 100
    min: 0
"""


def test_what_is_left_out_holds_at_once() -> None:
    made = parse(WRITTEN, "s", "s.yaml")
    assert made.queries == (DEPTH,)
    assert [check.kind for check in made.checks] == ["errors"], "the judge does not see it"


def test_everything_can_be_said() -> None:
    more = "aggregate: max\n    for: 1m\n    onBreach: rollback\n    onNoData: ignore\n    onError: ignore\n"
    made = parse(f"{WRITTEN}    {more}- query: {{name: other, promql: up, min: 1e3}}\n", "s", "s.yaml")
    assert made.queries == (
        replace(
            LASTING, aggregate=Aggregate.MAX, on_breach=Effect.ROLLBACK, on_no_data=None, on_error=None
        ),
        Query("other", "up", min=1000.0),
    )  # fmt: skip
    assert made.faster(10).queries[0] == replace(made.queries[0], lasting=6.0)


def test_queries_alone_are_enough() -> None:
    assert parse(WRITTEN.replace("- errors: {}\n", ""), "s", "s.yaml").checks == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    max: 100\n    min: 0\n", "", "6: checks.1.query: neither max nor min is there"),
        ("min: 0", "min: 200", "6: checks.1.query: min (200) is above max (100)"),
        ("min: 0", "mean: 0", "10: checks.1.query.mean: there is no such key here"),
        ("min: 0", "lasting: 0s", "10: checks.1.query.lasting: there is no such key here"),
        ("max: 100", "max: true", "9: checks.1.query.max: True is no number"),
        ("max: 100", "max: .inf", "9: checks.1.query.max: inf is no number"),
        ("name: queue depth", "name: 5", "7: checks.1.query.name: this must be text"),
        ("name: queue depth", 'name: "a\\nb"', "7: checks.1.query.name: this must be one line of text"),
        ("    name: queue depth\n", "", "6: checks.1.query.name: this key must be there"),
        ("$canary", "$canery", "8: checks.1.query.promql: there is no $canery; there are $canary, $stable, "),
        ("$canary", "v$", "8: checks.1.query.promql: a dollar begins one of $canary"),
        ("min: 0", "for: 20m", "10: checks.1.query.for: must be 0s, or from 1s to 15m"),
        ("min: 0", "for: 0.5s", "10: checks.1.query.for: must be 0s, or from 1s to 15m"),
        ("min: 0", "onBreach: ignore", "10: checks.1.query.onBreach: must be hold or rollback, not 'ignore'"),
        ("min: 0", "onNoData: rollback", "10: checks.1.query.onNoData: must be hold or ignore, not 'rollback'"),
        ("min: 0", "aggregate: mean", "10: checks.1.query.aggregate: this must be 'max'"),
        ("- errors: {}", "- query: {name: queue depth, promql: up, max: 1}", "4: checks: the check 'queue"),
        ("- errors: {}", "- query:", "5: checks.0: a check is one of errors, rejections, latency, restarts, query"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line(old: str, new: str, said: str) -> None:
    with pytest.raises(InvalidInput) as told:
        parse(WRITTEN.replace(old, new), "s", "s.yaml")
    assert str(told.value).startswith(f"s.yaml:{said}")


def test_placeholders_become_what_the_counters_carry() -> None:
    query = Query("q", 'rate(x{v="${canary}_1",s="$stable",n="$namespace/$service",r=~"a$$"}[1m])')
    filled = query.filled(canary='v2"\\', stable="v1", service="reviews", namespace="shop")
    assert filled == 'rate(x{v="v2\\"\\\\_1",s="v1",n="shop/reviews",r=~"a$"}[1m])'


# What an answer means


def over(query: Query, *series: Callable[[float], float | None]) -> list[Points]:
    """Series as functions of the seconds before AT."""
    start, end, step = query.window(AT)
    moments = [start + step * i for i in range(round((end - start) / step) + 1)]
    return [[(at, value) for at in moments if (value := one(AT - at)) is not None] for one in series]


@pytest.mark.parametrize(
    ("query", "value", "text", "effect"),
    [
        (DEPTH, 120.0, "queue depth is 120, above 100", Effect.HOLD),
        (DEPTH, 100.0, "queue depth is 100 (0 to 100)", None),
        (DEPTH, -0.5, "queue depth is -0.5, below 0", Effect.HOLD),
        (replace(DEPTH, on_breach=Effect.ROLLBACK), 120.0, "queue depth is 120, above 100", Effect.ROLLBACK),
        (replace(DEPTH, min=None), -5.0, "queue depth is -5 (at most 100)", None),
        (replace(DEPTH, max=None), 500.0, "queue depth is 500 (at least 0)", None),
        (DEPTH, None, "queue depth has no data", Effect.HOLD),
        (DEPTH, math.nan, "queue depth has no data", Effect.HOLD),
        (DEPTH, math.inf, "queue depth has no data", Effect.HOLD),
        (replace(DEPTH, on_no_data=None), None, "queue depth has no data", None),
    ],
)
def test_one_moment(query: Query, value: float | None, text: str, effect: Effect | None) -> None:
    found = measured(query, over(query, lambda _: value), AT)
    known = value if value is not None and math.isfinite(value) else None
    assert found == Measured("queue depth", AT, text, known, effect)


@pytest.mark.parametrize(
    ("of", "text", "effect"),
    [
        (lambda _: 120.0, "queue depth is 120, above 100 for 1m", Effect.HOLD),
        (lambda ago: 120.0 if ago < 60 else 90.0, "queue depth is 120, above 100, but not yet for 1m", None),
        (lambda ago: 120.0 if ago < 60 else None, "queue depth is 120, above 100, but not yet for 1m", None),
        (lambda ago: 120.0 if ago != 30 else math.nan, "queue depth is 120, above 100, but not yet for 1m", None),
        (lambda ago: 120.0 if ago != 30 else -1.0, "queue depth is 120, above 100 for 1m", Effect.HOLD),
        (lambda ago: 120.0 if ago else 90.0, "queue depth is 90 (0 to 100)", None),
        (lambda ago: 120.0 if ago else None, "queue depth has no data", Effect.HOLD),
    ],
)
def test_only_a_breach_that_has_lasted_counts(
    of: Callable[[float], float | None], text: str, effect: Effect | None
) -> None:
    found = measured(LASTING, over(LASTING, of), AT)
    assert (found.text, found.effect) == (text, effect)


@pytest.mark.parametrize(("aggregate", "value"), [("max", 3.0), ("min", 1.0), ("sum", 4.0), ("avg", 2.0)])
def test_several_series_become_one_value_where_it_is_said_how(aggregate: str, value: float) -> None:
    query = replace(DEPTH, aggregate=Aggregate(aggregate))
    assert measured(query, over(query, lambda _: 1.0, lambda _: 3.0, lambda _: math.nan), AT).value == value


def test_several_series_at_one_moment_are_refused_and_one_after_another_is_one() -> None:
    with pytest.raises(InvalidInput, match="2 series came back"):
        measured(DEPTH, over(DEPTH, lambda _: 1.0, lambda _: math.nan), AT)
    pods = over(LASTING, lambda ago: 120.0 if ago > 20 else None, lambda ago: 130.0 if ago <= 20 else None)
    assert measured(LASTING, pods, AT).effect is Effect.HOLD


@pytest.mark.parametrize("lasting", [0.0, 1.0, 10.0, 44.0, 61.0, 88.0, 600.1, LONGEST])
def test_a_window_has_few_points_that_are_close_and_ends_now(lasting: float) -> None:
    start, end, step = replace(DEPTH, lasting=lasting).window(AT)
    points = round((end - start) / step) + 1
    assert end == AT
    assert points <= 61
    assert step <= 15
    assert round(1000 * step, 6) == round(1000 * step)
    assert 0 <= lasting - (end - start) < 0.1


def test_an_error_says_why() -> None:
    found = unanswered(replace(DEPTH, on_error=None), InvalidInput("it does not parse"), AT)
    assert (found.text, found.effect) == ("queue depth cannot be told: it does not parse", None)


# How often it is asked


class Asked:
    """A world with one query, and its attempt at 5 %."""

    def __init__(self, *queries: Query) -> None:
        self.world = World(seed=1, trouble=0.0, strategy=strategy(queries=queries, look=5.0))
        found = survey(self.world.cluster, self.world.request(), 1, self.world.now)
        self.attempt = replace(found, phase=Phase.SHIFTING, weight=Decimal(5), step=0, landed=self.world.now)
        asker = Asker(self.world.cluster, ProcessWebhooks(self.world), "shop")
        self.queries = Queries(self.world.metrics, asker)

    def value(self, value: float) -> None:
        self.world.metrics.answer = lambda promql, at: [value]

    def tick(self, attempt: Attempt | None = None) -> tuple[tuple[Measured, ...], str]:
        self.world.pass_time(1.0)
        return self.queries.measured(attempt or self.attempt, self.world.now, 1.0)


def test_it_is_asked_as_often_as_a_look_is_due() -> None:
    asked = Asked(DEPTH)
    asked.value(7.0)
    answers = [asked.tick()[0][0] for _ in range(11)]
    assert [one.value for one in answers] == [7.0] * 11
    assert len(asked.world.metrics.asked) == 3
    assert {promql for _, promql in asked.world.metrics.asked} == {'queue_depth{version="v2"}'}


def test_a_breach_that_takes_back_is_not_forgotten_and_others_are_asked_on() -> None:
    asked = Asked(replace(DEPTH, on_breach=Effect.ROLLBACK), replace(DEPTH, name="held"))
    asked.value(120.0)
    asked.tick()
    asked.value(7.0)
    for _ in range(6):
        answers, _ = asked.tick()
    assert [one.value for one in answers] == [120.0, 7.0]


def test_what_it_said_at_weight_0_is_forgotten_with_the_first_weight() -> None:
    asked = Asked(replace(DEPTH, on_breach=Effect.ROLLBACK))
    asked.value(120.0)
    before, _ = asked.tick(replace(asked.attempt, weight=Decimal(0)))
    asked.value(7.0)
    after, _ = asked.tick()
    assert [one.value for one in (*before, *after)] == [120.0, 7.0]


def test_before_the_start_and_after_the_end_nothing_is_asked() -> None:
    asked = Asked(DEPTH)
    known = (Measured("queue depth", AT, "queue depth is 7", 7.0),)
    for phase in (Phase.PREFLIGHT, Phase.ROLLING_BACK):
        assert asked.tick(replace(asked.attempt, phase=phase, measured=known)) == (known, "")
    assert not asked.world.metrics.asked


def test_a_store_that_is_away_is_silence_and_is_asked_again() -> None:
    asked = Asked(replace(DEPTH, on_error=None))
    asked.world.metrics.down_until = asked.world.now + 3
    assert asked.tick() == ((), "the metrics store is away")
    asked.tick()
    asked.value(7.0)
    assert asked.tick()[0][0].value == 7.0


def test_a_breach_before_the_store_went_away_in_the_same_tick_is_kept() -> None:
    asked = Asked(replace(DEPTH, on_breach=Effect.ROLLBACK), replace(DEPTH, name="second", promql="second"))

    def answer(promql: str, at: float) -> list[float]:
        if promql == "second":
            raise Unavailable("away")
        return [120.0]

    asked.world.metrics.answer = answer
    answers, silence = asked.tick()
    assert ([one.effect for one in answers], silence) == ([Effect.ROLLBACK], "away")


def test_what_cannot_be_answered_follows_on_error_in_flight_and_is_refused_before() -> None:
    asked = Asked(DEPTH)
    asked.world.metrics.answer = lambda promql, at: [1.0, 2.0]
    (found,), silence = asked.tick()
    assert (found.effect, silence) == (Effect.HOLD, "")
    assert found.text.startswith("queue depth cannot be told: 2 series came back")
    with pytest.raises(InvalidInput, match="the check `query` 'queue depth': 2 series came back"):
        examined(asked.world.metrics, asked.attempt, asked.world.now)


def test_the_playground_knows_no_promql(tmp_path: Path) -> None:
    asked = Asked(DEPTH)
    files = CounterFiles(tmp_path)
    with pytest.raises(InvalidInput, match=r"'queue depth': .* takes a Prometheus \(--prometheus URL\)"):
        examined(files, asked.attempt, asked.world.now)


# What a store answers that is no Prometheus in good health


@pytest.mark.parametrize(
    ("code", "body", "kind", "said"),
    [
        (503, '{"status":"error","errorType":"timeout","error":"query timed out"}', InvalidInput, "query timed out"),
        (
            422,
            '{"status":"error","errorType":"execution","error":"too many"}',
            InvalidInput,
            "too many",
        ),
        (400, "no JSON", InvalidInput, "Bad Request"),
        (503, '{"status":"error","errorType":"unavailable","error":"starting"}', Unavailable, "refuses"),
        (502, "<html>", Unavailable, "refuses"),
        (401, "<html>", Forbidden, "does not let us in"),
        (404, "<html>", Unintelligible, "is no Prometheus"),
        (200, "<html>", Unintelligible, "is no Prometheus"),
        (200, "[1]", Unintelligible, "is no Prometheus"),
        (200, '{"data":{"result":[7]}}', Unintelligible, "answers with a series without labels"),
    ],
)
def test_what_is_the_querys_fault_is_told_from_what_is_not(code: int, body: str, kind: type, said: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body.encode())

    with serving(Handler) as here, pytest.raises(kind, match=said) as told:
        PrometheusMetrics(here).values("up", AT, AT, 1.0)
    assert told.type is kind


# What people see


def test_plan_explain_the_view_and_json_tell_its_value() -> None:
    asked = Asked(DEPTH)
    asked.value(120.0)
    plan = planned(asked.world.cluster, asked.attempt, asked.world.metrics, fit=False)
    assert "query: queue depth is 120, above 100" in told(plan)
    attempt = replace(asked.attempt, measured=asked.tick()[0])
    assert any("a query said: queue depth is 120, above 100." in line for line in explained(attempt, AT, ""))
    assert document(attempt)["queries"][0]["value"] == 120.0
    Console(file=(shown := io.StringIO()), width=100).print(view(attempt))
    assert "queue depth is 120, above 100" in shown.getvalue()
    asked.world.metrics.down_until = math.inf
    away = planned(asked.world.cluster, asked.attempt, asked.world.metrics, fit=False)
    assert "- no query was asked: the metrics store is away" in told(away)
