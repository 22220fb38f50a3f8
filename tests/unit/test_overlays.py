"""Routes of ours: what users get stays what it was, and what was there comes back."""

import re
from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.documents import Document
from rollout.core.errors import InvalidInput
from rollout.core.probe import HEADER, Probe
from rollout.core.strategy import Mirror, Route, Safe
from rollout.mesh.overlays import ONLY_READS, bare, dressed, narrowed, without
from rollout.mesh.routes import Pair, http_routes, percents, pins, shifted
from tests.unit.test_routes import to, vs

PAIR = Pair("reviews.shop.svc.cluster.local", "v1", "v2")
OTHERS = Pair("ratings.shop.svc.cluster.local", "v1", "v2")
READING = Mirror(Decimal(100), Safe.READS)
ALL = Mirror(Decimal("12.5"), Safe.ALL)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE")
SAFE = ("GET", "HEAD", "OPTIONS")


# A tiny matcher: as Envoy takes the first route one of whose matches a request meets.


def meets(match: Document, request: Document) -> bool:
    return all(_met(key, wanted, request, bool(match.get("ignoreUriCase"))) for key, wanted in match.items())


def _met(key: str, wanted: Any, request: Document, fold: bool) -> bool:
    if key in ("headers", "withoutHeaders"):
        sent = request["headers"]
        there = [name in sent and (not one or said(one, sent[name])) for name, one in wanted.items()]
        return all(there) if key == "headers" else not any(there)
    if key == "sourceLabels":
        return bool(wanted.items() <= request["labels"].items())
    if key == "gateways":
        return request["gateway"] in wanted
    return key not in ("uri", "method") or said(wanted, request[key], fold and key == "uri")


def said(condition: Document, text: str, fold: bool = False) -> bool:
    ((kind, wanted),) = condition.items()
    if fold:
        text, wanted = text.lower(), wanted.lower()
    found = {"exact": text == wanted, "prefix": text.startswith(wanted)}
    return found[kind] if kind in found else re.fullmatch(wanted, text) is not None


def first(routes: list[Document], request: Document) -> Document | None:
    return next((r for r in routes if not r.get("match") or any(meets(match, request) for match in r["match"])), None)


def destinations(route: Document | None) -> list[tuple[str, str, int]]:
    entries = route["route"] if route and route.get("route") else []
    return [(e["destination"]["host"], e["destination"].get("subset", ""), e.get("weight", 100)) for e in entries]


# Routes as users write them


def conditions(*texts: str) -> st.SearchStrategy[Document]:
    return st.sampled_from(texts).flatmap(
        lambda text: st.sampled_from([{"exact": text}, {"prefix": text[:2]}, {"regex": f"{text}|X"}, {"regex": ".*"}])
    )


METHOD = st.one_of(conditions(*METHODS), st.sampled_from([{"regex": "^(GET|POST)$"}, {"regex": "[A-Z]+"}]))
MATCH = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["one", "two"]),
        "uri": conditions("/api", "/API/x"),
        "ignoreUriCase": st.booleans(),
        "method": METHOD,
        "headers": st.dictionaries(st.sampled_from(["who", "x"]), st.one_of(st.just({}), conditions("tester"))),
        "withoutHeaders": st.dictionaries(st.sampled_from(["who", "y"]), conditions("tester"), max_size=1),
        "sourceLabels": st.just({"app": "web"}),
        "gateways": st.sampled_from([["mesh"], ["mesh", "edge/gw"]]),
        "unknown": st.just({"kept": True}),
    },
)
SPLIT = st.sampled_from(
    [
        [to("v1")],
        [to("v1", 100), to("v2", 0)],
        [to("v1", 60), to("v2", 0), to("v3", 40)],
        [to("v1", 100, "ratings")],
        [to("v2")],
    ]
)
EXTRA = st.fixed_dictionaries(
    {},
    optional={
        "timeout": st.just("3s"),
        "retries": st.just({"attempts": 3}),
        "mirror": st.just({"host": "shadow"}),
        "mirrorPercentage": st.sampled_from([{"value": 20}, {}]),
        "fault": st.just({"delay": {"fixedDelay": "1s"}}),
        "unknown": st.just({"x": [1, {"y": 2}]}),
    },
)
ROUTE: st.SearchStrategy[Document] = st.one_of(
    st.builds(lambda match, split, extra: {"match": match, "route": split, **extra},
              st.lists(MATCH, min_size=1, max_size=3), SPLIT, EXTRA),
    st.sampled_from([{"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new"}},
                     {"match": [{"uri": {"exact": "/d"}}], "delegate": {"name": "other"}},
                     {"match": [{"uri": {"exact": "/n"}}], "directResponse": {"status": 404}}]),
)  # fmt: skip
LAST: st.SearchStrategy[Document] = st.builds(
    lambda split, extra: {"name": "main", "route": split, **extra}, SPLIT, EXTRA
)
ROUTES = st.builds(lambda routes, last: [*routes, last], st.lists(ROUTE, max_size=4), LAST)
REQUEST = st.fixed_dictionaries(
    {
        "uri": st.sampled_from(["/", "/api", "/API/x", "/api/x", "/old/1", "/d"]),
        "method": st.sampled_from(METHODS),
        "headers": st.dictionaries(st.sampled_from(["who", "x", "y"]), st.sampled_from(["tester", "te", ""])),
        "labels": st.sampled_from([{}, {"app": "web"}]),
        "gateway": st.sampled_from(["mesh", "edge/gw"]),
    }
)
ACTS = st.sampled_from([READING, ALL])


