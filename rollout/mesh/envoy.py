"""From Istio's documents to Envoy's clusters and routes: what a sidecar would be sent, as far as we need it. Pure.

One static cluster per subset, as istiod makes them, named `outbound|PORT|SUBSET|HOST`; one route per match entry that
is for this client; destinations of weight 0 left out; a single destination's weight ignored; the oldest VirtualService
owns a host, and takes in its delegates. A fault's filter stands before the router: no timeout of a route ends its
delay, and no retry its abort.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.core.documents import Document, age_of, name_of, namespace_of
from rollout.core.quantities import duration
from rollout.mesh.delegates import merged
from rollout.mesh.hosts import fqdn, resolved
from rollout.mesh.overlays import mirrors
from rollout.mesh.routes import http_routes
from rollout.mesh.subsets import host_of, subsets_of

Resource = dict[str, Any]
UNLIMITED = 2**32 - 1
FAULT = "envoy.filters.http.fault"
NO_FAULT: Resource = {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}
DEFAULT_RETRIES = "connect-failure,refused-stream,unavailable,cancelled"
"""Istio's own since 1.24: before, an answer of 503 was asked for again too."""


@dataclass(frozen=True)
class Endpoint:
    """A place that answers: an address and the labels of its pod."""

    address: str
    port: int
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """Who asks: the namespace and the labels of its pod, by which a match may choose; or a gateway."""

    namespace: str
    labels: Mapping[str, str]
    gateway: bool = False


def cluster_name(port: int, subset: str, host: str) -> str:
    """Istio's name of a cluster."""
    return f"outbound|{port}|{subset}|{host}"


def clusters(
    services: Sequence[Document], rules: Sequence[Document], endpoints: Mapping[str, Sequence[Endpoint]]
) -> list[Resource]:
    """Every service's clusters: the whole of it, and each subset."""
    found = []
    for service in services:
        host = fqdn(name_of(service), namespace_of(service))
        subsets = {"": {}} | {str(s["name"]): s.get("labels") or {} for r in rules if host_of(r) == host
                              for s in subsets_of(r)}  # fmt: skip
        for subset, labels in subsets.items():
            places = [e for e in endpoints.get(host, ()) if labels.items() <= e.labels.items()]
            found += [cluster(cluster_name(_port(service), subset, host), host, places)]
    return found


def cluster(name: str, host: str, places: Sequence[Endpoint]) -> Resource:
    """A cluster of `host` at these places, without limits."""
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), UNLIMITED)
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [limits]},
        "metadata": {"filter_metadata": {"istio": {"host": host}}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [_endpoint(p) for p in places]}]},
    }


def _endpoint(place: Endpoint) -> Resource:
    address = {"socket_address": {"address": place.address, "port_value": place.port}}
    labels = {"istio": {"version": place.labels["version"]}} if "version" in place.labels else {}
    return {"endpoint": {"address": address}, "metadata": {"filter_metadata": labels}}


def routes(
    services: Sequence[Document], virtual_services: Sequence[Document], source: Source, name: str = "outbound"
) -> Resource:
    """The RouteConfiguration of one client in the mesh, under a name: a virtual host per service."""
    oldest = sorted(virtual_services, key=age_of)
    hosts = []
    for service in services:
        own, namespace, port = name_of(service), namespace_of(service), _port(service)
        host = fqdn(own, namespace)
        owner = next((merged(vs, virtual_services) for vs in oldest if host in _hosts(vs)), None)
        made = [entry for route in http_routes(owner) for entry in _routes(route, owner, port, source)] if owner else []
        if not owner:
            made = [{"match": {"prefix": "/"}, "route": {"cluster": cluster_name(port, "", host), "timeout": "0s"}}]
        domains = [host, own, f"{own}.{namespace}", f"{own}.{namespace}.svc"]
        hosts.append({"name": f"{host}:{port}", "domains": domains, "routes": made})
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": name,
        "validate_clusters": False,
        "ignore_port_in_host_matching": True,
        "virtual_hosts": hosts,
    }


def _hosts(vs: Document) -> set[str]:
    return {resolved(str(host), namespace_of(vs)) for host in (vs.get("spec") or {}).get("hosts") or []}


def _port(service: Document) -> int:
    return int(service["spec"]["ports"][0]["port"])


def _routes(route: Document, vs: Document, port: int, source: Source) -> list[Resource]:
    entries = route.get("route") or []
    named = {"name": route["name"]} if route.get("name") else {}
    made: Resource = {**named, "route": _action(route, vs, port)}
    made |= _headers(route, *(entries if len(entries) == 1 else ()))
    if fault := route.get("fault"):
        made["typed_per_filter_config"] = {FAULT: _fault(fault)}
    return [{"match": _match(match), **made} for match in route.get("match") or [{}] if meant(match, source)]


def meant(match: Document, source: Source) -> bool:
    """Whether a match is for this client; where it names gateways, only they count."""
    if named := match.get("gateways"):
        return any(one != "mesh" for one in named) if source.gateway else "mesh" in named
    namespace, labels = match.get("sourceNamespace"), match.get("sourceLabels") or {}
    return namespace in (None, "", source.namespace) and labels.items() <= source.labels.items()


