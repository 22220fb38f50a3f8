"""Addresses of the user's own endpoints, of which no more is told than where they lead: the rest may be a secret."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class SecretKey:
    """A URL that lies in a Secret of the service's namespace, under `key`."""

    secret: str
    key: str

    def __str__(self) -> str:
        """Where it lies."""
        return f"Secret {self.secret}, key {self.key}"


Url = str | SecretKey
"""A URL in the clear, or where it is kept."""


LABEL = r"\w([\w-]{0,61}\w)?"
"""A part of a host's name between dots, in letters of any language."""


def host_of(url: str) -> str:
    r"""The host that a URL of http or https names; empty where it is no such URL, or none that could be asked.

    >>> host_of("https://ann:pw@gate.example:8443/T0/B1?key=s"), host_of("gate.example"), host_of("https://[")
    ('gate.example', '', '')
    >>> [host_of(f"http://{rest}") for rest in ("a:99999/", "a b/", "a/\r\nHost: b", "a..b/", "[::1]:80/", "a.b./")]
    ['', '', '', '', '::1', 'a.b.']
    """
    if re.search(r"[\s\x00-\x1f\x7f]", url):  # urlsplit would leave some of them out, and read another URL
        return ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ""
    sound = ":" in host or all(re.fullmatch(LABEL, label) for label in host.removesuffix(".").split("."))
    return host if sound and parts.scheme in ("http", "https") else ""


def inside(url: str) -> bool:
    """Whether a URL stays in the cluster, by its host: a Service's, or this machine.

    >>> [inside(f"http://{host}/") for host in ("reviews", "a.shop.svc:90", "127.0.0.1:1", "[::1]", "localhost")]
    [True, True, True, True, True]
    >>> [inside(f"http://{host}/") for host in ("reviews.shop", "a.svc.example", "10.0.0.1")]
    [False, False, False]
    """
    host = host_of(url).removesuffix(".")
    here = host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host))
    return (
        here or host.endswith((".svc", ".svc.cluster.local")) or bool(re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", host))
    )


def shown(url: Url) -> str:
    """What anybody may read of it.

    >>> shown("https://ann:pw@gate.example/T0/B1?key=s"), shown(SecretKey("hooks", "freeze"))
    ('https://gate.example/…', 'the URL in Secret hooks, key freeze')
    """
    return f"the URL in {url}" if isinstance(url, SecretKey) else f"{urlsplit(url).scheme}://{host_of(url)}/…"
