"""Probes over HTTP: sent in the background at their pace, a bounded number at a time, so that no tick waits for one."""

import threading
from collections import deque
from collections.abc import Sequence

from rollout.adapters import clock
from rollout.adapters.http import Late, fetched
from rollout.core.errors import Unavailable
from rollout.core.probe import HEADER
from rollout.ports import Answered, Errand

PATIENCE, AT_ONCE, IDLE = 20.0, 16, 15.0
"""Seconds to wait for an answer, longer where more are expected; how many are waited for at once; and seconds after
which nobody seems to want answers any more."""


class HttpProbes:
    """Sends the probes of one errand at a time, from a thread of its own."""

    def __init__(self) -> None:
        self._run: _Run | None = None

    def answers(self, errand: Errand, stable: int, canary: int) -> Sequence[Answered]:
        """See the port."""
        if self._run is None or self._run.errand != errand or self._run.idle():
            if self._run is not None:
                self._run.over.set()
            self._run = _Run(errand)
            self._run.begin()
        return self._run.taken({False: stable, True: canary})


class _Run:
    """One errand under way."""

    def __init__(self, errand: Errand) -> None:
        self.errand, self.over = errand, threading.Event()
        self._most, self._sent = {False: 0, True: 0}, {False: 0, True: 0}
        self._found: deque[Answered] = deque()
        self._asked = clock.now()
        self._free = threading.Semaphore(AT_ONCE)

    def begin(self) -> None:
        threading.Thread(target=self._send, daemon=True).start()

    def idle(self) -> bool:
        return clock.now() - self._asked > IDLE

    def taken(self, most: dict[bool, int]) -> list[Answered]:
        self._most, self._asked = most, clock.now()
        return [self._found.popleft() for _ in range(len(self._found))]

    def _send(self) -> None:
        """One request to each version a beat. Where too many are under way, or none is wanted, a beat is left out."""
        beat = 1 / self.errand.probe.rps
        while not self.over.wait(beat) and not self.idle():
            for canary in (False, True):
                if self._sent[canary] < self._most[canary] and self._free.acquire(blocking=False):
                    self._sent[canary] += 1
                    threading.Thread(target=self._ask, args=(canary,), daemon=True).start()

    def _ask(self, canary: bool) -> None:
        try:
            self._found.append(asked(self.errand, canary))
        finally:
            self._free.release()


def asked(errand: Errand, canary: bool) -> Answered:
    """Send one probe and wait for what comes."""
    probe, mark, began = errand.probe, errand.mark(canary), clock.now()
    try:
        headers = {**probe.headers, HEADER: mark}
        status, got, body = fetched(probe.method, probe.url, headers, max(PATIENCE, 3 * probe.expect.within))
    except Late:
        return Answered(canary, seconds=clock.now() - began, late=True)
    except Unavailable as error:
        return Answered(canary, silent=str(error))
    matched = probe.expect.body.encode() in body
    return Answered(canary, status, clock.now() - began, matched, marked=got.get(HEADER) == mark)
