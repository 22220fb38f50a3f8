"""Can a promotion work from here? The API, each right by name, Prometheus, and this service's counters."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rollout.adapters.spelling.service_rollout import declared, strategy_of
from rollout.core.documents import SERVICE, name_of
from rollout.core.errors import RolloutError
from rollout.core.strategy import Strategy
from rollout.engine.asking import opened
from rollout.engine.choosing import PRESET
from rollout.engine.lookup import ROOT_NAMESPACE, other_clusters, ports_of
from rollout.engine.objects import object_for
from rollout.engine.past import UNKNOWN, apart, seen_by
from rollout.engine.rights import FOR_SCALING, FOR_SECRETS, FOR_SUBSETS, FOR_WARNINGS, RIGHTS, Rights, pairs
from rollout.judge.looks import Series, grid_time, within
from rollout.mesh.hosts import fqdn
from rollout.mesh.remotes import warning
from rollout.ports import Cluster, Metrics, Target


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `needed` says that a promotion cannot do without it."""

    good: bool
    text: str
    needed: bool = True


def checked(
    cluster: Cluster,
    metrics: Metrics | None,
    service: str,
    namespace: str,
    now: float,
    strategy: Strategy | None = None,
) -> Iterator[Finding]:
    """Look at all, in the order in which a promotion needs it: any, or one with this strategy, or with the object's."""
    yield from _rights(cluster, RIGHTS, namespace, True)
    yield from _rights(cluster, FOR_SUBSETS, namespace, False)
    yield from _rights(cluster, FOR_SECRETS, namespace, False)
    yield from _rights(cluster, FOR_SCALING, namespace, False)
    yield from _rights(cluster, FOR_WARNINGS, ROOT_NAMESPACE, False)
    if others := warning(other_clusters(cluster)):
        yield Finding(False, others, needed=False)
    try:
        document = cluster.get(SERVICE, namespace, service)
        yield Finding(True, f"Service {namespace}/{name_of(document)} is there")
    except RolloutError as error:
        yield Finding(False, str(error))
        return
    try:
        strategy = _asked(cluster, service, namespace, strategy)
    except RolloutError as error:
        yield Finding(False, str(error))
    if strategy:
        yield from _named(cluster, strategy, namespace)
    if metrics is None:
        needed = strategy is None or strategy.measures
        yield Finding(False, "no Prometheus named: --prometheus URL or ROLLOUT_PROMETHEUS", needed)
        return
    yield from _metrics(metrics, Target(fqdn(service, namespace), namespace, ports_of(document), "", ""), now)


def _asked(cluster: Cluster, service: str, namespace: str, named: Strategy | None) -> Strategy | None:
    """The strategy that is named, or that of the ServiceRollout, with what this says itself; None without either."""
    document = object_for(cluster, service, namespace)
    if document is None:
        return named
    wanted = declared(document)
    return wanted.own(named) if named else strategy_of(cluster, wanted, PRESET)


def _named(cluster: Cluster, strategy: Strategy, namespace: str) -> Iterator[Finding]:
    """What the strategy asks beside the judge, and whether the Secrets hold URLs that it names."""
    yield from (Finding(True, one.told) for one in strategy.queries)
    for where in strategy.secrets:
        try:
            opened(cluster, namespace, where)
            yield Finding(True, f"{where} holds a URL")
        except RolloutError as error:
            yield Finding(False, str(error))


def _rights(cluster: Cluster, rights: Rights, namespace: str, needed: bool) -> Iterator[Finding]:
    for kind, verb in pairs(rights):
        try:
            good = cluster.may(verb, kind, namespace)
        except RolloutError as error:
            yield Finding(False, str(error), needed)
            return
        yield Finding(good, f"{'may' if good else 'may not'} {verb} {kind.plural} in {namespace}", needed)


def _metrics(metrics: Metrics, target: Target, now: float) -> Iterator[Finding]:
    try:
        target, horizon = seen_by(metrics, target)
        told = metrics.interval(target)
        interval = told or UNKNOWN
        text = f"counters are read every {interval:g} s"
        yield Finding(told is not None, text if told else f"{text}: a guess, no scrape target tells", needed=False)
        if horizon is None:
            yield Finding(False, f"nobody reports requests to {target.service}; has it traffic?")
            return
        age = max(0.0, now - horizon)  # some came after we had looked at the clock
        yield Finding(age < 4 * interval, f"the newest are complete up to {age:.1f} s ago", False)
        end = grid_time(horizon, interval)
        found = metrics.snapshots(target, end - interval, end, interval, None)
    except RolloutError as error:
        yield Finding(False, str(error))
        return
    yield from _counted(target, {series for snapshot in found for series in snapshot.counters})


def _counted(target: Target, series: set[Series]) -> Iterator[Finding]:
    versions = ", ".join(sorted({s.version for s in series if s.version})) or "none"
    count = len({s.instance for s in series})
    if apart(target):
        text = f"only {count} of its pods' own proxies report {target.service}, so evidence comes slowly"
        yield Finding(
            False, f"{text}; let Prometheus scrape its clients too; versions with requests: {versions}", False
        )
    else:
        yield Finding(True, f"{count} client(s) report {target.service}; versions with requests: {versions}")
    timed = any(s.outcome == within(math.inf) for s in series)
    without = "no answer is timed (istio_request_duration_milliseconds_bucket): leave the check `latency` out"
    yield Finding(timed, "answers are timed" if timed else without, needed=False)
