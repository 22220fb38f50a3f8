"""A cluster that a kubeconfig reaches, past the code under test: any object, as its administrator or as another."""

import json
from typing import Any

from kubernetes import config
from urllib3 import HTTPHeaderDict

from tests.real.servers import groups_of

Object = dict[str, Any]
TIMEOUT = (5.0, 30.0)
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Refused(Exception):
    """The API says no."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said[:500]}")
        self.status = status


class Cluster:
    """All of it, by raw requests."""

    def __init__(self, kubeconfig: str) -> None:
        self.kubeconfig = kubeconfig
        self._api = config.new_client_from_config(kubeconfig, persist_config=False)

    def call(self, method: str, path: str, body: Any = None, user: str = "", **headers: str) -> Any:
        """What is answered; `user`: as whom, and in whose groups, it is asked. Raises `Refused`."""
        return json.loads(self.text(method, path, body, user, **headers))

    def text(self, method: str, path: str, body: Any = None, user: str = "", **headers: str) -> str:
        """The same as it is."""
        usual = {"Accept": "application/json", "Content-Type": _form(method)} | headers
        method, url, sent, *rest = self._api.param_serialize(
            method=method, resource_path=path, header_params=usual, body=body, auth_settings=["BearerToken"]
        )
        answer = self._api.call_api(method, url, sent | _as(user), *rest, _request_timeout=TIMEOUT)
        said: str = answer.read().decode()
        if answer.status >= 300:
            raise Refused(answer.status, said)
        return said

    def allows(self, user: str, method: str, path: str, body: Any = None) -> bool:
        """Whether somebody may do it; if so it is done."""
        try:
            self.call(method, path, body, user)
        except Refused as refused:
            if refused.status != 403:
                raise
            return False
        return True

    def get(self, path: str) -> Object | None:
        """The object there, if there is one."""
        try:
            found: Object = self.call("GET", path)
        except Refused as refused:
            if refused.status != 404:
                raise
            return None
        return found

    def items(self, path: str) -> list[Object]:
        """Those in a list."""
        found: list[Object] = self.call("GET", path)["items"]
        return found

    def apply(self, document: Object, namespace: str = "") -> None:
        """Make it so, whoever else had written of it."""
        path = f"{self.path(document, namespace)}?fieldManager=e2e&force=true"
        self.call("PATCH", path, document, **{"Content-Type": "application/apply-patch+yaml"})

    def delete(self, path: str, now: bool = False) -> None:
        """It is asked to go, or gone `now`; if it is there."""
        body = {"propagationPolicy": "Background"} | ({"gracePeriodSeconds": 0} if now else {})
        if self.get(path) is not None:
            self.call("DELETE", path, body)

    def path(self, document: Object, namespace: str = "") -> str:
        """Where an object is, by what the API says of its kind."""
        version = document["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        kinds = self.call("GET", root)["resources"]
        (kind,) = (one for one in kinds if one["kind"] == document["kind"] and "/" not in one["name"])
        place = f"/namespaces/{namespace}" if kind["namespaced"] else ""
        return f"{root}{place}/{kind['name']}/{document['metadata']['name']}"


def _as(user: str) -> HTTPHeaderDict:
    """The headers by which an administrator asks as somebody else: one for each group."""
    asked = [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups_of(user))]
    return HTTPHeaderDict(asked if user else [])


def _form(method: str) -> str:
    return "application/merge-patch+json" if method == "PATCH" else "application/json"
