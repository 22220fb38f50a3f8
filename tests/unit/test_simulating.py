"""`rollout simulate` and `rollout judge` as their users call them: shapes, exit codes, bad input."""

import json

import pytest
from typer.testing import CliRunner

from rollout.cli.app import app
from rollout.cli.simulating import outage_of
from rollout.core.errors import InvalidInput

KEYS = {"rolled_back", "promoted", "unproven", "median_seconds", "excess_failed_mean"}


def test_it_compares_with_the_peers_on_the_same_users() -> None:
    asked = ["simulate", "--rps", "100", "--canary-errors", "0.2", "--runs", "3", "--compare", "--output", "json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found.keys() == {"ours", "flagger", "argo", "kayenta"}
    assert all(one.keys() == KEYS for one in found.values())
    assert found["ours"]["rolled_back"] == found["flagger"]["rolled_back"] == 1.0
    assert found["ours"]["excess_failed_mean"] < found["argo"]["excess_failed_mean"]
    assert CliRunner().invoke(app, asked).stdout == done.stdout, "the same seed, the same rollouts"


def test_every_circumstance_can_be_asked_for() -> None:
    asked = ["simulate", "--rps", "50", "--runs", "1", "--clump", "3", "--outage", "20s@0.3", "--scrape", "15s"]
    asked += ["--late", "60s", "--latency-factor", "3"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("rollout        rolled back  100 %")


@pytest.mark.parametrize("text", ["60s", "60@0.3", "60s@30", "5 parsecs@0.1", "@0.1"])
def test_an_outage_is_a_duration_and_a_share(text: str) -> None:
    with pytest.raises(InvalidInput):
        outage_of(text)


@pytest.mark.parametrize(("errors", "code"), [(0, 0), (40, 1)])
def test_a_judged_stream_ends_with_its_verdict(errors: int, code: int) -> None:
    arms = {"stable": {"requests": 950, "errors": 1}, "canary": {"requests": 50, "errors": errors}}
    lines = "\n".join(json.dumps({"at": 5 * i, "weight": 5, **arms}) for i in range(1, 12))
    done = CliRunner().invoke(app, ["judge", "--strategy", "canary", "--output", "json"], input=lines)
    assert done.exit_code == code, done.output
    verdicts = [json.loads(line)["verdict"] for line in done.stdout.splitlines()]
    assert len(verdicts) == 11
    assert (verdicts[-1] == "ROLLBACK") == bool(code)
