"""The record of a service in its two homes: who writes it finds out whether somebody else has."""

from dataclasses import replace

import pytest

from rollout.core.attempt import Record
from rollout.core.documents import Document
from rollout.core.errors import Conflict
from rollout.engine.state import StateStore
from rollout.engine.survey import survey
from tests.simulation.replicas import SPEC
from tests.simulation.world import Faults, FaultyCluster, World


@pytest.mark.parametrize("declared", [SPEC, {}])
def test_a_record_that_says_nothing_new_is_written_where_a_weight_depends_on_it(declared: Document) -> None:
    """It tells whether another process has written it since we read it."""
    world = World(1, declared=declared)
    first, second = (StateStore(world._shelf(FaultyCluster(world, Faults()))) for _ in range(2))
    attempt = survey(world.cluster, world.request(), 1, world.now)
    first.read()
    first.write(Record(attempt), world.now)
    second.read()
    first.write(Record(replace(attempt, fence=attempt.fence + 1)), world.now)
    with pytest.raises(Conflict):
        second.write(second.record, world.now, again=True)
