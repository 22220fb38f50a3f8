"""Routes of ours in a VirtualService: copies of those that move, for a part of their requests, with something beside.

A copy stands directly above its original, so whatever it does not match goes on as before, and to remove it restores
what was. It has all that the original has: timeout, retries, headers, CORS, unknown fields.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from rollout.core.documents import VIRTUAL_SERVICE, Document, copied, ref
from rollout.core.errors import InvalidInput
from rollout.core.strategy import Mirror, Safe
from rollout.mesh.routes import OURS, Pair, http_routes, key_of, places, shifted

READS: Document = {"method": {"regex": "GET|HEAD|OPTIONS"}}
EVERYTHING: Document = {"uri": {"prefix": "/"}}
"""A match of all requests: a route without a match ends the list, and analyzers call what follows unreachable."""
MAPPINGS = ("headers", "queryParams", "sourceLabels", "withoutHeaders")


def without(vs: Document, host: str) -> Document:
    """The VirtualService without the routes that we added for `host`."""
    kept = [route for route in http_routes(vs) if not str(route.get("name", "")).startswith(_prefix(host))]
    return {**vs, "spec": {**(vs.get("spec") or {}), "http": kept}}


def dressed(vs: Document, pair: Pair, keys: Collection[str], act: Mirror | None) -> list[Document]:
    """The http routes with those that `act` asks for, above each that moves, and no other of ours.

    Raises `InvalidInput` where one cannot be made.
    """
    bare = without(vs, pair.host)
    moving = shifted(bare, pair, keys) if act else []
    found: list[Document] = []
    for index, route in enumerate(http_routes(bare)):
        if act and index in moving:
            found += _mirroring(bare, route, pair, act)
        found.append(route)
    return found


def _prefix(host: str) -> str:
    return f"{OURS}{host}/"


def _mirroring(vs: Document, route: Document, pair: Pair, act: Mirror) -> Iterator[Document]:
    """The copy that repeats requests at the canary; mirrors that the user has stay beside ours."""
    matches = route.get("match") or [EVERYTHING]
    if act.safe is Safe.READS:
        matches = narrowed(vs, route.get("match") or [{}], READS)
    if not matches:
        return  # it takes no reads
    copy = copied({key: value for key, value in route.items() if key not in ("mirror", *_PERCENT)})
    mine = {"destination": _canary(route, vs, pair), "percentage": {"value": float(act.percent)}}
    copy |= {"name": f"{_prefix(pair.host)}{act.kind}/{key_of(route)}", "match": matches}
    copy["mirrors"] = [*mirrors(route), mine]
    yield copy


_PERCENT = ("mirrorPercentage", "mirrorPercent", "mirror_percent")


def mirrors(route: Document) -> list[Document]:
    """A route's mirrors, all in the newer form: it may not have both."""
    old = [{"destination": route["mirror"]}] if route.get("mirror") else []
    if old and (route.get("mirrorPercentage") or {}).get("value") is not None:
        old[0]["percentage"] = route["mirrorPercentage"]
    elif old and (percent := route.get("mirrorPercent", route.get("mirror_percent"))) is not None:
        old[0]["percentage"] = {"value": float(percent)}
    return copied([*old, *(route.get("mirrors") or [])])  # type: ignore[no-any-return]


def _canary(route: Document, vs: Document, pair: Pair) -> Document:
    """The canary's destination, written as the route writes stable's."""
    stable, canary = places(vs, route, pair)
    to = copied(route["route"][(canary or stable)[0]]["destination"])
    return {**to, "subset": pair.canary}


def narrowed(vs: Document, matches: Sequence[Document], by: Document) -> list[Document]:
    """Those requests of a route's `matches` (one of which is enough) that also match `by`; none: there are no such.

    Raises `InvalidInput` where no one match says both.
    """
    return [both for match in matches if (both := _both(vs, match, by)) is not None]


def _both(vs: Document, one: Document, other: Document) -> Document | None:
    found: Document = copied({key: value for key, value in one.items() if key != "name"})
    for key, value in other.items():
        pairs = {key: value} if key not in MAPPINGS else value
        into = found if key not in MAPPINGS else found.setdefault(key, {})
        for name, wanted in pairs.items():
            if name not in into:
                into[name] = copied(wanted)
            elif (said := _said_by_both(into[name], wanted)) is None:
                return None
            elif said == {}:
                raise InvalidInput(
                    f"{ref(VIRTUAL_SERVICE, vs)}: a route matches {name} {into[name]}, and ours would match {wanted}: "
                    "no match of Istio's says both; write the route without it, or leave the step out"
                )
            else:
                into[name] = said
    return found


def _said_by_both(one: object, other: object) -> object | None:
    """What matches both: the narrower; None where nothing can, and an empty mapping where it cannot be written."""
    if one == other:
        return one
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return None  # two labels, ports or names
    for narrow, wide in ((one, other), (other, one)):
        if "exact" in narrow:
            return narrow if _matches(str(narrow["exact"]), wide) else None
    if "prefix" in one and "prefix" in other:
        short, long = sorted((str(one["prefix"]), str(other["prefix"])), key=len)
        return {"prefix": long} if long.startswith(short) else None
    return {}


def _matches(text: str, by: Mapping[str, object]) -> bool:
    if "exact" in by:
        return text == by["exact"]
    if "prefix" in by:
        return text.startswith(str(by["prefix"]))
    return re.fullmatch(str(by.get("regex", ".*")), text) is not None
