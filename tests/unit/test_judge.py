"""The judge over whole streams of looks: verdicts, and the same ones after any interruption."""

import json
import math
import random
from dataclasses import replace
from decimal import Decimal
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rollout.core.attempt import Verdict
from rollout.core.strategy import ERRORS, LATENCY, REJECTIONS, RESTARTS, Check
from rollout.judge.bets import Tally
from rollout.judge.judge import ALPHA, Evidence, Terms, judged, read, restarted
from rollout.judge.looks import Arm, Increment, Look
from rollout.judge.telling import told
from rollout.lab.draws import poisson

ALL = (ERRORS, REJECTIONS, LATENCY)
AT_5 = Terms((ERRORS,), Decimal(5), 0.5, 0.02)
BEFORE = Terms((ERRORS,), Decimal(0), None, 0.02)


def look(at: float, stable: Arm, canary: Arm) -> Look:
    return Look(at - 1, at, (Increment("gateway", stable, canary),))


def evidence(looks: list[Look], start: Evidence | None = None, terms: Terms = AT_5) -> Evidence:
    return reduce(lambda e, one: judged(e, one, terms), looks, start or Evidence())


def verdict(e: Evidence, overdue: bool = False, checks: tuple[Check, ...] = (ERRORS,)) -> Verdict:
    return read(e, checks, overdue).verdict


def said(e: Evidence, checks: tuple[Check, ...] = (ERRORS,)) -> str:
    return told(e, read(e, checks, overdue=False), ("v1", "v2"))


def past(rate: float, looks: int = 200, checks: tuple[Check, ...] = (ERRORS,), seed: int = 2) -> Evidence:
    """Stable's past before the first step, counted by two instances; times end before 0."""
    dice, made = random.Random(seed), []
    for i in range(looks):
        parts = [
            Increment(name, timed(500, min(500, poisson(dice, 500 * rate))), Arm(), splits=False)
            for name in ("one", "other")
        ]
        made.append(Look(-looks + i - 1.0, float(-looks + i), tuple(parts)))
    return evidence(made, Evidence(at=-1e9), replace(BEFORE, checks=checks))


def _counts(arm: Arm) -> tuple[int, int]:
    return arm.requests, arm.failures


