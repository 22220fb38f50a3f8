"""Our CustomResourceDefinition on a real API server: what is admitted, and how the server says no to the rest."""

import json
import urllib.error
import uuid
from typing import Any

import pytest

from rollout.adapters import yaml_text
from rollout.adapters.crd import COLUMNS, definition
from rollout.adapters.strategy_files import presets
from tests.real.servers import ApiServer
from tests.unit.test_strategy_files import EVERYTHING

pytestmark = pytest.mark.real

HOME = "/apis/rollout.dev/v1alpha1/namespaces/default/servicerollouts"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
CANARY = yaml_text.load(presets()["canary"])


def document(**spec: Any) -> dict[str, Any]:
    whole = {"service": "reviews", "version": "v2"} | spec
    metadata = {"name": f"r-{uuid.uuid4().hex[:8]}"}
    return {"apiVersion": "rollout.dev/v1alpha1", "kind": "ServiceRollout", "metadata": metadata, "spec": whole}


def created(server: ApiServer, one: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = server.call("POST", f"{HOME}?fieldValidation=Strict", one)
    return made


def refused(server: ApiServer, method: str, path: str, body: Any) -> str:
    with pytest.raises(urllib.error.HTTPError) as error:
        server.call(method, path, body)
    assert error.value.code in (400, 422)
    return str(json.loads(error.value.read())["message"])


def test_the_server_takes_the_schema_as_structural(api_server: ApiServer) -> None:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition()['metadata']['name']}"
    conditions = {c["type"]: c["status"] for c in api_server.call("GET", path)["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_what_is_left_out_is_filled_in(api_server: ApiServer) -> None:
    spec = {"service": "reviews", "version": "v2", "scale": "wait", "suspend": False}
    assert created(api_server, document())["spec"] == spec


@pytest.mark.parametrize("strategy", [*map(yaml_text.load, presets().values()), yaml_text.load(EVERYTHING)])
def test_every_strategy_is_admitted_inline_and_kept_as_it_is(api_server: ApiServer, strategy: Any) -> None:
    assert created(api_server, document(strategy=strategy))["spec"]["strategy"] == strategy


@pytest.mark.parametrize("strategy", [{"name": "canary"}, {"configMap": "a.b"}, {"configMap": "a", "key": "b"}])
def test_a_strategy_is_admitted_by_its_name(api_server: ApiServer, strategy: Any) -> None:
    assert created(api_server, document(strategy=strategy))["spec"]["strategy"] == strategy


@pytest.mark.parametrize("url", ["https://hooks.example/T0", {"secret": "hooks", "key": "slack"}])
def test_whose_edits_are_put_back_and_who_is_told_may_stand_beside_it(api_server: ApiServer, url: Any) -> None:
    more = {"drift": {"gitopsManagers": ["argocd-controller"]}, "notify": {"url": url}}
    made = created(api_server, document(strategy={"name": "canary"}, **more))["spec"]
    assert {key: made[key] for key in more} == more


def test_names_of_routes_may_stand_beside_it(api_server: ApiServer) -> None:
    more = {"routes": {"names": ["api", "web"]}}
    assert created(api_server, document(strategy={"name": "canary"}, **more))["spec"]["routes"] == more["routes"]


def step(one: Any) -> dict[str, Any]:
    return document(strategy=CANARY | {"steps": [one, {"weight": 100}]})


WITHOUT_BAKE = {key: value for key, value in CANARY.items() if key != "bake"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no service": (document() | {"spec": {"version": "v2"}}, "spec.service: Required value"),
    "a host": (document(service="reviews.shop"), "spec.service: Invalid value"),
    "no version": (
        document() | {"spec": {"service": "a"}},
        "spec: Invalid value: write either `version`, or `trigger: newVersion`",
    ),
    "a version and a trigger": (document(trigger="newVersion"), "spec: Invalid value: write either `version`, or"),
    "another trigger": (document() | {"spec": {"service": "a", "trigger": "always"}}, 'supported values: "newVersion"'),
    "a number": (document(version=2), "spec.version: Invalid value"),
    "an unknown key": (document(colour="red"), 'unknown field "spec.colour"'),
    "an unknown key below": (step({"weight": 5, "colour": "red"}), 'unknown field "spec.strategy.steps[0].colour"'),
    "a strategy of nothing": (document(strategy={}), "spec.strategy: Invalid value: write one of `name: PRESET`"),
    "a strategy of two": (
        document(strategy={"name": "a", "configMap": "b"}),
        "spec.strategy: Invalid value: write one",
    ),
    "two in full": (document(strategy=CANARY | {"name": "a"}), "spec.strategy: Invalid value: write one of"),
    "a key of nothing": (document(strategy={"name": "a", "key": "b"}), "spec.strategy.configMap: Required value"),
    "a preset with more": (document(strategy={"name": "a", "bake": "1m"}), "spec.strategy.steps: Required value"),
    "half a strategy": (document(strategy=WITHOUT_BAKE), "spec.strategy.bake: Required value"),
    "a bake in words": (document(strategy=CANARY | {"bake": "soon"}), "spec.strategy.bake: Invalid value"),
    "half a bake": (document(strategy=CANARY | {"bake": {"min": "1m"}}), "spec.strategy.bake.max: Required value"),
    "a bake with more": (
        document(strategy=CANARY | {"bake": {"min": "1m", "max": "2m", "mx": "3m"}}),
        "spec.strategy.bake: Too many",
    ),
    "a weight of 101": (step({"weight": 101}), "spec.strategy.steps[0].weight: Invalid value"),
    "a weight in words": (step({"weight": "half"}), "spec.strategy.steps[0].weight: Invalid value"),
    "a step of two": (step({"weight": 5, "pause": {}}), '"spec.strategy.steps[0]" must validate one and only one'),
    "a text of two": (
        step({"route": {"uri": {"exact": "/a", "prefix": "/b"}}}),
        "spec.strategy.steps[0].route.uri: Too many",
    ),
    "no URL": (document(strategy=CANARY | {"notify": {"url": "slack"}}), "spec.strategy.notify.url: Invalid value"),
    "no URL beside it": (document(notify={"url": "slack"}), "spec.notify.url: Invalid value"),
    "one manager": (document(drift={"gitopsManagers": "argocd"}), "spec.drift.gitopsManagers: Invalid value"),
    "another key of drift": (document(drift={"managers": []}), 'unknown field "spec.drift.managers"'),
    "routes without names": (document(routes={}), "spec.routes.names: Required value"),
    "a route without a name": (document(routes={"names": [""]}), "spec.routes.names[0]: Invalid value"),
    "a list of routes": (document(routes=["api"]), "spec.routes: Invalid value"),
    "another key of routes": (document(routes={"names": [], "of": 1}), 'unknown field "spec.routes.of"'),
    "no pace": (step({"probe": {"url": "http://a/", "rps": 0}}), "spec.strategy.steps[0].probe.rps: Invalid value"),
    "a check of two": (
        document(strategy=CANARY | {"checks": [{"errors": {}, "latency": {}}]}),
        "spec.strategy.checks[0]: Too many",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_server_refuses_and_names_the_field(api_server: ApiServer, name: str) -> None:
    one, said = REFUSED[name]
    assert said in refused(api_server, "POST", f"{HOME}?fieldValidation=Strict", one)


@pytest.mark.parametrize("validation", ["", "&fieldValidation=Warn", "&fieldValidation=Ignore"])
def test_whoever_applies_on_the_servers_side_is_refused_whatever_he_asks_for(
    api_server: ApiServer, validation: str
) -> None:
    """As Flux does, and Argo CD with ServerSideApply=true; what others write who do not ask is dropped."""
    for one, said in (
        (document(colour="red"), ".spec.colour: field not declared in schema"),
        (step({"weight": 5, "colour": "red"}), ".spec.strategy.steps[0].colour: field not declared in schema"),
    ):
        path = f"{HOME}/{one['metadata']['name']}"
        with pytest.raises(urllib.error.HTTPError) as error:
            api_server.call("PATCH", f"{path}?fieldManager=flux{validation}", one, kind="application/apply-patch+yaml")
        assert said in json.loads(error.value.read())["message"]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            api_server.call("GET", path)
    assert "colour" not in api_server.call("POST", f"{HOME}?dryRun=All{validation}", document(colour="red"))["spec"]


def test_the_service_stays_and_the_version_changes(api_server: ApiServer) -> None:
    path = f"{HOME}/{created(api_server, document())['metadata']['name']}"
    assert "the service cannot be changed" in refused(api_server, "PATCH", path, {"spec": {"service": "ratings"}})
    changed = api_server.call("PATCH", path, {"spec": {"version": "v3", "strategy": CANARY}})
    assert (changed["spec"]["version"], changed["metadata"]["generation"]) == ("v3", 2)
    assert api_server.call("PATCH", path, {"spec": {"strategy": None}})["spec"].get("strategy") is None


STATUS = {
    "observedGeneration": 1, "phase": "Shifting", "stable": "v1", "canary": "v2", "attempt": 1, "step": 1,
    "weight": 12.5, "since": "2026-11-24T14:05:00Z", "until": "2026-11-24T15:05:00Z", "reason": "Baking",
    "message": "v2 serves 12.5 %", "record": "{}", "retireAt": "2099-11-24T14:05:00Z",
    "evidence": {"verdict": "CONTINUE", "text": "so far", "toGoOn": 0.5, "toGoBack": 0.25, "hurt": 3},
    "journal": [{"at": "2026-11-24T14:05:00Z", "text": "12.5 %", "weight": 12.5}],
    "conditions": [
        {
            "type": "Ready", "status": "False", "reason": "Baking", "message": "v2 serves 12.5 %",
            "lastTransitionTime": "2026-11-24T14:05:00Z", "observedGeneration": 1,
        }
    ],
}  # fmt: skip


def test_the_status_is_kept_whole_and_apart(api_server: ApiServer) -> None:
    path = f"{HOME}/{created(api_server, document())['metadata']['name']}"
    assert api_server.call("PATCH", path, {"status": STATUS})["status"] == {"observedGeneration": -1}, "as it was made"
    after = api_server.call("PATCH", f"{path}/status?fieldValidation=Strict", {"status": STATUS})
    assert after["status"] == STATUS
    assert after["metadata"]["generation"] == 1
    twice = {"status": {"conditions": STATUS["conditions"] * 2}}  # type: ignore[operator]
    assert "status.conditions[1]: Duplicate value" in refused(api_server, "PATCH", f"{path}/status", twice)
    soon = {"status": {"since": "soon"}}
    assert "status.since: Invalid value" in refused(api_server, "PATCH", f"{path}/status", soon)


def test_the_server_does_not_tell_who_owns_which_line_of_the_status(api_server: ApiServer) -> None:
    path = f"{HOME}/{created(api_server, document())['metadata']['name']}"
    after = api_server.call("PATCH", f"{path}/status", {"status": STATUS})
    (owned,) = [one["fieldsV1"] for one in after["metadata"]["managedFields"] if one.get("subresource") == "status"]
    assert owned == {"f:status": {}}


def test_what_kubectl_shows(api_server: ApiServer) -> None:
    path = f"{HOME}/{created(api_server, document(strategy={'name': 'canary'}))['metadata']['name']}"
    api_server.call("PATCH", f"{path}/status", {"status": STATUS})
    table = api_server.call("GET", path, accept=TABLE)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", *(name for name, *_ in COLUMNS)]
    cells = dict(zip((name for name, *_ in COLUMNS), table["rows"][0]["cells"][1:], strict=True))
    assert cells.pop("Age")
    assert cells == {
        "Service": "reviews", "Version": "v2", "Phase": "Shifting", "Weight": 12.5, "Ready": "False",
        "Strategy": "canary", "Message": "v2 serves 12.5 %", "Retires": "2099-11-24T14:05:00Z",
    }  # fmt: skip
    wide = {column["name"] for column in table["columnDefinitions"] if column["priority"]}
    assert wide == {"Strategy", "Message", "Retires"}


def test_it_has_a_short_name(api_server: ApiServer) -> None:
    (served,) = [
        one for one in api_server.call("GET", "/apis/rollout.dev/v1alpha1")["resources"] if "/" not in one["name"]
    ]
    assert (served["kind"], served["shortNames"], served["namespaced"]) == ("ServiceRollout", ["sr"], True)
