"""The users as a process: an open loop of requests through the gateway, and an account of each second."""

import argparse
import asyncio
import json
import time
from collections import Counter
from pathlib import Path

from rollout.playground.http import Answer, Client

SLOTS = 50
"""Requests go out in so many bursts a second."""
MOST_WAITING = 250
"""Requests that may wait for an answer at once."""


class Users:
    """Send `rps` requests a second whether or not answers come, up to MOST_WAITING of them at once.

    What cannot be sent in time, or would only pile up in front of a machine that is too slow, is left out: it shows
    as fewer requests sent than wanted, never as failures of a version.
    """

    def __init__(self, port: int, rps: int, log: Path) -> None:
        self._client, self._rps, self._log = Client(port), rps, log
        self._sent = self._answered = self._waiting = 0
        self._failed: Counter[str] = Counter()
        self._first = 0.0

    async def run(self) -> None:
        """Send for ever, and write an account each second."""
        begun, sent = time.time(), 0
        while True:
            await asyncio.sleep(1 / SLOTS)
            now = time.time()
            if now - begun >= 1:
                self._account(now)
                behind = int(self._rps) - sent if now - begun < 2 else 0  # a slot that was missed, not a second
                begun, sent = begun + 1 if now - begun < 2 else now, -behind
            due = int(min(1.0, now - begun) * self._rps)
            for _ in range(min(due - sent, MOST_WAITING - self._waiting)):
                self._sent += 1
                self._waiting += 1
                self._client.get("productpage", "/productpage", self._done)
            sent = max(sent, due)

    def _done(self, answer: Answer) -> None:
        self._answered += 1
        self._waiting -= 1
        if answer.status != 200:
            self._first = self._first or time.time()
            flags = answer.headers.get("x-envoy-flags", "")
            self._failed[f"{answer.status}|{flags}|{answer.headers.get('x-version', '')}"] += 1

    def _account(self, now: float) -> None:
        line = {
            "at": now,
            "sent": self._sent,
            "answered": self._answered,
            "failed": dict(self._failed),
            "first_failed_at": self._first,
            "wanted": self._rps,
        }
        with self._log.open("a") as log:
            log.write(json.dumps(line) + "\n")
        self._sent = self._answered = 0
        self._failed.clear()
        self._first = 0.0


def main() -> None:
    """Read the arguments and send."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rps", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    o = parser.parse_args()
    asyncio.run(Users(o.port, o.rps, o.log).run())


if __name__ == "__main__":
    main()
