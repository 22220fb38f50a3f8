"""Before anything is written: what is found, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.core.address import SecretKey
from rollout.core.attempt import Scale
from rollout.core.documents import (
    DEPLOYMENT,
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    SECRET,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    Kind,
)
from rollout.core.errors import Forbidden, InvalidInput
from rollout.core.strategy import Bake, Mirror, Safe, Step, Strategy
from rollout.engine.survey import Request, serves, survey
from rollout.mesh.remotes import CLUSTER
from rollout.mesh.routes import Pair, percents, pins, with_weight
from tests.fakes.memory import MemoryCluster

STRATEGY = Strategy("test", (Step(100, Bake(1, 1)),), confirm=1.0)  # type: ignore[arg-type]
UNPINNED = [{"route": [{"destination": {"host": "reviews"}}]}]


def to(subset: str) -> list[Document]:
    return [{"route": [{"destination": {"host": "reviews", "subset": subset}}]}]


class Shop:
    """A namespace with one service; say what differs."""

    def __init__(self, pods: Mapping[str, int], http: list[Document], subsets: Mapping[str, str] | None = None) -> None:
        self.cluster = MemoryCluster()
        self.put(SERVICE, "reviews", spec={"selector": {"app": "reviews"}, "ports": [{"port": 80}]})
        names = []
        for version, count in pods.items():
            for i in range(count):
                labels = {"app": "reviews"} | ({"version": version} if version else {})
                names.append(f"{version or 'none'}-{i}")
                self.put(POD, names[-1], labels)
        endpoints = [{"conditions": {"ready": True}, "targetRef": {"name": name}} for name in names]
        self.put(ENDPOINT_SLICE, "reviews", {"kubernetes.io/service-name": "reviews"}, endpoints=endpoints)
        self.put(VIRTUAL_SERVICE, "reviews", spec={"hosts": ["reviews"], "http": http})
        if subsets:
            made = [{"name": name, "labels": {"version": version}} for name, version in subsets.items()]
            self.put(DESTINATION_RULE, "reviews", spec={"host": "reviews", "subsets": made})

    def put(
        self, kind: Kind, name: str, labels: Mapping[str, str] | None = None, namespace: str = "shop", **rest: Any
    ) -> None:
        metadata = {"name": name, "namespace": namespace, "labels": dict(labels or {})}
        self.cluster.create(kind, {"apiVersion": kind.api_version(), "kind": kind.name, "metadata": metadata, **rest})

    def survey(self, canary: str = "v2", stable: str = "") -> Any:
        return survey(self.cluster, Request("reviews", "shop", canary, STRATEGY, stable), 1, 1000.0)


BOTH = {"v1": "v1", "v2": "v2"}


def test_the_usual() -> None:
    found = Shop({"v1": 3, "v2": 2}, to("v1"), BOTH).survey()
    assert (found.stable, found.canary, found.capacity, found.counted) == ("v1", "v2", 3, ("v1", "v2"))
    assert not found.narrow


def test_other_clusters_of_the_mesh_are_named() -> None:
    shop = Shop({"v1": 3, "v2": 2}, to("v1"), BOTH)
    for name, cluster in (("istio-remote-secret-south", ""), ("x", "west"), ("y", "west")):
        shop.put(SECRET, name, {"istio/multiCluster": "true"}, "istio-system")
        if cluster:
            shop.cluster.documents["Secret", "istio-system", name]["metadata"]["annotations"] = {CLUSTER: cluster}
    shop.put(SECRET, "cacerts", namespace="istio-system")
    told = [entry.text for entry in shop.survey().journal]
    assert "other clusters of this mesh: south, west; callers there" in told[1]


def test_who_may_not_see_other_clusters_is_not_warned() -> None:
    shop = Shop({"v1": 3, "v2": 2}, to("v1"), BOTH)
    shop.put(SECRET, "istio-remote-secret-south", {"istio/multiCluster": "true"}, "istio-system")
    whole = shop.cluster.list

    def no_secrets(kind: Kind, *rest: Any) -> list[Document]:
        if kind is SECRET:
            raise Forbidden("no")
        return whole(kind, *rest)

    shop.cluster.list = no_secrets  # type: ignore[method-assign,assignment]
    assert len(shop.survey().journal) == 1


def test_subsets_may_be_named_as_users_like() -> None:
    found = Shop({"7.1": 3, "7.2": 2}, to("blue"), {"blue": "7.1", "green": "7.2"}).survey("green")
    assert (found.stable, found.capacity, found.counted) == ("blue", 3, ("7.1", "7.2"))


def test_subsets_that_counters_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(InvalidInput, match="both carry version=v1"):
        Shop({"v1": 3}, to("blue"), {"blue": "v1", "green": "v1"}).survey("green")


def test_a_route_for_all_is_not_pinned_to_a_few() -> None:
    with pytest.raises(InvalidInput, match="only 1 of the 11 ready endpoints"):
        Shop({"": 10, "v1": 1, "v2": 1}, UNPINNED, BOTH).survey()
    with pytest.raises(InvalidInput, match="only 1 of the 4 ready endpoints"):
        Shop({"v3": 3, "v1": 1, "v2": 1}, UNPINNED, BOTH).survey(stable="v1")
    assert Shop({"v1": 4, "v2": 4}, UNPINNED, BOTH).survey().stable == "v1"


def test_clients_with_a_rule_of_their_own_must_have_both_subsets() -> None:
    shop = Shop({"v1": 1, "v2": 1}, to("v1"), BOTH)
    host = "reviews.shop.svc.cluster.local"
    shop.put(DESTINATION_RULE, "tls", namespace="front", spec={"host": host})
    with pytest.raises(InvalidInput, match="DestinationRule front/tls decides for clients in front and lacks"):
        shop.survey()


def test_a_rule_for_some_under_a_route_for_all_is_refused_where_we_would_pin() -> None:
    shop = Shop({"v1": 1, "v2": 1}, UNPINNED, BOTH)
    shop.cluster.documents[("DestinationRule", "shop", "reviews")]["spec"]["exportTo"] = ["."]
    with pytest.raises(InvalidInput, match="exported to some namespaces only"):
        shop.survey()


def test_a_rule_for_all_hosts_would_be_hidden() -> None:
    shop = Shop({"v1": 1, "v2": 1}, to("v1"))
    shop.put(DESTINATION_RULE, "all", spec={"host": "*.shop.svc.cluster.local"})
    with pytest.raises(InvalidInput, match="would hide DestinationRule shop/all"):
        shop.survey()


def test_a_version_named_twice_is_refused_only_where_it_moves() -> None:
    twice = to("v1")[0]["route"] * 2
    with pytest.raises(InvalidInput, match="names v1 twice"):
        Shop({"v1": 1, "v2": 1}, [{"route": [entry | {"weight": 50} for entry in twice]}], BOTH).survey()
    pin = {"match": [{"uri": {"exact": "/x"}}], "route": [entry | {"weight": 50} for entry in twice]}
    assert Shop({"v1": 1, "v2": 1}, [pin, *to("v1")], BOTH).survey()


def test_two_for_one_host_are_refused_though_the_other_routes_elsewhere() -> None:
    shop = Shop({"v1": 1, "v2": 1}, to("v1"), BOTH)
    elsewhere = [{"route": [{"destination": {"host": "maintenance"}}]}]
    shop.put(VIRTUAL_SERVICE, "other", spec={"hosts": ["reviews"], "http": elsewhere})
    with pytest.raises(InvalidInput, match="both claim reviews"):
        shop.survey()


def test_mesh_plus_gateway_is_ordinary() -> None:
    shop = Shop({"v1": 1, "v2": 1}, to("v1"), BOTH)
    spec = {"hosts": ["shop.example"], "gateways": ["edge/gw"], "http": to("v1")}
    spec["http"][0]["route"][0]["destination"]["host"] = "reviews.shop.svc.cluster.local"  # type: ignore[index]
    shop.put(VIRTUAL_SERVICE, "edge", namespace="edge", spec=spec)
    assert [(r.namespace, r.name) for r in shop.survey().routes] == [("edge", "edge"), ("shop", "reviews")]


def test_a_match_to_what_serves_is_a_pin_and_alone_moves_nothing() -> None:
    matched = {"match": [{"uri": {"prefix": "/api"}}], **to("v1")[0]}
    with pytest.raises(InvalidInput, match="no route for everybody in VirtualService shop/reviews sends to v1"):
        Shop({"v1": 2, "v2": 2}, [matched], BOTH).survey()
    found = Shop({"v1": 2, "v2": 2}, [matched, *to("v1")], BOTH).survey()
    assert [route.keys for route in found.routes] == [("*",)]


API: Document = {"name": "api", "match": [{"uri": {"prefix": "/api"}}], **to("v1")[0]}
WEB: Document = {"name": "web", "match": [{"uri": {"prefix": "/"}}], **to("v1")[0]}


def naming(shop: Shop, *names: str, **changes: Any) -> Any:
    return survey(shop.cluster, replace(Request("reviews", "shop", "v2", STRATEGY), names=names, **changes), 1, 1000.0)


def test_a_match_that_is_named_moves_and_others_are_pins() -> None:
    shop = Shop({"v1": 2, "v2": 2}, [API, WEB], BOTH)
    found = naming(shop, "api")
    assert ([route.keys for route in found.routes], found.names) == ([("name:api",)], ("api",))
    assert found.stable == "v1"
    assert naming(shop, "web", "api").routes[0].keys == ("name:api", "name:web"), "as they stand there"
    assert naming(Shop({"v1": 2, "v2": 2}, [API, *to("v1")], BOTH), "api").routes[0].keys == ("name:api", "*")


def test_a_name_counts_wherever_a_route_to_the_service_bears_it() -> None:
    shop = Shop({"v1": 2, "v2": 2}, [API, WEB], BOTH)
    host = "reviews.shop.svc.cluster.local"
    theirs = {"name": "api", "match": [{"port": 80}], "route": [{"destination": {"host": host, "subset": "v1"}}]}
    elsewhere = {"name": "web", "match": [{"port": 80}], "route": [{"destination": {"host": "cart"}}]}
    spec = {"hosts": ["shop.example"], "gateways": ["gw"], "http": [theirs, elsewhere]}
    shop.put(VIRTUAL_SERVICE, "edge", namespace="edge", spec=spec)
    found = naming(shop, "api", "web")
    assert [(r.name, r.keys) for r in found.routes] == [("edge", ("name:api",)), ("reviews", ("name:api", "name:web"))]


def test_a_name_that_cannot_be_obeyed_is_refused_with_its_field() -> None:
    odd = {"name": "odd", "match": [{"port": 80}], **to("v3")[0]}
    ratings = {"name": "ratings", "match": [{"port": 81}], "route": [{"destination": {"host": "ratings"}}]}
    idle = {"name": "idle", "match": [{"port": 82}], "route": [
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": 0}, {"destination": {"host": "x"}, "weight": 9},
    ]}  # fmt: skip
    shop = Shop({"v1": 2, "v2": 2}, [API, WEB, odd, ratings, idle, WEB], BOTH)
    for name, said in {
        "x": "no HTTP route to reviews in VirtualService shop/reviews has the name x (there: api, idle, odd, web)",
        "ratings": "the route ratings of VirtualService shop/reviews does not lead to reviews",
        "web": "VirtualService shop/reviews has more than one route of the name web; give each its own",
        "odd": "the route odd of VirtualService shop/reviews is at v3, everybody else at v1: bring it to v1 first, or "
        "leave the name out",
        "idle": "the route idle of VirtualService shop/reviews is at no version, everybody else at v1: bring it to v1 "
        "first, or leave the name out",
    }.items():
        field, text, _ = refused(shop, names=("api", name), stable="v1")
        assert (field, text[: len(said)]) == ("routes.names", said)
    text = (
        "cannot tell which version of reviews serves now: v1, v3 (by the routes that are named): bring all of them to"
    )
    assert refused(shop, names=("api", "odd")) == ("routes.names", f"{text} one first", "; name it with --from")
    nameless = Shop({"v1": 2, "v2": 2}, to("v1"), BOTH)
    assert refused(nameless, names=("api",))[1].endswith("has the name api (there: none has one)")


def test_after_a_promotion_the_name_is_found_again() -> None:
    both = [{"destination": {"host": "reviews", "subset": v}, "weight": w} for v, w in (("v1", 0), ("v2", 100))]
    for routes in (both, both[1:]):
        shop = Shop({"v1": 2, "v2": 2, "v3": 2}, [{**API, "route": routes}, WEB], BOTH | {"v3": "v3"})
        found = naming(shop, "api", canary="v3")
        assert (found.stable, found.routes[0].keys) == ("v2", ("name:api",))
        assert serves(shop.cluster, "reviews", "shop", "v2", ["api"])
        assert not serves(shop.cluster, "reviews", "shop", "v2", ["api", "web"])
        assert refused(shop, names=("api",)) == (
            "version",
            "reviews is at v2 already",
            "; name another version with --to",
        )
    assert not serves(shop.cluster, "reviews", "shop", "v2", ["gone"]), "what is wrong with a name the start says"
    assert refused(shop, names=("gone",), canary="v3")[0] == "routes.names"


def divided(v1: int, v2: int) -> list[Document]:
    return [{"destination": {"host": "reviews", "subset": v}, "weight": w} for v, w in (("v1", v1), ("v2", v2))]


AT_V2: Document = {"route": divided(0, 100)}


@pytest.mark.parametrize("main", [AT_V2, to("v2")[0]])
def test_what_serves_everybody_is_not_asked_of_what_is_named(main: Document) -> None:
    """After a promotion that did not move it, its name must not bring the others back."""
    shop = Shop({"v1": 1, "v2": 4}, [API, main], BOTH)
    for names in ((), ("api",)):
        assert serves(shop.cluster, "reviews", "shop", "v2", names)
        assert not serves(shop.cluster, "reviews", "shop", "v1", names)
    said = ("version", "reviews is at v2 already", "; name another version with --to")
    assert [refused(shop, names=("api",), stable=stable) for stable in ("", "v1")] == [said, said]
    spec = {"hosts": ["shop.example"], "gateways": ["gw"], "http": [API]}
    shop.put(VIRTUAL_SERVICE, "edge", spec=spec)
    assert serves(shop.cluster, "reviews", "shop", "v2", ["api"])
    assert refused(shop, names=("api",)) == said


def test_what_is_named_lags_behind_what_serves() -> None:
    shop = Shop({"v1": 1, "v2": 4, "v3": 4}, [API, AT_V2], BOTH | {"v3": "v3"})
    text = "the route api of VirtualService shop/reviews is at v1, everybody else at v2"
    said = ("routes.names", f"{text}: bring it to v2 first, or leave the name out", "")
    assert refused(shop, canary="v3", names=("api",)) == said
    assert refused(shop, canary="v3", names=("api",), stable="v2") == said
    assert naming(shop, canary="v3").routes[0].keys == ("*",)


@pytest.mark.parametrize("there", [to("v1")[0], {"route": divided(100, 0)}])
def test_what_is_named_and_is_there_already_stays_there(there: Document) -> None:
    """To go back to v1 with all others, or a tester's rule: nobody who comes by it meets the other version."""
    shop = Shop({"v1": 4, "v2": 4}, [{**API, **there}, AT_V2], BOTH)
    found = naming(shop, "api", canary="v1")
    assert (found.stable, found.routes[0].keys, found.names) == ("v2", ("*", "!name:api"), ("api",))
    told = "the route api of VirtualService shop/reviews is at v1 already, and stays there"
    assert [entry.text for entry in found.journal][1:] == [told]
    assert found.message == "v2 → v1 with strategy test"
    document = shop.cluster.documents["VirtualService", "shop", "reviews"]
    pair = Pair("reviews.shop.svc.cluster.local", "v2", "v1")
    assert percents(document, pair, found.routes[0].keys) == [Decimal(0)]
    routes, _ = with_weight(document, pair, found.routes[0].keys, Decimal(100), {})
    assert routes[0] == document["spec"]["http"][0]
    assert pins(document, pair, found.routes[0].keys) == []


