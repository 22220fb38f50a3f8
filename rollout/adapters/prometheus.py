"""Prometheus behind the Metrics port: raw counters of both versions, one range query for any number of looks."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import RequestException
from urllib3.util.retry import Retry

from rollout.core.errors import Forbidden, InvalidInput, Unavailable, Unintelligible
from rollout.judge.looks import ALL, FAILED, Series, Snapshot
from rollout.ports import Target

TIMEOUT = 5
NOT_OURS = 'response_flags!~"(.*,)?(FI|DI|DC)(,.*)?"'
"""Injected faults, and clients that hung up, are no version's doing."""
FAILURES = (
    'response_code=~"5..|0"',
    'grpc_response_status=~"2|4|13|14|15"',
    'response_flags=~"(.*,)?(UF|UH|UC|UO|URX|UT|NR|NC|UR|LR|LH)(,.*)?"',
)


class PrometheusMetrics:
    """The Prometheus at a URL. Its scrape interval is learned from its targets, once."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            good = False
        if not good:
            raise InvalidInput("that is no URL of a Prometheus; write it like http://prometheus:9090")
        self._where = f"{parts.scheme}://{parts.hostname}{port}"
        # The library would retry by itself for many seconds, and the engine would not drive meanwhile.
        self._prometheus = PrometheusConnect(url=url, timeout=TIMEOUT, method="POST", retry=Retry(total=0))

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        """See the port."""
        times = [start + step * i for i in range(round((end - start) / step) + 1)]
        found: dict[int, dict[Series, float]] = {round(1000 * at): {} for at in times}
        first, last = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
        rows = self._ask(
            lambda: self._prometheus.custom_query_range(
                query=counters_query(target), start_time=first, end_time=last, step=f"{step:g}", timeout=TIMEOUT
            )
        )
        for row in rows:
            labels = row["metric"]
            version = labels.get("destination_version", "")
            version = "" if version == "unknown" else version
            series = Series(labels.get("instance", ""), version, labels["outcome"])
            for at, value in row["values"]:
                counters = found.get(round(1000 * float(at)))
                if counters is not None and math.isfinite(float(value)):
                    counters[series] = counters.get(series, 0.0) + float(value)
        return [Snapshot(at, found[round(1000 * at)]) for at in times]

    def horizon(self, target: Target) -> float | None:
        """See the port: the oldest among the instances' newest samples, by the store's own clock."""
        query = f"min(max by (instance) (timestamp({_all(target)})))"
        rows = self._ask(lambda: self._prometheus.custom_query(query, timeout=TIMEOUT))
        return float(rows[0]["value"][1]) if rows else None

    def interval(self, target: Target) -> float | None:
        """See the port: the longest scrape interval of the targets that report this service."""
        query = f"group by (instance) ({_all(target)})"
        rows = self._ask(lambda: self._prometheus.custom_query(query, timeout=TIMEOUT))
        instances = {row["metric"].get("instance") for row in rows}
        try:
            found = self._ask(lambda: self._prometheus.get_targets(state="active"))
        except Unintelligible:
            return None  # what stores for many Prometheuses often answers queries only
        targets = [t for t in found["activeTargets"] if t["labels"].get("instance") in instances]
        return max((_seconds(t["scrapeInterval"]) for t in targets if t.get("scrapeInterval")), default=None)

    def _ask(self, call: Any) -> Any:
        """Ask once: the next look asks again."""
        try:
            return call()
        except PrometheusApiClientException as error:
            text = str(error).replace("\n", " ")[:200]
            status = re.search(r"HTTP Status Code (\d+)", text)
            code = int(status[1]) if status else 0
            if code in (401, 403):
                raise Forbidden(f"Prometheus at {self._where} does not let us in: {text}") from error
            if code in (404, 405):
                raise Unintelligible(f"what answers at {self._where} is no Prometheus ({text})") from error
            raise Unavailable(f"Prometheus at {self._where} refuses: {text}") from error
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise Unintelligible(f"what answers at {self._where} is no Prometheus") from error
        except RequestException as error:
            kind = type(error).__name__
            raise Unavailable(f"Prometheus at {self._where} does not answer ({kind})") from error


def counters_query(target: Target) -> str:
    """The PromQL for a target's counters by instance, version and outcome; every value escaped.

    A request that fails in two ways is one element of the union, because `or` keeps one of equal label sets.
    """
    failures = " or ".join(_labelled(_selector(target, failure), FAILED) for failure in FAILURES)
    return f"sum by (instance, destination_version, outcome) ({_labelled(_all(target), ALL)} or {failures})"


def _labelled(selector: str, outcome: str) -> str:
    return f'label_replace({selector}, "outcome", "{outcome}", "", "")'


def _all(target: Target) -> str:
    return _selector(target, "")


def _selector(target: Target, more: str) -> str:
    name = target.service.split(".", maxsplit=1)[0]
    hosts = (target.service, name, f"{name}.{target.namespace}", f"{name}.{target.namespace}.svc")
    ports = "|".join(str(port) for port in target.ports)
    suffix = f"(:({ports}))?" if ports else ""
    services = "|".join(re.escape(host) for host in dict.fromkeys(hosts))
    named = [re.escape(version) for version in (target.stable, target.canary) if version]
    versions = "|".join(["", "unknown", *named]) if named else ".*"
    matchers = [
        'reporter="source"',
        f"destination_service=~{_quoted(f'({services}){suffix}')}",
        f"destination_version=~{_quoted(versions)}",
        NOT_OURS,
        *([more] if more else []),
    ]
    return "istio_requests_total{" + ",".join(matchers) + "}"


def _quoted(text: str) -> str:
    """A PromQL string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _seconds(text: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(n) * units[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text))
