"""A stand-in for a node: it forwards ports of pods, as a kubelet does, to where a test has them on this machine."""

import base64
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from rollout.core.documents import Document
from rollout.playground.stage import free_ports
from tests.real.servers import ApiServer

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PROTOCOL = "v4.channel.k8s.io"


class Kubelet:
    """Known to an API server as a node of its own; `ports` says where on loopback each pod's asked port is."""

    def __init__(self, server: ApiServer, node: str, ports: Mapping[str, int]) -> None:
        self.node, self._ports = node, ports
        (port,) = free_ports(1)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certs: Path = server.folder / "certs"
        self._context.load_cert_chain(certs / "apiserver.crt", certs / "apiserver.key")
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()
        server.call("POST", "/api/v1/nodes", {"metadata": {"name": node}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        server.call("PATCH", f"/api/v1/nodes/{node}/status", {"status": status})

    def pod(self, namespace: str, name: str, labels: Mapping[str, str]) -> Document:
        """A pod on the node, with a proxy."""
        containers = [{"name": one, "image": "none"} for one in ("app", "istio-proxy")]
        metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
        return {"metadata": metadata, "spec": {"nodeName": self.node, "containers": containers}}

    def down(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(plain,), daemon=True).start()

    def _forward(self, plain: socket.socket) -> None:
        """One question, and all that is answered to it."""
        with self._context.wrap_socket(plain, server_side=True) as client, client.makefile("rb") as reader:
            path, _, query = reader.readline().decode().split()[1].partition("?")
            lines = (line.decode().strip().partition(": ") for line in iter(reader.readline, b"\r\n"))
            head = {name.lower(): value for name, _, value in lines}
            assert head["sec-websocket-protocol"] == PROTOCOL, head
            assert query == "port=15000", query
            client.sendall(_accepted(head["sec-websocket-key"]))
            for channel in (b"\0", b"\1"):
                client.sendall(_frame(channel + struct.pack("<H", 15000)))
            asked = _read(reader)
            try:
                pod = socket.create_connection(("127.0.0.1", self._ports[path.rpartition("/")[2]]))
            except ConnectionRefusedError as error:
                client.sendall(_frame(b"\1" + str(error).encode()))
                return
            with pod:
                assert asked[:1] == b"\0"
                pod.sendall(asked[1:])
                while data := pod.recv(60_000):
                    client.sendall(_frame(b"\0" + data))


def _accepted(key: str) -> bytes:
    digest = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    own = (f"Sec-WebSocket-Accept: {digest}", f"Sec-WebSocket-Protocol: {PROTOCOL}", "", "")
    return "\r\n".join((*lines, *own)).encode()


def _frame(data: bytes) -> bytes:
    size = struct.pack("!B", len(data)) if len(data) < 126 else struct.pack("!BH", 126, len(data))
    return b"\x82" + size + data


def _read(reader: BinaryIO) -> bytes:
    """One frame of a client's, which masks it."""
    size = reader.read(2)[1] & 127
    size = struct.unpack("!H", reader.read(2))[0] if size == 126 else size
    mask, data = reader.read(4), reader.read(size)
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
