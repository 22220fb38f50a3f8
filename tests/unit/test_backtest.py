"""`rollout backtest`: releases whose truth is known, found again in the counters that they left."""

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from rollout.adapters.counters import CounterFiles
from rollout.adapters.strategy_files import load
from rollout.cli.backtesting import document, moments, summary, told
from rollout.core.attempt import Reading, Verdict
from rollout.core.errors import InvalidInput
from rollout.engine.archive import LONGEST, recalled
from rollout.engine.replaying import Ending, Plateau, Replay
from rollout.judge.looks import ALL, FAILED, Arm
from rollout.lab.traffic import Truth
from rollout.ports import Target
from tests.command import ran
from tests.fakes.past import BEGAN, EVERY, Past

HOST = "reviews.shop.svc.cluster.local"
TARGET = Target(HOST, "shop", (), "", "v2")
CANARY = load("canary")
GOOD = Truth(100, 0.001, 0.001, scrape=EVERY)
BAD = Truth(100, 0.001, 0.05, scrape=EVERY)
STEPS = ((300, 5), (300, 25), (300, 50), (900, 100))


def replay(past: Past, at: float = BEGAN, target: Target = TARGET) -> Replay:
    return recalled(past, target, CANARY, at, past.ended + 1)


def weights(found: Replay) -> list[int]:
    return [int(plateau.weight) for plateau in found.plateaus]


def test_a_bad_release_is_found_and_its_failures_are_told_apart() -> None:
    past = Past(BAD, ((2280, 5), (1200, 0)))
    found = replay(past)
    assert (found.stable, weights(found), found.ending) == ("v1", [5], Ending.NOTHING)
    assert found.back is found.plateaus[0]
    assert found.back.back_after is not None
    assert 15 <= found.back.back_after <= 120
    assert found.back.said is not None
    assert (found.back.said.verdict, found.back.said.check) == (Verdict.ROLLBACK, "errors")
    assert abs(found.ran - 2280) <= 2 * EVERY
    assert sum(found.failed) == past.truth["v2"]
    assert 0 < found.failed[0] < 50 < found.failed[1]


@pytest.mark.parametrize("seed", range(4))
def test_a_good_release_goes_on_at_each_of_its_weights(seed: int) -> None:
    found = replay(Past(GOOD, STEPS, seed))
    assert weights(found) == [5, 25, 50, 100]
    began = [plateau.since - BEGAN for plateau in found.plateaus]
    assert all(abs(one - true) <= EVERY for one, true in zip(began, (0, 300, 600, 900), strict=True))
    assert (found.back, found.ending) == (None, Ending.EVERYTHING)
    assert found.ended == pytest.approx(found.plateaus[-1].since + CANARY.confirm)
    for plateau in found.plateaus[:-1]:
        assert plateau.said is not None
        assert plateau.said.verdict is Verdict.ADVANCE
        assert plateau.on_after is not None
        assert 30 <= plateau.on_after < 300


@pytest.mark.parametrize(
    ("truth", "steps", "expected"),
    [
        (GOOD, ((300, 12), (300, 33), (300, 66), (600, 100)), [10, 30, 70, 100]),
        (replace(GOOD, rps=3), ((1800, 5), (1800, 25), (900, 100)), [5, 25, 100]),
        (replace(GOOD, rps=5000), ((60, 5), (60, 25), (60, 50), (600, 100)), [5, 25, 50, 100]),
        (GOOD, ((300, 5), (180, 0), (300, 5), (900, 0)), [5, 5]),
        (GOOD, ((1200, 5), (EVERY, 50), (1200, 5), (900, 0)), [5]),
        (GOOD, ((900, 100),), [100]),
    ],
    ids=["nobody's weights", "few requests", "short and many", "there and back", "a blip", "at once"],
)
def test_the_weights_are_seen_in_the_counters(
    truth: Truth, steps: tuple[tuple[float, float], ...], expected: list[int]
) -> None:
    found = replay(Past(truth, steps))
    assert weights(found) == expected
    assert found.back is None


def test_harm_that_comes_late_ends_the_judging_where_it_is_found() -> None:
    past = Past(replace(BAD, late=400), STEPS)
    found = replay(past)
    assert weights(found) == [5, 25, 50, 100]
    assert found.back is found.plateaus[1]
    assert [plateau.said is None for plateau in found.plateaus] == [False, False, True, True]


def test_slow_answers_are_found_as_the_engine_would() -> None:
    found = replay(Past(replace(GOOD, latency_factor=2.0), STEPS))
    assert found.back is not None
    assert found.back.said is not None
    assert found.back.said.check.startswith("latency ")


