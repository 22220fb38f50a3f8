"""Which weights a proxy really has: its config dump, read for one host beside the VirtualServices it should obey. Pure.

As Istio sends them: a virtual host for each host and port, owned by the oldest VirtualService for it; on a gateway all
that name the host share it. Behind a route that everything matches there is none.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from rollout.core.documents import Document, age_of, labels_of, namespace_of
from rollout.core.quantities import share
from rollout.mesh.delegates import is_delegate, merged
from rollout.mesh.envoy import Source, meant, percent
from rollout.mesh.hosts import covers, exported, resolved
from rollout.mesh.overlays import mirrors
from rollout.mesh.routes import http_routes

PROXY = "istio-proxy"
"""The container that is a pod's proxy."""
CLUSTER = re.compile(r"outbound\|\d+\|([^|]*)\|(.+)")
SCALES = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
EVERYTHING = {"uri": {"prefix": "/"}}
FOR_WHOM = ("gateways", "sourceNamespace", "sourceLabels", "name", "port")
"""What says in a match who is meant, or what it is called, and nothing of the requests."""
Shares = Mapping[str, Fraction]
"""The part (0 to 1) of each destination that gets any: a subset's name, empty for all versions, or another host."""


@dataclass(frozen=True)
class Split:
    """How one route divides requests: who gets which part of them, and who is sent copies of which part."""

    name: str = field(compare=False)
    shares: Shares
    copies: Shares = field(default_factory=dict)
    here: bool = field(default=True, compare=False)
    """Whether it leads to the host that is asked about."""

    def __str__(self) -> str:
        """In words.

        >>> str(Split("primary", {"v1": Fraction(3, 4), "v2": Fraction(1, 4)}))
        'v1 75 %, v2 25 %'
        """
        parts = [f"{to or 'all versions'} {share(float(part))}" for to, part in sorted(self.shares.items())]
        parts += [f"{share(float(part))} repeated at {to or 'it'}" for to, part in sorted(self.copies.items())]
        return ", ".join(parts) or "nobody"


@dataclass(frozen=True)
class Held:
    """What a proxy has for a host under one name that clients ask for (`reviews.shop.svc.cluster.local:9080`).

    `version` is the control plane's for this configuration, `since` when it came, as the proxy writes both.
    """

    name: str
    splits: tuple[Split, ...]
    version: str = ""
    since: str = ""


def source_of(pod: Document) -> Source | None:
    """Who the pod is to its proxy; None where it has none."""
    spec = pod.get("spec") or {}
    for one in (*(spec.get("containers") or []), *(spec.get("initContainers") or [])):
        if one.get("name") == PROXY:
            return Source(namespace_of(pod), labels_of(pod), "router" in (one.get("args") or []))
    return None


def held(dump: Document, host: str) -> list[Held]:
    """What Envoy's config dump (all of it, or its dynamic_route_configs) has for a host, gateways' names included.

    Raises `KeyError`, `TypeError`, `AttributeError` or `ValueError` where it has another shape.
    """
    found = []
    for one in _dynamic(dump):
        config = one["route_config"]
        for virtual in config.get("virtual_hosts") or []:
            name = str(virtual["name"])
            splits = _reached((_routed(route, host), _all(route)) for route in virtual.get("routes") or [])
            if splits := _about(splits, name, host):
                found.append(Held(name, splits, str(one.get("version_info", "")), str(one.get("last_updated", ""))))
    return found


def wanted(name: str, host: str, every: Sequence[Document], source: Source) -> tuple[Split, ...]:
    """What a proxy of `source` should have for a host under this name, by `every` VirtualService."""
    asked, _, port = name.rpartition(":")
    owners = [vs for vs in sorted(every, key=age_of) if _owns(vs, asked, source)]
    owners.sort(key=lambda vs: asked not in _hosts(vs))
    if not owners and asked == host:
        return (Split("default", {"": Fraction(1)}),)
    routes: list[tuple[Split | None, bool]] = []
    for vs in owners if source.gateway else owners[:1]:
        routes += _cut(_given(merged(vs, every), host, port, source))
    return _about(_reached(sorted(routes, key=lambda one: one[1])), name, host)


def _dynamic(dump: Document) -> Iterator[Document]:
    for one in dump["configs"]:
        yield from one.get("dynamic_route_configs") or ([one] if "route_config" in one else [])


