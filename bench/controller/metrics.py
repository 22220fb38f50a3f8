"""So much of Prometheus' HTTP API as the three controllers ask for, over requests that nobody sends.

Every service gets RATE requests a second, of which the canary gets what its weight says; from a known instant on it
fails HARM of them. Counters are those of the last scrape, SCRAPED after a second began.
"""

import json
import math
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rollout.adapters.questions import HORIZON

RATE, HARM = 1000.0, 0.5
PAST = 4000.0
"""Seconds for which the stable version has been served already when we begin."""
SCRAPED = 0.37
"""Seconds: no scrape is in step with a clock's seconds, so that what only works in step shows."""
GOOD, BAD = "1", "0.5"
INSTANCE = "gateway"
_SERVICES = re.compile(r"\((app\d+(?:\|app\d+)*)\)")
_MOMENT = re.compile(r" @ ([0-9.]+)")
_SUCCESS = re.compile(r'bench_success\{service="(app\d+)"\}')
Pairs = list[list[Any]]


@dataclass(frozen=True)
class _Since:
    """How traffic is split from an instant on, and what was counted until then."""

    at: float
    weight: float = 0.0
    harm: float = 0.0
    stable: float = 0.0
    canary: float = 0.0
    failed: float = 0.0

    def counted(self, at: float) -> tuple[float, float, float]:
        """The requests to the stable version and to the canary until then, and those that the canary failed."""
        more = RATE * max(0.0, at - self.at)
        canary = more * self.weight / 100
        return self.stable + more - canary, self.canary + canary, self.failed + canary * self.harm


class Traffic:
    """What is counted of all services, and read each `every` seconds. Safe for threads; instants are epoch seconds."""

    def __init__(self, now: Callable[[], float], every: float) -> None:
        self._now, self._began, self.every = now, now() - PAST, every
        self._past: defaultdict[str, list[_Since]] = defaultdict(lambda: [_Since(self._began)])
        self._lock = threading.Lock()

    def weighs(self, service: str, weight: float) -> None:
        """From now on the canary gets so many percent."""
        self._turn(service, weight=weight)

    def fails(self, service: str, harm: float = HARM) -> float:
        """From now on the canary fails this share of its requests; returns when that is."""
        return self._turn(service, harm=harm)

    def _turn(self, service: str, weight: float | None = None, harm: float | None = None) -> float:
        with self._lock:
            at, last = self._now(), self._past[service][-1]
            weight, harm = last.weight if weight is None else weight, last.harm if harm is None else harm
            self._past[service].append(_Since(at, weight, harm, *last.counted(at)))
            return at

    def failing(self, service: str) -> bool:
        """Whether the canary fails now."""
        with self._lock:
            return bool(self._past[service][-1].harm)

    def counted(self, service: str, at: float) -> tuple[float, float, float]:
        """As the last scrape before that instant found it."""
        at = scraped(at, self.every)
        with self._lock:
            past = self._past[service]
            found = next((one for one in reversed(past) if one.at <= at), past[0])
            return found.counted(at)


def scraped(at: float, every: float) -> float:
    """When counters, read each `every` seconds, were read last before a moment."""
    return math.floor((at - SCRAPED) / every) * every + SCRAPED


class _Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Metrics:
    """The server, which scrapes each `every` seconds. `down`: it closes connections without an answer."""

    def __init__(self, every: float = 1.0, now: Callable[[], float] = time.time) -> None:
        self.traffic, self.down, self._now = Traffic(now, every), False, now
        self.asked: Counter[str] = Counter()
        self.bad: defaultdict[str, list[float]] = defaultdict(list)
        """When an answer showed that the canary of a service fails."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                self._answer(parts.path, dict(parse_qsl(parts.query)))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                parts = urlsplit(self.path)
                self._answer(parts.path, dict(parse_qsl(parts.query)) | dict(parse_qsl(body)))

            def _answer(self, path: str, asked: dict[str, str]) -> None:
                if outer.down:
                    self.close_connection = True  # without a word, as one that is gone
                    return
                outer.asked[path] += 1
                data, bad = outer.answer(path, asked)
                body = json.dumps({"status": "success", "data": data}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                for service in bad:
                    outer.bad[service].append(now())

            def log_message(self, *_: Any) -> None:
                """Nobody wants to read of each query."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, asked: dict[str, str]) -> tuple[Any, list[str]]:
        """The data, and the services of which it shows that their canary fails."""
        query = asked.get("query", "")
        if path.endswith("/targets"):
            return {
                "activeTargets": [{"labels": {"instance": INSTANCE}, "scrapeInterval": f"{self.traffic.every:g}s"}]
            }, []
        if path.endswith("/query_range"):
            times = float(asked["start"]), float(asked["end"]), float(asked["step"].removesuffix("s"))
            return self._ranges(query, times)
        return self._instant(query)

    def _instant(self, query: str) -> tuple[Any, list[str]]:
        now = self._now()
        if moment := _MOMENT.search(query):
            return self._settled(query, float(moment[1]), now)
        if found := _SUCCESS.search(query):
            bad = self.traffic.failing(found[1])
            return _vector([({"service": found[1]}, BAD if bad else GOOD)], now), [found[1]] if bad else []
        if query == "vector(1)":
            return _vector([({}, "1")], now), []
        if 'reporter="destination"' in query:
            return _vector([], now), []
        if query.startswith("min(max by (instance) (timestamp("):
            return _vector([({}, str(scraped(now, self.traffic.every)))], now), []
        if query.startswith("group by (instance)"):
            return _vector([({"instance": INSTANCE}, "1")], now), []
        if query.startswith("group by (reporter, has)"):
            labels = ("", "reporter", "response_code", "destination_version")
            return _vector([({"reporter": "source", "has": one}, "1") for one in labels], now), []
        raise ValueError(f"nobody taught us to answer {query}")

    def _settled(self, query: str, at: float, now: float) -> tuple[Any, list[str]]:
        """The counters of a moment, and the horizon."""
        found, bad = self._ranges(query, (at - 1, at, 1.0))
        rows = [(row["metric"], row["values"][-1][1]) for row in found["result"]]
        newest = scraped(now, self.traffic.every)
        services = dict.fromkeys(metric["service"] for metric, _ in rows)
        horizons = [({"service": service, "outcome": HORIZON}, str(newest)) for service in services]
        return _vector([*rows, *horizons], now), bad if at <= newest else []

    def _ranges(self, query: str, times: tuple[float, float, float]) -> tuple[Any, list[str]]:
        """The counters of a look."""
        found = _SERVICES.search(query)
        if not found or "outcome" not in query:
            raise ValueError(f"nobody taught us to answer {query}")
        start, end, step = times
        moments = [start + step * i for i in range(round((end - start) / step) + 1)]
        rows, bad = [], []
        for service in found[1].split("|"):
            counts = [self.traffic.counted(service, at) for at in moments]
            for version, outcome, place in (("v1", "all", 0), ("v2", "all", 1), ("v2", "failed", 2)):
                labels = {
                    "service": service, "instance": INSTANCE, "destination_version": version, "outcome": outcome,
                }  # fmt: skip
                values: Pairs = [[at, str(count[place])] for at, count in zip(moments, counts, strict=True)]
                rows.append({"metric": labels, "values": values})
            if counts[-1][2] > counts[0][2]:
                bad.append(service)
        return {"resultType": "matrix", "result": rows}, bad


def _vector(rows: list[tuple[dict[str, str], str]], at: float) -> Any:
    return {"resultType": "vector", "result": [{"metric": labels, "value": [at, value]} for labels, value in rows]}
