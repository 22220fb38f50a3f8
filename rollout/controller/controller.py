"""The controller's threads: one that leads, some that work, and the watches that wake them."""

import functools
import hashlib
import logging
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from rollout.adapters import clock
from rollout.controller.backoff import delay
from rollout.controller.cache import Cache, CachedCluster, Changed, Scope
from rollout.controller.events import event_of, event_of_trouble
from rollout.controller.leading import Leader
from rollout.controller.queue import Queue
from rollout.controller.reconcile import NEVER, Key, Reconciler, World
from rollout.controller.reflector import Reflectors
from rollout.controller.together import Together
from rollout.controller.turnstile import Turnstile
from rollout.core.attempt import Attempt
from rollout.core.documents import (
    DEPLOYMENT,
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    EVENT,
    POD,
    SERVICE,
    SERVICE_ROLLOUT,
    VIRTUAL_SERVICE,
    Document,
    name_of,
    namespace_of,
    selector_of,
)
from rollout.core.errors import Forbidden, NotFound, RolloutError
from rollout.engine.lease import CONTROLLER, RENEW_EVERY
from rollout.engine.lookup import ROOT_NAMESPACE, other_clusters
from rollout.engine.status import Trouble, trouble_of, unanswered
from rollout.ports import Cluster, Metrics, Probes, Watchable, Webhooks

log = logging.getLogger("rollout")

WATCHED = (SERVICE_ROLLOUT, VIRTUAL_SERVICE, DESTINATION_RULE, SERVICE)
"""What is kept current of all services; their pods only while something is in flight."""
ROOT_RULES = Scope.of(DESTINATION_RULE, ROOT_NAMESPACE)
"""Those that whole meshes obey: watched, where we may, also by a controller for some namespaces."""
RESYNC = 600.0
"""Seconds after which every object is looked at again, whatever was heard of it; it costs no request."""
SPARE = 2
"""Workers that are left for what needs no counters while all others wait for them."""
LEAVING = 15.0
"""Seconds in which all ticks that are under way at the end have to be over; a pod is killed after 30."""
RETRY, SELDOM, IN_FLIGHT = 1.0, 60.0, 5.0
"""Seconds after which an object is tried again that could not be worked on: at first, at most, and at most where
something of it is in flight."""


@dataclass(frozen=True)
class Settings:
    """What a controller is for: `namespaces` (none: all), and of them the objects with these labels.

    `home` is the namespace of its Lease; controllers for other labels need a Lease of another name. One that `drains`
    takes the lead from whoever has it, begins nothing, and takes back what is in flight.
    """

    home: str
    namespaces: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    workers: int = 8
    lease: str = CONTROLLER
    drains: bool = False

    @property
    def spaces(self) -> tuple[str | None, ...]:
        """The namespaces as lists ask for them: None is all."""
        return self.namespaces or (None,)


def lease_name(labels: dict[str, str]) -> str:
    """The Lease of the controllers for the objects with these labels: each shard has a leader of its own.

    >>> lease_name({}), lease_name({"team": "a"})
    ('rollout-controller', 'rollout-controller-289b4946')
    """
    if not labels:
        return CONTROLLER
    told = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return f"{CONTROLLER}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


class Told(Protocol):
    """Who counts what happens."""

    def worked(self, seconds: float) -> None:
        """One tick is over."""

    def failed(self, error: str) -> None:
        """One tick failed."""

    def changed(self, before: Attempt | None, after: Attempt | None, seconds: float) -> None:
        """An attempt stands otherwise than before, so long after the tick began."""


