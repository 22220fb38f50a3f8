"""Editing routes: the weights are what was asked for, and everything else stays."""

import json
from copy import deepcopy
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.documents import Document
from rollout.core.errors import InvalidInput
from rollout.mesh.claims import claim_of
from rollout.mesh.routes import (
    Pair,
    alike,
    doubled,
    lagging,
    movable,
    named,
    percents,
    pins,
    reaching,
    relieving_patch,
    serving,
    shifted,
    unpinned,
    with_weight,
)

HOST = "reviews.shop.svc.cluster.local"
PAIR = Pair(HOST, "v1", "v2")
WEIGHTS = st.decimals(0, 100, places=2, allow_nan=False, allow_infinity=False)


def to(subset: str, weight: int | None = None, host: str = "reviews") -> Document:
    entry: Document = {"destination": {"host": host, "subset": subset} if subset else {"host": host}}
    return entry | ({"weight": weight} if weight is not None else {})


def vs(*routes: Any) -> Document:
    return {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {"hosts": ["reviews"], "http": list(routes)}}


def after(document: Document, weight: Decimal, scales: dict[str, int] | None = None) -> tuple[Document, dict[str, int]]:
    routes, used = with_weight(document, PAIR, (), weight, scales or {})
    return {**document, "spec": {**document["spec"], "http": routes}}, used


@given(WEIGHTS, st.integers(1, 100), st.integers(0, 100))
def test_what_was_written_is_what_is_read_and_others_keep_their_share(weight: Decimal, stable: int, other: int) -> None:
    before = vs({"route": [to("v1", stable), to("v3", other)], "timeout": "3s", "unknown": {"x": 1}})
    copy = deepcopy(before)
    changed, _ = after(before, weight)
    assert before == copy, "the document that was read is not changed in place"
    assert percents(changed, PAIR) == [weight]
    entries = changed["spec"]["http"][0]["route"]
    total = sum(e["weight"] for e in entries)
    assert Fraction(entries[-1]["weight"], total) == Fraction(other, stable + other)
    assert {k: v for k, v in changed["spec"]["http"][0].items() if k != "route"} == {
        "timeout": "3s",
        "unknown": {"x": 1},
    }


@given(WEIGHTS, WEIGHTS, st.integers(1, 100), st.integers(0, 100))
def test_scales_are_divided_out_again(one: Decimal, two: Decimal, stable: int, other: int) -> None:
    before = vs({"route": [to("v1", stable), to("v3", other)]})
    first, scales = after(before, one)
    second, scales = after(first, two, scales)
    last, scales = after(second, Decimal(0), scales)
    assert scales == {}
    entries = last["spec"]["http"][0]["route"]
    assert [e["weight"] for e in entries] == [stable, 0, other]


def test_a_single_destination_has_everything_whatever_its_weight_says() -> None:
    changed, _ = after(vs({"route": [to("v1", 7)]}), Decimal(25))
    assert [e["weight"] for e in changed["spec"]["http"][0]["route"]] == [75, 25]


def test_matched_routes_to_one_version_are_pins() -> None:
    tester = {"match": [{"headers": {"who": {"exact": "me"}}}], "route": [to("v2")]}
    document = vs(tester, {"route": [to("v1")]})
    assert shifted(document, PAIR) == [1]
    assert len(pins(document, PAIR)) == 1
    assert after(document, Decimal(50))[0]["spec"]["http"][0] == tester


def test_a_matched_route_that_splits_already_moves_too() -> None:
    split = {"match": [{"uri": {"prefix": "/api"}}], "route": [to("v1", 90), to("v2", 10)]}
    assert shifted(vs(split), PAIR) == [0]


API: Document = {"name": "api", "match": [{"uri": {"prefix": "/api"}}], "route": [to("v1")]}


def test_a_matched_route_that_is_named_counts_as_one_for_everybody() -> None:
    document = vs(API, {"name": "web", "match": [{"uri": {"prefix": "/"}}], "route": [to("v2")]})
    keys = named(document, HOST, ["api", "other"])
    assert keys == ("name:api",)
    assert (serving(document, HOST), serving(document, HOST, keys)) == (set(), {"v1"})
    assert (movable(document, HOST), movable(document, HOST, keys)) == ([], [0])
    assert (shifted(document, PAIR), shifted(document, PAIR, keys)) == ([], [0])
    assert (len(pins(document, PAIR)), pins(document, PAIR, keys)) == (2, ["name:web"])
    assert (percents(document, PAIR), percents(document, PAIR, keys)) == ([], [Decimal(0)])
    routes, _ = with_weight(document, PAIR, keys, Decimal(25), {})
    assert routes[1] == document["spec"]["http"][1]
    assert {key: value for key, value in routes[0].items() if key != "route"} == {
        "name": "api", "match": [{"uri": {"prefix": "/api"}}]
    }  # fmt: skip
    assert [(e["destination"]["subset"], e["weight"]) for e in routes[0]["route"]] == [("v1", 75), ("v2", 25)]
    twice = vs({**API, "route": [to("v1", 50), to("v1", 50)]})
    assert (doubled(twice, PAIR), doubled(twice, PAIR, keys)) == ("", "v1")
    plain = vs({**API, "route": [to("")]})
    assert (unpinned(plain, PAIR), unpinned(plain, PAIR, keys)) == (False, True)


