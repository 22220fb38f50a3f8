"""What a reading keeps when the weight has changed, and whether requests come to a version at all."""

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from rollout.core.attempt import Attempt, Reading, Verdict
from rollout.core.lifecycle import Phase
from rollout.engine.looking import Eyes, reading_of
from rollout.engine.observing import observe, read_scene
from rollout.engine.survey import survey
from rollout.judge.judge import Evidence
from rollout.ports import Target
from tests.simulation.world import HOST, START, World


def test_who_was_hurt_is_not_forgotten_with_a_new_weight() -> None:
    world = World(seed=1, trouble=0.0)
    found = survey(world.cluster, world.request(), 1, world.now)
    attempt = replace(found, phase=Phase.SHIFTING, weight=Decimal(25), step=1, landed=world.now + 9)
    said = reading_of(Evidence(weight_since=world.now, hurt=7), attempt, world.now + 10)
    assert (said.verdict, said.hurt) == (Verdict.NO_DATA, 7)


TARGET = Target(HOST, "shop", (), "v1", "v2")


def counted(**stragglers: int) -> World:
    """Ten seconds in which so many requests a second came to a version, and all others to v1."""
    world = World(seed=1, trouble=0.0)
    world.metrics.stragglers |= stragglers
    world.pass_time(10.0)
    return world


@pytest.mark.parametrize(("gateway", "sidecars"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("rate", "came"), [(0, False), (1, True)])
def test_whether_requests_come_is_asked_of_whoever_counts(rate: int, came: bool, gateway: bool, sidecars: bool) -> None:
    world = counted(v2=rate)
    world.metrics.gateway, world.metrics.sidecars = gateway, sidecars
    assert Eyes(world.metrics).reached(TARGET, START) is came


def test_where_nobody_counts_or_tells_nobody_knows_whether_requests_come() -> None:
    world = counted()
    world.metrics.down_until = world.now + 5.0
    assert Eyes(world.metrics).reached(TARGET, START) is None
    world.metrics.down_until, world.metrics.gateway, world.metrics.sidecars = 0.0, False, False
    assert Eyes(world.metrics).reached(TARGET, START) is None


def test_what_was_counted_before_tells_nothing_of_now() -> None:
    world = counted()
    assert Eyes(world.metrics).reached(TARGET, world.now - 2.0) is True, "some may have come since"
    world.pass_time(2.0)
    assert Eyes(world.metrics).reached(TARGET, world.now - 4.0) is False


def test_a_proxy_that_has_just_restarted_tells_nothing() -> None:
    world = counted(v2=1)
    for counters in (world.metrics.counters, world.metrics.at_pods):
        counters.clear()
    world.pass_time(2.0)
    assert Eyes(world.metrics).reached(TARGET, START) is None
    world.pass_time(2.0)
    assert Eyes(world.metrics).reached(TARGET, START) is True


def test_the_next_attempt_of_the_same_eyes_asks_before_its_first_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(seed=1, trouble=0.0)
    monkeypatch.setattr(world.metrics, "interval", lambda target: 15.0)
    world.pass_time(60.0)
    eyes = Eyes(world.metrics)

    def said(number: int) -> tuple[Reading | None, str]:
        found = survey(world.cluster, world.request(), number, world.now)
        attempt = replace(found, phase=Phase.SHIFTING, landed=world.now)
        scene = read_scene(world.cluster, attempt)
        return eyes.reading(observe(world.cluster, attempt, scene, world.now), scene.target(attempt))

    assert said(1)[1] == ""
    world.pass_time(2.0)
    world.metrics.down_until = math.inf
    assert said(2) == (None, "the metrics store is away")


def test_before_the_first_weight_nobody_asks_and_all_is_judged_with_the_first_look() -> None:
    world = World(seed=1, trouble=0.0)
    world.pass_time(60.0)
    eyes = Eyes(world.metrics)
    attempt = survey(world.cluster, world.request(), 1, world.now)
    assert attempt.phase is Phase.PREFLIGHT
    scene = read_scene(world.cluster, attempt)
    for _ in range(10):
        world.pass_time(1.0)
        eyes.reading(observe(world.cluster, attempt, scene, world.now), scene.target(attempt))
    assert eyes.remembered_by(attempt).checkpoint["at"] == 0.0
    attempt = replace(attempt, phase=Phase.SHIFTING, landed=world.now)
    eyes.reading(observe(world.cluster, attempt, scene, world.now), scene.target(attempt))
    assert eyes.remembered_by(attempt).checkpoint["at"] >= world.now - 4.0


def test_after_a_question_that_was_not_answered_it_is_silent_until_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(seed=1, trouble=0.0)
    monkeypatch.setattr(world.metrics, "interval", lambda target: 15.0)
    world.pass_time(60.0)
    eyes = Eyes(world.metrics)
    found = survey(world.cluster, world.request(), 1, world.now)
    attempt = replace(found, phase=Phase.SHIFTING, weight=Decimal(25), step=1, landed=world.now)
    scene = read_scene(world.cluster, attempt)

    def silence(at: Attempt = attempt) -> str:
        return eyes.reading(observe(world.cluster, at, scene, world.now), scene.target(at))[1]

    assert silence() == ""
    world.pass_time(20.0)
    world.metrics.down_until = world.now + 10.0
    for _ in range(4):
        assert silence() == "the metrics store is away"
        world.pass_time(2.0)
    assert silence(replace(attempt, landed=world.now)) == "the metrics store is away"
    world.pass_time(3.0)
    assert silence() == ""
