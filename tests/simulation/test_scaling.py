"""`scale: auto` in whole virtual rollouts: the canary has pods before it has users, and everything goes back (I14)."""

from collections.abc import Callable

import pytest

from rollout.cli.planning import planned
from rollout.controller.reconcile import AGAIN
from rollout.core.decision import LINGERS
from rollout.core.documents import AUTOSCALER, DEPLOYMENT, LEASE, SERVICE_ROLLOUT, Document, Kind, version_of
from rollout.core.errors import Forbidden
from rollout.core.lifecycle import Phase, Reason
from rollout.engine.rights import FOR_SCALING, FOR_SUBSETS, FOR_WARNINGS, RIGHTS, pairs
from rollout.engine.survey import survey
from tests.simulation.cached import CachedReplica
from tests.simulation.invariants import Violation, Watcher
from tests.simulation.replicas import OBJECT, SPEC, Replica, controlled, replicas, storm
from tests.simulation.test_worlds import FAULTS, SHORT
from tests.simulation.workloads import Staff
from tests.simulation.world import START, Faults, World, drive, strategy
from tests.simulation.worlds import play, played

ASLEEP, ONE = Staff(0), Staff(1)
AUTO = {**SPEC, "scale": "auto"}


def staffed(canary: Staff, stable: Staff | None = None, failing: float = 0.0, **changes: object) -> World:
    made = strategy(**changes)
    staff = {"v1": stable or Staff(4), "v2": canary}
    return World(7, trouble=0.0, failing={"v1": 0.0, "v2": failing}, strategy=made, staff=staff)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("scaler", [None, (1, 4)])
@pytest.mark.parametrize("replicas", [0, 1, 4])
def test_pods_come_before_users_and_go_when_users_have_gone(
    replicas: int, scaler: tuple[int, int] | None, fails: bool
) -> None:
    world, seen = staffed(Staff(replicas, scaler)), list[tuple[int, int]]()

    def each(w: World) -> None:
        seen.append((int(w.exposed()), w.workloads.replicas("v2")))
        w.failing["v2"] = 0.5 if fails and w.exposed() == 50 else 0.0

    attempt, journal = played(world, each)
    assert attempt.phase is (Phase.ROLLED_BACK if fails else Phase.PROMOTED), journal
    for weight, need in ((5, 1), (25, 1), (50, 2), (100, 4)):
        assert all(count >= need for exposed, count in seen if exposed == weight), seen
    assert ("scaling: " in journal) == (replicas < 4 or scaler is not None), "an idle one is scaled down by its own"
    if not fails:
        assert world.workloads.replicas("v2") == 4, "it serves"
    elif not (scaler and replicas):
        assert world.workloads.replicas("v2") == replicas
    assert world.workloads.least("v2") == (scaler or (0, 0))[0]


def test_an_autoscaler_leaves_stable_what_it_needs_to_get_everything_back() -> None:
    """And may take it once nobody can come back."""
    world, seen = staffed(ONE, Staff(4, (1, 4))), list[tuple[bool, int]]()

    def each(w: World) -> None:
        attempt = w.attempt()
        assert attempt is not None
        seen.append((attempt.phase.ended, w.workloads.replicas("v1")))

    attempt, journal = played(world, each)
    assert attempt.phase is Phase.PROMOTED, journal
    assert {count for ended, count in seen if not ended} == {4}
    assert "minReplicas of HorizontalPodAutoscaler shop/reviews-v1 goes from 1 to 4" in journal
    assert "given back: minReplicas of HorizontalPodAutoscaler shop/reviews-v1 goes from 4 to 1" in journal
    world.pass_time(10.0)
    assert world.workloads.replicas("v1") == 1


def test_nothing_goes_beyond_what_an_autoscaler_allows() -> None:
    """It waits as it would for a person, and says for what."""
    world = staffed(Staff(1, (1, 2)), deadline=100.0)
    attempt, journal = played(world)
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, Reason.OVERDUE)
    assert "50 → 100 %" not in journal
    assert (
        "holding: 100 % needs 4 ready endpoint(s) of v2, 2 are; "
        "HorizontalPodAutoscaler shop/reviews-v2 allows at most 2 replicas" in journal
    )


