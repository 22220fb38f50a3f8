"""Webhooks by their addresses: a Secret is read when a question begins, and whatever fails is an answer in words."""

import base64
import json
from collections.abc import Callable
from typing import Any, TypeVar

from rollout.core.address import SecretKey, Url, host_of
from rollout.core.attempt import Attempt, Word
from rollout.core.documents import SECRET
from rollout.core.errors import InvalidInput, NotFound, RolloutError
from rollout.ports import Cluster, Question, Webhooks


def opened(cluster: Cluster, namespace: str, where: SecretKey) -> str:
    """The URL that a Secret keeps, for nobody's eyes.

    Raises `InvalidInput` where there is none, `Forbidden` and `Unavailable`; none of them says what was read.
    """
    try:
        secret = cluster.get(SECRET, namespace, where.secret)
    except NotFound:
        raise InvalidInput(f"there is no Secret {where.secret} in namespace {namespace}; create it, with the URL under "
                           f"the key {where.key}") from None  # fmt: skip
    plain, coded = ((secret.get(part) or {}).get(where.key) for part in ("stringData", "data"))
    try:
        url = str(plain) if plain is not None else base64.b64decode(str(coded or ""), validate=True).decode()
    except ValueError:
        raise InvalidInput(f"{where} in namespace {namespace} is not text in base64") from None
    if plain is None and coded is None:
        raise InvalidInput(f"Secret {where.secret} in namespace {namespace} has no key {where.key}")
    if not host_of(url.strip()):
        raise InvalidInput(f"{where} in namespace {namespace} holds no URL; it must be like https://gate.example/ask")
    return url.strip()


Posted = TypeVar("Posted")
Answer = TypeVar("Answer")
MOST = 64
"""Questions under way at most whose URLs are remembered; a URL that is not is read again."""


class Asker:
    """The webhooks of one service's engine, a gate's and checks'."""

    def __init__(self, cluster: Cluster, webhooks: Webhooks, namespace: str) -> None:
        self._cluster, self._webhooks, self._namespace = cluster, webhooks, namespace
        self._under_way: dict[str, str] = {}
        """URLs out of Secrets, of questions that wait for their answers."""

    def answer(self, url: Url, question: Question) -> Word | str | None:
        """See the port. Where the URL itself cannot be had, that is told in words."""
        return self._through(url, question, self._webhooks.answer)

    def deliver(self, url: Url, message: dict[str, Any]) -> str | None:
        """See the port, and above."""
        return self._through(url, message, self._webhooks.deliver)

    def _through(
        self, url: Url, document: dict[str, Posted], ask: Callable[[str, dict[str, Posted]], Answer | None]
    ) -> Answer | str | None:
        if isinstance(url, str):
            return ask(url, document)
        key = json.dumps([str(url), document], sort_keys=True)
        try:
            clear = self._under_way.pop(key, "") or opened(self._cluster, self._namespace, url)
        except RolloutError as error:
            return str(error)
        said = ask(clear, document)
        if said is None:
            while len(self._under_way) >= MOST:
                del self._under_way[next(iter(self._under_way))]
            self._under_way[key] = clear
        return said


def question(a: Attempt, asked: int) -> Question:
    """What a webhook is asked about an attempt, for the `asked`-th time after the first."""
    return {
        "service": a.service, "namespace": a.namespace, "stable": a.stable, "canary": a.canary,
        "weight": str(a.weight), "attempt": a.id, "asked": str(asked),
    }  # fmt: skip
