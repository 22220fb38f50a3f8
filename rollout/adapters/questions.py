"""The questions to Prometheus: PromQL over the metrics that Istio's proxies expose, every value escaped. Pure."""

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from urllib.parse import urlencode

from rollout.judge.looks import ALL, FAILED, REJECTED
from rollout.ports import Target

HORIZON = "horizon"
"""The outcome that stands for no counter but for how far all of them are there."""
NEEDED = ("reporter", "response_code", "destination_version")
"""Labels without which nobody can tell who counted, what failed, or whose request it was."""
MOMENT = "~at~"
"""Stands for an epoch second in a form: no name of Kubernetes has it, and no form quotes it."""
NOT_OURS = 'response_flags!~"(.*,)?(FI|DI|DC)(,.*)?"'
"""Injected faults, and clients that hung up, are no version's doing."""
FAILED_BY = (
    ("response_code", "5..|0"),
    ("grpc_response_status", "2|4|13|14|15"),
    ("response_flags", "(.*,)?(UF|UH|UC|UO|URX|UT|NR|NC|UR|LR|LH)(,.*)?"),
)
REJECTED_BY = (
    ("response_code", "4.."),
    ("grpc_response_status", "5|7|12|16"),
)
"""Not found, not permitted, not implemented, not logged in: an answer, and a no."""
NOT_FAILED = tuple(f'{label}!~"{values}"' for label, values in FAILED_BY)
NOT_REJECTED = tuple(f'{label}!~"{values}"' for label, values in REJECTED_BY)


@lru_cache(maxsize=512)
def counters_query(*targets: Target, at: str = "") -> str:
    """The counters of targets of one namespace by service, instance, version and outcome.

    `at` is the moment at which they stood so (PromQL's `@` modifier; empty: that for which the query is evaluated).

    A request that fails in two ways is one element of the union, because `or` keeps one of equal label sets. One that
    failed and was rejected would be two, so what failed is no rejection.
    """
    classes = {
        ALL: [_requests(*targets) + at],
        FAILED: [_requests(*targets, also=(f'{label}=~"{values}"',)) + at for label, values in FAILED_BY],
        REJECTED: [
            _requests(*targets, also=(f'{label}=~"{values}"', *NOT_FAILED)) + at for label, values in REJECTED_BY
        ],
    }
    sums = [_labelled(_summed(" or ".join(some)), "outcome", outcome) for outcome, some in classes.items()]
    return f"sum by (service, instance, destination_version, outcome) ({_by_service(' or '.join(sums))})"


def answers_query(targets: Sequence[Target], edges: Iterable[float] | None) -> str:
    """The histogram of their good answers by service, instance, version and edge; of all edges with None.

    An answer without a version came from the proxy itself, which nobody compares; where no version is named it counts.
    """
    good = ['response_code=~"[23].."', *NOT_FAILED, *NOT_REJECTED]
    if all(target.stable or target.canary for target in targets):
        good.append('destination_version!~"|unknown"')
    asked = () if edges is None else (f"le=~{_quoted('|'.join(spelled(edge) for edge in (*edges, math.inf)))}",)
    buckets = _selector("istio_request_duration_milliseconds_bucket", *_counted(targets), *good, *asked)
    return f"sum by (service, instance, destination_version, le) ({_by_service(_summed(buckets, 'le'))})"


def name_of_service(target: Target) -> str:
    """The value of the label `service` in the answers for a target: its host's first part."""
    return target.service.split(".", maxsplit=1)[0]


def horizon_query(target: Target) -> str:
    """The oldest among the instances' newest samples, by the store's own clock."""
    return f"min(max by (instance) (timestamp({_requests(target)})))"


@lru_cache(maxsize=512)
def settled_form(*targets: Target) -> str:
    """The form that asks for the counters at MOMENT, and in rows of the outcome HORIZON how far they are there now.

    It is made once for the same targets: to write and to quote two thousand characters took longer than to ask.
    """
    newest = f"max by (destination_service, instance) (timestamp({_requests(*targets)}))"
    horizons = f"min by (service) (max by (service, instance) ({_by_service(newest)}))"
    counters = counters_query(*targets, at=f" @ {MOMENT}")
    return urlencode({"query": f"{counters} or {_labelled(horizons, 'outcome', HORIZON)}"})


