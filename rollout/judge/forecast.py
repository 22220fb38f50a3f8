"""What a strategy can prove with a service's own traffic, told before anything moves.

How fast evidence grows stands in `rollout.judge.growth`. Rates, shares and points run from 0 to 1, times are seconds.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from rollout.core.quantities import spoken
from rollout.core.strategy import Bake, Check, Kind, OnInconclusive, Step, Strategy
from rollout.judge.growth import Traffic, detectable, disaster, growth_of_harm, until_found, until_shown
from rollout.judge.judge import STARTS

WEIGHTS = tuple(Decimal(w) for w in (1, 2, 5, 10, 25, 50))
"""Weights that a warning proposes to start at."""
BUSY, SNIFF = 500.0, Decimal(1)
"""From how many requests a second a rollout begins with a sniff, and the sniff's weight."""
FITTING = tuple(Decimal(w) for w in (5, 10, 25, 50))
"""Weights that a fitted strategy starts at."""
MINUTE, DAY, YEAR = 60.0, 86400.0, 365 * 86400.0
SOON, LATER, LONGEST = 10 * MINUTE, 20 * MINUTE, 30 * MINUTE
"""Of a fitted strategy: the time to evidence at which it keeps its start, and takes another, and the longest bake."""
NICE = (30.0, *(MINUTE * m for m in (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 45, 60, 90, 120, 180, 240, 360, 720)))
"""Durations as people write them, up to half a day."""


@dataclass(frozen=True)
class StepForecast:
    """What one step can show while the canary has `weight` percent.

    `at_min` and `at_max` are the canary's expected requests by the end of bake.min and bake.max; `needed` those after
    which half of good versions (that fail as often as stable) may go on, `seconds` when that is, `likely` when four in
    five may; both are infinite without traffic. `proven` says whether `seconds` lies before bake.max.

    `detectable` is by how many points the canary must be worse to be taken back before bake.max in four of five cases
    (None: not even one that fails everything is); a smaller harm than the step's margin may have gone on by then.
    `found` is when half of such canaries are found (infinite if there are none), `costs` how many users' requests one
    fails in excess of stable until then and in the look that is under way, `worst` how many a canary does that fails
    everything.
    """

    weight: Decimal
    bake: Bake
    at_min: float
    at_max: float
    needed: int
    seconds: float
    likely: float
    proven: bool
    detectable: float | None
    found: float
    costs: float
    worst: float


@dataclass(frozen=True)
class Forecast:
    """What `strategy` can show with `rps` requests a second, `rate` of which fail, and a look every `look` seconds.

    `steps` are those at which there is somebody to compare with: below 100 %, and none where nothing is judged.
    """

    rps: float
    rate: float
    strategy: Strategy
    look: float
    steps: tuple[StepForecast, ...]


def forecast(rps: float, rate: float, strategy: Strategy, look: float | None = None) -> Forecast:
    """The forecast for a service whose stable version serves `rps` requests a second and fails `rate` of them.

    `look` is how often counters arrive, in seconds; by default as often as the strategy looks.

    >>> from rollout.core.strategy import Bake, Step, Strategy
    >>> bake = Bake(30.0, 600.0)
    >>> canary = Strategy("canary", tuple(Step(Decimal(w), bake) for w in (5, 25, 50, 100)), 300.0)
    >>> [(step.needed, step.seconds) for step in forecast(100.0, 0.001, canary, 5.0).steps]
    [(239, 50.0), (544, 25.0), (1368, 30.0)]
    """
    look, strategy = look or strategy.look, strategy.shifting
    rps, rate = _sane(rps, rate)
    rule = _errors(strategy)
    judged = () if rule is None else tuple(_steps(rps, rate, strategy, rule, look))
    return Forecast(rps, rate, strategy, look, judged)


def _errors(strategy: Strategy) -> Check | None:
    """The check that is foretold: the others need no more, or tell of themselves."""
    return next((check for check in strategy.checks if check.kind is Kind.ERRORS), None)


def _steps(rps: float, rate: float, strategy: Strategy, rule: Check, look: float) -> Iterator[StepForecast]:
    for index, (step, needed, seconds, likely) in enumerate(_shown(rps, rate, strategy, look)):
        traffic = Traffic(rps, float(step.weight) / 100, look)
        worse = detectable(traffic, rate, rule, _start(index), math.floor(step.bake.max / look))
        found = math.inf if worse is None else _found(traffic, rate, worse, rule, index)
        everything = min(_found(traffic, rate, 1 - rate, rule, index), look * disaster(traffic, rate))
        yield StepForecast(
            weight=step.weight,
            bake=step.bake,
            at_min=traffic.rps * traffic.share * step.bake.min,
            at_max=traffic.rps * traffic.share * step.bake.max,
            needed=needed,
            seconds=seconds,
            likely=likely,
            proven=seconds <= step.bake.max,
            detectable=worse,
            found=found,
            costs=_failed(traffic, worse or 0.0, found),
            worst=_failed(traffic, 1 - rate, everything),
        )


