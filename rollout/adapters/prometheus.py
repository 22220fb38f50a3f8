"""Prometheus behind the Metrics port: raw counters, one query for the look that is due, or for any number of them."""

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TypeVar
from urllib.parse import urlsplit

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

from rollout.adapters import clock, results
from rollout.adapters.bounded import Bounded, Forms, RequestException, TooLong
from rollout.adapters.questions import (
    HORIZON,
    MOMENT,
    NEEDED,
    answers_query,
    counters_query,
    horizon_query,
    instances_query,
    labels_query,
    name_of_service,
    settled_form,
)
from rollout.core.errors import Forbidden, InvalidInput, Unavailable, Unintelligible, Unreachable
from rollout.core.query import Points
from rollout.judge.looks import Series, Snapshot, within
from rollout.ports import Asked, Edges, Settled, Target

TIMEOUT = 5
MOST = 4_000_000
"""Bytes of an answer to a query of a user's own."""
LARGE = f"its answer is longer than {MOST // 1_000_000} MB; aggregate it in promql"
_END = within(math.inf)
T = TypeVar("T")
Row = tuple[dict[str, str], results.Fields]
"""A series: its labels, and what else there is of it."""
Found = dict[str, dict[float, dict[Series, float]]]
"""Counters by the name of a service and the moment, to the millisecond."""


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
        self._aged = False
        """Whether the store has refused a query with `@`, and answered the same without it."""
        self._where = f"{parts.scheme}://{parts.hostname}{port}"
        self._url, self._session = url, Forms(url)
        self._prometheus = PrometheusConnect(url=url, timeout=TIMEOUT, method="POST", session=self._session)
        # In place of the library's own, which would retry by itself for many seconds while the engine does not drive.
        self._session.mount(url, Bounded())

    def snapshots(self, target: Target, start: float, end: float, step: float, edges: Edges = ()) -> list[Snapshot]:
        """See the port."""
        return self.snapshots_of({target: edges}, start, end, step)[target]

    def snapshots_of(self, asked: Asked, start: float, end: float, step: float) -> dict[Target, list[Snapshot]]:
        """As `snapshots`, of many services of one namespace, each with its edges: one query, and one more for times.

        All must have one reporter.
        """
        return self._ask(lambda: self._collected(asked, start, end, step))

    def _collected(self, asked: Asked, start: float, end: float, step: float) -> dict[Target, list[Snapshot]]:
        times = [start + step * i for i in range(round((end - start) / step) + 1)]
        found: Found = {name_of_service(target): {round(at, 3): {} for at in times} for target in asked}
        for labels, row in self._range(counters_query(*asked), start, end, step):
            _collect(labels, results.samples(row), found[labels["service"]], labels["outcome"], operator.add)
        timed = {target: edges for target, edges in asked.items() if edges is None or edges}
        if timed:
            for service, moments in self._answers(timed, times, step).items():
                for at, counts in moments.items():
                    found[service][at] |= _whole(counts)
        return {
            target: [Snapshot(at, _sound(found[name_of_service(target)][round(at, 3)])) for at in times]
            for target in asked
        }

    def _answers(self, timed: Asked, times: Sequence[float], step: float) -> Found:
        """The histograms of those targets."""
        found: Found = {name_of_service(target): {round(at, 3): {} for at in times} for target in timed}
        wanted = {
            name_of_service(target): None if edges is None else {within(edge) for edge in (*edges, math.inf)}
            for target, edges in timed.items()
        }
        union = None if None in timed.values() else {edge for edges in timed.values() for edge in edges or ()}
        for labels, row in self._range(answers_query(list(timed), union), times[0], times[-1], step):
            service, outcome = labels["service"], _bucket(labels.get("le", ""))
            only = wanted[service]
            if outcome and (only is None or outcome in only):
                # One edge in two spellings is one counter, met while a Prometheus changes how it writes them: not two.
                _collect(labels, results.samples(row), found[service], outcome, max)
        return found

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        """See the port: in one question (one more for times), or in two where the store knows no `@`.

        Raises `Unintelligible` where such a store is asked for several targets.
        """
        return self._ask(lambda: self._settled(asked, at))

    def _settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        """Not through the library, which would write, quote and prepare anew what is asked every second."""
        if self._aged:
            return self._apart(asked, at)
        form = settled_form(*asked).replace(MOMENT, f"{at:.3f}")
        answer = self._session.post(f"{self._url}/api/v1/query", data=form, timeout=TIMEOUT)
        if answer.status_code == 400 and len(asked) == 1:
            found_apart = self._apart(asked, at)
            self._aged = True
            return found_apart
        if not answer.ok:
            raise self._refused(answer.status_code, f"HTTP Status Code {answer.status_code}")
        found: Found = {name_of_service(target): {at: {}} for target in asked}
        newest: dict[str, list[Row]] = {service: [] for service in found}
        for labels, row in results.rows(json.loads(answer.content)["data"]["result"]):
            if labels["outcome"] == HORIZON:
                newest[labels["service"]].append((labels, row))
            else:
                _, value = results.sample(row)
                _collect(labels, [(at, value)], found[labels["service"]], labels["outcome"], operator.add)
        now = clock.now()
        horizons = {target: results.horizon(newest[name_of_service(target)], now) for target in asked}
        timed = {
            target: edges for target, edges in asked.items() if edges != () and (horizons[target] or -math.inf) >= at
        }
        if timed:
            for service, moments in self._answers(timed, [at], 1.0).items():
                found[service][at] |= _whole(moments[round(at, 3)])
        return {
            target: (Snapshot(at, _sound(_of(target, found[name_of_service(target)][at]))), horizons[target])
            for target in asked
        }

    def _apart(self, asked: Asked, at: float) -> dict[Target, Settled]:
        """The same of one target, from a store that knows no `@`. Of many it would be two questions each, in a row."""
        if len(asked) > 1:
            raise Unintelligible(f"Prometheus at {self._where} knows no `@`, so it cannot be asked for many at once")
        ((target, edges),) = asked.items()
        horizon = self.horizon(target)
        there = horizon is not None and at <= horizon
        return {target: (self.snapshots(target, at, at, 1.0, edges)[0] if there else Snapshot(at, {}), horizon)}

    def horizon(self, target: Target) -> float | None:
        """See the port: the oldest among the instances' newest samples, by the store's own clock."""
        return self._ask(lambda: results.horizon(self._now(horizon_query(target)), clock.now()))

    def interval(self, target: Target) -> float | None:
        """See the port: the longest scrape interval of the targets that report this service.

        Raises `Unintelligible` where the service's counters lost a label that every counter of Istio has.
        """
        self._demand_labels(target)
        instances = {labels.get("instance", "") for labels, _ in self._now(instances_query(target))}
        try:
            targets = self._ask(lambda: results.intervals(self._prometheus.get_targets(state="active"), instances))
        except Unintelligible:
            return None  # what stores for many Prometheuses often answers queries only
        return max(targets, default=None)

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        """See the port. Not through the library, which would read an answer of any size and tell no refusal apart."""
        asked = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}", "timeout": f"{TIMEOUT - 1}s"}
        found: list[Points] = self._ask(lambda: self._values(asked | {"query": promql}))
        return found

    def _values(self, asked: dict[str, str]) -> list[Points]:
        try:
            answer = self._session.post(f"{self._url}/api/v1/query_range", data=asked, timeout=TIMEOUT)
        except TooLong:
            raise InvalidInput(LARGE) from None
        if len(answer.content) > MOST:
            raise InvalidInput(LARGE)
        found = json.loads(answer.content) if answer.content.startswith(b"{") else {}
        if answer.status_code in (400, 422) or found.get("errorType") == "timeout":
            raise InvalidInput(f"Prometheus cannot answer it: {_line(found.get('error', answer.reason))}")
        if not answer.ok:
            raise self._refused(answer.status_code, f"HTTP Status Code {answer.status_code}")
        first, last = float(asked["start"]) - 0.001, float(asked["end"]) + 0.001
        return [
            [(at, value) for at, value in results.samples(row) if first <= at <= last]
            for _, row in results.rows(found["data"]["result"])
        ]

    def _demand_labels(self, target: Target) -> None:
        """Without one of them a promotion would wait for evidence that cannot come, or never see a failure."""
        found = self._now(labels_query(target))
        rows = [(labels.get("reporter", ""), labels.get("has", "")) for labels, _ in found]
        # Where this reporter is silent, the engine turns to another without asking again.
        mine = {has for reporter, has in rows if reporter == target.reporter} or {has for _, has in rows}
        for label in NEEDED if mine else ():
            if label not in mine:
                raise Unintelligible(
                    f"the counters of {target.service} in Prometheus at {self._where} lack the label {label}, which "
                    "Istio gives to each; look for a recording rule, a relabelling or a Telemetry that drops it"
                )

    def _now(self, query: str) -> list[Row]:
        return self._ask(lambda: list(results.rows(self._prometheus.custom_query(query, timeout=TIMEOUT))))

    def _range(self, query: str, start: float, end: float, step: float) -> Iterator[Row]:
        first, last = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
        # The library rounds both times to whole seconds; these stand in their place.
        exact = {"start": f"{start:.3f}", "end": f"{end:.3f}"}
        return results.rows(
            self._prometheus.custom_query_range(
                query=query, start_time=first, end_time=last, step=f"{step:g}", params=exact, timeout=TIMEOUT
            )
        )

    def _ask(self, call: Callable[[], T]) -> T:
        """Ask once, and read what comes: the next look asks again."""
        try:
            return call()
        except PrometheusApiClientException as error:
            text = _line(error)
            status = re.search(r"HTTP Status Code (\d+)", text)
            raise self._refused(int(status[1]) if status else 0, text) from error
        except results.Strange as error:
            raise Unintelligible(f"Prometheus at {self._where} answers with {error}") from error
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise Unintelligible(f"what answers at {self._where} is no Prometheus") from error
        except TooLong as error:
            raise Unintelligible(f"Prometheus at {self._where} answers with {error}") from error
        except RequestException as error:
            kind = type(error).__name__
            raise Unavailable(f"Prometheus at {self._where} does not answer ({kind})") from error

    def _refused(self, code: int, text: str) -> Unreachable:
        if code in (401, 403):
            return Forbidden(f"Prometheus at {self._where} does not let us in: {text}")
        if code in (404, 405):
            return Unintelligible(f"what answers at {self._where} is no Prometheus ({text})")
        return Unavailable(f"Prometheus at {self._where} refuses: {text}")


