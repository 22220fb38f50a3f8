"""What a watch of ours sees of each object, with its time."""

import http.client
import json
import ssl
import threading
import time
import urllib.error
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from rollout.core.documents import Document, name_of
from tests.real.servers import ApiServer

Seen = list[tuple[float, Any]]


class Watching:
    """The values that `read` finds in the objects at a path; `told` hears of each one that is another than before.

    `seen` has by the name of the object what it was, and since when (epoch seconds).
    """

    def __init__(
        self,
        server: ApiServer,
        path: str,
        read: Callable[[Document], Any],
        told: Callable[[str, Any], object] = lambda *_: None,
    ) -> None:
        self._server, self._path, self._read, self._told = server, path, read, told
        self.seen: defaultdict[str, Seen] = defaultdict(list)
        self._over = False
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Note no more."""
        self._over = True

    def now(self, name: str) -> Any:
        """What it is now; None where nothing was seen yet."""
        return self.seen[name][-1][1] if self.seen[name] else None

    def until(self, names: list[str], there: Callable[[Any], bool], within: float) -> bool:
        """Wait until all of them are so; False where they are not within so many seconds."""
        end = time.monotonic() + within
        while not all(there(self.now(name)) for name in names):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def _run(self) -> None:
        while not self._over:
            try:
                found = self._server.call("GET", self._path)
                for document in found["items"]:
                    self._note(document)
                version = found["metadata"]["resourceVersion"]
                for line in self._server.stream(f"{self._path}?watch=1&timeoutSeconds=3000&resourceVersion={version}"):
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._note(event["object"])
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, ssl.SSLError, TimeoutError):
                time.sleep(0.2)  # the server is not there, or has another version: list again

    def _note(self, document: Document) -> None:
        at, name, value = time.time(), name_of(document), self._read(document)
        if not self.seen[name] or self.seen[name][-1][1] != value:
            self.seen[name].append((at, value))
            self._told(name, value)


def canary_weight(document: Document) -> int:
    """What a VirtualService gives the canary: a subset v2, or a Service of that name."""
    entries = document["spec"]["http"][-1]["route"]
    return sum(int(entry.get("weight", 0)) for entry in entries if _canary(entry["destination"]))


def _canary(destination: Document) -> bool:
    return destination.get("subset") == "v2" or str(destination["host"]).split(".")[0].endswith("-canary")
