"""Promotions that a person asks of the object, in the virtual world: a controller obeys, and the command follows."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout.adapters import clock
from rollout.cli import declaring, obeying, undoing
from rollout.cli.declaring import Leaderless, Order, Wish
from rollout.cli.driving import Manners
from rollout.controller.reconcile import at_rest
from rollout.core.attempt import Attempt
from rollout.core.documents import SERVICE_ROLLOUT, VIRTUAL_SERVICE, Document, Kind, annotations_of, version_of
from rollout.core.errors import Forbidden, InvalidInput, RolloutError, Unavailable, Unreachable
from rollout.core.lifecycle import Phase, Reason
from rollout.engine.objects import OVERRIDE, RETRY
from rollout.engine.rights import ASKED, LEADS, pairs
from tests.simulation.invariants import Watcher
from tests.simulation.replicas import OBJECT, SPEC, Replica, asked
from tests.simulation.world import Faults, FaultyCluster, World

HOME = "rollout-system"
NONE = dict.fromkeys(SPEC["strategy"])


class Stage:
    """A world in which time passes while the command waits, with a controller that lives unless it is told not to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: str = "v1", **changes: Any) -> None:
        self.world = World(5, trouble=0.0, declared=SPEC | {"version": version}, **changes)
        self.watcher = Watcher(self.world)
        self.controller: Replica | None = Replica(self.world, "controller-1")
        self.events: list[tuple[Callable[[], bool], Callable[[], object]]] = []
        self.told: list[str] = []
        monkeypatch.setattr(clock, "now", lambda: self.world.now)
        monkeypatch.setattr(clock, "wait", self._wait)
        self._wait(2.0)

    def when(self, there: int | Callable[[], bool], event: Callable[[], object]) -> None:
        """As soon as the canary has so much, or it is so."""
        self.events.append(((lambda: self.world.exposed() >= there) if isinstance(there, int) else there, event))

    def order(self, version: str = "v2", **wish: Any) -> Order:
        engine = self.world.engine("person", Faults())
        engine.states.read()
        return Order(engine, self.world.processes[-1], HOME, Wish(version, **wish))

    def promote(self, manners: Manners | None = None, order: Order | None = None) -> tuple[Attempt | None, int]:
        return obeying.obey(order or self.order(), manners or Manners(), self.tell)

    def tell(self, attempt: Attempt | None, notice: str = "") -> None:
        self.told += [notice] if notice and notice not in self.told[-1:] else []

    def document(self) -> Document:
        return self.world.cluster.get(SERVICE_ROLLOUT, *OBJECT)

    def version(self) -> str:
        return str(self.document()["spec"]["version"])

    def raised(self, weight: int) -> None:
        """Somebody gives the canary so much by hand."""

        def edit(vs: Document) -> None:
            for one in vs["spec"]["http"][-1]["route"]:
                one["weight"] = weight if one["destination"].get("subset") == "v2" else 100 - weight

        self.world.edit(edit)

    def dies(self) -> None:
        self.controller = None

    def rest(self, seconds: float = 60.0) -> None:
        for _ in range(round(seconds)):
            self._wait(1.0)
        assert at_rest(self.document())

    def _wait(self, seconds: float) -> None:
        until = self.world.now + max(seconds, 0.05)
        while self.world.now < until:
            self.world.pass_time(min(0.2, until - self.world.now))
            if self.controller:
                self.controller.due = self.world.now
                try:
                    self.controller.turn()
                except RolloutError as error:
                    self.world.log.append(str(error))
            due = [one for one in self.events if one[0]()]
            self.events = [one for one in self.events if one not in due]
            for _, event in due:
                event()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, signals: None) -> Stage:
    return Stage(monkeypatch)