def _shown(rps: float, rate: float, strategy: Strategy, look: float) -> Iterator[tuple[Step, int, float, float]]:
    """The steps at which stable still serves, each with what evidence to go on needs (see `until_shown`)."""
    for step in strategy.steps:
        if step.weight < 100:
            traffic = Traffic(rps, float(step.weight) / 100, look)
            yield step, *until_shown(traffic, rate, strategy.margin_at(step.weight))


def _start(index: int) -> float:
    """The part of the evidence that is staked at the first looks of the step with this index."""
    return STARTS[min(index, len(STARTS) - 1)]


def _found(traffic: Traffic, rate: float, worse: float, rule: Check, index: int) -> float:
    """Seconds until half of canaries that are so much `worse` are taken back at the step with this index."""
    return traffic.look * until_found(growth_of_harm(traffic, rate, worse, rule), _start(index))


def _failed(traffic: Traffic, worse: float, seconds: float) -> float:
    """Users' requests that a canary fails by being `worse` for `seconds` and the look that is under way."""
    return traffic.rps * traffic.share * worse * (seconds + traffic.look) if math.isfinite(seconds) else 0.0


def _sane(rps: float, rate: float) -> tuple[float, float]:
    """What history says, which is no number where there was no request."""
    return rps if 0 < rps < math.inf else 0.0, rate if 0 < rate <= 1 else 0.0


# What follows from it


def warnings(told: Forecast) -> list[str]:
    """What a person should know before they start: the steps that will or may end unproven, and what would help.

    >>> import textwrap
    >>> from rollout.core.strategy import Bake, Step, Strategy
    >>> canary = Strategy("canary", tuple(Step(Decimal(w), Bake(30.0, 600.0)) for w in (5, 25, 50, 100)), 300.0)
    >>> print(textwrap.fill(warnings(forecast(3.0, 0.0, canary, 5.0))[0], 100))
    this rollout will end unproven at 5 %: 203 requests to the new version are needed there and 10m
    bring about 90; start at 25 % or allow 25m
    """
    if not told.steps:
        return []
    if not told.rps:
        return ["stable serves no requests, so nothing can be shown at any weight"]
    return [sentence for step in told.steps if step.bake.max for sentence in _warned(told, step)]


def _warned(told: Forecast, step: StepForecast) -> Iterator[str]:
    at, most = f"{step.weight} %", spoken(step.bake.max)
    if not step.proven:
        ends = "end unproven at" if told.strategy.inconclusive is OnInconclusive.HOLD else "leave unproven"
        yield (
            f"this rollout will {ends} {at}: {step.needed} requests to the new version are needed there and {most} "
            f"bring about {step.at_max:.0f}; {_advice(told, step)}"
        )
    elif step.likely > step.bake.max:
        yield (
            f"this rollout may end unproven at {at}: half of good versions need more than {spoken(step.seconds)}, and "
            f"{most} are allowed; {_advice(told, step)}"
        )
    if step.detectable is None:
        yield f"at {at} not even a version that fails every request is likely found within {most}"


def _advice(told: Forecast, step: StepForecast) -> str:
    later = (weight for weight in WEIGHTS if weight > step.weight)
    start = next((weight for weight in later if _passes(told, weight)), None)
    ways = [f"start at {start} %"] if start else []
    if step.likely <= DAY:
        ways.append(f"allow {spoken(nice(step.likely))}")
    return " or ".join(ways) or "only more traffic or a larger budget would help"


def _passes(told: Forecast, weight: Decimal) -> bool:
    """Whether every step is likely proven when the rollout starts at `weight`."""
    steps = _shown(told.rps, told.rate, starting(told.strategy, weight), told.look)
    return all(likely <= step.bake.max or not step.bake.max for step, _, _, likely in steps)


def starting(strategy: Strategy, weight: Decimal) -> Strategy:
    """The strategy begun at `weight`: then come its own weights that are larger.

    The first step bakes like the strategy's last step that is not larger, or like its first.
    """
    bake = next((s.bake for s in reversed(strategy.steps) if s.weight <= weight), strategy.steps[0].bake)
    return replace(strategy, steps=(Step(weight, bake), *(s for s in strategy.steps if s.weight > weight)))


