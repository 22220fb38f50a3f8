"""How Prometheus is asked, and what becomes of answers that are none: what needs no counters goes on."""

import base64
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from rollout.adapters.prometheus import PrometheusMetrics
from rollout.core.errors import Unavailable
from rollout.ports import Target
from tests.fakes.serving import serving

TARGET = Target("reviews.shop.svc.cluster.local", "shop", (), "v1", "v2")


def answering(result: object) -> type[BaseHTTPRequestHandler]:
    body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    return Answers


@pytest.mark.parametrize(
    "result",
    [
        *([{"metric": {}, "value": [1.0, text]}] for text in ("NaN", "+Inf", "-Inf", "soon", "", None)),
        [{"metric": {}}],
        [{"metric": {}, "value": [1.0]}],
        ["row"],
        7,
    ],
)
def test_a_horizon_that_is_no_moment_is_no_answer(result: object) -> None:
    with serving(answering(result)) as url, pytest.raises(Unavailable):
        PrometheusMetrics(url).horizon(TARGET)


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
