"""The same again: what `retry` asks for, from the record of what was rolled back."""

from rollout.core.attempt import Record
from rollout.core.errors import InvalidInput
from rollout.core.lifecycle import Phase
from rollout.engine.survey import Request


def request(record: Record, service: str, namespace: str, create: bool = True) -> Request:
    """The last attempt's versions, strategy and names of routes, as recorded; `create`: whether subsets may be added.

    Raises `InvalidInput` where nothing was rolled back, or something is in flight.
    """
    last = record.attempt
    if last is None:
        raise InvalidInput(f"nothing of {service} was ever promoted from here, so there is nothing to retry")
    if not last.phase.ended:
        raise InvalidInput(
            f"{service} is on its way to {last.canary} ({last.phase}): `rollout promote {service} --to {last.canary}` "
            f"goes on, `rollout abort {service}` takes it back"
        )
    if last.phase is Phase.PROMOTED:
        raise InvalidInput(
            f"the last rollout of {service}, to {last.canary}, was promoted: there is nothing to retry; "
            f"`rollout undo {service}` goes back to {last.stable}"
        )
    why = f"once more, after attempt {last.number} ended: {last.message}"
    return Request(
        service, namespace, last.canary, last.strategy, last.stable, create, why, last.scale, names=last.names
    )