class Controller:
    """All that runs in one process, but for its HTTP server."""

    def __init__(
        self,
        cluster: Watchable,
        metrics: Metrics,
        webhooks: Callable[[], Webhooks],
        probes: Callable[[], Probes],
        settings: Settings,
        identity: str,
        told: Told,
    ) -> None:
        self._cluster, self.settings, self._told = cluster, settings, told
        self.cache = Cache(self._heard)
        self.reflectors = Reflectors(cluster, self.cache)
        self.queue: Queue[Key] = Queue(clock.now)
        self.leader = Leader(cluster, settings.home, identity, settings.spaces, settings.lease, settings.drains)
        turnstile = Turnstile(Together(metrics), max(1, settings.workers - SPARE))
        world = World(
            self._view, turnstile, webhooks, probes, self._follow, self._deployments, self._others, settings.labels
        )
        self.reconciler = Reconciler(world, self.leader, self._changed, self._stalled)
        self._failures: dict[Key, int] = {}
        self._began: dict[Key, float] = {}
        self._lock, self._watched = threading.Lock(), set[Scope]()
        self._known: tuple[str, ...] | None = None
        self._asking = threading.Lock()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._beats = [clock.now()] * settings.workers
        """When each worker last looked for work (epoch seconds)."""

    # --- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch, and to stand for the lead."""
        for scope in self._scopes():
            self.reflectors.start(scope)
        self._run("lead", self._lead)
        for number in range(self.settings.workers):
            self._run(f"work {number}", functools.partial(self._work, number))

    def stop(self, keep: bool = False) -> None:
        """Finish the ticks that are under way, let the lead go unless we are to `keep` it from others, and end.

        Where one does not end the lead is kept until it runs out: what that one writes may land yet.
        """
        self._over.set()
        self.queue.close()
        end = clock.now() + LEAVING
        for thread in self._threads:
            thread.join(max(0.0, end - clock.now()))
        if not keep and not any(thread.is_alive() for thread in self._threads):
            with suppress(RolloutError):
                self.leader.release(clock.now())
        self.reflectors.close()

    @property
    def view(self) -> Cluster:
        """What is kept, for who depends on nothing in it."""
        return CachedCluster(self._cluster, self.cache)

    @property
    def ready(self) -> bool:
        """Whether all that is watched has been listed."""
        return not self.unlisted

    @property
    def unlisted(self) -> list[Scope]:
        """What is watched and has not been listed; what lies in the root namespace we may be forbidden to see."""
        return [
            scope
            for scope in self._scopes()
            if not (self.cache.settled(scope) if scope == ROOT_RULES else self.cache.synced(scope))
        ]

    @property
    def beat(self) -> float:
        """When the worker that has been away for longest looked for work (epoch seconds)."""
        return min(self._beats)

    def stalled(self) -> dict[Key, Trouble]:
        """The objects that are stalled, or wait for somebody who does not answer, and why. The API is not asked.

        Who does not lead tells of none.
        """
        found: list[Document] = []
        for space in self.settings.spaces if self.leader.sure(clock.now()) else ():
            with suppress(Forbidden):
                found += self.cache.select("", SERVICE_ROLLOUT, space, self.settings.labels) or ()
        troubles = ((one, trouble_of(one) or unanswered(one)) for one in found)
        return {(namespace_of(one), name_of(one)): trouble for one, trouble in troubles if trouble}

    def _run(self, name: str, loop: Callable[[], None]) -> None:
        thread = threading.Thread(target=loop, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _scopes(self) -> Sequence[Scope]:
        spaces = self.settings.spaces
        found = [
            Scope.of(kind, space, self.settings.labels if kind is SERVICE_ROLLOUT else {})
            for kind in WATCHED
            for space in spaces
        ]
        return found if None in spaces else [*found, ROOT_RULES]

    # --- the lead ----------------------------------------------------------------------------------------------

    def _lead(self) -> None:
        resync = 0.0
        led = False
        while not self._over.is_set():
            now = clock.now()
            leads = self._renewed(now)
            if leads and self.ready and (not led or now >= resync):
                log.info("leading: fence %d", self.leader.fence) if not led else None
                threading.Thread(target=self._know_others, name="others", daemon=True).start()
                self._look_at_all(now, 0.0 if not led else 30.0)
                led, resync = True, now + RESYNC * random.uniform(0.9, 1.1)  # noqa: S311 - it spreads work
            if led and not leads:
                log.warning("%s leads now", self.leader.other or "nobody")
                self.reconciler.ground()
            led = led and leads
            self._over.wait(RENEW_EVERY * random.uniform(0.8, 1.0) if leads and led else 1.0)  # noqa: S311

    def _renewed(self, now: float) -> bool:
        try:
            return self.leader.renew(now)
        except RolloutError as error:
            log.warning("cannot renew the lead: %s", error)
            return self.leader.sure(now)

    def _look_at_all(self, now: float, within: float) -> None:
        for space in self.settings.spaces:
            for document in self.view.list(SERVICE_ROLLOUT, space, self.settings.labels):
                key = (namespace_of(document), name_of(document))
                self.queue.add(key, now + random.uniform(0.0, within))  # noqa: S311

    # --- work --------------------------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        while not self._over.is_set():
            self._beats[number] = now = clock.now()
            if not self.leader.sure(now):
                self._over.wait(0.2)
                continue
            key = self.queue.take(1.0)
            if key is None:
                continue
            self._began[key] = clock.now()
            try:
                after = self._reconciled(key)
            finally:
                self._told.worked(clock.now() - self._began.pop(key))
                self.queue.done(key)
            if after < NEVER:
                self.queue.add(key, clock.now() + after)

    def _reconciled(self, key: Key) -> float:
        """After how many seconds to look again. Nothing that goes wrong with one object concerns another."""
        view = self._view(key)
        view.fresh()
        try:
            after = self.reconciler.reconcile(key, clock.now())
        except Exception as error:
            self._failures[key] = failures = self._failures.get(key, 0) + 1
            known = isinstance(error, RolloutError)
            self._told.failed(type(error).__name__)
            log.log(
                logging.WARNING if known else logging.ERROR, "%s/%s: %s", *key, error or type(error).__name__,
                exc_info=None if known else error,
            )  # fmt: skip
            return delay(RETRY, IN_FLIGHT if self.reconciler.flies(key) else SELDOM, failures, "/".join(key))
        self._failures.pop(key, None)
        return after

    def _view(self, key: Key) -> CachedCluster:
        narrow = bool(self.settings.namespaces)
        return CachedCluster(self._cluster, self.cache, "/".join(key), narrow)

    def _follow(self, cluster: Cluster, namespace: str, service: str) -> Callable[[], None]:
        """Watch the pods of a Service, and whether they are ready, until that is called."""
        try:
            selector = selector_of(cluster.get(SERVICE, namespace, service))
        except NotFound:
            return lambda: None
        scopes = [
            Scope.of(ENDPOINT_SLICE, namespace, {"kubernetes.io/service-name": service}),
            *([Scope.of(POD, namespace, selector)] if selector else []),
        ]
        for scope in scopes:
            self.reflectors.start(scope)
        for scope in scopes:
            self.reflectors.wait(scope, 2.0)

        def unfollow() -> None:
            for scope in scopes:
                self.reflectors.stop(scope)

        return unfollow

    def _deployments(self, namespace: str) -> None:
        """Watch the Deployments there, from the first time on that an object asks for it."""
        scope = Scope.of(DEPLOYMENT, namespace if self.settings.namespaces else None)
        with self._lock:
            if scope in self._watched:
                return
            self._watched.add(scope)
        self.reflectors.start(scope)
        self.reflectors.wait(scope, 2.0)

    def _others(self) -> tuple[str, ...]:
        """The mesh's other clusters: they change seldom, and are worth a warning only."""
        if self._known is None:
            with self._asking:  # who comes second finds what the first was told
                self._known = self._asked_others() if self._known is None else self._known
        return self._known

    def _know_others(self) -> None:
        with self._asking:
            self._known = self._asked_others()

    def _asked_others(self) -> tuple[str, ...]:
        """Which there are; where nobody tells, those that are known."""
        try:
            return other_clusters(self._cluster)
        except RolloutError:
            return self._known or ()

    # --- what wakes --------------------------------------------------------------------------------------------

    def _heard(self, changed: Changed) -> None:
        now = clock.now()
        kind, namespace, name = changed.key
        if kind == SERVICE_ROLLOUT.name and changed.writer != f"{namespace}/{name}":
            self.queue.add((namespace, name), now)
        for reader in changed.readers:
            if reader:
                space, _, one = reader.partition("/")
                self.queue.add((space, one), now)

    def _changed(self, document: Document, before: Attempt | None, after: Attempt | None) -> None:
        now, key = clock.now(), (namespace_of(document), name_of(document))
        self._told.changed(before, after, now - self._began[key])
        if after is not None and (before is None or before.message != after.message):
            log.info("%s/%s: %s %s %%: %s", *key, after.phase, after.weight, after.message)
        if event := event_of(document, before, after, now):
            self._create(event, key)

    def _stalled(self, document: Document, trouble: Trouble) -> None:
        key = namespace_of(document), name_of(document)
        log.warning("%s/%s is stalled: %s: %s", *key, trouble.reason, trouble.message)
        self._create(event_of_trouble(document, trouble, clock.now()), key)

    def _create(self, event: Document, key: Key) -> None:
        try:
            self._cluster.create(EVENT, event)
        except RolloutError as error:
            log.warning("%s/%s: no Event: %s", *key, error)