def stop(number: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(("failing", "code"), [(0.0, 0), (0.1, 1)])
def test_the_controller_does_what_is_asked_and_the_command_ends_as_it_does(
    stage: Stage, failing: float, code: int
) -> None:
    stage.world.failing["v2"] = failing
    order = stage.order()
    attempt, ended = stage.promote(order=order)
    assert attempt is not None
    assert (ended, attempt.canary, attempt.phase.ended, attempt.cleaned) == (code, "v2", True, True)
    assert attempt.journal, "the live view has all that it has otherwise"
    assert stage.version() == "v2"
    assert "the controller controller-1 drives" in stage.told
    mine = {(kind, verb) for kind, verb in stage.world.processes[-1].asked if verb == "patch"}
    assert mine == {("ServiceRollout", "patch")}, "nothing but the object is written"
    stage.watcher.finished()


def test_what_went_back_is_tried_again_by_the_same_command_and_by_retry(stage: Stage) -> None:
    stage.world.failing["v2"] = 0.1
    assert stage.promote()[1] == 1
    attempt, code = stage.promote()
    assert (code, attempt and attempt.number) == (1, 2)
    stage.world.failing["v2"] = 0.0
    stage.rest()
    again = stage.order()
    again._changing = declaring.retried
    attempt, code = stage.promote(order=again)
    assert (code, attempt and attempt.number) == (0, 3)
    assert annotations_of(stage.document())[RETRY] == "2"
    with pytest.raises(InvalidInput, match="has brought reviews to v2 already"):
        stage.promote()
    with pytest.raises(InvalidInput, match="nothing went back"):
        stage.promote(order=again)


def test_what_appeared_and_went_back_is_tried_again_where_the_object_waits_for_new_versions(stage: Stage) -> None:
    stage.world.failing["v2"] = 0.1
    assert stage.promote()[1] == 1
    stage.world.failing["v2"] = 0.0
    asked(stage.world, {"spec": {"version": None, "trigger": "newVersion"}})
    stage.rest()
    again = stage.order()
    again._changing = declaring.retried
    attempt, code = stage.promote(order=again)
    assert (code, attempt and (attempt.number, attempt.canary)) == (0, (2, "v2"))


def test_what_another_version_was_tried_in_between_does_not_matter(stage: Stage) -> None:
    """Who asks for what went back, after the object has asked for what serves, means a new try."""
    stage.world.failing["v2"] = 0.1
    assert stage.promote()[1] == 1
    asked(stage.world, {"spec": {"version": "v1"}})
    stage.rest()
    attempt, _ = stage.promote()
    assert attempt is not None
    assert (attempt.number, stage.version()) == (2, "v2")


def test_undo_asks_for_the_version_before(stage: Stage) -> None:
    assert stage.promote()[1] == 0
    stage.world.cluster.on_write = None  # whoever watches there takes v2 for the canary
    engine = stage.world.engine("person", Faults())
    request = undoing.request(engine.states.read(), "reviews", "shop")
    attempt, code = stage.promote(order=stage.order(request.canary))
    assert attempt is not None
    assert (code, attempt.canary, stage.version()) == (0, "v1", "v1")


def test_who_names_routes_that_are_for_the_next_release_is_told_so(
    monkeypatch: pytest.MonkeyPatch, signals: None
) -> None:
    stage = Stage(monkeypatch, beside=("api",))
    asked(stage.world, {"spec": {"version": "v2"}})
    stage.when(25, lambda: None)
    while stage.events:
        clock.wait(1.0)
    asked(stage.world, {"spec": {"routes": {"names": ["api"]}}})
    attempt, code = stage.promote(order=stage.order(names=("api",)))
    assert (code, attempt and attempt.names) == (0, ())
    assert "it goes on with the routes that were named when it began: none" in stage.told


def test_who_comes_second_follows_what_is_in_flight(stage: Stage) -> None:
    asked(stage.world, {"spec": {"version": "v2"}})
    stage.when(25, lambda: None)
    while stage.events:
        clock.wait(1.0)
    with pytest.raises(InvalidInput, match="on its way to v2"):
        stage.promote(order=stage.order("v3"))
    other = replace(stage.order().request()[0].strategy, confirm=11.0)
    for wish in ({"strategy": other}, {"stable": "v3"}):
        with pytest.raises(InvalidInput, match=r"leave --(strategy|from) out"):
            stage.promote(order=stage.order(**wish))
    attempt, code = stage.promote()
    assert (code, attempt and attempt.number) == (0, 1)


# --- nobody to do it -------------------------------------------------------------------------------------------


def test_without_a_controller_nothing_is_changed(stage: Stage) -> None:
    stage.dies()
    clock.wait(20.0)
    before, now = stage.document(), stage.world.now
    with pytest.raises(Leaderless, match="--local"):
        stage.promote()
    assert (stage.document(), stage.world.now) == (before, now), "and that is said at once"


@pytest.mark.parametrize(("held", "left"), [(None, 0), (True, 25)])
def test_a_controller_that_dies_for_good_is_waited_for_a_while(stage: Stage, held: bool | None, left: int) -> None:
    stage.when(25, stage.dies)
    attempt, code = stage.promote(Manners(hold_on_interrupt=held))
    assert code == 3
    assert stage.world.exposed() == left
    assert attempt is not None
    assert attempt.reason is (None if held else Reason.INTERRUPTED)
    assert any(line.startswith("holding: no controller lives") for line in stage.told)


def test_one_that_leads_and_does_nothing_has_what_was_asked_withdrawn(stage: Stage) -> None:
    assert stage.controller
    leader = stage.controller.leader

    def only_leads() -> None:
        leader.renew(stage.world.now)
        stage.when(lambda: True, only_leads)

    stage.dies()
    only_leads()
    with pytest.raises(Unreachable, match="within 60 s the controller controller-1 did not begin"):
        stage.promote()
    assert stage.version() == "v1"


def test_where_none_lives_it_is_driven_from_here_and_the_controller_agrees_later(stage: Stage) -> None:
    controller = stage.controller
    with pytest.raises(InvalidInput, match="leave --local out"):
        obeying.by_hand(stage.order(), stage.world.request(), Manners(), stage.tell)
    stage.dies()
    clock.wait(20.0)
    order = stage.order()
    request, fitted = order.request()
    assert not fitted
    attempt, code = obeying.by_hand(order, request, Manners(), stage.tell)
    assert (code, attempt and attempt.phase, stage.version()) == (0, Phase.PROMOTED, "v2")
    stage.controller = controller
    before = stage.world.exposed()
    stage.rest()
    assert stage.world.exposed() == before == 100, "it is what the object asks for"
    stage.watcher.finished()


# --- what cannot be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "wish", "said"),
    [
        ({"suspend": True}, {}, "spec.suspend is true"),
        ({"version": None, "trigger": "newVersion"}, {}, "in place of `trigger`"),
        ({"strategy": NONE | {"name": "nobody"}}, {}, "no preset 'nobody'"),
        ({"strategy": NONE | {"configMap": "gone"}}, {}, "there is no ConfigMap shop/gone"),
        ({}, {"version": "v9"}, "no pod of reviews carries the label version=v9"),
        ({}, {"stable": "v3"}, "finds that v1 serves, not v3"),
        ({}, {"version": "v1"}, "reviews is at v1 already"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    stage: Stage, spec: Document, wish: dict[str, str], said: str
) -> None:
    if spec:
        asked(stage.world, {"spec": spec})
        stage.rest(30)
    before = stage.document()
    with pytest.raises(InvalidInput, match=said):
        stage.promote(order=stage.order(**wish))
    assert stage.document() == before


def test_a_strategy_named_here_must_be_the_objects(stage: Stage) -> None:
    known, _ = stage.order().request()
    same = replace(known.strategy, name="mine.yaml", description="whatever it is called")
    assert stage.order(strategy=same).request()[0].strategy == known.strategy
    other = replace(known.strategy, confirm=11.0)
    with pytest.raises(InvalidInput, match=r"edit its spec\.strategy, or leave --strategy out"):
        stage.promote(order=stage.order(strategy=other))


def test_what_only_the_controller_can_find_ends_it_too_and_is_withdrawn(stage: Stage) -> None:
    order = stage.order()
    write = order.write

    def scaled_away_meanwhile() -> None:
        write()
        stage.world.set_ready("v2", 0)

    order.write = scaled_away_meanwhile  # type: ignore[method-assign]
    with pytest.raises(InvalidInput, match=r"Preflight: spec\.version: none of the 4"):
        stage.promote(order=order)
    assert stage.version() == "v1"
    stage.world.set_ready("v2", 4)
    stage.rest()
    assert stage.world.exposed() == 0, "it does not begin behind our back"


def owned(stage: Stage, manager: str) -> None:
    fields: Document = {"f:spec": {"f:version": {}}}
    asked(
        stage.world, {"metadata": {"managedFields": [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]}}
    )


def test_what_git_owns_is_followed_and_never_written(stage: Stage) -> None:
    owned(stage, "argocd-controller")
    before = stage.document()
    with pytest.raises(InvalidInput, match=r"argocd-controller keeps spec\.version at v1") as said:
        stage.promote()
    assert "\n  version: v2" in str(said.value)
    assert stage.document() == before
    stage.world.failing["v2"] = 0.1
    asked(stage.world, {"spec": {"version": "v2"}})
    assert stage.promote()[1] == 1
    attempt, code = stage.promote()
    assert (code, attempt and attempt.number) == (1, 1), "what Git asks for was tried: it is not tried again by itself"


def test_what_git_asked_for_and_got_is_told_again(stage: Stage) -> None:
    owned(stage, "argocd-controller")
    asked(stage.world, {"spec": {"version": "v2"}})
    assert stage.promote()[1] == 0
    attempt, code = stage.promote()
    assert (code, attempt and attempt.number) == (0, 1)


@pytest.mark.parametrize(
    ("manager", "theirs"),
    [
        ("rollout", False), ("kubectl", False), ("kubectl-edit", False), ("kubectl-client-side-apply", False),
        ("kustomize-controller", True), ("helm", True), ("kubectlish", True), ("", True),
    ],
)  # fmt: skip
def test_whose_the_version_is(stage: Stage, manager: str, theirs: bool) -> None:
    owned(stage, manager)
    assert bool(declaring.owner(stage.document())) is theirs


# --- how to leave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "manners", "code", "left"),
    [
        (signal.SIGTERM, Manners(), 143, 0),
        (signal.SIGTERM, Manners(hold_on_interrupt=True), 143, 25),
        (signal.SIGINT, Manners(at_terminal=True), 130, 25),
        (signal.SIGINT, Manners(), 130, 0),
    ],
)
def test_a_signal_aborts_through_the_object_or_leaves_it_to_the_controller(
    stage: Stage, number: signal.Signals, manners: Manners, code: int, left: int
) -> None:
    stage.when(25, stop(number))
    attempt, ended = stage.promote(manners)
    assert ended == code
    assert stage.world.exposed() == left
    assert attempt is not None
    assert attempt.reason is (None if left else Reason.INTERRUPTED)
    stage.rest(200.0)
    assert stage.world.exposed() == (100 if left else 0), "the controller goes on, or knows that it is over"
    stage.watcher.finished()


def test_who_may_not_write_routes_aborts_by_the_record(stage: Stage) -> None:
    order = stage.order()
    usual = stage.world.processes[-1]._call

    def narrow(verb: str, kind: Kind, act: Callable[[], Any]) -> Any:
        if verb not in ("get", "list") and kind is not SERVICE_ROLLOUT:
            raise Forbidden(f"we may not {verb} {kind.plural}")
        return usual(verb, kind, act)

    stage.world.processes[-1]._call = narrow  # type: ignore[method-assign]
    stage.when(25, stop())
    attempt, code = stage.promote(order=order)
    assert code == 143
    assert stage.world.exposed() == 0
    assert attempt is not None
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.INTERRUPTED)
    stage.watcher.finished()


