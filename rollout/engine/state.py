"""The record of a service, kept in one ConfigMap: read it, write it guarded by its version."""

import functools

from pydantic import TypeAdapter, ValidationError

from rollout.core.attempt import Record
from rollout.core.documents import CONFIG_MAP, MANAGED_BY, Document, version_of
from rollout.core.errors import InvalidInput, NotFound
from rollout.ports import Cluster

_RECORD = TypeAdapter(Record)
KEY = "record"


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> Record:
    """The record of a text; it is read at every tick, and seldom another one."""
    return _RECORD.validate_json(text)


def state_name(service: str) -> str:
    """The ConfigMap's (and the Lease's) name."""
    return f"rollout-{service}"


class StateStore:
    """The record of one service. `write` fails with `Conflict` if anybody wrote since the last `read`."""

    def __init__(self, cluster: Cluster, service: str, namespace: str) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, state_name(service)
        self.version = ""
        """The resourceVersion at which the record was read or written last; empty where there is none."""
        self.record = Record()

    def read(self) -> Record:
        """The record as it stands; an empty one where there is none. Raises `InvalidInput` if it is damaged."""
        try:
            document = self._cluster.get(CONFIG_MAP, self._namespace, self._name)
        except NotFound:
            self.version, self.record = "", Record()
            return self.record
        self.version = version_of(document)
        try:
            self.record = _parsed((document.get("data") or {}).get(KEY, ""))
        except ValidationError as error:
            raise InvalidInput(
                f"ConfigMap {self._namespace}/{self._name} holds no record of ours ({error.error_count()} faults); "
                "delete it, then `rollout abort` takes back what it had in flight"
            ) from error
        return self.record

    def write(self, record: Record) -> None:
        """Keep the record."""
        data = {KEY: _RECORD.dump_json(record).decode()}
        if self.version:
            kept = self._cluster.patch(CONFIG_MAP, self._namespace, self._name, {"data": data}, self.version)
        else:
            kept = self._cluster.create(CONFIG_MAP, self._document(data))
        self.version, self.record = version_of(kept), record

    def _document(self, data: dict[str, str]) -> Document:
        metadata = {"name": self._name, "namespace": self._namespace, "labels": dict(MANAGED_BY)}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