@pytest.mark.parametrize(
    "other",
    [
        {"name": "api", "route": [to("v1", host="ratings")]},
        {"name": "api", "match": [{"uri": {"exact": "/x"}}], "redirect": {"uri": "/y"}},
        {"name": f"rollout.dev/{HOST}/mirror/name:api", "match": [{}], "route": [to("v1")]},
    ],
)
def test_a_name_finds_only_routes_of_the_users_that_lead_there(other: Document) -> None:
    assert named(vs(other, {"route": [to("v1")]}), HOST, [other["name"]]) == ()


def test_a_name_that_two_routes_bear_names_none() -> None:
    for other in (API, {"name": "api", "route": [to("v1", host="ratings")]}):
        with pytest.raises(InvalidInput, match="has more than one route of the name api"):
            named(vs(API, other), HOST, ["api"])
        assert named(vs(API, other), HOST, ["web"]) == ()


def test_a_name_that_one_more_route_bears_since_moves_neither_but_what_divides() -> None:
    """A tester's rule that is called so too is not changed, by no put-back and no take-back; ours is."""
    tester = {"name": "api", "match": [{"uri": {"prefix": "/t"}}], "route": [to("v2")]}
    mine = {**API, "route": [to("v1", 50), to("v2", 50)]}
    main = {"route": [to("v1", 50), to("v2", 50)]}
    for routes in ([tester, mine, main], [mine, tester, main]):
        document, place = vs(*routes), routes.index(tester)
        assert percents(document, PAIR, ("name:api", "*")) == [Decimal(50), Decimal(50)]
        for weight, left in ((0, [100, 0]), (50, [50, 50]), (100, [0, 100])):
            after, _ = with_weight(document, PAIR, ("name:api", "*"), Decimal(weight), {})
            assert after[place] == tester
            assert [[e["weight"] for e in r["route"]] for r in after if r is not after[place]] == [left, left]
    git = vs(tester, API, main)
    assert percents(git, PAIR, ("name:api", "*")) == [Decimal(0), Decimal(50)], "which goes on being known by its name"


def test_what_is_taken_back_raises_no_route_and_lowers_none_that_has_less() -> None:
    """Of 2 and 1 nobody can write the percents: such a route stays as it is."""
    api, main = {**API, "route": [to("v1", 2), to("v2", 1)]}, {"route": [to("v1", 40), to("v2", 60)]}
    for weight, left in ((60, [[2, 1], [40, 60]]), (50, [[2, 1], [50, 50]]), (0, [[3, 0], [100, 0]])):
        routes, used = with_weight(vs(api, main), PAIR, ("name:api", "*"), Decimal(weight), {}, back=True)
        assert [[entry["weight"] for entry in route["route"]] for route in routes] == left
        assert used == {}
    scaled = {**API, "route": [to("v1", 995), to("v2", 5)]}
    for weight, alone, scales in ((1, [995, 5], {"name:api": 10}), (0, [100, 0], {})):
        routes, used = with_weight(vs(scaled), PAIR, ("name:api",), Decimal(weight), {"name:api": 10}, back=True)
        assert ([entry["weight"] for entry in routes[0]["route"]], used) == (alone, scales)


def test_a_key_that_is_left_moves_nothing_and_is_not_lost() -> None:
    document = vs({**API, "route": [to("v1", 0), to("v2", 100)]}, {"route": [to("v2")]})
    assert shifted(document, PAIR) == [0], "by its destinations it would"
    assert shifted(document, PAIR, ("!name:api",)) == [], "nor does the other stand in for it"
    back = Pair(HOST, "v2", "v1")
    assert [lagging(document, back, keys) for keys in ((), ("name:api",))] == [["name:api"], []]


def test_a_route_without_subset_is_pinned_by_the_first_write() -> None:
    document = vs({"route": [to("")]})
    assert unpinned(document, PAIR)
    assert percents(document, PAIR) == [Decimal(100)]
    changed, _ = after(document, Decimal(0))
    assert [e["destination"]["subset"] for e in changed["spec"]["http"][0]["route"]] == ["v1", "v2"]
    assert percents(changed, PAIR) == [Decimal(0)]


def test_other_hosts_are_nobodys_business() -> None:
    document = vs({"route": [to("v1", host="ratings")]})
    assert shifted(document, PAIR) == []


