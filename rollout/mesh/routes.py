"""The routes of a VirtualService that a rollout moves: find them, read the canary's share, write it. Pure.

A route is shifted if stable is among its destinations and it is unmatched, or names the canary with weight, or is
one of `keys` (found so before, or named by the user); not if it is one of those after `LEFT`. Weights are relative in
Istio, a single destination's weight is ignored, and a missing one counts as 0.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from rollout.core.documents import VIRTUAL_SERVICE, Document, copied, namespace_of, ref
from rollout.core.errors import InvalidInput
from rollout.mesh.hosts import resolved

SCALES = (1, 10, 100, 1000, 10000)
OURS = "rollout.dev/"
"""How the names of routes begin that we add (see `overlays`): they follow their originals, and are not moved."""

NAME = "name:"
"""How the key of a route begins that has a name."""
LEFT = "!"
"""What stands before the key of a route that is named, but was where it is to go already: it is left alone, also where
it names both versions. It travels with the keys of those that move, so that whoever takes back by them knows it."""


@dataclass(frozen=True)
class Pair:
    """The two versions of a service: `host` fully qualified, `stable` and `canary` names of subsets.

    `token` is the attempt's own, by which its probes are told.
    """

    host: str
    stable: str
    canary: str
    token: str = field(default="", compare=False)


def http_routes(vs: Document) -> list[Document]:
    """The VirtualService's http routes. Raises `InvalidInput` where they do not have the shape of routes."""
    spec = vs.get("spec") or {}
    found = spec.get("http") or [] if isinstance(spec, dict) else None
    if not isinstance(found, list) or not all(_is_route(route) for route in found):
        raise InvalidInput(f"{ref(VIRTUAL_SERVICE, vs)}: spec.http is not a list of routes with destinations")
    return list(found)


def _is_route(route: object) -> bool:
    if not isinstance(route, dict):
        return False
    entries = route.get("route") or []
    return isinstance(entries, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("destination"), dict)
        and isinstance(entry.get("weight") or 0, int)
        for entry in entries
    )


def key_of(route: Document) -> str:
    """A key that finds the route again although others move: its name, else its match.

    >>> key_of({"route": []})
    '*'
    """
    if route.get("name"):
        return f"{NAME}{route['name']}"
    if not route.get("match"):
        return "*"
    return "match:" + hashlib.sha256(json.dumps(route["match"], sort_keys=True).encode()).hexdigest()[:12]


def with_routes(vs: Document, routes: list[Document]) -> Document:
    """The VirtualService with other http routes."""
    return {**vs, "spec": {**(vs.get("spec") or {}), "http": routes}}


def ours(route: Document, host: str = "") -> bool:
    """Whether it is a route that we added, for `host` or (empty) for any service."""
    return str(route.get("name", "")).startswith(f"{OURS}{host}/" if host else OURS)


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


def bearing(vs: Document, host: str, names: Collection[str]) -> tuple[str, ...]:
    """The keys of the http routes that bear one of `names` and lead to `host`, whatever they match."""
    wanted = {f"{NAME}{name}" for name in names}
    return tuple(key_of(route) for route in http_routes(vs) if key_of(route) in wanted and leads(route, vs, host))


def named(vs: Document, host: str, names: Collection[str]) -> tuple[str, ...]:
    """The same. Raises `InvalidInput` where another route of the VirtualService bears such a name."""
    found = bearing(vs, host, names)
    demand_unlike(vs, found)
    return found


def demand_unlike(vs: Document, keys: Collection[str]) -> None:
    """Raise `InvalidInput` where one of these names is borne by two routes: nobody could tell them apart."""
    there = [key_of(route) for route in http_routes(vs)]
    if twice := next((key for key in keys if key.startswith(NAME) and there.count(key) > 1), ""):
        name = twice.removeprefix(NAME)
        raise InvalidInput(f"{ref(VIRTUAL_SERVICE, vs)} has more than one route of the name {name}; give each its own")


def bearers(vs: Document, host: str, key: str) -> list[Document]:
    """Its http routes that lead to `host` and have this key."""
    return [route for route in http_routes(vs) if key_of(route) == key and leads(route, vs, host)]


def leads(route: Document, vs: Document, host: str) -> bool:
    """Whether it is a route of the user's with `host` among its destinations."""
    return not ours(route) and any(_subset(entry, vs, host) is not None for entry in route.get("route") or [])


def serving(vs: Document, host: str, keys: Collection[str] = ()) -> set[str]:
    """The subsets of `host` that routes for everybody send requests to: those without a match, or with such a key."""
    open_to_all = (route for route in http_routes(vs) if not route.get("match") or key_of(route) in keys)
    return set[str]().union(*(_live(route, vs, host) for route in open_to_all))


def sharing(vs: Document, host: str) -> set[str]:
    """The subsets that serve, and those among which a route with a match divides requests."""
    live = (_live(route, vs, host) for route in http_routes(vs))
    return serving(vs, host).union(*(subsets for subsets in live if len(subsets) > 1))


