"""How a driving process ends, in the virtual world: exit codes, timeouts, followers, and what to do when all fails."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from rollout.adapters import clock
from rollout.cli import driving
from rollout.cli.driving import Manners
from rollout.core.attempt import Attempt
from rollout.core.documents import POD, Kind
from rollout.core.errors import Forbidden, InvalidInput, Unavailable
from rollout.core.lifecycle import Phase, Reason
from rollout.core.strategy import ERRORS, RESTARTS, OnInconclusive
from rollout.engine import choosing
from rollout.engine.engine import Engine
from rollout.engine.past import Load
from rollout.engine.survey import Request
from tests.simulation.invariants import Watcher
from tests.simulation.world import START, Faults, World, strategy
from tests.simulation.worlds import _lower

Event = Callable[[], object]


class Stage:
    """A world whose time passes while the driver waits; events happen at their seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
        self.world = World(seed=5, trouble=0.0, **changes)  # type: ignore[arg-type]
        self.watcher = Watcher(self.world)
        self.events: list[tuple[float, Event]] = []
        self.told: list[str] = []
        monkeypatch.setattr(clock, "now", lambda: self.world.now)
        monkeypatch.setattr(clock, "wait", self._wait)

    def at(self, second: float, event: Event) -> None:
        self.events.append((START + second, event))

    def when(self, weight: int, event: Event) -> None:
        """As soon as the canary has so much."""

        def check() -> None:
            if self.world.exposed() >= weight:
                event()
            else:
                self.at(self.world.now - START + 1, check)

        self.at(1, check)

    def promote(self, manners: Manners | None = None, engine: Engine | None = None) -> tuple[Attempt | None, int]:
        engine = engine or self.world.engine("driver", Faults())
        return driving.promote(engine, self.world.request(), manners or Manners(), self._tell)

    def _tell(self, attempt: Attempt | None, notice: str = "") -> None:
        self.told.append(notice or (attempt.message if attempt else ""))

    def _wait(self, seconds: float) -> None:
        self.world.pass_time(max(seconds, 0.05))
        due = [event for at, event in self.events if at <= self.world.now]
        self.events = [(at, event) for at, event in self.events if at > self.world.now]
        for event in due:
            event()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, signals: None) -> Stage:
    return Stage(monkeypatch)


class Chooser:
    """Chooses by the traffic that was found, as `rollout promote` does without a strategy; or refuses."""

    def __init__(self, engine: Engine, refuses: bool = False) -> None:
        self.engine, self.refuses, self.asked = engine, refuses, 0

    def __call__(self, request: Request) -> Request:
        self.asked += 1
        if self.refuses:
            raise Refused
        return choosing.chosen(request, self.engine.load)


class Refused(Exception):
    """A person said no."""


def test_a_strategy_is_chosen_by_the_traffic_and_recorded_with_its_reason(stage: Stage) -> None:
    world = stage.world
    world.pass_time(70)
    engine = world.engine("driver", Faults())
    choose = Chooser(engine)
    attempt, code = driving.promote(engine, world.request(), Manners(), stage._tell, choose)
    assert (code, choose.asked) == (0, 1)
    assert engine.load == Load(120.0, 0.0, 2.0, 60.0)
    assert attempt is not None
    assert attempt.strategy == choosing.chosen(world.request(), engine.load).strategy
    assert [entry.text for entry in attempt.journal[:2]] == [
        "v1 → v2 with strategy test (fitted)",
        attempt.strategy.description,
    ]
    stage.watcher.finished()


