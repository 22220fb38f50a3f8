"""A drill on a real API server: the fault meets the new version alone, users see nothing, and it goes."""

import json

import pytest

from rollout.core.documents import VIRTUAL_SERVICE, Document, name_of
from rollout.playground.stage import NAMESPACE
from tests.real.mesh import STRATEGY, Mesh, ended

pytestmark = pytest.mark.real


def drilling(mesh: Mesh) -> str:
    """Delays ratings for the new version, and probes it as its users would come."""
    url = f"http://127.0.0.1:{mesh.playground.entrance}/"
    probe = f"{{url: '{url}', headers: {{host: reviews}}, count: 10, rps: 5, expect: {{status: 200, within: 2s}}}}"
    return STRATEGY.replace("{weight: 5}, {weight: 25}", f"{{fault: {{on: ratings, delay: 7s, probe: {probe}}}}}")


def routing(mesh: Mesh) -> dict[str, Document]:
    return {name_of(vs): vs for vs in mesh.cluster.list(VIRTUAL_SERVICE, NAMESPACE)}


@pytest.mark.parametrize("patient", [True, False])
def test_a_version_is_let_on_only_if_it_does_without_what_it_calls(mesh: Mesh, patient: bool) -> None:
    mesh.reset(drilling(mesh))
    mesh.playground.fail("v2", patient=patient)
    before, routes = set(routing(mesh)), mesh.routes()
    process = mesh.promote("--output", "json")
    mesh.until(lambda: set(routing(mesh)) > before, process, within=60)
    (made,) = (vs for name, vs in routing(mesh).items() if name not in before)
    copy = made["spec"]["http"][0]
    assert copy["fault"] == {"delay": {"fixedDelay": "7s", "percentage": {"value": 100}}}
    assert [match["sourceLabels"] for match in copy["match"]] == [{"app": "reviews", "version": "v2"}]
    assert mesh.canary() == 0
    code, out, err = ended(process)
    document = json.loads(out)
    assert (code, document["reason"]) == ((1, "Breach") if patient else (0, None)), out + err
    assert set(routing(mesh)) == before
    assert [list(route) for route in mesh.routes()] == [list(route) for route in routes]
    assert mesh.canary() == (0 if patient else 100)
    assert mesh.seen() == []


def test_a_drill_that_was_killed_in_the_middle_is_taken_out_by_abort(mesh: Mesh) -> None:
    mesh.reset(drilling(mesh))
    before = set(routing(mesh))
    process = mesh.promote()
    mesh.until(lambda: set(routing(mesh)) > before, process, within=60)
    process.kill()
    process.communicate()
    assert set(routing(mesh)) > before
    code, out, err = mesh.run("abort", "reviews")
    assert code == 0, out + err
    assert set(routing(mesh)) == before
    assert mesh.seen() == []
