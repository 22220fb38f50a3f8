"""What a promotion would do: each step's exact change of each VirtualService, written nowhere."""

import difflib
from collections.abc import Iterator
from decimal import Decimal

import yaml

from rollout.core.attempt import Attempt
from rollout.core.documents import VIRTUAL_SERVICE, Document, ref
from rollout.core.quantities import spoken
from rollout.mesh.hosts import fqdn
from rollout.mesh.routes import Pair, http_routes, pins, unpinned, with_weight
from rollout.ports import Cluster


def planned(cluster: Cluster, attempt: Attempt) -> Iterator[str]:
    """The plan, line by line."""
    pair = Pair(fqdn(attempt.service, attempt.namespace), attempt.stable, attempt.canary)
    steps = attempt.strategy.steps
    least = attempt.strategy.propagation + sum(s.bake.min for s in steps[:-1]) + attempt.strategy.confirm
    yield f"{attempt.service}: {attempt.stable} → {attempt.canary} with strategy {attempt.strategy.name}"
    yield f"takes at least {spoken(least)}; traffic goes back after {spoken(attempt.strategy.limit)} at the latest"
    for route in attempt.routes:
        vs = cluster.get(VIRTUAL_SERVICE, route.namespace, route.name)
        yield ""
        yield ref(VIRTUAL_SERVICE, vs)
        for pin in pins(vs, pair, route.keys):
            yield f"  left alone: route {pin} (a pin)"
        if unpinned(vs, pair, route.keys):
            yield (
                "  today this route names no subset, so it sends to every version whose pods the Service selects; "
                f"the first write pins {attempt.stable}"
            )
        scales: dict[str, int] = {}
        for weight in (Decimal(0), *(step.weight for step in steps)):
            after, scales = with_weight(vs, pair, route.keys, weight, scales)
            yield f"  {attempt.canary} at {weight} %:"
            yield from _difference(http_routes(vs), after)
            vs = {**vs, "spec": {**vs["spec"], "http": after}}


def _difference(before: list[Document], after: list[Document]) -> Iterator[str]:
    one, other = (yaml.safe_dump(routes, sort_keys=False).splitlines() for routes in (before, after))
    lines = list(difflib.unified_diff(one, other, lineterm="", n=2))[2:]
    yield from (f"    {line}" for line in lines) if lines else ("    (no change)",)
