"""Versions that promotions replaced: which of them are to go, when, and how that is told."""

import math
from dataclasses import replace

import pytest

from rollout.controller.events import event_of
from rollout.core.attempt import Attempt, Fate, Past, Record, Retirement
from rollout.core.lifecycle import Phase
from rollout.engine.objects import retires_after
from tests.unit.test_events import OBJECT
from tests.unit.test_report import attempt


def released(*moves: str, retired: tuple[Retirement, ...] = ()) -> Record:
    """Attempts like "v1 v2", a second after each other; one that ends with "!" went back."""
    past = []
    for number, move in enumerate(moves, 1):
        stable, canary = move.rstrip("!").split()
        phase = Phase.ROLLED_BACK if move.endswith("!") else Phase.PROMOTED
        past.append(Past(number, stable, canary, phase, None, "", 0.0, float(number)))
    last = past.pop()
    made: Attempt = replace(attempt(last.canary), number=last.number, stable=last.stable, phase=last.phase)
    return Record(replace(made, ended=last.ended, retired=retired), tuple(past))


def decided(version: str, fate: Fate) -> Retirement:
    return Retirement(version, fate, "why")


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (released("v1 v2"), {"v1": 1.0}),
        (released("v1 v2!"), {}),
        (released("v1 v2", "v2 v3"), {"v1": 1.0, "v2": 2.0}),  # releases may follow each other faster than versions go
        (released("v1 v2", "v2 v3!"), {}),  # not while people look at what went back
        (released("v1 v2", "v2 v3!", "v2 v4"), {"v1": 1.0, "v2": 3.0}),
        (released("v1 v2", "v2 v1"), {"v2": 2.0}),  # undone
        (released("v1 v2", "v2 v1", "v1 v2"), {"v1": 3.0}),
        (released("v1 v2", retired=(decided("v1", Fate.RETIRED),)), {}),
        (released("v1 v2", retired=(decided("v1", Fate.KEPT),)), {}),
        (released("v1 v2", retired=(decided("v1", Fate.GOING),)), {"v1": 1.0}),
        (Record(), {}),
    ],
)
def test_what_was_replaced_and_was_not_named_since(record: Record, found: dict[str, float]) -> None:
    assert record.replaced() == found
    assert record.retires_at(100.0) == min(found.values(), default=math.inf) + 100.0
    assert record.retires_at(math.inf) == math.inf


def test_the_proxies_have_to_know_by_then() -> None:
    record = released("v1 v2")
    assert record.attempt is not None
    assert record.retires_at(0.0) == 1.0 + record.attempt.strategy.propagation


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, math.inf),
        ({"retire": None}, math.inf),
        ({"retire": {}}, math.inf),
        ({"retire": {"after": "never"}}, math.inf),
        ({"retire": {"after": "1h30m"}}, 5400.0),
        ({"retire": {"after": "soon"}}, math.inf),
        ({"retire": "soon"}, math.inf),
    ],
)
def test_what_the_object_says(spec: object, seconds: float) -> None:
    assert retires_after({"metadata": {}, "spec": spec}) == seconds


@pytest.mark.parametrize(
    ("fate", "told"),
    [(Fate.GOING, None), (Fate.RETIRED, ("Normal", "Retired")), (Fate.KEPT, ("Warning", "NotRetired"))],
)
def test_what_was_decided_for_good_is_an_event_once(fate: Fate, told: tuple[str, str] | None) -> None:
    before = replace(attempt(), phase=Phase.PROMOTED, retired=(decided("v0", Fate.KEPT),))
    after = replace(before, retired=(*before.retired, decided("v1", fate)))
    event = event_of(OBJECT, before, after, 1.0)
    assert (event and (event["type"], event["reason"])) == told
    if event:
        assert event["message"] in ("v1 is retired: why", "v1 is not retired: why")
    assert event_of(OBJECT, after, after, 2.0) is None
    assert event_of(OBJECT, None, after, 2.0) is None, "another process has told it"
