"""One sample service as a process: answers, calls the next one, and does harm when its control file says so."""

import argparse
import asyncio
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

from rollout.playground.http import Answer, Client, Respond, Server

CONTROL_EVERY = 0.05
DISPENSABLE = {"ratings": 0.5}
"""Whom a page can do without, and how many seconds it waits for them before it does."""
SPREAD = 0.7
"""Of the logarithm of the time that an answer takes: one of a hundred takes five times as long as most do."""
PASSED_ON = ("x-version", "x-envoy-flags", "x-service")


@dataclass(frozen=True)
class Orders:
    """What a control file says: answer a `share` (0 to 1) with `status`, all after `delay` seconds, or `refuse` all.

    A `patient` service waits for all whom it asks as long as it takes, and fails when they do.
    """

    share: float = 0.0
    status: int = 500
    delay: float = 0.0
    refuse: bool = False
    patient: bool = False


class Service:
    """A service of Bookinfo's shape. `calls` is the host that it asks before it answers, through Envoy.

    Half of its answers take longer than `takes` seconds. Where that is little, what is measured is the machine.
    """

    def __init__(self, version: str, calls: str, takes: float, proxy: int, control: Path) -> None:
        self._version, self._calls, self._takes, self._control = version, calls, takes, control
        self._client = Client(proxy)
        self._orders = Orders()
        self.open: set[Server] = set()

    def handle(self, path: str, respond: Respond) -> None:
        """Answer one request after its time, and later where that is ordered."""
        usual = random.lognormvariate(math.log(self._takes), SPREAD) if self._takes else 0.0
        if delay := usual + self._orders.delay:
            asyncio.get_running_loop().call_later(delay, self._answer, path, respond)
        else:
            self._answer(path, respond)

    def _answer(self, path: str, respond: Respond) -> None:
        if random.random() < self._orders.share:  # noqa: S311 - dice, not secrets
            respond(self._orders.status, {"x-version": self._version})
        elif self._calls:
            within = 0.0 if self._orders.patient else DISPENSABLE.get(self._calls, 0.0)
            self._client.get(self._calls, path, lambda answer: self._pass_on(answer, within > 0, respond), within)
        else:
            respond(200, {"x-version": self._version})

    def _pass_on(self, answer: Answer, dispensable: bool, respond: Respond) -> None:
        if answer.status == 200 or dispensable:
            respond(200, {"x-version": self._version})
        else:
            kept = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
            respond(answer.status or 502, kept)

    async def run(self, port: int) -> None:
        """Serve for ever; while the control file says `refuse`, take no connection."""
        loop, server, seen = asyncio.get_running_loop(), None, 0
        while True:
            stamp = self._control.stat().st_mtime_ns if self._control.exists() else 0
            if stamp != seen or (server is None and not stamp):
                seen = stamp
                self._orders = Orders(**json.loads(self._control.read_text())) if stamp else Orders()
                if self._orders.refuse:
                    self._refuse(server)
                    server = None
                elif server is None:
                    server = await loop.create_server(
                        lambda: Server(self.handle, self.open), "127.0.0.1", port, backlog=4096
                    )
            await asyncio.sleep(CONTROL_EVERY)

    def _refuse(self, server: asyncio.Server | None) -> None:
        if server:
            server.close()
        for connection in list(self.open):
            if connection.transport:
                connection.transport.abort()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--calls", default="")
    parser.add_argument("--takes", type=float, default=0.0)
    parser.add_argument("--proxy", type=int, default=0)
    parser.add_argument("--control", type=Path, required=True)
    o = parser.parse_args()
    asyncio.run(Service(o.version, o.calls, o.takes, o.proxy, o.control).run(o.port))


if __name__ == "__main__":
    main()