def test_what_nobody_has_begun_is_withdrawn_by_a_signal(stage: Stage) -> None:
    order = stage.order()
    write = order.write

    def written() -> None:
        write()
        stop()()

    order.write = written  # type: ignore[method-assign]
    assert stage.promote(order=order) == (None, 143)
    assert stage.version() == "v1"
    stage.rest()
    assert stage.world.exposed() == 0


@pytest.mark.parametrize(("hold", "left"), [(False, 0), (True, 25)])
def test_a_timeout_takes_back_or_leaves_it_to_the_controller(stage: Stage, hold: bool, left: int) -> None:
    _, code = stage.promote(Manners(timeout=35.0, hold_on_timeout=hold))
    assert code == 4
    assert (stage.world.exposed() > 0) is bool(left)


def test_somebody_else_changes_the_version_or_deletes_the_object(stage: Stage) -> None:
    stage.when(25, lambda: asked(stage.world, {"spec": {"version": "v1"}}))
    attempt, code = stage.promote()
    assert (code, attempt and attempt.reason) == (1, Reason.SUPERSEDED)
    stage.when(25, lambda: asked(stage.world, None))
    attempt, code = stage.promote()
    assert (code, attempt and attempt.reason) == (1, Reason.DELETED)
    assert stage.world.exposed() == 0


