"""Two Services read as two versions of one, as Flagger, and Argo Rollouts at the level of hosts, split a route. Pure.

Such a route names no subset: it divides a host's requests among Services of their own (`reviews-primary` and
`reviews-canary`), of which the host itself may be one.
"""

from rollout.core.documents import Document, namespace_of
from rollout.mesh.hosts import resolved
from rollout.mesh.routes import http_routes, with_routes


def services_of(vs: Document, host: str) -> set[str]:
    """The hosts that routes for `host` name in the place of its subsets.

    A route is for it if it has a share in it, or the VirtualService is for that host.
    """
    spec, namespace = vs.get("spec") or {}, namespace_of(vs)
    ours = host in {resolved(str(one), namespace) for one in spec.get("hosts") or []}
    found: set[str] = set()
    for route in http_routes(vs):
        to = [entry["destination"] for entry in route.get("route") or []]
        hosts = {resolved(str(one.get("host", "")), namespace) for one in to}
        if not any(one.get("subset") for one in to) and hosts != {host} and (ours or host in hosts):
            found |= hosts
    return found


def as_subsets(vs: Document, host: str) -> Document:
    """The VirtualService with those Services as subsets of `host`: named as people do, without their own domain.

    `resolved` makes a host of such a name again.
    """
    services, namespace = services_of(vs, host), namespace_of(vs)
    if not services:
        return vs
    domain = host.removeprefix(host.split(".", maxsplit=1)[0])

    def renamed(entry: Document) -> Document:
        to = entry["destination"]
        whole = resolved(str(to.get("host", "")), namespace)
        if to.get("subset") or whole not in services:
            return entry
        return {**entry, "destination": {**to, "host": host, "subset": whole.removesuffix(domain)}}

    routes = [
        {**route, "route": [renamed(entry) for entry in route["route"]]} if route.get("route") else route
        for route in http_routes(vs)
    ]
    return with_routes(vs, routes)
