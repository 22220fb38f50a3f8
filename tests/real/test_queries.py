"""Query checks through the command line, a real API server and a real Prometheus."""

import json

import pytest

from rollout.core.documents import CONFIG_MAP, VIRTUAL_SERVICE
from rollout.core.errors import NotFound
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import Mesh, ended

pytestmark = pytest.mark.real

FAILED = 'sum(rate(istio_requests_total{reporter="source", destination_version="$canary", response_code=~"5.."}[10s]))'


STRATEGY = """
bake: 3s
steps: [{weight: 50}, {weight: 100}]
confirm: 4s
deadline: 2m
checks:
- query: {name: failures, promql: '%s', max: 1, %s}
"""


def written(promql: str, more: str) -> str:
    return STRATEGY % (promql, more)


def test_a_query_alone_takes_back(mesh: Mesh) -> None:
    """Nobody compares anything: of the canary's failures only the query knows."""
    (mesh.folder / "strategy.yaml").write_text(written(FAILED, "onBreach: rollback, onNoData: ignore"))
    mesh.playground.fail("v2", 0.5)
    code, out, err = ended(mesh.promote("--output", "json"))
    assert code == 1, out + err
    document = json.loads(out)
    assert document["reason"] == "Breach"
    assert "failures is " in document["message"]
    assert ", above 1" in document["message"]
    assert document["queries"][0]["effect"] == "rollback"
    assert mesh.canary() == 0


def test_a_query_alone_lets_a_good_version_pass(mesh: Mesh) -> None:
    (mesh.folder / "strategy.yaml").write_text(written(FAILED, "onNoData: ignore"))
    code, out, err = ended(mesh.promote())
    assert code == 0, out + err
    assert mesh.canary() == 100


@pytest.mark.parametrize(
    ("promql", "said"),
    [("max(up{", "parse error"), ("istio_requests_total", "series came back; name one in promql")],
)
def test_a_query_that_can_mean_nothing_is_bad_input_before_anything_is_written(
    mesh: Mesh, promql: str, said: str
) -> None:
    (mesh.folder / "strategy.yaml").write_text(written(promql, "onError: ignore"))
    before = mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews")
    for verb in (mesh.promoting(), ("plan", *mesh.promoting()[1:])):
        code, out, err = mesh.run(*verb)
        assert code == 2, out + err
        assert "rollout: the check `query` 'failures': " in err
        assert said in err
    assert mesh.cluster.get(VIRTUAL_SERVICE, NAMESPACE, "reviews") == before
    with pytest.raises(NotFound):
        mesh.cluster.get(CONFIG_MAP, NAMESPACE, "rollout-reviews")


def test_a_plan_says_what_a_query_answers_now(mesh: Mesh) -> None:
    (mesh.folder / "strategy.yaml").write_text(written("count(up)", "onNoData: ignore"))
    code, out, err = mesh.run("plan", *mesh.promoting()[1:])
    assert code == 0, out + err
    assert "query: failures is 1 (at most 1)" in out