def away(process: FaultyCluster, until: Callable[[], float], now: Callable[[], float]) -> None:
    """Nobody answers that process until then."""
    usual = process._call

    def call(verb: str, kind: Kind, act: Callable[[], Any]) -> Any:
        if now() < until():
            raise Unavailable("no answer")
        return usual(verb, kind, act)

    process._call = call  # type: ignore[method-assign]


def test_who_sees_the_cluster_again_before_the_controller_does_waits_for_it(stage: Stage) -> None:
    """The Lease is as old as the outage then, and that says nothing of who lives."""
    order, ends = stage.order(), {"here": 0.0, "there": 0.0}
    for process, end in ((stage.world.processes[-1], "here"), (stage.world.processes[0], "there")):
        away(process, lambda end=end: ends[end], lambda: stage.world.now)  # type: ignore[misc]
    stage.when(25, lambda: ends.update(here=stage.world.now + 70, there=stage.world.now + 73))
    attempt, code = stage.promote(order=order)
    assert (code, attempt and attempt.phase) == (0, Phase.PROMOTED)


def test_an_object_that_was_replaced_is_followed_no_further(stage: Stage) -> None:
    assert stage.promote()[1] == 0

    def made_anew() -> None:
        metadata = {"name": "reviews", "namespace": "shop", "generation": 1}
        stage.world.by_hand = True
        stage.world.cluster.create(SERVICE_ROLLOUT, {"metadata": metadata, "spec": SPEC | {"version": "v1"}})
        stage.world.by_hand = False

    def replaced() -> None:
        asked(stage.world, None)
        stage.when(lambda: (SERVICE_ROLLOUT.name, *OBJECT) not in stage.world.cluster.documents, made_anew)

    stage.world.cluster.on_write = None  # whoever watches there takes v2 for the canary
    stage.when(lambda: 0 < stage.world.exposed() <= 75, replaced)
    attempt, code = stage.promote(order=stage.order("v1"))
    assert (code, attempt and attempt.reason) == (1, Reason.DELETED)