@pytest.mark.parametrize(
    ("kind", "canary", "count"), [(DEPLOYMENT, ONE, 3), (AUTOSCALER, Staff(1, (1, 4)), 3), (AUTOSCALER, ASLEEP, 0)]
)
def test_what_somebody_sets_in_the_middle_is_theirs(kind: Kind, canary: Staff, count: int) -> None:
    world, done = staffed(canary, failing=0.3, steps=strategy().steps[1:]), list[bool]()

    def each(w: World) -> None:
        if count and not done and w.exposed():
            w.workloads.scale(kind, "v2", count)
            done.append(True)

    attempt, journal = played(world, each)
    assert attempt.phase is Phase.ROLLED_BACK, journal
    assert (world.workloads.replicas if kind is DEPLOYMENT else world.workloads.least)("v2") == count


def test_a_fight_is_not_begun() -> None:
    world, puts = staffed(ONE, deadline=60.0), list[int]()

    def each(w: World) -> None:
        if w.workloads.replicas("v2") != 1:
            puts.append(w.workloads.replicas("v2"))
            w.workloads.scale(DEPLOYMENT, "v2", 1)

    attempt, journal = played(world, each)
    assert attempt.reason is Reason.OVERDUE
    assert len(puts) == 1
    assert "somebody set replicas of Deployment shop/reviews-v2 to 1 since, and it is left so" in journal


