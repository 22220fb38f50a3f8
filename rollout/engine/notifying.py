"""Tell people what the record says they are to be told: in order, again until it arrived, and nobody waits for it."""

from dataclasses import replace

from rollout.core.address import SecretKey, host_of
from rollout.core.attempt import Attempt, Notice
from rollout.core.notices import message
from rollout.core.quantities import spoken
from rollout.engine.asking import Asker

GIVE_UP = 600.0
"""Seconds for which a process tries to tell a notice."""
SELDOM = 60.0
"""Seconds between two tries, at most."""


class Notifier:
    """Delivers the notices of one service's record; what arrived is known here though the record be not written."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._arrived: set[str] = set()
        self._trying = ("", 0.0)
        """The notice that is tried now, and since when."""
        self._tries, self._not_before = 0, 0.0
        self.failed = ""
        """Why the last try did not succeed, in words that show no more of the URL than its host."""

    def told(self, a: Attempt, now: float) -> Attempt:
        """The attempt without the notices that have arrived, or that were given up, which its journal says then.

        To be recorded; it is the very same where nothing changed. At most one is posted a call.
        """
        waiting = tuple(notice for notice in a.notices if notice.id not in self._arrived)
        if waiting:
            a, waiting = self._try(a, waiting, now)
        return replace(a, notices=waiting) if waiting != a.notices else a

    def left(self, a: Attempt, now: float) -> Attempt:
        """The attempt with a line in its journal about what could not be told before everybody leaves."""
        events = ", ".join(notice.event for notice in a.notices)
        return a.remarked(now, f"{_whom(a)} is not told yet: {events}" + (f"; {self.failed}" if self.failed else ""))

    def _try(self, a: Attempt, waiting: tuple[Notice, ...], now: float) -> tuple[Attempt, tuple[Notice, ...]]:
        first = waiting[0]
        if self._trying[0] != first.id:
            self._trying, self._tries, self._not_before = (first.id, now), 0, now
        if now < self._not_before:
            return a, waiting
        said = self._asker.deliver(a.strategy.notify, message(first, a.service, a.namespace))
        if said == "":
            self._arrived.add(first.id)
            self.failed = ""
            return a, waiting[1:]
        if said is not None:
            self._tries, self.failed = self._tries + 1, said
            self._not_before = now + min(SELDOM, 2.0**self._tries)
        if now - self._trying[1] < GIVE_UP:
            return a, waiting
        text = (
            f"{_whom(a)} was not told `{first.event}`, given up after {spoken(GIVE_UP)}: {self.failed or 'no answer'}"
        )
        return a.remarked(now, text), waiting[1:]


def _whom(a: Attempt) -> str:
    url = a.strategy.notify
    return str(url) if isinstance(url, SecretKey) else host_of(url)
