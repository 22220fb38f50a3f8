"""How Prometheus is asked, and what becomes of answers that are none: what needs no counters goes on."""

import base64
import json
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from rollout.adapters import bounded
from rollout.adapters.prometheus import PrometheusMetrics
from rollout.adapters.questions import NEEDED
from rollout.core.errors import InvalidInput, Unavailable, Unintelligible
from rollout.ports import Target
from tests.fakes.serving import serving

TARGET = Target("reviews.shop.svc.cluster.local", "shop", (), "v1", "v2")


def answering(body: bytes) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    return Answers


AT = float(int(time.time()))
LABELS = {"service": "reviews", "instance": "a", "destination_version": "v1", "outcome": "all"}
GOOD = [{"metric": LABELS, "values": [[AT - 1, "10"], [AT, "20"]]}]


def sampled(*values: Any, **labels: Any) -> dict[str, Any]:
    return {"metric": LABELS | labels, "values": list(values)}


def whole(result: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


def counts(metrics: PrometheusMetrics) -> list[dict[str, float]]:
    """By instance and outcome, what a snapshot of both moments has."""
    found = metrics.snapshots(TARGET, AT - 1, AT, 1.0)
    return [{f"{one.instance} {one.outcome}": value for one, value in each.counters.items()} for each in found]


METHODS: dict[str, Callable[[PrometheusMetrics], object]] = {
    "horizon": lambda metrics: metrics.horizon(TARGET),
    "interval": lambda metrics: metrics.interval(TARGET),
    "counters": counts,
    "settled": lambda metrics: metrics.settled({TARGET: ()}, AT),
    "values": lambda metrics: metrics.values("up", AT - 1, AT, 1.0),
}
SHAPES: dict[str, bytes] = {
    "nothing": b"",
    "a page": b"<html>" + b"x" * 1_000_000,
    "no UTF-8": b"\xff{}",
    "cut off": whole(GOOD)[:-30],
    "deep": b'{"data":' + b"[" * 200_000,
    "a number": b"7",
    "an error": b'{"status":"error","errorType":"internal","error":"oops"}',
    "no data": b'{"status":"success"}',
    "no result": b'{"data":{}}',
    "a scalar": whole([AT, "7"]),
    "a name": whole("reviews"),
    "rows that are none": whole([7, None]),
    "no labels": whole([{"values": []}]),
    "a number as a label": whole([sampled(version=7)]),
    "the same series twice": whole([*GOOD, *GOOD]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_of_another_shape_is_none(shape: str, method: str) -> None:
    with serving(answering(SHAPES[shape])) as url, pytest.raises(Unavailable, match=r"no Prometheus|answers with"):
        METHODS[method](PrometheusMetrics(url))


@pytest.mark.parametrize(
    "value",
    [
        *([AT, text] for text in ("NaN", "+Inf", "-Inf", "soon", "", None, 7, "-1", "0")),
        *([at, str(AT)] for at in (None, "1", [1], AT - 400, math.nan)),
        [AT + 9000, str(AT + 8000)],
        [AT, str(AT + 400)],
        [AT],
        {},
        None,
    ],
)
def test_a_horizon_that_is_no_moment_of_the_past_is_no_answer(value: object) -> None:
    with serving(answering(whole([{"metric": {}, "value": value}]))) as url, pytest.raises(Unavailable):
        PrometheusMetrics(url).horizon(TARGET)


@pytest.mark.parametrize(
    "row",
    [
        {"metric": LABELS},
        sampled(7),
        sampled([AT]),
        sampled([AT, 20]),
        sampled([AT, "many"]),
        sampled([str(AT), "20"]),
        sampled([[AT], "20"]),
        sampled([AT, "20"], [AT, "20"]),
        sampled([AT, "20"], [AT - 1, "10"]),
        {"metric": {"instance": "a"}, "values": [[AT, "20"]]},
        sampled([AT, "20"], service="other"),
    ],
)
def test_samples_that_are_none_are_no_answer(row: object) -> None:
    with serving(answering(whole([row]))) as url, pytest.raises(Unavailable):
        counts(PrometheusMetrics(url))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-3", "1e300"])
def test_an_instance_of_which_one_counter_is_none_has_counted_nothing_then(value: str) -> None:
    """Else all that its `failed` ever counted would seem to have failed when it is back."""
    failed = sampled([AT - 1, value], [AT, "9"], outcome="failed")
    other = sampled([AT - 1, "1"], [AT, "2"], instance="b")
    with serving(answering(whole([*GOOD, failed, other]))) as url:
        before, after = counts(PrometheusMetrics(url))
    assert before == {"b all": 1.0}
    assert after == {"a all": 20.0, "a failed": 9.0, "b all": 2.0}


def test_moments_that_nobody_asked_for_are_not_looked_at() -> None:
    with serving(answering(whole([sampled([AT - 1, "1"], [AT, "2"], [AT + 3600, "900"])]))) as url:
        metrics = PrometheusMetrics(url)
        assert counts(metrics) == [{"a all": 1.0}, {"a all": 2.0}]
        assert metrics.values("up", AT - 1, AT, 1.0) == [[(AT - 1, 1.0), (AT, 2.0)]]


class Knowing(BaseHTTPRequestHandler):
    """A Prometheus that knows what it is asked for, but for the words of `lacks`; notes where it was asked."""

    lacks = "@"
    asked: list[str] = []  # noqa: RUF012 - each test has a class of its own

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.asked.append(self.path.rpartition("/")[2])
        known = not self.lacks or self.lacks not in form["query"]
        horizon = {"metric": {"service": "reviews", "outcome": "horizon"}, "value": [AT + 1, str(AT)]}
        rows = [horizon] if self.asked[-1] == "query" else [sampled([AT, "20"])]
        if self.asked[-1] == "query" and not self.lacks:
            rows.append({"metric": LABELS, "value": [AT + 1, "20"]})
        self.send_response(200 if known else 400)
        self.end_headers()
        self.wfile.write(whole(rows) if known else b'{"status":"error","error":"@ modifier is disabled"}')


@pytest.mark.parametrize(
    ("lacks", "asked"), [("", ["query"] * 2), ("@", ["query", "query", "query_range", "query", "query_range"])]
)
def test_a_store_that_knows_no_moments_in_a_query_is_asked_as_ever(lacks: str, asked: list[str]) -> None:
    noted: list[str] = []
    with serving(type("Own", (Knowing,), {"lacks": lacks, "asked": noted})) as url:
        metrics = PrometheusMetrics(url)
        (found, horizon), again = (metrics.settled({TARGET: ()}, AT)[TARGET] for _ in range(2))
    assert again == (found, horizon)
    assert ([*found.counters.values()], horizon, noted) == ([20.0], AT, asked)


def test_a_store_that_knows_no_at_is_not_asked_for_many_at_once() -> None:
    metrics = PrometheusMetrics("http://127.0.0.1:1")
    metrics._aged = True
    both = {TARGET: (), replace(TARGET, service="ratings.shop.svc.cluster.local"): ()}
    with pytest.raises(Unintelligible, match="for many at once"):
        metrics.settled(both, AT)


def test_a_form_goes_where_it_is_sent_on_to() -> None:
    class Moved(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(307)
            self.send_header("Location", f"{there}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    handler = type("Own", (Knowing,), {"lacks": "", "asked": []})
    with serving(handler) as there, serving(Moved) as url:
        assert PrometheusMetrics(url).settled({TARGET: ()}, AT)[TARGET][1] == AT


@pytest.mark.parametrize(
    ("targets", "interval"),
    [
        ([("a", "5s"), ("b", "1m")], 5.0),
        ([("a", "5s"), ("a", "1m30s")], 90.0),
        ([("a", text) for text in ("", "soon", "-5s", "0s", "99999h", 7, None)], None),
        ([], None),
    ],
)
def test_an_interval_in_which_nobody_scrapes_is_not_known(targets: list[tuple[str, Any]], interval: object) -> None:
    active = [{"labels": {"instance": instance}, "scrapeInterval": text} for instance, text in targets]
    needed = [{"metric": {"instance": "a", "reporter": "source", "has": label}} for label in NEEDED]
    body = json.dumps({"data": {"result": needed, "activeTargets": active}}).encode()
    with serving(answering(body)) as url:
        assert PrometheusMetrics(url).interval(TARGET) == interval


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", ["nothing", "headers", "body", "length"])
def test_whoever_drips_is_not_waited_for(what: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "WITHIN", 0.3)
    over = threading.Event()

    class Drips(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            begun = {"nothing": b"", "headers": b"HTTP/1.1 200 OK\r\nx: "}
            self.wfile.write(
                begun.get(what, b"HTTP/1.1 200 OK\r\n" + b"Content-Length: 999\r\n" * (what == "length") + b"\r\n")
            )
            with suppress(ConnectionError):
                while not over.wait(0.05):
                    self.wfile.write(b"" if what == "nothing" else b" ")

    began = time.monotonic()
    with serving(Drips) as url:
        with pytest.raises(Unavailable, match="does not answer"):
            METHODS[method](PrometheusMetrics(url))
        assert time.monotonic() - began < 3.0, "ten times as long is enough for any machine"
        over.set()


@pytest.mark.parametrize("method", METHODS)
def test_whoever_never_ends_is_left(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MOST", 1_000_000)
    written = [0]

    class Endless(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):
                while True:
                    written[0] += self.wfile.write(b" " * 65536)

    with serving(Endless) as url, pytest.raises((Unavailable, InvalidInput), match=r"more than 1 MB|longer than"):
        METHODS[method](PrometheusMetrics(url))
    assert written[0] < 20_000_000, "buffers of sockets hold some of it"


def test_proxies_certificates_and_passwords_are_those_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine prometheus login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/our.pem")
    monkeypatch.setenv("NO_PROXY", "direct")
    seen: list[Any] = []

    def send(_self: object, request: PreparedRequest, **settings: Any) -> Response:
        seen.append((request.headers.get("Authorization"), settings["proxies"].get("http"), settings["verify"]))
        raise requests.ConnectionError

    monkeypatch.setattr(HTTPAdapter, "send", send)
    monkeypatch.setenv("http_proxy", proxy := "http://proxy:3128")
    for host in ("prometheus", "direct", "me:word@direct"):
        with pytest.raises(Unavailable):
            PrometheusMetrics(f"http://{host}:9090").horizon(TARGET)
    secret, word = (f"Basic {base64.b64encode(text).decode()}" for text in (b"me:secret", b"me:word"))
    assert seen == [(secret, proxy, "/etc/our.pem"), (None, None, "/etc/our.pem"), (word, None, "/etc/our.pem")]