@pytest.mark.parametrize("edge", [to("v1")[0], AT_V2, to("v2")[0], to("v3")[0]])
def test_a_name_without_a_match_changes_nothing(edge: Document) -> None:
    shop = Shop({"v1": 4, "v2": 4}, [{"name": "all", **to("v1")[0]}], BOTH)
    spec = {"hosts": ["shop.example"], "gateways": ["gw"], "http": [{"name": "all", **edge}]}
    shop.put(VIRTUAL_SERVICE, "edge", spec=spec)
    plain, named = naming(shop, stable="v1"), naming(shop, "all", stable="v1")
    assert named == replace(plain, names=("all",))


def test_what_is_named_moves_where_it_has_a_share_of_what_serves() -> None:
    shop = Shop({"v1": 4, "v2": 4}, [{**API, "route": divided(90, 10)}, {**WEB, **UNPINNED[0]}, *to("v1")], BOTH)
    assert naming(shop, "api", "web").routes[0].keys == ("name:api", "name:web", "*")


@pytest.mark.parametrize("names", [(), ("web",)])
def test_a_name_by_which_an_attempt_would_find_its_route_is_borne_by_no_other(names: tuple[str, ...]) -> None:
    pin = {**API, **to("v2")[0]}
    shop = Shop({"v1": 4, "v2": 4}, [pin, WEB, {"name": "api", **to("v1")[0]}], BOTH)
    text = "VirtualService shop/reviews has more than one route of the name api; give each its own"
    assert refused(shop, names=names) == ("service", text, "")
    assert refused(shop, names=("api",)) == ("routes.names", text, "")
    pins_alone = Shop({"v1": 4, "v2": 4}, [pin, pin, *to("v1")], BOTH)
    assert naming(pins_alone).routes[0].keys == ("*",)
    redirect = {"name": "api", "match": [{"uri": {"exact": "/x"}}], "redirect": {"uri": "/y"}}
    beside = Shop({"v1": 4, "v2": 4}, [redirect, {"name": "api", **to("v1")[0]}], BOTH)
    assert naming(beside).routes[0].keys == ("name:api",), "what leads elsewhere is no twin"


