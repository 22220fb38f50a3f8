"""The chart through a real Helm: what it renders, what it refuses, and what a real API server makes of it."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from rollout.core.documents import (
    CONFIG_MAP,
    DEPLOYMENT,
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    EVENT,
    LEASE,
    POD,
    SERVICE,
    SERVICE_ROLLOUT,
    VIRTUAL_SERVICE,
)
from rollout.engine.lookup import ROOT_NAMESPACE
from rollout.engine.rights import (
    ASKED,
    CONTROLLED,
    FOR_DRILLS,
    FOR_SCALING,
    FOR_SECRETS,
    FOR_SUBSETS,
    FOR_TRIGGERS,
    FOR_WARNINGS,
    LEADING,
    LEADS,
    Rights,
    pairs,
)
from tests.conftest import needed
from tests.real import parts
from tests.real.mesh import wait
from tests.real.servers import ApiServer, Prometheus, groups_of

pytestmark = pytest.mark.real

CHART = Path(__file__).parents[2] / "charts" / "rollout"
ALL = {
    "podDisruptionBudget": {"enabled": True}, "serviceAccount": {"annotations": {"a": "b"}},
    "selector": "team=a,tier=b",
    "metrics": {"service": {"annotations": {"c": "d"}}, "serviceMonitor": {"enabled": True, "labels": {"e": "f"}},
                "prometheusRule": {"enabled": True, "labels": {"k": "l"}}, "dashboard": {"enabled": True}},
    "networkPolicy": {
        "from": [{"namespaceSelector": {}}],
        "egress": [{"ports": [{"port": 443}]}, {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
    "triggers": True, "secrets": True, "otherClusters": True, "drills": True, "scaling": {"enabled": True},
    "imagePullSecrets": [{"name": "registry"}], "podLabels": {"sidecar.istio.io/inject": "true"},
    "podAnnotations": {"g": "h"}, "priorityClassName": "system-cluster-critical", "nodeSelector": {"i": "j"},
    "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}},
    "image": {"digest": f"sha256:{64 * 'a'}"},
}  # fmt: skip
WORLDS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "everything": ALL,
    "people": {"people": True},
    "two namespaces": {"namespaces": ["books", "shop"]},
    "a secret URL": {"prometheus": {"secret": {"name": "prometheus"}}},
    "nothing beside": {
        "drain": {"enabled": False},
        "podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False},
        "metrics": {"service": {"enabled": False}}, "serviceAccount": {"create": False, "name": "theirs"},
    },
}  # fmt: skip


class Helm:
    """Helm with a home of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        with needed():
            self._binary = parts.helm()

    def start(self, *arguments: str, values: Any = None) -> subprocess.Popen[str]:
        given = self._home / "values.yaml"
        given.write_text(yaml.safe_dump(values or {}))
        home = {f"HELM_{name}_HOME": str(self._home) for name in ("CACHE", "CONFIG", "DATA")}
        command = [self._binary, *arguments, *(["--values", str(given)] if values is not None else [])]
        return subprocess.Popen(
            command, env=os.environ | home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str, values: Any = None) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, values=values)
        said = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, *said)

    def rendered(self, values: Any) -> list[dict[str, Any]]:
        done = self.run("template", "rollout", str(CHART), "--namespace", "rollout-system", values=values)
        assert done.returncode == 0, done.stderr
        return [one for one in yaml.safe_load_all(done.stdout) if one]


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


def of(kind: str, rendered: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in rendered if one["kind"] == kind]


@pytest.mark.parametrize("world", WORLDS)
def test_helm_has_nothing_to_say_against_it(helm: Helm, world: str) -> None:
    done = helm.run("lint", "--strict", str(CHART), values=WORLDS[world])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 chart(s) failed" in done.stdout
    assert "[WARNING]" not in done.stdout


PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}
OF_OPERATORS = {"ServiceMonitor", "PrometheusRule"}
"""Kinds that no API server has by itself."""


@pytest.fixture
def namespaces(api_server: ApiServer) -> None:
    for name in ("rollout-system", "books", "shop", ROOT_NAMESPACE):
        with suppress(urllib.error.HTTPError):  # another test may have made it
            api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("world", WORLDS)