def clothed(document: Document, act: Mirror | None) -> Document:
    acts = (act,) if act else ()
    return {**document, "spec": {**document["spec"], "http": dressed(document, PAIR, (), acts)}}


@given(ROUTES, ACTS)
def test_what_was_there_comes_back_in_its_order(routes: list[Document], act: Mirror) -> None:
    document = vs(*routes)
    before = deepcopy(document)
    after = clothed(document, act)
    assert document == before, "the document that was read is not changed in place"
    assert without(after, PAIR.host) == document
    assert clothed(after, act) == after
    assert clothed(after, None) == document
    assert bare(clothed(after, None), PAIR.host)
    assert percents(after, PAIR) == percents(document, PAIR)
    assert pins(after, PAIR) == pins(document, PAIR)
    theirs = [route for route in after["spec"]["http"] if route in routes]
    assert theirs == routes
    added = len(after["spec"]["http"]) - len(routes)
    assert added <= len(shifted(document, PAIR))
    assert act is READING or added == len(shifted(document, PAIR))


@given(ROUTES, ACTS, REQUEST)
def test_users_get_what_they_got_and_those_that_may_be_are_repeated(
    routes: list[Document], act: Mirror, request: Document
) -> None:
    document = vs(*routes)
    before, after = first(routes, request), first(dressed(document, PAIR, (), (act,)), request)
    assert before is not None
    assert after is not None
    assert destinations(before) == destinations(after)
    assert {k: v for k, v in before.items() if k not in OURS} == {k: v for k, v in after.items() if k not in OURS}
    moves = before in [routes[index] for index in shifted(document, PAIR)]
    wanted = moves and (act.safe is Safe.ALL or request["method"] in SAFE)
    parts = {subset: weight for _, subset, weight in destinations(before)}
    percent = float(act.percent) * (0.6 if "v3" in parts else 1)  # a mirror repeats v3's requests too
    ours = [m for m in after.get("mirrors", []) if m["destination"].get("subset") == "v2"]
    assert ours == [{"destination": to("v2")["destination"], "percentage": {"value": percent}}] * wanted
    assert [*mirrored(before), *[("reviews", percent)] * wanted] == list(mirrored(after))


OURS = ("name", "match", "mirror", "mirrors", "mirrorPercentage", "mirrorPercent", "mirror_percent")


def mirrored(route: Document) -> Iterator[tuple[str, float]]:
    """As Istio reads it: no percentage means all, an empty one none."""
    if "mirror" in route:
        yield route["mirror"]["host"], percentage(route.get("mirrorPercentage"), route.get("mirrorPercent"))
    for one in route.get("mirrors", []):
        yield one["destination"]["host"], percentage(one.get("percentage"))


