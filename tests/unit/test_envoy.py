"""What the playground's Envoy is sent for a VirtualService, as Istio would send it."""

from typing import Any

import pytest

from rollout.core.documents import Document
from rollout.mesh.envoy import FAULT, Source, routes

FRONT = Source("shop", {"app": "front", "version": "v2", "pod": "front-1"})
SERVICE = {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {"ports": [{"port": 9080}]}}


def to(subset: str) -> Document:
    return {"destination": {"host": "reviews", "subset": subset}}


def sent(*http: Document) -> list[Document]:
    """The routes that FRONT is sent for these."""
    spec = {"hosts": ["reviews"], "http": list(http)}
    config = routes([SERVICE], [{"metadata": SERVICE["metadata"], "spec": spec}], FRONT)
    found: list[Document] = config["virtual_hosts"][0]["routes"]
    return found


def action(**route: Any) -> Document:
    """The action of a route to v1 with something beside."""
    found: Document = sent({"route": [to("v1")], **route})[0]["route"]
    return found


@pytest.mark.parametrize(
    ("route", "numerators"),
    [
        ({"mirrors": [to("v2")]}, [1_000_000]),
        ({"mirrors": [to("v2") | {"percentage": {"value": 12.5}}]}, [125_000]),
        ({"mirrors": [to("v2") | {"percentage": {"value": 0}}]}, []),
        ({"mirrors": [to("v2"), to("v2") | {"percentage": {"value": 1}}]}, [1_000_000, 10_000]),
        ({"mirror": to("v2")["destination"]}, [1_000_000]),
        ({"mirror": to("v2")["destination"], "mirrorPercentage": {"value": 0.5}}, [5_000]),
        ({"mirror": to("v2")["destination"], "mirrorPercentage": {"value": 0}}, []),
        ({}, []),
    ],
)
def test_a_mirror_repeats_its_share(route: Document, numerators: list[int]) -> None:
    made = action(**route).get("request_mirror_policies", [])
    assert {policy["cluster"] for policy in made} <= {"outbound|9080|v2|reviews.shop.svc.cluster.local"}
    shares = [policy["runtime_fraction"]["default_value"] for policy in made]
    assert shares == [{"numerator": numerator, "denominator": "MILLION"} for numerator in numerators]


def test_a_mirror_goes_to_the_port_that_it_names() -> None:
    mirror = {"destination": {"host": "ratings", "port": {"number": 80}}}
    (made,) = action(mirrors=[mirror])["request_mirror_policies"]
    assert made["cluster"] == "outbound|80||ratings.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("retries", "on", "codes"),
    [
        ({"attempts": 1, "retryOn": "connect-failure, 503"}, "connect-failure,retriable-status-codes", [503]),
        ({"attempts": 1, "retryOn": "5xx"}, "5xx", []),
    ],
)
def test_an_answer_is_asked_for_again_only_where_the_policy_says_so(
    retries: Document, on: str, codes: list[int]
) -> None:
    made = action(retries=retries)["retry_policy"]
    assert (made["retry_on"], made["retriable_status_codes"]) == (on, codes)
    usual = action()["retry_policy"]
    assert usual["retriable_status_codes"] == []
    assert usual["num_retries"] == 2
    assert "5xx" not in usual["retry_on"]


def test_answers_get_the_headers_that_are_added_and_set() -> None:
    spec = {"hosts": ["reviews"], "http": [{"route": [to("v1")], "headers": {"response": {"set": {"b": "2"}}}}]}
    spec["http"][0]["route"][0]["headers"] = {"response": {"add": {"a": "1"}}}  # type: ignore[index]
    (made,) = sent(*spec["http"])  # type: ignore[misc]
    assert made["response_headers_to_add"] == [
        {"header": {"key": "b", "value": "2"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "a", "value": "1"}},
    ]


@pytest.mark.parametrize(
    ("match", "meant"),
    [
        ({"sourceLabels": {"app": "front"}}, True),
        ({"sourceLabels": {"app": "front", "version": "v2"}}, True),
        ({"sourceLabels": {"app": "front", "version": "v1"}}, False),
        ({"sourceLabels": {"zone": "a"}}, False),
        ({"sourceNamespace": "shop"}, True),
        ({"sourceNamespace": "bank"}, False),
        ({"sourceNamespace": "bank", "sourceLabels": {"app": "front"}}, False),
        ({"gateways": ["edge/gw"]}, False),
        ({"gateways": ["edge/gw", "mesh"]}, True),
        ({"gateways": ["mesh"], "sourceLabels": {"app": "other"}, "sourceNamespace": "bank"}, True),
    ],
)
def test_a_client_is_sent_the_routes_that_are_for_it(match: Document, meant: bool) -> None:
    guarded = {"match": [match], "route": [to("v2")]}
    assert len(sent(guarded, {"route": [to("v1")]})) == 1 + meant
    assert len(sent(guarded)) == meant, "where none is for it, it gets none"


def test_of_a_route_s_matches_those_for_others_are_left_out() -> None:
    user = {"headers": {"end-user": {"exact": "jason"}}}
    matches = [{"sourceLabels": {"app": "other"}}, {"sourceLabels": {"app": "front"}, **user}]
    (made,) = sent({"match": matches, "route": [to("v2")]})
    assert made["match"]["headers"] == [{"name": "end-user", "string_match": {"exact": "jason"}}]


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        ({"delay": {"fixedDelay": "7s", "percentage": {"value": 100}}}, {"delay": ("fixed_delay", "7s", 1_000_000)}),
        ({"delay": {"fixedDelay": "300ms", "percent": 50}}, {"delay": ("fixed_delay", "0.3s", 500_000)}),
        ({"delay": {"fixedDelay": "7s"}}, {"delay": ("fixed_delay", "7s", 0)}),
        ({"abort": {"httpStatus": 503, "percentage": {"value": 0.5}}}, {"abort": ("http_status", 503, 5_000)}),
        ({"abort": {"httpStatus": 503}}, {"abort": ("http_status", 503, 0)}),
        (
            {"delay": {"fixedDelay": "1s", "percentage": {}}, "abort": {"httpStatus": 400, "percentage": {"value": 1}}},
            {"delay": ("fixed_delay", "1s", 0), "abort": ("http_status", 400, 10_000)},
        ),
    ],
)
def test_a_fault_is_a_route_s_own(fault: Document, parts: dict[str, tuple[str, Any, int]]) -> None:
    user = {"headers": {"end-user": {"exact": "jason"}}}
    guarded, everybody = sent({"match": [user], "fault": fault, "route": [to("v1")]}, {"route": [to("v1")]})
    made = guarded["typed_per_filter_config"][FAULT]
    kind = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
    shares = {part: {"numerator": share, "denominator": "MILLION"} for part, (_, _, share) in parts.items()}
    assert made == {"@type": kind} | {
        part: {name: value, "percentage": shares[part]} for part, (name, value, _) in parts.items()
    }
    assert "typed_per_filter_config" not in everybody
