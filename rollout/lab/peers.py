"""What the rules of Flagger, Argo Rollouts and Kayenta do with traffic whose truth is known.

Each is the peer's rule as its source has it (Flagger 1.44, Argo Rollouts of August 2026, Kayenta of April 2025), told
in our own words, with its documented settings as defaults. All are spared the lag of metrics: they see every request
the moment it is answered.
"""

import math
from collections import deque
from dataclasses import dataclass

from rollout.judge.looks import Arm, altogether
from rollout.lab.ranks import Classified, classified
from rollout.lab.traffic import Traffic, Truth

WEIGHTS = (5, 25, 50)
SERVED = 3600
"""How long a promoted version serves everybody before we stop counting what it fails."""


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended, after how many `seconds`; neither `rolled_back` nor `promoted` if the horizon came first.

    `excess` are the requests that the canary failed beyond what stable's probability would have failed, until it was
    rolled back or, promoted, had served everybody for an hour.
    """

    rolled_back: bool
    promoted: bool
    seconds: float
    excess: float


def _rolled_back(traffic: Traffic) -> Outcome:
    return Outcome(True, False, traffic.at, traffic.excess)


def _promoted(traffic: Traffic) -> Outcome:
    seconds = traffic.at
    traffic.counts(SERVED, 100)
    return Outcome(False, True, seconds, traffic.excess)


@dataclass
class _Query:
    """A metric of the canary alone over the last `window` seconds, as time passes in units of `unit` seconds."""

    traffic: Traffic
    window: int
    unit: int

    def __post_init__(self) -> None:
        self._past: deque[Arm] = deque(maxlen=self.window // self.unit)
        self.seen = False

    def wait(self, seconds: int, weight: float) -> None:
        """Let time pass with a weight (percent) for the canary."""
        for _ in range(seconds // self.unit):
            _, canary = self.traffic.counts(self.unit, weight)
            self._past.append(canary)
            self.seen = self.seen or canary.requests > 0

    def success(self) -> float:
        """The share of requests in the window that succeeded; not a number where there were none."""
        arm = altogether(self._past)
        return (arm.requests - arm.failures) / arm.requests if arm.requests else math.nan


def flagger(
    truth: Truth,
    seed: int,
    horizon: float = math.inf,
    *,
    weights: tuple[float, ...] = WEIGHTS,
    threshold: int = 5,
    success: float = 0.99,
    interval: int = 60,
    window: int = 60,
) -> Outcome:
    """Flagger: a check every `interval`; one that passes takes the next weight, after the last it promotes.

    The canary's success rate over `window` is held against the fixed `success`; no values are a failed check. Failed
    checks add up over the whole rollout. They are compared with `threshold` before a check, so the rollback comes one
    interval after the failure that reached it.
    """
    traffic = Traffic(truth, seed)
    query = _Query(traffic, window, math.gcd(interval, window))
    failed = step = 0
    while traffic.at + interval <= horizon:
        query.wait(interval, weights[step])
        if failed >= threshold:
            return _rolled_back(traffic)
        if not query.success() >= success:
            failed += 1
        elif step + 1 < len(weights):
            step += 1
        else:
            return _promoted(traffic)
    return Outcome(False, False, traffic.at, traffic.excess)


def argo(
    truth: Truth,
    seed: int,
    horizon: float = math.inf,
    *,
    weights: tuple[float, ...] = WEIGHTS,
    pause: int = 300,
    success: float = 0.99,
    interval: int = 60,
    window: int = 60,
    failure_limit: int = 3,
    error_limit: int = 4,
) -> Outcome:
    """Argo Rollouts: each weight stands for `pause`, with an analysis in the background measuring every `interval`.

    The canary's success rate over `window` is held against the fixed `success`. More than `failure_limit` failed
    measurements abort, and so do more than `error_limit` errors one after another. The first measurement is taken at
    once, when there is no series yet: an empty answer, whose first element the condition cannot read, is an error.
    Once there has been a request, a window without any yields not a number, which fails the condition. When the steps
    are through the analysis is terminated as successful.
    """
    traffic = Traffic(truth, seed)
    unit = math.gcd(interval, window, pause)
    query = _Query(traffic, window, unit)
    failed, errors, end = 0, 1, pause * len(weights)
    for at in range(unit, end + 1, unit):
        if at > horizon:
            return Outcome(False, False, traffic.at, traffic.excess)
        query.wait(unit, weights[(at - unit) // pause])
        if at % interval:
            continue
        failed += query.seen and not query.success() >= success
        errors = 0 if query.seen else errors + 1
        if failed > failure_limit or errors > error_limit:
            return _rolled_back(traffic)
    return _promoted(traffic)


def kayenta(
    truth: Truth,
    seed: int,
    horizon: float = math.inf,
    *,
    weights: tuple[float, ...] = WEIGHTS,
    pause: int = 300,
    point: int = 60,
    tolerance: float = 0.25,
    confidence: float = 0.98,
) -> Outcome:
    """Kayenta: both versions' failure rates, a point every `point` seconds, judged at the end of each weight.

    A judgement sees all points since the first weight. Points without requests are left out, and a version without
    any point fails the judgement, as a rate that is classified High does.
    """
    traffic = Traffic(truth, seed)
    control: list[float] = []
    experiment: list[float] = []
    for weight in weights:
        if traffic.at + pause > horizon:
            return Outcome(False, False, traffic.at, traffic.excess)
        for _ in range(pause // point):
            stable, canary = traffic.counts(point, weight)
            control += _point(stable)
            experiment += _point(canary)
        if classified(control, experiment, tolerance, confidence) is not Classified.PASS:
            return _rolled_back(traffic)
    return _promoted(traffic)


def _point(arm: Arm) -> list[float]:
    return [arm.rate] if arm.requests else []