def test_where_every_route_has_a_match_it_is_said_what_to_write() -> None:
    shop = Shop({"v1": 2, "v2": 2, "v3": 2}, [API, {**WEB, "name": ""}], BOTH | {"v3": "v3"})
    said = "write `routes: {names: [NAME]}` with those that are to move (there: api)"
    text = "cannot tell which version of reviews serves now: v1, v3 (every route to it has a match, and none is named)"
    hint = "; name it with --from, or routes that are to move with --route"
    assert refused(shop) == ("routes.names", f"{text}; {said}", hint)
    text = "no route for everybody in VirtualService shop/reviews sends to v1 of reviews"
    moves = "a route moves if it has no match, splits between both versions already, or is named"
    hint = "; name the version that serves with --from, such a route with --route, or add one"
    assert refused(shop, stable="v1") == ("routes.names", f"{text}: {moves}; {said}", hint)
    assert refused(Shop({"v1": 2, "v2": 2}, [{**API, "name": ""}], BOTH))[1].endswith("(there: none has a name)")
    assert refused(Shop({"v1": 2, "v2": 2, "v3": 2}, UNPINNED, BOTH))[0] == "service", "no match hides that"


def test_a_named_route_is_not_pinned_to_a_few_either() -> None:
    shop = Shop({"": 10, "v1": 1, "v2": 1}, [{**API, **UNPINNED[0]}], BOTH)
    with pytest.raises(InvalidInput, match="only 1 of the 11 ready endpoints"):
        naming(shop, "api")
    shop = Shop({"v1": 1, "v2": 1}, [{**API, **UNPINNED[0]}], BOTH)
    assert naming(shop, "api").stable == "v1"
    shop.cluster.documents[("DestinationRule", "shop", "reviews")]["spec"]["exportTo"] = ["."]
    with pytest.raises(InvalidInput, match="exported to some namespaces only"):
        naming(shop, "api")


