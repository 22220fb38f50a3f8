"""Questions to webhooks, over real HTTP: what is a yes, what a no, and what is neither."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from rollout.adapters import http, webhooks
from rollout.core.attempt import Word
from tests.fakes.serving import serving

QUESTION = {"service": "reviews", "canary": "v2"}


class Hook(BaseHTTPRequestHandler):
    status, body, headers_sent, drip = 200, b"", {}, 0  # type: ignore[var-annotated]
    heard: list[Any] = []  # noqa: RUF012 - a server makes one of us a request
    sleeps: dict[str, float] = {}  # noqa: RUF012

    def do_POST(self) -> None:
        Hook.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        time.sleep(Hook.sleeps.get(Hook.heard[-1].get("check"), 0.0))
        self.send_response(self.status)
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(self.body)
            for _ in range(self.drip):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.02)
        except OSError:
            pass  # who asked has gone


@pytest.fixture
def url() -> Iterator[str]:
    Hook.status, Hook.body, Hook.headers_sent, Hook.drip, Hook.heard, Hook.sleeps = 200, b"", {}, 0, [], {}
    with serving(Hook) as here:
        yield f"{here}/gate?token=secret"


@pytest.mark.parametrize(
    ("status", "body", "yes", "why"),
    [
        (200, b"", True, ""),
        (204, b"", True, ""),
        (200, b'{"verdict": "yes", "reason": "quiet"}', True, "quiet"),
        (200, b'{"verdict": "no", "reason": "freeze"}', False, "freeze"),
        (200, b'{"verdict": "no"}', False, ""),
        (200, b'{"verdict": "no", "reason": "\\u001b[2J two\\n lines"}', False, "[2J two lines"),
        (200, b"[" * 60_000, True, ""),
        (403, b"go away", False, "status 403"),
        (409, b"", False, "status 409"),
        (412, b"", False, "status 412"),
        (422, b'{"reason": "budget spent"}', False, "budget spent"),
    ],
)
def test_a_clear_answer_is_a_word(url: str, status: int, body: bytes, yes: bool, why: str) -> None:
    Hook.status, Hook.body = status, body
    assert webhooks.asked(url, QUESTION) == Word(yes, "127.0.0.1", why)
    assert Hook.heard == [QUESTION]


@pytest.mark.parametrize(
    ("said", "value"),
    [("7", 7.0), ("-0.5", -0.5), ('"7"', None), ("true", None), ("null", None), ("[7]", None), ("NaN", None),
     ("1e999", None), ("1" + "0" * 400, None)],
)  # fmt: skip
def test_a_number_comes_with_the_word_and_nothing_else_is_one(url: str, said: str, value: float | None) -> None:
    Hook.body = b'{"value": %s}' % said.encode()
    assert webhooks.asked(url, QUESTION) == Word(True, "127.0.0.1", "", value)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 429, 500, 503])
def test_everything_else_is_neither_yes_nor_no(url: str, status: int) -> None:
    Hook.status, Hook.headers_sent = status, {"Location": url}
    said = webhooks.asked(url, QUESTION)
    assert isinstance(said, str)
    assert str(status) in said
    assert "secret" not in said
    assert len(Hook.heard) == 1  # no redirect is followed


def test_an_answer_without_end_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Hook.body = b"x" * 1_000_000
    assert "more than 64 KiB" in str(webhooks.asked(url, QUESTION))
    monkeypatch.setattr(http, "ANSWER_WITHIN", 0.1)
    Hook.body, Hook.drip = b"", 50
    assert "for more than" in str(webhooks.asked(url, QUESTION))


def test_silence_is_told_without_the_secret() -> None:
    said = webhooks.asked("http://127.0.0.1:9/gate?token=secret", QUESTION)
    assert isinstance(said, str)
    assert "does not answer" in said
    assert "secret" not in said


def test_nobody_waits_for_an_answer(url: str) -> None:
    Hook.drip = 10
    hooks, began = webhooks.HttpWebhooks(), time.monotonic()
    assert hooks.answer(url, QUESTION) is None
    assert time.monotonic() - began < 0.15
    until = time.monotonic() + 10
    while (found := hooks.answer(url, QUESTION)) is None and time.monotonic() < until:
        time.sleep(0.02)
    assert found == Word(True, "127.0.0.1")
    assert len(Hook.heard) == 1  # looking again is not asking again


def test_each_question_has_an_answer_of_its_own(url: str) -> None:
    Hook.sleeps = {"slow": 0.3, "slower": 0.5}
    hooks, names = webhooks.HttpWebhooks(), ("slow", "slower", "quick")
    found: dict[str, Word | str] = {}
    until = time.monotonic() + 10
    while len(found) < 3 and time.monotonic() < until:
        for name in names:
            if name not in found and (said := hooks.answer(url, {"check": name})) is not None:
                found[name] = said
        time.sleep(0.02)
    assert list(found) == ["quick", "slow", "slower"], "none waits for another"
    assert len(Hook.heard) == 3, "nor is one asked again because another was"


def test_answers_that_nobody_comes_back_for_are_not_kept_for_ever(url: str) -> None:
    hooks = webhooks.HttpWebhooks()
    for place in range(webhooks.MOST + 5):
        hooks.answer("http://127.0.0.1:9/", {"asked": str(place)})
    assert len(hooks._answers) == webhooks.MOST


def test_a_question_that_cannot_be_asked_is_answered_all_the_same(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no thread must die with this")

    monkeypatch.setattr(webhooks, "posted", broken)
    hooks, until = webhooks.HttpWebhooks(), time.monotonic() + 10
    while (found := hooks.answer(url, QUESTION)) is None and time.monotonic() < until:
        time.sleep(0.01)
    assert found == "127.0.0.1 could not be asked (RuntimeError)"
