"""Looks: from raw counters on a grid of times to increments of both versions per reporting instance.

This is the judge's data contract. A snapshot is what the metrics store says of one grid time. Two neighbouring
snapshots give a look; increments are taken per instance and series, never by `rate()` or `increase()`, which
extrapolate, and never across more than one grid interval.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple

ALL, FAILED, REJECTED = "all", "failed", "rejected"
_WITHIN = "<="
_COMPACT = json.JSONEncoder(separators=(",", ":"))


class Series(NamedTuple):
    """One counter: the reporting `instance`, the `version` that answered, and the `outcome` counted.

    `version` is empty where no host was chosen (the mesh's flags UH, NR, NC): such requests are unattributed.
    `outcome` is "all", "failed", "rejected", or a bucket of the histogram of answers (see `within`).
    """

    instance: str
    version: str
    outcome: str


def within(edge: float) -> str:
    """The outcome "answered within `edge` milliseconds"; an infinite edge counts every answer that was timed.

    >>> within(250.0), within(math.inf)
    ('<=250', '<=inf')
    """
    return f"{_WITHIN}{edge:g}"


@dataclass(frozen=True)
class Snapshot:
    """All counters at one grid time (epoch seconds), in requests since each instance's start."""

    at: float
    counters: Mapping[Series, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """What one version did in a look: `requests` and, among them, `failures` and `rejections`.

    `answers` is a cumulative histogram: for each edge in milliseconds, rising and ending with infinity, how many
    answers came within it. It is empty where nothing was timed.
    """

    requests: int = 0
    failures: int = 0
    rejections: int = 0
    answers: tuple[tuple[float, int], ...] = ()

    def __add__(self, other: "Arm") -> "Arm":
        """Add two arms; of their histograms, the edges that both have (nothing timed counts as every edge).

        >>> Arm(10, 1) + Arm(5, 0, 2)
        Arm(requests=15, failures=1, rejections=2, answers=())
        >>> (Arm(1, answers=((100.0, 0), (math.inf, 1))) + Arm(2, answers=((math.inf, 2),))).answers
        ((inf, 3),)
        """
        return altogether((self, other))

    @property
    def untimed(self) -> "Arm":
        """The same without its histogram."""
        return Arm(self.requests, self.failures, self.rejections)

    def slower(self, edge: float) -> tuple[int, int]:
        """How many answers were timed, and how many of them took longer than `edge` milliseconds.

        Both are 0 where the histogram lacks the edge.
        """
        counts = self._within
        return (counts[math.inf], counts[math.inf] - counts[edge]) if edge in counts else (0, 0)

    @cached_property
    def _within(self) -> Mapping[float, int]:
        return dict(self.answers)

    @property
    def rate(self) -> float:
        """The share of requests that failed; 0 where there were none."""
        return self.failures / self.requests if self.requests else 0.0


def altogether(arms: Iterable[Arm]) -> Arm:
    """The sum of arms."""
    requests = failures = rejections = 0
    answers: tuple[tuple[float, int], ...] = ()
    for arm in arms:
        requests += arm.requests
        failures += arm.failures
        rejections += arm.rejections
        answers = _added(answers, arm.answers)
    return Arm(requests, failures, rejections, answers)


def _added(one: tuple[tuple[float, int], ...], other: tuple[tuple[float, int], ...]) -> tuple[tuple[float, int], ...]:
    if not one or not other:
        return one or other
    more = dict(other)
    return tuple((edge, count + more[edge]) for edge, count in one if edge in more)


@dataclass(frozen=True)
class Increment:
    """What one reporting instance saw in one look.

    `splits` says whether this instance had ever sent to the canary before the look. One that never did, because a pin
    binds it to stable, has users of another kind: it tells how stable scatters, and is not compared with.
    """

    instance: str
    stable: Arm
    canary: Arm
    unattributed: Arm = Arm()
    splits: bool = True


@dataclass(frozen=True)
class Look:
    """One comparison of both versions: the increments between grid times `since` and `at` (epoch seconds).

    `skipped` names instances that could not be differenced (new, or restarted in between). `stable`, `canary` and
    `unattributed` are sums over the `compared` instances.
    """

    since: float
    at: float
    increments: tuple[Increment, ...] = ()
    skipped: tuple[str, ...] = ()

    @cached_property
    def compared(self) -> tuple[Increment, ...]:
        """The instances that split their requests, or lose some; where none has reached the canary, all of them."""
        return tuple(i for i in self.increments if i.splits or i.unattributed.failures) or self.increments

    @cached_property
    def stable(self) -> Arm:
        """Stable's arm."""
        return altogether(i.stable for i in self.compared)

    @cached_property
    def canary(self) -> Arm:
        """The canary's arm."""
        return altogether(i.canary for i in self.compared)

    @cached_property
    def unattributed(self) -> Arm:
        """Requests for which the mesh chose no host."""
        return altogether(i.unattributed for i in self.compared)

    def digest(self, before: str) -> str:
        """The chain's digest after this look, `before` being the digest so far.

        Two replays that end in the same digest have seen the same looks in the same order.
        """
        arms = [[i.instance, i.splits, *map(_flat, (i.stable, i.canary, i.unattributed))] for i in self.increments]
        text = _COMPACT.encode([before, self.since, self.at, arms])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _flat(arm: Arm) -> list[int]:
    return [arm.requests, arm.failures, arm.rejections, *[count for _, count in arm.answers]]


def difference(before: Snapshot, after: Snapshot, stable: str, canary: str, apart: bool = False) -> Look:
    """The look between two neighbouring snapshots.

    An instance that did not report before is skipped: its counters may hold a past we did not see. One of whose
    counters fell restarted in between and is skipped too. A new series of a known instance counts from 0. `apart` says
    that each instance counts one version only, so that none can split, and all are compared.

    >>> a = Snapshot(0.0, {Series("envoy", "v1", "all"): 10.0})
    >>> b = Snapshot(5.0, {Series("envoy", "v1", "all"): 30.0, Series("envoy", "v2", "all"): 4.0})
    >>> difference(a, b, "v1", "v2").canary.requests
    4
    """
    known = {series.instance for series in before.counters}
    fell = {series.instance for series in before.counters.keys() - after.counters.keys()}
    grown: dict[tuple[str, str], dict[str, int]] = {}
    for series, now in after.counters.items():
        more = now - before.counters.get(series, 0.0)
        if 0 <= more < math.inf:  # which a NaN is not
            grown.setdefault((series.instance, series.version), {})[series.outcome] = round(more)
        else:
            fell.add(series.instance)
    increments, skipped = [], []
    for instance in sorted({series.instance for series in after.counters}):
        if instance in fell or instance not in known:
            skipped.append(instance)
            continue
        splits = apart or before.counters.get(Series(instance, canary, ALL), 0.0) > 0
        ours, theirs, nobodys = (_arm(grown.get((instance, version), {})) for version in (stable, canary, ""))
        increments.append(Increment(instance, ours, theirs, nobodys, splits))
    return Look(before.at, after.at, tuple(increments), tuple(skipped))


def _arm(grown: Mapping[str, int]) -> Arm:
    """An arm by how much each outcome grew."""
    requests = grown.get(ALL, 0)
    failures = min(requests, grown.get(FAILED, 0))
    rejections = min(requests - failures, grown.get(REJECTED, 0))
    counts = sorted((edge, count) for outcome, count in grown.items() if (edge := _edge(outcome)) is not None)
    return Arm(requests, failures, rejections, tuple(counts))


@cache
def _edge(outcome: str) -> float | None:
    """What `within` was given; None for another outcome. There are few, and each is met thousands of times."""
    return float(outcome.removeprefix(_WITHIN)) if outcome.startswith(_WITHIN) else None


def pairwise_looks(snapshots: Sequence[Snapshot], stable: str, canary: str, apart: bool = False) -> Iterator[Look]:
    """The looks between each snapshot and the next, oldest first."""
    for before, after in itertools.pairwise(snapshots):
        yield difference(before, after, stable, canary, apart)


def grid_time(now: float, interval: float) -> float:
    """The latest grid time that is not after `now`: grid times are multiples of `interval` since the epoch.

    >>> grid_time(1003.9, 5.0), -grid_time(-1003.9, 5.0)
    (1000.0, 1005.0)
    """
    return math.floor(now / interval + 1e-9) * interval