def test_what_a_match_delegates_moves() -> None:
    shop = Shop({"v1": 2, "v2": 2}, to("v1"), BOTH)
    shop.cluster.documents["VirtualService", "shop", "reviews"]["spec"].pop("hosts")
    matched = {"match": [{"uri": {"prefix": "/api"}}], "delegate": {"name": "reviews"}}
    shop.put(VIRTUAL_SERVICE, "front", spec={"hosts": ["shop.example"], "gateways": ["gw"], "http": [matched]})
    assert [(route.name, route.keys) for route in shop.survey().routes] == [("reviews", ("*",))]


def test_who_may_see_only_a_namespace_is_told_so() -> None:
    shop = Shop({"v1": 1, "v2": 1}, to("v1"), BOTH)
    whole = shop.cluster.list

    def only_here(kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Document]:
        if namespace != "shop":
            raise Forbidden("no")
        return whole(kind, namespace, labels)

    shop.cluster.list = only_here  # type: ignore[method-assign]
    found = shop.survey()
    assert found.narrow
    assert "only namespace shop could be listed" in found.message


def refused(shop: Shop, **changes: Any) -> tuple[str, str, str]:
    """What a survey says: the field that it is about, the sentence, and what only a command line is told."""
    with pytest.raises(InvalidInput) as error:
        survey(shop.cluster, replace(Request("reviews", "shop", "v2", STRATEGY), **changes), 1, 1000.0)
    return error.value.field, error.value.text, str(error.value).removeprefix(error.value.text)


