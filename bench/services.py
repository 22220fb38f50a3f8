"""What it costs to look at many services at once: `python -m bench.services [SERVICES] [CLIENTS]`.

A real Prometheus scrapes so many clients, each of which reports every service; then one look at all of them is taken,
again and again: two queries, the difference of every client's counters, and the judge with all checks.
"""

import sys
import tempfile
import time
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

from rollout.adapters.prometheus import PrometheusMetrics
from rollout.adapters.strategy_files import load
from rollout.judge.judge import Evidence, Terms, judged
from rollout.judge.looks import difference, grid_time
from rollout.ports import Target
from tests.fakes.exporter import Row, exporting, histogram
from tests.real.servers import Prometheus

EDGES = (50.0, 100.0, 250.0)
LOOK, LOOKS = 5.0, 4
CHECKS = load("canary").checks


def rows(services: int) -> tuple[list[Row], list[Row]]:
    """What one client counts: both versions of each service, answers and failures."""
    counters: list[Row] = []
    buckets: list[Row] = []
    for i in range(services):
        for version, requests in (("v1", 95), ("v2", 5)):
            labels = {"destination_service": f"s{i}.shop.svc.cluster.local", "destination_version": version}
            counters += [(labels, requests), (labels | {"response_code": "503"}, 1)]
            counts = {"50": requests // 2, "100": requests - 5, "250": requests - 1, "+Inf": requests}
            buckets += histogram(labels, counts)
    return counters, buckets


def main(services: int, clients: int) -> None:
    """Print the share of a core that looking every LOOK seconds takes."""
    counters, buckets = rows(services)
    targets = [Target(f"s{i}.shop.svc.cluster.local", "shop", (), "v1", "v2") for i in range(services)]
    asked: dict[Target, tuple[float, ...] | None] = dict.fromkeys(targets, EDGES)
    with ExitStack() as stack:
        ports = [stack.enter_context(exporting(counters, buckets)) for _ in range(clients)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prometheus = Prometheus(folder, [f"127.0.0.1:{port}" for port in ports], interval=LOOK)
        stack.callback(prometheus.stop)
        metrics = PrometheusMetrics(prometheus.url)
        time.sleep(8 * LOOK)
        evidence = dict.fromkeys(targets, Evidence(edges=EDGES))
        spent, waited = 0.0, time.monotonic()
        for _ in range(LOOKS):
            time.sleep(LOOK)
            before = time.thread_time()
            end = grid_time(metrics.horizon(targets[0]) or 0.0, LOOK)
            for target, (first, last) in metrics.snapshots_of(asked, end - LOOK, end, LOOK).items():
                look = difference(first, last, "v1", "v2")
                terms = Terms(CHECKS, Decimal(5), end - 10 * LOOK, 0.02)
                evidence[target] = judged(evidence[target], look, terms)
            spent += time.thread_time() - before
        waited = time.monotonic() - waited
        assert all(one.counts.canary.requests for one in evidence.values())
    share = spent / LOOKS / LOOK
    print(
        f"{services} services with {clients} clients each: {spent / LOOKS:.2f} s of CPU a look of all, "
        f"{100 * share:.0f} % of a core at a look each {LOOK:g} s (2 queries; {waited / LOOKS:.1f} s of wall a look)"
    )


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    main(*(numbers or [200, 30]))
