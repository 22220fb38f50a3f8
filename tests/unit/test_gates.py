"""Pauses and gates as users write them: in a strategy file, and through the command line."""

import json
import time
from pathlib import Path

import pytest

from rollout.adapters.folder import FolderCluster
from rollout.adapters.strategy_files import parse
from rollout.core.attempt import Attempt, Record
from rollout.core.errors import InvalidInput
from rollout.core.lifecycle import Phase
from rollout.core.strategy import Gate, OnNo, OnTimeout, Pause
from rollout.engine.state import ConfigMapShelf, StateStore
from tests.command import ran

WHOLE = "bake: 1m\nconfirm: 1m\nchecks: []\nsteps:\n- weight: 5\n{}- weight: 100\n"


def test_what_a_file_says() -> None:
    made = parse(
        WHOLE.format(
            "- pause: {for: 10m}\n- pause: {}\n- gate: {person: true, timeout: 4h, onNo: wait}\n"
            "- gate: {webhook: 'https://gate.example/x?token=s', onTimeout: advance}\n"
        ),
        "s",
        "s.yaml",
    )
    at_5 = made.steps[1:-1]
    assert [step.weight for step in at_5] == [5, 5, 5, 5]
    assert [step.act for step in at_5] == [
        Pause(),
        Pause(until_resumed=True),
        Gate(on_no=OnNo.WAIT),
        Gate("https://gate.example/x?token=s", on_timeout=OnTimeout.ADVANCE),
    ]
    assert [step.bake.max for step in at_5] == [600.0, 86400.0, 14400.0, 3600.0]
    assert str(at_5[3].act) == "asking https://gate.example/…"
    assert [step.weight for step in made.shifting.steps] == [5, 100]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("- gate: {}", "either a `person: true` or a `webhook: URL`"),
        ("- gate: {person: true, webhook: 'https://x/y'}", "either a `person: true` or a `webhook: URL`"),
        ("- gate: {person: false}", "s.yaml:6"),
        ("- gate: {webhook: gate}", "this is no URL"),
        ("- gate: {webhook: 'ftp://x/y'}", "is no URL"),
        ("- gate: {webhook: 'https://'}", "is no URL"),
        ("- gate: {person: true, timeout: 0s}", "s.yaml:6"),
        ("- gate: {person: true, onNo: shrug}", "s.yaml:6"),
        ("- pause: {for: 0s}", "s.yaml:6"),
        ("- pause: {for: soon}", "'soon' is no duration"),
        ("- pause: 10m", "s.yaml:6"),
        ("- {pause: {}, bake: 1m}", "only a weight or a route bakes"),
        ("- {pause: {}, weight: 7}", "a step is one of"),
        ("- weight: 100\n- pause: {}", "s.yaml"),
    ],
)
def test_what_a_file_may_not_say(step: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=r"s\.yaml:") as caught:
        parse(WHOLE.format(step + "\n"), "s", "s.yaml")
    assert said in str(caught.value)


def rollout(folder: Path, *arguments: str) -> tuple[int, str, str]:
    return ran(*arguments, "--cluster", str(folder))


@pytest.fixture
def waiting(cluster: Path) -> Path:
    """A folder whose rollout of reviews waits at a gate, as its record says."""
    steps = parse(WHOLE.format("- gate: {person: true}\n"), "s", "s.yaml")
    now = time.time()
    attempt = Attempt(1, "reviews", "bookinfo", "v1", "v2", steps, (), now, now + 900, Phase.WAITING, step=1)
    store = StateStore(ConfigMapShelf(FolderCluster(cluster), "reviews", "bookinfo"))
    store.read()
    store.write(Record(attempt), 0.0)
    return cluster


def recorded(folder: Path) -> Attempt:
    attempt = StateStore(ConfigMapShelf(FolderCluster(folder), "reviews", "bookinfo")).read().attempt
    assert attempt is not None
    return attempt


@pytest.mark.parametrize("no", [False, True])
def test_a_person_answers(waiting: Path, no: bool) -> None:
    more = ["--no"] if no else []
    code, out, _ = rollout(waiting, "approve", "reviews", "--as", "ann", "--because", "seen it", *more)
    assert code == 0
    assert f"ann says {'no' if no else 'yes'}: seen it" in out
    assert "nobody drives it now: `rollout promote reviews --to v2`" in out
    word = recorded(waiting).word
    assert word is not None
    assert (word.yes, word.who, word.why) == (not no, "ann", "seen it")


def test_a_person_pauses_and_resumes(waiting: Path) -> None:
    code, out, _ = rollout(waiting, "pause", "reviews", "--as", "ann", "--output", "json")
    assert code == 0
    assert json.loads(out)["phase"] == "Paused"
    assert rollout(waiting, "approve", "reviews")[0] == 2
    code, out, _ = rollout(waiting, "resume", "reviews")
    assert (code, recorded(waiting).resume) == (0, True)
    assert "asked to go on" in out


def test_a_word_where_nobody_asks_changes_nothing(waiting: Path, cluster: Path) -> None:
    before = recorded(waiting)
    code, _, error = rollout(waiting, "resume", "reviews")
    assert code == 2
    assert "`rollout approve reviews` answers it" in error
    assert recorded(cluster) == before
    for verb in ("pause", "resume", "approve"):
        code, _, error = rollout(waiting, verb, "ratings")
        assert code == 2
        assert "no rollout of ratings is in flight in namespace bookinfo" in error
        assert rollout(waiting, verb, "reviwes")[0] == 2
