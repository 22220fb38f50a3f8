"""The Kubernetes API behind the Cluster port: raw documents, guarded writes, one error for each kind of no."""

import builtins
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import urllib3
from kubernetes import client, config
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigMerger
from kubernetes.stream import ws_client
from kubernetes.utils.keepalive import tcp_keepalive_socket_options

from rollout.adapters.retries import read
from rollout.core.documents import MANAGER, SECRET, Document, Kind, name_of, namespace_of
from rollout.core.errors import (
    Conflict,
    Expired,
    Forbidden,
    InvalidInput,
    NotFound,
    RolloutError,
    Unavailable,
    Unintelligible,
)
from rollout.ports import Change

TIMEOUT = (3.0, 4.0)
"""Seconds to connect and to answer: together less than a lease lasts."""
CONNECTIONS = 64
"""That are kept for the next request, at most: one for each thread of a controller, and one for each watch."""
PAGE = 500
STREAMED = [("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]
"""Asks for what is there before what changes, in one answer; servers before 1.32 or so refuse it."""
UNSTREAMED = "the required storage feature"
"""What a server answers to that whose etcd is older than 3.4.25, as an error of its own."""
SLACK = 10.0
"""Seconds that a watch may be silent beyond its own end."""
KEEPALIVE = {"idle": 10, "interval": 5, "count": 3}
"""Seconds: a connection that was cut and nobody said so is noticed within half a minute."""
READ = 1 << 18
"""How much of a watch is read at once, at most; a line may be longer."""
FORWARDING = "v4.channel.k8s.io"
FORWARDED_WITHIN = 15.0
"""Seconds until a port of a pod is forwarded: the API server reaches a kubelet for it."""
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"
METADATA = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
Query = list[tuple[str, str]]


class KubernetesCluster:
    """A cluster that a kubeconfig reaches, or the one that we run in."""

    def __init__(self, context: str | None = None, kubeconfig: str | None = None) -> None:
        settings = client.Configuration()
        self.default_namespace = _configure(settings, context, kubeconfig)
        settings.proxy = settings.proxy  # what the environment says: it would be read again with every request
        settings.retries = False
        settings.connection_pool_maxsize = CONNECTIONS
        settings.socket_options = tcp_keepalive_socket_options(**KEEPALIVE)
        if not settings.verify_ssl:  # the kubeconfig says so: to be warned of it at every request helps nobody
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._host = str(settings.host)
        self._api = client.ApiClient(settings)
        self._served: dict[str, str] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """See the port."""
        return read(lambda: self._call("GET", kind, namespace, name))

    def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Document]:
        """See the port."""
        found, _ = self.listing(kind, namespace, labels)
        return sorted(found, key=lambda one: (namespace_of(one), name_of(one)))

    def listing(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[builtins.list[Document], str]:
        """See the port: all pages are of the version of the first."""
        query = [("limit", str(PAGE)), *_selector(labels)]
        found: list[Document] = []
        token = ""
        while True:
            asked = [*query, *([("continue", token)] if token else [])]
            page = read(lambda: self._call("GET", kind, namespace, "", asked))  # noqa: B023 - called at once
            found += [_item(kind, page, item) for item in page["items"] or []]  # a list of metadata may say null
            token = page["metadata"].get("continue", "")
            if not token:
                return found, str(page["metadata"].get("resourceVersion", ""))

    def watch(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None, since: str, seconds: float
    ) -> "KubernetesWatch":
        """See the port: lines of one answer that does not end."""
        until = [("timeoutSeconds", str(max(1, round(seconds)))), ("allowWatchBookmarks", "true")]
        begin = [("resourceVersion", since)] if since else STREAMED
        query = [("watch", "true"), *begin, *until, *_selector(labels)]
        what = f"watch {kind.plural}" + (f" in namespace {namespace}" if namespace else "")

        def ask() -> Any:
            response = self._answered("GET", self._path(kind, namespace), query, None, what)
            if response.status >= 300:
                raise _refusal(int(response.status), response.read(), what)
            return response.response

        return KubernetesWatch(ask, what, since, seconds + SLACK)

    def create(self, kind: Kind, document: Document) -> Document:
        """See the port."""
        body = {**document, "apiVersion": kind.api_version(self._version(kind))}
        return self._call("POST", kind, namespace_of(document), "", [("fieldManager", MANAGER)], body)

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Document, version: str, subresource: str = ""
    ) -> Document:
        """See the port: a resourceVersion in the patch lets the server refuse it with a conflict."""
        metadata = {**patch.get("metadata", {}), "resourceVersion": version}
        body = {**patch, "metadata": metadata}
        return self._call("PATCH", kind, namespace, name, [("fieldManager", MANAGER)], body, subresource)

    def delete(self, kind: Kind, namespace: str, name: str, version: str) -> None:
        """See the port."""
        body = {"preconditions": {"resourceVersion": version}}
        self._call("DELETE", kind, namespace, name, [], body)

    def may(self, verb: str, kind: Kind, namespace: str | None, name: str = "") -> bool:
        """See the port."""
        attributes = {"verb": verb, "group": kind.group, "resource": kind.plural, "name": name}
        attributes["namespace"] = namespace or ""
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        review = read(lambda: self._send("POST", path, [], body, "ask for our rights"))
        return bool(review["status"].get("allowed"))

    @contextmanager
    def forwarded(self, namespace: str, pod: str, port: int) -> Iterator[socket.socket]:
        """A connection to a port of a pod, by a websocket through the API server and the pod's kubelet.

        Raises `Unavailable`, `NotFound`, and `Forbidden` with the rights that it takes.
        """
        what = f"forward port {port} of pod {pod} in namespace {namespace}"
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/portforward"
        _, url, headers, *_ = self._api.param_serialize(
            method="GET", resource_path=path, query_params=[("ports", str(port))], auth_settings=["BearerToken"]
        )
        headers = {key.lower(): value for key, value in headers.items()} | {"sec-websocket-protocol": FORWARDING}
        made = _soon(lambda: _websocket(self._api.configuration, url, headers, what), what)
        tunnel = ws_client.PortForward(made, [port])
        try:
            yield tunnel.socket(port)
        finally:
            tunnel.close()

    def _version(self, kind: Kind) -> str:
        """The best version of a kind's group that this cluster serves; asked for once."""
        if len(kind.versions) == 1:
            return kind.versions[0]
        if kind.group not in self._served:
            try:
                group = read(lambda: self._send("GET", f"/apis/{kind.group}", [], None, f"find {kind.group}"))
            except NotFound:
                raise InvalidInput(f"this cluster does not serve {kind.group}; is Istio installed there?") from None
            served = [version["version"] for version in group["versions"]]
            best = next((version for version in kind.versions if version in served), "")
            if not best:
                raise InvalidInput(f"this cluster serves {kind.group} as {', '.join(served)}, none of which we know")
            self._served[kind.group] = best
        return self._served[kind.group]

    def _call(
        self,
        method: str,
        kind: Kind,
        namespace: str | None,
        name: str,
        query: Query | None = None,
        body: Document | None = None,
        subresource: str = "",
    ) -> Document:
        path = self._path(kind, namespace) + "".join(f"/{quote(part, safe='')}" for part in (name, subresource) if part)
        verb = {"GET": "get" if name else "list", "POST": "create"}.get(method, method.lower())
        where = f" in namespace {namespace}" if namespace else ""
        what = f"{verb} {kind.plural}{f'/{subresource}' if subresource else ''} {name}".rstrip() + where
        accept = METADATA if kind is SECRET and verb == "list" else JSON
        return self._send(method, path, query or [], body, what, accept)

    def _path(self, kind: Kind, namespace: str | None) -> str:
        root = f"/apis/{kind.group}" if kind.group else "/api"
        place = f"/namespaces/{quote(namespace, safe='')}" if namespace is not None else ""
        return f"{root}/{self._version(kind)}{place}/{kind.plural}"

    def _send(self, method: str, path: str, query: Query, body: Any, what: str, accept: str = JSON) -> Document:
        response = self._answered(method, path, query, body, what, accept)
        with _heard(self._host, what):
            data, status = response.read(), int(response.status)
        if status >= 300:
            raise _refusal(status, data, what)
        try:
            document: Document = json.loads(data)
        except ValueError as error:
            raise Unintelligible(f"cannot {what}: what answers is no Kubernetes API") from error
        return document

    def _answered(self, method: str, path: str, query: Query, body: Any, what: str, accept: str = JSON) -> Any:
        """The answer, of which nothing but its head was read yet."""
        headers = {"Accept": accept, "Content-Type": MERGE_PATCH if method == "PATCH" else JSON}
        with _heard(self._host, what):
            verb, url, headers, *_ = self._api.param_serialize(  # not the body: it is data already
                method=method,
                resource_path=path,
                query_params=query,
                header_params=headers,
                auth_settings=["BearerToken"],
            )
            return self._api.call_api(verb, url, headers, body, _request_timeout=TIMEOUT)


class KubernetesWatch:
    """One answer of the API server that goes on: a line for each change. See `Watch` in the ports.

    The lines are read as they are: the client's own informer makes typed objects of them, in which fields that it does
    not know are lost (docs/decisions/0012).
    """

    def __init__(self, ask: Callable[[], Any], what: str, since: str, silence: float) -> None:
        self._ask, self._what, self._since, self._silence = ask, what, since, silence
        self._response: Any = None
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Change | str]:
        """See the port."""
        response = self._ask()
        with self._lock:
            self._response = response
            connection = response.connection
            if connection is not None and connection.sock is not None:
                # Until here it had to be quick. (Behind a proxy that closes after each answer the socket is not to be
                # had, and it stays so: a watch there is cut after some seconds of silence, and another follows.)
                connection.sock.settimeout(self._silence)
        try:
            if not self._closed.is_set():
                if self._since:
                    yield self._since
                for line in self._lines(response):
                    yield self._told(line)
        finally:
            with self._lock:
                self._response = None
                response.close()

    def close(self) -> None:
        """See the port: a socket that is only closed leaves whoever reads from it waiting."""
        with self._lock:
            self._closed.set()
            if self._response is not None:
                with suppress(ValueError, RuntimeError, OSError):  # it has just ended by itself
                    self._response.shutdown()

    def _lines(self, response: Any) -> Iterator[bytes]:
        rest = b""
        while not self._closed.is_set():
            try:
                part = response.read1(READ)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if self._closed.is_set():
                    return
                raise Unavailable(f"cannot {self._what} any longer ({type(error).__name__})") from error
            if not part:
                return
            *lines, rest = (rest + part).split(b"\n")
            yield from (line for line in lines if line)

    def _told(self, line: bytes) -> Change | str:
        try:
            event = json.loads(line)
            kind, found = event["type"], event["object"]
            if kind == "ERROR":
                refused = _refusal(int(found.get("code") or 500), json.dumps(found).encode(), self._what)
                if UNSTREAMED in str(refused):
                    refused = InvalidInput(str(refused))
                raise refused
            if kind == "BOOKMARK":
                return str(found["metadata"]["resourceVersion"])
            return Change(found, gone=kind == "DELETED")
        except (ValueError, KeyError, TypeError) as error:
            raise Unintelligible(f"cannot {self._what}: what answers is no Kubernetes API") from error


