"""The strategy that suits a service's own traffic, where nobody names one."""

from dataclasses import replace

from rollout.core.strategy import Strategy
from rollout.engine.past import Load
from rollout.engine.survey import Request
from rollout.judge.forecast import fitting

PRESET = "canary"
"""Which is fitted."""
NO_HISTORY = "there is no history of its traffic yet"


def fitted(base: Strategy, load: Load | None, unknown: str = NO_HISTORY) -> tuple[Strategy, str]:
    """The strategy with a start and bakes that suit the load, and why; as it is where the load is `unknown`."""
    if load is None:
        return base, f"{base.name} as it is, not fitted to the traffic: {unknown}"
    made = fitting(load.rps, load.rate, base, load.look)
    return replace(made, name=f"{base.name} (fitted)"), made.description


def chosen(request: Request, load: Load | None) -> Request:
    """The request with the strategy that fits its service's load."""
    strategy, why = fitted(request.strategy, load)
    return replace(request, strategy=strategy, why=why)
