"""What the controller tells of itself over HTTP, and when it takes itself for ill, or not ready."""

from dataclasses import replace

import pytest

from rollout.controller.telemetry import Telemetry
from rollout.core.lifecycle import Phase, Reason
from tests.unit.test_report import attempt


@pytest.mark.parametrize("reason", Reason)
def test_only_harm_that_was_found_is_reacted_to(reason: Reason) -> None:
    telemetry = Telemetry()
    flying = replace(attempt(), phase=Phase.SHIFTING, reason=None)
    back = replace(flying, phase=Phase.ROLLING_BACK, reason=reason)
    for before, after in ((None, back), (flying, flying), (flying, back), (back, back), (back, attempt())):
        telemetry.changed(before, after, 0.02)
    found = 1.0 if reason is Reason.BREACH else 0.0
    assert telemetry.registry.get_sample_value("rollout_reaction_seconds_count") == found
    assert telemetry.registry.get_sample_value("rollout_reaction_seconds_sum") == 0.02 * found
    ended = telemetry.registry.get_sample_value("rollout_attempts_total", {"phase": "RolledBack", "reason": "Breach"})
    assert ended == 1.0
