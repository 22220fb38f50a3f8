"""What persons say by the command line while two replicas of the controller drive."""

import pytest

from rollout.adapters import clock
from rollout.cli import driving, speaking
from rollout.core.lifecycle import Phase, Reason
from rollout.engine.engine import Engine
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import SPEC, Replica, controlled, replicas
from tests.simulation.world import Faults, World


class Beside:
    """A world with two replicas, whose time passes while a person waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
        self.world = World(7, trouble=0.0, **({"declared": SPEC} | changes))  # type: ignore[arg-type]
        self.watcher = Watcher(self.world)
        self.living: list[Replica] = replicas(self.world)
        self.told: list[str] = []
        monkeypatch.setattr(clock, "now", lambda: self.world.now)
        monkeypatch.setattr(clock, "wait", self.wait)

    def wait(self, seconds: float) -> None:
        self.run(self.world.now + max(seconds, 0.05))

    def run(self, until: float) -> None:
        while self.world.now < until:
            for one in self.living:
                one.due = min(one.due, self.world.now)
                one.turn()
            self.world.pass_time(0.2)

    def until(self, weight: int) -> None:
        controlled(self.world, living=self.living, until=lambda w: w.exposed() == weight)
        assert self.world.exposed() == weight

    def engine(self) -> Engine:
        engine = self.world.engine("person", Faults())
        engine.known()
        return engine

    def tell(self, attempt: object, notice: str = "") -> None:
        del attempt
        self.told.append(notice)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch, signals: None) -> Beside:
    return Beside(monkeypatch)


def test_an_abort_is_finished_by_who_leads(beside: Beside) -> None:
    beside.until(25)
    engine = beside.engine()
    driving.take_back(engine, Reason.ABORTED, "asked by `rollout abort`", beside.tell)
    assert beside.world.exposed() == 0, "with the first write, whoever leads"
    attempt = driving.finish(engine, beside.tell, 60.0)
    assert attempt is not None
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.ABORTED)
    assert engine.lease.fence == 0, "nothing was driven by hand"
    controlled(beside.world, living=beside.living)
    beside.watcher.finished()


def test_an_abort_where_all_replicas_are_gone_ends_by_hand(beside: Beside) -> None:
    beside.until(25)
    beside.living.clear()
    engine = beside.engine()
    driving.take_back(engine, Reason.ABORTED, "asked by `rollout abort`", beside.tell)
    attempt = driving.finish(engine, beside.tell, 60.0)
    assert attempt is not None
    assert (attempt.phase, attempt.cleaned) == (Phase.ROLLED_BACK, True)
    engine.let_go(beside.world.now)
    beside.living += replicas(beside.world)
    beside.run(beside.world.now + 60)
    beside.watcher.finished()
    after = beside.world.attempt()
    assert after is not None
    assert after.number == 1, "the controller agrees: it stays back"


def test_a_pause_and_a_resume_are_heard(beside: Beside) -> None:
    beside.until(25)
    speaking.pause(beside.engine(), "ann", "lunch")
    beside.run(beside.world.now + 60)
    assert beside.world.exposed() == 25
    speaking.resume(beside.engine())
    controlled(beside.world, living=beside.living)
    attempt = beside.world.attempt()
    assert attempt is not None
    assert attempt.phase is Phase.PROMOTED
    beside.watcher.finished()
