"""Routes of ours in a VirtualService: copies of those that move, for a part of their requests, with something beside.

A copy stands directly above its original, so whatever it does not match goes on as before, and to remove it restores
what was. It has all that the original has: timeout, retries, headers, CORS, unknown fields.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from rollout.core.documents import VIRTUAL_SERVICE, Document, copied, ref
from rollout.core.errors import InvalidInput
from rollout.core.probe import HEADER, Probe
from rollout.core.strategy import READS, Mirror, Overlay, Route, Safe
from rollout.mesh.routes import (
    OURS,
    Pair,
    http_routes,
    key_of,
    ours,
    places,
    share_of,
    shifted,
    with_routes,
    with_weight,
)

ONLY_READS: Document = {"method": {"regex": "|".join(READS)}}
EVERYTHING: Document = {"uri": {"prefix": "/"}}
"""A match of all requests: a route without a match ends the list, and analyzers call what follows unreachable."""
MAPPINGS = ("headers", "queryParams", "sourceLabels", "withoutHeaders")
STRINGS = ("uri", "scheme", "method", "authority", "headers", "queryParams")
SINGLE = ("port", "sourceNamespace", "sourceLabels")
PLAIN = re.compile(r"(?:[A-Za-z0-9|)^$.-]|\((?:\?:)?|(?<=[A-Za-z0-9).\]])[*+?](?![*+?])|\[\^?[A-Za-z0-9-]+\])*")
"""Regular expressions that Python reads as Envoy does (RE2): no backslash, no classes by name, no counts."""


def without(vs: Document, host: str) -> Document:
    """The VirtualService without the routes, and the cookie, that we added for `host`."""
    left = [route for route in http_routes(vs) if not ours(route, host)]
    return with_routes(vs, [_unmarked(route, f"{cookie_name(host)}=") for route in left])


def bare(vs: Document, host: str) -> bool:
    """Whether nothing of ours for `host` is in its routes."""
    return http_routes(without(vs, host)) == http_routes(vs)


def laid_out(
    vs: Document,
    pair: Pair,
    keys: Collection[str],
    weight: Decimal,
    acts: Sequence[Overlay],
    scales: dict[str, int],
    back: bool = False,
) -> tuple[list[Document], dict[str, int]]:
    """The http routes with the canary at `weight` and what `acts` ask for, and the scales in use (see `with_weight`).

    Raises `InvalidInput` where a route of ours cannot be made.
    """
    theirs = without(vs, pair.host)
    routes, used = with_weight(theirs, pair, keys, weight, scales, back)
    return dressed(with_routes(theirs, routes), pair, keys, acts), used


def dressed(vs: Document, pair: Pair, keys: Collection[str], acts: Sequence[Overlay]) -> list[Document]:
    """The http routes with those that `acts` ask for, above each that moves, and no other of ours.

    Raises `InvalidInput` where one cannot be made.
    """
    theirs = without(vs, pair.host)
    moving = shifted(theirs, pair, keys) if acts else []
    found: list[Document] = []
    for index, route in enumerate(http_routes(theirs)):
        original = route
        for act in acts if index in moving else ():
            if isinstance(act, Mirror):
                found += _mirroring(theirs, route, pair, act)
            elif isinstance(act, Probe):
                found += _probing(theirs, index, pair, act)
            else:
                found += _routing(theirs, index, pair, act)
                original = _marked(theirs, route, pair, act)
        found.append(original)
    return found


def _routing(vs: Document, index: int, pair: Pair, act: Route) -> Iterator[Document]:
    """The copies that send what matches, or carries our cookie, to the canary; others of the route keep their share."""
    key = key_of(http_routes(vs)[index])
    routes, _ = with_weight(vs, pair, [key], Decimal(100), {})
    route = _marked(vs, routes[index], pair, act)
    stable, _ = places(vs, route, pair)
    entries = [entry for place, entry in enumerate(route["route"]) if place not in stable]
    cookie = {"headers": {"cookie": {"regex": cookie_regex(cookie_name(pair.host), pair.canary)}}} if act.sticky else {}
    for kind, by in (("route", dict(act.match)), ("sticky", cookie)):
        if by and (matches := narrowed(vs, route.get("match") or [{}], by)):
            name = f"{OURS}{pair.host}/{kind}/{key}"
            yield {**copied(route), "name": name, "match": matches, "route": copied(entries)}


def _probing(vs: Document, index: int, pair: Pair, act: Probe) -> Iterator[Document]:
    """The copies that send probes to the canary, and those to compare with to stable; each marks its answers."""
    key = key_of(http_routes(vs)[index])
    for kind, version, weight in (("probe", pair.canary, Decimal(100)), ("probe-stable", pair.stable, Decimal(0))):
        mark = act.mark(pair.token, version)
        routes, _ = with_weight(vs, pair, [key], weight, {})
        route = copied(routes[index])
        matches = narrowed(vs, route.get("match") or [{}], {"headers": {HEADER: {"exact": mark}}})
        (place, *_) = places(vs, route, pair)[version == pair.canary]
        headers = route.setdefault("headers", {})
        headers.setdefault("response", {}).setdefault("set", {})[HEADER] = mark
        entry = {name: value for name, value in route["route"][place].items() if name != "weight"}
        if matches:
            yield {**route, "name": f"{OURS}{pair.host}/{kind}/{key}", "match": matches, "route": [entry]}


def cookie_name(host: str) -> str:
    """The cookie that keeps users where they are.

    >>> cookie_name("reviews.shop.svc.cluster.local")
    'rollout-reviews.shop'
    """
    return "rollout-" + ".".join(host.split(".")[:2])


def cookie_regex(name: str, value: str) -> str:
    """What matches a Cookie header with this cookie among others.

    >>> [bool(re.fullmatch(cookie_regex("a.b", "c"), text)) for text in ("a.b=c", "x=1; a.b=c; y=2", "a-b=c", "a.b=cd")]
    [True, True, False, False]
    """
    plain = (re.sub(r"[^A-Za-z0-9_-]", lambda found: f"[{found[0]}]", text) for text in (name, value))
    return "(.*;)? ?{}={}(;.*)?".format(*plain)


def _marked(vs: Document, route: Document, pair: Pair, act: Route) -> Document:
    """The route with our cookie in the canary's answers, if it is to keep its users."""
    if not act.sticky:
        return route
    route = copied(route)
    for place in places(vs, route, pair)[1]:
        response = route["route"][place].setdefault("headers", {}).setdefault("response", {})
        if any(name.lower() == "set-cookie" for how in ("add", "set") for name in response.get(how) or {}):
            raise InvalidInput(
                f"{ref(VIRTUAL_SERVICE, vs)}: the destination {pair.canary} sets a cookie already, and we cannot "
                "set another there; leave `sticky` out"
            )
        text = f"{cookie_name(pair.host)}={pair.canary}; Max-Age={act.sticky:.0f}; Path=/; HttpOnly; SameSite=Lax"
        response.setdefault("add", {})["set-cookie"] = text
    return route