def test_what_is_refused_names_the_field_that_it_is_about() -> None:
    shop = Shop({"v1": 1, "v2": 1}, to("v1"), BOTH)
    mirror = replace(STRATEGY, steps=(Step(Decimal(0), Bake(5, 5), Mirror(Decimal(100), Safe.ALL)), *STRATEGY.steps))
    hook = replace(STRATEGY, notify=SecretKey("hooks", "slack"))
    assert refused(shop, service="orders") == (
        "service", "there is no Service orders in namespace shop (there: reviews)",
        "; name another, or another namespace with -n",
    )  # fmt: skip
    assert refused(shop, canary="v1") == ("version", "reviews is at v1 already", "; name another version with --to")
    assert refused(shop, canary="v3")[0] == "version"
    assert refused(shop, scale=Scale.AUTO)[0] == "scale"
    assert refused(shop, strategy=hook)[0] == "strategy.notify"
    assert refused(Shop({"v1": 4, "v2": 1}, to("v1"), BOTH), strategy=mirror)[0] == "strategy.steps"
    assert refused(Shop({"v2": 1}, to("v1"), BOTH))[0] == "service", "v1 has no pod"
    assert refused(Shop({"v1": 1, "v2": 1}, []))[0] == "service"


# A strategy that begins with a mirror