def _item(kind: Kind, page: Document, item: Document) -> Document:
    """One of a list, as it would be had it been asked for alone; of a Secret the metadata."""
    head = {"apiVersion": page["apiVersion"], "kind": kind.name}
    return {"metadata": item["metadata"]} if kind is SECRET else {**head, **item}


def _websocket(settings: Any, url: str, headers: Mapping[str, str], what: str) -> Any:
    try:
        return ws_client.create_websocket(settings, ws_client.get_websocket_url(url), headers)
    except Exception as error:  # one of the websocket library's, or of the network's
        status = getattr(error, "status_code", None)
        if not status:
            raise Unavailable(f"cannot {what}: {settings.host} does not answer ({type(error).__name__})") from error
        refused = _refusal(int(status), getattr(error, "resp_body", None) or b"", what)
        if isinstance(refused, Forbidden):
            refused = Forbidden(f"{refused}; grant get, create pods/portforward")
        raise refused from error


def _soon(make: Callable[[], Any], what: str) -> Any:
    """What is made, within FORWARDED_WITHIN: the library that makes it would wait for ever."""
    made: list[Any] = []

    def run() -> None:
        try:
            made.append(make())
        except RolloutError as error:
            made.append(error)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    thread.join(FORWARDED_WITHIN)
    if not made:
        raise Unavailable(f"cannot {what}: no answer within {FORWARDED_WITHIN:.0f} s")
    if isinstance(made[0], RolloutError):
        raise made[0]
    return made[0]


