"""A mirror on a real API server with Istio's CRDs; what the pods' own proxies count is made up, failures and all."""

import itertools
import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from rollout.adapters.prometheus import PrometheusMetrics
from rollout.core.documents import VIRTUAL_SERVICE, Document, annotations_of, version_of
from rollout.core.strategy import Mirror, Safe
from rollout.judge.looks import ALL
from rollout.mesh.claims import Claim, annotation, claiming_patch, undressing_patch
from rollout.mesh.hosts import fqdn
from rollout.mesh.overlays import bare
from rollout.mesh.routes import Pair, key_of
from rollout.playground.stage import NAMESPACE
from rollout.ports import Target
from tests.fakes.exporter import Row, exporting
from tests.real.mesh import RELABEL, STRATEGY, Mesh, ended
from tests.real.servers import Prometheus, scraped

pytestmark = pytest.mark.real

HOST = fqdn("reviews", NAMESPACE)
MIRRORED = STRATEGY.replace("steps: [", "steps: [{mirror: {percent: 100, for: 20s}}, ")


@contextmanager
def in_the_mesh(mesh: Mesh, folder: Path, failing: int = 0) -> Iterator[None]:
    """As if each version's pods had a proxy that counts: a Prometheus that has these counters too."""

    def row(version: str, code: str, count: int) -> Row:
        labels = {"reporter": "destination", "destination_service": HOST, "destination_version": version}
        return labels | {"response_code": code}, count

    usual = mesh.prometheus
    with ExitStack() as stack:
        pods = [[row("v1", "200", 300)], [row("v2", "200", 300 - failing), row("v2", "500", failing)]]
        proxies = [stack.enter_context(exporting(rows)) for rows in pods]
        targets = [f"127.0.0.1:{mesh.playground.admin}", *proxies]
        mesh.prometheus = Prometheus(folder, targets, "/stats/prometheus", RELABEL)
        try:
            for reporter in ("source", "destination"):
                scraped(PrometheusMetrics(mesh.prometheus.url), Target(HOST, NAMESPACE, (), "v1", "v2", reporter))
            yield
        finally:
            mesh.prometheus.stop()
            mesh.prometheus = usual


def ours(mesh: Mesh) -> list[Document]:
    return [route for route in mesh.routes() if str(route.get("name", "")).startswith("rollout.dev/")]


def sent(mesh: Mesh, version: str) -> int:
    """How many requests Envoy has sent to a version, whoever's they are."""
    address = f"http://127.0.0.1:{mesh.playground.admin}/clusters"
    lines = urllib.request.urlopen(address, timeout=5).read().decode().splitlines()
    mine = [line.split("::") for line in lines if f"|{version}|{HOST}::" in line and "::rq_total::" in line]
    return sum(int(parts[-1]) for parts in mine)


def counted(mesh: Mesh, version: str) -> float:
    """How many of them the clients' proxies count."""
    rows = mesh.playground.proxy.counters()
    return sum(float(row[-1]) for row in rows if "source" in row and {HOST, version, ALL} <= set(row))


