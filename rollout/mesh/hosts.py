"""How Istio reads host names: short ones belong to the namespace of the document that writes them."""

from collections.abc import Mapping
from typing import Any

DOMAIN = "svc.cluster.local"


def resolved(host: str, namespace: str) -> str:
    """The fully qualified host; a name with a dot stays as it is (`reviews.shop` is not expanded by Istio).

    >>> resolved("reviews", "shop")
    'reviews.shop.svc.cluster.local'
    """
    host = host.lower()
    return host if "." in host or host == "*" else f"{host}.{namespace}.{DOMAIN}"


def fqdn(service: str, namespace: str) -> str:
    """The fully qualified host of a Service."""
    return f"{service}.{namespace}.{DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    """Whether a host pattern (exact, or `*` before a suffix) covers `host`.

    >>> covers("*.svc.cluster.local", "reviews.shop.svc.cluster.local")
    True
    """
    return host.endswith(pattern[1:]) if pattern.startswith("*") else pattern == host


def exported(document_namespace: str, export_to: object, client_namespace: str) -> bool:
    """Whether `exportTo` lets clients in a namespace see the document; absent means everybody.

    >>> exported("shop", ["."], "front")
    False
    """
    scopes = export_to if isinstance(export_to, list) and export_to else ["*"]
    return any(s in ("*", client_namespace) or (s == "." and client_namespace == document_namespace) for s in scopes)


def exported_to_all(document: Mapping[str, Any]) -> bool:
    """Whether a VirtualService or DestinationRule is for clients of every namespace."""
    return "*" in ((document.get("spec") or {}).get("exportTo") or ["*"])