def test_who_takes_over_goes_on_with_what_was_chosen(stage: Stage) -> None:
    world = stage.world
    world.pass_time(70)
    first = world.engine("first", Faults())
    stage.when(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    begun, _ = driving.promote(first, world.request(), Manners(hold_on_interrupt=True), stage._tell, Chooser(first))
    assert begun is not None
    heir = world.engine("heir", Faults())
    choose = Chooser(heir)
    attempt, code = driving.promote(heir, world.request(), Manners(), stage._tell, choose)
    assert (code, choose.asked) == (0, 0)
    assert attempt is not None
    assert (attempt.number, attempt.strategy) == (1, begun.strategy)
    assert "it goes on with strategy test (fitted), with which it began" in stage.told


def test_without_a_history_the_strategy_stays_and_the_journal_says_so(stage: Stage) -> None:
    engine = stage.world.engine("driver", Faults())
    attempt, _ = driving.promote(engine, stage.world.request(), Manners(), stage._tell, Chooser(engine))
    assert attempt is not None
    assert attempt.strategy == stage.world.strategy
    assert "test as it is, not fitted to the traffic: there is no history" in attempt.journal[1].text


def test_a_no_writes_nothing(stage: Stage) -> None:
    engine = stage.world.engine("driver", Faults())
    with pytest.raises(Refused):
        driving.promote(engine, stage.world.request(), Manners(), stage._tell, Chooser(engine, refuses=True))
    assert not stage.world.processes[-1].counts.keys() & {"create", "patch", "delete"}


def test_what_cannot_work_is_refused_before_anybody_is_asked(stage: Stage) -> None:
    engine = stage.world.engine("driver", Faults())
    choose = Chooser(engine)
    stage.world.set_ready("v2", 0)
    with pytest.raises(InvalidInput, match="none of the 4 pod"):
        driving.promote(engine, stage.world.request(), Manners(), stage._tell, choose)
    assert choose.asked == 0


def test_promoted_is_0(stage: Stage) -> None:
    assert stage.promote()[1] == 0


def test_rolled_back_is_1(stage: Stage) -> None:
    stage.world.failing["v2"] = 0.1
    attempt, code = stage.promote()
    assert code == 1
    assert attempt is not None
    assert attempt.reason is Reason.BREACH


def test_what_is_killed_for_memory_again_and_again_goes_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, strategy=strategy(checks=(ERRORS, RESTARTS)))
    killed = {"name": "reviews", "restartCount": 0, "lastState": {"terminated": {"reason": "OOMKilled"}}}

    def starve() -> None:
        killed["restartCount"] = int(str(killed["restartCount"])) + 1
        for i in range(2):
            pod = stage.world.cluster.get(POD, "shop", f"reviews-v2-{i}")
            pod["status"] = {"containerStatuses": [killed]}
            stage.world.write_by_hand((POD.name, "shop", f"reviews-v2-{i}"), pod)
        stage.at(stage.world.now - START + 1, starve)

    stage.when(5, starve)
    attempt, code = stage.promote()
    assert code == 1
    assert attempt is not None
    assert "v2 restarted " in attempt.message
    assert "; 2 of v2's containers were killed for memory last (OOMKilled)" in attempt.message


def test_unproven_is_4(stage: Stage) -> None:
    stage.world.rps = 0
    assert stage.promote()[1] == 4
    stage.watcher.finished()


def test_a_timeout_takes_back_and_is_4(stage: Stage) -> None:
    attempt, code = stage.promote(Manners(timeout=30))
    assert code == 4
    assert stage.world.exposed() == 0
    assert attempt is not None
    assert attempt.reason is Reason.TIMED_OUT


def test_a_timeout_may_hold(stage: Stage) -> None:
    assert stage.promote(Manners(timeout=30, hold_on_timeout=True))[1] == 4
    assert stage.world.exposed() > 0


def test_who_need_not_wait_for_a_person_leaves_with_5(stage: Stage) -> None:
    stage.when(25, lambda: _lower(stage.world))
    assert stage.promote(Manners(wait=False))[1] == 5
    assert stage.world.exposed() == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_takes_back(stage: Stage, name: str) -> None:
    number = signal.Signals[name]
    stage.when(5, lambda: os.kill(os.getpid(), number))
    attempt, code = stage.promote()
    assert code == 128 + number
    assert stage.world.exposed() == 0
    assert attempt is not None
    assert attempt.phase is Phase.ROLLED_BACK