def test_a_good_version_is_mirrored_and_then_promoted(mesh: Mesh, tmp_path: Path) -> None:
    mesh.reset(MIRRORED)
    before, unseen = mesh.routes(), counted(mesh, "v2")
    with in_the_mesh(mesh, tmp_path):
        process = mesh.promote("--output", "json")
        mesh.until(lambda: bool(ours(mesh)), process)
        copy, original = mesh.routes()[-2:]
        assert copy["match"] == [{"method": {"regex": "GET|HEAD|OPTIONS"}}]
        assert copy["mirrors"][0]["destination"]["subset"] == "v2"
        assert copy["route"] == original["route"]
        assert json.loads(mesh.run("status", "reviews", "-o", "json")[1])["act"] == "mirroring 100 % of the reads"
        mesh.until(lambda: "no user sees v2 yet" in mesh.run("explain", "reviews")[1], process, within=10)
        already = sent(mesh, "v2")
        mesh.until(lambda: sent(mesh, "v2") > already + 200, process, within=20)
        assert counted(mesh, "v2") == unseen, "the clients' proxies do not count what is repeated"
        mesh.edit(lambda route: route.update({"timeout": "7s"}))
        mesh.until(lambda: all(route.get("timeout") == "7s" for route in mesh.routes()[-2:]), process, within=10)
        mesh.set_routes([route for route in mesh.routes() if route not in ours(mesh)])
        mesh.until(lambda: bool(ours(mesh)), process, within=10)
        mesh.wait_for(5, process)
        assert not ours(mesh)
        code, out, err = ended(process)
    assert code == 0, out + err
    assert "mirroring 100 % of the reads" in err
    assert mesh.weights() == {"v1": 0, "v2": 100}
    assert [list(route) for route in mesh.routes()] == [list(before[0]), [*before[1], "timeout"]]
    assert not annotations_of(mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews"))
    assert mesh.seen() == []


def test_a_bad_version_never_meets_a_user(mesh: Mesh, tmp_path: Path) -> None:
    mesh.reset(MIRRORED)
    mesh.playground.fail("v2", 0.2)
    with in_the_mesh(mesh, tmp_path, failing=60):
        process = mesh.promote("--output", "json")
        code, out, err = ended(process)
    document = json.loads(out)
    assert (code, document["reason"]) == (1, "Breach"), out + err
    assert document["last"]["hurt"] == 0, json.dumps(document["journal"], indent=1)
    assert not ours(mesh)
    assert mesh.seen() == []


CLAIM = Claim("v2-1-1", 1, Decimal(0), "v1", "v2", ())
MATCHES: list[list[Document]] = [
    [],
    [{"uri": {"prefix": "/x"}, "method": {"exact": "GET"}, "name": "n"}, {"method": {"regex": "GET|POST"}}],
    [{"headers": {"x": {"exact": "y"}}, "withoutHeaders": {"z": {"prefix": "a"}}, "sourceLabels": {"app": "web"}}],
]


MORE: list[Document] = [
    {},
    {"name": "main-" + "x" * 500},
    {"mirror": {"host": "ratings"}, "mirrorPercentage": {"value": 20}},
    {"mirror": {"host": "ratings"}, "mirrorPercent": 20},
    {"mirrors": [{"destination": {"host": "ratings", "port": {"number": 9080}}, "percentage": {"value": 0.5}}]},
]


def test_istios_schema_takes_every_route_of_ours(mesh: Mesh) -> None:
    """With its CEL rules; and what the server makes of it is what we compare with."""
    split = [{"destination": {"host": "reviews", "subset": v}, "weight": w} for v, w in (("v1", 100), ("v2", 0))]
    pair, key = Pair(HOST, "v1", "v2"), annotation("reviews", NAMESPACE)
    for match, safe, more in itertools.product(MATCHES, Safe, MORE):
        route: Document = {"route": split} | more | ({"match": match} if match else {})
        mesh.set_routes([route])
        vs = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
        claim, act = replace(CLAIM, keys=(key_of(route),)), Mirror(Decimal("12.34"), safe)
        patch = claiming_patch(vs, key, pair, claim, (act,))
        after = mesh.cluster.patch(VIRTUAL_SERVICE, NAMESPACE, "reviews", patch, version_of(vs))
        assert not bare(after, HOST)
        assert after["spec"]["http"] == patch["spec"]["http"]
        assert "spec" not in claiming_patch(after, key, pair, claim, (act,))
        bared = undressing_patch(after, HOST) | {"metadata": {"annotations": {key: None}}}
        last = mesh.cluster.patch(VIRTUAL_SERVICE, NAMESPACE, "reviews", bared, version_of(after))
        assert last["spec"] == vs["spec"]
