"""What `plan` and `promote` do where no strategy is named: through the command line, on a folder with counters."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.counters import CounterFiles
from rollout.judge.looks import ALL, FAILED, within
from tests.command import ran
from tests.unit.test_bad_input import state

RPS = 100
HOST = "reviews.bookinfo.svc.cluster.local"


@pytest.fixture
def quiet(cluster: Path) -> Path:
    """A cluster whose service nobody has asked yet."""
    CounterFiles(cluster / ".playground" / "metrics").keep(int(time.time()), [])
    return cluster


@pytest.fixture
def busy(quiet: Path) -> Path:
    """The same after a minute and more of traffic."""
    store, now = CounterFiles(quiet / ".playground" / "metrics"), int(time.time())
    for second in range(70):
        counts = (
            (ALL, RPS * second),
            (FAILED, second),
            (within(100.0), 99 * second),
            (within(float("inf")), 99 * second),
        )
        store.keep(
            now - 69 + second, [("source", "gateway", HOST, "v1", outcome, float(count)) for outcome, count in counts]
        )
    return quiet


def rollout(folder: Path, verb: str, *more: str) -> tuple[int, str, str]:
    return ran(verb, "reviews", "--to", "v2", "--cluster", str(folder), *more)


def document(folder: Path, verb: str, *more: str) -> dict[str, Any]:
    _, out, err = rollout(folder, verb, "--output", "json", *more)
    assert out, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_plan_is_fitted_and_foretold(busy: Path) -> None:
    before = state(busy)
    code, out, err = rollout(busy, "plan")
    assert (code, err) == (0, "")
    assert "with strategy canary (fitted)\nat 100 requests/s the new version needs" in out
    assert (
        "v1 served 100 requests/s in the last 1m and failed 1 %, so:\n  weight  requests to v2  evidence after" in out
    )
    assert state(busy) == before


def test_a_plan_is_data(busy: Path) -> None:
    plan = document(busy, "plan")
    told = plan["forecast"]
    assert plan["why"].startswith("at 100 requests/s")
    assert (told["rps"], told["rate"], told["span_seconds"], told["look_seconds"]) == (100.0, 0.01, 60.0, 1.0)
    assert told["warnings"] == []
    assert [step["weight"] for step in told["steps"]] == [5, 25, 50]
    for step in told["steps"]:
        assert step["proven"]
        assert step["requests_at_min"] == RPS * step["weight"] / 100 * 30 <= step["requests_at_max"]
        assert 0 < step["evidence_seconds"] <= step["evidence_likely_seconds"]
        assert 0.01 < step["detectable_rate"] < 1
        assert min(step["hurt"], step["hurt_if_all_fail"]) > 0


def test_the_preset_by_its_name_is_exactly_the_preset(busy: Path, quiet: Path) -> None:
    plan = document(busy, "plan", "--strategy", "canary")
    assert (plan["strategy"], plan["why"]) == ("canary", "")
    assert "stands 30s to 10m" in plan["steps"][0]
    assert plan["forecast"]["steps"][0]["requests_at_max"] == 3000


def test_a_plan_without_traffic_says_so(quiet: Path) -> None:
    plan = document(quiet, "plan")
    assert (plan["strategy"], plan["forecast"]) == ("canary", None)
    assert plan["why"] == "canary as it is, not fitted to the traffic: there is no history of its traffic yet"
    assert "stands 30s to 10m" in plan["steps"][0]
    assert len(plan["changes"]) == 5


def test_a_plan_without_a_store_says_so(quiet: Path) -> None:
    for path in (quiet / ".playground" / "metrics").iterdir():
        path.unlink()
    code, out, _ = rollout(quiet, "plan", "--strategy", "canary")
    assert code == 0
    assert "- no forecast: no counters in " in out
    assert rollout(quiet, "promote")[0] == 3


@pytest.mark.parametrize(
    ("more", "strategy", "second"),
    [((), "canary (fitted)", "at 100 requests/s the new version needs"), (("--strategy", "canary"), "canary", "asked")],
)
def test_what_a_promotion_begins_with(more: tuple[str, ...], strategy: str, second: str, busy: Path) -> None:
    attempt = document(busy, "promote", "--timeout", "1s", *more)
    assert (attempt["strategy"], attempt["exit"]) == (strategy, 4)
    first, other, *_ = (entry["text"] for entry in attempt["journal"])
    assert first == f"v1 → v2 with strategy {strategy}"
    assert second in other


def test_a_person_sees_the_reason_before_the_question(busy: Path) -> None:
    before = state(busy)
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    done = subprocess.run(
        [sys.executable, "-m", "rollout", "promote", "reviews", "--to", "v2", "--cluster", str(busy)],
        stdin=theirs, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 130
    why, question, *_ = done.stderr.splitlines()
    assert why.startswith("at 100 requests/s the new version needs")
    assert question.startswith("Move reviews in bookinfo to v2: 5 % → 25 % → 50 % → 100 %? [y/N]:")
    assert "nothing was written" in done.stderr
    assert state(busy) == before