def nice(seconds: float) -> float:
    """The next longer duration that a person would write: up to 12 h from a list, then whole days.

    >>> nice(61), nice(1000), nice(50000)
    (120.0, 1200.0, 86400.0)
    """
    return next((duration for duration in NICE if duration >= seconds), DAY * math.ceil(seconds / DAY))


# A strategy that fits


def fitting(rps: float, rate: float, base: Strategy, look: float | None = None) -> Strategy:
    """The base strategy with a start and bakes that suit this traffic, and a description that says why.

    It begins with 1 % where traffic is high, and else with the base's first weight, if half of good versions may go on
    from there within 10 min; otherwise with the smallest weight of 5, 10, 25 and 50 % from which they may within
    20 min; otherwise where the base does. Then come the base's larger weights. A bake lasts at most its `min` and twice
    the time to evidence, be it that the version is good or that it fails everything, rounded up, and over 30 min only
    where the base's does; it is never shorter than the base's, which would find less. Bakes that wait for no evidence
    stay.

    >>> import textwrap
    >>> from rollout.core.strategy import Bake, Step, Strategy
    >>> canary = Strategy("canary", tuple(Step(Decimal(w), Bake(30.0, 600.0)) for w in (5, 25, 50, 100)), 300.0)
    >>> fitted = fitting(3.0, 0.0, canary, look=5.0)
    >>> [f"{step.weight} %: {spoken(step.bake.max)}" for step in fitted.steps]
    ['10 %: 25m', '25 %: 20m', '50 %: 20m', '100 %: 10m']
    >>> print(textwrap.fill(fitted.description, 100))
    at 3 requests/s the new version needs 203 requests at 5 %, which come within 25m, so it starts at 10
    % and each step may take up to 25m
    """
    first, look, rule = base.steps[0], look or base.look, _errors(base)
    if rule is None or first.weight >= 100 or not first.bake.max:
        return base
    rps, rate = _sane(rps, rate)

    def at(weight: Decimal) -> tuple[int, float]:
        _, needed, seconds, _ = next(_shown(rps, rate, starting(base, weight), look))
        return needed, seconds

    options = [(first.weight, SOON), *((weight, LATER) for weight in FITTING if weight >= first.weight)]
    if rps >= BUSY and first.weight > SNIFF:
        options.insert(0, (SNIFF, SOON))
    weight = next((weight for weight, most in options if at(weight)[1] <= most), first.weight)
    started = starting(base, weight)
    baked = list(_baked(rps, rate, started, rule, look))
    steps = tuple(step for step, _ in baked)
    unproven = [step.weight for step, seconds in baked if 0 < step.bake.max < seconds]
    longest = spoken(max(step.bake.max for step in steps))
    about = weight if weight in unproven else min(weight, first.weight)
    why = f"at {rps:{'.0f' if rps >= 10 else '.2g'}} requests/s the new version needs {_needs(about, *at(about))}"
    why += f", so it starts {'there' if about == weight else f'at {weight} %'} and each step may take up to {longest}"
    if unproven:
        why += f"; even so it will likely end unproven at {', '.join(f'{weight} %' for weight in unproven)}"
    return replace(base, steps=steps + started.steps[len(steps) :], description=why)


def _baked(rps: float, rate: float, started: Strategy, rule: Check, look: float) -> Iterator[tuple[Step, float]]:
    """The steps at which stable still serves, with bakes that suit, and when half of good versions may go on.

    A bake that is too short to find a version which fails everything would save nobody any time: good ones go on
    as soon as they may.
    """
    for index, (step, _, seconds, _) in enumerate(_shown(rps, rate, started, look)):
        ruin = _found(Traffic(rps, float(step.weight) / 100, look), rate, 1 - rate, rule, index)
        yield Step(step.weight, _baking(step.bake, max(seconds, ruin))), seconds


def _needs(weight: Decimal, needed: int, seconds: float) -> str:
    come = f"come within {spoken(nice(seconds))}" if seconds <= YEAR else "never come"
    return f"{needed} requests at {weight} %, which {come}"


def _baking(bake: Bake, seconds: float) -> Bake:
    """The bake for a weight at which evidence takes so many seconds."""
    longest = nice(min(LONGEST, bake.min + 2 * seconds))
    return Bake(bake.min, max(bake.max, longest)) if bake.max else bake
