"""The Kubernetes API behind the Cluster port: raw documents, guarded writes, one error for each kind of no."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import urllib3
from kubernetes import client, config
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigMerger

from rollout.adapters.retries import read
from rollout.core.documents import MANAGER, Document, Kind, name_of, namespace_of
from rollout.core.errors import Conflict, Forbidden, InvalidInput, NotFound, RolloutError, Unavailable, Unintelligible

TIMEOUT = (3.0, 4.0)
"""Seconds to connect and to answer: together less than a lease lasts."""
PAGE = 500
MERGE_PATCH = "application/merge-patch+json"
Query = list[tuple[str, str]]


class KubernetesCluster:
    """A cluster that a kubeconfig reaches, or the one that we run in."""

    def __init__(self, context: str | None = None, kubeconfig: str | None = None) -> None:
        settings = client.Configuration()
        self.default_namespace = _configure(settings, context, kubeconfig)
        settings.retries = False
        self._host = str(settings.host)
        self._api = client.ApiClient(settings)
        self._served: dict[str, str] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """See the port."""
        return read(lambda: self._call("GET", kind, namespace, name))

    def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Document]:
        """See the port."""
        query = [("limit", str(PAGE))]
        if labels:
            query.append(("labelSelector", ",".join(f"{key}={value}" for key, value in labels.items())))
        found: list[Document] = []
        token = ""
        while True:
            asked = [*query, *([("continue", token)] if token else [])]
            page = read(lambda: self._call("GET", kind, namespace, "", asked))  # noqa: B023 - called at once
            found += [{"apiVersion": page["apiVersion"], "kind": kind.name, **item} for item in page["items"]]
            token = page["metadata"].get("continue", "")
            if not token:
                return sorted(found, key=lambda one: (namespace_of(one), name_of(one)))

    def create(self, kind: Kind, document: Document) -> Document:
        """See the port."""
        body = {**document, "apiVersion": kind.api_version(self._version(kind))}
        return self._call("POST", kind, namespace_of(document), "", [("fieldManager", MANAGER)], body)

    def patch(self, kind: Kind, namespace: str, name: str, patch: Document, version: str) -> Document:
        """See the port: a resourceVersion in the patch lets the server refuse it with a conflict."""
        metadata = {**patch.get("metadata", {}), "resourceVersion": version}
        body = {**patch, "metadata": metadata}
        return self._call("PATCH", kind, namespace, name, [("fieldManager", MANAGER)], body)

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
    ) -> Document:
        root = f"/apis/{kind.group}" if kind.group else "/api"
        path = f"{root}/{self._version(kind)}"
        if namespace is not None:
            path += f"/namespaces/{quote(namespace, safe='')}"
        path += f"/{kind.plural}"
        if name:
            path += f"/{quote(name, safe='')}"
        verb = {"GET": "get" if name else "list", "POST": "create"}.get(method, method.lower())
        where = f" in namespace {namespace}" if namespace else ""
        what = f"{verb} {kind.plural} {name}".rstrip() + where
        return self._send(method, path, query or [], body, what)

    def _send(self, method: str, path: str, query: Query, body: Any, what: str) -> Document:
        kind = MERGE_PATCH if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": kind}
        try:
            request = self._api.param_serialize(
                method=method,
                resource_path=path,
                query_params=query,
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = self._api.call_api(*request, _request_timeout=TIMEOUT)
            data, status = response.read(), int(response.status)
        except client.ApiException as error:
            raise Unavailable(f"cannot {what}: {_short(error.reason or error)}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"cannot {what}: {self._host} does not answer ({type(error).__name__})") from error
        if status >= 300:
            raise _refusal(status, data, what)
        try:
            document: Document = json.loads(data)
        except ValueError as error:
            raise Unintelligible(f"cannot {what}: what answers is no Kubernetes API") from error
        return document


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
    if status in (400, 422):
        return InvalidInput(f"the API server refuses to {what}: {said}")
    return Unavailable(f"cannot {what}: {said}")


def _short(value: object) -> str:
    return str(value).replace("\n", " ")[:300]
