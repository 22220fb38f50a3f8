"""Subsets: which clients see which, and how ours are added and removed."""

import pytest

from rollout.core.documents import Document
from rollout.core.errors import InvalidInput
from rollout.mesh.subsets import added, adding_patch, find, new_rule, owner, removing_patch, seen_from

HOST = "reviews.shop.svc.cluster.local"
POLICY = {"connectionPool": {"http": {"http1MaxPendingRequests": 10}}}


def rule(name: str, namespace: str = "shop", host: str = "reviews", **spec: object) -> Document:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"host": host, **spec}}


def test_a_new_subset_is_reached_like_stable() -> None:
    v1 = {"name": "v1", "labels": {"track": "stable", "version": "v1"}, "trafficPolicy": POLICY}
    patch = adding_patch(rule("r", subsets=[v1]), ["v2"], "v1")
    v2 = {"name": "v2", "labels": {"version": "v2"}, "trafficPolicy": POLICY}
    assert patch["spec"]["subsets"] == [v1, v2]


def test_what_was_added_goes_and_what_users_wrote_stays() -> None:
    theirs = rule("r", subsets=[{"name": "v1", "labels": {"version": "v1"}}])
    patch = adding_patch(theirs, ["v2"], "v1")
    both = {"metadata": {**theirs["metadata"], **patch["metadata"]}, "spec": {**theirs["spec"], **patch["spec"]}}
    assert added(both) == ["v2"]
    assert removing_patch(both, ["v1", "v2"])["spec"]["subsets"] == theirs["spec"]["subsets"]


def test_a_client_s_own_rule_hides_the_service_s() -> None:
    ours = rule("r", subsets=[{"name": "v1"}])
    theirs = rule("r", "front", HOST)
    assert seen_from([ours, theirs], HOST, "front", "shop", "istio-system") == [theirs]
    assert seen_from([ours, theirs], HOST, "shop", "shop", "istio-system") == [ours]
    assert find(seen_from([ours, theirs], HOST, "front", "shop", "istio-system"), "v1") is None


def test_a_rule_that_is_not_exported_is_not_seen() -> None:
    ours = rule("r", exportTo=["."])
    assert seen_from([ours], HOST, "front", "shop", "istio-system") == []


def test_subsets_go_only_to_a_rule_for_exactly_this_host() -> None:
    assert owner([rule("all", host="*.shop.svc.cluster.local")], HOST, "shop") is None


def test_a_rule_of_ours_takes_a_free_name_and_hides_nobody() -> None:
    taken = rule("reviews", host="other")
    assert new_rule("reviews", "shop", ["v1"], [], [taken])["metadata"]["name"] == "reviews-subsets-1"
    with pytest.raises(InvalidInput, match="would hide"):
        new_rule("reviews", "shop", ["v1"], [rule("all", host="*.shop.svc.cluster.local")], [])