def _unmarked(route: Document, mark: str) -> Document:
    """The route without a cookie that begins so, nor what it left empty; the route itself where there is none."""
    entries = route.get("route") or []
    marked = [place for place, entry in enumerate(entries) if _cookie(entry).startswith(mark)]
    route = copied(route) if marked else route
    for place in marked:
        entry = route["route"][place]
        headers, response = entry["headers"], entry["headers"]["response"]
        del response["add"]["set-cookie"]
        for inside, name in ((response, "add"), (headers, "response"), (entry, "headers")):
            if not inside[name]:
                del inside[name]
    return route


def _cookie(entry: Document) -> str:
    """What a destination's answers are told to keep, under the name that we write."""
    response = (entry.get("headers") or {}).get("response") or {}
    return str((response.get("add") or {}).get("set-cookie", ""))


def _mirroring(vs: Document, route: Document, pair: Pair, act: Mirror) -> Iterator[Document]:
    """The copy that repeats requests at the canary; mirrors that the user has stay beside ours."""
    matches = route.get("match") or [EVERYTHING]
    if act.safe is Safe.READS:
        matches = narrowed(vs, route.get("match") or [{}], ONLY_READS)
    if not matches:
        return  # it takes no reads
    copy = copied({key: value for key, value in route.items() if key not in ("mirror", *_PERCENT)})
    # A mirror repeats what others of the route serve too: it must not be more than what stable serves.
    percent = Fraction(act.percent) * share_of(vs, route, pair)
    mine = {"destination": _canary(route, vs, pair), "percentage": {"value": round(float(percent), 4)}}
    copy |= {"name": f"{OURS}{pair.host}/{act.kind}/{key_of(route)}", "match": matches}
    copy["mirrors"] = [*mirrors(route), mine]
    yield copy


