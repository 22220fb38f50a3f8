"""Watches of a real API server: restarts, gaps, many objects, and silence while nothing happens."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rollout.adapters.kubernetes import KubernetesCluster
from rollout.controller.cache import Cache, CachedCluster, Changed, Scope
from rollout.controller.reflector import Reflectors
from rollout.core.documents import SERVICE, VIRTUAL_SERVICE, Document, name_of, version_of
from rollout.core.errors import Conflict, Forbidden, Unavailable
from tests.conftest import running
from tests.real.servers import ApiServer

pytestmark = pytest.mark.real
ROUTES = Scope.of(VIRTUAL_SERVICE)
PATH = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One that may be stopped."""
    yield from running(tmp_path_factory.mktemp("own"))


class Counting(KubernetesCluster):
    """Remembers each request that goes out: its verb and path."""

    def __init__(self, kubeconfig: str) -> None:
        super().__init__(None, kubeconfig)
        self.sent: list[str] = []

    def _answered(self, method: str, path: str, query: Any, body: Any, what: str, *accept: Any) -> Any:
        self.sent.append(what.partition(" in namespace")[0])
        return super()._answered(method, path, query, body, what, *accept)


class Followed:
    def __init__(self, server: ApiServer, *scopes: Scope, user: str = "admin") -> None:
        self.server, self.calls = server, list[Changed]()
        self.cluster = Counting(str(server.kubeconfig(user)))
        self.cache = Cache(self.calls.append)
        self.reflectors = Reflectors(self.cluster, self.cache)
        self.view = CachedCluster(self.cluster, self.cache, "us")
        for scope in scopes:
            self.reflectors.start(scope)
            assert self.reflectors.wait(scope, 20)

    def __enter__(self) -> "Followed":
        return self

    def __exit__(self, *_: object) -> None:
        self.reflectors.close()
        until(lambda: not [t for t in threading.enumerate() if t.name.startswith("watch virtualservices")], 2)

    def there(self) -> list[Document]:
        found: list[Document] = self.server.call("GET", PATH)["items"]
        return found


def until(there: Callable[[], object], within: float = 30) -> None:
    end = time.monotonic() + within
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def route(name: str, **spec: object) -> Document:
    to = {"destination": {"host": "reviews"}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"hosts": [name], "http": [{"route": [to], **spec}]},
    }


@pytest.fixture
def server(own_server: ApiServer) -> Iterator[ApiServer]:
    yield own_server
    own_server.call("DELETE", PATH)


def versions(documents: list[Document]) -> list[tuple[str, str]]:
    return sorted((name_of(one), version_of(one)) for one in documents)


def test_after_a_restart_nothing_was_missed(server: ApiServer) -> None:
    for name in ("kept", "changed", "doomed"):
        server.call("POST", PATH, route(name))
    with Followed(server, ROUTES) as followed:
        for turn in range(2):
            server.stop()
            until(lambda: followed.reflectors.health()[ROUTES].trouble)
            until(lambda: not followed.reflectors.health()[ROUTES].synced)
            with pytest.raises(Unavailable):  # rather than what may be old
                followed.view.list(VIRTUAL_SERVICE)
            followed.calls.clear()
            server.start()
            server.call("PATCH", f"{PATH}/changed", {"metadata": {"labels": {"turn": str(turn)}}})
            if turn == 0:
                server.call("DELETE", f"{PATH}/doomed")
            server.call("POST", PATH, route(f"new-{turn}"))
            until(lambda: followed.reflectors.health()[ROUTES].synced, 60)
            wanted = versions(followed.there())
            until(lambda: versions(followed.view.list(VIRTUAL_SERVICE)) == wanted)  # noqa: B023 - called at once
            told = {"changed", f"new-{turn}", *(["doomed"] if turn == 0 else [])}
            until(lambda: told <= {call.key[2] for call in followed.calls})  # noqa: B023 - called at once
            assert {call.key[2] for call in followed.calls} == told
        assert followed.view.get(VIRTUAL_SERVICE, "default", "changed")["metadata"]["labels"] == {"turn": "1"}


def test_a_gap_that_the_server_cannot_tell_is_listed(server: ApiServer) -> None:
    server.call("POST", PATH, route("a"))
    with Followed(server, ROUTES) as followed:
        reflector = followed.reflectors._running[ROUTES]
        reflector._version = "1"  # as if it had slept for a day
        assert reflector._watch is not None
        reflector._watch.close()
        until(lambda: followed.cluster.sent.count("list virtualservices") == 2)
        server.call("POST", PATH, route("b"))
        until(lambda: len(followed.calls) >= 2)
        assert versions(followed.view.list(VIRTUAL_SERVICE)) == versions(followed.there())
        assert [call.key[2] for call in followed.calls] == ["a", "b"]


