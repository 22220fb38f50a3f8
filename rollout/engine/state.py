"""The record of a service: read it, write it guarded by its version, wherever it lies."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from rollout.core.attempt import Attempt, Record
from rollout.core.documents import (
    CONFIG_MAP,
    MANAGED_BY,
    SERVICE_ROLLOUT,
    Document,
    carries,
    finalizers_of,
    name_of,
    version_of,
)
from rollout.core.errors import Conflict, InvalidInput, NotFound
from rollout.core.quantities import stamp
from rollout.engine.objects import object_for, version_asked
from rollout.engine.status import FINALIZER, Trouble, marked, status_of, updating, waiting_since
from rollout.ports import Cluster

_RECORD = TypeAdapter(Record)
KEY = "record"


class _Reader:
    """Records of texts: it is read at every tick, and seldom another one."""

    def __init__(self) -> None:
        self._text, self._record = "", Record()

    def record(self, text: str) -> Record:
        """The record of a text. Raises `ValidationError`."""
        if text != self._text or not text:
            self._record, self._text = _RECORD.validate_json(text), text
        return self._record


def state_name(service: str) -> str:
    """The ConfigMap's (and the Lease's) name."""
    return f"rollout-{service}"


class Shelf(Protocol):
    """The object in which the record of one service lies."""

    @property
    def title(self) -> str:
        """How errors name it."""

    @property
    def remedy(self) -> str:
        """What a person does where what lies there is no record of ours."""

    @property
    def version(self) -> str:
        """The object's version as it was read or written last; empty where there is none."""

    @property
    def declared(self) -> Document | None:
        """The ServiceRollout that asks for the service, as it was read or written last; None where none does."""

    def load(self) -> Record | None:
        """The record; None where there is none. Raises `ValidationError` if it is damaged."""

    def keep(self, record: Record, now: float, again: bool = False) -> None:
        """Write the record to the very object that was loaded. Raises `Conflict` if it changed since.

        `again`: also where it says nothing new, for that alone tells that nobody else has written it.
        """


class ConfigMapShelf:
    """A ConfigMap for each service: nothing of ours need be installed."""

    remedy = "delete it, then `rollout abort` takes back what it had in flight"
    declared: Document | None = None

    def __init__(self, cluster: Cluster, service: str, namespace: str) -> None:
        self._cluster, self._service, self._namespace, self._name = cluster, service, namespace, state_name(service)
        self._reader = _Reader()
        self.title = f"ConfigMap {namespace}/{self._name}"
        self.version = ""

    def load(self) -> Record | None:
        """See `Shelf`."""
        try:
            document = self._cluster.get(CONFIG_MAP, self._namespace, self._name)
        except NotFound:
            self.version = ""
            return None
        self.version = version_of(document)
        record = self._reader.record((document.get("data") or {}).get(KEY, ""))
        return _own(record, self, self._service, self._namespace)

    def keep(self, record: Record, now: float, again: bool = False) -> None:
        """See `Shelf`. It is always written."""
        del now, again
        data = {KEY: _RECORD.dump_json(record).decode()}
        if self.version:
            kept = self._cluster.patch(CONFIG_MAP, self._namespace, self._name, {"data": data}, self.version)
        else:
            kept = self._cluster.create(CONFIG_MAP, self._document(data))
        self.version = version_of(kept)

    def _document(self, data: dict[str, str]) -> Document:
        metadata = {"name": self._name, "namespace": self._namespace, "labels": dict(MANAGED_BY)}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class StatusShelf:
    """The status of a ServiceRollout, beside what it says to people.

    A finalizer of ours stands on the object while an attempt is in flight; that it went says that all was cleaned up,
    so that this need not be recorded. `observing`: whether a write says that the spec as it stands was acted upon.
    Without these `labels` the object is another shard's: it is not loaded, and so nothing of it is written either.
    """

    remedy = "remove status.record, and what it had in flight is taken back"

    def __init__(
        self, cluster: Cluster, name: str, namespace: str, observing: bool, labels: Mapping[str, str] | None = None
    ) -> None:
        self._cluster, self._namespace, self._name, self._observing = cluster, namespace, name, observing
        self._labels = labels or {}
        self._reader = _Reader()
        self.title = f"the status of ServiceRollout {namespace}/{name}"
        self.trouble: Trouble | None = None
        """Why the spec cannot be obeyed, to be told with the next write."""
        self._document: Document = {"metadata": {}}

    @property
    def version(self) -> str:
        """See `Shelf`."""
        return version_of(self._document)

    @property
    def declared(self) -> Document:
        """See `Shelf`."""
        return self._document

    def load(self) -> Record | None:
        """See `Shelf`. Raises `Conflict` where it went to another shard since we looked."""
        document = self._cluster.get(SERVICE_ROLLOUT, self._namespace, self._name)
        if not carries(document, self._labels):
            raise Conflict(f"ServiceRollout {self._namespace}/{self._name} has other labels now: its shard goes on")
        self._document = document
        return self._record()

    def keep(self, record: Record, now: float, again: bool = False) -> None:
        """See `Shelf`. The finalizer comes before an attempt's first record, and goes after its last."""
        flies = record.attempt is not None and not (record.attempt.phase.ended and record.attempt.cleaned)
        if flies and not marked(self._document):
            self._mark([*finalizers_of(self._document), FINALIZER])
        text = _RECORD.dump_json(_with_cleaned(record, False)).decode()
        if text != (self._document.get("status") or {}).get(KEY):
            self._write(self._status(record, now, record.attempt) | {KEY: text})
        elif again:
            self._document = self._patch({"status": {KEY: text}}, "status")
        if marked(self._document) and not flies:
            self._unmark()

    def tell(self, now: float, pending: bool = False) -> None:
        """Bring to date what the status says beside the record that was read, where nothing is in flight.

        `pending`: what is asked for is still to begin, and will without anybody's doing.
        """
        self._write(self._status(self._record(), now, pending=pending))
        if marked(self._document):
            self._unmark()

    def forget(self, now: float) -> None:
        """Remove a record that cannot be read, or that nobody has, and say so. What is there already never begins."""
        waiting = {"waitingSince": stamp(now)} if waiting_since(self._document, now) else {}
        self._write(self._status(None, now) | waiting | {KEY: None})
        if marked(self._document):
            self._unmark()

    def _status(self, record: Record | None, now: float, of: Attempt | None = None, pending: bool = False) -> Document:
        """What people read; while it is the status `of` an attempt for another version, the spec is not obeyed yet."""
        settled = not pending and (of is None or version_asked(self._document) in ("", of.canary))
        made: Document = status_of(self._document, record, self.trouble, now, self._observing and settled, settled)
        return made

    def _record(self) -> Record | None:
        text = (self._document.get("status") or {}).get(KEY)
        if not text:
            return None
        record = _own(self._reader.record(text), self, self._document["spec"]["service"], self._namespace)
        return _with_cleaned(record, not marked(self._document))

    def _unmark(self) -> None:
        self._mark([one for one in finalizers_of(self._document) if one != FINALIZER])

    def _mark(self, finalizers: list[str]) -> None:
        self._document = self._patch({"metadata": {"finalizers": finalizers}})

    def _write(self, status: Document) -> None:
        if patch := updating(self._document.get("status") or {}, status):
            self._document = self._patch({"status": patch}, "status")

    def _patch(self, patch: Document, subresource: str = "") -> Document:
        version = version_of(self._document)
        return self._cluster.patch(SERVICE_ROLLOUT, self._namespace, self._name, patch, version, subresource)