def percentage(said: Any, old: Any = None) -> float:
    return float(said.get("value", 0)) if said is not None else 100.0 if old is None else float(old)


@pytest.mark.parametrize(
    ("theirs", "value"),
    [
        ({}, None),
        ({"mirrorPercentage": {"value": 20}}, {"value": 20}),
        ({"mirrorPercentage": {}}, {}),
        ({"mirrorPercent": 7}, {"value": 7.0}),
        ({"mirror_percent": 0}, {"value": 0.0}),
    ],
)
def test_a_mirror_of_the_users_stays_beside_ours(theirs: Document, value: Document | None) -> None:
    document = vs({"route": [to("v1")], "mirror": {"host": "shadow"}, **theirs})
    ours, original = dressed(document, PAIR, (), (ALL,))
    assert original == document["spec"]["http"][0]
    kept = {"destination": {"host": "shadow"}} | ({} if value is None else {"percentage": value})
    assert ours["mirrors"] == [kept, {"destination": to("v2")["destination"], "percentage": {"value": 12.5}}]
    assert not ours.keys() & {"mirror", "mirrorPercentage", "mirrorPercent", "mirror_percent"}


def test_mirrors_of_the_users_stay_too_and_ours_has_the_originals_port() -> None:
    theirs = [{"destination": {"host": "shadow"}}, {"destination": to("v2")["destination"], "percentage": {"value": 1}}]
    main = to("v1")
    main["destination"]["port"] = {"number": 9080}
    (ours, _) = dressed(vs({"route": [main], "mirrors": theirs}), PAIR, (), (ALL,))
    assert ours["mirrors"][:2] == theirs
    assert ours["mirrors"][2]["destination"] == {"host": "reviews", "subset": "v2", "port": {"number": 9080}}


BETA = Route({"headers": {"x": {"exact": "tester"}}})
STICKY = Route({"headers": {"x": {"exact": "tester"}}}, sticky=60.0)


@given(ROUTES, st.sampled_from([BETA, STICKY]), REQUEST)
def test_who_matches_goes_to_the_canary_and_nobody_else(routes: list[Document], act: Route, request: Document) -> None:
    document = vs(*routes)
    before = first(routes, request)
    assert before is not None
    try:
        made = dressed(document, PAIR, (), (act,))
    except InvalidInput:
        return  # two conditions on one header that no match can say together
    after = first(made, request)
    assert after is not None
    moves = before in [routes[index] for index in shifted(document, PAIR)]
    parts = {subset: weight for _, subset, weight in destinations(before)}
    others = {subset: weight for subset, weight in parts.items() if subset == "v3"}
    if moves and request["headers"].get("x") == "tester":
        assert {subset: weight for _, subset, weight in destinations(after)} == {"v2": 60 if others else 100, **others}
    else:
        assert destinations(after) == destinations(before)
    kept = ("name", "match", "route")
    assert {k: v for k, v in before.items() if k not in kept} == {k: v for k, v in after.items() if k not in kept}
    assert without(vs(*made), PAIR.host) == document
    assert percents(vs(*made), PAIR) == percents(document, PAIR)
    assert dressed(vs(*made), PAIR, (), (act,)) == made


MARKED = Pair(PAIR.host, "v1", "v2", "v2-1-7")
PROBE = Probe("http://reviews/")


@given(ROUTES, REQUEST, st.sampled_from(["", "v1", "v2", "v2-1-8"]))
def test_probes_go_to_one_version_and_nobody_elses_way_changes(
    routes: list[Document], request: Document, to_version: str
) -> None:
    document, made = vs(*routes), dressed(vs(*routes), MARKED, (), (PROBE,))
    mark = {HEADER: to_version if "-" in to_version else f"v2-1-7:{to_version}"} if to_version else {}
    request = {**request, "headers": {**request["headers"], **mark}}
    before, after = first(routes, request), first(made, request)
    assert before is not None
    assert after is not None
    if before in [routes[index] for index in shifted(document, PAIR)] and to_version in ("v1", "v2"):
        assert [subset for _, subset, _ in destinations(after)] == [to_version]
        assert after["headers"]["response"]["set"] == mark
        kept = ("name", "match", "route", "headers")
        assert {k: v for k, v in before.items() if k not in kept} == {k: v for k, v in after.items() if k not in kept}
    else:
        assert before == after
    assert without(vs(*made), PAIR.host) == document
    assert percents(vs(*made), PAIR) == percents(document, PAIR)
    assert dressed(vs(*made), MARKED, (), (PROBE,)) == made


