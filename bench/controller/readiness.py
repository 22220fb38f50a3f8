"""What a kubelet and the controllers of Kubernetes would do for the peers' workloads: make them ready, later."""

import json
import ssl
import threading
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.controller.candidate import APPS
from rollout.core.documents import Document, name_of
from tests.real.servers import ApiServer

AFTER = 2.0
"""Seconds from a change until it is ready."""


class Readiness:
    """Says of each Deployment and ReplicaSet, AFTER seconds after it changed, that all its pods are ready."""

    def __init__(self, server: ApiServer) -> None:
        self._server, self._over = server, False
        self._pool = ThreadPoolExecutor(4)
        for plural in ("deployments", "replicasets"):
            threading.Thread(target=self._run, args=(plural,), daemon=True).start()

    def close(self) -> None:
        """Make nothing ready any more."""
        self._over = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, plural: str) -> None:
        path = f"{APPS}/{plural}"
        while not self._over:
            try:
                found = self._server.call("GET", path)
                for document in found["items"]:
                    self._later(plural, document)
                version = found["metadata"]["resourceVersion"]
                for line in self._server.stream(f"{path}?watch=1&timeoutSeconds=3000&resourceVersion={version}"):
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._later(plural, event["object"])
            except (urllib.error.URLError, ConnectionError, ssl.SSLError, TimeoutError):
                time.sleep(0.2)  # the server is not there, or has another version: list again

    def _later(self, plural: str, document: Document) -> None:
        wanted, status = ready(plural, document), document.get("status") or {}
        if not self._over and any(status.get(key, 0) != value for key, value in wanted.items() if key != "conditions"):
            threading.Timer(AFTER, self._submit, (plural, name_of(document), wanted)).start()

    def _submit(self, plural: str, name: str, status: Any) -> None:
        if not self._over:
            self._pool.submit(self._patch, plural, name, status)

    def _patch(self, plural: str, name: str, status: Any) -> None:
        try:
            self._server.call("PATCH", f"{APPS}/{plural}/{name}/status", {"status": status})
        except urllib.error.HTTPError as error:
            if error.code not in (404, 409):
                raise


def ready(plural: str, document: Document) -> Document:
    """The status of a workload whose pods are all ready."""
    replicas = int(document["spec"].get("replicas", 1))
    found: Document = {
        "observedGeneration": document["metadata"]["generation"], "replicas": replicas, "readyReplicas": replicas,
        "availableReplicas": replicas,
    }  # fmt: skip
    if plural == "replicasets":
        return found | {"fullyLabeledReplicas": replicas}
    conditions = [
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ]
    return found | {"updatedReplicas": replicas, "conditions": conditions}
