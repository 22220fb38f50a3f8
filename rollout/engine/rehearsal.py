"""Before anything is written: whether the routes of ours that a strategy asks for can be made, and borne."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from rollout.core.attempt import Attempt, Scale
from rollout.core.decision import needed
from rollout.core.documents import VIRTUAL_SERVICE, Document, name_of, namespace_of, ref
from rollout.core.errors import InvalidInput, about
from rollout.core.quantities import floored
from rollout.core.strategy import Mirror, Overlay, Safe, load
from rollout.engine.observing import pair_of
from rollout.mesh.delegates import delegating, is_delegate
from rollout.mesh.hosts import resolved
from rollout.mesh.overlays import laid_out, narrowed
from rollout.mesh.routes import ours

MESH = "mesh"


@about("strategy.steps")
def rehearse(attempt: Attempt, canary_ready: int, service: Document, every: Sequence[Document]) -> None:
    """Raise `InvalidInput` where a step of the strategy that acts beside the weights could not be taken.

    `every` are all VirtualServices that can be seen.
    """
    acts = attempt.strategy.overlays
    if not acts:
        return
    chosen = {(route.namespace, route.name): route.keys for route in attempt.routes}
    moving = [vs for vs in every if (namespace_of(vs), name_of(vs)) in chosen]
    _merged([*moving, *_roots(moving, every)], every)
    for act in acts:
        made = [_made(attempt, vs, chosen[namespace_of(vs), name_of(vs)], act) for vs in moving]
        if isinstance(act, Mirror) and (not any(made) or (act.safe is Safe.READS and _grpc(service))):
            raise InvalidInput(
                f"{act} would repeat nothing: no route of {attempt.service} takes GET, HEAD or OPTIONS (gRPC is POST); "
                "where every request may be sent twice, say `safe: all`, or leave the step out"
            )
        if not any(made):
            raise InvalidInput(
                f"{act} would send nothing to {attempt.canary}: no request that it matches comes to a route of "
                f"{attempt.service} that moves; match something else, or leave the step out"
            )
    _bearable(attempt, canary_ready)


def _roots(moving: Sequence[Document], every: Sequence[Document]) -> Iterator[Document]:
    """Who delegates to those that move.

    What a delegate matches is joined with what its root's route matches, or the route is left out, by rules that differ
    between versions of Istio; and its mirrors take the place of the root's.
    """
    for vs in filter(is_delegate, moving):
        for root, route in delegating(vs, every):
            if said := [key for key in ("match", "mirror", "mirrors") if route.get(key)]:
                raise InvalidInput(
                    f"{ref(VIRTUAL_SERVICE, root)} delegates to {ref(VIRTUAL_SERVICE, vs)} by a route with "
                    f"`{said[0]}`, beside which a mirror or a route of ours cannot stand; leave the step out"
                )
            yield root


def _made(attempt: Attempt, vs: Document, keys: tuple[str, ...], act: Overlay) -> int:
    """How many routes of ours the step adds that requests can reach."""
    pair = pair_of(attempt)
    made, _ = laid_out(vs, pair, keys, Decimal(0), (act,), {})
    return sum(ours(route, pair.host) and not _hidden(vs, route, made[:place]) for place, route in enumerate(made))


def _hidden(vs: Document, route: Document, above: Sequence[Document]) -> bool:
    """Whether a route of the user's above takes all that it matches."""
    for other in above:
        theirs = [] if ours(other) else other.get("match") or []
        if all(any(_covers(vs, match, one) for match in theirs) for one in route["match"]):
            return True
    return False


def _covers(vs: Document, match: Document, one: Document) -> bool:
    """Whether whatever meets `one` meets `match` too, as far as it can be told."""
    try:
        return narrowed(vs, [one], match) == [{key: value for key, value in one.items() if key != "name"}]
    except InvalidInput:
        return False


def _bearable(attempt: Attempt, ready: int) -> None:
    """Later steps wait for endpoints; where the first cannot begin, somebody should know at once."""
    first, beside, capacity = attempt.strategy.steps[0], attempt.strategy.beside(0), max(attempt.capacity, 1)
    need = needed(capacity, load(first.weight, beside))
    if beside and ready < need and attempt.scale is Scale.WAIT:
        most = floored(Decimal(100 * ready) / capacity)
        heaviest = max(beside, key=lambda one: load(first.weight, (one,)))
        less = f"mirror at most {most} %" if isinstance(heaviest, Mirror) else f"say that at most {most} % match"
        raise InvalidInput(
            f"{attempt.canary} has {ready} ready endpoint(s), {heaviest} needs {need}: scale it up, or {less}"
        )


def _grpc(service: Document) -> bool:
    ports = (service.get("spec") or {}).get("ports") or []
    names = [str(port.get("appProtocol") or port.get("name") or "") for port in ports]
    return bool(names) and all(name.split("-")[0] in ("grpc", "kubernetes.io/grpc") for name in names)


def _merged(moving: Sequence[Document], every: Sequence[Document]) -> None:
    """Istio joins the routes of VirtualServices that share a host at a gateway, those without a match last.

    A copy with a match would come before the other's routes.
    """
    for vs in moving:
        for other in every:
            both = _at_gateways(vs) & _at_gateways(other)
            if both and (namespace_of(other), name_of(other)) != (namespace_of(vs), name_of(vs)):
                gateway, host = min(both)
                raise InvalidInput(
                    f"{ref(VIRTUAL_SERVICE, vs)} and {ref(VIRTUAL_SERVICE, other)} share the host {host} at gateway "
                    f"{gateway}: a route that repeats requests could hide the other's; merge them into one, or leave "
                    "the step out"
                )


def _at_gateways(vs: Document) -> set[tuple[str, str]]:
    """Each gateway with each host that the VirtualService has there."""
    spec, namespace = vs.get("spec") or {}, namespace_of(vs)
    gateways = {str(gateway) for gateway in spec.get("gateways") or []} - {MESH}
    full = {gateway if "/" in gateway else f"{namespace}/{gateway}" for gateway in gateways}
    return {(gateway, resolved(str(host), namespace)) for gateway in full for host in spec.get("hosts") or []}
