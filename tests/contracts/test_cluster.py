"""The promises of the Cluster port: one suite for the memory, the folder, a real API server, and what watches keep."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from rollout.adapters.folder import FolderCluster
from rollout.adapters.store import Key
from rollout.controller.cache import Cache, CachedCluster, Scope
from rollout.controller.reflector import Reflectors
from rollout.core.address import SecretKey
from rollout.core.documents import (
    CONFIG_MAP,
    SECRET,
    SERVICE_ROLLOUT,
    UNSEEN,
    VIRTUAL_SERVICE,
    Document,
    Kind,
    name_of,
    version_of,
)
from rollout.core.errors import Conflict, InvalidInput, NotFound
from rollout.engine.asking import opened
from rollout.ports import Cluster
from tests.fakes.memory import MemoryCluster, WatchedMemory
from tests.real.servers import ApiServer

Make = Callable[[], Cluster]


SCOPES = [Scope.of(kind) for kind in (CONFIG_MAP, VIRTUAL_SERVICE, SERVICE_ROLLOUT)]


class Telling(WatchedMemory):
    """A cluster that tells a cache of each write before the writer has its answer."""

    def __init__(self, cache: Cache) -> None:
        super().__init__()
        self._cache = cache
        for scope in SCOPES:
            cache.cover(scope)
            cache.replaced(scope, [], "0")

    def _write(self, key: Key, document: Document | None) -> None:
        super()._write(key, document)
        for scope in SCOPES:
            change = self.history[-1].told(scope.kind, None, {})
            if change is not None:
                self._cache.changed(scope, change)


REAL = [pytest.param(name, marks=pytest.mark.real) for name in ("kubernetes", "cached kubernetes")]


@pytest.fixture(params=["memory", "folder", "cached memory", *REAL])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    cache = Cache()
    if request.param == "memory":
        yield MemoryCluster()
    elif request.param == "folder":
        yield FolderCluster(tmp_path)
    elif request.param == "cached memory":
        yield CachedCluster(Telling(cache), cache)
    else:
        from rollout.adapters.kubernetes import KubernetesCluster  # noqa: PLC0415

        server = KubernetesCluster(None, str(request.getfixturevalue("api_server").kubeconfig()))
        if request.param == "kubernetes":
            yield server
            return
        reflectors = Reflectors(server, cache)
        for scope in SCOPES:
            reflectors.start(scope)
            assert reflectors.wait(scope, 10)
        yield CachedCluster(server, cache)
        reflectors.close()


@pytest.fixture
def name() -> str:
    return f"c-{uuid.uuid4().hex[:8]}"


def config_map(name: str, **data: str) -> Document:
    metadata = {"name": name, "namespace": "default", "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.mark.parametrize("kind", [CONFIG_MAP, SECRET])
def test_a_list_may_be_empty(cluster: Cluster, name: str, kind: Kind) -> None:
    assert cluster.list(kind, "default", {"group": name}) == []


def test_a_secret_gives_its_value_however_it_was_written(cluster: Cluster, name: str) -> None:
    metadata = {"name": name, "namespace": "default"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"url": "https://a.example/T0"}}
    cluster.create(SECRET, secret)
    assert opened(cluster, "default", SecretKey(name, "url")) == "https://a.example/T0"
    with pytest.raises(InvalidInput, match=f"Secret {name} in namespace default has no key other"):
        opened(cluster, "default", SecretKey(name, "other"))
    assert cluster.may("get", SECRET, "default", name)
    (listed,) = [one for one in cluster.list(SECRET, "default") if name_of(one) == name]
    assert set(listed) == {"metadata"}, "what is in it is not for whoever looks which there are"


def test_what_is_not_there_is_not_found(cluster: Cluster, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        cluster.get(CONFIG_MAP, "default", name)


def test_nothing_is_created_twice(cluster: Cluster, name: str) -> None:
    cluster.create(CONFIG_MAP, config_map(name, a="1"))
    with pytest.raises(Conflict):
        cluster.create(CONFIG_MAP, config_map(name, a="2"))
    assert cluster.get(CONFIG_MAP, "default", name)["data"] == {"a": "1"}


def test_a_patch_merges_and_null_deletes(cluster: Cluster, name: str) -> None:
    made = cluster.create(CONFIG_MAP, config_map(name, a="1", b="2"))
    patch = {"data": {"a": None, "c": "3"}, "metadata": {"annotations": {"x": "y"}}}
    after = cluster.patch(CONFIG_MAP, "default", name, patch, version_of(made))
    assert after["data"] == {"b": "2", "c": "3"}
    assert after["metadata"]["annotations"] == {"x": "y"}
    assert after["metadata"]["labels"] == {"app": name}
    bare = cluster.patch(CONFIG_MAP, "default", name, {"metadata": {"annotations": {"x": None}}}, version_of(after))
    assert "annotations" not in bare["metadata"]


def test_a_patch_of_what_changed_since_conflicts_and_changes_nothing(cluster: Cluster, name: str) -> None:
    old = cluster.create(CONFIG_MAP, config_map(name, a="1"))
    cluster.patch(CONFIG_MAP, "default", name, {"data": {"a": "2"}}, version_of(old))
    with pytest.raises(Conflict):
        cluster.patch(CONFIG_MAP, "default", name, {"data": {"a": "3"}}, version_of(old))
    assert cluster.get(CONFIG_MAP, "default", name)["data"] == {"a": "2"}


def test_a_patch_that_says_nothing_new_conflicts_too(cluster: Cluster, name: str) -> None:
    made = cluster.create(CONFIG_MAP, config_map(name, a="1"))
    cluster.patch(CONFIG_MAP, "default", name, {"data": {"b": "2"}}, version_of(made))
    with pytest.raises(Conflict):
        cluster.patch(CONFIG_MAP, "default", name, {"data": {"a": "1"}}, version_of(made))


def test_the_version_changes_with_writes_and_only_with_them(cluster: Cluster, name: str) -> None:
    made = cluster.create(CONFIG_MAP, config_map(name, a="1"))
    assert version_of(cluster.get(CONFIG_MAP, "default", name)) == version_of(made)
    same = cluster.patch(CONFIG_MAP, "default", name, {"data": {"a": "1"}}, version_of(made))
    assert version_of(same) == version_of(made)
    other = cluster.patch(CONFIG_MAP, "default", name, {"data": {"a": "2"}}, version_of(made))
    assert version_of(other) != version_of(made)


def test_a_delete_is_guarded(cluster: Cluster, name: str) -> None:
    old = cluster.create(CONFIG_MAP, config_map(name, a="1"))
    new = cluster.patch(CONFIG_MAP, "default", name, {"data": {"a": "2"}}, version_of(old))
    with pytest.raises(Conflict):
        cluster.delete(CONFIG_MAP, "default", name, version_of(old))
    cluster.delete(CONFIG_MAP, "default", name, version_of(new))
    with pytest.raises(NotFound):
        cluster.get(CONFIG_MAP, "default", name)


def test_what_has_a_finalizer_goes_with_it(cluster: Cluster, name: str) -> None:
    document = config_map(name)
    document["metadata"]["finalizers"] = ["rollout.dev/traffic"]
    made = cluster.create(CONFIG_MAP, document)
    cluster.delete(CONFIG_MAP, "default", name, version_of(made))
    going = cluster.get(CONFIG_MAP, "default", name)
    assert going["metadata"]["deletionTimestamp"]
    gone = cluster.patch(CONFIG_MAP, "default", name, {"metadata": {"finalizers": []}}, version_of(going))
    assert not gone["metadata"].get("finalizers")
    with pytest.raises(NotFound):
        cluster.get(CONFIG_MAP, "default", name)


def test_lists_are_selected_and_ordered(cluster: Cluster, name: str) -> None:
    for suffix in ("b", "a"):
        document = config_map(f"{name}-{suffix}")
        document["metadata"]["labels"] = {"group": name}
        cluster.create(CONFIG_MAP, document)
    cluster.create(CONFIG_MAP, config_map(name))
    found = cluster.list(CONFIG_MAP, "default", {"group": name})
    assert [name_of(d) for d in found] == [f"{name}-a", f"{name}-b"]
    assert found[0]["kind"] == "ConfigMap"


def test_lists_of_a_virtual_service_are_replaced_whole(cluster: Cluster, name: str) -> None:
    to = {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100}
    document = {
        "apiVersion": VIRTUAL_SERVICE.api_version(),
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"hosts": ["reviews"], "http": [{"name": "a", "route": [to]}, {"name": "b", "route": [to]}]},
    }
    made = cluster.create(VIRTUAL_SERVICE, document)
    patch = {"spec": {"http": [{"name": "b", "route": [to]}]}}
    after = cluster.patch(VIRTUAL_SERVICE, "default", name, patch, version_of(made))
    assert [route["name"] for route in after["spec"]["http"]] == ["b"]
    assert after["spec"]["hosts"] == ["reviews"]


def service_rollout(name: str, **more: object) -> Document:
    metadata = {"name": name, "namespace": "default"}
    spec = {"service": name, "version": "v1"}
    head = {"apiVersion": SERVICE_ROLLOUT.api_version(), "kind": SERVICE_ROLLOUT.name}
    return {**head, "metadata": metadata, "spec": spec, **more}


def test_a_status_is_written_apart_from_the_rest(cluster: Cluster, name: str) -> None:
    made = cluster.create(SERVICE_ROLLOUT, service_rollout(name, status={"attempt": 0}))
    assert made["status"] == UNSEEN
    patch = {"spec": {"version": "v2"}, "metadata": {"labels": {"a": "b"}}, "status": {"attempt": 1}}
    told = cluster.patch(SERVICE_ROLLOUT, "default", name, patch, version_of(made), "status")
    assert (told["status"], told["spec"]) == (UNSEEN | {"attempt": 1}, made["spec"])
    assert "labels" not in told["metadata"]
    patch["status"] = {"attempt": 2}
    after = cluster.patch(SERVICE_ROLLOUT, "default", name, patch, version_of(told))
    assert (after["status"], after["metadata"]["labels"]) == (UNSEEN | {"attempt": 1}, {"a": "b"})
    assert after["spec"]["version"] == "v2"
    assert cluster.get(SERVICE_ROLLOUT, "default", name) == after
    with pytest.raises(Conflict):
        cluster.patch(SERVICE_ROLLOUT, "default", name, {"status": {"attempt": 3}}, version_of(told), "status")
    patch = {"status": {"attempt": None, "message": "x"}}
    bare = cluster.patch(SERVICE_ROLLOUT, "default", name, patch, version_of(after), "status")
    assert bare["status"] == UNSEEN | {"message": "x"}


def test_the_generation_counts_what_is_asked_for(cluster: Cluster, name: str) -> None:
    at = cluster.create(SERVICE_ROLLOUT, service_rollout(name))
    assert at["metadata"]["generation"] == 1
    patches: list[tuple[Document, str, int]] = [
        ({"status": {"attempt": 1}}, "status", 1),
        ({"metadata": {"labels": {"a": "b"}}}, "", 1),
        ({"metadata": {"generation": 7}}, "", 1),
        ({"spec": {"version": "v2"}}, "", 2),
        ({"spec": {"version": "v2"}}, "", 2),
        ({"spec": {"version": "v3"}, "status": {"attempt": 2}}, "", 3),
    ]
    for patch, subresource, generation in patches:
        at = cluster.patch(SERVICE_ROLLOUT, "default", name, patch, version_of(at), subresource)
        assert at["metadata"]["generation"] == generation, patch
    assert at["status"] == UNSEEN | {"attempt": 1}


@pytest.mark.real
def test_whose_kubeconfig_asks_for_no_certificate_is_not_warned_of_it(api_server: ApiServer, tmp_path: Path) -> None:
    config = yaml.safe_load(api_server.kubeconfig().read_text())
    cluster = config["clusters"][0]["cluster"]
    cluster["insecure-skip-tls-verify"] = cluster.pop("certificate-authority") is not None
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "rollout", "status", "reviews"]
    variables = os.environ | {"KUBECONFIG": str(tmp_path / "kubeconfig")}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    (line,) = done.stderr.splitlines()
    assert "there is no Service reviews" in line
