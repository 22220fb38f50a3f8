"""Questions to Prometheus as forms, and answers that are read whole at once and end: after a time, and a size."""

import http.client
import io
import socket
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote_plus

from requests import PreparedRequest, Request, RequestException, Response, Session
from requests.adapters import HTTPAdapter
from requests.utils import get_netrc_auth

from rollout.adapters import clock

__all__ = ["Bounded", "Forms", "RequestException", "TooLong"]

WITHIN, MOST = 5.0, 32_000_000
"""Seconds from a question that was sent to the end of its answer, and bytes of that: 200 proxies' counters, 500 times.
"""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class TooLong(RequestException):
    """An answer of more than MOST bytes, which nobody reads further."""


class Forms(Session):
    """Posts as a form what the library puts into the URL, where proxies take a few kilobytes: some ten services.

    What the environment says of a URL's proxies, certificates and password is read once, and what all queries to one
    address have alike is made once, not with every query: that took half of its time.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        found = self.merge_environment_settings(url, {}, None, None, None)
        self.proxies, self.verify, self.auth = found["proxies"], found["verify"], get_netrc_auth(url)
        self.trust_env = False
        self._prepared: dict[str, PreparedRequest] = {}
        for prefix in ("http://", "https://"):  # wherever a redirect leads
            self.mount(prefix, Bounded())

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> Response:
        """See the library `requests`. A form may be text that is encoded already."""
        if method != "POST":
            return super().request(method, url, *args, **options)
        asked, timeout = self._like(url).copy(), options["timeout"]
        form = options.get("params") or options["data"]
        asked.prepare_body(form if isinstance(form, str) else _encoded(form), None)
        answer: Response = self.get_adapter(url).send(
            asked, timeout=timeout, verify=self.verify, cert=self.cert, proxies=self.proxies
        )
        if answer.is_redirect:
            return super().request(method, url, data=asked.body, headers=FORM, timeout=timeout)
        return answer

    def _like(self, url: str) -> PreparedRequest:
        """A query to that address, but for what it asks."""
        if url not in self._prepared:
            self._prepared[url] = self.prepare_request(Request("POST", url, FORM))
        return self._prepared[url]


def _encoded(form: Mapping[str, object]) -> str:
    quoted = {key: (_quoted if key == "query" else quote_plus)(str(value)) for key, value in form.items()}
    return "&".join(f"{key}={value}" for key, value in quoted.items())


@lru_cache(maxsize=512)
def _quoted(query: str) -> str:
    """The same queries are asked again and again, of other times."""
    return quote_plus(query)


class Bounded(HTTPAdapter):
    """Asks as the adapter of `requests` does, which would wait for as long as a byte comes now and then.

    It serves one session, whose proxies and certificates stay.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pools: dict[Any, Any] = {}

    def get_connection_with_tls_context(self, request: PreparedRequest, *args: Any, **options: Any) -> Any:
        """See the library."""
        if request.url not in self._pools:
            pool = super().get_connection_with_tls_context(request, *args, **options)
            pool.ConnectionCls = _timed(pool.ConnectionCls)
            self._pools[request.url] = pool
        return self._pools[request.url]

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """See the library. Raises `TooLong`."""
        answer: Response = super().send(request, *args, **options | {"stream": True})
        body = bytearray()
        try:
            for piece in answer.iter_content(65536):
                body += piece
                if len(body) > MOST:
                    raise TooLong(f"more than {MOST // 1_000_000} MB")
        finally:
            answer.close()
        answer._content = bytes(body)  # noqa: SLF001 - where the library keeps what was read
        return answer


class _Answer(http.client.HTTPResponse):
    """One that is read, headers and all, until a moment that does not move."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp: Any = io.BufferedReader(_Until(self.fp.detach(), sock, clock.now() + WITHIN))


class _Until(io.RawIOBase):
    def __init__(self, raw: Any, sock: socket.socket, until: float) -> None:
        self._raw, self._sock, self._until = raw, sock, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - clock.now()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        found: int | None = self._raw.readinto(buffer)
        return found

    def close(self) -> None:
        self._raw.close()
        super().close()


@cache
def _timed(kind: type) -> type:
    """The same connection, whose answers are such."""
    return (
        kind
        if getattr(kind, "response_class", None) is _Answer
        else type("Timed", (kind,), {"response_class": _Answer})
    )
