"""The server's administrator with connections that stay open, so that two hundred services are released at once."""

import http.client
import json
import ssl
import threading
from typing import Any

from tests.real.servers import ADMIN, _blind


class Client:
    """Calls as those of the test's server. Safe for threads: each has a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port, self._own = port, threading.local()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask once more where a connection that was open is so no longer. Raises `RuntimeError` when refused."""
        try:
            return self._call(method, path, body)
        except (http.client.HTTPException, ConnectionError, ssl.SSLError):
            self._own.connection = None
            return self._call(method, path, body)

    def _call(self, method: str, path: str, body: Any) -> Any:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=30, context=_blind())
            self._own.connection = connection
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": kind}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300].decode()}")
        return json.loads(text)
