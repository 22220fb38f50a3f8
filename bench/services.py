"""What it costs to look at many services at once: `python -m bench.services [SERVICES] [CLIENTS]`.

A real Prometheus scrapes so many clients, each of which reports every service; then one look at all of them is taken,
again and again: the horizon and two queries, the difference of every client's counters, and the judge with all checks,
who remembers enough to leave no bet out. What the Prometheus and the clients spend is not counted.
"""

import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from rollout.adapters.prometheus import PrometheusMetrics
from rollout.adapters.strategy_files import load
from rollout.judge.judge import Evidence, Terms, judged, read
from rollout.judge.looks import Look, difference, grid_time
from rollout.ports import Target
from rollout.wiring import prometheus_at
from tests.fakes.exporter import Row, exporting, histogram
from tests.real.servers import Prometheus

EDGES = (50.0, 100.0, 250.0)
LOOK, LOOKS, PAST = 5.0, 6, 30
CHECKS = load("canary").checks
T = TypeVar("T")


def rows(services: int) -> tuple[list[Row], list[Row]]:
    """What one client counts: both versions of each service, answers, failures and rejections."""
    counters: list[Row] = []
    buckets: list[Row] = []
    for i in range(services):
        for version, requests in (("v1", 95), ("v2", 5)):
            labels = {"destination_service": f"s{i}.shop.svc.cluster.local", "destination_version": version}
            counters += [
                (labels | {"response_code": code}, n) for code, n in (("200", requests), ("503", 1), ("404", 1))
            ]
            counts = {"50": requests // 2, "100": requests - 5, "250": requests - 1, "+Inf": requests}
            buckets += histogram(labels, counts)
    return counters, buckets


def remembering(look: Look) -> Evidence:
    """The evidence of a judge who saw stable do the same in PAST looks before, so that its scatter is known."""
    evidence, terms = Evidence(edges=EDGES), Terms(CHECKS, Decimal(0), None, 0.0)
    for i in range(PAST, 0, -1):
        evidence = judged(evidence, replace(look, since=look.since - i * LOOK, at=look.at - i * LOOK), terms)
    return evidence


class Looking:
    """Looks at all services, and what they took: `spent` seconds of CPU by part, `calls` by query, and bytes."""

    def __init__(self, url: str, services: int) -> None:
        metrics = prometheus_at(url)
        assert isinstance(metrics, PrometheusMetrics)
        self._metrics = metrics
        self._forget()
        metrics._prometheus._session.hooks["response"].append(self._count)
        targets = [Target(f"s{i}.shop.svc.cluster.local", "shop", (), "v1", "v2") for i in range(services)]
        self._asked: dict[Target, tuple[float, ...] | None] = dict.fromkeys(targets, EDGES)
        self._evidence = {target: remembering(look) for target, look in self._looks().items()}
        self._since = next(iter(self._evidence.values())).at
        self.look()
        self._forget()

    def _forget(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.sent = self.got = 0
        self.waited = 0.0

    def look(self) -> None:
        """Look at all services once."""
        looks = self._looks()
        self._evidence = self._timed("judge", lambda: {t: self._judged(t, look) for t, look in looks.items()})
        assert all(one.counts.canary.requests for one in self._evidence.values())

    def _looks(self) -> dict[Target, Look]:
        found = self._timed("ask and parse", self._snapshots)
        return self._timed("difference", lambda: {t: difference(a, b, "v1", "v2") for t, (a, b) in found.items()})

    def _snapshots(self) -> Any:
        end = grid_time(self._metrics.horizon(next(iter(self._asked))) or 0.0, LOOK)
        return self._metrics.snapshots_of(self._asked, end - LOOK, end, LOOK)

    def _judged(self, target: Target, look: Look) -> Evidence:
        assert look.at > self._evidence[target].looked_at  # else it would be ignored
        evidence = judged(self._evidence[target], look, Terms(CHECKS, Decimal(5), self._since, 0.02))
        read(evidence, CHECKS, overdue=False)
        return evidence

    def _timed(self, part: str, work: Callable[[], T]) -> T:
        before = time.thread_time()
        result = work()
        self.spent[part] += time.thread_time() - before
        return result

    def _count(self, answer: Any, **_: Any) -> None:
        """A hook of the session's: one query more."""
        request = answer.request
        self.calls[f"{request.method} {request.path_url.split('?')[0].rpartition('/')[2]}"] += 1
        self.sent += len(request.url) + len(request.body or "")
        self.got += len(answer.content)
        self.waited += answer.elapsed.total_seconds()


def main(services: int, clients: int) -> None:
    """Print the share of a core that looking every LOOK seconds takes."""
    counters, buckets = rows(services)
    with ExitStack() as stack:
        ports = [stack.enter_context(exporting(counters, buckets)) for _ in range(clients)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prometheus = Prometheus(folder, [f"127.0.0.1:{port}" for port in ports], interval=LOOK)
        stack.callback(prometheus.stop)
        time.sleep(8 * LOOK)
        looking = Looking(prometheus.url, services)
        for _ in range(LOOKS):
            time.sleep(1.5 * LOOK)
            looking.look()
    each = sum(looking.spent.values()) / LOOKS
    parts = ", ".join(f"{part} {seconds / LOOKS:.2f}" for part, seconds in looking.spent.items())
    shares = ", ".join(f"{100 * each / every:.0f} % of a core at a look each {every:g} s" for every in (LOOK, 3 * LOOK))
    calls = ", ".join(f"{n / LOOKS:g} x {name}" for name, n in looking.calls.items())
    print(f"{services} services with {clients} clients each: {each:.2f} s of CPU a look of all ({parts}): {shares}")
    sent, got = looking.sent / LOOKS / 1e6, looking.got / LOOKS / 1e6
    waited = looking.waited / LOOKS
    print(f"a look of the namespace: {calls}; {sent:.2f} MB out, {got:.1f} MB in (unpacked), after {waited:.1f} s")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    main(*(numbers or [200, 30]))
