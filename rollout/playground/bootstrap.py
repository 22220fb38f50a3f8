"""What Envoy is started with: a listener for each client and for each pod, with Istio's counters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout.mesh.envoy import FAULT, NO_FAULT, Endpoint, Resource, cluster

REQUESTS, DURATION = "istio_requests", "istio_request_duration_milliseconds"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Pod:
    """One of a workload: requests reach it at `port`, its service listens `behind` that, and asks others by `proxy`."""

    workload: str
    host: str
    version: str
    port: int
    behind: int
    proxy: int


def bootstrap(folder: Path, clients: Mapping[str, int], pods: Sequence[Pod], admin: int) -> Resource:
    """One Envoy for the whole mesh, with a listener for each client (workload to port) and for each pod."""
    cds = {"resource_api_version": "V3", "path_config_source": _watched(folder, "cds.json")}
    names = r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"
    listeners = [*(_outbound(folder, *client) for client in clients.items()), *map(_inbound, pods)]
    behind = [cluster(_inside(pod), pod.host, [Endpoint(LOOPBACK, pod.behind, {})]) for pod in pods]
    return {
        "node": {"id": "playground", "cluster": "playground"},
        "admin": {"address": _address(admin)},
        "dynamic_resources": {"cds_config": cds},
        "static_resources": {"listeners": listeners, "clusters": [_untyped(one) for one in behind]},
        "stats_flush_interval": "1s",
        "stats_config": {"stats_tags": [{"tag_name": "cluster_name", "regex": names}]},
    }


def typed(name: str) -> str:
    """The URL of a type of Envoy's."""
    return f"type.googleapis.com/envoy.{name}"


def _untyped(resource: Resource) -> Resource:
    """As a field whose type is known."""
    return {key: value for key, value in resource.items() if key != "@type"}


def _watched(folder: Path, name: str) -> Resource:
    return {"path": str(folder / name), "watched_directory": {"path": str(folder)}}


def _address(port: int) -> Resource:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def _inside(pod: Pod) -> str:
    """Istio's name of the cluster of a pod's own service, with the workload where all are in one Envoy."""
    return f"inbound|{pod.behind}||{pod.workload}"


def _outbound(folder: Path, workload: str, port: int) -> Resource:
    """A client's listener: it obeys the VirtualServices, and counts by what was chosen."""
    source = {"resource_api_version": "V3", "path_config_source": _watched(folder, f"{workload}.json")}
    labels = {
        "reporter": "source",
        "source_workload": workload,
        "destination_service": "%CLUSTER_METADATA(istio:host)%",
        "destination_version": "%UPSTREAM_METADATA(istio:version)%",
    }
    return _listener(
        f"{workload}-outbound", port, {"rds": {"route_config_name": workload, "config_source": source}}, labels
    )


def _inbound(pod: Pod) -> Resource:
    """A pod's listener: it hands on whatever comes, and counts that as its own.

    Where the service does not answer, Envoy does; users then still learn from which version they got no answer.
    """
    everything = {"match": {"prefix": "/"}, "route": {"cluster": _inside(pod), "timeout": "0s"}}
    hosts = [{"name": "inbound", "domains": ["*"], "routes": [everything]}]
    labels = {
        "reporter": "destination",
        "destination_workload": pod.workload,
        "destination_service": pod.host,
        "destination_version": pod.version,
    }
    routes = {"route_config": {"name": _inside(pod), "virtual_hosts": hosts}}
    return _listener(f"{pod.workload}-inbound", pod.port, routes, labels, {"x-version": pod.version})


def _listener(
    name: str, port: int, routes: Resource, labels: Mapping[str, str], own: Mapping[str, str] | None = None
) -> Resource:
    """A listener that counts under `labels`; answers of Envoy's own say why in a header, and have those of `own`."""
    fault = {"name": FAULT, "typed_config": NO_FAULT}
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": typed(_ROUTER)}}
    any_error = {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "unused"}}}
    said = {"x-envoy-flags": "%RESPONSE_FLAGS%"} | dict(own or {})
    headers = [{"header": {"key": key, "value": value}} for key, value in said.items()]
    manager = {
        "@type": typed("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": name,
        **routes,
        "http_filters": [fault, router],
        "access_log": [{"name": "envoy.access_loggers.stats", "typed_config": _istio_counters(labels)}],
        "local_reply_config": {
            "mappers": [{"filter": {"status_code_filter": any_error}, "headers_to_add": headers}],
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": name, "address": _address(port), "filter_chains": [{"filters": filters}]}


_ROUTER = "extensions.filters.http.router.v3.Router"


def _istio_counters(labels: Mapping[str, str]) -> Resource:
    """Istio's own metrics by Envoy's stats access logger."""
    tags = {**labels, "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%"}
    made = [{"name": name, "value_format": value} for name, value in tags.items()]
    duration = {"stat": {"name": DURATION, "tags": made}, "unit": "Milliseconds", "value_format": "%DURATION%"}
    return {
        "@type": typed("extensions.access_loggers.stats.v3.Config"),
        "stats_scope": {},
        "counters": [{"stat": {"name": f"{REQUESTS}_total", "tags": made}, "value_fixed": 1}],
        "histograms": [duration],
    }