def test_a_write_whose_answer_was_lost_is_withdrawn_too(stage: Stage) -> None:
    stage.world.failing["v2"] = 0.1
    assert stage.promote()[1] == 1
    asked(stage.world, {"spec": {"version": "v1"}})
    stage.rest()
    leads = stage.controller
    assert leads is not None
    stage.dies()
    stage.when(lambda: bool(leads.leader.renew(stage.world.now)) and False, lambda: None)
    order = stage.order()
    usual, lost = stage.world.processes[-1]._call, list[str]()

    def call(verb: str, kind: Kind, act: Callable[[], Any]) -> Any:
        answer = usual(verb, kind, act)
        if verb == "patch" and not lost:
            lost.append(kind.name)
            raise Unavailable("the answer was lost")
        return answer

    stage.world.processes[-1]._call = call  # type: ignore[method-assign]
    with pytest.raises(Unreachable, match="says again what it said before"):
        stage.promote(order=order)
    assert lost == ["ServiceRollout"]
    assert (stage.version(), annotations_of(stage.document()).get(RETRY)) == ("v1", None)


def test_a_record_of_another_service_moves_nothing_of_that(stage: Stage) -> None:
    """Who may write a status in one namespace has no say in another."""
    stage.world.cluster.on_write = None
    asked(stage.world, {"spec": {"version": "v2"}})
    while stage.world.exposed() < 25:
        clock.wait(1.0)
    document = stage.document()
    record = json.loads(document["status"]["record"])
    record["attempt"] |= {"service": "payments", "namespace": "pay", "phase": "RollingBack", "reason": "Aborted"}
    there = {"destination": {"host": "payments", "subset": "v1"}, "weight": 75}
    theirs = {"kind": VIRTUAL_SERVICE.name, "metadata": {"name": "payments", "namespace": "pay"}}
    spec = {"hosts": ["payments"], "http": [{"name": "main", "route": [there]}]}
    stage.world.by_hand = True
    before = stage.world.cluster.create(VIRTUAL_SERVICE, theirs | {"spec": spec})
    stage.world.cluster.patch(
        SERVICE_ROLLOUT, *OBJECT, {"status": {"record": json.dumps(record)}}, version_of(document), "status"
    )
    stage.world.by_hand = False
    stage.rest()
    assert stage.world.cluster.get(VIRTUAL_SERVICE, "pay", "payments") == before
    assert stage.world.exposed() == 0