def timed(requests: int, failures: int = 0, slow: int = 0, rejections: int = 0) -> Arm:
    """Half of the answers within 50 ms, all but `slow` within 250 ms."""
    answers = ((50.0, requests // 2), (250.0, requests - slow), (1000.0, requests), (math.inf, requests))
    return Arm(requests, failures, rejections, answers)


ARMS = st.integers(0, 60).flatmap(lambda n: st.integers(0, n).map(lambda k: Arm(n, k)))
STREAMS = st.lists(st.tuples(ARMS, ARMS), min_size=1, max_size=25)


@given(STREAMS, st.integers(0, 25))
def test_a_crash_changes_no_verdict_and_no_digest(stream: list[tuple[Arm, Arm]], died_at: int) -> None:
    """Replay after a checkpoint that went through JSON, looks seen twice among it, ends where an unbroken run ends."""
    adapter, terms = TypeAdapter(Evidence), replace(AT_5, checks=ALL)
    looks = [
        look(i + 2.0, timed(s.requests, s.failures), timed(c.requests, c.failures)) for i, (s, c) in enumerate(stream)
    ]
    for start in (Evidence(), past(0.01, 30, ALL)):
        kept = json.loads(
            json.dumps(adapter.dump_python(evidence(looks[:died_at], start, terms), mode="json"), allow_nan=False)
        )
        checkpoint = adapter.validate_python(kept)
        assert evidence(looks[max(0, died_at - 3) :], checkpoint, terms) == evidence(looks, start, terms)


@given(STREAMS)
def test_a_breach_is_never_forgotten(stream: list[tuple[Arm, Arm]]) -> None:
    breached = replace(Evidence(), breached="errors")
    after = evidence([look(i + 2.0, s, c) for i, (s, c) in enumerate(stream)], breached)
    assert verdict(after, overdue=True) is Verdict.ROLLBACK


def test_without_a_past_one_look_is_one_observation_and_a_storm_is_enough() -> None:
    storm = [look(2.0 + i, Arm(950, 0), Arm(50, 50)) for i in range(4)]
    assert verdict(evidence(storm[:1])) is Verdict.CONTINUE
    assert verdict(evidence(storm)) is Verdict.ROLLBACK


def test_where_requests_are_known_to_be_independent_one_look_is_enough() -> None:
    assert verdict(evidence([look(2.0, Arm(950, 0), Arm(50, 25))], past(0.002))) is Verdict.ROLLBACK
    one_clump = [look(2.0, Arm(9500, 10), Arm(500, 7)), *(look(3.0 + i, Arm(9500, 10), Arm(500)) for i in range(9))]
    assert verdict(evidence(one_clump, past(0.002))) is not Verdict.ROLLBACK


def test_a_shared_outage_blames_nobody() -> None:
    storm = [look(2.0 + i, Arm(950, 475), Arm(50, 25)) for i in range(200)]
    for start in (Evidence(), past(0.002)):
        assert verdict(evidence(storm, start), overdue=True) in (Verdict.INCONCLUSIVE, Verdict.ADVANCE)


@pytest.mark.parametrize("failures", [0, 300])
def test_an_outage_that_begins_with_a_higher_weight_blames_nobody(failures: int) -> None:
    """The look over the change holds mostly healthy requests of the old weight and failed ones of the new."""
    before = evidence([look(2.0 + i, Arm(950), Arm(50)) for i in range(30)], past(0.002))
    at_50 = Terms((ERRORS,), Decimal(50), 31.6, 0.005, lag=1.0)
    over = Look(31.0, 32.0, (Increment("gateway", Arm(950 + 500, failures), Arm(50 + 500, failures)),))
    after = evidence([over, *(look(33.0 + i, Arm(500, failures), Arm(500, failures)) for i in range(5))], before, at_50)
    assert verdict(after) in (Verdict.CONTINUE, Verdict.ADVANCE)


def test_harm_that_begins_with_a_higher_weight_is_seen_at_once() -> None:
    before = evidence([look(2.0 + i, Arm(950), Arm(50)) for i in range(30)], past(0.002))
    over = Look(31.0, 32.0, (Increment("gateway", Arm(1200), Arm(300, 100)),))
    after = evidence([over], before, Terms((ERRORS,), Decimal(25), 31.6, 0.005, lag=1.0))
    assert verdict(after) is Verdict.ROLLBACK


def test_what_happened_late_is_not_outweighed_by_a_quiet_past() -> None:
    quiet = evidence([look(2.0 + i, Arm(950), Arm(50)) for i in range(400)], past(0.002))
    late = [look(402.0 + i, Arm(950), Arm(50, 10)) for i in range(4)]
    assert verdict(evidence(late, quiet)) is Verdict.ROLLBACK


def test_no_data_is_no_verdict() -> None:
    nothing = [look(2.0 + i, Arm(100, 0), Arm()) for i in range(50)]
    assert verdict(evidence(nothing), overdue=True) is Verdict.NO_DATA


def test_a_good_version_goes_on() -> None:
    looks = [look(2.0 + i, Arm(950, 1), Arm(50, 0)) for i in range(20)]
    assert verdict(evidence(looks, past(0.002))) is Verdict.ADVANCE


def test_every_check_must_agree_to_go_on_and_one_is_enough_to_go_back() -> None:
    def looks(canary: Arm) -> list[Look]:
        return [look(2.0 + i, timed(950, 1, 10, 20), canary) for i in range(30)]

    start = past(0.002, checks=ALL)
    terms = replace(AT_5, checks=ALL)
    good, rejecting, slow = (
        evidence(looks(arm), start, terms) for arm in (timed(50, 0, 0, 1), timed(50, 0, 0, 10), timed(50, 0, 20, 1))
    )
    assert verdict(good, checks=ALL) is Verdict.ADVANCE
    for harm, check in ((rejecting, "rejections"), (slow, "latency 250")):
        found = read(harm, ALL, overdue=False)
        assert (found.verdict, found.check) == (Verdict.ROLLBACK, check)
        assert found.luck <= ALPHA


def test_a_latency_check_without_a_histogram_never_goes_on() -> None:
    looks = [look(2.0 + i, Arm(950, 1), Arm(50, 0)) for i in range(60)]
    both = (ERRORS, LATENCY)
    assert verdict(evidence(looks, terms=replace(AT_5, checks=both)), True, both) is Verdict.INCONCLUSIVE


def test_pods_that_warm_up_may_fail_more_but_not_everything() -> None:
    warming = replace(AT_5, warm_until=30.0, warm_up=30.0)
    cold = [look(2.0 + i, Arm(950, 1), Arm(50, 5)) for i in range(25)]
    dead = [look(2.0 + i, Arm(950, 1), Arm(50, 50)) for i in range(25)]
    assert verdict(evidence(cold, past(0.002), warming)) is Verdict.CONTINUE
    assert verdict(evidence(dead, past(0.002), warming)) is Verdict.ROLLBACK


def test_pods_that_came_later_change_nothing_about_looks_before_them() -> None:
    looks = [look(2.0 + i, Arm(950, 1), Arm(50, 2)) for i in range(20)]
    replayed = evidence(looks, past(0.002), replace(AT_5, warm_until=60.0, warm_up=30.0))
    assert replayed == evidence(looks, past(0.002), replace(AT_5, warm_up=30.0))


def test_two_versions_counted_at_different_moments_need_more_than_one_look() -> None:
    apart = replace(AT_5, apart=True)
    edge = [look(2.0, Arm(950, 0), Arm(50, 15)), look(3.0, Arm(950, 300), Arm(50, 15))]
    assert verdict(evidence(edge, past(0.002), apart)) is Verdict.CONTINUE


def test_at_100_percent_only_a_bound_is_left() -> None:
    before = evidence([look(2.0, Arm(1000, 10), Arm(1000, 10))])
    alone = Terms((ERRORS,), Decimal(100), 2.5, 0.005)
    quiet = [look(4.0 + i, Arm(), Arm(1000, 10)) for i in range(20)]
    broken = [look(4.0 + i, Arm(), Arm(1000, 100)) for i in range(6)]
    assert verdict(evidence(quiet, before, alone)) is Verdict.BLIND
    assert verdict(evidence(broken, before, alone)) is Verdict.ROLLBACK


def test_who_gets_everything_at_once_is_held_against_stables_past() -> None:
    alone = Terms(ALL, Decimal(100), 0.5, 0.005)
    usual = [look(1.0 + i, Arm(), timed(1000, 20)) for i in range(60)]
    broken = [look(1.0 + i, Arm(), timed(1000, 100)) for i in range(10)]
    assert verdict(evidence(usual, past(0.02, checks=ALL), alone), checks=ALL) is Verdict.BLIND
    assert verdict(evidence(broken, past(0.02, checks=ALL), alone), checks=ALL) is Verdict.ROLLBACK


def test_failures_that_reached_no_version_count_against_whom_they_are_missing_from() -> None:
    """Every host of the canary ejected: its 5 % become UH, without a version. A stable that loses hosts is not it."""
    ejected = [Look(1.0 + i, 2.0 + i, (Increment("gateway", Arm(950), Arm(), Arm(50, 50)),)) for i in range(20)]
    assert verdict(evidence(ejected)) is Verdict.ROLLBACK
    elsewhere = [Look(1.0 + i, 2.0 + i, (Increment("gateway", Arm(550), Arm(50), Arm(400, 400)),)) for i in range(20)]
    assert verdict(evidence(elsewhere)) is not Verdict.ROLLBACK


@pytest.mark.parametrize(("requests", "lost"), [(3000, 0.0005), (1500, 0.001), (300, 0.005), (300, 0.05)])
def test_a_trickle_without_a_version_blames_nobody(requests: int, lost: float) -> None:
    """Both versions healthy; what is lost is lost for everybody alike. None of 60 good versions may go back."""
    dice = random.Random(1)
    for _ in range(60):
        looks = []
        for i in range(40):
            stable, canary = poisson(dice, 0.95 * requests), poisson(dice, 0.05 * requests)
            gone = poisson(dice, lost * requests)
            increment = Increment("gateway", Arm(stable), Arm(canary), Arm(gone, gone))
            looks.append(Look(1.0 + i, 2.0 + i, (increment,)))
        assert verdict(evidence(looks)) is not Verdict.ROLLBACK


def test_a_client_that_is_bound_to_stable_is_not_compared_with() -> None:
    """A batch job that never fails and never meets the canary makes it look worse than its users' own failures do."""
    users = Increment("gateway", Arm(95, 5), Arm(5, 0))
    batch = Increment("batch", Arm(9000, 0), Arm(), splits=False)
    unlucky = Increment("gateway", Arm(95, 4), Arm(5, 1))
    looks = [Look(1.0 + i, 2.0 + i, ((users if i % 4 else unlucky), batch)) for i in range(200)]
    assert verdict(evidence(looks), overdue=True) is not Verdict.ROLLBACK


def test_pods_that_restart_again_and_again_are_taken_back_and_one_restart_is_not() -> None:
    checks = (ERRORS, RESTARTS)
    terms = replace(AT_5, checks=checks)
    start = evidence([look(2.0, Arm(950, 0), Arm(50, 0))], past(0.002, checks=checks), terms)

    def after(*canary: int) -> Evidence:
        seen = restarted(start, Tally(8, 5), Tally(2, 1), terms)
        return reduce(lambda e, n: restarted(e, Tally(8, 5), Tally(2, n), terms), canary, seen)

    assert verdict(after(2), checks=checks) is Verdict.CONTINUE
    assert after(2, 2, 2) == after(2), "seen twice counts once"
    assert verdict(after(0, 1, 0, 1), checks=checks) is Verdict.CONTINUE, "two restarts, and pods that went away"
    looping = read(after(*range(2, 12)), checks, overdue=False)
    assert (looping.verdict, looping.check) == (Verdict.ROLLBACK, "restarts")
    assert "v2 restarted 10 times in 2 pods, v1 0 in 8" in said(after(*range(2, 12)), checks)
    quiet = [look(3.0 + i, Arm(950, 1), Arm(50, 0)) for i in range(20)]
    assert verdict(evidence(quiet, start, terms), checks=checks) is Verdict.ADVANCE, "no restart is needed to go on"


def test_lost_requests_over_a_change_of_weight_blame_nobody() -> None:
    """A look over the change lacks the canary's share of the new weight: the trickle is not therefore the canary's."""
    dice = random.Random(4)
    for seed in range(20):
        e = evidence([look(2.0 + i, Arm(950), Arm(50)) for i in range(30)], past(0.002, seed=seed))
        for i in range(10):
            share = (0.05, 0.2)[i > 0] if i < 3 else 0.25
            lost = sum(dice.random() < 0.001 for _ in range(1000))
            part = Increment("gateway", Arm(round(1000 * (1 - share))), Arm(round(1000 * share)), Arm(lost, lost))
            e = judged(e, Look(31.0 + i, 32.0 + i, (part,)), Terms((ERRORS,), Decimal(25), 31.9, 0.01, lag=1.0))
        assert verdict(e) is not Verdict.ROLLBACK


def test_a_canary_whose_requests_get_lost_does_not_go_on() -> None:
    losing = Increment("gateway", Arm(950), Arm(28), Arm(22, 22))
    unseen = Increment("other", Arm(950), Arm(), Arm(50, 50), splits=False)
    fine = Increment("gateway", Arm(950), Arm(50))
    for parts in ((losing,), (fine, unseen)):
        looks = [Look(1.0 + i, 2.0 + i, parts) for i in range(60)]
        assert verdict(evidence(looks, past(0.002))) is not Verdict.ADVANCE


def test_what_stable_did_before_is_usual_at_100_percent_too() -> None:
    swings = past(0.02)
    quiet = [look(2.0 + i, Arm(500, 0), Arm(500, 0)) for i in range(10)]
    alone = Terms((ERRORS,), Decimal(100), 12.5, 0.005)
    again = [look(14.0 + i, Arm(), Arm(1000, 20)) for i in range(30)]
    before = evidence(quiet, swings, replace(AT_5, weight=Decimal(50)))
    assert verdict(evidence(again, before, alone)) is Verdict.BLIND


def test_common_hits_alone_at_100_percent_are_no_harm() -> None:
    """Where 6 of 10 are rejected as ever, and 7 of 10 answers take longer than the edge."""
    checks = (REJECTIONS, LATENCY)
    terms = replace(AT_5, checks=checks)
    arms = timed(950, 0, 0, 570), timed(50, 0, 0, 30)
    before = evidence([look(2.0 + i, *arms) for i in range(30)], past(0.0, checks=checks), terms)
    alone = replace(terms, weight=Decimal(100), since=32.5)
    after = evidence([look(40.0 + i, Arm(), timed(1000, 0, 0, 600)) for i in range(100)], before, alone)
    assert verdict(after, checks=checks) is Verdict.BLIND


SLOW_CHECKS = (ERRORS, LATENCY)
AT_50 = Terms(SLOW_CHECKS, Decimal(50), 0.5, 0.005)
AT_100 = replace(AT_50, weight=Decimal(100), since=40.5)


def doubted(looks: int = 8) -> Evidence:
    """Both versions as quick as ever at 50 %, 1 % slow; and 6 % slow at 100 %, for so many looks."""
    dice = random.Random(5)
    usual = [look(i - 200.0, timed(1000, slow=poisson(dice, 10)), Arm()) for i in range(200)]
    both = [look(1.0 + i, timed(500, slow=5), timed(500, slow=5)) for i in range(40)]
    slow = [look(42.0 + i, Arm(), timed(1000, slow=60)) for i in range(looks)]
    before = evidence(usual, Evidence(at=-1e9), replace(BEFORE, checks=SLOW_CHECKS))
    return evidence(slow, evidence(both, before, AT_50), AT_100)


def test_slow_answers_with_nobody_to_compare_with_are_a_doubt() -> None:
    e = doubted()
    assert verdict(e, checks=SLOW_CHECKS) is Verdict.DOUBT
    assert "nobody to compare with" in said(e, SLOW_CHECKS)
    broken = evidence([look(51.0 + i, Arm(), timed(1000, 100, 60)) for i in range(8)], e, AT_100)
    assert verdict(broken, checks=SLOW_CHECKS) is Verdict.ROLLBACK, "failures are not waited for"


@pytest.mark.parametrize(("failed", "slow"), [(500, 200), (100, 60)])
def test_who_fails_and_is_slow_from_the_same_look_on_is_no_doubt(failed: int, slow: int) -> None:
    e = doubted(0)
    for i in range(20):
        e = judged(e, look(42.0 + i, Arm(), timed(1000, failed, slow)), AT_100)
        assert verdict(e, checks=SLOW_CHECKS) is not Verdict.DOUBT
    assert verdict(e, checks=SLOW_CHECKS) is Verdict.ROLLBACK


@pytest.mark.parametrize(("stable", "ends"), [(30, Verdict.ADVANCE), (0, Verdict.ROLLBACK)])
def test_the_comparison_after_a_doubt_tells_whose_they_are(stable: int, ends: Verdict) -> None:
    again = replace(AT_50, since=50.5)
    looks = [look(52.0 + i, timed(500, slow=stable), timed(500, slow=30)) for i in range(60)]
    e = doubted()
    for one in looks:
        e = judged(e, one, again)
        if (found := read(e, SLOW_CHECKS, overdue=False)).verdict is not Verdict.CONTINUE:
            break
    assert found.verdict is ends
    assert found.luck <= ALPHA if ends is Verdict.ROLLBACK else found.luck > ALPHA, "a doubt is no evidence"


def test_a_doubt_that_nobody_compared_is_no_evidence_at_the_next_weight_without_a_comparison() -> None:
    usual = [look(52.0 + i, Arm(), timed(1000, slow=10)) for i in range(60)]
    assert verdict(evidence(usual, doubted(), replace(AT_100, since=50.5)), checks=SLOW_CHECKS) is Verdict.BLIND


def test_after_a_comparison_the_same_is_usual_and_more_is_a_breach() -> None:
    looks = [look(52.0 + i, timed(500, slow=30), timed(500, slow=30)) for i in range(40)]
    e = evidence(looks, doubted(), replace(AT_50, since=50.5))
    blind = replace(AT_100, since=92.5)
    usual = evidence([look(94.0 + i, Arm(), timed(1000, slow=60)) for i in range(60)], e, blind)
    assert verdict(usual, checks=SLOW_CHECKS) is Verdict.BLIND
    worse = evidence([look(94.0 + i, Arm(), timed(1000, slow=200)) for i in range(20)], e, blind)
    assert verdict(worse, checks=SLOW_CHECKS) is Verdict.ROLLBACK


def test_a_weight_that_somebody_lowers_is_a_change_too() -> None:
    """50 → 5 by hand as an outage ends: the look holds failures of 50 % and requests of 5 %."""
    at_50, at_5 = (Terms((ERRORS,), Decimal(w), 0.5, 0.005, lag=15.0) for w in (50, 5))
    storm = evidence([look(2.0 + i, Arm(500, 150), Arm(500, 150)) for i in range(10)], past(0.002), at_50)
    mixed = look(12.0, Arm(900, 60), Arm(150, 60))
    assert verdict(evidence([mixed], storm, at_5)) is not Verdict.ROLLBACK


def test_where_most_requests_fail_nobody_waits_for_proof() -> None:
    """At 50 % one look of clumps proves next to nothing; a stable that fails too is another matter."""
    at_50 = replace(AT_5, weight=Decimal(50))
    dead = [look(2.0 + i, Arm(500, 3), Arm(500, 400)) for i in range(2)]
    assert verdict(evidence(dead[:1], terms=at_50)) is Verdict.CONTINUE
    assert verdict(evidence(dead, terms=at_50)) is Verdict.ROLLBACK
    assert "nobody waits for proof" in said(evidence(dead, terms=at_50))
    few = [look(2.0 + i, Arm(5), Arm(5, 5)) for i in range(3)]
    shared = [look(2.0 + i, Arm(500, 400), Arm(500, 400)) for i in range(9)]
    for looks in (few, shared):
        assert verdict(evidence(looks, terms=at_50)) is Verdict.CONTINUE


def test_slow_answers_of_the_first_seconds_do_not_count() -> None:
    terms = replace(AT_5, checks=(ERRORS, LATENCY), warm_up=30.0)
    cold = [look(2.0 + i, timed(950), timed(50, 0, 40)) for i in range(25)]
    warm = [look(27.0 + i, timed(950), timed(50, 0, 0)) for i in range(60)]
    slow = [look(27.0 + i, timed(950), timed(50, 0, 40)) for i in range(60)]
    start = past(0.002, checks=terms.checks)
    assert verdict(evidence(cold + warm, start, terms), checks=terms.checks) is Verdict.ADVANCE
    assert verdict(evidence(cold + slow, start, terms), checks=terms.checks) is Verdict.ROLLBACK


def test_of_repeated_requests_none_that_is_seen_is_a_breach_from_fifty_on_and_some_are_none() -> None:
    """Nobody knows how many reads there are: only none at all, when its time is over, says that it takes none."""
    mirrored = replace(AT_5, weight=Decimal(50), mirrored=True, seen_by=20.0)

    def seen(stable: int, canary: int, looks: int, terms: Terms = mirrored) -> Evidence:
        return evidence([look(2.0 + i, Arm(stable), Arm(canary)) for i in range(looks)], terms=terms)

    assert verdict(seen(100, 0, 10)) is Verdict.NO_DATA, "its time is not over"
    assert verdict(seen(2, 0, 22)) is Verdict.NO_DATA, "of so few none may be a read"
    assert verdict(seen(100, 0, 25)) is Verdict.ROLLBACK
    assert verdict(seen(100, 0, 25, replace(mirrored, seen_by=math.inf))) is Verdict.NO_DATA, "nothing was sent"
    assert verdict(seen(100, 0, 25, replace(mirrored, mirrored=False))) is Verdict.NO_DATA
    once = evidence([look(2.0, Arm(100), Arm(1)), *(look(3.0 + i, Arm(100), Arm()) for i in range(25))], terms=mirrored)
    assert verdict(once) is not Verdict.ROLLBACK
    assert "none of up to 2500 requests that were repeated at v2 was seen there" in said(seen(100, 0, 25))
    tenth = replace(mirrored, weight=Decimal("9.0909"))
    assert verdict(seen(20, 0, 24, tenth)) is Verdict.NO_DATA
    assert verdict(seen(20, 0, 26, tenth)) is Verdict.ROLLBACK


def test_failures_of_repeated_requests_are_a_breach_that_hurts_nobody() -> None:
    mirrored = replace(AT_5, weight=Decimal(50), mirrored=True, apart=True)
    e = evidence([look(2.0 + i, Arm(500, 1), Arm(500, 50)) for i in range(30)], past(0.002), mirrored)
    assert verdict(e) is Verdict.ROLLBACK
    assert e.hurt == 0
    assert "of users failed" not in said(e)


def test_it_is_told_to_people() -> None:
    storm = said(evidence([look(2.0, Arm(9500, 9), Arm(500, 14))], past(0.001)))
    assert storm.startswith("v2 fails 2.8 % (1.6 % to 4.8 %) of 500, v1 0.095 % (0.0"), storm
    assert "chance that this is luck: under 1 in" in storm
    assert "14 requests of users failed on v2" in storm
    lost = Look(1.0, 2.0, (Increment("gateway", Arm(10, 0), Arm(5, 0), Arm(7, 7)),))
    assert "7 request(s) reached no version" in said(evidence([lost]))
    few = evidence([look(2.0 + i, Arm(950), Arm(10)) for i in range(20)])
    assert "v2 got 1 % of the requests, not 5 %" in said(few)
