"""What Envoy's admin interface says: one bounded question over a connection that somebody else made."""

import http.client
import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from rollout.core.documents import POD, Document, labels_of, name_of, namespace_of, ref
from rollout.core.errors import Unavailable, Unintelligible

PORT = 15000
"""Where the admin interface of a pod's proxy is; it listens on the pod's loopback alone."""
ROUTES = "/config_dump?resource=dynamic_route_configs"
SILENCE, MOST = 10.0, 256 << 20
"""Seconds without a byte, and bytes: a proxy that knows the whole of a large mesh says tens of megabytes."""


class Forwarding(Protocol):
    """What makes connections to pods."""

    def forwarded(self, namespace: str, pod: str, port: int) -> AbstractContextManager[socket.socket]:
        """A connection to a port of a pod, as `kubectl port-forward` has it."""


class PodProxies:
    """Every pod's own proxy, through the API server. See `Proxies` in the ports."""

    def __init__(self, cluster: Forwarding) -> None:
        self._cluster = cluster

    def routes(self, pod: Document) -> Document:
        """See the port."""
        with self._cluster.forwarded(namespace_of(pod), name_of(pod), PORT) as connection:
            connection.settimeout(SILENCE)
            return asked(lambda: connection, f"the proxy of {ref(POD, pod)}")


def asked(connect: Callable[[], socket.socket], whose: str) -> Document:
    """The dump of the routes over a connection, which is used up by it. Raises `Unavailable`."""
    try:
        one = http.client.HTTPConnection("localhost")
        one.sock = connect()
        # Kept open: where the other side closes first, the Kubernetes client drops what it has not handed on yet.
        one.request("GET", ROUTES, headers={"Connection": "keep-alive"})
        answer = one.getresponse()
        text = answer.read(MOST + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{whose} does not answer ({type(error).__name__})") from error
    if answer.status != 200 or len(text) > MOST:
        why = f"status {answer.status}" if answer.status != 200 else f"more than {MOST >> 20} MiB"
        raise Unavailable(f"{whose} answers with {why}")
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise Unintelligible(f"{whose} answers with something else than a config dump") from error
    if not isinstance(document, dict) or not isinstance(document.get("configs", []), list):
        raise Unintelligible(f"{whose} answers with something else than a config dump")
    return {"configs": [], **document}


class PlaygroundProxies:
    """The one Envoy of a playground, in which each pod has routes of its own, by its workload's name."""

    def __init__(self, folder: Path) -> None:
        self._bootstrap = folder / ".playground" / "envoy" / "bootstrap.json"

    def routes(self, pod: Document) -> Document:
        """See the port."""
        try:
            where = json.loads(self._bootstrap.read_text())["admin"]["address"]["socket_address"]
        except (OSError, ValueError, KeyError) as error:
            raise Unavailable(f"no playground runs there ({type(error).__name__})") from error
        place = where["address"], where["port_value"]
        dump = asked(lambda: socket.create_connection(place, SILENCE), "the playground's Envoy")
        labels = labels_of(pod)
        workload = f"{labels.get('app')}-{labels.get('version')}"
        return {"configs": [one for one in dump["configs"] if one["route_config"]["name"] == workload]}
