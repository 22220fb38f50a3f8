"""Just enough HTTP/1.1 for thousands of small requests a second in one Python process: GET, keep-alive, lengths."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

Respond = Callable[[int, dict[str, str]], None]
Handler = Callable[[str, Respond], None]


@dataclass(frozen=True)
class Answer:
    """A response: status 0 means that none came."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


class Server(asyncio.Protocol):
    """One connection of a server; the handler gets the path and a function that answers."""

    def __init__(self, handler: Handler, opened: set["Server"]) -> None:
        self._handler, self.open, self._buffer = handler, opened, b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection, so that a refusing service can cut it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self.open.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
            self._handler(head.split(b" ", 2)[1].decode("latin-1"), self._respond)

    def _respond(self, status: int, headers: dict[str, str]) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 {status} -\r\ncontent-length: 2\r\n{extra}\r\n{{}}".encode())


class _Connection(asyncio.Protocol):
    def __init__(self, pool: "Client") -> None:
        self._pool, self._buffer = pool, b""
        self.waiter: Callable[[Answer], None] | None = None
        self.transport: asyncio.Transport | None = None
        self.patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._pool.idle = deque(c for c in self._pool.idle if c is not self)
        self._finish(Answer(0))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if b"\r\n\r\n" not in self._buffer:
            return
        head, body = self._buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        if len(body) < int(headers.get("content-length", 0)):
            return
        self._buffer = b""
        if headers.get("connection") != "close":
            self._pool.idle.append(self)
        self._finish(Answer(int(lines[0].split(" ")[1]), headers))

    def _finish(self, answer: Answer) -> None:
        waiter, self.waiter = self.waiter, None
        if self.patience:
            self.patience.cancel()
        if waiter:
            waiter(answer)


class Client:
    """A pool of connections to one address."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._port, self._address = port, address
        self.idle: deque[_Connection] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, host: str, path: str, done: Callable[[Answer], None], within: float = 0.0) -> None:
        """Ask for `path` of `host`; `done` gets the answer, or none when it did not come `within` so many seconds."""
        request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
        if self.idle:
            self._send(self.idle.pop(), request, done, within)
        else:
            task = asyncio.get_running_loop().create_task(self._connect(request, done, within))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _send(self, connection: _Connection, request: bytes, done: Callable[[Answer], None], within: float) -> None:
        connection.waiter = done
        assert connection.transport is not None
        if within:
            connection.patience = asyncio.get_running_loop().call_later(within, connection.transport.abort)
        connection.transport.write(request)

    async def _connect(self, request: bytes, done: Callable[[Answer], None], within: float) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), self._address, self._port
            )
        except OSError:
            done(Answer(0))
            return
        self._send(connection, request, done, within)
