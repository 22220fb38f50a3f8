"""Webhook checks: what users write, what an answer means, how often one is asked, and that nobody waits for it."""

import base64
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from rollout.adapters.strategy_files import parse
from rollout.cli.explaining import explained
from rollout.cli.planning import planned, told
from rollout.core.address import SecretKey
from rollout.core.attempt import Attempt, Word
from rollout.core.documents import SECRET
from rollout.core.errors import Forbidden, InvalidInput
from rollout.core.lifecycle import Phase
from rollout.core.query import Effect, Hook, Measured, Query, heard
from rollout.engine import rights
from rollout.engine.asking import Asker
from rollout.engine.querying import SILENT, Queries
from rollout.engine.survey import survey
from rollout.ports import Question
from tests.fakes.memory import MemoryCluster
from tests.simulation.world import ProcessWebhooks, World, strategy

URL = "https://ask.example/freeze?token=s3cret"
FREEZE = Hook("freeze", URL)
BUDGET = Hook("budget", URL, max=100, min=0)
Answer = Word | str | None

WRITTEN = """bake: 10s
steps: [{weight: 50}, {weight: 100}]
confirm: 1m
checks:
- webhook:
    name: freeze
    url: https://ask.example/freeze?token=s3cret
"""


def test_what_is_left_out_holds_at_once_and_needs_no_prometheus() -> None:
    made = parse(WRITTEN, "s", "s.yaml")
    assert (made.queries, made.checks, made.measures) == ((FREEZE,), (), False)
    assert parse(f"{WRITTEN}- query: {{name: q, promql: up, max: 1}}\n", "s", "s.yaml").measures