def _fault(fault: Document) -> Resource:
    """A fault of everybody whom the route is for; where no share is said, nobody's."""
    made = dict(NO_FAULT)
    if delay := fault.get("delay"):
        share = _fraction((delay.get("percentage") or {}).get("value", delay.get("percent", 0)))
        made["delay"] = {"fixed_delay": f"{duration(delay['fixedDelay']):g}s", "percentage": share}
    if abort := fault.get("abort"):
        share = _fraction((abort.get("percentage") or {}).get("value", 0))
        made["abort"] = {"http_status": int(abort["httpStatus"]), "percentage": share}
    return made


def _fraction(percent: float) -> Resource:
    return {"numerator": round(float(percent) * 10000), "denominator": "MILLION"}


def _match(match: Document) -> Resource:
    made: Resource = {"prefix": "/"}
    uri = match.get("uri") or {}
    if "exact" in uri:
        made = {"path": uri["exact"]}
    elif "prefix" in uri:
        made = {"prefix": uri["prefix"]}
    elif "regex" in uri:
        made = {"safe_regex": {"regex": uri["regex"]}}
    headers = dict(match.get("headers") or {})
    if "method" in match:
        headers[":method"] = match["method"]
    if headers:
        made["headers"] = [{"name": name.lower(), **_string(value)} for name, value in sorted(headers.items())]
    return made


def _string(value: Document) -> Resource:
    if "exact" in value or "prefix" in value:
        return {"string_match": value}
    if value.get("regex", "*") == "*":
        return {"present_match": True}
    return {"string_match": {"safe_regex": {"regex": value["regex"]}}}


def _action(route: Document, vs: Document, port: int) -> Resource:
    entries = route.get("route") or []
    named = [(_destination(entry, vs, port), int(entry.get("weight") or 0), entry) for entry in entries]
    action: Resource = {"timeout": f"{duration(route.get('timeout', '0s')):g}s"}
    if len(named) == 1:
        action["cluster"] = named[0][0]
    else:
        weighted = [{"name": name, "weight": weight, **_headers(entry)} for name, weight, entry in named if weight]
        action["weighted_clusters"] = {"clusters": weighted}
    if repeated := [_repeated(mirror, vs, port) for mirror in mirrors(route) if percent(mirror)]:
        action["request_mirror_policies"] = repeated
    retries = route.get("retries") or {}
    if attempts := int(retries.get("attempts", 2)):
        action["retry_policy"] = _retries(attempts, str(retries.get("retryOn") or DEFAULT_RETRIES))
    return action


def _headers(*documents: Document) -> Resource:
    """The headers that the answers of routes and destinations get; those that are set take others' place."""
    made: list[Resource] = []
    for document in documents:
        response = (document.get("headers") or {}).get("response") or {}
        for verb, more in (("add", {}), ("set", {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})):
            pairs = sorted((response.get(verb) or {}).items())
            made += [{"header": {"key": key, "value": str(value)}, **more} for key, value in pairs]
    return {"response_headers_to_add": made} if made else {}


def _retries(attempts: int, on: str) -> Resource:
    """A retry policy. Istio takes numbers among the reasons for status codes; without them no answer is retried."""
    previous = "envoy.retry_host_predicates.previous_hosts"
    kind = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    reasons = [reason.strip() for reason in on.split(",")]
    codes = [int(reason) for reason in reasons if reason.isdigit()]
    named = [reason for reason in reasons if not reason.isdigit()] + ["retriable-status-codes"] * bool(codes)
    return {
        "retry_on": ",".join(named),
        "retriable_status_codes": codes,
        "num_retries": attempts,
        "retry_host_predicate": [{"name": previous, "typed_config": {"@type": kind}}],
        "host_selection_retry_max_attempts": 5,
    }


def percent(mirror: Document) -> float:
    """How many percent of the requests it repeats; where nobody says, all, and where an empty mapping says it, none."""
    said = mirror.get("percentage")
    return 100.0 if said is None else float(said.get("value", 0))


def _repeated(mirror: Document, vs: Document, port: int) -> Resource:
    """A mirror that keeps the host as it was, as Istio has it from 1.28 on."""
    return {
        "cluster": _destination(mirror, vs, port),
        "runtime_fraction": {"default_value": _fraction(percent(mirror))},
        "disable_shadow_host_suffix_append": True,
        "trace_sampled": False,
    }


def _destination(entry: Document, vs: Document, port: int) -> str:
    to = entry["destination"]
    chosen = int((to.get("port") or {}).get("number") or port)
    return cluster_name(chosen, str(to.get("subset") or ""), resolved(str(to["host"]), namespace_of(vs)))


def weights(config: Resource, host: str) -> dict[str, int]:
    """What a RouteConfiguration's last route for `host` gives each subset, in percent (rounded)."""
    for virtual in config["virtual_hosts"]:
        if virtual["name"].startswith(f"{host}:") and virtual["routes"]:
            action = virtual["routes"][-1]["route"]
            parts = action.get("weighted_clusters", {}).get("clusters") or [{"name": action["cluster"], "weight": 1}]
            total = sum(part["weight"] for part in parts)
            return {re.split(r"\|", part["name"])[2]: round(100 * part["weight"] / total) for part in parts}
    return {}
