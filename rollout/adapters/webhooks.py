"""Questions to webhooks over HTTP: asked in the background, bounded in time and size, never believed without a yes."""

import json
import threading
from typing import Any

import httpx

from rollout.adapters import clock
from rollout.core.attempt import Word
from rollout.ports import Question

READ_WITHIN, ANSWER_WITHIN, MOST = 5.0, 15.0, 64 * 1024
"""Seconds for each piece of an answer, and for the whole of it; bytes of it that are read."""
NO = (403, 409, 412, 422)


class HttpWebhooks:
    """Asks each question in a thread of its own, so that nobody who drives waits for an answer."""

    def __init__(self) -> None:
        self._answers: dict[str, Word | str | None] = {}

    def answer(self, url: str, question: Question) -> Word | str | None:
        """See the port."""
        key = json.dumps([url, question], sort_keys=True)
        if key not in self._answers:
            self._answers = {key: None}
            threading.Thread(target=self._ask, args=(key, url, question), daemon=True).start()
        found = self._answers[key]
        if found is not None:
            del self._answers[key]  # the next question is a new one
        return found

    def _ask(self, key: str, url: str, question: Question) -> None:
        answer = asked(url, question)
        if key in self._answers:
            self._answers[key] = answer


def asked(url: str, question: Question) -> Word | str:
    """Ask once; what is no clear yes or no is said in words.

    2xx is a yes, unless its JSON says `"verdict": "no"`; 403, 409, 412 and 422 are a no, with the JSON's `reason`.
    Everything else (redirects are not followed) means that nobody knows.
    """
    who = httpx.URL(url).host
    try:
        with httpx.stream("POST", url, json=question, timeout=READ_WITHIN, follow_redirects=False) as answer:
            body = _body(answer)
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        return f"{who} does not answer ({type(error).__name__})"
    if body is None:
        return f"{who} answers more than {MOST // 1024} KiB, or for more than {ANSWER_WITHIN:.0f} s"
    said = _said(body)
    reason = str(said.get("reason", ""))[:200]
    if answer.status_code in NO or (answer.is_success and str(said.get("verdict", "")).lower() == "no"):
        return Word(False, who, reason or f"status {answer.status_code}")
    if answer.is_success:
        return Word(True, who, reason)
    return f"{who} answers with status {answer.status_code}, which is neither yes nor no"


def _body(answer: httpx.Response) -> bytes | None:
    """What it says; None where that is too much, or takes too long."""
    body, until = b"", clock.now() + ANSWER_WITHIN
    for piece in answer.iter_bytes(8192):
        body += piece
        if len(body) > MOST or clock.now() > until:
            return None
    return body


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