def instances_query(target: Target) -> str:
    """Who reports a target's requests."""
    return f"group by (instance) ({_requests(target)})"


def calls_query(namespace: str, app: str, host: str) -> str:
    """What the workloads `app` (empty: all) of a namespace have asked of a fully qualified host, whoever counts it."""
    asked = [f"source_workload_namespace={_quoted(namespace)}", f"source_app={_quoted(app)}"][: 2 if app else 1]
    asked.append(f"destination_service=~{_quoted(re.escape(host) + '(:[0-9]+)?')}")
    return f"sum({_selector('istio_requests_total', *asked)})"


def labels_query(target: Target) -> str:
    """Who reports a service at all, and which labels of NEEDED each carries, as `has`; one row has none."""
    parts = [_selector("istio_requests_total", _service(target))]
    for label in NEEDED:
        carrying = _selector("istio_requests_total", _service(target), f'{label}!=""')
        parts.append(_labelled(carrying, "has", label))
    return f"group by (reporter, has) ({' or '.join(parts)})"


def spelled(edge: float) -> str:
    """A regex of all the ways in which exporters, and Prometheus from its third version on, write an edge.

    >>> [text for text in ("2500", "2500.0", "2.5e+03", "25000", "250") if re.fullmatch(spelled(2500.0), text)]
    ['2500', '2500.0', '2.5e+03']
    """
    if math.isinf(edge):
        return r"\+?[Ii]nf"
    number = Decimal(repr(edge)).normalize()
    power = number.adjusted()
    exponent = f"[eE]{'-' if power < 0 else '[+]?'}0*{abs(power)}"
    return f"{_decimal(number)}|{_decimal(number.scaleb(-power))}{exponent}"


def _decimal(number: Decimal) -> str:
    whole, _, part = f"{number:f}".partition(".")
    return rf"{whole}\.{part}0*" if part else rf"{whole}(\.0*)?"


def _labelled(selector: str, label: str, value: str) -> str:
    return f'label_replace({selector}, "{label}", "{value}", "", "")'


def _summed(vector: str, *also: str) -> str:
    """Summed before it is labelled, for the store labels each series by itself, and the mesh has many."""
    return f"sum by ({', '.join(('destination_service', 'instance', 'destination_version', *also))}) ({vector})"


def _by_service(vector: str) -> str:
    """With the label `service`, however the client wrote the host, and whatever port it named."""
    return f'label_replace({vector}, "service", "$1", "destination_service", "([^.:]+).*")'


def _requests(*targets: Target, also: Sequence[str] = ()) -> str:
    return _selector("istio_requests_total", *_counted(targets), *also)


def _selector(metric: str, *matchers: str) -> str:
    return metric + "{" + ",".join(matchers) + "}"


def _counted(targets: Sequence[Target]) -> tuple[str, ...]:
    """What chooses the counters of targets that one reporter counts."""
    named = {version for target in targets for version in (target.stable, target.canary)}
    everyone = any(not (target.stable or target.canary) for target in targets)
    versions = ".*" if everyone else "|".join(["", "unknown", *sorted(re.escape(one) for one in named - {""})])
    return (
        f"reporter={_quoted(targets[0].reporter)}",
        _service(*targets),
        f"destination_version=~{_quoted(versions)}",
        NOT_OURS,
    )


def _service(*targets: Target) -> str:
    """What chooses targets by their hosts; those that differ by their names alone are one group of the pattern."""
    names: dict[str, list[str]] = {}
    for target in targets:
        names.setdefault(_domain(target), []).append(re.escape(name_of_service(target)))
    hosts = "|".join(f"({'|'.join(some)}){rest}" for rest, some in names.items())
    return f"destination_service=~{_quoted(hosts)}"


def _domain(target: Target) -> str:
    """A pattern of all that may follow the name of a target's service: its domain, long or short, and a port."""
    whole = target.service.removeprefix(name_of_service(target))
    domains = dict.fromkeys((whole, "", f".{target.namespace}", f".{target.namespace}.svc"))
    ports = "|".join(str(port) for port in target.ports) or "[0-9]+"
    return f"({'|'.join(re.escape(domain) for domain in domains)})(:({ports}))?"


def _quoted(text: str) -> str:
    """A PromQL string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
