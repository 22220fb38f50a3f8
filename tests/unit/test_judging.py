"""`rollout judge`: a stream of looks in, a verdict a line out; what cannot be true is said and left out."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from rollout.adapters.look_lines import Implausible, parsed
from rollout.adapters.strategy_files import load
from rollout.cli.judging import Stream, Told
from rollout.core.attempt import Verdict
from rollout.core.errors import InvalidInput

GOOD = {"requests": 950, "errors": 1, "latency": {"100": 900, "250": 940, "+Inf": 950}}


def line(at: float, weight: float = 5, stable: dict[str, Any] | None = None, **canary: Any) -> str:
    return json.dumps({"at": at, "weight": weight, "stable": GOOD if stable is None else stable, "canary": canary})


def told(lines: Iterable[str]) -> list[Told]:
    return list(Stream(load("canary")).answers(lines))


def test_a_bad_version_is_rolled_back_and_stays_so() -> None:
    past = [line(5.0 * i, 0) for i in range(30)]
    bad = [line(150.0 + 5 * i, requests=50, errors=10) for i in range(12)]
    quiet = [line(500.0, requests=50, errors=0), line(500.0, requests=-1)]
    answers = told([*past, *bad, *quiet])
    verdicts = [answer.reading.verdict for answer in answers]
    assert set(verdicts[:30]) == {Verdict.NO_DATA}
    assert verdicts[-1] is verdicts[-2] is verdicts[41] is Verdict.ROLLBACK
    document = answers[41].document()
    assert document.keys() == {"at", "verdict", "check", "evidence", "p_value"}
    assert (document["check"], document["evidence"] >= 100, document["p_value"] <= 0.01) == ("errors", True, True)


def test_after_advance_the_stream_decides_the_next_weight() -> None:
    at_5 = [line(5.0 * i, requests=50, errors=0, latency={"100": 48, "250": 50, "+Inf": 50}) for i in range(1, 40)]
    at_25 = [line(200 + 5.0 * i, 25, requests=300, errors=0) for i in range(2)]
    answers = told([*at_5, *at_25])
    assert answers[38].reading.verdict is Verdict.ADVANCE
    assert answers[39].reading.verdict is Verdict.CONTINUE, "each weight must earn the next"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (line(10, requests=-1), "canary.requests is -1"),
        (line(10, requests=float("nan")), "canary.requests is nan"),
        (line(10, requests=1.5), "a count is whole"),
        (line(10, requests=5, errors=6), "more errors and rejections than requests"),
        (line(10, requests=5, latency={"100": 5}), "has no +Inf"),
        (line(10, requests=5, latency={"100": 5, "+Inf": 5}), "different buckets"),
        (line(10, requests=5, latency={"100": 5, "250": 4, "+Inf": 5}), "the histogram falls"),
        (line(10, 101), "between 0 and 100"),
        (line(5), "not after 5"),
        (line(10, requests=5, instances=[{"requests": 4}]), "do not add up"),
    ],
)
def test_numbers_that_cannot_be_true_are_said_and_held(text: str, said: str) -> None:
    with pytest.raises(Implausible, match=said.replace("+", r"\+")):
        parsed(text, 7, 5.0)
    answer = told([line(5), text])[-1]
    assert answer.reading.verdict is Verdict.NO_DATA
    assert said in answer.note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1: this is not JSON"),
        ("[]", "must be an object"),
        ("{}", "line 1: at: this must be a number"),
        (line(1, requests="5"), "canary.requests: this must be a number"),
        (line(1, requests=5, speed=1), "no key 'speed'"),
        (line(1, latency={"fast": 1}), "edges in milliseconds"),
    ],
)
def test_what_is_no_look_is_bad_input(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said.replace("+", r"\+")):
        told([text])
