"""One API server, one metrics server, one controller, and what they have used and asked."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.controller.audit import Asked, Audit
from bench.controller.candidate import NAMESPACE, NETWORKING, Candidate, Phase, Plan
from bench.controller.metrics import Metrics
from bench.controller.process import Usage, usage
from bench.controller.readiness import Readiness
from bench.controller.watching import Watching, canary_weight
from tests.real.servers import ApiServer

EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["get"]}]
SETTLING, CALM = 600.0, 8.0
AGED = 65.0
"""Seconds after which all proxies know a DestinationRule: between two releases none is younger."""


@dataclass(frozen=True)
class Window:
    """What happened between two moments: seconds, CPU, and what was asked of the API and of the metrics."""

    seconds: float
    cpu: float
    api_cpu: float
    usage: Usage
    asked: Asked
    queries: int


class Stage:
    """Where a controller is measured, over services app0, app1 and so on."""

    def __init__(
        self,
        folder: Path,
        make: Callable[[ApiServer, str, Plan, bool], Candidate],
        plan: Plan,
        count: int,
        raised: bool,
    ) -> None:
        self.audit, self.metrics = Audit(folder), Metrics(plan.interval)
        self.server = ApiServer(folder, ("ours", "flagger", "argo"), self.audit.options)
        self.server.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        self.candidate = make(self.server, self.metrics.url, plan, raised)
        self.services = [f"app{i}" for i in range(count)]
        self.plan = plan
        self.server.grant(self.candidate.name, EVERYTHING)
        for one in self.candidate.definitions():
            self.server.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", one)
        time.sleep(3.0 if self.candidate.definitions() else 0.0)  # until they are served
        self.weights = Watching(
            self.server, f"{NETWORKING}/virtualservices", canary_weight, self.metrics.traffic.weighs
        )
        self.phases = Watching(self.server, self.candidate.objects, self.candidate.phase)
        self._readiness = Readiness(self.server)
        self.idle = 0.0
        """Seconds of CPU a second that the API server uses while nobody asks it for anything."""

    def settle(self) -> None:
        """Have all objects as they are between two rollouts, know what an idle API server uses, and start afresh."""
        self.candidate.prepare()
        self.candidate.start()
        self.candidate.create(self.services)
        created = time.monotonic()
        self.until(Phase.IDLE, SETTLING)
        time.sleep(CALM)
        self.candidate.kill()
        time.sleep(2.0)
        self.idle = min(self._share(10.0) for _ in range(3))  # what was there to tidy up is no idleness
        self.candidate.start()
        time.sleep(max(CALM + 0.05 * len(self.services), created + AGED - time.monotonic()))

    def _share(self, seconds: float) -> float:
        """Of a core, which the API server takes now."""
        began = usage(self.server.pid)
        time.sleep(seconds)
        return (usage(self.server.pid).cpu - began.cpu) / seconds

    def until(self, phase: Phase, within: float, services: list[str] | None = None) -> None:
        """Wait until all stand so. Raises `TimeoutError`."""
        names = self.services if services is None else services
        if not self.phases.until(names, lambda now: now is phase, within):
            now = [str(self.phases.now(name)) for name in names]
            raise TimeoutError(f"not all are {phase} after {within:g} s: { {one: now.count(one) for one in now} }")

    def until_weight(self, weight: int, services: list[str], within: float) -> None:
        """Wait until all have had this weight. Raises `TimeoutError`."""
        end = time.monotonic() + within
        while not all(any(value == weight for _, value in self.weights.seen[name]) for name in services):
            if time.monotonic() > end:
                raise TimeoutError(f"not all have {weight} % after {within:g} s")
            time.sleep(0.05)

    @contextmanager
    def window(self) -> Iterator[list[Window]]:
        """What happens within, known at its end."""
        found: list[Window] = []
        mark, began = self.audit.mark(), time.monotonic()
        ours, api, queries = usage(self.candidate.pid), usage(self.server.pid), sum(self.metrics.asked.values())
        yield found
        seconds, after = time.monotonic() - began, usage(self.candidate.pid)
        api_cpu = usage(self.server.pid).cpu - api.cpu - self.idle * seconds
        time.sleep(0.5)  # for the log
        asked = self.audit.asked(self.candidate.name, mark)
        count = sum(self.metrics.asked.values()) - queries
        found.append(Window(seconds, after.cpu - ours.cpu, api_cpu, after, asked, count))

    def path(self, service: str, since: float) -> list[tuple[float, int]]:
        """The weights of a service after a moment, in seconds from it."""
        return [(at - since, value) for at, value in self.weights.seen[service] if at >= since]

    def close(self) -> None:
        """End all that we began."""
        self.candidate.kill()
        for one in (self.weights, self.phases, self._readiness):
            one.close()
        self.metrics.close()
        self.server.down()


def spread(values: list[float]) -> dict[str, float] | None:
    """The least, the median and the most."""
    if not values:
        return None
    return {
        "n": len(values), "min": round(min(values), 3), "median": round(statistics.median(values), 3),
        "max": round(max(values), 3),
    }  # fmt: skip


def told(window: Window) -> dict[str, Any]:
    """A window as numbers."""
    return {
        "seconds": round(window.seconds, 1), "cpu": round(window.cpu, 2), "api_cpu": round(window.api_cpu, 2),
        "rss": round(window.usage.rss, 1), "rss_peak": round(window.usage.peak, 1), "queries": window.queries,
        **asdict(window.asked),
    }  # fmt: skip