def _selector(labels: Mapping[str, str] | None) -> Query:
    return [("labelSelector", ",".join(f"{key}={value}" for key, value in labels.items()))] if labels else []


@contextmanager
def _heard(host: str, what: str) -> Iterator[None]:
    """Where no answer comes, say so in our own words."""
    try:
        yield
    except client.ApiException as error:
        raise Unavailable(f"cannot {what}: {_short(error.reason or error)}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unavailable(f"cannot {what}: {host} does not answer ({type(error).__name__})") from error


def _configure(settings: Any, context: str | None, kubeconfig: str | None) -> str:
    """Load the kubeconfig (or the pod's own account) into `settings`; returns the default namespace."""
    where = kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION
    with _readable(where):
        merged = KubeConfigMerger(where).config
        contexts = {str(one["name"]): one["context"].value for one in merged.value["contexts"]} if merged else {}
    if merged is None:
        return _in_cluster(settings, where)
    chosen = context or str(merged.value.get("current-context") or "")
    if chosen not in contexts:
        what = f"no context {chosen!r}" if chosen else "no current context; name one with --context"
        raise InvalidInput(f"the kubeconfig {where} has {what} (there: {', '.join(contexts) or 'none'})")
    with _readable(where):
        config.load_kube_config(kubeconfig, chosen, client_configuration=settings, persist_config=False)
    return str(contexts[chosen].get("namespace") or "default")


@contextmanager
def _readable(where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the library lets YAML's, base64's and a dictionary's errors through
        raise InvalidInput(f"the kubeconfig {where} cannot be used: {_short(error) or type(error).__name__}") from None


def _in_cluster(settings: Any, where: str) -> str:
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        raise InvalidInput(f"there is no kubeconfig at {where}; set KUBECONFIG, or --cluster FOLDER") from None
    return "default"


def _refusal(status: int, data: bytes, what: str) -> RolloutError:
    """The error for an answer that says no; the body is quoted only where it is the API's own Status."""
    try:
        said = _short(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        said = f"status {status}"
    if status in (401, 403):
        return Forbidden(f"we may not {what}: {said}")
    if status == 404:
        return NotFound(f"cannot {what}: {said}")
    if status == 409:
        return Conflict(f"cannot {what}: {said}")
    if status == 410:
        return Expired(f"cannot {what}: {said}")
    if status in (400, 422):
        return InvalidInput(f"the API server refuses to {what}: {said}")
    return Unavailable(f"cannot {what}: {said}")


def _short(value: object) -> str:
    return str(value).replace("\n", " ")[:300]