def test_an_outage_of_both_versions_is_no_fault_of_the_new_one() -> None:
    assert replay(Past(replace(GOOD, outages=((120, 60, 0.3),)), STEPS)).back is None


def test_what_the_pods_own_proxies_counted_is_enough() -> None:
    found = replay(Past(replace(BAD, canary_errors=0.3), ((2280, 5), (1200, 0)), reporter="destination"))
    assert (weights(found), found.stable) == ([5], "v1")
    assert found.back is not None


def test_a_time_that_is_some_minutes_off_finds_the_release_all_the_same() -> None:
    past = Past(BAD, ((2280, 5), (1200, 0)))
    for off in (-300, 300):
        found = replay(past, BEGAN + off)
        assert (weights(found), found.back is not None) == ([5], True)


def test_a_release_without_an_end_is_replayed_for_six_hours_or_until_now() -> None:
    thin = replace(GOOD, rps=5)
    found = replay(Past(thin, ((LONGEST + 600, 25),)))
    assert (found.ending, found.ended) == (Ending.TOO_LONG, BEGAN + LONGEST)
    found = replay(Past(thin, ((3600, 25),)))
    assert (found.ending, found.ended) == (Ending.NOW, BEGAN + 3600)


def test_who_served_before_is_stable_and_must_be() -> None:
    past = Past(GOOD, STEPS)
    assert replay(past, target=replace(TARGET, stable="v1")).stable == "v1"
    with pytest.raises(InvalidInput, match="v0 had no requests in the 30m before; v1 had"):
        replay(past, target=replace(TARGET, stable="v0"))
    assert replay(Past(GOOD, STEPS, since=BEGAN), target=replace(TARGET, stable="v1")).back is None
    with pytest.raises(InvalidInput, match=r"reviews.* had no requests in the 30m before; no version had"):
        replay(Past(GOOD, STEPS, since=BEGAN + 1))
    with pytest.raises(InvalidInput, match="v2 served most before already"):
        replay(Past(GOOD, (*STEPS, (3600, 100))), BEGAN + 3600)


def test_where_there_is_nothing_it_is_said_what_there_is() -> None:
    with pytest.raises(InvalidInput, match=r"v2 had no share of the requests .* \(0 of \d+, the rest v1's\)"):
        replay(Past(GOOD, ((900, 0),)))
    with pytest.raises(InvalidInput, match=r"no counters of reviews.* the store has them from 2025-11-24 16:4. UTC"):
        replay(Past(GOOD, ((7200, 5),), since=BEGAN + 2400))
    with pytest.raises(InvalidInput, match=r"no counters of reviews.* nor has the store any since"):
        replay(Past(GOOD, ((900, 5),), since=BEGAN + 1e6))


def test_times_as_people_write_them() -> None:
    local = datetime(2025, 11, 24, 14, 5).astimezone().timestamp()
    texts = ["2025-11-24 14:05", "2025-11-24T14:05:30Z", "2025-11-24T14:05:30.5+01:00"]
    whole = datetime(2025, 11, 24, 14, 5, 30, tzinfo=UTC).timestamp()
    assert moments(texts, BEGAN + 1e6) == [local, whole, whole - 3600 + 0.5]


def plateau(weight: int, since: float, until: float, said: Reading | None = None) -> Plateau:
    return Plateau(Decimal(weight), BEGAN + since, BEGAN + until, Arm(95000, 95), Arm(5000, 250), said)


def test_the_summary_says_what_would_have_been_and_what_was() -> None:
    back = Reading(Verdict.ROLLBACK, "it fails", check="errors", luck=1 / 4000)
    bad = replace(plateau(5, 0, 2280, back), back_after=45.0)
    found = Replay("v1", "v2", (bad,), BEGAN + 2880, Ending.NOTHING, (12, 5108))
    when = datetime.fromtimestamp(BEGAN).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert summary(found, BEGAN) == (
        f"{when} v2: would have gone back after 45s at 5 %: errors, chance that this is luck: under 1 in 4 000; "
        "in fact it ran 38m and 5 120 requests failed"
    )
    lines = list(told(found, BEGAN))
    assert "v2 failed 5 % of 5 000 and v1 failed 0.1 % of 95 000" in lines[1]
    assert lines[3] == "  12 of users' requests failed on v2 until the judge would have acted, 5 108 after"
    slow = replace(bad, said=replace(back, check="latency 250"))
    assert "at 5 %: answers slower than 250 ms, chance" in summary(replace(found, plateaus=(slow,)), BEGAN)


