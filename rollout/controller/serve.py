"""Run one controller until somebody asks it to end, or until it has drained what is in flight."""

import logging
import signal
import sys
import threading
from dataclasses import dataclass, replace

from rollout import wiring
from rollout.adapters import clock
from rollout.controller.controller import Controller, Settings
from rollout.controller.counting import Counted
from rollout.controller.draining import drain
from rollout.controller.telemetry import Server, Telemetry
from rollout.core.errors import InvalidInput
from rollout.ports import Cluster

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Options:
    """Where the cluster and its metrics are, and the port of the HTTP server."""

    context: str
    prometheus: str
    port: int


def serve(options: Options, settings: Settings) -> None:
    """Run until SIGTERM or SIGINT: what is under way is finished, and the next may lead at once.

    Raises `InvalidInput` where the port is taken, or no Prometheus is named.
    """
    over, telemetry = _asked_to_end(), Telemetry()
    controller, _ = _controller(options, settings, telemetry)
    try:
        server = Server(controller, telemetry, options.port, clock.now)
    except OSError as error:
        raise InvalidInput(
            f"cannot listen on port {options.port}: {error.strerror}; name another with --port"
        ) from None
    controller.start()
    over.wait()
    logging.getLogger("rollout").info("asked to end: finishing what is under way")
    controller.stop()
    server.stop()


def drained(options: Options, settings: Settings, seconds: float) -> list[str]:
    """Take back whatever is in flight; returns, in words, what is left of it after so many seconds, or at a signal.

    Raises `InvalidInput` where no Prometheus is named.
    """
    over = _asked_to_end()
    controller, cluster = _controller(options, replace(settings, drains=True), Telemetry())
    return drain(controller, cluster, seconds, over)


def _asked_to_end() -> threading.Event:
    """Set by a signal."""
    over = threading.Event()
    for one in SIGNALS:
        signal.signal(one, lambda *_: over.set())
    return over


def _controller(options: Options, settings: Settings, telemetry: Telemetry) -> tuple[Controller, Cluster]:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    cluster, metrics = wiring.watched_world(options.context or None, options.prometheus or None)
    counted = Counted(cluster, telemetry.requested)
    hooks = wiring.hooks()
    return Controller(counted, metrics, *hooks, settings, wiring.identity(), telemetry), counted
