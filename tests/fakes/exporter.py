"""A sidecar that a real Prometheus can scrape: Istio's request counter, growing by given rows with every scrape."""

import http.server
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

USUAL = {
    "reporter": "source",
    "destination_service": "reviews.shop.svc.cluster.local",
    "destination_version": "v1",
    "response_code": "200",
    "response_flags": "-",
    "grpc_response_status": "",
}
Row = tuple[dict[str, str], int]
"""What differs from the usual labels, and the requests between two scrapes."""


@contextmanager
def exporting(rows: Sequence[Row]) -> Iterator[int]:
    """Serve the counters on a port of loopback."""
    scrapes = 0

    class Exporter(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal scrapes
            scrapes += 1
            lines = [f"istio_requests_total{{{_labels(USUAL | row)}}} {n * scrapes}" for row, n in rows]
            body = ("# TYPE istio_requests_total counter\n" + "\n".join(lines) + "\n").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def _labels(row: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in row.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