def test_five_hundred_objects_come_in_pages_and_stay_whole(server: ApiServer) -> None:
    maker = KubernetesCluster(None, str(server.kubeconfig()))
    retries = {"attempts": 2, "retryIgnorePreviousHosts": False}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: maker.create(VIRTUAL_SERVICE, route(f"r{n}", retries=retries)), range(520)))
    with Followed(server, ROUTES) as followed:
        assert followed.cluster.sent.count("list virtualservices") == 2
        documents = followed.view.list(VIRTUAL_SERVICE)
        assert [name_of(one) for one in documents] == sorted(f"r{n}" for n in range(520))
        assert documents == KubernetesCluster.list(followed.cluster, VIRTUAL_SERVICE)
        assert documents[0]["spec"]["http"][0]["retries"] == retries
        assert documents[0]["metadata"]["managedFields"]
        followed.calls.clear()
        server.call("DELETE", PATH)
        until(lambda: len(followed.calls) == 520)
        assert followed.view.list(VIRTUAL_SERVICE) == []


def test_while_nothing_happens_nothing_is_asked(server: ApiServer) -> None:
    server.call("POST", PATH, route("a"))
    with Followed(server, ROUTES, Scope.of(SERVICE, "default")) as followed:
        until(lambda: len(followed.cluster.sent) == 5)
        before = _requests(server)
        for _ in range(50):
            followed.view.list(VIRTUAL_SERVICE)
            followed.view.get(VIRTUAL_SERVICE, "default", "a")
            followed.view.list(SERVICE, "default", {"app": "a"})
            time.sleep(0.1)
        assert _requests(server) == before
        wanted = ["list virtualservices", "watch virtualservices", "list services", "watch services"]
        assert sorted(followed.cluster.sent) == sorted([*wanted, "find networking.istio.io"])


def _requests(server: ApiServer) -> dict[str, float]:
    """By the server's own count: requests about services and routes that have ended; a watch counts when it ends."""
    text = server.call("GET", "/metrics", raw=True).decode()
    lines = [line for line in text.splitlines() if line.startswith("apiserver_request_total{")]
    ours = [line for line in lines if 'resource="virtualservices"' in line or 'resource="services"' in line]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in ours}


def test_own_writes_are_read_at_once_by_many_threads_beside_foreign_ones(server: ApiServer) -> None:
    for name in ("x", "y"):
        server.call("POST", PATH, route(name))
    with Followed(server, ROUTES) as followed:
        done = threading.Event()

        def foreign() -> None:
            for number in range(10_000):
                if done.is_set():
                    return
                server.call("PATCH", f"{PATH}/x", {"metadata": {"annotations": {"foreign": str(number)}}})

        def ours(index: int) -> int:
            view, conflicts = CachedCluster(followed.cluster, followed.cache, f"view {index}"), 0
            for number in range(40):
                name = "xy"[number % 2]
                found = view.get(VIRTUAL_SERVICE, "default", name)
                patch = {"metadata": {"annotations": {f"ours-{index}": str(number)}}}
                try:
                    made = view.patch(VIRTUAL_SERVICE, "default", name, patch, version_of(found))
                    least = int(version_of(made))
                except Conflict:
                    conflicts, least = conflicts + 1, int(version_of(found)) + 1  # what stood in the way is seen
                assert int(version_of(view.get(VIRTUAL_SERVICE, "default", name))) >= least
            return conflicts

        other = threading.Thread(target=foreign)
        other.start()
        with ThreadPoolExecutor(4) as pool:
            conflicts = list(pool.map(ours, range(4)))
        done.set()
        other.join()
        assert sum(conflicts) > 0
        until(lambda: versions(followed.view.list(VIRTUAL_SERVICE)) == versions(followed.there()))
        assert followed.cluster.sent.count("list virtualservices") == 1


def test_where_we_may_not_list_that_is_told_once_and_again_when_we_may(server: ApiServer) -> None:
    server.call("POST", PATH, route("a"))
    followed = Followed(server, user="reader")
    followed.reflectors.start(ROUTES)
    until(lambda: followed.reflectors.health()[ROUTES].trouble)
    with pytest.raises(Forbidden, match="virtualservices"):
        followed.view.list(VIRTUAL_SERVICE)
    verbs = ["get", "list", "watch"]
    server.grant("reader", [{"apiGroups": ["networking.istio.io"], "resources": ["virtualservices"], "verbs": verbs}])
    assert followed.reflectors.wait(ROUTES, 40)
    assert [name_of(one) for one in followed.view.list(VIRTUAL_SERVICE)] == ["a"]
    followed.reflectors.close()
