"""The routes of a VirtualService that a rollout moves: find them, read the canary's share, write it. Pure.

A route is shifted if stable is among its destinations and it is unmatched, or names the canary with weight, or is
one of `keys` (asked for by the user, or found so before). Weights are relative in Istio, a single destination's
weight is ignored, and a missing one counts as 0.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from rollout.core.documents import VIRTUAL_SERVICE, Document, copied, namespace_of, ref
from rollout.core.errors import InvalidInput
from rollout.mesh.hosts import resolved

SCALES = (1, 10, 100, 1000, 10000)


@dataclass(frozen=True)
class Pair:
    """The two versions of a service: `host` fully qualified, `stable` and `canary` names of subsets."""

    host: str
    stable: str
    canary: str


def http_routes(vs: Document) -> list[Document]:
    """The VirtualService's http routes."""
    return list((vs.get("spec") or {}).get("http") or [])


def key_of(route: Document) -> str:
    """A key that finds the route again although others move: its name, else its match.

    >>> key_of({"route": []})
    '*'
    """
    if route.get("name"):
        return f"name:{route['name']}"
    if not route.get("match"):
        return "*"
    return "match:" + hashlib.sha256(json.dumps(route["match"], sort_keys=True).encode()).hexdigest()[:12]


def _subset(destination: Document, vs: Document, host: str) -> str | None:
    """The subset that a route's destination names of `host`: empty for all versions, None for another host."""
    to = destination.get("destination") or {}
    if resolved(str(to.get("host", "")), namespace_of(vs)) != host:
        return None
    return str(to.get("subset") or "")


def destinations(vs: Document, host: str) -> set[str]:
    """The subsets of `host` that http routes name, with weight or without; the empty one means all versions."""
    entries = (entry for route in http_routes(vs) for entry in route.get("route") or [])
    return {subset for entry in entries if (subset := _subset(entry, vs, host)) is not None}


def serving(vs: Document, host: str) -> set[str]:
    """The subsets of `host` that routes for everybody, not those with a match, send requests to."""
    found = set()
    for route in http_routes(vs):
        if route.get("match"):
            continue
        for entry, units in zip(route.get("route") or [], _units(route), strict=True):
            subset = _subset(entry, vs, host)
            if subset is not None and units > 0:
                found.add(subset)
    return found


def _units(route: Document) -> list[int]:
    entries = route.get("route") or []
    if len(entries) == 1:
        return [100]
    return [int(entry.get("weight") or 0) for entry in entries]


def _split(vs: Document, route: Document, pair: Pair) -> tuple[int | None, int | None]:
    """Where stable and the canary stand among the route's destinations; an unpinned one is stable's."""
    subsets = [_subset(entry, vs, pair.host) for entry in route.get("route") or []]
    for subset in (pair.stable, pair.canary):
        if subsets.count(subset) > 1:
            raise InvalidInput(
                f"{ref(VIRTUAL_SERVICE, vs)}: a route names {subset} twice; merge these destinations into one"
            )
    stable = next((subsets.index(s) for s in (pair.stable, "") if s in subsets), None)
    return stable, subsets.index(pair.canary) if pair.canary in subsets else None


def shifted(vs: Document, pair: Pair, keys: Collection[str] = ()) -> list[int]:
    """The indexes of the http routes that move."""
    found = []
    for index, route in enumerate(http_routes(vs)):
        stable, canary = _split(vs, route, pair)
        if stable is None and (canary is None or key_of(route) not in keys):
            continue
        units = _units(route)
        live = canary is not None and units[canary] > 0
        if not live and stable is not None and not units[stable]:
            continue  # neither has a share here: there is nothing to divide
        if not route.get("match") or live or key_of(route) in keys:
            found.append(index)
    return found


def pins(vs: Document, pair: Pair, keys: Collection[str] = ()) -> list[str]:
    """The keys of the routes that name one of the versions and are left alone."""
    moved = shifted(vs, pair, keys)
    return [
        key_of(route)
        for index, route in enumerate(http_routes(vs))
        if index not in moved and any(place is not None for place in _split(vs, route, pair))
    ]


def unpinned(vs: Document, pair: Pair, keys: Collection[str] = ()) -> bool:
    """Whether a moving route names no subset: it sends to every version whose pods the Service selects."""
    for index in shifted(vs, pair, keys):
        entries = http_routes(vs)[index].get("route") or []
        subsets = [_subset(entry, vs, pair.host) for entry in entries]
        if pair.stable not in subsets and "" in subsets:
            return True
    return False


def percents(vs: Document, pair: Pair, keys: Collection[str] = ()) -> list[Decimal]:
    """What each moving route gives the canary, in percent of both versions' share.

    An unpinned route counts as 100: nobody can say what the canary gets.
    """
    found = []
    for index in shifted(vs, pair, keys):
        route = http_routes(vs)[index]
        stable, canary = _split(vs, route, pair)
        units = _units(route)
        if stable is not None and not _subset(route["route"][stable], vs, pair.host) and pair.stable:
            found.append(Decimal(100))
            continue
        mine = units[canary] if canary is not None else 0
        share = mine + (units[stable] if stable is not None else 0)
        percent = Fraction(100 * mine, share) if share else Fraction(0)
        found.append(Decimal(percent.numerator) / Decimal(percent.denominator))
    return found


def with_weight(
    vs: Document, pair: Pair, keys: Collection[str], weight: Decimal, scales: dict[str, int]
) -> tuple[list[Document], dict[str, int]]:
    """The http routes with the canary at `weight` percent of both versions' share, and the scales in use.

    Everything else stays: order, other destinations' share, unknown fields. Where the share cannot be expressed in
    whole weights, all weights of the route are multiplied by a power of ten, its scale; it is divided out again as
    soon as it can be. `scales` are those that the present weights carry.
    """
    routes, used = copied(http_routes(vs)), {}
    for index in shifted(vs, pair, keys):
        key = key_of(routes[index])
        scale = _set_weight(vs, routes[index], pair, weight, scales.get(key, 1))
        if scale != 1:
            used[key] = scale
    return routes, used


def _set_weight(vs: Document, route: Document, pair: Pair, weight: Decimal, scale: int) -> int:
    units = [Fraction(unit, scale) for unit in _units(route)]
    stable, canary = _split(vs, route, pair)
    entries = route["route"]
    if stable is None and canary is not None:
        stable = canary
        entries.insert(canary, copied(entries[canary]))
        units.insert(canary, Fraction(0))
        canary += 1
    assert stable is not None, "only routes that name a version are shifted"
    entries[stable]["destination"]["subset"] = pair.stable
    if canary is None:
        canary = stable + 1
        entries.insert(canary, copied(entries[stable]))
        entries[canary]["destination"]["subset"] = pair.canary
        units.insert(canary, Fraction(0))
    share = units[stable] + units[canary]
    units[canary] = share * Fraction(weight) / 100
    units[stable] = share - units[canary]
    scale = next((s for s in SCALES if all((unit * s).denominator == 1 for unit in units)), SCALES[-1])
    for entry, unit in zip(entries, units, strict=True):
        value = round(unit * scale)
        if value != entry.get("weight", 0 if len(entries) > 1 else None):
            entry["weight"] = value
    entries[stable].setdefault("weight", round(units[stable] * scale))
    entries[canary].setdefault("weight", round(units[canary] * scale))
    return scale