def test_what_is_suspended_and_edited_meanwhile_still_goes_on(stage: Stage) -> None:
    asked(stage.world, {"spec": {"version": "v2"}})
    stage.when(25, lambda: asked(stage.world, {"spec": {"suspend": True}}))
    stage.when(lambda: (stage.document().get("status") or {}).get("phase") == Phase.PAUSED, lambda: stage.raised(40))
    for _ in range(60):
        clock.wait(1.0)
    assert stage.world.exposed() == 25
    assert any("40 % instead of 25 %" in one["text"] for one in stage.document()["status"]["journal"])
    asked(stage.world, {"spec": {"suspend": False}})
    stage.rest(200)
    assert stage.document()["status"]["phase"] == Phase.PROMOTED


def test_what_is_undone_stays_so_when_nobody_follows(stage: Stage) -> None:
    stage.world.cluster.on_write = None  # whoever watches there takes v2 for the canary
    assert stage.promote()[1] == 0
    stage.when(lambda: stage.world.exposed() <= 75, stage.dies)
    _, code = stage.promote(Manners(hold_on_interrupt=True), order=stage.order("v1"))
    assert code == 3
    assert stage.world.exposed() <= 75, "and not 100 again"


def test_lost_replies_and_silence_are_borne(stage: Stage) -> None:
    order = stage.order()
    stage.world.processes[-1].faults = Faults(unavailable=0.1, lost_reply=0.3, conflict=0.2)
    attempts = []
    for _ in range(20):
        try:
            attempts.append(stage.promote(order=order))
            break
        except Unavailable:
            continue
    assert [code for _, code in attempts] == [0]
    assert stage.version() == "v2"


