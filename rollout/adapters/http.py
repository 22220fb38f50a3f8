"""HTTP, where nothing more special speaks it: one bounded question, and a client of a server of our own."""

import logging
from typing import Any

import httpx

from rollout.adapters import clock
from rollout.core.address import host_of
from rollout.core.errors import Unavailable

READ_WITHIN, ANSWER_WITHIN, MOST = 5.0, 15.0, 64 * 1024
"""Seconds for each piece of an answer, and for the whole of it; bytes of it that are read."""
HttpError = httpx.HTTPError
logging.getLogger("httpx").setLevel(logging.WARNING)  # below that it tells whole URLs
logging.getLogger("httpcore").setLevel(logging.WARNING)


def client(url: str, timeout: float) -> httpx.Client:
    """A client of one server; its calls raise `HttpError`."""
    return httpx.Client(base_url=url, timeout=timeout)


def posted(url: str, document: dict[str, Any]) -> tuple[int, bytes]:
    """The status and the body that a server answers to a JSON document; redirects are not followed.

    Raises `Unavailable` without an answer, and where it is larger than MOST, or takes too long.
    """
    who = host_of(url)
    try:
        with httpx.stream("POST", url, json=document, timeout=READ_WITHIN, follow_redirects=False) as answer:
            return answer.status_code, _body(answer, who)
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError) as error:
        raise Unavailable(f"{who} does not answer ({type(error).__name__})") from error


def _body(answer: httpx.Response, who: str) -> bytes:
    body, until = b"", clock.now() + ANSWER_WITHIN
    for piece in answer.iter_bytes(8192):
        body += piece
        if len(body) > MOST or clock.now() > until:
            raise Unavailable(f"{who} answers more than {MOST // 1024} KiB, or for more than {ANSWER_WITHIN:.0f} s")
    return body
