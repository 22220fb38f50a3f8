"""`rollout simulate`: virtual rollouts, and what they came to, for people and for scripts."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rollout.core.errors import InvalidInput
from rollout.core.quantities import duration, share, spoken
from rollout.core.strategy import Strategy
from rollout.lab.study import Summary, ours, theirs
from rollout.lab.traffic import Truth

TITLES = {"ours": "rollout", "flagger": "Flagger", "argo": "Argo Rollouts", "kayenta": "Kayenta"}


@dataclass(frozen=True)
class Question:
    """What is simulated: a truth, how often, from which seed, and how often one looks (seconds)."""

    truth: Truth
    runs: int
    seed: int
    look: float
    outage: tuple[float, float] | None


def outage_of(text: str) -> tuple[float, float] | None:
    """An outage's seconds and the probability that a request fails in it. Raises `InvalidInput`.

    >>> outage_of("60s@0.3"), outage_of("")
    ((60.0, 0.3), None)
    """
    if not text:
        return None
    match = re.fullmatch(r"([^@]+)@(0?\.\d+|1(?:\.0*)?)", text)
    if not match:
        raise InvalidInput(f"{text!r} is no outage; write it like 60s@0.3: how long, and what share of requests fails")
    return duration(match[1]), float(match[2])


def answered(question: Question, strategy: Strategy, compare: bool) -> Iterator[tuple[str, Summary]]:
    """What ours comes to, and where asked for the peers."""
    q = question
    yield "ours", ours(q.truth, q.runs, q.seed, strategy, q.look, q.outage)
    if compare:
        yield from theirs(q.truth, q.runs, q.seed, q.outage)


def document(summary: Summary) -> dict[str, Any]:
    """A summary as people's scripts read it."""
    return {key: round(value, 6) for key, value in asdict(summary).items()}


def told(name: str, summary: Summary) -> str:
    """A summary in one line."""
    s = summary
    return (
        f"{TITLES[name]:14} rolled back {share(s.rolled_back):>6}, promoted {share(s.promoted):>6}, "
        f"unproven {share(s.unproven):>6}; median {spoken(s.median_seconds)}; "
        f"{s.excess_failed_mean:.1f} requests failed more than stable's"
    )
