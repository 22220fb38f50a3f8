"""Questions to Prometheus as forms, and answers that are read whole at once and end: after a time, and a size."""

import http.client
import io
import socket
from functools import cache
from typing import Any

from requests import PreparedRequest, Request, RequestException, Response, Session
from requests.adapters import HTTPAdapter
from requests.utils import get_netrc_auth

from rollout.adapters import clock

__all__ = ["Bounded", "Forms", "RequestException", "TooLong"]

WITHIN, MOST = 5.0, 32_000_000
"""Seconds from a question that was sent to the end of its answer, and bytes of that: 200 proxies' counters, 500 times.
"""


class TooLong(RequestException):
    """An answer of more than MOST bytes, which nobody reads further."""


class Forms(Session):
    """Posts as a form what the library puts into the URL, where proxies take a few kilobytes: some ten services.

    What the environment says of a URL's proxies, certificates and password is read once, not with every query: that
    took a fifth of its time.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        found = self.merge_environment_settings(url, {}, None, None, None)
        self.proxies, self.verify, self.auth = found["proxies"], found["verify"], get_netrc_auth(url)
        self.trust_env = False
        for prefix in ("http://", "https://"):  # wherever a redirect leads
            self.mount(prefix, Bounded())

    def prepare_request(self, request: Request) -> PreparedRequest:
        """See the library `requests`."""
        if request.method == "POST" and request.params:
            request.data, request.params = request.params, {}
        return super().prepare_request(request)


class Bounded(HTTPAdapter):
    """Asks as the adapter of `requests` does, which would wait for as long as a byte comes now and then."""

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """See the library."""
        pool = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = _timed(pool.ConnectionCls)
        return pool

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
