"""What the playground's Envoy is sent for a VirtualService, as Istio would send it."""

from typing import Any

import pytest

from rollout.core.documents import Document
from rollout.mesh.envoy import routes

SERVICE = {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {"ports": [{"port": 9080}]}}


def to(subset: str) -> Document:
    return {"destination": {"host": "reviews", "subset": subset}}


def action(**route: Any) -> Document:
    """The action of a route to v1 with something beside."""
    spec = {"hosts": ["reviews"], "http": [{"route": [to("v1")], **route}]}
    config = routes([SERVICE], [{"metadata": SERVICE["metadata"], "spec": spec}])
    found: Document = config["virtual_hosts"][0]["routes"][0]["route"]
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
    (made,) = routes([SERVICE], [{"metadata": SERVICE["metadata"], "spec": spec}])["virtual_hosts"][0]["routes"]
    assert made["response_headers_to_add"] == [
        {"header": {"key": "b", "value": "2"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "a", "value": "1"}},
    ]
