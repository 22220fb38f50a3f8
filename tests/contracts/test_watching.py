"""The promises of the Watchable port: one suite for the memory and a real API server."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from rollout.core.documents import VIRTUAL_SERVICE, Document, copied, name_of, version_of
from rollout.core.errors import Expired, Unavailable
from rollout.ports import Change, Watch, Watchable
from tests.fakes.memory import WatchedMemory


@pytest.fixture(params=["memory", pytest.param("kubernetes", marks=pytest.mark.real)])
def cluster(request: pytest.FixtureRequest) -> Iterator[Watchable]:
    if request.param == "memory":
        yield WatchedMemory()
        return
    from rollout.adapters.kubernetes import KubernetesCluster  # noqa: PLC0415

    yield KubernetesCluster(None, str(request.getfixturevalue("api_server").kubeconfig()))


@pytest.fixture
def name() -> str:
    return f"w-{uuid.uuid4().hex[:8]}"


def route(name: str, timeout: str = "1s", namespace: str = "default", **labels: str) -> Document:
    to = {"destination": {"host": "reviews"}}
    return {
        "apiVersion": VIRTUAL_SERVICE.api_version(),
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {"app": name}},
        "spec": {"hosts": ["reviews"], "http": [{"route": [to], "timeout": timeout}]},
    }


class Hearing:
    """What a watch tells, heard in a thread of its own."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.heard = watch, list[Change | str]()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.until(lambda: self.heard or self.error)

    def _run(self) -> None:
        try:
            for one in self.watch:
                self.heard.append(one)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    @property
    def changes(self) -> list[Change]:
        return [one for one in self.heard if isinstance(one, Change)]

    def until(self, there: Callable[[], object], within: float = 10) -> None:
        end = time.monotonic() + within
        while not there():
            assert time.monotonic() < end, self.heard
            time.sleep(0.01)

    def ended(self, within: float = 10) -> bool:
        self._thread.join(within)
        return not self._thread.is_alive()


def test_a_watch_tells_what_came_after_the_list(cluster: Watchable, name: str) -> None:
    before = cluster.create(VIRTUAL_SERVICE, route(name))
    documents, since = cluster.listing(VIRTUAL_SERVICE, "default", {"app": name})
    assert documents == [before]
    late = cluster.create(VIRTUAL_SERVICE, route(f"{name}-b", app=name))
    hearing = Hearing(cluster.watch(VIRTUAL_SERVICE, "default", {"app": name}, since, 60))
    assert hearing.heard[0] == since
    cluster.create(VIRTUAL_SERVICE, route(f"{name}-c", app="other"))
    patched = cluster.patch(VIRTUAL_SERVICE, "default", name, {"metadata": {"labels": {"x": "y"}}}, version_of(before))
    cluster.delete(VIRTUAL_SERVICE, "default", f"{name}-b", version_of(late))
    hearing.until(lambda: len(hearing.changes) == 3)
    made, changed, gone = hearing.changes
    assert (made, changed) == (Change(late), Change(patched))
    assert gone.gone
    assert name_of(gone.document) == f"{name}-b"
    assert int(version_of(gone.document)) > int(version_of(patched))
    hearing.watch.close()
    assert hearing.ended(3)
    assert hearing.error is None


def test_a_watch_without_a_version_begins_with_all_that_is_there(cluster: Watchable, name: str) -> None:
    there = [cluster.create(VIRTUAL_SERVICE, route(f"{name}-{n}", app=name)) for n in range(3)]
    cluster.create(VIRTUAL_SERVICE, route(f"{name}-other", app="other"))
    hearing = Hearing(cluster.watch(VIRTUAL_SERVICE, "default", {"app": name}, "", 60))
    hearing.until(lambda: len(hearing.heard) == 4)
    *first, version = hearing.heard
    assert sorted(name_of(one.document) for one in first if isinstance(one, Change)) == [name_of(one) for one in there]
    assert isinstance(version, str)
    assert int(version) >= max(int(version_of(one)) for one in there)
    late = cluster.create(VIRTUAL_SERVICE, route(f"{name}-late", app=name))
    hearing.until(lambda: len(hearing.changes) == 4)
    assert hearing.changes[-1] == Change(late)
    hearing.watch.close()


