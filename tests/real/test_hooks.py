"""Webhook checks and messages through the command line, with their URLs in a Secret of a real API server."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from rollout.core.documents import CONFIG_MAP
from rollout.playground.stage import NAMESPACE
from tests.fakes.serving import serving
from tests.real.mesh import Mesh, ended

pytestmark = pytest.mark.real

STRATEGY = """
bake: 3s
steps: [{weight: 5}, {weight: 50}, {weight: 100}]
confirm: 4s
deadline: 2m
checks:
- webhook: {name: budget, url: {secret: hooks, key: budget}, max: 5, onBreach: rollback}
notify: {url: {secret: hooks, key: people}}
"""


class Endpoint(BaseHTTPRequestHandler):
    breaks_at = "never"
    asked: list[dict[str, str]] = []  # noqa: RUF012 - a server makes one of us a request
    told: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = b"ok"
        if self.path.startswith("/budget"):
            Endpoint.asked.append(said)
            answer = b'{"value": 9, "reason": "spent"}' if said["weight"] == self.breaks_at else b'{"value": 1}'
        else:
            Endpoint.told.append(said)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture
def hooked(mesh: Mesh) -> Iterator[Mesh]:
    Endpoint.breaks_at, Endpoint.asked, Endpoint.told = "never", [], []
    secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
    with serving(Endpoint) as here:
        urls = {"budget": f"{here}/budget?token=s3cret", "people": f"{here}/people/s3cret"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hooks"}, "stringData": urls}
        mesh.server.call("POST", secrets, secret)
        (mesh.folder / "strategy.yaml").write_text(STRATEGY)
        yield mesh
        mesh.server.call("DELETE", f"{secrets}/hooks")


def test_a_good_version_passes_and_people_are_told(hooked: Mesh) -> None:
    code, out, err = ended(hooked.promote())
    assert code == 0, out + err
    assert [one["event"] for one in Endpoint.told] == ["started", "promoted"]
    assert {one["weight"] for one in Endpoint.asked} >= {"5", "50"}
    assert {one["check"] for one in Endpoint.asked} == {"budget"}


def test_a_value_beyond_its_bound_takes_back_and_people_are_told_why(hooked: Mesh) -> None:
    Endpoint.breaks_at = "50"
    code, out, err = ended(hooked.promote("--output", "json"))
    assert code == 1, out + err
    assert json.loads(out)["reason"] == "Breach"
    assert hooked.canary() == 0
    assert [one["event"] for one in Endpoint.told] == ["started", "rolledBack"]
    assert Endpoint.told[1]["message"] == "budget is 9, above 5: spent"
    record = hooked.cluster.get(CONFIG_MAP, NAMESPACE, "rollout-reviews")
    assert "s3cret" not in str((out, err, record))
