"""Questions and messages to webhooks: posted in the background, and never believed without a yes."""

import json
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rollout.adapters.http import posted
from rollout.core.address import host_of
from rollout.core.attempt import Word
from rollout.core.errors import Unavailable
from rollout.ports import Question

Answer = TypeVar("Answer")
NO = (403, 409, 412, 422)
MOST = 64
"""Questions and messages whose answers are kept at most; of those that nobody came back for, the oldest go first."""
LONGEST = 200
"""Characters of a reason that are repeated."""


class HttpWebhooks:
    """Posts each in a thread of its own, so that nobody who drives waits for an answer."""

    def __init__(self) -> None:
        self._answers: dict[str, Any] = {}

    def answer(self, url: str, question: Question) -> Word | str | None:
        """See the port."""
        return self._later(asked, url, question)

    def deliver(self, url: str, message: Mapping[str, Any]) -> str | None:
        """See the port."""
        return self._later(delivered, url, dict(message))

    def _later(
        self, post: Callable[[str, dict[str, Any]], Answer], url: str, document: dict[str, Any]
    ) -> Answer | None:
        key = json.dumps([url, document], sort_keys=True)
        if key not in self._answers:
            while len(self._answers) >= MOST:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = None
            threading.Thread(target=self._post, args=(key, post, url, document), daemon=True).start()
        found: Answer | None = self._answers[key]
        if found is not None:
            del self._answers[key]  # the next one is a new one
        return found

    def _post(self, key: str, post: Callable[[str, dict[str, Any]], Any], url: str, document: dict[str, Any]) -> None:
        try:
            answer = post(url, document)
        except Exception as error:  # noqa: BLE001 - a thread that dies in silence would never have an answer
            answer = f"{host_of(url)} could not be asked ({type(error).__name__})"
        if key in self._answers:
            self._answers[key] = answer


def delivered(url: str, message: Mapping[str, Any]) -> str:
    """Post a message once; empty if the answer is a 2xx, else why it counts as not told."""
    try:
        status, _ = posted(url, dict(message))
    except Unavailable as error:
        return str(error)
    return "" if status // 100 == 2 else f"{host_of(url)} answers with status {status}"


def asked(url: str, question: Question) -> Word | str:
    """Ask once; what is no clear yes or no is said in words.

    2xx is a yes, unless its JSON says `"verdict": "no"`; 403, 409, 412 and 422 are a no, with the JSON's `reason`.
    Everything else means that nobody knows. A number under `value` comes with the word.
    """
    who = host_of(url)
    try:
        status, body = posted(url, dict(question))
    except Unavailable as error:
        return str(error)
    said, good = _said(body), status // 100 == 2
    reason, value = _line(said.get("reason", "")), _number(said.get("value"))
    if status in NO or (good and str(said.get("verdict", "")).lower() == "no"):
        return Word(False, who, reason or (f"status {status}" if not good else ""), value)
    if good:
        return Word(True, who, reason, value)
    return f"{who} answers with status {status}, which is neither yes nor no"


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _line(said: object) -> str:
    """One line of text, whatever was said."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(said)[: 4 * LONGEST])
    return " ".join(text.split())[:LONGEST]


def _number(said: object) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    try:
        return float(said) if math.isfinite(said) else None
    except OverflowError:
        return None
