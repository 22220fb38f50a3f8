"""A sidecar that a real Prometheus can scrape: Istio's counters, growing by given rows with every scrape."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.fakes.serving import serving

USUAL = {
    "reporter": "source",
    "destination_service": "reviews.shop.svc.cluster.local",
    "destination_version": "v1",
    "response_code": "200",
    "response_flags": "-",
    "grpc_response_status": "",
}
DURATION = "istio_request_duration_milliseconds"
Row = tuple[dict[str, str], int]
"""What differs from the usual labels, and the requests between two scrapes."""


def histogram(labels: dict[str, str], counts: dict[str, int]) -> list[Row]:
    """The buckets of one histogram, by how their edges are written."""
    return [(labels | {"le": edge}, count) for edge, count in counts.items()]


@contextmanager
def exporting(rows: Sequence[Row], buckets: Sequence[Row] = ()) -> Iterator[str]:
    """Serve the counters, and buckets of histograms, at an address of loopback.

    The buckets are not said to be a histogram's, because Prometheus would then write their edges in its own way.
    """
    scrapes = 0

    class Exporter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal scrapes
            scrapes += 1
            lines = ["# TYPE istio_requests_total counter"]
            lines += [f"istio_requests_total{{{_labels(USUAL | row)}}} {n * scrapes}" for row, n in rows]
            lines += [f"{DURATION}_bucket{{{_labels(USUAL | row)}}} {n * scrapes}" for row, n in buckets]
            body = ("\n".join(lines) + "\n").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

    with serving(Exporter) as here:
        yield here.removeprefix("http://")


def _labels(row: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in row.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