def test_the_summary_of_a_release_that_would_have_gone_on() -> None:
    on = Reading(Verdict.ADVANCE, "no worse", check="errors")
    first = replace(plateau(5, 0, 300, on), on_after=75.0)
    unproven = replace(plateau(25, 300, 1200, replace(on, verdict=Verdict.INCONCLUSIVE)), on_after=600.0)
    waiting = plateau(50, 1200, 1260, replace(on, verdict=Verdict.CONTINUE))
    last = plateau(100, 1260, 1560, replace(on, verdict=Verdict.BLIND))
    found = Replay("v1", "v2", (first, unproven, waiting, last), BEGAN + 1560, Ending.EVERYTHING, (1, 0))
    assert summary(found, BEGAN).endswith(
        "would have gone on from 5 % after 1m15s, unproven from 25 % after 10m, not from 50 % within 1m; "
        "in fact it had everything after 21m and 1 request failed"
    )
    assert "nobody to compare with" in summary(replace(found, plateaus=(last,)), BEGAN)
    doubt = replace(last, said=Reading(Verdict.DOUBT, "it is slow", check="latency 250"), doubt_after=20.0)
    assert (
        "not from 50 % within 1m; would have gone back to compare anew after 20s at 100 %: answers slower than 250 ms; "
        "in fact"
    ) in summary(replace(found, plateaus=(first, unproven, waiting, doubt)), BEGAN)
    assert "    back to compare anew after 20s, DOUBT: it is slow" in list(
        told(replace(found, plateaus=(doubt,)), BEGAN)
    )


def test_scripts_get_the_same_as_data() -> None:
    found = replay(Past(BAD, ((2280, 5), (1200, 0))))
    data = json.loads(json.dumps(document(found, BEGAN)))
    (one,) = data["plateaus"]
    assert (data["went_back"], data["ending"], one["verdict"], one["weight"]) == (True, "nothing", "ROLLBACK", 5.0)
    assert data["failed"]["until"] + data["failed"]["after"] == one["canary"]["failures"]
    assert one["back_after"] < one["until"] - one["since"]


def rollout(*arguments: str) -> tuple[int, str, str]:
    return ran("backtest", "reviews", *arguments, environment={"KUBECONFIG": os.devnull})


NOBODY = ("-n", "shop", "--prometheus", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "v2", "--at", "yesterday", *NOBODY), "'yesterday' is no time; write it like 2026-11-24T14:05:00Z"),
        (("--to", "v2", "--at", "2025-11-24", *NOBODY), "'2025-11-24' is no time"),
        (("--to", "v2", "--at", "2025-13-24 14:05", *NOBODY), "is no time"),
        (("--to", "v2", "--at", "9999-11-24 14:05", *NOBODY), "lies in the future"),
        (("--to", "v2", *NOBODY), "--at"),
        (("--to", "v2", "--from", "v2", "--at", "2025-11-24 14:05", *NOBODY), "--from and --to are both v2"),
        (("--to", "v2", "--at", "2025-11-24 14:05", "-n", "shop", "--prometheus", ""), "which Prometheus?"),
        (("--to", "v2", "--at", "2025-11-24 14:05", "--output", "xml", *NOBODY), "--output"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], said: str) -> None:
    code, _, error = rollout(*arguments)
    assert (code, said in error) == (2, True), error


def test_a_prometheus_that_is_away_needs_no_cluster_to_be_missed() -> None:
    code, _, error = rollout("--to", "v2", "--at", "2025-11-24 14:05", *NOBODY)
    assert code == 3
    assert "does not answer" in error


def test_it_works_on_the_playgrounds_folder(tmp_path: Path) -> None:
    store, now = CounterFiles(tmp_path / ".playground" / "metrics"), int(time.time())
    for second in range(now - 100, now + 60):  # and goes on, however slow this machine is
        stable, canary = second - now + 101, max(0, second - now + 60)
        counts = (("v1", ALL, 95 * stable), ("v1", FAILED, stable), ("v2", ALL, 5 * canary), ("v2", FAILED, 2 * canary))
        store.keep(
            second, [("source", "gateway", HOST.replace("shop", "bookinfo"), *count) for count in counts if count[2]]
        )
    times = [datetime.fromtimestamp(now - ago, UTC).isoformat() for ago in (60, 86400)]
    ats = [argument for one in times for argument in ("--at", one)]
    code, out, error = rollout("--to", "v2", *ats, "--cluster", str(tmp_path))
    assert code == 2, "one of the two times has nothing"
    assert f"{times[1]}: there are no counters of reviews" in error
    assert "v2: would have gone back after " in out.splitlines()[-1]
    code, out, error = rollout("--to", "v2", *ats[:2], "--cluster", str(tmp_path), "-o", "json")
    assert (code, error) == (0, "")
    assert [one["ending"] for one in json.loads(out)] == ["now"]
