"""`rollout proxy`: what Envoy's config dump says of a service, and whether it is what the VirtualServices say."""

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters.folder import FolderCluster
from rollout.cli.proxies import OBEY, OTHERS, UNREACHED, Sample, document, sampled, spread, told
from rollout.core.documents import POD, SERVICE, VIRTUAL_SERVICE, Document, name_of
from rollout.core.errors import Forbidden, InvalidInput, NotFound, Unreachable
from rollout.mesh.envoy import Source, routes
from rollout.mesh.proxies import Split, held, source_of, wanted
from tests.fakes.memory import MemoryCluster
from tests.fakes.serving import serving
from tests.unit.test_objects import asked as run
from tests.unit.test_objects import flying, recorded

HOST = "reviews.shop.svc.cluster.local"
NAME = f"{HOST}:9080"
FRONT = Source("shop", {"app": "front"})
SERVED = {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {"ports": [{"port": 9080}]}}


def cluster(subset: str, host: str = HOST) -> str:
    return f"outbound|9080|{subset}|{host}"


def weighted(**weights: int) -> Document:
    return {"weighted_clusters": {"clusters": [{"name": cluster(v), "weight": w} for v, w in weights.items()]}}


def dumped(name: str, *entries: Document, **more: Any) -> Document:
    config = {"name": "9080", "virtual_hosts": [{"name": name, "domains": [name], "routes": list(entries)}]}
    return {"configs": [{"version_info": "2026-11-29T08:00:00Z/12", "route_config": config, **more}]}


def split(**parts: int) -> Split:
    return Split("", {to: Fraction(part, 100) for to, part in parts.items()})


