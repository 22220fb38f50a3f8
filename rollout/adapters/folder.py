"""A cluster that is a folder of YAML documents: NAMESPACE/KIND/NAME.yaml, readable and editable by hand."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.adapters import yaml_text
from rollout.adapters.store import DocumentStore, Key
from rollout.core.documents import Document, Kind
from rollout.core.errors import InvalidInput, Unavailable


class FolderCluster(DocumentStore):
    """Documents in files. Writers take turns by a lock on the folder; each write is one atomic rename.

    The resourceVersion is a digest of the file, its age and its inode, so an edit by hand counts as a change.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InvalidInput(f"{folder} is no folder; start one with `rollout playground up`")
        self.folder = folder

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _path(self, key: Key) -> Path:
        kind, namespace, name = key
        for part in (namespace, name):
            if not part or "/" in part or part.startswith("."):
                raise InvalidInput(f"{part!r} is not a name of a Kubernetes object")
        return self.folder / namespace / kind / f"{name}.yaml"

    def _read(self, key: Key) -> Document | None:
        path, name = self._path(key), key[2]
        try:
            with path.open("rb") as file:
                text, stat = file.read(), os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"cannot read {path}: {error.strerror}") from error
        try:
            document = yaml_text.load(text)
        except yaml_text.NotYaml as error:
            raise InvalidInput(f"{path}:{error.line}: {error}") from error
        if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
            raise InvalidInput(f"{path} holds no Kubernetes object (a mapping with `metadata`)")
        _shaped(document, path, name)
        mark = hashlib.sha256(text + f"{stat.st_mtime_ns}.{stat.st_ino}".encode()).hexdigest()
        document["metadata"]["resourceVersion"] = mark[:16]
        return document

    def _keys(self, kind: Kind) -> Iterator[Key]:
        for path in sorted(self.folder.glob(f"[!.]*/{kind.name}/[!.]*.yaml")):
            yield kind.name, path.parent.parent.name, path.stem

    def _write(self, key: Key, document: Document | None) -> None:
        path = self._path(key)
        if document is None:
            path.unlink(missing_ok=True)
            return
        document["metadata"].pop("resourceVersion", None)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            file.write(yaml_text.dump(document))
        Path(temporary).replace(path)


def _shaped(document: Document, path: Path, name: str) -> None:
    """Refuse what an API server would not have taken: no more than the rest of us relies on."""
    metadata = document["metadata"]
    whole = ((key, document) for key in ("spec", "data", "stringData"))
    for key, part in (*whole, ("labels", metadata), ("annotations", metadata)):
        if not isinstance(part.get(key) or {}, dict):
            raise InvalidInput(f"{path}: `{key}` is not a mapping")
    if metadata.get("name") != name:
        raise InvalidInput(f"{path}: its metadata.name is {metadata.get('name')!r}; file and object have one name")
