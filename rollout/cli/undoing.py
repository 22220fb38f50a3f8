"""Back to the version before: scale it up if it was scaled away, wait for it, then give it everything at once."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

from rollout.adapters import clock
from rollout.cli.naming import refused
from rollout.core.attempt import Record
from rollout.core.documents import (
    DEPLOYMENT,
    SERVICE,
    VIRTUAL_SERVICE,
    Document,
    name_of,
    ref,
    selector_of,
    version_of,
)
from rollout.core.errors import Forbidden, InvalidInput
from rollout.core.lifecycle import Phase
from rollout.core.quantities import spoken
from rollout.core.strategy import Bake, Step, Strategy
from rollout.engine.lookup import everywhere, obeyed, pods_of, routing_to
from rollout.engine.objects import version_instead, version_written
from rollout.engine.survey import Request, demand_borne, keyed
from rollout.mesh.hosts import fqdn
from rollout.mesh.routes import Pair, lagging
from rollout.mesh.subsets import labels_for
from rollout.mesh.workloads import behind, number
from rollout.ports import Cluster

READY_WITHIN = 600.0


def strategy() -> Strategy:
    """All at once and unjudged: the version served before, and waiting costs users."""
    return Strategy("undo", (Step(Decimal(100), Bake(0.0, 0.0)),), confirm=0.0, checks=(), propagation=2.0)


def request(record: Record, service: str, namespace: str) -> Request:
    """What `undo` asks for. Raises `InvalidInput` if something is in flight, or nothing was promoted."""
    if record.attempt and not record.attempt.phase.ended:
        to = record.attempt.canary
        raise InvalidInput(
            f"{service} is in flight to {to} ({record.attempt.phase}): `rollout promote {service} --to {to}` goes on, "
            f"`rollout abort {service}` takes it back"
        )
    last = next((p for p in reversed(record.past()) if p.phase is Phase.PROMOTED), None)
    if last is None:
        raise InvalidInput(f"nothing was promoted for {service}, so there is nothing to undo")
    return Request(service, namespace, last.stable, strategy(), last.canary, names=last.names)


def as_it_is(cluster: Cluster, asked: Request) -> Request:
    """Without the names of routes that cannot move any more: all others are to go back all the same.

    `why` says which, and what else still sends to the version that is undone.
    """
    pair, found = _found(cluster, asked)
    lost = refused(asked.names, lambda name: _demand_movable(found, pair, asked.service, name))
    left = tuple(name for name in asked.names if name not in lost)
    return _told(replace(asked, names=left), pair, found, [error.text for error in lost.values()])


def as_declared(cluster: Cluster, asked: Request, names: tuple[str, ...]) -> Request:
    """With the names that a ServiceRollout has in place of those of the record: by them it is undone.

    Raises `InvalidInput` where one cannot be obeyed, so that nothing is scaled for what could not begin.
    """
    asked = replace(asked, names=names)
    with suppress(Forbidden):  # who may not look is told by the controller
        pair, found = _found(cluster, asked)
        demand_borne(found, pair.host, asked.service, names)
        return _told(asked, pair, found)
    return asked


def _found(cluster: Cluster, asked: Request) -> tuple[Pair, list[Document]]:
    """The two versions, and the VirtualServices that route to them."""
    pair = Pair(fqdn(asked.service, asked.namespace), asked.stable, asked.canary)
    return pair, routing_to(everywhere(cluster, VIRTUAL_SERVICE, asked.namespace)[0], pair.host)


def _told(asked: Request, pair: Pair, found: Sequence[Document], why: Sequence[str] = ()) -> Request:
    still = [
        f"{ref(VIRTUAL_SERVICE, vs)}: route {key} still sends to {pair.stable}, and is left alone"
        for vs in found
        for key in lagging(vs, pair, keyed(vs, pair, asked.names))
    ]
    return replace(asked, why="; ".join([*(f"left alone: {one}" for one in why), *still]))


def _demand_movable(found: Sequence[Document], pair: Pair, service: str, name: str) -> None:
    """Raise `InvalidInput` where what was named at the promotion cannot move now."""
    demand_borne(found, pair.host, service, (name,))
    for vs in found:
        keyed(vs, pair, (name,))


def once(document: Document, service: str) -> None:
    """Raise `InvalidInput` where an override stands: to undo that would bring back what it was undone for."""
    if instead := version_instead(document):
        raise InvalidInput(
            f"{instead} is to serve already in place of {version_written(document)}, until Git says otherwise; "
            f"`rollout promote {service} --to {version_written(document)}` ends that"
        )


def make_ready(cluster: Cluster, asked: Request, say: Callable[[str], None]) -> None:
    """Scale the old version's Deployment to what serves now, and wait until as many endpoints are ready."""
    service = cluster.get(SERVICE, asked.namespace, asked.service)
    level = obeyed(cluster, fqdn(asked.service, asked.namespace), asked.namespace)
    labels = labels_for(level, asked.canary)
    wanted = max(1, pods_of(cluster, service).of(labels_for(level, asked.stable)).ready)
    if pods_of(cluster, service).of(labels).ready >= wanted:
        return
    workload = _deployment(cluster, service, asked, labels)
    if number(workload) < wanted:
        say(f"scaling Deployment {name_of(workload)} to {wanted}")
        patch = {"spec": {"replicas": wanted}}
        cluster.patch(DEPLOYMENT, asked.namespace, name_of(workload), patch, version_of(workload))
    started = clock.now()
    while (ready := pods_of(cluster, service).of(labels).ready) < wanted:
        waited = clock.now() - started
        if waited > READY_WITHIN:
            raise InvalidInput(f"only {ready} of {wanted} endpoints of {asked.canary} are ready after {spoken(waited)}")
        say(f"waiting for {asked.canary}: {ready} of {wanted} ready, since {spoken(waited)}")
        clock.wait(2.0)


def _deployment(cluster: Cluster, service: Document, asked: Request, labels: dict[str, str]) -> Document:
    selector = selector_of(service)
    found = behind(cluster.list(DEPLOYMENT, asked.namespace), (), {**selector, **labels})
    if not found:
        raise InvalidInput(f"no Deployment makes pods of {asked.service} {asked.canary}; deploy it, then promote it")
    return found[0].deployment