ALL = {"prefix": "/", "case_sensitive": True}
JASON = {"prefix": "/", "headers": [{"name": "end-user", "string_match": {"exact": "jason"}}]}
HALF = {"default_value": {"numerator": 50}}
READ: dict[str, tuple[Document, tuple[Split, ...]]] = {
    "a split": (dumped(NAME, {"match": ALL, "route": weighted(v1=75, v2=25)}), (split(v1=75, v2=25),)),
    "whatever the sum": (dumped(NAME, {"match": ALL, "route": weighted(v1=19, v2=1)}), (split(v1=95, v2=5),)),
    "a match before it": (
        dumped(NAME, {"match": JASON, "route": {"cluster": cluster("v3")}}, {"match": ALL, "route": weighted(v1=1)}),
        (split(v3=100), split(v1=100)),
    ),
    "what nobody reaches": (
        dumped(NAME, {"match": ALL, "route": weighted(v1=1)}, {"match": ALL, "route": weighted(v2=1)}),
        (split(v1=100),),
    ),
    "a mirror, with defaults left out": (
        dumped(
            NAME,
            {
                "match": ALL,
                "route": weighted(v1=1)
                | {"request_mirror_policies": [{"cluster": cluster("v2"), "runtime_fraction": HALF}]},
            },
        ),
        (Split("", {"v1": Fraction(1)}, {"v2": Fraction(1, 2)}),),
    ),
    "no VirtualService": (
        dumped(NAME, {"match": ALL, "route": {"cluster": cluster("")}}),
        (Split("", {"": Fraction(1)}),),
    ),
    "another's": (dumped("ratings.shop.svc.cluster.local:9080", {"match": ALL, "route": {"cluster": "x"}}), ()),
    "a gateway": (
        dumped(
            "www.example.com:80",
            {"match": JASON, "route": {"cluster": cluster("", "front.shop.svc.cluster.local")}},
            {"match": ALL, "route": weighted(v1=9, v2=1)},
        ),
        (split(v1=90, v2=10),),
    ),
    "what passes through": (dumped("allow_any", {"match": ALL, "route": {"cluster": "PassthroughCluster"}}), ()),
    "what redirects": (dumped(NAME, {"match": ALL, "redirect": {}}, {"match": ALL, "route": weighted(v1=1)}), ()),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("whole", [True, False])
def test_a_dump_is_read(name: str, whole: bool) -> None:
    dump, splits = READ[name]
    if whole:
        dump = {"configs": [{"@type": "x"}, {"dynamic_route_configs": dump["configs"], "static_route_configs": [{}]}]}
    found = held(dump, HOST)
    assert [one.splits for one in found] == ([splits] if splits else [])
    assert all(one.version == "2026-11-29T08:00:00Z/12" for one in found)


def to(subset: str, weight: int = 0, host: str = "reviews") -> Document:
    return {"destination": {"host": host, "subset": subset}, "weight": weight}


def vs(*http: Document, **spec: Any) -> Document:
    return {
        "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"hosts": ["reviews"], "http": [*http], **spec},
    }


MATCHES: list[Document] = [
    {"uri": {"prefix": "/"}},
    {"uri": {"prefix": "/a"}},
    {"headers": {"end-user": {"exact": "jason"}}},
    {"sourceLabels": {"app": "front"}},
    {"sourceLabels": {"app": "back"}, "uri": {"prefix": "/"}},
    {"gateways": ["mesh"]},
    {"gateways": ["edge"]},
]
ROUTES = st.builds(
    lambda match, to, mirror: match | to | mirror,
    st.sampled_from([{}, {"name": "main"}, *({"match": [one]} for one in MATCHES), {"match": MATCHES[:3]}]),
    st.sampled_from(
        [{"route": made} for made in ([to("v1", 75), to("v2", 25)], [to("v1")], [to("", 1, "ratings"), to("v1", 2)])]
    ),
    st.sampled_from(
        [{}, {"mirror": to("v2")["destination"], "mirrorPercentage": {"value": 12.5}}, {"mirrors": [to("v2")]}]
    ),
)


@given(st.lists(ROUTES, max_size=4))
def test_what_a_proxy_is_sent_is_what_it_should_have(http: list[Document]) -> None:
    """Two ways to one thing: the playground's Envoy is sent the one, the VirtualService read for the other."""
    every = [vs(*http)]
    config = routes([SERVED], every, FRONT)
    found = held({"configs": [{"route_config": config}]}, HOST)
    should = wanted(NAME, HOST, every, FRONT)
    assert [one.splits for one in found] == ([should] if should else [])


GATE = Source("edge", {"istio": "ingress"}, gateway=True)
SPLIT = {"route": [to("v1", 75), to("v2", 25)]}
SHOULD: list[tuple[str, str, list[Document], Source, tuple[Split, ...]]] = [
    ("nothing said", NAME, [], FRONT, (Split("", {"": Fraction(1)}),)),
    ("not for them", NAME, [vs(SPLIT, exportTo=["."])], Source("other", {}), (Split("", {"": Fraction(1)}),)),
    ("for gateways only", NAME, [vs(SPLIT, gateways=["edge"])], FRONT, (Split("", {"": Fraction(1)}),)),
    ("another port", NAME, [vs({"match": [{"port": 80}], **SPLIT}, {"route": [to("v1")]})], FRONT, (split(v1=100),)),
    (
        "a delegate's short hosts are of its own namespace",
        NAME,
        [
            {"metadata": {"name": "root", "namespace": "infra"}} | {
                "spec": {"hosts": [HOST], "http": [{"delegate": {"name": "reviews", "namespace": "shop"}}]}
            },
            vs(SPLIT, hosts=None),
        ],
        FRONT,
        (split(v1=75, v2=25),),
    ),
    (
        "two on a gateway",
        "www.example.com:80",
        [
            vs(SPLIT, hosts=["www.example.com"], gateways=["edge"]),
            vs({"match": [{"uri": {"prefix": "/x"}}], "route": [to("v3")]}, hosts=["*.example.com"], gateways=["edge"]),
        ],
        GATE,
        (split(v3=100), split(v1=75, v2=25)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("why", "name", "every", "source", "splits"), SHOULD)
def test_what_a_proxy_should_have(
    why: str, name: str, every: list[Document], source: Source, splits: tuple[Split, ...]
) -> None:
    assert wanted(name, HOST, every, source) == splits, why


def pod(name: str, owner: str = "", **spec: Any) -> Document:
    spec = spec or {"containers": [{"name": "app"}, {"name": "istio-proxy", "args": ["proxy", "sidecar"]}]}
    owners = {"ownerReferences": [{"name": f"{owner}-1a"}], "labels": {"pod-template-hash": "1a"}} if owner else {}
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "shop", **owners}, "spec": spec}


def test_each_workload_is_asked_once_before_one_twice() -> None:
    pods = [pod("a-1", "a"), pod("a-2", "a"), pod("b-1", "b"), pod("a-3", "a"), pod("c")]
    assert [name_of(one) for one in spread(pods)] == ["a-1", "b-1", "c", "a-2", "a-3"]
    assert spread(pods[::-1]) == spread(pods)


def test_who_a_pod_is_to_its_proxy() -> None:
    assert source_of(pod("a")) == Source("shop", {})
    assert source_of(pod("a", containers=[{"name": "app"}])) is None
    native: dict[str, Any] = {"initContainers": [{"name": "istio-proxy"}], "containers": [{"name": "app"}]}
    assert source_of(pod("a", **native)) == Source("shop", {})
    edge = pod("a", containers=[{"name": "istio-proxy", "args": ["proxy", "router"]}])
    assert source_of(edge) == Source("shop", {}, gateway=True)


class Asked:
    """Proxies that answer as they are told, or do not."""

    def __init__(self, **answers: Document | Exception) -> None:
        self.answers = answers

    def routes(self, pod: Document) -> Document:
        said = self.answers[name_of(pod)]
        if isinstance(said, Exception):
            raise said
        return said


GOOD, BAD = READ["a split"][0], READ["whatever the sum"][0]


def asked(*pods: Document, most: int = 5, **answers: Document | Exception) -> Sample:
    world = MemoryCluster()
    world.create(SERVICE, SERVED)
    world.create(VIRTUAL_SERVICE, vs({"name": "primary", **SPLIT}))
    for one in pods:
        world.create(POD, one)
    return sampled(world, Asked(**answers), "reviews", "shop", [], most)


@pytest.mark.parametrize(
    ("a", "b", "code", "said"),
    [
        (GOOD, GOOD, OBEY, "asked 2 of 2 proxies"),
        (GOOD, BAD, OTHERS, "1 of them has not what the VirtualServices say"),
        (NotFound("gone"), BAD, OTHERS, "1 did not answer"),
        (GOOD, NotFound("gone"), UNREACHED, "1 did not answer"),
        (GOOD, {"configs": [{"route_config": 3}]}, UNREACHED, "1 did not answer"),
        (GOOD, dumped("ratings:80"), OBEY, "asked 2 of 2 proxies"),
    ],
)
def test_how_a_sample_ends(a: Document | Unreachable, b: Document | Unreachable, code: int, said: str) -> None:
    found = asked(pod("a"), pod("b"), a=a, b=b)
    assert found.exit == code
    assert said in "\n".join(told(found))
    assert document(found)["exit"] == code


def test_a_sample_is_bounded_and_says_of_how_many() -> None:
    found = asked(pod("a"), pod("b"), pod("c"), most=1, a=GOOD)
    assert (found.asked, found.there, [row.pod for row in found.rows]) == (1, 3, ["shop/a"])


def test_whom_nobody_knows_and_what_we_may_not() -> None:
    with pytest.raises(InvalidInput, match=r"no proxy in the namespace shop for .*; name the namespaces"):
        asked(pod("a", containers=[{"name": "app"}]))
    with pytest.raises(InvalidInput, match="none of 1 proxies that were asked"):
        asked(pod("a"), a=dumped("ratings:80"))
    with pytest.raises(Forbidden):
        asked(pod("a"), a=Forbidden("no"))


# `rollout explain --proxies`, which asks the same


@pytest.fixture
def proxied(cluster: Path) -> Iterator[Path]:
    """A mesh in which something is in flight, and whose clients' proxies have what it said at first."""
    known = flying()
    recorded(FolderCluster(cluster), replace(known, since=known.started))
    world = FolderCluster(cluster)
    front = Source("bookinfo", {"app": "productpage", "version": "v1"})
    config = routes(world.list(SERVICE), world.list(VIRTUAL_SERVICE), front, "productpage-v1")
    said = json.dumps({"configs": [{"route_config": config, "version_info": "1"}]}).encode()

    class Admin(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    with serving(Admin) as url:
        address = {"address": "127.0.0.1", "port_value": int(url.rpartition(":")[2])}
        place = cluster / ".playground" / "envoy"
        place.mkdir(parents=True)
        (place / "bootstrap.json").write_text(json.dumps({"admin": {"address": {"socket_address": address}}}))
        yield cluster


def moved(cluster: Path) -> None:
    """The VirtualService says something else now, and no proxy has heard of it."""
    world = FolderCluster(cluster)
    document = world.get(VIRTUAL_SERVICE, "bookinfo", "reviews")
    http = document["spec"]["http"]
    http[-1]["route"] = [to("v1", 75), to("v2", 25)]
    world.patch(
        VIRTUAL_SERVICE, "bookinfo", "reviews", {"spec": {"http": http}}, document["metadata"]["resourceVersion"]
    )


def test_explain_says_what_the_proxies_have_as_proxy_does(proxied: Path) -> None:
    hint = "Whether the proxies obey is what"
    assert hint in run(proxied, "explain", "reviews").stdout
    for code in (OBEY, OTHERS):
        alone, both = run(proxied, "proxy", "reviews"), run(proxied, "explain", "reviews", "--proxies")
        assert (alone.exit_code, both.exit_code) == (code, code)
        assert both.stdout.startswith("reviews v1 → v2: Shifting")
        assert both.stdout.endswith(alone.stdout)
        assert hint not in both.stdout
        found = json.loads(run(proxied, "explain", "reviews", "--proxies", "-o", "json").stdout)
        assert found["proxies"] == json.loads(run(proxied, "proxy", "reviews", "-o", "json").stdout)
        assert found["proxies"]["exit"] == code
        assert found["explained"][0] in both.stdout
        moved(proxied)


def test_what_keeps_us_from_asking_the_proxies_hides_nothing_else(cluster: Path) -> None:
    recorded(FolderCluster(cluster), flying())
    (cluster / "bookinfo" / "VirtualService" / "reviews.yaml").unlink()
    text, data = (run(cluster, "explain", "reviews", "--proxies", "-o", output) for output in ("text", "json"))
    for done in (text, data):
        assert isinstance(done.exception, InvalidInput)
        assert "no VirtualService routes to reviews" in str(done.exception)
    assert text.stdout.startswith("reviews v1 → v2: Shifting")
    found = json.loads(data.stdout)
    assert (found["phase"], found["proxies"]) == ("Shifting", {"trouble": str(data.exception)})