def test_everything_can_be_said() -> None:
    more = "    max: 100\n    min: 0\n    onBreach: rollback\n    onNoData: ignore\n    onError: ignore\n"
    text = f"{WRITTEN}{more}- webhook: {{name: other, url: {{secret: hooks, key: other}}}}\n"
    made = parse(text, "s", "s.yaml")
    other = Hook("other", SecretKey("hooks", "other"))
    assert made.queries == (
        Hook("freeze", URL, max=100, min=0, on_breach=Effect.ROLLBACK, on_no_data=None, on_error=None), other,
    )  # fmt: skip
    assert made.secrets == (SecretKey("hooks", "other"),)
    assert made.faster(10).queries == made.queries


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("url: h", "url: ftp", "7: checks.0.webhook.url: this is no URL"),
        ("    url: https://ask.example/freeze?token=s3cret\n", "", "5: checks.0.webhook.url: this key must be there"),
        ("name: freeze", "name: 5", "6: checks.0.webhook.name: this must be text"),
        ("name: freeze", "name: freeze\n    for: 1m", "7: checks.0.webhook.for: there is no such key here"),
        ("name: freeze", "name: freeze\n    max: 1\n    min: 2", "5: checks.0.webhook: min (2) is above max (1)"),
        ("name: freeze", "name: freeze\n    onError: shrug", "7: checks.0.webhook.onError: must be hold or ignore"),
        ("checks:", "checks:\n- query: {name: freeze, promql: up, max: 1}", "4: checks: the check 'freeze' is"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line_and_without_the_url(old: str, new: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(WRITTEN.replace(old, new), "s", "s.yaml")
    assert str(refused.value).startswith(f"s.yaml:{said}")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("hook", "word", "text", "effect"),
    [
        (FREEZE, Word(True, "h"), "freeze says yes", None),
        (FREEZE, Word(True, "h", "quiet"), "freeze says yes: quiet", None),
        (FREEZE, Word(False, "h", "Friday"), "freeze says no: Friday", Effect.HOLD),
        (replace(FREEZE, on_breach=Effect.ROLLBACK), Word(False, "h"), "freeze says no", Effect.ROLLBACK),
        (FREEZE, Word(True, "h", "", 7.0), "freeze is 7", None),
        (BUDGET, Word(True, "h", "", 7.0), "budget is 7 (0 to 100)", None),
        (BUDGET, Word(True, "h", "spent", 120.0), "budget is 120, above 100: spent", Effect.HOLD),
        (BUDGET, Word(True, "h", "", -1.0), "budget is -1, below 0", Effect.HOLD),
        (BUDGET, Word(False, "h", "shut", 7.0), "budget says no: shut", Effect.HOLD),
        (BUDGET, Word(True, "h"), "budget has no data: its answer has no `value`", Effect.HOLD),
        (replace(BUDGET, on_no_data=None), Word(True, "h"), "budget has no data: its answer has no `value`", None),
    ],
)
def test_what_an_answer_means(hook: Hook, word: Word, text: str, effect: Effect | None) -> None:
    assert heard(hook, word.yes, word.why, word.value, 9.0) == Measured(hook.name, 9.0, text, word.value, effect)


class Asking:
    """A world with webhook checks, and its attempt at 5 %; `answers` says what each question gets, tick by tick."""

    def __init__(self, *checks: Hook | Query) -> None:
        self.world = World(seed=1, trouble=0.0, strategy=strategy(queries=checks, look=5.0))
        found = survey(self.world.cluster, self.world.request(), 1, self.world.now)
        self.attempt = replace(found, phase=Phase.SHIFTING, weight=Decimal(5), step=0, landed=self.world.now)
        self.queries = Queries(self.world.metrics, Asker(self.world.cluster, ProcessWebhooks(self.world), "shop"))

    def says(self, answer: Callable[[Question], Answer] | Answer) -> None:
        self.world.webhooks.check = answer if callable(answer) else lambda question: answer

    def tick(self, times: int = 1) -> list[Measured]:
        for _ in range(times):
            self.world.pass_time(1.0)
            found, silence = self.queries.measured(self.attempt, self.world.now, 1.0)
            assert silence == ""
        return list(found)

    @property
    def asked(self) -> list[Question]:
        return self.world.webhooks.asked


def test_it_is_asked_as_often_as_a_look_is_due_with_its_name() -> None:
    asking = Asking(FREEZE)
    assert [one.text for one in asking.tick(11)] == ["freeze says yes"]
    assert [(one["check"], one["weight"], one["asked"]) for one in asking.asked] == [
        ("freeze", "5", "0"), ("freeze", "5", "1"), ("freeze", "5", "2"),
    ]  # fmt: skip
    assert asking.world.webhooks.urls == [URL] * 3


def test_until_it_answers_for_the_first_time_it_holds_and_counts_for_no_bake() -> None:
    asking = Asking(replace(FREEZE, on_error=None, on_no_data=None))
    asking.says(None)
    began = asking.world.now + 1
    for _ in range(4):
        assert asking.tick() == [Measured("freeze", 0.0, "freeze has not answered yet", None, Effect.HOLD)]
    asking.says(Word(True, "h"))
    assert asking.tick() == [Measured("freeze", began, "freeze says yes")], "it answers what was asked then"
    assert len({tuple(question.items()) for question in asking.asked}) == 1, "to look again is not to ask again"


def test_while_it_is_asked_again_the_last_answer_stands() -> None:
    asking = Asking(FREEZE)
    asking.says(Word(False, "h", "Friday"))
    asking.tick()
    asking.says(None)
    assert [one.effect for one in asking.tick(9)] == [Effect.HOLD]
    asking.says(Word(True, "h"))
    assert [one.effect for one in asking.tick()] == [None]


@pytest.mark.parametrize(("on_error", "effect"), [(Effect.HOLD, Effect.HOLD), (None, None)])
@pytest.mark.parametrize(("said", "after"), [("h answers with status 500", 1), (None, SILENT + 1)])
def test_no_answer_follows_on_error(on_error: Effect | None, effect: Effect | None, said: Answer, after: float) -> None:
    asking = Asking(replace(FREEZE, on_error=on_error))
    asking.says(said)
    (found,) = asking.tick(round(after))
    assert found.text == f"freeze cannot be told: {said or 'it does not answer'}"
    assert found.effect is effect


def test_a_no_that_takes_back_is_not_forgotten_and_others_are_asked_on() -> None:
    asking = Asking(replace(FREEZE, on_breach=Effect.ROLLBACK), BUDGET)
    asking.says(lambda question: Word(question["check"] == "budget", "h", "", 7.0))
    asking.tick()
    asking.says(Word(True, "h", "", 8.0))
    assert [one.text for one in asking.tick(6)] == ["freeze says no", "budget is 8 (0 to 100)"]


def test_one_that_is_silent_and_a_store_that_is_away_keep_no_other_from_being_asked() -> None:
    asking = Asking(Query("depth", "queue_depth", max=100), FREEZE, BUDGET)
    asking.says(lambda question: None if question["check"] == "freeze" else Word(True, "h", "", 7.0))
    asking.world.metrics.down_until = asking.world.now + 60
    asking.world.pass_time(1.0)
    found, silence = asking.queries.measured(asking.attempt, asking.world.now, 1.0)
    assert [one.text for one in found] == ["freeze has not answered yet", "budget is 7 (0 to 100)"]
    assert silence == "the metrics store is away"


def test_what_was_asked_while_the_canary_had_nothing_says_nothing_of_it() -> None:
    asking = Asking(FREEZE)
    asking.says(Word(False, "h"))
    attempt, asking.attempt = asking.attempt, replace(asking.attempt, weight=Decimal(0))
    asking.tick()
    asking.attempt = attempt
    asking.says(None)
    assert [one.text for one in asking.tick()] == ["freeze has not answered yet"]


# Its URL in a Secret

KEPT = replace(FREEZE, url=SecretKey("hooks", "freeze"))


def secret(cluster: MemoryCluster, url: str) -> None:
    data = {"freeze": base64.b64encode(url.encode()).decode()}
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hooks", "namespace": "shop"}, "data": data}
    cluster.create(SECRET, document)


def test_a_secret_is_read_when_it_is_asked_and_without_one_nothing_starts() -> None:
    asking = Asking(FREEZE)
    asking.attempt = replace(asking.attempt, strategy=replace(asking.attempt.strategy, queries=(KEPT,)))
    assert next(one.text for one in asking.tick()).startswith("freeze cannot be told: there is no Secret hooks")
    request = replace(asking.world.request(), strategy=asking.attempt.strategy)
    with pytest.raises(InvalidInput, match="there is no Secret hooks in namespace shop"):
        survey(asking.world.cluster, request, 1, asking.world.now)
    secret(asking.world.cluster, URL)
    assert [one.text for one in asking.tick(5)] == ["freeze says yes"]
    assert asking.world.webhooks.urls == [URL]


class Refusing(MemoryCluster):
    def may(self, verb: str, kind: object, namespace: str | None, name: str = "") -> bool:
        return kind is not SECRET


def test_the_right_to_its_secret_is_asked_for() -> None:
    attempt = replace(Asking(FREEZE).attempt, strategy=strategy(queries=(KEPT,)))
    with pytest.raises(Forbidden, match="get secrets hooks in shop"):
        rights.demand(Refusing(), attempt, subsets=False)


# What people see


def test_plan_and_explain_tell_it_without_the_secret() -> None:
    asking = Asking(BUDGET)
    asking.says(Word(True, "h", "", 120.0))
    plan = list(told(planned(asking.world.cluster, asking.attempt, None, fit=False)))
    assert "- webhook budget: asking https://ask.example/…, 0 to 100, at every look" in plan
    assert not any("no query was asked" in line for line in plan)
    shown: list[Attempt] = [asking.attempt, replace(asking.attempt, measured=tuple(asking.tick()))]
    lines = [line for one in shown for line in explained(one, one.started, "")]
    assert any(line.endswith("a webhook said: budget is 120, above 100.") for line in lines)
    assert not any("s3cret" in line for line in (*plan, *lines))
    asking.queries = Queries(asking.world.metrics, Asker(asking.world.cluster, ProcessWebhooks(asking.world), "shop"))
    asking.says(None)
    waiting = replace(asking.attempt, measured=tuple(asking.tick()))
    assert "budget has not answered yet." in list(explained(waiting, waiting.started, ""))