def test_a_version_named_twice_is_told_and_summed() -> None:
    document = vs({"route": [to("v1", 50), to("v1", 30), to("v2", 20)]})
    assert doubled(document, PAIR) == "v1"
    assert percents(document, PAIR) == [Decimal(20)]
    changed, _ = after(document, Decimal(0))
    assert [e["weight"] for e in changed["spec"]["http"][0]["route"]] == [100, 0, 0]


def test_a_pin_may_name_a_version_as_often_as_it_likes() -> None:
    pin = {"match": [{"uri": {"exact": "/x"}}], "route": [to("v1", 80), to("v1", 20)]}
    assert doubled(vs(pin, {"route": [to("v1")]}), PAIR) == ""


def test_in_flight_a_route_given_to_the_canary_alone_is_seen_and_taken_back() -> None:
    document = vs({"name": "renamed", "route": [to("v2")]})
    assert shifted(document, PAIR) == []
    assert percents(document, PAIR, ("name:main",)) == [Decimal(100)]
    routes, _ = with_weight(document, PAIR, ("name:main",), Decimal(0), {})
    assert [(e["destination"]["subset"], e["weight"]) for e in routes[0]["route"]] == [("v1", 100), ("v2", 0)]


def test_where_neither_has_a_share_nothing_moves() -> None:
    assert shifted(vs({"route": [to("v1", 0), to("v3", 100)]}), PAIR) == []


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        ([{"route": [to("v1", 0), to("v2", 100)]}], []),
        ([{"route": [to("v1", 1), to("v2", 99)]}], ["*"]),
        ([{"name": "all", "route": [to("")]}], ["name:all"]),
        ([{"name": "pin", "match": [{"uri": {"exact": "/x"}}], "route": [to("v1")]}], ["name:pin"]),
        ([{"route": [to("v2")], "mirror": to("v1")["destination"]}], ["*"]),
        ([{"route": [to("v2")], "mirrors": [to("v1")]}], ["*"]),
        ([{"route": [to("v1", host="ratings")]}], []),
        ([{"redirect": {"uri": "/x"}}], []),
    ],
)
def test_a_version_is_reached_by_whatever_sends_requests_there(routes: list[Document], found: list[str]) -> None:
    assert reaching(vs(*routes), PAIR.host, "v1") == found


def test_connections_reach_a_version_too() -> None:
    document = vs({"route": [to("v2")]})
    document["spec"] |= {"tcp": [{"route": [to("v1", 0), to("v2", 100)]}], "tls": [{"route": [to("v1")]}]}
    assert reaching(document, PAIR.host, "v1") == ["tls"]


def test_what_sends_nothing_to_a_version_is_removed_and_nothing_else() -> None:
    pin, other = {"match": [{"uri": {"exact": "/x"}}], "route": [to("v1")]}, {"route": [to("v1", 0, "ratings")]}
    document = vs(pin, {"timeout": "3s", "route": [to("v1", 0), to("v2", 100)]}, other)
    patch = relieving_patch(document, PAIR.host, "v1")
    assert patch == {"spec": {"http": [pin, {"timeout": "3s", "route": [to("v2", 100)]}, other]}}
    assert relieving_patch(vs(*patch["spec"]["http"]), PAIR.host, "v1") == {}


def test_a_twin_that_leads_elsewhere_takes_nothing_from_a_name() -> None:
    main, redirect = {"name": "api", "route": [to("v2")]}, {"name": "api", "match": [{}], "redirect": {"uri": "/y"}}
    assert percents(vs(redirect, main), PAIR, ("name:api",)) == [Decimal(100)]
    assert alike(vs(redirect, main), PAIR, ("name:api",)) == []
    assert alike(vs({**API, "route": [to("v2")]}, main), PAIR, ("name:api",)) == ["name:api"]


@pytest.mark.parametrize("match", [{}, {"match": [{"uri": {"prefix": "/x"}}]}])
def test_what_divides_moves_though_it_got_the_name_of_one_that_was_left(match: Document) -> None:
    divides = {"name": "qa", **match, "route": [to("v1", 50), to("v2", 50)]}
    assert percents(vs(divides), PAIR, ("*", "!name:qa")) == [Decimal(50)]
    there = {"name": "qa", "match": [{}], "route": [to("v1", 0), to("v2", 100)]}
    assert percents(vs(there), PAIR, ("*", "!name:qa")) == []


def test_a_claim_of_odd_keys_is_one_of_keys_that_no_route_has() -> None:
    text = json.dumps({"attempt": "a", "fence": 1, "weight": "5", "stable": "v1", "canary": "v2", "routes": [None, 1]})
    document = vs(API)
    document["metadata"]["annotations"] = {"k": text}
    claim = claim_of(document, "k")
    assert claim is not None
    assert percents(document, PAIR, claim.keys) == []