class FoundShelf:
    """The status of the ServiceRollout that asks for the service, or a ConfigMap where none does.

    Which, is asked once, with the first answer that comes.
    """

    def __init__(self, cluster: Cluster, service: str, namespace: str) -> None:
        self._cluster, self._service, self._namespace = cluster, service, namespace
        self._found: Shelf | None = None

    @property
    def title(self) -> str:
        """See `Shelf`."""
        return self._shelf.title

    @property
    def remedy(self) -> str:
        """See `Shelf`."""
        return self._shelf.remedy

    @property
    def version(self) -> str:
        """See `Shelf`."""
        return self._shelf.version

    @property
    def declared(self) -> Document | None:
        """See `Shelf`. Of an object that was not read yet nothing is known."""
        return self._shelf.declared

    def load(self) -> Record | None:
        """See `Shelf`."""
        return self._shelf.load()

    def keep(self, record: Record, now: float, again: bool = False) -> None:
        """See `Shelf`."""
        self._shelf.keep(record, now, again)

    @property
    def _shelf(self) -> Shelf:
        if self._found is None:
            document = object_for(self._cluster, self._service, self._namespace)
            if document is None:
                self._found = ConfigMapShelf(self._cluster, self._service, self._namespace)
            else:
                self._found = StatusShelf(self._cluster, name_of(document), self._namespace, observing=False)
        return self._found


def _own(record: Record, shelf: Shelf, service: str, namespace: str) -> Record:
    """The record, if it is this service's. Who may write it here may not move another's traffic by our rights."""
    attempt = record.attempt
    if attempt and (attempt.service, attempt.namespace) != (service, namespace):
        whose = f"{attempt.namespace}/{attempt.service}"
        raise InvalidInput(f"{shelf.title} holds a record of another service, {whose}; {shelf.remedy}")
    return record


def _with_cleaned(record: Record, cleaned: bool) -> Record:
    """The record with whether all was cleaned up after an attempt that ended."""
    a = record.attempt
    return replace(record, attempt=replace(a, cleaned=cleaned)) if a and a.phase.ended else record


class StateStore:
    """The record of one service. `write` fails with `Conflict` if anybody wrote since the last `read`."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.record = Record()

    @property
    def version(self) -> str:
        """The version of its object at which it was read or written last; empty where there is none."""
        return self._shelf.version

    @property
    def declared(self) -> Document | None:
        """The ServiceRollout in whose status the record lies, as it was read or written last; None elsewhere."""
        return self._shelf.declared

    def read(self) -> Record:
        """The record as it stands; an empty one where there is none. Raises `InvalidInput` if it is damaged."""
        try:
            self.record = self._shelf.load() or Record()
        except ValidationError as error:
            faults = f"{error.error_count()} faults"
            raise InvalidInput(
                f"{self._shelf.title} holds no record of ours ({faults}); {self._shelf.remedy}"
            ) from error
        return self.record

    def write(self, record: Record, now: float, again: bool = False) -> None:
        """Keep the record; `again`: even if it says nothing new (see `Shelf`)."""
        self._shelf.keep(record, now, again)
        self.record = record