def mirroring(shop: Shop, percent: int = 100, safe: Safe = Safe.READS) -> Any:
    first = Step(Decimal(0), Bake(5, 5), Mirror(Decimal(percent), safe))
    strategy = replace(STRATEGY, steps=(first, *STRATEGY.steps))
    return survey(shop.cluster, Request("reviews", "shop", "v2", strategy), 1, 1000.0)


def test_what_a_mirror_needs_is_told_before() -> None:
    shop = Shop({"v1": 4, "v2": 1}, to("v1"), BOTH)
    with pytest.raises(InvalidInput) as refused:
        mirroring(shop, safe=Safe.ALL)
    assert str(refused.value) == (
        "v2 has 1 ready endpoint(s), mirroring 100 % of all requests needs 4: scale it up, or mirror at most 25 %"
    )
    assert mirroring(shop, 25)
    assert shop.survey(), "a weight waits for its endpoints"
    with pytest.raises(InvalidInput, match=r"mirror at most 33\.33 %"):
        mirroring(Shop({"v1": 3, "v2": 1}, to("v1"), BOTH))


def test_later_steps_wait_for_their_endpoints() -> None:
    shop = Shop({"v1": 4, "v2": 1}, to("v1"), BOTH)
    steps = tuple(Step(Decimal(0), Bake(5, 5), Mirror(Decimal(percent), Safe.READS)) for percent in (25, 100))
    strategy = replace(STRATEGY, steps=(*steps, *STRATEGY.steps))
    assert survey(shop.cluster, Request("reviews", "shop", "v2", strategy), 1, 1000.0)


@pytest.mark.parametrize("unpinned", [False, True])
def test_a_mirror_on_a_route_that_names_no_subset_yet(unpinned: bool) -> None:
    assert mirroring(Shop({"v1": 1, "v2": 1}, UNPINNED if unpinned else to("v1"), BOTH))


def test_a_route_that_takes_no_reads_repeats_nothing() -> None:
    split = [{"destination": {"host": "reviews", "subset": v}, "weight": w} for v, w in (("v1", 90), ("v2", 10))]
    shop = Shop({"v1": 1, "v2": 1}, [{"match": [{"method": {"exact": "POST"}}], "route": split}], BOTH)
    with pytest.raises(InvalidInput, match="mirroring 100 % of the reads would repeat nothing: no route of reviews"):
        survey_from(shop, Safe.READS)
    assert survey_from(shop, Safe.ALL)


def survey_from(shop: Shop, safe: Safe) -> Any:
    first = Step(Decimal(0), Bake(5, 5), Mirror(Decimal(100), safe))
    strategy = replace(STRATEGY, steps=(first, *STRATEGY.steps))
    return survey(shop.cluster, Request("reviews", "shop", "v2", strategy, "v1"), 1, 1000.0)