def movable(vs: Document, host: str, keys: Collection[str] = ()) -> list[int]:
    """The indexes of the http routes that a rollout of `host` moves, whichever its versions are; `keys` as named."""
    found = []
    for index, route in enumerate(http_routes(vs)):
        live = _live(route, vs, host)
        if live and not ours(route) and (not route.get("match") or len(live) > 1 or key_of(route) in keys):
            found.append(index)
    return found


def _live(route: Document, vs: Document, host: str) -> set[str]:
    """The subsets of `host` that have a share in a route."""
    entries = zip(route.get("route") or [], _units(route), strict=True)
    return {subset for entry, units in entries if units > 0 and (subset := _subset(entry, vs, host)) is not None}


def _units(route: Document) -> list[int]:
    entries = route.get("route") or []
    if len(entries) == 1:
        return [100]
    return [int(entry.get("weight") or 0) for entry in entries]


def reaching(vs: Document, host: str, subset: str) -> list[str]:
    """The keys of the routes by which requests come to a subset of `host`: also by a match, repeated, or as TCP.

    A route that names no subset leads to each.
    """
    found = []
    for route in http_routes(vs):
        copies = [{"destination": route["mirror"]}] if route.get("mirror") else []
        repeated = {_subset(entry, vs, host) for entry in (*copies, *(route.get("mirrors") or []))}
        if {subset, ""} & (repeated | _live(route, vs, host)):
            found.append(key_of(route))
    spec = vs.get("spec") or {}
    plain = [(kind, route) for kind in ("tls", "tcp") for route in spec.get(kind) or []]
    return [*found, *(kind for kind, route in plain if {subset, ""} & _live(route, vs, host))]


def relieving_patch(vs: Document, host: str, subset: str) -> Document:
    """The merge patch that removes what names a subset of `host` and sends nothing there; empty where nothing does."""
    routes = copied(http_routes(vs))
    for route in routes:
        entries = list(zip(route.get("route") or [], _units(route), strict=True))
        kept = [entry for entry, units in entries if units > 0 or _subset(entry, vs, host) != subset]
        if len(kept) < len(entries):
            route["route"] = kept
    return {} if routes == http_routes(vs) else {"spec": {"http": routes}}


def standing(vs: Document, route: Document, pair: Pair) -> set[str]:
    """The subsets of the host that have a share in a route; where none is named that is stable, as in `places`."""
    live = _live(route, vs, pair.host)
    return {subset or pair.stable for subset in live} if _unpinned(vs, route, pair) else live


def places(vs: Document, route: Document, pair: Pair) -> tuple[list[int], list[int]]:
    """The places of stable and of the canary among the route's destinations; an unpinned destination is stable's."""
    subsets = [_subset(entry, vs, pair.host) for entry in route.get("route") or []]
    stable = [i for i, subset in enumerate(subsets) if subset == pair.stable]
    canary = [i for i, subset in enumerate(subsets) if subset == pair.canary]
    return stable or [i for i, subset in enumerate(subsets) if subset == ""], canary


def share_of(vs: Document, route: Document, pair: Pair) -> Fraction:
    """The part of a route's requests (0 to 1) that both versions have together."""
    stable, canary = places(vs, route, pair)
    units = _units(route)
    return Fraction(sum(units[i] for i in (*stable, *canary)), sum(units) or 1)


def shifted(vs: Document, pair: Pair, keys: Collection[str] = ()) -> list[int]:
    """The indexes of the http routes that move; `keys` are those of an attempt, in flight or about to begin.

    Where one of them is lost, a route for everybody that goes to the canary alone took its place.
    """
    found, there = [], [key_of(route) for route in http_routes(vs)]
    left = {key.removeprefix(LEFT) for key in keys if key.startswith(LEFT)}
    lost = set(keys) - set(there) - {LEFT + key for key in left}
    for index, route in enumerate(http_routes(vs)):
        key, (stable, canary) = key_of(route), places(vs, route, pair)
        units, open_to_all = _units(route), not route.get("match")
        live, kept = any(units[i] for i in canary), any(units[i] for i in stable)
        if not live and not kept:
            continue  # neither has a share here: there is nothing to divide
        pin = not open_to_all and not (live and kept)
        if ours(route) or (pin and key in left):
            continue
        # A tester's rule to the canary, to which somebody gave the name of one that moves, is not what the name meant.
        meant = key in keys and not (pin and live and len(bearers(vs, pair.host, key)) > 1)
        if meant or (stable and (open_to_all or live)) or (lost and open_to_all and live):
            found.append(index)
    return found


def doubled(vs: Document, pair: Pair, keys: Collection[str] = ()) -> str:
    """The version that a moving route names more than once, or nothing. Istio allows it; nobody means it."""
    for index in shifted(vs, pair, keys):
        for name, found in zip((pair.stable, pair.canary), places(vs, http_routes(vs)[index], pair), strict=True):
            if len(found) > 1:
                return name
    return ""


