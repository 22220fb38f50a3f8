"""Run one controller until somebody asks it to end."""

import logging
import signal
import sys
import threading
from dataclasses import dataclass

from rollout import wiring
from rollout.adapters import clock
from rollout.controller.controller import Controller, Settings
from rollout.controller.counting import Counted
from rollout.controller.telemetry import Server, Telemetry
from rollout.core.errors import InvalidInput

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
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    over = threading.Event()
    for one in SIGNALS:
        signal.signal(one, lambda *_: over.set())
    cluster, metrics = wiring.watched_world(options.context or None, options.prometheus or None)
    telemetry = Telemetry()
    controller = Controller(
        Counted(cluster, telemetry.requested), metrics, *wiring.hooks(), settings, wiring.identity(), telemetry
    )
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
