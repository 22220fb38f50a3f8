"""The decision, question by question, where the simulator would need luck to come by."""

import itertools
from dataclasses import replace
from decimal import Decimal

import pytest

from rollout.core.attempt import Attempt, Reading, RouteRef, Verdict
from rollout.core.decision import (
    EASE_EVERY,
    MENDED,
    SEEN,
    Observation,
    RouteState,
    _needed_yet,
    decide,
    remaining,
    take_back,
    wanted,
)
from rollout.core.lifecycle import Phase, Reason
from rollout.core.query import Effect, Measured
from rollout.core.strategy import Bake, Mirror, Safe, Step, Strategy

NOW = 1000.0
FINE = Reading(Verdict.CONTINUE, "fine", NOW, True)
STRATEGY = Strategy("test", tuple(Step(Decimal(w), Bake(10, 60)) for w in (5, 50, 100)), confirm=30.0)


def attempt(weight: int, phase: Phase = Phase.SHIFTING, **changes: object) -> Attempt:
    step = {0: -1, 5: 0, 50: 1, 100: 2}[weight]
    made = Attempt(
        1, "reviews", "shop", "v1", "v2", STRATEGY, (RouteRef("shop", "reviews", ("*",)),), started=NOW - 100,
        deadline=NOW + 1000, phase=phase, step=step, weight=Decimal(weight), since=NOW - 50, landed=NOW - 50,
        prepared=NOW - 90, capacity=4,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def seen(a: Attempt, *percents: int, **changes: object) -> Observation:
    claimed = changes.pop("claimed", a.weight)
    state = RouteState("vs", claimed, tuple(Decimal(p) for p in percents or (int(a.weight),)))  # type: ignore[arg-type]
    made = Observation(NOW, a, (state,), 4, 4, True, True, reading=FINE)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_what_never_started_is_not_taken_back_to_subsets_that_may_not_exist() -> None:
    """An unpinned route shows 100 %; nothing of ours is on it."""
    o = seen(attempt(0, Phase.PREFLIGHT, since=0.0), 100, claimed=None, canary_subset=False, stable_subset=False)
    first = take_back(o, Reason.ABORTED, "asked")
    assert first.weight == 0
    last = decide(replace(o, attempt=first.attempt))
    assert (last.attempt.phase, last.weight) == (Phase.ROLLED_BACK, None)


def test_what_strayed_is_said_where_a_claim_says_promoted_already() -> None:
    """Of two VirtualServices one was sealed when the other's route lost its name: nothing goes back any more."""
    sealed = RouteState("vs", Decimal(100), (Decimal(100),), sealed=True)
    o = seen(attempt(100, Phase.CONFIRMING), routes=(sealed, replace(sealed, name="edge", stray="api is lost")))
    d = decide(o)
    assert (d.attempt.phase, d.attempt.message) == (Phase.PROMOTED, "v2 serves all of it; but api is lost")


def test_what_strayed_pauses_though_all_that_is_seen_stands_where_it_should() -> None:
    state = RouteState("vs", Decimal(50), (Decimal(50),), stray="api is lost")
    d = decide(seen(attempt(50), routes=(state,)))
    assert (d.attempt.phase, d.attempt.message, d.weight) == (Phase.PAUSED, f"api is lost{MENDED}", None)
    gone = decide(seen(attempt(50), routes=(replace(state, percents=(), present=False),)))
    assert gone.attempt.message == f"api is lost{MENDED}; vs is gone, or lost its routes to v1"


def test_a_lowering_of_one_of_two_routes_stands_and_nothing_else_moves() -> None:
    d = decide(seen(attempt(50), 50, 0))
    assert d.attempt.phase is Phase.PAUSED
    assert d.weight is None
    assert "0 % instead of 50 %" in d.attempt.message
    still = decide(seen(d.attempt, 50, 0, claimed=Decimal(50)))
    assert (still.attempt.phase, still.weight) == (Phase.PAUSED, None)


def test_a_pause_does_not_hide_that_the_canary_is_gone() -> None:
    paused = decide(seen(attempt(50), 50, 0)).attempt
    d = decide(seen(paused, 50, 0, claimed=Decimal(50), canary_ready=0))
    assert (d.taken_back, d.weight) == (Reason.CANARY_UNREADY, Decimal(0))


def test_asked_to_go_on_it_goes_on_from_the_lowest() -> None:
    paused = replace(decide(seen(attempt(50), 50, 33)).attempt, resume=True)
    d = decide(seen(paused, 50, 33, claimed=Decimal(50)))
    assert (d.attempt.phase, d.weight) == (Phase.PAUSED, Decimal(33))
    assert decide(seen(paused, 33, 33)).attempt.phase is Phase.SHIFTING


def test_nothing_is_put_back_onto_a_stable_that_is_gone() -> None:
    """An operator saves users by giving everything to v2."""
    d = decide(seen(attempt(5), 100, stable_ready=0))
    assert d.weight is None
    assert "could not carry the rest" in d.attempt.message


def test_a_raise_of_one_of_two_routes_is_put_back() -> None:
    d = decide(seen(attempt(50), 50, 90))
    assert (d.attempt.phase, d.weight) == (Phase.SHIFTING, Decimal(50))


@pytest.mark.parametrize(("stable_ready", "remains"), [(4, 0), (3, 7), (1, 38), (0, 50)])
def test_a_breach_gives_a_shrunken_stable_what_it_can_carry(stable_ready: int, remains: int) -> None:
    o = seen(attempt(50), stable_ready=stable_ready, reading=Reading(Verdict.ROLLBACK, "bad", NOW))
    d = decide(o)
    assert (d.attempt.phase, d.weight, d.taken_back) == (Phase.ROLLING_BACK, Decimal(remains), Reason.BREACH)


def test_the_rest_follows_by_and_by_and_ends() -> None:
    a, weight, now = attempt(50), 50, NOW
    a = decide(seen(a, stable_ready=1, reading=Reading(Verdict.ROLLBACK, "bad", NOW))).attempt
    weight, at = int(a.weight), NOW
    steps = [(NOW, weight)]
    for _ in range(200):
        now += 5
        state = RouteState("vs", a.weight, (Decimal(weight),), taken_back=Reason.BREACH, taken_at=at)
        d = decide(Observation(now, a, (state,), 1, 4, True, True, reading=FINE))
        if d.weight is not None:
            steps.append((now, int(d.weight)))
            weight, at = int(d.weight), now
        a = d.attempt
        if a.phase.ended:
            break
    assert a.phase is Phase.ROLLED_BACK
    assert [w for _, w in steps] == [38, 23, 4, 0]
    assert all(after - before >= EASE_EVERY for (before, _), (after, _) in itertools.pairwise(steps))


def test_nothing_stays_with_a_subset_that_is_gone() -> None:
    d = decide(seen(attempt(50), stable_ready=1, canary_subset=False))
    assert d.weight == 0
    assert d.taken_back is Reason.SUBSET_GONE


def test_at_100_nothing_waits_for_stable_or_for_the_capacity_of_hours_ago() -> None:
    a = attempt(100, Phase.CONFIRMING)
    blind = Reading(Verdict.BLIND, "fine", NOW)
    d = decide(seen(a, stable_ready=0, canary_ready=3, reading=blind))
    assert d.seal
    assert d.weight == 100


DOUBT = Reading(Verdict.DOUBT, "v2 is slow, nobody to compare with", NOW)


def test_a_doubt_at_100_gives_stable_its_part_back_to_compare_anew() -> None:
    a = attempt(100, Phase.CONFIRMING)
    d = decide(seen(a, reading=DOUBT))
    last = d.attempt.strategy.steps[d.attempt.step]
    assert (d.weight, d.taken_back, d.attempt.phase) == (last.weight, None, Phase.SHIFTING)
    assert (d.weight, d.attempt.landed, d.attempt.last) == (Decimal(50), 0.0, None)
    assert d.attempt.message == "100 → 50 %, to compare anew (DOUBT: v2 is slow, nobody to compare with)"


def test_a_doubt_is_a_breach_where_nobody_can_compare_anew() -> None:
    a = attempt(100, Phase.CONFIRMING)
    at_once = replace(a, step=0, strategy=replace(a.strategy, steps=a.strategy.steps[-1:]))
    quick = replace(a.strategy, steps=tuple(replace(step, bake=Bake(0, 0)) for step in a.strategy.steps))
    for o in (
        seen(at_once, reading=DOUBT),
        seen(replace(a, strategy=quick), reading=DOUBT),
        seen(replace(a, phase=Phase.PAUSED), reading=DOUBT),
        seen(replace(a, deadline=NOW + 39), reading=DOUBT),
        seen(a, reading=DOUBT, stable_ready=0),
        seen(a, reading=DOUBT, stable_ready=1),
    ):
        d = decide(o)
        assert (d.attempt.phase, d.attempt.reason) == (Phase.ROLLING_BACK, Reason.BREACH)
        assert d.attempt.last is not None
        assert d.attempt.last.verdict is Verdict.ROLLBACK


def test_a_doubt_raises_nothing_that_somebody_lowered() -> None:
    a = attempt(100, Phase.CONFIRMING)
    for least in (0, 20):
        d = decide(seen(a, 100, least, reading=DOUBT))
        assert (d.attempt.phase, d.weight) == (Phase.PAUSED, None)
        again = decide(seen(d.attempt, 100, least, claimed=Decimal(100), reading=DOUBT))
        assert (again.attempt.phase, again.weight) == (Phase.PAUSED, None), "it can be compared now"


def test_where_stable_shrinks_before_it_gets_its_part_back_all_goes_back_that_it_can_carry() -> None:
    a = attempt(50, landed=0.0)
    written, other = RouteState("a", Decimal(50), (Decimal(50),)), RouteState("b", Decimal(100), (Decimal(100),))
    for routes in ((other,), (written, other)):
        d = decide(seen(a, routes=routes, stable_ready=1))
        assert (d.attempt.phase, d.attempt.reason, d.weight) == (Phase.ROLLING_BACK, Reason.BREACH, Decimal(69))


def test_what_was_scaled_is_needed_for_the_highest_weight_that_stood() -> None:
    a = decide(seen(attempt(100, Phase.CONFIRMING).noted(NOW, "at 100 %"), reading=DOUBT)).attempt
    low = replace(a, strategy=replace(a.strategy, steps=(*a.strategy.steps[:1], a.strategy.steps[-1])), step=0)
    assert _needed_yet(low) == SEEN


def test_what_is_sealed_is_promoted_and_not_taken_back_any_more() -> None:
    state = RouteState("vs", Decimal(100), (Decimal(100),), sealed=True)
    o = seen(attempt(100, Phase.CONFIRMING), routes=(state,), reading=Reading(Verdict.ROLLBACK, "late", NOW))
    assert decide(o).attempt.phase is Phase.PROMOTED
    assert take_back(o, Reason.ABORTED, "asked").attempt.phase is Phase.PROMOTED


@pytest.mark.parametrize("capacity", [4, 50, 130])
def test_a_take_back_from_everything_ends_however_small_stable_became(capacity: int) -> None:
    weight, steps = Decimal(100), 0
    while weight:
        weight, steps = remaining(weight, capacity, 1, 10), steps + 1
        assert steps < 40


def test_nobody_is_sent_to_the_canary_while_the_metrics_are_away() -> None:
    d = decide(seen(attempt(0), reading=None, silence="Prometheus does not answer"))
    assert d.weight is None
    assert "Prometheus does not answer" in d.attempt.message


# Endpoints of the canary

MIRRORED = replace(STRATEGY, steps=(Step(Decimal(0), Bake(10, 60), Mirror(Decimal(75), Safe.ALL)), *STRATEGY.steps))


@pytest.mark.parametrize(
    ("a", "replicas"),
    [
        (attempt(0, Phase.PREFLIGHT), 0),
        (attempt(0), 1),
        (attempt(5), 2),
        (attempt(50), 4),
        (attempt(100, Phase.CONFIRMING), 4),
        (attempt(5, Phase.PAUSED), 0),
        (attempt(50, Phase.ROLLING_BACK), 0),
        (attempt(100, Phase.PROMOTED), 0),
        (attempt(0, strategy=MIRRORED), 3),
        (attempt(5, capacity=0), 1),
    ],
)
def test_a_canary_is_scaled_for_its_weight_and_the_next_while_it_may_rise(a: Attempt, replicas: int) -> None:
    assert wanted(a) == replicas


@pytest.mark.parametrize(("scaling", "end"), [("", "1 are"), ("scaled to 2", "1 are; scaled to 2")])
def test_a_hold_says_what_is_done_about_it(scaling: str, end: str) -> None:
    o = seen(attempt(5), reading=Reading(Verdict.ADVANCE, "good", NOW, True), canary_ready=1, scaling=scaling)
    assert decide(o).attempt.message == f"holding: 50 % needs 2 ready endpoint(s) of v2, {end}"


# Queries of the user's

ADVANCE = Reading(Verdict.ADVANCE, "good", NOW, True)


def answered(effect: Effect | None, value: float | None = 120.0, at: float = NOW) -> dict[str, object]:
    text = "queue depth has no data" if value is None else f"queue depth is {value:g}, above 100"
    return {"measured": (Measured("load", at, "load is 1", 1.0), Measured("queue depth", at, text, value, effect))}


@pytest.mark.parametrize(
    ("weight", "phase", "goes_on"),
    [
        (0, Phase.SHIFTING, lambda d: d.weight == 5),
        (5, Phase.SHIFTING, None),
        (50, Phase.SHIFTING, None),
        (100, Phase.SHIFTING, lambda d: d.attempt.phase is Phase.CONFIRMING),
        (100, Phase.CONFIRMING, None),
    ],
)
def test_a_query_holds_the_next_weight_and_the_seal(weight: int, phase: Phase, goes_on: object) -> None:
    """While the canary has nothing its metrics mean nothing; and to confirm is not to go on."""
    o = seen(attempt(weight, phase), reading=ADVANCE)
    free = decide(replace(o, measured=answered(None)["measured"]))  # type: ignore[arg-type]
    assert free.seal or free.weight or free.attempt.phase is Phase.CONFIRMING
    for value in (120.0, None):
        held = decide(replace(o, measured=answered(Effect.HOLD, value)["measured"]))  # type: ignore[arg-type]
        if callable(goes_on):
            assert goes_on(held)
        else:
            assert (held.weight, held.seal, held.attempt.phase) == (None, False, phase)
            assert held.attempt.message.startswith("holding: queue depth ")


def test_a_hold_is_written_down_once_however_its_value_changes() -> None:
    a = decide(seen(attempt(5), reading=ADVANCE, **answered(Effect.HOLD))).attempt
    assert a.journal[-1].text == "holding: queue depth is 120, above 100"
    assert decide(seen(a, reading=ADVANCE, **answered(Effect.HOLD, 130.0))).attempt == a
    lost = decide(seen(a, reading=ADVANCE, **answered(Effect.HOLD, None))).attempt
    assert lost.journal[-1].text == "holding: queue depth has no data"


def test_a_hold_ends_by_the_deadline_and_says_what_it_held_for() -> None:
    a = decide(seen(attempt(5), reading=ADVANCE, **answered(Effect.HOLD))).attempt
    d = decide(seen(replace(a, deadline=NOW), reading=ADVANCE, **answered(Effect.HOLD)))
    assert d.taken_back is Reason.OVERDUE
    assert "holding: queue depth is 120, above 100" in d.attempt.message


@pytest.mark.parametrize(
    "more",
    [
        {"reading": Reading(Verdict.ROLLBACK, "bad", NOW)},
        {"canary_ready": 0},
        {"routes": (RouteState("vs", Decimal(50), (Decimal(50),), taken_back=Reason.ABORTED),)},
        {"routes": (RouteState("vs", Decimal(50), (Decimal(90),)),)},
        {"routes": (RouteState("vs", Decimal(50), (Decimal(5),)),)},
        {"routes": (RouteState("vs", Decimal(5), (Decimal(5),)),)},
        {"stable_ready": 0},
    ],
)
def test_a_hold_stops_nothing_but_going_on(more: dict[str, object]) -> None:
    o = seen(attempt(50), **({"reading": ADVANCE} | more))
    assert decide(o) == decide(replace(o, measured=answered(Effect.HOLD)["measured"]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weight", "phase"), [(5, Phase.SHIFTING), (50, Phase.PAUSED), (100, Phase.SHIFTING), (100, Phase.CONFIRMING)]
)
@pytest.mark.parametrize("reading", [FINE, ADVANCE, None])
def test_a_query_takes_back_whatever_the_judge_says(weight: int, phase: Phase, reading: Reading | None) -> None:
    silence = "" if reading else "away"
    d = decide(seen(attempt(weight, phase), reading=reading, silence=silence, **answered(Effect.ROLLBACK)))
    assert (d.taken_back, d.weight) == (Reason.BREACH, Decimal(0))
    assert d.attempt.message == "Breach: queue depth is 120, above 100"


def test_no_query_takes_back_what_the_canary_does_not_have_yet() -> None:
    assert decide(seen(attempt(0), reading=ADVANCE, **answered(Effect.ROLLBACK))).weight == 5


def test_a_query_must_have_been_asked_after_the_bake() -> None:
    a = attempt(5, landed=NOW - 10)
    assert decide(seen(a, reading=ADVANCE, **answered(None, at=NOW - 1))).weight is None
    assert decide(seen(a, reading=ADVANCE, **answered(None))).weight == 50


def test_where_only_queries_are_there_the_shortest_bake_decides() -> None:
    unjudged = replace(STRATEGY, checks=())
    reading = Reading(Verdict.ADVANCE, "nothing is compared", NOW, True)
    early = attempt(5, strategy=unjudged, landed=NOW - 9)
    assert decide(seen(early, reading=reading, **answered(None))).weight is None
    late = attempt(5, strategy=unjudged, landed=NOW - 10)
    assert decide(seen(late, reading=reading, **answered(None))).weight == 50


def test_a_store_that_is_away_for_a_query_holds_too() -> None:
    d = decide(seen(attempt(5), reading=ADVANCE, silence="Prometheus does not answer", **answered(None)))
    assert (d.weight, d.attempt.message) == (None, "holding: Prometheus does not answer")


# A step that mirrors

MIRROR = Step(Decimal(0), Bake(20, 20), Mirror(Decimal(100), Safe.ALL))
FIRST = replace(STRATEGY, steps=(MIRROR, *STRATEGY.steps))
LIES = RouteState("vs", Decimal(0), (Decimal(0),), bare=False)
GONE = replace(LIES, dressed=False, lacking=True, bare=True)


def mirroring(**changes: object) -> Attempt:
    return replace(attempt(0), strategy=FIRST, step=0, **changes)  # type: ignore[arg-type]


def test_a_mirror_needs_the_endpoints_of_its_load_whenever_it_is_written() -> None:
    begun = replace(attempt(0), strategy=FIRST)
    held = decide(seen(begun, canary_ready=3))
    assert (held.weight, held.attempt.step) == (None, -1)
    assert held.attempt.message == "holding: mirroring 100 % of all requests needs 4 ready endpoint(s) of v2, 3 are"
    assert decide(seen(begun)).attempt.mirror == MIRROR.mirror
    unwritten = decide(seen(mirroring(landed=0.0), routes=(GONE,), canary_ready=3))
    assert (unwritten.weight, unwritten.attempt.landed) == (None, 0.0)
    fewer = decide(seen(mirroring(landed=NOW - 50), routes=(LIES,), canary_ready=3, reading=ADVANCE))
    assert (fewer.weight, fewer.attempt.step) == (None, 0)
    assert "mirroring 100 % of all requests needs 4" in fewer.attempt.message


def test_a_weight_that_a_person_left_is_what_needs_endpoints() -> None:
    """30 % between two steps: not those of the step below it."""
    a = replace(attempt(5), weight=Decimal(30))
    assert "30 % needs 2" in decide(seen(a, 30, canary_ready=1)).attempt.message


def test_a_route_of_ours_that_is_gone_comes_back_and_bakes_anew() -> None:
    d = decide(seen(mirroring(), routes=(GONE,)))
    assert (d.weight, d.attempt.landed, d.attempt.put_back) == (Decimal(0), NOW, (NOW,))
    bent = decide(seen(mirroring(), routes=(replace(LIES, dressed=False),)))
    assert (bent.weight, bent.attempt.landed) == (Decimal(0), NOW - 50)
    d = decide(seen(mirroring(put_back=(NOW - 9, NOW - 6, NOW - 3)), routes=(replace(LIES, dressed=False),)))
    assert (d.attempt.phase, d.weight, d.bare) == (Phase.PAUSED, None, True)
    assert "DriftFight" in d.attempt.message
    assert d.attempt.fighting
    once = decide(seen(d.attempt, routes=(replace(GONE, present=False),)))
    assert (once.attempt.phase, once.attempt.fighting) == (Phase.PAUSED, False), "now it is paused for another reason"


def test_while_it_is_paused_none_of_ours_lies_there() -> None:
    paused = mirroring(phase=Phase.PAUSED)
    assert paused.mirror is None
    assert decide(seen(paused, routes=(LIES,))).bare
    assert not decide(seen(paused, routes=(replace(LIES, bare=True),))).bare


def test_asked_to_go_on_it_mirrors_from_the_start() -> None:
    d = decide(seen(mirroring(phase=Phase.PAUSED, resume=True), routes=(replace(LIES, bare=True),)))
    assert (d.attempt.phase, d.attempt.step, d.attempt.landed, d.attempt.mirror) == (
        Phase.SHIFTING,
        0,
        0.0,
        MIRROR.mirror,
    )
    assert decide(seen(d.attempt, routes=(GONE,))).weight == 0


def test_a_raise_is_put_back_though_the_canary_could_not_bear_the_mirror() -> None:
    raised = replace(GONE, percents=(Decimal(60),))
    first = decide(seen(mirroring(), routes=(raised,), canary_ready=1))
    assert (first.attempt.phase, first.weight) == (Phase.PAUSED, None)
    second = decide(seen(first.attempt, routes=(replace(raised, dressed=True),), canary_ready=1))
    assert second.weight == 0


def test_a_route_of_ours_whose_original_is_gone_is_removed_by_whatever_comes() -> None:
    orphan = RouteState("vs", None, (), present=False, dressed=False, bare=False)
    d = decide(seen(mirroring(), routes=(orphan,)))
    assert (d.attempt.phase, d.bare) == (Phase.PAUSED, True)
    back = take_back(seen(mirroring(), routes=(orphan,)), Reason.ABORTED, "asked")
    again = decide(seen(back.attempt, routes=(orphan,)))
    assert (again.attempt.phase, again.taken_back) == (Phase.ROLLING_BACK, Reason.ABORTED)
    last = decide(seen(again.attempt, routes=(replace(orphan, dressed=True, bare=True),)))
    assert last.attempt.phase is Phase.ROLLED_BACK


def test_the_canary_may_vanish_while_it_is_mirrored() -> None:
    d = decide(seen(mirroring(), routes=(LIES,), canary_ready=0))
    assert d.taken_back is Reason.CANARY_UNREADY


def test_a_mirror_that_proved_little_lets_the_first_users_come_unless_it_looks_worse() -> None:
    little = Reading(Verdict.INCONCLUSIVE, "little", NOW, no_worse=True)
    assert decide(seen(mirroring(), routes=(LIES,), reading=little)).weight == 5
    assert decide(seen(mirroring(), routes=(LIES,), reading=replace(little, no_worse=False))).weight is None
    worse = replace(ADVANCE, no_worse=False)
    assert decide(seen(mirroring(), routes=(LIES,), reading=worse)).weight is None, "the first weight risks little"
    assert decide(seen(attempt(5), reading=worse)).weight == 50
    early = mirroring(landed=NOW - 19)
    assert decide(seen(early, routes=(LIES,), reading=ADVANCE)).weight is None
    nothing = Reading(Verdict.NO_DATA, "no request seen yet")
    assert decide(seen(mirroring(), routes=(LIES,), reading=nothing)).weight is None
