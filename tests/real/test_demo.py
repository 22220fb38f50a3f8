"""Each scenario of the demo ends as its users need it to end, and says so as JSON and by its exit code."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.alone]


def play(scenario: str, *more: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "rollout", "demo", "--scenario", scenario, "--output", "json", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    print(done.stderr)  # told where a test fails
    assert done.returncode in (0, 1, 4)
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["scenario"] == scenario
    assert (result["from"], result["to"]) == ("v1", "v2")
    assert result["failed_by_shifting"] == 0
    return done.returncode, result


def test_good() -> None:
    code, result = play("good")
    assert (code, result["phase"], result["weights"]) == (0, "Promoted", {"v1": 0, "v2": 100})
    assert result["failed_requests"] == 0
    assert result["requests"] > 0.9 * 500 * (result["duration_seconds"] - 2)
    assert result["reaction_seconds"] is None


@pytest.mark.parametrize("scenario", ["errors", "crash"])
def test_bad(scenario: str) -> None:
    code, result = play(scenario)
    assert (code, result["phase"], result["weights"]) == (1, "RolledBack", {"v1": 100, "v2": 0})
    assert result["failed_requests"] > 0
    assert 0 < result["reaction_seconds"] <= 20


def test_rejections_and_slow_answers_are_harm_too() -> None:
    """Both at once, for they wait for looks: sixteen until slow answers can be no clump of a machine's."""
    with ThreadPoolExecutor() as pool:
        (code, rejecting), (other, slow) = pool.map(play, ("rejections", "slow"), ("--rps=200",) * 2)
    assert (code, rejecting["phase"], rejecting["weights"]) == (1, "RolledBack", {"v1": 100, "v2": 0})
    assert (other, slow["phase"], slow["weights"]) == (1, "RolledBack", {"v1": 100, "v2": 0})
    assert rejecting["failed_requests"] > 0
    assert slow["failed_requests"] == 0, "nothing but its slowness was seen"
    assert 0 < rejecting["reaction_seconds"] <= 20
    assert 0 < slow["reaction_seconds"] <= 40


def test_a_version_that_fails_what_is_mirrored_gets_no_user() -> None:
    code, result = play("mirror")
    assert (code, result["phase"], result["weights"]) == (1, "RolledBack", {"v1": 100, "v2": 0})
    assert result["failed_requests"] == 0
    assert result["duration_seconds"] < 60, "it was found before the mirror's end"


def test_a_version_without_a_timeout_is_found_out_by_a_drill() -> None:
    code, result = play("fault-drill", "--rps=100")
    assert (code, result["phase"], result["weights"]) == (1, "RolledBack", {"v1": 100, "v2": 0})
    assert result["failed_requests"] == 0
    assert result["duration_seconds"] < 90


def test_no_traffic_proves_nothing() -> None:
    code, result = play("no-traffic", "--speed", "30")
    assert (code, result["phase"], result["weights"]) == (4, "RolledBack", {"v1": 100, "v2": 0})
    assert result["requests"] == 0


def test_an_outage_of_both_is_not_the_new_version_s_fault() -> None:
    """The promise is one in a hundred, not never, and a busy machine adds to it: a second run may say otherwise."""
    code, result = play("outage", "--speed", "20")
    if code:
        code, result = play("outage", "--speed", "20")
    assert (code, result["phase"], result["weights"]) == (0, "Promoted", {"v1": 0, "v2": 100})
    assert result["failed_requests"] > 0


def test_a_machine_that_is_too_slow_is_not_the_new_version_s_fault() -> None:
    """Far more than any machine of ours can carry."""
    code, result = play("good", "--rps", "50000", "--speed", "30")
    assert (code, result["phase"]) == (0, "Promoted")
    assert result["failed_requests"] == 0