def _cut(routes: Iterator[tuple[Split | None, bool]]) -> Iterator[tuple[Split | None, bool]]:
    for split, everything in routes:
        yield split, everything
        if everything:
            return


def _reached(routes: Any) -> tuple[Split, ...]:
    """The splits up to the route that everything matches; one that answers by itself has none."""
    return tuple(split for split, _ in _cut(iter(routes)) if split)


def _about(splits: tuple[Split, ...], name: str, host: str) -> tuple[Split, ...]:
    """Those for the host: all under its own name, elsewhere (on a gateway) the routes that lead to it."""
    if name.rpartition(":")[0] == host:
        return splits
    return tuple(split for split in splits if split.here)


# --- what Envoy has ------------------------------------------------------------------------------------------------


def _all(route: Document) -> bool:
    match = route.get("match") or {}
    return match.get("prefix") == "/" and match.keys() <= {"prefix", "case_sensitive"}


def _routed(route: Document, host: str) -> Split | None:
    action = route.get("route")
    if not action:
        return None
    parts = (action.get("weighted_clusters") or {}).get("clusters") or [
        {"name": action.get("cluster", ""), "weight": 1}
    ]
    weights = [(_who(str(part["name"]), host), int(part.get("weight", 0))) for part in parts]
    copies = [
        (_who(str(policy["cluster"]), host), _part(policy.get("runtime_fraction")))
        for policy in action.get("request_mirror_policies") or []
    ]
    here = any(str(part["name"]).endswith(f"|{host}") for part in parts)
    return Split(str(route.get("name", "")), _shares(weights), _summed(copies), here)


def _part(fraction: Document | None) -> Fraction:
    if fraction is None:
        return Fraction(1)
    value = fraction.get("default_value") or {}
    return Fraction(int(value.get("numerator", 0)), SCALES[value.get("denominator", "HUNDRED")])


def _who(cluster: str, host: str) -> str:
    found = CLUSTER.fullmatch(cluster)
    if not found:
        return cluster
    subset, to = found.groups()
    return subset if to == host else to


def _shares(weights: Sequence[tuple[str, int]]) -> Shares:
    total = sum(weight for _, weight in weights) or 1
    return _summed([(to, Fraction(weight, total)) for to, weight in weights])


def _summed(parts: Sequence[tuple[str, Fraction]]) -> Shares:
    found: dict[str, Fraction] = {}
    for to, part in parts:
        if part:
            found[to] = found.get(to, Fraction(0)) + part
    return found


# --- what it should have -------------------------------------------------------------------------------------------


def _hosts(vs: Document) -> list[str]:
    return [resolved(str(one), namespace_of(vs)) for one in (vs.get("spec") or {}).get("hosts") or []]


def _owns(vs: Document, asked: str, source: Source) -> bool:
    spec = vs.get("spec") or {}
    gateways = spec.get("gateways") or ["mesh"]
    bound = any(one != "mesh" for one in gateways) if source.gateway else "mesh" in gateways
    seen = exported(namespace_of(vs), spec.get("exportTo"), source.namespace)
    return bound and seen and not is_delegate(vs) and any(covers(one, asked) for one in _hosts(vs))


def _given(vs: Document, host: str, port: str, source: Source) -> Iterator[tuple[Split | None, bool]]:
    for route in http_routes(vs):
        split = _said(route, vs, host)
        for match in route.get("match") or [{}]:
            if meant(match, source) and str(match.get("port") or port) == port:
                asked = {key: value for key, value in match.items() if key not in FOR_WHOM}
                yield split, not asked or asked == EVERYTHING


def _said(route: Document, vs: Document, host: str) -> Split | None:
    entries = route.get("route") or []
    if not entries:
        return None
    one = len(entries) == 1
    weights = [(_named(entry, vs, host), 1 if one else int(entry.get("weight") or 0)) for entry in entries]
    copies = [(_named(mirror, vs, host), Fraction(str(percent(mirror))) / 100) for mirror in mirrors(route)]
    here = any(_whole(entry, vs) == host for entry in entries)
    return Split(str(route.get("name", "")), _shares(weights), _summed(copies), here)


def _named(entry: Document, vs: Document, host: str) -> str:
    whole = _whole(entry, vs)
    return str(entry["destination"].get("subset") or "") if whole == host else whole


def _whole(entry: Document, vs: Document) -> str:
    return resolved(str(entry["destination"].get("host", "")), namespace_of(vs))