_PERCENT = ("mirrorPercentage", "mirrorPercent", "mirror_percent")


def mirrors(route: Document) -> list[Document]:
    """A route's mirrors, all in the newer form: it may not have both."""
    old = [{"destination": route["mirror"]}] if route.get("mirror") else []
    if old and route.get("mirrorPercentage") is not None:
        old[0]["percentage"] = route["mirrorPercentage"]  # an empty one means 0 %, none at all 100 %
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


class _Unsayable(Exception):
    """No one match says both."""


def _both(vs: Document, one: Document, other: Document) -> Document | None:
    found: Document = copied({key: value for key, value in one.items() if key != "name"})
    if "uri" in one and "uri" in other and (one.get("ignoreUriCase") or other.get("ignoreUriCase")):
        raise _refused(vs, "uri", one["uri"], other["uri"])
    for key, value in other.items():
        pairs = value if key in MAPPINGS else {key: value}
        into = found.setdefault(key, {}) if key in MAPPINGS else found
        for name, wanted in pairs.items():
            try:
                said = _said_by_both(into[name], wanted, key) if name in into else wanted
            except _Unsayable:
                raise _refused(vs, name, into[name], wanted) from None
            if said is None:
                return None
            into[name] = copied(said)
    return found


def _refused(vs: Document, name: str, one: object, other: object) -> InvalidInput:
    return InvalidInput(
        f"{ref(VIRTUAL_SERVICE, vs)}: a route that moves matches {name} {one}, and ours beside it would match "
        f"{other}: we cannot write a match that says both; write that route in another way, or leave the step out"
    )


def _said_by_both(one: object, other: object, key: str) -> object | None:
    """The condition that both are, or None where nothing meets both. Raises `_Unsayable` where nobody can tell."""
    if one == other:
        return one
    if key in SINGLE:
        return None  # a request has one port, and a client one namespace and one value of a label
    if key not in STRINGS or not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        raise _Unsayable
    if not one or not other:
        return one or other  # an empty one asks only that there is a value
    for few, many in ((_listed(one), other), (_listed(other), one)):
        if few is not None:
            kept = [text for text in few if _meets(text, many)]
            return None if not kept else {"exact": kept[0]} if not kept[1:] else {"regex": "|".join(kept)}
    if "prefix" in one and "prefix" in other:
        short, long = sorted((str(one["prefix"]), str(other["prefix"])), key=len)
        return {"prefix": long} if long.startswith(short) else None
    raise _Unsayable


def _listed(condition: Mapping[str, object]) -> list[str] | None:
    """All texts that meet it, where it lists them."""
    if "exact" in condition:
        return [str(condition["exact"])]
    texts = str(condition.get("regex", "")).split("|")
    return texts if all(re.fullmatch(r"[A-Za-z0-9]+", text) for text in texts) else None


def _meets(text: str, condition: Mapping[str, object]) -> bool:
    if "exact" in condition:
        return text == condition["exact"]
    if "prefix" in condition:
        return text.startswith(str(condition["prefix"]))
    regex = str(condition.get("regex", ""))
    if set(condition) != {"regex"} or not PLAIN.fullmatch(regex):
        raise _Unsayable
    try:
        return re.fullmatch(regex, text) is not None
    except re.error:
        raise _Unsayable from None