def test_probes_come_before_who_is_routed_and_keep_the_headers_of_the_users() -> None:
    theirs = {"response": {"set": {"a": "b"}, "remove": ["server"]}, "request": {"add": {"c": "d"}}}
    made = dressed(vs({"route": [to("v1")], "headers": theirs}), MARKED, (), (PROBE, BETA))
    assert [str(route.get("name", "")).split("/")[2:3] for route in made] == [
        ["probe"],
        ["probe-stable"],
        ["route"],
        [],
    ]
    assert made[0]["headers"] == {**theirs, "response": {"set": {"a": "b", HEADER: "v2-1-7:v2"}, "remove": ["server"]}}
    assert made[0]["route"] == [to("v2")]


def test_who_was_sent_to_the_canary_by_weight_stays_there_by_a_cookie() -> None:
    main = {"name": "main", "route": [to("v1", 80), to("v2", 20)]}
    ours, original = dressed(vs(main), PAIR, (), (Route(sticky=3600.0),))
    assert [entry["destination"]["subset"] for entry in ours["route"]] == ["v2"]
    given_back = [entry.get("headers") for entry in original["route"]]
    cookie = "rollout-reviews.shop=v2; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"
    assert given_back == [None, {"response": {"add": {"set-cookie": cookie}}}]
    (match,) = ours["match"]
    assert said(match["headers"]["cookie"], "a=b; rollout-reviews.shop=v2; c=d")
    assert not said(match["headers"]["cookie"], "rollout-reviews.shop=v1")


def test_a_cookie_of_the_users_is_not_replaced() -> None:
    theirs = to("v2", 20) | {"headers": {"response": {"add": {"Set-Cookie": "theirs=1"}, "remove": ["server"]}}}
    main = {"name": "main", "route": [to("v1", 80), theirs]}
    with pytest.raises(InvalidInput, match="v2 sets a cookie already"):
        dressed(vs(main), PAIR, (), (Route(sticky=60.0),))
    theirs["headers"]["response"].pop("add")
    made = dressed(vs(main), PAIR, (), (Route(sticky=60.0),))
    assert http_routes(without(vs(*made), PAIR.host)) == [main]


def test_another_services_routes_of_ours_are_left_alone() -> None:
    ratings = {"name": "ratings", "match": [{"uri": {"prefix": "/r"}}], "route": [to("v1", 90, "ratings"),
                                                                               to("v2", 10, "ratings")]}  # fmt: skip
    main = {"name": "main", "route": [to("v1")]}
    theirs = dressed(vs(ratings, main), OTHERS, (), (READING,))
    both = dressed(vs(*theirs), PAIR, (), (READING,))
    assert [r["name"].split("/")[-1] for r in both] == ["name:ratings", "ratings", "name:main", "main"]
    assert http_routes(without(vs(*both), PAIR.host)) == theirs
    assert dressed(vs(*both), OTHERS, (), (READING,)) == both


def test_the_canary_gets_no_more_than_stable_serves() -> None:
    (ours, _) = dressed(vs({"route": [to("v1", 20), to("v2", 0), to("v3", 70)]}), PAIR, (), (READING,))
    assert ours["mirrors"][0]["percentage"] == {"value": 22.2222}


# What a method may say, and what is left of it

LEFT = [
    ({}, {"regex": "GET|HEAD|OPTIONS"}),
    ({"method": {"exact": "GET"}}, {"exact": "GET"}),
    ({"method": {"exact": "POST"}}, None),
    ({"method": {"exact": "get"}}, None),
    ({"method": {"prefix": "GE"}}, {"exact": "GET"}),
    ({"method": {"prefix": ""}}, {"regex": "GET|HEAD|OPTIONS"}),
    ({"method": {"prefix": "P"}}, None),
    ({"method": {"regex": "GET|POST"}}, {"exact": "GET"}),
    ({"method": {"regex": "^(GET|HEAD|PUT)$"}}, {"regex": "GET|HEAD"}),
    ({"method": {"regex": "(?:G|P).+"}}, {"exact": "GET"}),
    ({"method": {"regex": "[A-Z]+"}}, {"regex": "GET|HEAD|OPTIONS"}),
    ({"method": {"regex": ".*"}}, {"regex": "GET|HEAD|OPTIONS"}),
    ({"method": {"regex": "P.*"}}, None),
    ({"method": {}}, {"regex": "GET|HEAD|OPTIONS"}),
]


