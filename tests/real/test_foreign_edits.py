"""Somebody else writes the VirtualService in the middle of a promotion."""

import pytest

from tests.real.mesh import STRATEGY, Mesh, ended, set_weights

pytestmark = pytest.mark.real

LONG = STRATEGY.replace("{weight: 25}", "{weight: 25, bake: {min: 12s, max: 60s}}")
"""Time enough at 25 % for somebody to come."""


def test_a_raise_is_put_back_and_a_timeout_kept(mesh: Mesh) -> None:
    mesh.reset(LONG)
    process = mesh.promote()
    mesh.wait_for(25, process)
    mesh.edit(lambda route: (set_weights(40)(route), route.update({"timeout": "7s"}))[0])
    assert mesh.canary() == 40
    mesh.until(lambda: mesh.canary() == 25, process, within=5)
    code, out, err = ended(process)
    assert code == 0, out + err
    assert "put back" in out
    assert "somebody" in out
    assert mesh.routes()[-1]["timeout"] == "7s"


def test_a_lowering_stands_until_somebody_says_go_on(mesh: Mesh) -> None:
    mesh.reset(LONG)
    process = mesh.promote()
    mesh.wait_for(25, process)
    mesh.edit(set_weights(10))
    mesh.until(lambda: '"Paused"' in mesh.run("status", "reviews", "-o", "json")[1], process, within=20)
    assert mesh.canary() == 10
    assert "by somebody" in mesh.run("explain", "reviews")[1]

    second = mesh.promote()
    code, out, err = ended(process)
    assert code == 0, out + err
    code, out, err = ended(second)
    assert code == 0, "who joins ends as what it joined: " + out + err
    assert mesh.canary() == 100


def test_a_declared_gitops_manager_is_put_back(mesh: Mesh) -> None:
    mesh.reset(LONG + "drift: {gitopsManagers: [argocd-controller]}\n")
    process = mesh.promote()
    mesh.wait_for(25, process)
    mesh.edit(set_weights(0), "argocd-controller")
    mesh.until(lambda: mesh.canary() == 25, process, within=5)
    code, out, err = ended(process)
    assert code == 0, out + err
    assert "by argocd-controller; put back" in out


def test_a_manager_that_fights_is_not_fought(mesh: Mesh) -> None:
    mesh.reset(LONG + "drift: {gitopsManagers: [argocd-controller]}\n")
    process = mesh.promote("--no-wait")
    mesh.wait_for(25, process)
    for _ in range(3):
        mesh.edit(set_weights(0), "argocd-controller")
        mesh.until(lambda: mesh.canary() == 25, process, within=5)
    mesh.edit(set_weights(0), "argocd-controller")
    code, out, err = ended(process)
    assert code == 5, out + err
    assert "DriftFight" in out
    assert "ignoreDifferences" in mesh.run("explain", "reviews")[1]
    assert mesh.canary() == 0
    assert mesh.run("abort", "reviews")[0] == 0
