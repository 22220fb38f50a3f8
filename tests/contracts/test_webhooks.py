"""The promises of the Webhooks port: one suite for the virtual world and for real HTTP."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from rollout.adapters.webhooks import HttpWebhooks
from rollout.core.attempt import Word
from rollout.ports import Webhooks
from tests.fakes.serving import serving
from tests.simulation.world import ProcessWebhooks, World

QUESTION, MESSAGE = {"service": "reviews", "asked": "0"}, {"text": "reviews is promoted", "id": "a/1"}


@dataclass
class Place:
    """An endpoint as its owner sees it: what it says (None: not yet), and what has arrived there."""

    webhooks: Webhooks
    url: str
    says: Callable[[Mapping[str, Any]], Word | str | None] = lambda document: Word(True, "", "fine")
    arrived: list[dict[str, Any]] = field(default_factory=list)

    def until(self, ask: Callable[[], Word | str | None]) -> Word | str:
        """What comes of asking again and again."""
        for _ in range(500):
            if (found := ask()) is not None:
                return found
            time.sleep(0.01)
        raise AssertionError("no answer came")

    def answer(self, **more: str) -> Word | str:
        return self.until(lambda: self.webhooks.answer(self.url, QUESTION | more))

    def deliver(self) -> str:
        return str(self.until(lambda: self.webhooks.deliver(self.url, MESSAGE)))


def virtual() -> Place:
    world = World(seed=1, trouble=0.0)
    hooks = world.webhooks
    place = Place(ProcessWebhooks(world), "https://gate.example/")

    def outcome(message: Mapping[str, Any]) -> tuple[bool, str | None]:
        said = place.says(message)
        return isinstance(said, Word), "" if isinstance(said, Word) else said

    def said(question: Mapping[str, Any]) -> Word | str | None:
        return place.says(question)

    hooks.check = said
    hooks.outcome = outcome
    place.arrived = hooks.arrived
    return place


def http() -> Iterator[Place]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            while (said := made.says(document)) is None:
                time.sleep(0.01)
            good = isinstance(said, Word)
            if good:
                made.arrived.append(document)
            self.send_response((200 if said.yes else 409) if isinstance(said, Word) else 500)
            self.end_headers()
            self.wfile.write(json.dumps({"reason": said.why} if isinstance(said, Word) else {}).encode())

    with serving(Handler) as here:
        made = Place(HttpWebhooks(), f"{here}/hook")
        yield made


@pytest.fixture(params=["virtual", "http"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "virtual":
        yield virtual()
    else:
        yield from http()


@pytest.mark.parametrize("yes", [True, False])
def test_a_yes_and_a_no_come_as_words_with_their_reason(place: Place, yes: bool) -> None:
    place.says = lambda document: Word(yes, "", "because")
    said = place.answer(check="freeze")
    assert isinstance(said, Word)
    assert (said.yes, said.why) == (yes, "because")


def test_what_is_neither_is_told_in_words(place: Place) -> None:
    place.says = lambda document: "broken"
    assert isinstance(place.answer(check="freeze"), str)
    assert place.deliver() != ""


def test_nobody_waits_for_an_answer_and_it_is_found_when_it_is_there(place: Place) -> None:
    place.says = lambda document: None
    assert place.webhooks.answer(place.url, QUESTION | {"check": "freeze"}) is None
    assert place.webhooks.deliver(place.url, MESSAGE) is None
    place.says = lambda document: Word(True, "", "late")
    said = place.answer(check="freeze")
    assert isinstance(said, Word)
    assert said.why == "late"


def test_an_answer_is_given_out_once(place: Place) -> None:
    place.says = lambda document: Word(False, "", "first")
    place.answer(check="freeze")
    place.says = lambda document: Word(True, "", "second")
    said = place.answer(check="freeze")
    assert isinstance(said, Word)
    assert said.why == "second"


def test_each_of_several_questions_has_its_own_answer(place: Place) -> None:
    place.says = lambda document: None
    for name in ("a", "b", "c"):
        assert place.webhooks.answer(place.url, QUESTION | {"check": name}) is None
    place.says = lambda document: Word(document["check"] != "b", "", str(document["check"]))
    for name in ("c", "b", "a"):
        said = place.answer(check=name)
        assert isinstance(said, Word)
        assert (said.yes, said.why) == (name != "b", name)


def test_a_message_arrives_as_it_is_and_again_when_it_is_told_anew(place: Place) -> None:
    assert place.deliver() == ""
    assert place.arrived == [MESSAGE]
    assert place.deliver() == ""
    assert len(place.arrived) == 2
