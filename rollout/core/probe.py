"""Probes: synthetic requests that a step sends, what their answers must be, and what came of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from rollout.core.address import shown
from rollout.core.quantities import spoken

HEADER = "x-rollout-probe"
"""What tells our probes from users' requests; the routes for them give it back, so that an answer shows its way."""


@dataclass(frozen=True)
class Expected:
    """How an answer must be: its status (200, or 2 for all of 2xx), `within` seconds (0: any), `body` in its text."""

    status: int = 2
    within: float = 0.0
    body: str = ""

    def lacks(self, status: int, seconds: float, matched: bool) -> str:
        """What is wrong with an answer, in words; empty where it is as expected.

        >>> Expected(2, 1.0).lacks(204, 0.5, True), Expected(200).lacks(204, 0.5, True), Expected().lacks(503, 0, True)
        ('', 'status 204 instead of 200', 'status 503 instead of 2xx')
        """
        if self.status not in (status, status // 100):
            return f"status {status} instead of {self.status if self.status > 9 else f'{self.status}xx'}"
        if self.within and seconds > self.within:
            return f"an answer after {seconds:.1f} s instead of {self.within:g} s"
        return "" if matched else "an answer without the text that it must have"


@dataclass(frozen=True)
class Probe:
    """Ask `url` so often (`rps` a second), once more each time at stable, and compare the answers.

    `count` is the size of the first round; each further one, where it takes more, doubles what was asked. The requests
    come by a route of ours, to one version each, whatever the weight. `outside` says that the user knows that the URL
    leaves the cluster.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    count: int = 20
    rps: float = 1.0
    expect: Expected = Expected()
    outside: bool = False
    kind: Literal["probe"] = "probe"

    def __str__(self) -> str:
        """What is done, in words; of the URL no more than its host."""
        return f"probing {shown(self.url)}"

    @property
    def round(self) -> float:
        """Seconds that the first round of requests takes to be sent."""
        return self.count / self.rps

    def mark(self, token: str, version: str) -> str:
        """What HEADER holds in those of an attempt (its `token`) that are for a version."""
        return f"{token}:{version}"

    def told(self) -> str:
        """What is sent, in words.

        >>> Probe("http://reviews.shop.svc:9080/health?key=s", count=50, expect=Expected(200, 2.0, "ok")).told()
        '50 requests GET http://reviews.shop.svc/… for each version, 1 a second, expecting 200 within 2s and a text'
        """
        status = str(self.expect.status) if self.expect.status > 9 else f"{self.expect.status}xx"
        within = f" within {spoken(self.expect.within)}" if self.expect.within else ""
        text = " and a text" if self.expect.body else ""
        return (
            f"{self.count} requests {self.method} {shown(self.url)} for each version, {self.rps:g} a second, "
            f"expecting {status}{within}{text}"
        )


class Outcome(StrEnum):
    """What answers to probes amount to: nothing yet, as they should be, or worse than stable's beyond doubt."""

    OPEN = "open"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True)
class Probed:
    """What came of a step's probes so far. `bound` is the rise in failures (0 to 1) that they cannot exclude."""

    outcome: Outcome
    text: str
    bound: float = 1.0
