"""What was rolled back, once more: a new attempt, the same versions and strategy, and none where none is due."""

import pytest

from rollout.cli import driving, retrying
from rollout.cli.driving import Manners
from rollout.core.attempt import Attempt
from rollout.core.errors import InvalidInput
from rollout.core.lifecycle import Phase, Reason
from tests.simulation.test_driving import Stage
from tests.simulation.world import START, Faults, strategy


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, signals: None) -> Stage:
    return Stage(monkeypatch, strategy=strategy(name="mine", confirm=7.0))


def again(stage: Stage) -> tuple[Attempt | None, int]:
    engine = stage.world.engine("again", Faults())
    request = retrying.request(engine.states.read(), "reviews", "shop")
    return driving.promote(engine, request, Manners(), stage._tell)


def test_what_was_rolled_back_begins_once_more(stage: Stage) -> None:
    stage.world.failing["v2"] = 0.1
    first, code = stage.promote()
    assert code == 1
    assert first is not None
    stage.world.failing["v2"] = 0.0
    used, stage.world.strategy = stage.world.strategy, strategy(name="another")
    second, code = again(stage)
    assert code == 0
    assert second is not None
    assert (second.number, second.stable, second.canary, second.strategy) == (2, "v1", "v2", used)
    assert second.journal[1].text.startswith("once more, after attempt 1 ended: rolled back: Breach: v2 fails")
    assert stage.world.exposed() == 100
    (past,) = stage.world.engine("reader", Faults()).states.read().history
    assert (past.number, past.phase, past.reason) == (1, Phase.ROLLED_BACK, Reason.BREACH)


def test_what_is_bad_still_goes_back_again_and_may_be_tried_again(stage: Stage) -> None:
    """What the first attempt saw is no evidence in the second, which has its own."""
    stage.world.failing["v2"] = 0.1
    assert stage.promote()[1] == 1
    for number in (2, 3):
        attempt, code = again(stage)
        assert code == 1
        assert attempt is not None
        assert (attempt.number, attempt.reason) == (number, Reason.BREACH)
        assert stage.world.exposed() == 0


def test_the_version_that_served_then_must_serve_still(stage: Stage) -> None:
    stage.world.failing["v2"] = 0.1
    assert stage.promote()[1] == 1
    stage.world.edit(
        lambda vs: vs["spec"]["http"][-1].update({"route": [{"destination": {"host": "reviews", "subset": "v2"}}]})
    )
    with pytest.raises(InvalidInput, match="sends to v1 of reviews"):
        again(stage)


def test_where_none_is_due_none_begins(stage: Stage) -> None:
    with pytest.raises(InvalidInput, match="nothing of reviews was ever promoted from here"):
        again(stage)
    refused = list[str]()

    def meanwhile() -> None:
        with pytest.raises(InvalidInput, match=r"on its way to v2 .Shifting.*`rollout abort reviews`") as error:
            again(stage)
        refused.append(str(error.value))

    stage.at(20, meanwhile)
    assert stage.promote()[1] == 0
    assert len(refused) == 1
    assert stage.world.now > START + 20
    with pytest.raises(InvalidInput, match="to v2, was promoted: there is nothing to retry; `rollout undo reviews`"):
        again(stage)
