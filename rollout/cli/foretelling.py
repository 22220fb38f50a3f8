"""What a strategy will show with the service's own traffic: chosen by it, and told beforehand."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rollout.core.attempt import Attempt
from rollout.core.errors import Unreachable
from rollout.core.quantities import share, spoken
from rollout.core.strategy import Strategy
from rollout.engine.choosing import NO_HISTORY
from rollout.engine.looking import Eyes
from rollout.engine.past import Load
from rollout.judge.forecast import StepForecast, forecast, warnings
from rollout.ports import Metrics, Target

UNASKED = "no Prometheus is named (--prometheus URL or ROLLOUT_PROMETHEUS)"
TITLES = ("weight", "requests to {}", "evidence after", "goes back if {} fails", "hurt until then", "hurt if all fail")


@dataclass(frozen=True)
class Expected:
    """What to expect of one step: `weight` in percent, times in seconds, None where it never comes.

    The canary gets from `requests_at_min` (the shortest bake) to `requests_at_max` (the longest). After
    `evidence_seconds` half of good versions may go on, after `evidence_likely_seconds` four in five; `proven` says
    that the former comes in time. A canary is likely taken back in time if it fails `detectable_rate` (a share) or
    more. One that fails so much fails `hurt` users' requests until it is found, one that fails everything fails
    `hurt_if_all_fail`: faster found, it may be fewer.
    """

    weight: float
    requests_at_min: int
    requests_at_max: int
    evidence_requests: int
    evidence_seconds: float | None
    evidence_likely_seconds: float | None
    proven: bool
    detectable_rate: float | None
    hurt: int | None
    hurt_if_all_fail: int | None


@dataclass(frozen=True)
class Outlook:
    """What to expect with `rps` requests a second to stable, of which the share `rate` failed in `span_seconds`.

    Counters are compared every `look_seconds`; `steps` are those at which there is somebody to compare with.
    """

    rps: float
    rate: float
    span_seconds: float
    look_seconds: float
    steps: tuple[Expected, ...]
    warnings: tuple[str, ...]


def measured(metrics: Metrics | None, attempt: Attempt, target: Target) -> tuple[Load | None, str]:
    """What stable served lately; else why nobody knows."""
    if metrics is None:
        return None, UNASKED
    try:
        load = Eyes(metrics).ask(attempt, target)
    except Unreachable as error:
        return None, str(error)
    return load, "" if load else NO_HISTORY


def outlook(strategy: Strategy, load: Load) -> Outlook:
    """What to expect of a strategy under this load."""
    told = forecast(load.rps, load.rate, strategy, load.look)
    steps = tuple(_expected(step, load.rate) for step in told.steps)
    return Outlook(load.rps, load.rate, load.span, load.look, steps, tuple(warnings(told)))


def _expected(step: StepForecast, rate: float) -> Expected:
    return Expected(
        float(step.weight),
        round(step.at_min),
        round(step.at_max),
        step.needed,
        _known(step.seconds),
        _known(step.likely),
        step.proven,
        None if step.detectable is None else rate + step.detectable,
        None if step.detectable is None else math.ceil(step.costs),
        math.ceil(step.worst) or None,
    )


def _known(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


# For people


def lines(told: Outlook, stable: str, canary: str) -> Iterator[str]:
    """The outlook as an aligned table, then what to beware of."""
    rps = f"{told.rps:.0f}" if told.rps >= 10 else f"{told.rps:.2g}"
    served = f"{stable} served {rps} requests/s in the last {spoken(told.span_seconds)} and failed {share(told.rate)}"
    yield f"{served}, so:" if told.steps else served
    if told.steps:
        rows = [tuple(title.format(canary) for title in TITLES), *(_row(step) for step in told.steps)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
    yield from (f"beware: {warning}" for warning in told.warnings)


def _row(step: Expected) -> tuple[str, ...]:
    return (
        f"{step.weight:g} %",
        _range(str(step.requests_at_min), str(step.requests_at_max)),
        _range(_time(step.evidence_seconds), _time(step.evidence_likely_seconds)),
        "not in time" if step.detectable_rate is None else f"{share(step.detectable_rate)} or more",
        "?" if step.hurt is None else str(step.hurt),
        "?" if step.hurt_if_all_fail is None else str(step.hurt_if_all_fail),
    )


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"


def _time(seconds: float | None) -> str:
    return "never" if seconds is None else spoken(seconds)