def test_an_api_server_takes_each_object(helm: Helm, api_server: ApiServer, world: str) -> None:
    rendered = helm.rendered(WORLDS[world])
    assert {one["kind"] for one in rendered} <= PATHS.keys() | OF_OPERATORS
    for one in rendered:
        if one["kind"] not in OF_OPERATORS:
            path = PATHS[one["kind"]].format(namespace=one["metadata"].get("namespace"))
            api_server.call("POST", f"{path}?dryRun=All&fieldValidation=Strict", one)


@pytest.mark.parametrize("world", WORLDS)
def test_the_pods_have_no_right_that_they_do_not_need(helm: Helm, world: str) -> None:
    (deployment,), jobs = of("Deployment", rendered := helm.rendered(WORLDS[world])), of("Job", rendered)
    assert len(jobs) == (world != "nothing beside")
    for pod in (one["spec"]["template"]["spec"] for one in (deployment, *jobs)):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys() == set()
        assert {"requests", "limits"} <= container["resources"].keys()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def arguments(rendered: list[dict[str, Any]], kind: str = "Deployment") -> list[str]:
    (found,) = of(kind, rendered)
    told: list[str] = found["spec"]["template"]["spec"]["containers"][0]["args"]
    return told


def test_before_it_goes_a_job_drains_as_the_controllers_account(helm: Helm) -> None:
    for values in (ALL, {"prometheus": {"secret": {"name": "prometheus"}}}):
        (deployment,), (job,) = of("Deployment", rendered := helm.rendered(values)), of("Job", rendered)
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
        same = arguments(rendered, "Job")[:-1]
        assert arguments(rendered, "Job") == [*same, "--drain=240"]
        assert arguments(rendered)[: len(same)] == same
        theirs, ours = (one["spec"]["template"]["spec"] for one in (deployment, job))
        for key in ("serviceAccountName", "tolerations", "nodeSelector", "imagePullSecrets"):
            assert ours.get(key) == theirs.get(key)
        assert ours["containers"][0].get("env") == theirs["containers"][0].get("env")
        assert ours["containers"][0]["image"] == theirs["containers"][0]["image"]
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert not deployment["spec"]["selector"]["matchLabels"].items() <= labels.items(), "no Service sends to it"
        (policy,) = of("NetworkPolicy", rendered)
        (names,) = policy["spec"]["podSelector"]["matchExpressions"]
        assert labels["app.kubernetes.io/name"] in names["values"], "it may go where the controllers may"


ENDING = ["--lease-namespace=rollout-system", "--port=8080", "--workers=4"]


def test_the_command_line(helm: Helm) -> None:
    prometheus = "--prometheus=http://prometheus.istio-system.svc:9090"
    assert arguments(helm.rendered({})) == ["controller", prometheus, *ENDING]
    two = ["--namespace=books", "--namespace=shop"]
    assert arguments(helm.rendered(WORLDS["two namespaces"])) == ["controller", *two, prometheus, *ENDING]
    assert arguments(helm.rendered(ALL)) == ["controller", "--selector=team=a,tier=b", prometheus, *ENDING]


def test_a_secret_url_stands_in_no_command_line(helm: Helm) -> None:
    rendered = helm.rendered(WORLDS["a secret URL"])
    assert arguments(rendered) == ["controller", *ENDING]
    (deployment,) = of("Deployment", rendered)
    (variable,) = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert variable["name"] == "ROLLOUT_PROMETHEUS"
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "prometheus", "key": "url"}}


