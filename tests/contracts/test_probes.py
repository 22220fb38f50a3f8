"""The promises of the Probes port: one suite for the virtual world and for real HTTP."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from rollout.adapters import probing
from rollout.adapters.probing import HttpProbes
from rollout.core.probe import HEADER, Expected, Probe
from rollout.ports import Answered, Errand, Probes
from tests.fakes.serving import serving
from tests.simulation.world import Faults, VirtualProbes, World, drive, strategy
from tests.simulation.world import probing as probing_step

COUNT = 6


class Server(BaseHTTPRequestHandler):
    """Answers as our routes would: with the mark that it was sent."""

    status, marks, seconds = 200, True, 0.0
    heard: list[tuple[str, str, dict[str, str]]] = []  # noqa: RUF012 - a server makes one of us a request

    def answer(self) -> None:
        Server.heard.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        time.sleep(self.seconds)
        try:
            self.send_response(self.status)
            if self.marks:
                self.send_header(HEADER, self.headers[HEADER])
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(b"all is well")
        except OSError:
            pass  # who asked has gone

    do_GET = do_POST = answer  # noqa: N815 - as the server calls them


@pytest.fixture
def url() -> Iterator[str]:
    Server.status, Server.marks, Server.seconds, Server.heard = 200, True, 0.0, []
    with serving(Server) as here:
        yield f"{here}/health?key=secret"


@dataclass
class Place:
    """Where probes are answered: `settle` lets time pass until what is sent is answered, `turn` changes the answers."""

    probes: Probes
    errand: Errand
    settle: Callable[[], None]
    turn: Callable[[str], None]


def real(url: str) -> Place:
    def turn(what: str) -> None:
        Server.status, Server.marks = (500, True) if what == "missing" else (200, False)

    errand = Errand("one", Probe(url, rps=50.0), "t", "v1", "v2")
    return Place(HttpProbes(), errand, lambda: time.sleep(0.15), turn)


def virtual() -> Place:
    world = World(3, trouble=0.0, strategy=strategy(steps=(probing_step(), *strategy().steps)))
    drive(world, lambda _: Faults(), lambda _: None, limit=9.0)  # until the routes for probes lie there
    attempt = world.attempt()
    assert attempt is not None

    def turn(what: str) -> None:
        if what == "missing":
            world.probes.missing = {"v1": 1.0, "v2": 1.0}
        else:
            world.virtual_service()
            world.edit(lambda vs: vs["spec"].update({"http": world.routes}))

    errand = Errand("one", Probe("http://reviews/", rps=50.0), attempt.id, "v1", "v2")
    return Place(VirtualProbes(world), errand, lambda: world.pass_time(0.5), turn)


@pytest.fixture(params=["virtual", "http"])
def place(request: pytest.FixtureRequest, url: str) -> Place:
    return virtual() if request.param == "virtual" else real(url)


def gathered(place: Place, errand: Errand, most: int = COUNT, new: int = 2 * COUNT) -> Sequence[Answered]:
    """What comes until there is as much as was wanted, and a while longer."""
    found: list[Answered] = []
    for _ in range(60):
        found += place.probes.answers(errand, most, most)
        if len(found) >= new:
            break
        place.settle()
    place.settle()
    return [*found, *place.probes.answers(errand, most, most)]


def test_each_version_answers_as_many_as_were_wanted_and_each_answer_is_given_once(place: Place) -> None:
    found = gathered(place, place.errand)
    assert [sum(one.canary is which for one in found) for which in (True, False)] == [COUNT, COUNT]
    assert all(one.status == 200 and one.marked and one.matched and not one.silent for one in found)
    assert len(gathered(place, place.errand, COUNT + 1, 2)) == 2


def test_what_comes_is_told_as_it_is(place: Place) -> None:
    place.turn("missing")
    assert {one.status for one in gathered(place, place.errand)} == {500}


def test_an_answer_that_came_by_no_route_of_ours_is_not_marked(place: Place) -> None:
    place.turn("unmarked")
    found = gathered(place, place.errand)
    assert found
    assert not any(one.marked for one in found)


def test_another_errand_begins_anew(place: Place) -> None:
    gathered(place, place.errand)
    assert len(gathered(place, replace(place.errand, id="two"), 2, 4)) == 4


def ask(url: str, **changes: Any) -> Answered:
    return probing.asked(Errand("one", replace(Probe(url), **changes), "token", "v1", "v2"), canary=True)


def test_a_probe_is_sent_as_it_is_written_with_its_mark(url: str) -> None:
    assert ask(url, method="POST", headers={"x-who": "ann"}, expect=Expected(200, 0.0, "well")).matched
    ((method, path, headers),) = Server.heard
    assert (method, path, headers["x-who"], headers[HEADER]) == ("POST", "/health?key=secret", "ann", "token:v2")
    assert not ask(url, expect=Expected(200, 0.0, "unwell")).matched


def test_a_redirect_is_an_answer_and_not_followed(url: str) -> None:
    Server.status = 302
    assert ask(url).status == 302
    assert len(Server.heard) == 1


def test_no_answer_is_told_apart_from_nobody_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PATIENCE", 0.2)
    Server.seconds = 1.0
    assert ask(url).late
    nobody = ask("http://127.0.0.1:1/?key=secret")
    assert "127.0.0.1 does not answer" in nobody.silent
    assert "secret" not in nobody.silent
    assert "does not answer" in ask("http://reviews.nowhere.svc/").silent


def test_nothing_more_is_sent_when_nobody_asks_any_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "IDLE", 0.3)
    place = real(url)
    place.probes.answers(place.errand, 1000, 1000)
    time.sleep(1.0)
    sent = len(Server.heard)
    time.sleep(0.3)
    assert 0 < sent == len(Server.heard) < 100
