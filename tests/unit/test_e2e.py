"""The suite for real clusters, as far as it is seen without one: kind's configuration, and what is said without any."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = {
    "kind", "apiVersion", "name", "nodes", "networking", "featureGates", "runtimeConfig", "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902", "containerdConfigPatches", "containerdConfigPatchesJSON6902",
}  # fmt: skip
NODE = {
    "role", "image", "labels", "extraMounts", "extraPortMappings", "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902",
}  # fmt: skip
"""The fields of kind.x-k8s.io/v1alpha4; kind refuses others."""


def test_kind_knows_every_field_of_its_configuration() -> None:
    config = yaml.safe_load((ROOT / "tests" / "e2e" / "kind.yaml").read_text())
    assert (config["kind"], config["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert config.keys() <= CLUSTER
    assert all(node.keys() <= NODE for node in config["nodes"])
    roles = [node["role"] for node in config["nodes"]]
    assert roles.count("control-plane") == 1, "more than one needs a load balancer"
    assert set(roles) <= {"control-plane", "worker"}


@pytest.mark.parametrize("given", [{}, {"ROLLOUT_E2E_KUBECONFIG": "theirs", "ROLLOUT_E2E_IMAGE": "ours"}])
def test_without_a_cluster_and_images_it_says_what_it_needs(tmp_path: Path, given: dict[str, str]) -> None:
    here = {"PATH": str(tmp_path), "HOME": str(tmp_path), "ROLLOUT_E2E_NODE": str(tmp_path)} | given
    done = subprocess.run([sys.executable, "-m", "tests.e2e"], cwd=ROOT, env=here, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "ROLLOUT_E2E_KUBECONFIG" in line