def granted(rules: list[Any]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


WATCHED = (SERVICE_ROLLOUT, VIRTUAL_SERVICE, DESTINATION_RULE, SERVICE, POD, ENDPOINT_SLICE)
BY_WATCHES: Rights = (*((kind, ("list", "watch")) for kind in WATCHED), (DESTINATION_RULE, ("get",)))
"""What it reads is kept current by watches, and what it could not write is read anew."""
LIFTING: Rights = ((VIRTUAL_SERVICE, ("delete",)),)
"""A fault that was put before is taken off, whatever the values say since."""


def asked(*tables: Rights) -> set[tuple[str, str, str]]:
    """What a controller asks for, these tables included."""
    found = {
        (kind.group, kind.plural, verb) for table in (CONTROLLED, BY_WATCHES, *tables) for kind, verb in pairs(table)
    }
    found.add((SERVICE_ROLLOUT.group, f"{SERVICE_ROLLOUT.plural}/status", "patch"))
    return found | {(EVENT.group, EVENT.plural, "create")}


def test_the_rights_are_those_that_the_engine_asks_for(helm: Helm) -> None:
    (role,) = of("ClusterRole", helm.rendered({}))
    assert granted(role["rules"]) == asked(FOR_SUBSETS, LIFTING)
    (role,) = of("ClusterRole", helm.rendered({"drills": True}))
    assert granted(role["rules"]) == asked(FOR_SUBSETS, FOR_DRILLS)
    (role,) = of("ClusterRole", helm.rendered(ALL))
    assert granted(role["rules"]) == asked(
        FOR_SUBSETS, FOR_DRILLS, FOR_SECRETS, FOR_SCALING, FOR_TRIGGERS, ((DEPLOYMENT, ("watch",)),)
    )
    (role,) = [one for one in of("Role", helm.rendered(ALL)) if one["metadata"]["namespace"] == ROOT_NAMESPACE]
    assert granted(role["rules"]) == {(kind.group, kind.plural, verb) for kind, verb in pairs(FOR_WARNINGS)}


def test_people_may_ask_the_object_and_see_who_leads(helm: Helm) -> None:
    rendered = helm.rendered(WORLDS["people"])
    (role,) = [one for one in of("ClusterRole", rendered) if one["metadata"]["name"].endswith("-people")]
    own = (SERVICE_ROLLOUT.group, SERVICE_ROLLOUT.plural)
    writing = {(*own, verb) for verb in ("create", "delete", "patch", "update", "watch")}
    asking = {(kind.group, kind.plural, verb) for kind, verb in pairs(ASKED)} | {(own[0], f"{own[1]}/status", "patch")}
    routes = {
        (kind.group, kind.plural, verb) for kind in (VIRTUAL_SERVICE, DESTINATION_RULE) for verb in ("get", "list")
    }
    assert granted(role["rules"]) == asking | writing | routes
    assert role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    (leases,) = [one for one in of("Role", rendered) if one["metadata"]["name"].endswith("-people")]
    assert granted(leases["rules"]) == {(kind.group, kind.plural, verb) for kind, verb in pairs(LEADS)}


def test_with_namespaces_there_is_no_right_beyond_them(helm: Helm) -> None:
    rendered = helm.rendered(WORLDS["two namespaces"])
    assert not [one for one in rendered if one["kind"].startswith("Cluster")]
    roles = {one["metadata"]["namespace"]: granted(one["rules"]) for one in of("Role", rendered)}
    everything = asked(FOR_SUBSETS, LIFTING)
    leases = {(kind.group, kind.plural, verb) for kind, verb in pairs(LEADING)}
    assert roles == {"books": everything, "shop": everything, "rollout-system": leases}


def test_who_has_the_account_may_do_that_and_no_more(helm: Helm, api_server: ApiServer) -> None:
    """Installed for real: the API server itself is asked what the account may."""
    (home, other) = (f"chart-{n}" for n in "ab")
    config = ["--kubeconfig", str(api_server.kubeconfig())]
    for name in (home, other):
        api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    done = helm.run("install", "r", str(CHART), "--namespace", home, *config, values={"namespaces": [other]})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"looks after the namespaces {other}" in done.stdout

    def may(verb: str, kind: Any, namespace: str, subresource: str = "") -> bool:
        attributes = {"verb": verb, "group": kind.group, "resource": kind.plural, "namespace": namespace}
        account = f"system:serviceaccount:{home}:r-rollout"
        spec = {
            "user": account, "groups": groups_of(account),
            "resourceAttributes": attributes | {"subresource": subresource},
        }  # fmt: skip
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(api_server.call("POST", path, {"spec": spec})["status"]["allowed"])

    wait(lambda: may("patch", VIRTUAL_SERVICE, other), 20)  # the authorizer learns by a watch, as everybody does
    wait(lambda: may("patch", SERVICE_ROLLOUT, other, "status") and may("create", LEASE, home), 20)
    for verb, kind, namespace in (
        ("patch", VIRTUAL_SERVICE, home), ("list", VIRTUAL_SERVICE, ""), ("create", LEASE, other),
        ("create", VIRTUAL_SERVICE, other), ("delete", VIRTUAL_SERVICE, home),
        ("delete", SERVICE_ROLLOUT, other), ("create", CONFIG_MAP, other), ("get", FOR_SECRETS[0][0], other),
    ):  # fmt: skip
        assert not may(verb, kind, namespace), (verb, kind, namespace)

    undrained = {"drain": {"enabled": False}}
    done = helm.run("upgrade", "r", str(CHART), "--namespace", home, *config, "--reset-values", values=undrained)
    assert done.returncode == 0, done.stdout + done.stderr
    wait(lambda: may("list", VIRTUAL_SERVICE, ""), 20)
    done = helm.run("uninstall", "r", "--namespace", home, *config)
    assert done.returncode == 0, done.stdout + done.stderr
    wait(lambda: not may("list", VIRTUAL_SERVICE, ""), 20)
    crd = api_server.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/servicerollouts.rollout.dev")
    assert "deletionTimestamp" not in crd["metadata"], "the definition, and with it all objects, outlives the chart"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another key": ({"replica": 3}, "replica"),
    "a key below": ({"image": {"name": "x"}}, "image"),
    "a text for a number": ({"replicas": "two"}, "replicas"),
    "no namespace": ({"namespaces": ["Shop"]}, "namespaces"),
    "one namespace twice": ({"namespaces": ["a", "a"]}, "namespaces"),
    "no URL": ({"prometheus": {"url": "prometheus:9090"}}, "prometheus"),
    "no Prometheus": ({"prometheus": {"url": ""}}, "say where the mesh's metrics are: prometheus.url"),
    "no account": ({"serviceAccount": {"create": False}}, "name the account: serviceAccount.name"),
    "nothing to scrape": (
        {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}},
        "metrics.serviceMonitor needs metrics.service.enabled",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_values_are_refused_by_their_name(helm: Helm, name: str) -> None:
    values, said = REFUSED[name]
    done = helm.run("template", "rollout", str(CHART), values=values)
    assert done.returncode != 0
    assert said in done.stderr


def test_what_the_operators_get(helm: Helm) -> None:
    (monitor,) = of("ServiceMonitor", rendered := helm.rendered(ALL))
    (service,) = of("Service", rendered)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [one["port"] for one in monitor["spec"]["endpoints"]] == [one["name"] for one in service["spec"]["ports"]]
    assert monitor["metadata"]["labels"]["e"] == "f"
    assert json.dumps(rendered).count(f"rollout@sha256:{64 * 'a'}") == 2
    (alerts,) = of("PrometheusRule", rendered)
    assert alerts["metadata"]["labels"]["k"] == "l"
    (dashboard,) = of("ConfigMap", rendered)
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["rollout.json"])["panels"]


def test_a_prometheus_understands_every_alert_and_panel(helm: Helm, tmp_path: Path) -> None:
    rendered = helm.rendered(ALL)
    (alerts,), (dashboard,) = of("PrometheusRule", rendered), of("ConfigMap", rendered)
    rules = [rule for group in alerts["spec"]["groups"] for rule in group["rules"]]
    panels = json.loads(dashboard["data"]["rollout.json"])["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    prometheus = Prometheus(tmp_path, [])

    def found(expression: str) -> list[Any]:
        query = urlencode({"query": expression.replace("$__rate_interval", "1m")})
        with urllib.request.urlopen(f"{prometheus.url}/api/v1/query?{query}") as answer:
            result: list[Any] = json.load(answer)["data"]["result"]
        return result

    try:
        assert [rule["alert"] for rule in rules if found(rule["expr"])] == ["RolloutControllerDown"], "nobody is there"
        assert sum(bool(found(one)) for one in shown) >= 4, "what counts is 0 where there is nothing to count"
    finally:
        prometheus.stop()
