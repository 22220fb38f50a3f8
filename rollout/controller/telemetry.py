"""What the controller tells Prometheus of itself, and whether it is alive and ready, over HTTP."""

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from rollout.controller.controller import Controller
from rollout.controller.reconcile import Key
from rollout.core.attempt import Attempt
from rollout.core.documents import Kind
from rollout.core.lifecycle import Phase, Reason
from rollout.engine.status import Trouble

STALE = 120.0
"""Seconds without a sign of life of one of the workers after which the process is better begun anew."""
FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Telemetry:
    """The counters of one controller, and of its requests to the API (see `counted`)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rollout_api_requests", "Requests to the Kubernetes API.", ["verb", "kind"], registry=self.registry
        )
        self._ended = Counter("rollout_attempts", "Attempts that ended.", ["phase", "reason"], registry=self.registry)
        for reason in Reason:  # an increase is seen only of what was there before
            self._ended.labels(Phase.ROLLED_BACK.value, reason.value)
        self._drift = Counter("rollout_drift", "Foreign edits of weights that were put back.", registry=self.registry)
        self._failures = Counter(
            "rollout_failures", "Ticks that failed, by the error.", ["error"], registry=self.registry
        )
        self._work = Histogram("rollout_tick_seconds", "How long one tick took.", buckets=FAST, registry=self.registry)
        self._reaction = Histogram(
            "rollout_reaction_seconds", "From the beginning of the tick that found harm until the traffic was back.",
            buckets=FAST, registry=self.registry,
        )  # fmt: skip

    def requested(self, verb: str, kind: Kind) -> None:
        """One request was sent."""
        self._requests.labels(verb, kind.plural).inc()

    def worked(self, seconds: float) -> None:
        """One tick is over."""
        self._work.observe(seconds)

    def failed(self, error: str) -> None:
        """One tick failed."""
        self._failures.labels(error).inc()

    def changed(self, before: Attempt | None, after: Attempt | None, seconds: float) -> None:
        """An attempt stands otherwise than before, so long after the tick began."""
        if before is None or after is None or before.id != after.id:
            return
        goes_back = after.phase is Phase.ROLLING_BACK and before.phase is not Phase.ROLLING_BACK
        if goes_back and after.reason is Reason.BREACH:  # the others are wishes, deadlines, and what befell the canary
            self._reaction.observe(seconds)
        self._drift.inc(len(set(after.put_back) - set(before.put_back)))
        if after.phase.ended and not before.phase.ended:
            self._ended.labels(after.phase.value, after.reason.value if after.reason else "").inc()


class Standing(Collector):
    """How everything stands at the moment of the question."""

    def __init__(self, controller: Controller, now: Callable[[], float]) -> None:
        self._controller, self._now = controller, now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See the library."""
        c, now = self._controller, self._now()
        yield GaugeMetricFamily("rollout_leader", "Whether this process leads.", float(c.leader.sure(now)))
        yield GaugeMetricFamily("rollout_queue", "How many objects wait to be looked at.", float(len(c.queue)))
        age = GaugeMetricFamily(
            "rollout_watch_age_seconds", "Since when a watch has told nothing, not even that it lives.", labels=["kind"]
        )
        oldest: dict[str, float] = {}
        for scope, health in c.reflectors.health().items():
            oldest[scope.kind.plural] = max(oldest.get(scope.kind.plural, 0.0), now - health.alive)
        for kind, seconds in oldest.items():
            age.add_metric([kind], seconds)
        yield age
        yield _stalled(c.stalled())
        yield from _in_flight(c.reconciler.attempts(), now)


def _stalled(objects: Mapping[Key, Trouble]) -> GaugeMetricFamily:
    found = GaugeMetricFamily(
        "rollout_stalled",
        "1 for each object at which somebody must act, or answer.",
        labels=["namespace", "name", "reason"],
    )
    for key, trouble in objects.items():
        found.add_metric([*key, trouble.reason], 1.0)
    return found


def _in_flight(attempts: dict[tuple[str, str], Attempt], now: float) -> Iterator[GaugeMetricFamily]:
    names = ["namespace", "name", "service"]
    phase = GaugeMetricFamily("rollout_phase", "1 for the phase of what is in flight.", labels=[*names, "phase"])
    weight = GaugeMetricFamily("rollout_weight_percent", "What the canary gets.", labels=names)
    evidence = GaugeMetricFamily(
        "rollout_evidence", "How much of the evidence is there that it takes (0 to 1).", labels=[*names, "to"]
    )
    lag = GaugeMetricFamily("rollout_look_age_seconds", "How old the newest counters are.", labels=names)
    for (namespace, name), a in attempts.items():
        which = [namespace, name, a.service]
        phase.add_metric([*which, a.phase.value], 1.0)
        weight.add_metric(which, float(a.weight))
        if a.last is not None:
            evidence.add_metric([*which, "go on"], a.last.to_go_on)
            evidence.add_metric([*which, "go back"], a.last.to_go_back)
            if a.last.looked_at and not a.phase.ended:
                lag.add_metric(which, max(0.0, now - a.last.looked_at))
    yield from (phase, weight, evidence, lag)


class Server:
    """/metrics, /healthz and /readyz of one controller."""

    def __init__(self, controller: Controller, telemetry: Telemetry, port: int, now: Callable[[], float]) -> None:
        telemetry.registry.register(Standing(controller, now))
        answers: dict[str, Callable[[], tuple[int, bytes]]] = {
            "/metrics": lambda: (200, generate_latest(telemetry.registry)),
            "/healthz": lambda: _said(now() - controller.beat < STALE, "a worker has not looked for work"),
            "/readyz": lambda: _said(controller.ready, "not all that is watched has been listed"),
        }

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answers.get(self.path.partition("?")[0], lambda: (404, b"not found\n"))()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nobody wants to read of each probe."""

        self._server = http.server.ThreadingHTTPServer(("", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()

    def stop(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()


def _said(well: bool, otherwise: str) -> tuple[int, bytes]:
    return (200, b"ok\n") if well else (503, f"{otherwise}\n".encode())