def test_the_rights_that_it_takes_are_told(stage: Stage) -> None:
    stage.when(25, stop())
    stage.promote()
    used = {(kind, verb) for kind, verb in stage.world.processes[-1].asked if kind in ("ServiceRollout", "Lease")}
    assert used <= {(kind.name, verb) for kind, verb in (*pairs(ASKED), *pairs(LEADS))}


# --- although Git says otherwise -------------------------------------------------------------------------------


def conditions(stage: Stage) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in stage.document()["status"]["conditions"]}


@pytest.fixture
def overridden(stage: Stage) -> Stage:
    """Git has v2, which was promoted, and somebody has v1 serve instead."""
    stage.world.cluster.on_write = None  # whoever watches there takes v2 for the canary
    owned(stage, "argocd-controller")
    asked(stage.world, {"spec": {"version": "v2"}})
    assert stage.promote()[1] == 0
    with pytest.raises(InvalidInput, match=r"version: v1\nuntil then: rollout undo reviews --override"):
        stage.promote(order=stage.order("v1"))
    attempt, code = stage.promote(order=stage.order("v1", override=True))
    assert (code, attempt and attempt.canary) == (0, "v1")
    assert (stage.version(), annotations_of(stage.document())[OVERRIDE]) == ("v2", "v2=v1")
    return stage


def test_an_override_is_undone_by_no_second_undo(overridden: Stage) -> None:
    with pytest.raises(InvalidInput, match=r"v1 is to serve already in place of v2"):
        undoing.once(overridden.document(), "reviews")


def test_an_override_holds_and_says_so(overridden: Stage) -> None:
    stage = overridden
    stage.rest(120)
    assert stage.world.exposed() == 0
    told = conditions(stage)
    assert told["Stalled"] == ("True", "GitDisagrees")
    assert (told["Ready"], told["Promoted"]) == (("False", "GitDisagrees"), ("False", "GitDisagrees"))
    written = stage.document()
    stage.rest(120)
    assert stage.document() == written, "and nothing is written for it any more"


@pytest.mark.parametrize(("version", "exposed"), [("v1", 0), ("v3", 0)])
def test_an_override_goes_when_git_says_something_else(overridden: Stage, version: str, exposed: int) -> None:
    stage = overridden
    asked(stage.world, {"spec": {"version": version}})
    clock.wait(30.0)
    assert OVERRIDE not in annotations_of(stage.document())
    assert conditions(stage)["Stalled"] == (("False", "None") if version == "v1" else ("True", "Preflight"))
    asked(stage.world, {"spec": {"version": "v2"}})
    stage.rest(200)
    assert stage.world.exposed() == 100, "it says nothing about the next time"


def test_an_override_goes_by_the_command_that_asks_for_what_git_says(overridden: Stage) -> None:
    attempt, code = overridden.promote()
    assert (code, attempt and attempt.canary) == (0, "v2")
    assert OVERRIDE not in annotations_of(overridden.document())
    overridden.rest()


def test_an_override_of_what_serves_already_begins_nothing(stage: Stage) -> None:
    stage.world.failing["v2"] = 0.1
    assert stage.promote()[1] == 1
    asked(stage.world, {"metadata": {"annotations": {OVERRIDE: "v2=v1"}}})
    stage.rest()
    assert conditions(stage)["Stalled"] == ("True", "GitDisagrees")
    attempt = stage.world.attempt()
    assert attempt is not None
    assert attempt.number == 1
    asked(stage.world, {"metadata": {"annotations": {OVERRIDE: None}}})
    stage.rest()
    assert conditions(stage)["Stalled"] == ("True", "Breach")


@pytest.mark.parametrize("text", ["v3=v1", "v1", "=v1", "v2=", ""])
def test_an_override_of_another_version_or_of_none_goes(stage: Stage, text: str) -> None:
    asked(stage.world, {"metadata": {"annotations": {OVERRIDE: text}}})
    stage.rest(5)
    assert OVERRIDE not in annotations_of(stage.document())
