"""What a controller survives on a real API server: deaths, other writers, a metrics store in any mood, history lost."""

import random
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest

from bench.controller.candidate import NAMESPACE, Phase, Plan
from tests.fakes.serving import serving
from tests.real.fleet import Fleet, Noise
from tests.real.mesh import wait
from tests.real.servers import ApiServer

pytestmark = pytest.mark.real


@pytest.fixture
def fleet(api_server: ApiServer) -> Iterator[Fleet]:
    with suppress(urllib.error.HTTPError):  # another test's
        api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    made = Fleet(api_server)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))])
def test_killed_at_random_moments_all_end_right(fleet: Fleet, seed: int) -> None:
    """Five rollouts each, of which one is bad: a hundred of them in the soak."""
    moments = random.Random(seed)
    services = fleet.launch(5)
    bad, good = services[:1], services[1:]
    fleet.prometheus.traffic.fails(bad[0])
    fleet.release_all(services)
    fleet.dies(6, moments, 5.0)
    fleet.start()
    fleet.ended(good, Phase.PROMOTED, 90.0)
    fleet.ended(bad, Phase.BACK, 30.0)
    for one in services:
        fleet.lawful(one)
    assert all(fleet.path(one) == [0, 5, 25, 100] for one in good)
    assert fleet.path(bad[0]) in ([0], [0, 5, 0])


def test_no_lie_of_prometheus_moves_anybody_nor_does_its_silence_hold_who_needs_no_counters(fleet: Fleet) -> None:
    fleet.plan = Plan(steps=(25, 100), bake=10.0)
    services = fleet.launch(10)
    leaving, staying = services[0], services[1:]
    fleet.start()
    fleet.release_all(services)
    fleet.all_at(25, services)
    for mood in ("NaN", "negative", "empty", "twice", "future", "hangs"):
        fleet.prometheus.mood = mood
        time.sleep(2.0 if mood != "hangs" else 7.0)
        assert {fleet.weight(one) for one in services} == {25}, mood
    began = time.monotonic()
    fleet.delete(leaving)
    wait(lambda: fleet.weight(leaving) == 0, 10.0)
    took = time.monotonic() - began
    print(f"taken back {took:.2f} s after it was deleted while Prometheus hangs")
    assert took < 3.0, "whoever waits for Prometheus waits 5 s"
    fleet.prometheus.mood = "long"
    fleet.all_at(100, staying)
    wait(lambda: fleet.prometheus.longest >= 1_000_000, 10.0)
    fleet.prometheus.mood = "slow"
    fleet.ended(staying, Phase.PROMOTED, 60.0)
    print(f"an answer of {fleet.prometheus.longest} characters; by mood were asked {dict(fleet.prometheus.moments)}")
    assert fleet.prometheus.moments["slow"] > 0
    assert all(fleet.path(one) == [0, 25, 100] for one in staying)


class Mute(BaseHTTPRequestHandler):
    """Takes what is posted, and never answers."""

    over = threading.Event()

    def do_POST(self) -> None:
        Mute.over.wait(120)


def test_webhooks_that_hang_hold_nobody_but_who_asks_them(fleet: Fleet) -> None:
    fleet.plan = Plan(steps=(25, 100), bake=4.0)
    waiting, told, good = (fleet.launch(6) for _ in range(3))
    with serving(Mute) as mute:
        gate = {"gate": {"webhook": f"{mute}/ask", "timeout": "15s"}}
        for one in waiting:
            fleet.patch(
                f"{fleet.objects}/{one}", {"spec": {"strategy": {"steps": [{"weight": 25}, gate, {"weight": 100}]}}}
            )
        for one in told:
            fleet.patch(f"{fleet.objects}/{one}", {"spec": {"strategy": {"notify": {"url": f"{mute}/told"}}}})
        fleet.start()
        fleet.release_all([*waiting, *told, *good])
        fleet.ended([*told, *good], Phase.PROMOTED, 60.0)
        stood = [fleet.stood(one, 25) for one in (*told, *good)]
        print(f"a bake of 4 s took {min(stood):.1f} to {max(stood):.1f} s while {len(waiting)} gates hang")
        assert {fleet.path(one)[-1] for one in waiting} == {25}, "nobody said yes"
        fleet.delete(waiting[0])
        fleet.all_at(0, waiting[:1], 3.0)
        fleet.ended(waiting[1:], Phase.BACK, 60.0)
        Mute.over.set()


@pytest.mark.alone
def test_who_writes_all_the_time_stops_neither_a_rollout_nor_its_end(fleet: Fleet, api_server: ApiServer) -> None:
    fleet.plan = Plan(steps=(25, 100), bake=4.0)
    good, bad, *others = fleet.launch(6)
    fleet.start()
    with Noise(api_server, good) as noise:
        fleet.release_all([good, *others])
        fleet.ended([good, *others], Phase.PROMOTED, 60.0)
    stood = [fleet.stood(one, 25) for one in others]
    print(f"promoted with {noise.rate:.0f} writes a second; others baked {min(stood):.1f} to {max(stood):.1f} s of 4")
    assert noise.rate > 0.9 * noise.PACE
    assert max(stood) < 6.0
    with Noise(api_server, bad) as noise:
        fleet.release(bad)
        fleet.all_at(25, [bad])
        failing = fleet.prometheus.traffic.fails(bad)
        fleet.all_at(0, [bad])
        print(f"taken back {time.time() - failing:.1f} s after it began to fail")
        fleet.ended([bad], Phase.BACK, 60.0)
    print(f"with {noise.rate:.0f} writes a second")
    for one in (good, bad, *others):
        fleet.lawful(one)


def test_a_server_that_restarts_and_has_forgotten_what_was(fleet: Fleet, api_server: ApiServer) -> None:
    noisy, *services = fleet.launch(6)
    bad, good = services[:1], services[1:]
    fleet.start()
    fleet.release_all([noisy, *services])
    wait(lambda: fleet.weight(bad[0]) >= 5, 60.0)
    fleet.prometheus.traffic.fails(bad[0])
    wait(lambda: all(fleet.weight(one) >= 5 for one in (noisy, *good)), 60.0)
    lists = fleet.asked("list", "virtualservices")
    with Noise(api_server, noisy) as noise:
        api_server.compact()
        api_server.stop()
        api_server.compact()
        api_server.start()
        wait(lambda: fleet.asked("list", "virtualservices") > lists, 30.0)  # what it watched was too old to go on from
        fleet.ended(bad, Phase.BACK, 60.0)
    print(f"with {noise.rate:.0f} writes a second")
    assert noise.rate > 0.2 * noise.PACE
    fleet.ended([noisy, *good], Phase.PROMOTED, 90.0)
    for one in (noisy, *services):
        fleet.never_up_again(one)
