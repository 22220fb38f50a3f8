"""A watch on the wire: lines in any pieces, silence, cuts, and servers that are none."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from rollout.adapters import kubernetes
from rollout.adapters.kubernetes import KubernetesCluster
from rollout.core.documents import POD, Document
from rollout.core.errors import Expired, Forbidden, InvalidInput, Unavailable, Unintelligible
from rollout.ports import Change, Watch

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
UNSTREAMED = json.dumps(
    {
        "type": "ERROR",
        "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500,
            "message": "a watch stream was requested by the client but the required storage feature "
            "RequestWatchProgress is disabled",
            "reason": "InternalError",
        },
    }
).encode()  # fmt: skip
"""As a server 1.36 with etcd 3.4.23 answers."""
Play = Callable[[socket.socket], None]


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(kind: str, name: str, version: int, **more: object) -> bytes:
    metadata = {"name": name, "namespace": "shop", "resourceVersion": str(version), **more}
    return json.dumps({"type": kind, "object": {"metadata": metadata, "unknown": "ü"}}, ensure_ascii=False).encode()


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Watch]]:
    """Begin a watch of a server that plays what it is given."""
    monkeypatch.setattr(kubernetes, "TIMEOUT", (1.0, 0.3))
    monkeypatch.setattr(kubernetes, "SLACK", 0.2)
    listener = socket.create_server(("127.0.0.1", 0))

    def begin(play: Play, seconds: float = 30.0) -> Watch:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                play(connection)

        threading.Thread(target=serve, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        context = {"cluster": "c", "user": "u"}
        config: Document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "contexts": [{"name": "x", "context": context}],
            "clusters": [{"name": "c", "cluster": {"server": address}}], "users": [{"name": "u", "user": {}}],
        }  # fmt: skip
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        cluster = KubernetesCluster(None, str(tmp_path / "kubeconfig"))
        return cluster.watch(POD, "shop", None, "7", seconds)

    yield begin
    listener.close()


def test_lines_come_in_any_pieces_and_after_any_silence(watch: Callable[..., Watch]) -> None:
    text = event("ADDED", "a", 8) + b"\n" + event("DELETED", "b", 9) + b"\n\n" + event("BOOKMARK", "", 12) + b"\n"

    def play(connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        time.sleep(0.8)  # longer than any head may take
        for place in range(0, len(text), 7):
            connection.sendall(chunk(text[place : place + 7]))
        connection.sendall(chunk(b""))

    first, made, gone, bookmark = list(watch(play))
    assert (first, bookmark) == ("7", "12")
    assert isinstance(made, Change)
    assert made.document["unknown"] == "ü"
    assert not made.gone
    assert isinstance(gone, Change)
    assert gone.gone


def test_an_answer_without_chunks_is_told_as_it_comes(watch: Callable[..., Watch]) -> None:
    go = threading.Event()

    def play(connection: socket.socket) -> None:
        connection.sendall(UNTIL_CLOSED + event("ADDED", "a", 8) + b"\n")
        assert go.wait(5)
        connection.sendall(event("ADDED", "b", 9) + b"\n")

    told = iter(watch(play))
    assert next(told) == "7"
    assert isinstance(next(told), Change)
    go.set()
    assert isinstance(next(told), Change)
    assert list(told) == []


def test_a_head_that_does_not_come_is_not_waited_for(watch: Callable[..., Watch]) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match="cannot watch pods in namespace shop"):
        list(watch(lambda _: time.sleep(3)))
    assert time.monotonic() - started < 2


def test_silence_beyond_the_end_of_the_watch_is_a_cut(watch: Callable[..., Watch]) -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        time.sleep(3)

    told = iter(watch(play, 0.5))
    started = time.monotonic()
    assert next(told) == "7"
    with pytest.raises(Unavailable, match="any longer"):
        next(told)
    assert 0.4 < time.monotonic() - started < 2


def test_a_connection_that_breaks_is_told(watch: Callable[..., Watch]) -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + chunk(event("ADDED", "a", 8) + b"\n") + b"ff\r\n{")

    told = iter(watch(play))
    assert next(told) == "7"
    assert isinstance(next(told), Change)
    with pytest.raises(Unavailable, match="any longer"):
        next(told)


def test_closing_it_wakes_who_waits(watch: Callable[..., Watch]) -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        time.sleep(5)

    made = watch(play)
    told = iter(made)
    assert next(told) == "7"
    threading.Timer(0.1, made.close).start()
    started = time.monotonic()
    assert list(told) == []
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"type": "ERROR", "object": {"code": 410, "message": "too old resource version: 7 (9)"}}', Expired),
        (b'{"type": "ERROR", "object": {"code": 403, "message": "no longer"}}', Forbidden),
        (b'{"type": "ERROR", "object": {"code": 500, "message": "etcd"}}', Unavailable),
        (b'{"type": "ERROR", "object": {}}', Unavailable),
        (UNSTREAMED, InvalidInput),
        (b"<html>", Unintelligible),
        (b"[]", Unintelligible),
        (b'{"type": "BOOKMARK", "object": {}}', Unintelligible),
    ],
)
def test_what_a_server_says_instead_is_told_as_what_it_is(
    watch: Callable[..., Watch], line: bytes, error: type[Exception]
) -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + chunk(line + b"\n"))
        time.sleep(0.2)

    with pytest.raises(error) as raised:
        list(watch(play))
    assert type(raised.value) is error
