"""What a reading keeps when the weight has changed and nothing was seen at the new one yet."""

from dataclasses import replace
from decimal import Decimal

from rollout.core.attempt import Verdict
from rollout.core.lifecycle import Phase
from rollout.engine.looking import reading_of
from rollout.engine.survey import survey
from rollout.judge.judge import Evidence
from tests.simulation.world import World


def test_who_was_hurt_is_not_forgotten_with_a_new_weight() -> None:
    world = World(seed=1, trouble=0.0)
    found = survey(world.cluster, world.request(), 1, world.now)
    attempt = replace(found, phase=Phase.SHIFTING, weight=Decimal(25), step=1, landed=world.now + 9)
    said = reading_of(Evidence(weight_since=world.now, hurt=7), attempt, world.now + 10)
    assert (said.verdict, said.hurt) == (Verdict.NO_DATA, 7)