@pytest.mark.parametrize(("match", "method"), LEFT)
def test_of_a_method_its_reads_are_left(match: Document, method: Document | None) -> None:
    """And nothing else of the match changes but its name, which is the original's."""
    rest = {"uri": {"prefix": "/A"}, "ignoreUriCase": True, "gateways": ["mesh"], "withoutHeaders": {"x": {}}}
    found = narrowed(vs(), [{"name": "m", **rest, **match}], ONLY_READS)
    assert found == ([{**rest, "method": method}] if method else [])


@pytest.mark.parametrize(
    "regex", [r"\w+", "[[:upper:]]+", "GET{,2}", "(?i)get", r"\QGET\E", "G++", "(GET", "[^[:alpha:]]"]
)
def test_what_python_and_envoy_may_read_differently_is_refused(regex: str) -> None:
    with pytest.raises(InvalidInput, match="VirtualService shop/reviews: a route that moves matches method") as refused:
        narrowed(vs(), [{"method": {"regex": regex}}], ONLY_READS)
    assert "write that route in another way, or leave the step out" in str(refused.value)


def test_one_of_several_matches_may_be_left() -> None:
    matches = [{"method": {"exact": "POST"}}, {"uri": {"exact": "/x"}}, {"method": {"exact": "HEAD"}}]
    assert narrowed(vs(), matches, ONLY_READS) == [{"uri": {"exact": "/x"}, "method": ONLY_READS["method"]}, matches[2]]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({"headers": {"x": {}}}, {"headers": {"x": {}}}, {"headers": {"x": {}}}),
        ({"headers": {"x": {}}}, {"headers": {"x": {"prefix": "a"}}}, {"headers": {"x": {"prefix": "a"}}}),
        ({"headers": {"x": {"exact": "a"}}}, {"headers": {"x": {"exact": "b"}}}, None),
        (
            {"headers": {"x": {"prefix": "ab"}}},
            {"headers": {"x": {"prefix": "a"}}},
            {"headers": {"x": {"prefix": "ab"}}},
        ),
        ({"sourceLabels": {"a": "1"}}, {"sourceLabels": {"b": "1"}}, {"sourceLabels": {"a": "1", "b": "1"}}),
        ({"sourceLabels": {"a": "1"}}, {"sourceLabels": {"a": "2"}}, None),
        ({"port": 80}, {"port": 81}, None),
        ({"uri": {"exact": "/x"}}, {"uri": {"prefix": "/"}}, {"uri": {"exact": "/x"}}),
    ],
)
def test_two_conditions_become_the_narrower(one: Document, other: Document, both: Document | None) -> None:
    assert narrowed(vs(), [one], other) == ([both] if both else [])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"withoutHeaders": {"x": {"exact": "a"}}}, {"withoutHeaders": {"x": {"exact": "b"}}}),
        ({"gateways": ["mesh", "gw"]}, {"gateways": ["gw"]}),
        ({"uri": {"prefix": "/a"}, "ignoreUriCase": True}, {"uri": {"exact": "/A"}}),
        ({"uri": {"prefix": "/a"}}, {"uri": {"exact": "/A"}, "ignoreUriCase": True}),
        ({"uri": {"prefix": "/a"}, "ignoreUriCase": False}, {"ignoreUriCase": True}),
        ({"uri": {"regex": "/a.*"}}, {"uri": {"prefix": "/a"}}),
    ],
)
def test_what_no_match_can_say_is_refused(one: Document, other: Document) -> None:
    with pytest.raises(InvalidInput, match="we cannot write a match that says both"):
        narrowed(vs(), [one], other)
