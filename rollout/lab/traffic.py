"""Traffic whose truth we set: what two versions really do, and what is read of it, look by look."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import accumulate

from rollout.judge.looks import Arm, Increment, Look
from rollout.lab.draws import clumped, dice, poisson

EDGES = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, math.inf)
"""The edges (milliseconds) of the histogram of answers."""
MEDIAN, SIGMA = 50.0, 0.6
"""The lognormal latency of stable: its median in milliseconds, and the deviation of its logarithm."""
_NOTHING = Arm()


@dataclass(frozen=True)
class State:
    """What is true for a while: both versions' probabilities to fail, and whether the canary's own faults show."""

    stable: float
    canary: float
    shown: bool


@dataclass(frozen=True)
class Truth:
    """The ground truth of one scenario. Times are seconds since the first step.

    `rps` are all users' requests a second. Failures come in geometric clumps, `clump` of them on average (1: each on
    its own). In an outage (start, seconds, probability) both versions fail with at least that probability. Before
    `late` the canary is as good, and as quick, as stable. `oscillate` (low, high, period) has stable's probability
    change between low and high every period, the canary's with it, by as much as it is worse. The canary's latency is
    `latency_factor` times stable's. Each of `instances` reporting clients sends its share of the requests, and is read
    every `scrape` seconds at a time of its own (0: at the very moment of the look).
    """

    rps: float
    stable_errors: float
    canary_errors: float
    clump: float = 1.0
    outages: tuple[tuple[float, float, float], ...] = ()
    late: float = 0.0
    latency_factor: float = 1.0
    oscillate: tuple[float, float, float] | None = None
    instances: int = 4
    scrape: float = 0.0

    def at(self, second: float) -> State:
        """What is true at a second.

        >>> Truth(10, 0.01, 0.05, late=60, outages=((90, 30, 0.3),)).at(0)
        State(stable=0.01, canary=0.01, shown=False)
        >>> Truth(10, 0.01, 0.05, late=60, outages=((90, 30, 0.3),)).at(119)
        State(stable=0.3, canary=0.3, shown=True)
        """
        base, shown = self.stable_errors, second >= self.late
        if self.oscillate:
            low, high, period = self.oscillate
            base = high if _turns(second, period) % 2 else low
        worse = self.canary_errors - self.stable_errors if shown else 0.0
        least = max((p for start, seconds, p in self.outages if start <= second < start + seconds), default=0.0)
        return State(max(least, base), min(1.0, max(least, base + worse, 0.0)), shown)

    def until(self, second: float) -> float:
        """The next second at which something changes; infinite if nothing does.

        >>> Truth(10, 0.01, 0.05, late=60).until(0), Truth(10, 0.01, 0.05).until(0)
        (60, inf)
        """
        changes = [self.late, *(edge for start, seconds, _ in self.outages for edge in (start, start + seconds))]
        if self.oscillate:
            period = self.oscillate[2]
            changes.append((_turns(second, period) + 1) * period)
        return min((change for change in changes if change > second), default=math.inf)


def _turns(second: float, period: float) -> int:
    return math.floor(second / period + 1e-9)


def latency_shares(factor: float) -> tuple[float, ...]:
    """The share of answers between each edge and the one before, where latency is `factor` times stable's.

    >>> [round(share, 3) for share in latency_shares(1.0)[:6]]
    [0.0, 0.004, 0.12, 0.376, 0.376, 0.12]
    """
    median = MEDIAN * factor
    within = [0.5 * math.erfc(math.log(median / edge) / SIGMA / math.sqrt(2)) for edge in EDGES[:-1]]
    return tuple(after - before for before, after in zip([0.0, *within], [*within, 1.0], strict=True))


@dataclass
class _Client:
    """One reporting instance: when it is read (at `phase` seconds and every scrape after), and what is yet unread."""

    name: str
    phase: float
    stable: Arm = _NOTHING
    canary: Arm = _NOTHING
    splits: bool = False

    def read_by(self, second: float, scrape: float) -> float:
        """When it was last read, at or before a second."""
        if not scrape:
            return second
        return min(second, self.phase + math.floor((second - self.phase) / scrape + 1e-9) * scrape)


@dataclass
class Traffic:
    """Users' requests as time passes, drawn from a seed: the same calls give the same traffic.

    `at` is now, in seconds since the first step; `start` (negative for history before it) is where it begins. `excess`
    counts the requests that the canary has failed beyond what stable's probability would have failed, read or not.
    With `timed`, answers carry a histogram. Ask one traffic for looks or for counts, not for both.
    """

    truth: Truth
    seed: int
    start: float = 0.0
    timed: bool = False
    at: float = field(init=False)
    excess: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.at = self.start
        self._rng = dice(self.seed)
        truth = self.truth
        self._clients = [_Client(f"client-{i}", truth.scrape * self._rng.random()) for i in range(truth.instances)]
        self._shares = latency_shares(1.0), latency_shares(truth.latency_factor)
        self._state, self._since, self._until = truth.at(self.at), self.at, truth.until(self.at)

    def advance(self, seconds: float, weight: float | Decimal) -> Look:
        """Let so many seconds pass with a weight (percent) for the canary; the look at what has been read of them.

        Of each client, what came after its last reading is seen in the look after its next.
        """
        since, until = self.at, self.at + seconds
        load, share, scrape = self.truth.rps / self.truth.instances, float(weight) / 100, self.truth.scrape
        increments = []
        for client in self._clients:
            read = client.read_by(until, scrape)
            if read <= since:
                stable, canary = self._between(since, until, load, share)
                client.stable, client.canary = client.stable + stable, client.canary + canary
                stable = canary = _NOTHING
            else:
                stable, canary = self._between(since, read, load, share)
                if scrape:
                    stable, canary = client.stable + stable, client.canary + canary
                    client.stable, client.canary = self._between(read, until, load, share)
            client.splits = client.splits or canary.requests > 0
            increments.append(Increment(client.name, stable, canary, splits=client.splits))
        self.at = until
        return Look(since, until, tuple(increments))

    def outage(self, seconds: float, probability: float) -> None:
        """Let an outage of both versions begin now."""
        self.truth = replace(self.truth, outages=(*self.truth.outages, (self.at, seconds, probability)))
        self._state, self._since, self._until = self.truth.at(self.at), self.at, self.truth.until(self.at)

    def counts(self, seconds: float, weight: float | Decimal) -> tuple[Arm, Arm]:
        """Let so many seconds pass with a weight (percent); what stable and the canary did, read or not."""
        since, self.at = self.at, self.at + seconds
        return self._between(since, self.at, self.truth.rps, float(weight) / 100)

    def _between(self, since: float, until: float, load: float, share: float) -> tuple[Arm, Arm]:
        """What both versions do of `load` requests a second between two times."""
        stable = canary = _NOTHING
        for seconds, state in self._stretches(since, until):
            requests = load * seconds
            one = self._arm(requests * (1 - share), state.stable, self._shares[0])
            other = self._arm(requests * share, state.canary, self._shares[state.shown])
            self.excess += other.failures - other.requests * state.stable
            stable = one if stable is _NOTHING else stable + one
            canary = other if canary is _NOTHING else canary + other
        return stable, canary

    def _stretches(self, since: float, until: float) -> Iterator[tuple[float, State]]:
        """The stretches between two times in which the truth stands still: how long each is, and what is true."""
        while since < until:
            if not self._since <= since < self._until:
                self._state, self._since, self._until = self.truth.at(since), since, self.truth.until(since)
            end = min(until, self._until)
            yield round(end - since, 6), self._state
            since = end

    def _arm(self, requests: float, errors: float, shares: tuple[float, ...]) -> Arm:
        """What one version does of so many requests on average.

        Successes and failures of Poisson traffic are independent of each other, and so are the answers in each bucket.
        """
        if requests <= 0:
            return _NOTHING
        rng = self._rng
        failed, good = clumped(rng, requests * errors, self.truth.clump), requests * (1 - errors)
        if not self.timed:
            return Arm(poisson(rng, good) + failed, failed)
        buckets = [poisson(rng, good * bucket) for bucket in shares]
        for bucket in rng.choices(range(len(EDGES)), shares, k=failed) if failed else ():
            buckets[bucket] += 1
        answers = tuple(zip(EDGES, accumulate(buckets), strict=True))
        return Arm(answers[-1][1], failed, 0, answers)
