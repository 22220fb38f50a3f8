"""A cluster that counts what is asked of it."""

import builtins
from collections.abc import Callable, Mapping

from rollout.core.documents import Document, Kind
from rollout.ports import Watch, Watchable


class Counted:
    """The port, with each request told beforehand: its verb, and of which kind."""

    def __init__(self, cluster: Watchable, told: Callable[[str, Kind], None]) -> None:
        self._cluster, self._told = cluster, told

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """See the port."""
        self._told("get", kind)
        return self._cluster.get(kind, namespace, name)

    def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Document]:
        """See the port."""
        self._told("list", kind)
        return self._cluster.list(kind, namespace, labels)

    def create(self, kind: Kind, document: Document) -> Document:
        """See the port."""
        self._told("create", kind)
        return self._cluster.create(kind, document)

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Document, version: str, subresource: str = ""
    ) -> Document:
        """See the port."""
        self._told("patch", kind)
        return self._cluster.patch(kind, namespace, name, patch, version, subresource)

    def delete(self, kind: Kind, namespace: str, name: str, version: str) -> None:
        """See the port."""
        self._told("delete", kind)
        self._cluster.delete(kind, namespace, name, version)

    def may(self, verb: str, kind: Kind, namespace: str | None, name: str = "") -> bool:
        """See the port."""
        return self._cluster.may(verb, kind, namespace, name)

    def listing(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[builtins.list[Document], str]:
        """See the port."""
        self._told("list", kind)
        return self._cluster.listing(kind, namespace, labels)

    def watch(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None, since: str, seconds: float
    ) -> Watch:
        """See the port."""
        self._told("watch", kind)
        return self._cluster.watch(kind, namespace, labels, since, seconds)
