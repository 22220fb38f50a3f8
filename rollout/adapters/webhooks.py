"""Questions to webhooks: asked in the background, and never believed without a yes."""

import json
import threading
from typing import Any

from rollout.adapters.http import posted
from rollout.core.address import host_of
from rollout.core.attempt import Word
from rollout.core.errors import Unavailable
from rollout.ports import Question

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
    Everything else means that nobody knows.
    """
    who = host_of(url)
    try:
        status, body = posted(url, dict(question))
    except Unavailable as error:
        return str(error)
    said, good = _said(body), status // 100 == 2
    reason = str(said.get("reason", ""))[:200]
    if status in NO or (good and str(said.get("verdict", "")).lower() == "no"):
        return Word(False, who, reason or f"status {status}")
    if good:
        return Word(True, who, reason)
    return f"{who} answers with status {status}, which is neither yes nor no"


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
