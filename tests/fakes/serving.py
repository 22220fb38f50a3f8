"""A server of a test's own on loopback, for as long as it is needed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer as `handler` does, and quietly; gives the URL, without a path."""
    quiet = type(handler.__name__, (handler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()  # looks so often for its end
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