def _line(said: object) -> str:
    """What somebody else says, in one line that is not long."""
    return " ".join(str(said)[:200].split())


def _collect(
    labels: Mapping[str, str],
    samples: Iterable[results.Sample],
    found: Mapping[float, dict[Series, float]],
    outcome: str,
    join: Callable[[float, float], float],
) -> None:
    """Put samples of one row into the counters of their moments; as no number what no counter can be."""
    version = labels.get("destination_version", "")
    series = Series(labels.get("instance", ""), "" if version == "unknown" else version, outcome)
    for at, value in samples:
        if (counters := found.get(at)) is None:
            continue
        if not results.counted(value):
            counters[series] = math.nan
        else:
            counters[series] = join(counters[series], value) if series in counters else value


def _of(target: Target, counters: dict[Series, float]) -> dict[Series, float]:
    """Those of its versions: others may be another target's of the same question."""
    versions = {target.stable, target.canary, ""}
    return counters if versions == {""} else {one: n for one, n in counters.items() if one.version in versions}


def _sound(counters: dict[Series, float]) -> dict[Series, float]:
    """Those of the instances whose every counter is one.

    Without that one alone, all that it ever counted would seem to have been counted as soon as it is back.
    """
    broken = {series.instance for series, value in counters.items() if math.isnan(value)}
    return (
        {series: value for series, value in counters.items() if series.instance not in broken} if broken else counters
    )


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