def test_ctrl_c_at_a_terminal_holds(stage: Stage) -> None:
    stage.when(5, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert stage.promote(Manners(at_terminal=True))[1] == 130
    assert stage.world.exposed() == 5


def test_a_no_that_passes_is_waited_for(stage: Stage) -> None:
    engine = stage.world.engine("driver", Faults())
    deny(stage, engine, Forbidden("the token has expired"), seconds=20)
    assert stage.promote(engine=engine)[1] == 0
    assert "holding: the token has expired" in stage.told


def test_a_no_that_stays_is_3(stage: Stage) -> None:
    engine = stage.world.engine("driver", Faults())
    deny(stage, engine, Forbidden("not any more"), seconds=1e9)
    assert stage.promote(engine=engine)[1] == 3
    assert stage.world.now - START < 150


def test_an_api_that_never_comes_back_is_3_after_the_deadline(stage: Stage) -> None:
    engine = stage.world.engine("driver", Faults())
    deny(stage, engine, Unavailable("no answer"), seconds=1e9)
    assert stage.promote(engine=engine)[1] == 3
    assert stage.world.now - START > stage.world.strategy.limit


def test_a_bug_of_ours_takes_back_and_is_70(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = stage.world.engine("driver", Faults())

    def broken() -> None:
        def raising(*_: object) -> None:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr(engine._eyes, "reading", raising)

    stage.when(25, broken)
    assert stage.promote(engine=engine)[1] == 70
    assert stage.world.exposed() == 0
    assert any("a bug of ours: ZeroDivisionError: oops" in line for line in stage.told)


def deny(stage: Stage, engine: Engine, error: Exception, seconds: float) -> None:
    """From 25 % on, every call of this process ends so, for so long."""
    cluster = stage.world.processes[-1]

    def begin() -> None:
        until = stage.world.now + seconds
        usual = cluster._call

        def call(verb: str, kind: object, act: Callable[[], object]) -> object:
            if stage.world.now < until:
                raise error
            return usual(verb, kind, act)  # type: ignore[arg-type]

        cluster._call = call  # type: ignore[method-assign]

    stage.when(25, begin)


def test_who_follows_ends_as_what_it_followed_and_starts_nothing(stage: Stage) -> None:
    world = stage.world
    world.failing["v2"] = 0.1
    first = world.engine("first", Faults())
    assert first.acquire(world.now)
    first.begin(world.request(), world.now)

    def drive_first() -> None:
        tick = first.tick(world.now)
        if tick.attempt and tick.attempt.phase.ended and tick.attempt.cleaned:
            first.lease.release(world.now)
        else:
            stage.at(world.now - START + 1, drive_first)

    stage.at(0, drive_first)
    attempt, code = stage.promote()
    assert code == 1
    assert attempt is not None
    assert attempt.number == 1
    assert any("first drives reviews" in line for line in stage.told)


def test_for_another_version_it_is_refused_at_once(stage: Stage) -> None:
    world = stage.world
    first = world.engine("first", Faults())
    first.acquire(world.now)
    first.begin(world.request(), world.now)
    other = replace(world.request(), canary="v3")
    with pytest.raises(InvalidInput, match="on its way to v2"):
        driving.promote(world.engine("second", Faults()), other, Manners(), stage._tell)
    assert world.now == START


def test_unproven_at_a_weight_holds_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """One canary request a second cannot show that it fails at most 0.2 points more."""
    stage = Stage(monkeypatch, rps=20, strategy=strategy(inconclusive=OnInconclusive.HOLD, budget=0.0005))
    attempt, code = stage.promote()
    assert code == 4
    assert attempt is not None
    assert attempt.reason is Reason.UNPROVEN


@pytest.mark.parametrize("second", [0.2, 1.0, 2.0])
def test_a_signal_before_anything_moved_moves_nothing(stage: Stage, second: float) -> None:
    stage.at(second, lambda: os.kill(os.getpid(), signal.SIGTERM))
    attempt, code = stage.promote()
    assert code == 143
    assert stage.world.exposed() == 0
    assert attempt is not None
    assert attempt.phase is Phase.ROLLED_BACK


def test_abort_before_anything_moved_is_heard_by_who_drives(stage: Stage) -> None:
    second = stage.world.engine("second", Faults())
    stage.at(1.5, lambda: second.take_back(Reason.ABORTED, "asked", stage.world.now))
    attempt, code = stage.promote()
    assert code == 1
    assert attempt is not None
    assert attempt.reason is Reason.ABORTED


def test_abort_of_an_orphan_that_never_moved_moves_nothing(stage: Stage) -> None:
    world = stage.world
    dead = world.engine("dead", Faults())
    dead.acquire(world.now)
    dead.begin(world.request(), world.now)
    engine = world.engine("abort", Faults())
    driving.take_back(engine, Reason.ABORTED, "asked", stage._tell)
    attempt = driving.finish(engine, stage._tell, driving.REST_WITHIN)
    assert attempt is not None
    assert attempt.phase is Phase.ROLLED_BACK
    assert world.exposed() == 0


@pytest.mark.parametrize("seconds", [6, 60])
def test_told_to_leave_while_the_api_is_away_nothing_is_raised(stage: Stage, seconds: float) -> None:
    engine = stage.world.engine("driver", Faults())
    deny(stage, engine, Unavailable("no answer"), seconds)
    stage.when(25, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert stage.promote(engine=engine)[1] == 143
    assert stage.world.exposed() == (0 if seconds < driving.LEAVE_WITHIN else 25)


def test_a_breach_is_followed_to_its_end_though_stable_shrank(stage: Stage) -> None:
    stage.world.failing["v2"] = 0.1
    stage.when(5, lambda: stage.world.set_ready("v1", 1))
    assert stage.promote(Manners(wait=False))[1] == 1
    assert stage.world.exposed() == 0


def test_where_a_right_is_lost_for_good_it_is_taken_back_all_the_same(stage: Stage) -> None:
    engine = stage.world.engine("driver", Faults())
    cluster = stage.world.processes[-1]
    usual = cluster._call

    def call(verb: str, kind: Kind, act: Callable[[], object]) -> object:
        if kind is POD and stage.world.exposed() >= 25:
            raise Forbidden("we may not list pods")
        return usual(verb, kind, act)

    cluster._call = call  # type: ignore[method-assign]
    assert stage.promote(engine=engine)[1] == 3
    assert stage.world.exposed() == 0


def test_abort_that_comes_too_late_takes_nothing_back(stage: Stage) -> None:
    """Between the claim that says promoted and its record."""
    world = stage.world
    attempt, code = stage.promote()
    assert code == 0
    assert attempt is not None
    second = world.engine("second", Faults())
    assert second.take_back(Reason.ABORTED, "asked", world.now) is not None
    assert world.exposed() == 100


def test_abort_of_a_paused_attempt_that_nobody_drives(stage: Stage) -> None:
    stage.when(25, lambda: _lower(stage.world))
    assert stage.promote(Manners(wait=False))[1] == 5
    engine = stage.world.engine("abort", Faults())
    driving.take_back(engine, Reason.ABORTED, "asked", stage._tell)
    attempt = driving.finish(engine, stage._tell, driving.REST_WITHIN)
    assert attempt is not None
    assert attempt.phase is Phase.ROLLED_BACK


def starting_anew(stage: Stage, began: list[float]) -> Engine:
    """An engine whose API server is away for 70 s from the last of these moments, and says no for 5 s after that."""
    engine = stage.world.engine("driver", Faults())
    usual = stage.world.processes[-1]._call

    def call(verb: str, kind: Kind, act: Callable[[], object]) -> object:
        since = stage.world.now - began[-1]
        if 0 <= since < 70:
            raise Unavailable("away")
        if 70 <= since < 75:
            raise Forbidden("not yet")
        return usual(verb, kind, act)

    stage.world.processes[-1]._call = call  # type: ignore[method-assign]
    return engine


def test_a_no_after_a_long_silence_is_waited_out_as_long_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, began = Stage(monkeypatch), [1e9]
    stage.when(25, lambda: began.append(stage.world.now))
    attempt, code = stage.promote(engine=starting_anew(stage, began))
    assert (code, attempt and attempt.phase) == (0, Phase.PROMOTED)
    assert "holding: not yet" in stage.told


def test_a_take_back_is_finished_by_who_is_told_no_after_a_long_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, began = Stage(monkeypatch), [1e9]
    engine = starting_anew(stage, began)
    stage.when(25, lambda: os.kill(os.getpid(), signal.SIGTERM))
    stage.promote(Manners(hold_on_interrupt=True), engine)
    driving.take_back(engine, Reason.ABORTED, "asked", stage._tell)
    began.append(stage.world.now)
    attempt = driving.finish(engine, stage._tell, driving.REST_WITHIN)
    assert attempt is not None
    assert (attempt.phase, attempt.cleaned) == (Phase.ROLLED_BACK, True)
    assert "not yet" in stage.told
