"""HTTP, where nothing more special speaks it: one bounded question, and a client of a server of our own."""

import logging
import ssl
from collections.abc import Mapping
from functools import cache
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


def fetched(method: str, url: str, headers: Mapping[str, str], patience: float) -> tuple[int, Mapping[str, str], bytes]:
    """The status, the headers (by lower-case names) and the first MOST bytes of an answer.

    Straight to the host that the URL names, by no proxy of the environment; redirects are not followed. Raises
    `Late` where it was asked and does not answer within `patience` seconds, `Unavailable` where it was not asked.
    """
    who, until = host_of(url), clock.now() + patience
    limits = httpx.Timeout(patience, connect=min(patience, READ_WITHIN))
    try:
        with (
            httpx.Client(timeout=limits, verify=_trusted(), trust_env=False, follow_redirects=False) as one,
            one.stream(method, url, headers=dict(headers)) as answer,
        ):
            body = b""
            for piece in answer.iter_bytes(8192):
                body += piece
                if clock.now() > until:
                    raise Late(f"{who} does not answer within {patience:.0f} s")
                if len(body) >= MOST:
                    break
            return answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, body[:MOST]
    except httpx.ReadTimeout as error:
        raise Late(f"{who} does not answer within {patience:.0f} s") from error
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise Unavailable(f"{who} does not answer ({type(error).__name__})") from error


@cache
def _trusted() -> ssl.SSLContext:
    """Whose certificates are believed: read once, for that takes a tenth of a second."""
    return httpx.create_ssl_context()


class Late(Exception):
    """A question was taken, and no answer came in time."""


def _body(answer: httpx.Response, who: str) -> bytes:
    body, until = b"", clock.now() + ANSWER_WITHIN
    for piece in answer.iter_bytes(8192):
        body += piece
        if len(body) > MOST or clock.now() > until:
            raise Unavailable(f"{who} answers more than {MOST // 1024} KiB, or for more than {ANSWER_WITHIN:.0f} s")
    return body