def alike(vs: Document, pair: Pair, keys: Collection[str]) -> list[str]:
    """Those of an attempt's keys that are the name of a route to the host which does not move, too."""
    moving = [key_of(http_routes(vs)[index]) for index in shifted(vs, pair, keys)]
    names = (key for key in keys if key.startswith(NAME))
    return [key for key in names if len(bearers(vs, pair.host, key)) > max(1, moving.count(key))]


def pins(vs: Document, pair: Pair, keys: Collection[str] = ()) -> list[str]:
    """The keys of the routes that name one of the versions and are left alone, but for those after `LEFT`."""
    still = (key_of(route) for route in _still(vs, pair, keys) if any(places(vs, route, pair)))
    return [key for key in still if f"{LEFT}{key}" not in keys]


def lagging(vs: Document, pair: Pair, keys: Collection[str] = ()) -> list[str]:
    """The keys of the routes that send to stable and do not move."""
    return [key_of(route) for route in _still(vs, pair, keys) if pair.stable in standing(vs, route, pair)]


def _still(vs: Document, pair: Pair, keys: Collection[str]) -> list[Document]:
    """The routes of the user's that do not move."""
    moved = shifted(vs, pair, keys)
    return [route for index, route in enumerate(http_routes(vs)) if index not in moved and not ours(route)]


def unpinned(vs: Document, pair: Pair, keys: Collection[str] = ()) -> bool:
    """Whether a moving route names no subset: it sends to every version whose pods the Service selects."""
    return any(_unpinned(vs, http_routes(vs)[index], pair) for index in shifted(vs, pair, keys))


def _unpinned(vs: Document, route: Document, pair: Pair) -> bool:
    stable, _ = places(vs, route, pair)
    return any(_subset(route["route"][place], vs, pair.host) == "" for place in stable)


def percents(vs: Document, pair: Pair, keys: Collection[str] = ()) -> list[Decimal]:
    """What each moving route gives the canary, in percent of both versions' share.

    An unpinned route counts as 100: nobody can say what the canary gets.
    """
    return [_percent(vs, http_routes(vs)[index], pair) for index in shifted(vs, pair, keys)]


def _percent(vs: Document, route: Document, pair: Pair) -> Decimal:
    if _unpinned(vs, route, pair):
        return Decimal(100)
    stable, canary = places(vs, route, pair)
    units = _units(route)
    mine = sum(units[i] for i in canary)
    percent = Fraction(100 * mine, mine + sum(units[i] for i in stable))
    return Decimal(percent.numerator) / Decimal(percent.denominator)


def with_weight(
    vs: Document, pair: Pair, keys: Collection[str], weight: Decimal, scales: dict[str, int], back: bool = False
) -> tuple[list[Document], dict[str, int]]:
    """The http routes with the canary at `weight` percent of both versions' share, and the scales in use.

    Where it goes `back`, a route that gives the canary less keeps that. Everything else stays: order, other
    destinations' share, unknown fields. Where the share cannot be expressed in whole weights, all weights of the route
    are multiplied by a power of ten, its scale; it is divided out again as soon as it can be. `scales` are those that
    the present weights carry.
    """
    routes, used = copied(http_routes(vs)), {}
    for index in shifted(vs, pair, keys):
        key = key_of(routes[index])
        scale = scales.get(key, 1)
        if not back or _percent(vs, routes[index], pair) >= weight:
            scale = _set_weight(vs, routes[index], pair, weight, scale)
        if scale != 1:
            used[key] = scale
    return routes, used


def _set_weight(vs: Document, route: Document, pair: Pair, weight: Decimal, scale: int) -> int:
    units = [Fraction(unit, scale) for unit in _units(route)]
    stable, canary = places(vs, route, pair)
    entries = route["route"]
    if not stable:
        _insert(entries, units, canary[0], canary[0], pair.stable)
    elif not canary:
        entries[stable[0]]["destination"]["subset"] = pair.stable
        _insert(entries, units, stable[0] + 1, stable[0], pair.canary)
    else:
        entries[stable[0]]["destination"]["subset"] = pair.stable
    stable, canary = places(vs, route, pair)
    share = sum((units[i] for i in (*stable, *canary)), Fraction(0))
    for place in (*stable, *canary):
        units[place] = Fraction(0)
    units[canary[0]] = share * Fraction(weight) / 100
    units[stable[0]] = share - units[canary[0]]
    scale = next((s for s in SCALES if all((unit * s).denominator == 1 for unit in units)), SCALES[-1])
    for entry, unit in zip(entries, units, strict=True):
        value = round(unit * scale)
        if value != entry.get("weight", 0):
            entry["weight"] = value
    for place in (stable[0], canary[0]):
        entries[place].setdefault("weight", round(units[place] * scale))
    return scale


def _insert(entries: list[Document], units: list[Fraction], place: int, like: int, subset: str) -> None:
    """Add a destination of weight 0 as a copy of another, so that it has its host, port and headers."""
    entries.insert(place, copied(entries[like]))
    entries[place]["destination"]["subset"] = subset
    units.insert(place, Fraction(0))