@pytest.mark.parametrize("port", [{"name": "grpc-api"}, {"name": "web", "appProtocol": "grpc"}])
def test_grpc_has_no_reads(port: Document) -> None:
    shop = Shop({"v1": 1, "v2": 1}, to("v1"), BOTH)
    shop.cluster.documents[("Service", "shop", "reviews")]["spec"]["ports"] = [{"port": 80, **port}]
    with pytest.raises(InvalidInput, match="gRPC is POST"):
        mirroring(shop)
    assert mirroring(shop, safe=Safe.ALL)


def test_a_match_that_we_cannot_narrow_is_told_before() -> None:
    routes = to("v1")
    routes[0]["route"].append({"destination": {"host": "reviews", "subset": "v2"}, "weight": 0})
    routes[0]["route"][0]["weight"] = 100
    split = {"match": [{"method": {"regex": r"\w+"}}], "route": routes[0]["route"]}
    split["route"] = [entry | {"weight": 50} for entry in split["route"]]
    shop = Shop({"v1": 1, "v2": 1}, [split, *to("v1")], BOTH)
    with pytest.raises(InvalidInput, match="VirtualService shop/reviews: a route that moves matches method"):
        mirroring(shop)
    assert mirroring(shop, safe=Safe.ALL)
    assert shop.survey()


def test_a_copy_must_not_hide_another_ones_routes_at_a_gateway() -> None:
    """Istio puts what matches everything behind the routes of all that share the host, and a copy matches less."""
    shop = Shop({"v1": 1, "v2": 1}, to("v1"), BOTH)
    vs = shop.cluster.documents[("VirtualService", "shop", "reviews")]
    vs["spec"] |= {"hosts": ["shop.example"], "gateways": ["edge/gw"]}
    other = [{"match": [{"uri": {"prefix": "/cart"}}], "route": [{"destination": {"host": "cart"}}]}]
    shop.put(
        VIRTUAL_SERVICE, "cart", namespace="edge", spec={"hosts": ["shop.example"], "gateways": ["gw"], "http": other}
    )
    with pytest.raises(InvalidInput, match=r"share the host shop\.example at gateway edge/gw"):
        mirroring(shop)
    assert shop.survey()
    vs["spec"]["gateways"] = ["edge/private"]
    assert mirroring(shop)


# With `scale: auto`


def staffed(shop: Shop, *deployments: tuple[str, str, int]) -> Shop:
    for name, version, replicas in deployments:
        template = {"metadata": {"labels": {"app": "reviews", "version": version}}}
        shop.put(DEPLOYMENT, name, spec={"replicas": replicas, "template": template})
    return shop


def scaling(shop: Shop) -> Any:
    return survey(shop.cluster, Request("reviews", "shop", "v2", STRATEGY, scale=Scale.AUTO), 1, 1000.0)


def test_a_canary_without_a_pod_can_be_scaled_and_is_counted_by_its_template() -> None:
    shop = staffed(Shop({"v1": 3}, to("v1"), BOTH), ("ours", "v2", 0))
    found = scaling(shop)
    assert (found.scale, found.counted, found.capacity) == (Scale.AUTO, ("v1", "v2"), 3)
    with pytest.raises(InvalidInput, match="no pod of reviews carries the label version=v2"):
        shop.survey()


@pytest.mark.parametrize(
    ("deployments", "said"),
    [
        ([], "no Deployment makes pods of it"),
        ([("a", "v2", 1), ("b", "v2", 1)], "Deployment shop/a and Deployment shop/b make pods of it"),
        ([("a", "v2", 2)], "no pod of reviews carries the label version=v2"),
    ],
)
def test_what_cannot_be_scaled_is_refused(deployments: list[tuple[str, str, int]], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        scaling(staffed(Shop({"v1": 3}, to("v1"), BOTH), *deployments))


def test_scaling_without_the_right_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = staffed(Shop({"v1": 3}, to("v1"), BOTH), ("ours", "v2", 0))
    monkeypatch.setattr(shop.cluster, "may", lambda verb, kind, *_: (verb, kind) != ("patch", DEPLOYMENT))
    with pytest.raises(Forbidden, match=r"shop that we do not have: patch deployments; .*scaling.enabled=true"):
        scaling(shop)