@pytest.mark.parametrize("every", [41, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("failing", [0.0, 0.3])
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_dies_at_whatever_call_all_is_given_back(fault: str, failing: float, every: int) -> None:
    calls = len(fault) % every
    while True:
        calls += every
        world = staffed(Staff(0, (1, 4)), Staff(4, (1, 4)), failing, **SHORT)
        attempt, journal = played(world, first=FAULTS[fault](calls))
        assert attempt.phase is (Phase.ROLLED_BACK if failing else Phase.PROMOTED), f"at call {calls}: {journal}"
        if world.processes[0].calls < calls:
            break
    assert calls > 100


def test_a_take_back_waits_for_no_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API answers nothing about workloads from the moment at which the canary goes bad."""
    world = staffed(ONE)

    def each(w: World) -> None:
        if w.exposed() == 25 and not w.failing["v2"]:
            w.failing["v2"] = 0.5
            monkeypatch.setattr(w.processes[0], "list", refusing(w.processes[0].list))

    Watcher(world)
    drive(world, lambda _: Faults(), each, limit=120.0)
    attempt = world.attempt()
    assert attempt is not None
    assert (attempt.phase, attempt.reason, attempt.cleaned) == (Phase.ROLLED_BACK, Reason.BREACH, False)
    assert attempt.ended < START + 60
    last = world.engine("last", Faults())
    for _ in range(60):
        last.tick(world.now)
        world.pass_time(1.0)
    assert world.workloads.replicas("v2") == 1, "whoever comes next and may, gives it back"


@pytest.mark.parametrize(
    ("until", "sighted", "least", "most"),
    [
        (60.0, True, 60.0, 75.0),  # the last one has come
        (9999.0, True, LINGERS, LINGERS + 15.0),  # nobody waits for ever
        (60.0, False, 0.0, 20.0),  # nobody tells, and the wait that needs no counters has to do
    ],
)
def test_pods_go_when_no_request_comes_any_more(until: float, sighted: bool, least: float, most: float) -> None:
    """Some proxies go on sending to a canary that went back."""
    world = staffed(ONE, failing=0.3, steps=strategy().steps[1:])

    def each(w: World) -> None:
        attempt = w.attempt()
        assert attempt is not None
        if attempt.phase.ended:
            w.metrics.stragglers["v2"] = 3 if w.now < attempt.ended + until else 0
            w.metrics.down_until = 0.0 if sighted else w.now + 5.0

    attempt, journal = played(world, each)
    assert attempt.phase is Phase.ROLLED_BACK, journal
    (went,) = (entry.at - attempt.ended for entry in attempt.journal if entry.text.startswith("given back"))
    assert least <= went <= most


def refusing(ask: Callable[..., list[Document]]) -> Callable[..., list[Document]]:
    def asked(kind: Kind, *rest: object) -> list[Document]:
        if kind in (DEPLOYMENT, AUTOSCALER):
            raise Forbidden(f"we may not list {kind.plural}")
        return ask(kind, *rest)

    return asked


def test_the_rights_for_scaling_are_those_that_are_used_and_no_others_are_without_it() -> None:
    world = staffed(Staff(0, (1, 4)), Staff(4, (1, 4)))
    played(world)
    tables = (RIGHTS, FOR_SUBSETS, FOR_SCALING, FOR_WARNINGS)
    expected = {(kind.name, verb) for table in tables for kind, verb in pairs(table)}
    assert world.processes[0].asked == expected - {("DestinationRule", "create")}


def test_a_plan_says_what_will_be_scaled() -> None:
    world = staffed(Staff(0, (1, 2)), Staff(4, (1, 6)))
    before = {**world.cluster.documents}
    plan = planned(world.cluster, survey(world.cluster, world.request(), 0, world.now), None, fit=False)
    for told in (
        (
            "v2 is scaled for each step, to 4 at last: minReplicas of HorizontalPodAutoscaler shop/reviews-v2 goes "
            "from 1 to 2, replicas of Deployment shop/reviews-v2 goes from 0 to 2; given back after a rollback"
        ),
        (
            "HorizontalPodAutoscaler shop/reviews-v2 allows at most 2 replicas, v2 needs 4 at last: the rollout will "
            "wait there for somebody to allow it"
        ),
        (
            "v1 keeps its 4 until the end: minReplicas of HorizontalPodAutoscaler shop/reviews-v1 goes from 1 to 4; "
            "given back then"
        ),
    ):
        assert told in plan.notes
    assert world.cluster.documents == before


# Worlds in which everything happens


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(10, 200, 40))])
def test_no_invariant_breaks_in_worlds_that_are_staffed(first: int) -> None:
    ends = [play(seed, staffed=True) for seed in range(first, first + (40 if first else 10))]
    assert any(one.phase is Phase.PROMOTED for one in ends)
    assert not [one for one in ends if one.bad and one.phase is Phase.PROMOTED]


@pytest.mark.parametrize("kind", [Replica, CachedReplica])
@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 100, 16))])
def test_no_invariant_breaks_whatever_happens_to_replicas_that_scale(first: int, kind: type[Replica]) -> None:
    ends = [storm(seed, kind, staffed=True) for seed in range(first, first + (16 if first else 4))]
    assert any(one.phase is Phase.PROMOTED for one in ends)


def test_an_object_without_it_asks_nothing_of_workloads_and_one_with_it_watches_none() -> None:
    for spec in (SPEC, AUTO):
        world = World(3, trouble=0.0, declared=spec, staff={"v1": Staff(4), "v2": Staff(4)})
        replica = CachedReplica(world, "replica-1")
        controlled(world, living=[replica])
        attempt = world.attempt()
        assert attempt is not None
        assert attempt.phase is Phase.PROMOTED
        asked = {kind for kind, verb in world.processes[-1].asked if verb in ("get", "list")}
        assert asked == {LEASE.name} | ({DEPLOYMENT.name, AUTOSCALER.name} if spec is AUTO else set())


def test_without_the_right_the_object_is_stalled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(3, trouble=0.0, declared=AUTO, staff={"v1": Staff(4), "v2": ONE})
    monkeypatch.setattr(world.cluster, "may", lambda verb, kind, *_: kind not in (DEPLOYMENT, AUTOSCALER))
    living = replicas(world)
    controlled(world, living=living, limit=30.0)
    (told,) = (
        one for one in world.cluster.get(SERVICE_ROLLOUT, *OBJECT)["status"]["conditions"] if one["type"] == "Stalled"
    )
    assert told["status"] == "True"
    assert "list deployments, patch deployments, list horizontalpodautoscalers" in told["message"]
    assert "scaling.enabled=true" in told["message"]
    monkeypatch.undo()
    controlled(world, living=living, limit=AGAIN + 200.0)
    attempt = world.attempt()
    assert attempt is not None
    assert attempt.phase is Phase.PROMOTED


@pytest.mark.parametrize("text", [None, "{"])
def test_a_record_that_is_lost_loses_no_pods(text: str | None) -> None:
    world = World(10, trouble=0.0, declared=AUTO, staff={"v1": Staff(4, (1, 4)), "v2": Staff(0, (1, 4))})
    watcher, living = Watcher(world), replicas(world)
    controlled(world, living=living, until=lambda w: w.exposed() == 25)
    world.spoil_record(text)
    controlled(world, living=living)
    watcher.settled()
    assert (world.workloads.replicas("v2"), world.workloads.least("v1")) == (0, 1)


def test_the_watcher_bites() -> None:
    world = staffed(ONE)
    Watcher(world)
    document = world.cluster.get(DEPLOYMENT, "shop", "reviews-v2")
    with pytest.raises(Violation, match="I14"):
        world.cluster.patch(DEPLOYMENT, "shop", "reviews-v2", {"spec": {"replicas": 2}}, version_of(document))