def test_what_loses_its_label_is_gone_for_those_who_asked_for_it(cluster: Watchable, name: str) -> None:
    made = cluster.create(VIRTUAL_SERVICE, route(name))
    _, since = cluster.listing(VIRTUAL_SERVICE, "default", {"app": name})
    hearing = Hearing(cluster.watch(VIRTUAL_SERVICE, "default", {"app": name}, since, 60))
    lost = cluster.patch(VIRTUAL_SERVICE, "default", name, {"metadata": {"labels": {"app": "x"}}}, version_of(made))
    back = cluster.patch(VIRTUAL_SERVICE, "default", name, {"metadata": {"labels": {"app": name}}}, version_of(lost))
    hearing.until(lambda: len(hearing.changes) == 2)
    gone, again = hearing.changes
    assert gone.gone
    assert version_of(gone.document) == version_of(lost)
    assert again == Change(back)
    hearing.watch.close()


def test_a_watch_of_all_namespaces_hears_all(cluster: Watchable, name: str) -> None:
    _, since = cluster.listing(VIRTUAL_SERVICE)
    hearing = Hearing(cluster.watch(VIRTUAL_SERVICE, None, None, since, 60))
    made = [cluster.create(VIRTUAL_SERVICE, route(name, namespace=where)) for where in ("default", "kube-public")]
    hearing.until(lambda: len(hearing.changes) >= 2)
    assert [change for change in hearing.changes if name_of(change.document) == name] == [Change(one) for one in made]
    hearing.watch.close()


def test_a_watch_ends_by_itself_and_is_taken_up_where_it_ended(cluster: Watchable, name: str) -> None:
    _, since = cluster.listing(VIRTUAL_SERVICE, "default", {"app": name})
    started = time.monotonic()
    hearing = Hearing(cluster.watch(VIRTUAL_SERVICE, "default", {"app": name}, since, 1))
    made = cluster.create(VIRTUAL_SERVICE, route(name))
    assert hearing.ended()
    assert hearing.error is None
    assert 0.5 < time.monotonic() - started < 8
    assert hearing.changes == [Change(made)]
    quiet = Hearing(cluster.watch(VIRTUAL_SERVICE, "default", {"app": name}, version_of(made), 1))
    assert quiet.ended()
    assert quiet.changes == []


def test_a_watch_that_is_closed_before_it_began_asks_nobody_for_long(cluster: Watchable, name: str) -> None:
    _, since = cluster.listing(VIRTUAL_SERVICE, "default")
    watch = cluster.watch(VIRTUAL_SERVICE, "default", None, since, 60)
    watch.close()
    started = time.monotonic()
    assert [one for one in watch if isinstance(one, Change)] == []
    assert time.monotonic() - started < 5


def test_what_lies_too_far_back_has_expired(cluster: Watchable) -> None:
    if isinstance(cluster, WatchedMemory):
        for name in ("a", "b"):
            cluster.create(VIRTUAL_SERVICE, route(name))
        cluster.compact()
    with pytest.raises(Expired):
        list(cluster.watch(VIRTUAL_SERVICE, "default", None, "1", 2))


def test_documents_are_told_whole(cluster: Watchable, name: str) -> None:
    document = route(name)
    document["spec"]["http"][0]["retries"] = {"attempts": 3, "backoff": "25ms", "retryIgnorePreviousHosts": True}
    document["metadata"]["annotations"] = {"somebody.example/else": "{}"}
    _, since = cluster.listing(VIRTUAL_SERVICE, "default", {"app": name})
    hearing = Hearing(cluster.watch(VIRTUAL_SERVICE, "default", {"app": name}, since, 60))
    made = cluster.create(VIRTUAL_SERVICE, copied(document))
    hearing.until(lambda: hearing.changes)
    assert hearing.changes[0].document == made
    assert made["spec"] == document["spec"]
    hearing.watch.close()


def test_where_nobody_answers_the_watch_says_so() -> None:
    memory = WatchedMemory()
    hearing = Hearing(memory.watch(VIRTUAL_SERVICE, None, None, "0", 60))
    memory.away()
    assert hearing.ended()
    assert isinstance(hearing.error, Unavailable)
