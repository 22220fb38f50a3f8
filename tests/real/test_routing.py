"""A header route that sticks, and a gate, on a real API server: the real Envoy sends whom it names where it says."""

import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rollout.core.documents import VIRTUAL_SERVICE, annotations_of
from rollout.mesh.hosts import fqdn
from rollout.mesh.overlays import bare, cookie_name
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import STRATEGY, Mesh, ended

pytestmark = pytest.mark.real

HOST = fqdn("reviews", NAMESPACE)
COOKIE = cookie_name(HOST)
ROUTED = STRATEGY.replace(
    "{weight: 5}, {weight: 25}, {weight: 50}",
    "{route: {headers: {x-variant: b}, percent: 25%, sticky: 1h}, bake: 3s}, {gate: {person: true}}, {weight: 50}",
)
VARIANT = {"x-variant": "b"}
TIMES = 12


class Client:
    """Asks for reviews as productpage's own proxy does."""

    def __init__(self, mesh: Mesh) -> None:
        listeners = urllib.request.urlopen(f"http://127.0.0.1:{mesh.playground.admin}/listeners", timeout=5)
        rows = [row.split("::") for row in listeners.read().decode().split()]
        self._url = next(f"http://{at}/" for name, at in rows if name.startswith("productpage") and "outbound" in name)

    def ask(self, **headers: str) -> tuple[str, str]:
        """The version that answered, and the cookie that came with it."""
        request = urllib.request.Request(self._url, headers={"Host": "reviews"} | headers)
        try:
            answer = urllib.request.urlopen(request, timeout=5)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.headers.get("x-version", ""), answer.headers.get("set-cookie", "")

    def versions(self, **headers: str) -> Counter[str]:
        return Counter(self.ask(**headers)[0] for _ in range(TIMES))

    @contextmanager
    def asking(self, **headers: str) -> Iterator[None]:
        """Ask all the while, some 50 times a second."""
        over = threading.Event()

        def ask() -> None:
            while not over.wait(0.02):
                self.ask(**headers)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(5)


def test_who_matches_meets_the_new_version_first_and_stays_there(mesh: Mesh) -> None:
    mesh.reset(ROUTED)
    before, client = mesh.routes(), Client(mesh)
    with client.asking(**VARIANT):
        process = mesh.promote("--output", "json")
        mesh.until(lambda: client.ask(**VARIANT)[0] == "v2", process, within=30)
        assert mesh.canary() == 0
        assert client.versions(**VARIANT) == {"v2": TIMES}
        assert client.versions() == {"v1": TIMES}
        assert client.versions(**{"end-user": "jason"}) == {"v3": TIMES}, "a user's own route stays above ours"
        cookie = client.ask(**VARIANT)[1].partition(";")[0]
        assert cookie == f"{COOKIE}=v2"
        assert client.versions(cookie=f"a=b; {cookie}") == {"v2": TIMES}

        mesh.until(lambda: "Waiting" in mesh.run("status", "reviews")[1], process, within=60)
        assert client.versions(**VARIANT) == {"v2": TIMES}, "it goes on while somebody is asked"
        code, out, err = mesh.run("approve", "reviews", "--because", "b sells")
        assert code == 0, out + err
        mesh.wait_for(50, process)
        mesh.until(lambda: len(client.versions()) == 2, process, within=10)
        code, out, err = ended(process)
    assert code == 0, out + err
    assert any("says yes: b sells" in entry["text"] for entry in json.loads(out)["journal"])
    assert mesh.weights() == {"v1": 0, "v2": 100}
    assert [list(route) for route in mesh.routes()] == [list(route) for route in before]
    assert COOKIE not in json.dumps(mesh.routes())
    vs = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
    assert bare(vs, HOST)
    assert not annotations_of(vs)
    assert mesh.seen() == []


def test_a_version_that_fails_those_it_was_routed_to_meets_nobody_else(mesh: Mesh) -> None:
    mesh.reset(ROUTED)
    mesh.playground.fail("v2", 0.3)
    with Client(mesh).asking(**VARIANT):
        code, out, err = ended(mesh.promote("--output", "json"))
    assert (code, json.loads(out)["reason"]) == (1, "Breach"), out + err
    assert mesh.canary() == 0
    assert bare(mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews"), HOST)
    assert mesh.seen() == [], "productpage's users sent no such header"
