"""Prometheus behind the Metrics port: raw counters, one range query for any number of looks (one more for times)."""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import PreparedRequest, Request, RequestException, Session
from requests.utils import get_netrc_auth
from urllib3.util.retry import Retry

from rollout.adapters.questions import (
    HORIZON,
    NEEDED,
    answers_query,
    counters_query,
    horizon_query,
    instances_query,
    labels_query,
    name_of_service,
    settled_query,
)
from rollout.core.errors import Forbidden, InvalidInput, Unavailable, Unintelligible, Unreachable
from rollout.core.query import Points
from rollout.judge.looks import Series, Snapshot, within
from rollout.ports import Metrics, Target

TIMEOUT = 5
MOST = 4_000_000
"""Bytes of an answer to a query of a user's own."""
_END = within(math.inf)
Asked = Mapping[Target, tuple[float, ...] | None]
"""Targets with their edges, as the port has them."""
Found = dict[str, dict[float, dict[Series, float]]]
"""Counters by the name of a service and the moment, to the millisecond."""


class _Forms(Session):
    """Posts as a form what the library puts into the URL, where proxies take a few kilobytes: some ten services.

    What the environment says of a URL's proxies, certificates and password is read once, not with every query: that
    took a fifth of its time.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        found = self.merge_environment_settings(url, {}, None, None, None)
        self.proxies, self.verify, self.auth = found["proxies"], found["verify"], get_netrc_auth(url)
        self.trust_env = False

    def prepare_request(self, request: Request) -> PreparedRequest:
        """See the library `requests`."""
        if request.method == "POST" and request.params:
            request.data, request.params = request.params, {}
        return super().prepare_request(request)


class PrometheusMetrics(Metrics):
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
        self._url, self._session = url, _Forms(url)
        # The library would retry by itself for many seconds, and the engine would not drive meanwhile.
        self._prometheus = PrometheusConnect(
            url=url, timeout=TIMEOUT, method="POST", retry=Retry(total=0), session=self._session
        )

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        """See the port."""
        return self.snapshots_of({target: edges}, start, end, step)[target]

    def snapshots_of(self, asked: Asked, start: float, end: float, step: float) -> dict[Target, list[Snapshot]]:
        """As `snapshots`, of many services of one namespace, each with its edges: one query, and one more for times.

        All must have one reporter.
        """
        return self._collected(asked, counters_query(*asked), start, end, step)[0]

    def settled(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> tuple[list[Snapshot], float | None]:
        """See the port: in one question, whose last moment lies ahead and shows the newest samples of all."""
        found, horizon = self._collected({target: edges}, settled_query(target), start, end + step, step)
        known = [] if horizon is None else [one for one in found[target][:-1] if round(one.at, 3) <= horizon]
        return (known if len(known) > 1 else []), horizon

    def _collected(
        self, asked: Asked, query: str, start: float, end: float, step: float
    ) -> tuple[dict[Target, list[Snapshot]], float | None]:
        """What a query for counters finds of each target, with its histogram, and the horizon at its last moment."""
        horizon = None
        times = [start + step * i for i in range(round((end - start) / step) + 1)]
        found: Found = {name_of_service(target): {round(at, 3): {} for at in times} for target in asked}
        for row in self._range(query, start, end, step):
            if row["metric"]["outcome"] == HORIZON:
                horizon = self._ask(lambda row=row: self._newest(row["values"], times[-1]))
                continue
            _collect(row, found[row["metric"]["service"]], row["metric"]["outcome"], operator.add)
        timed = {target: edges for target, edges in asked.items() if edges is None or edges}
        if timed:
            for service, moments in self._answers(timed, times, step).items():
                for at, counts in moments.items():
                    found[service][at] |= _whole(counts)
        return {
            target: [Snapshot(at, found[name_of_service(target)][round(at, 3)]) for at in times] for target in asked
        }, horizon

    def _answers(self, timed: Asked, times: Sequence[float], step: float) -> Found:
        """The histograms of those targets."""
        found: Found = {name_of_service(target): {round(at, 3): {} for at in times} for target in timed}
        wanted = {
            name_of_service(target): None if edges is None else {within(edge) for edge in (*edges, math.inf)}
            for target, edges in timed.items()
        }
        union = None if None in timed.values() else {edge for edges in timed.values() for edge in edges or ()}
        for row in self._range(answers_query(list(timed), union), times[0], times[-1], step):
            service, outcome = row["metric"]["service"], _bucket(row["metric"].get("le", ""))
            only = wanted[service]
            if outcome and (only is None or outcome in only):
                # One edge in two spellings is one counter, met while a Prometheus changes how it writes them: not two.
                _collect(row, found[service], outcome, max)
        return found

    def horizon(self, target: Target) -> float | None:
        """See the port: the oldest among the instances' newest samples, by the store's own clock."""
        rows = self._now(horizon_query(target))
        return self._ask(lambda: self._moment(rows[0]["value"][1])) if rows else None

    def _newest(self, values: Sequence[Any], last: float) -> float | None:
        """The moment that a row of moments has at its last; None where it ends before."""
        at, text = values[-1]
        return self._moment(text) if round(at, 3) == round(last, 3) else None

    def _moment(self, text: str) -> float:
        at = float(text)
        if not math.isfinite(at):
            raise Unintelligible(f"Prometheus at {self._where} says of its newest counters that they are of {at}")
        return at

    def interval(self, target: Target) -> float | None:
        """See the port: the longest scrape interval of the targets that report this service.

        Raises `Unintelligible` where the service's counters lost a label that every counter of Istio has.
        """
        self._demand_labels(target)
        instances = {row["metric"].get("instance") for row in self._now(instances_query(target))}
        try:
            found = self._ask(lambda: self._prometheus.get_targets(state="active"))
        except Unintelligible:
            return None  # what stores for many Prometheuses often answers queries only
        targets = [t for t in found["activeTargets"] if t["labels"].get("instance") in instances]
        return max((_seconds(t["scrapeInterval"]) for t in targets if t.get("scrapeInterval")), default=None)

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        """See the port. Not through the library, which would read an answer of any size and tell no refusal apart."""
        asked = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}", "timeout": f"{TIMEOUT - 1}s"}
        found: list[Points] = self._ask(lambda: self._values(asked | {"query": promql}))
        return found

    def _values(self, asked: dict[str, str]) -> list[Points]:
        body = b""
        url = f"{self._url}/api/v1/query_range"
        with self._session.post(url, data=asked, timeout=TIMEOUT, stream=True) as answer:
            for part in answer.iter_content(65536):
                body += part
                if len(body) > MOST:
                    raise InvalidInput(f"its answer is longer than {MOST // 1_000_000} MB; aggregate it in promql")
        found = json.loads(body) if body.startswith(b"{") else {}
        if answer.status_code in (400, 422) or found.get("errorType") == "timeout":
            raise InvalidInput(f"Prometheus cannot answer it: {found.get('error', answer.reason)}")
        if not answer.ok:
            raise self._refused(answer.status_code, f"HTTP Status Code {answer.status_code}")
        return [[(float(at), float(value)) for at, value in row["values"]] for row in found["data"]["result"]]

    def _demand_labels(self, target: Target) -> None:
        """Without one of them a promotion would wait for evidence that cannot come, or never see a failure."""
        found = (row["metric"] for row in self._now(labels_query(target)))
        rows = [(labels.get("reporter", ""), labels.get("has", "")) for labels in found]
        # Where this reporter is silent, the engine turns to another without asking again.
        mine = {has for reporter, has in rows if reporter == target.reporter} or {has for _, has in rows}
        for label in NEEDED if mine else ():
            if label not in mine:
                raise Unintelligible(
                    f"the counters of {target.service} in Prometheus at {self._where} lack the label {label}, which "
                    "Istio gives to each; look for a recording rule, a relabelling or a Telemetry that drops it"
                )

    def _now(self, query: str) -> Any:
        return self._ask(lambda: self._prometheus.custom_query(query, timeout=TIMEOUT))

    def _range(self, query: str, start: float, end: float, step: float) -> Any:
        first, last = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
        # The library rounds both times to whole seconds; these stand in their place.
        exact = {"start": f"{start:.3f}", "end": f"{end:.3f}"}
        return self._ask(
            lambda: self._prometheus.custom_query_range(
                query=query, start_time=first, end_time=last, step=f"{step:g}", params=exact, timeout=TIMEOUT
            )
        )

    def _ask(self, call: Any) -> Any:
        """Ask once: the next look asks again."""
        try:
            return call()
        except PrometheusApiClientException as error:
            text = str(error).replace("\n", " ")[:200]
            status = re.search(r"HTTP Status Code (\d+)", text)
            raise self._refused(int(status[1]) if status else 0, text) from error
        except (LookupError, TypeError, ValueError) as error:
            raise Unintelligible(f"what answers at {self._where} is no Prometheus") from error
        except RequestException as error:
            kind = type(error).__name__
            raise Unavailable(f"Prometheus at {self._where} does not answer ({kind})") from error

    def _refused(self, code: int, text: str) -> Unreachable:
        if code in (401, 403):
            return Forbidden(f"Prometheus at {self._where} does not let us in: {text}")
        if code in (404, 405):
            return Unintelligible(f"what answers at {self._where} is no Prometheus ({text})")
        return Unavailable(f"Prometheus at {self._where} refuses: {text}")


def _collect(
    row: Any, found: Mapping[float, dict[Series, float]], outcome: str, join: Callable[[float, float], float]
) -> None:
    """Put a row's samples into the counters of their moments."""
    labels = row["metric"]
    version = labels.get("destination_version", "")
    series = Series(labels.get("instance", ""), "" if version == "unknown" else version, outcome)
    for at, text in row["values"]:
        value = float(text)
        if (counters := found.get(at)) is not None and math.isfinite(value):
            counters[series] = join(counters[series], value) if series in counters else value


def _whole(buckets: Mapping[Series, float]) -> dict[Series, float]:
    """The histograms of those instances whose every histogram counts all answers, at infinity."""
    ended = {series[:2] for series in buckets if series.outcome == _END}
    broken = {series.instance for series in buckets if series[:2] not in ended}
    return {series: value for series, value in buckets.items() if series.instance not in broken}


@cache
def _bucket(label: str) -> str:
    """The outcome that a label `le` means; empty where it is no number."""
    try:
        return "" if math.isnan(edge := float(label)) else within(edge)
    except ValueError:
        return ""


def _seconds(text: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(n) * units[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text))
