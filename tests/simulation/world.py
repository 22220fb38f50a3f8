"""A virtual world around the true engine: a cluster, traffic, time, and whatever goes wrong, all from one seed."""

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from rollout.adapters.store import Key, merged
from rollout.core.attempt import Attempt, Scale, Word
from rollout.core.documents import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    POD,
    SERVICE,
    SERVICE_ROLLOUT,
    VIRTUAL_SERVICE,
    Document,
    Kind,
    copied,
)
from rollout.core.errors import Conflict, InvalidInput, NotFound, Unavailable, Unreachable
from rollout.core.probe import HEADER, Expected, Probe
from rollout.core.query import Points
from rollout.core.strategy import ERRORS, Bake, Fault, Mirror, OnInconclusive, Route, Safe, Step, Strategy
from rollout.engine.byhand import HOME, ByHand
from rollout.engine.engine import Engine
from rollout.engine.lease import Holder
from rollout.engine.state import ConfigMapShelf, Shelf, StateStore, StatusShelf
from rollout.engine.survey import Request
from rollout.judge.looks import ALL, FAILED, REJECTED, Series, Snapshot, within
from rollout.mesh.routes import Pair, percents
from rollout.ports import Answered, Asked, Cluster, Edges, Errand, Question, Settled, Target
from tests.fakes.memory import WatchedMemory
from tests.simulation.workloads import Staff, Workloads

HOST = "reviews.shop.svc.cluster.local"
MAIN = "main"
"""The name of the route for everybody."""
API, AHEAD = "api", "ahead"
"""The names of matched routes beside it: one that moves with it, and one that is at v2 already."""
AT_API: Document = {"match": [{"uri": {"prefix": "/api"}}]}
EDGE = "edge"
"""The VirtualService of a gateway, in which every route has a match."""
PAIR = Pair(HOST, "v1", "v2")
VERSIONS = ("v1", "v2", "v3")
"""Those that are counted; of the last there are pods only where a test deploys it."""
START = 1_000_000.0
EDGES = (100.0, 250.0, 500.0, math.inf)
"""Of the virtual histogram: answers take less than 100 ms, slow ones 400 ms."""
SLOW = 400.0
READ = 0.75
"""The share of all requests that change nothing."""
BETA = 0.1
"""The share of all requests that the header route matches."""
AT_PODS = {v: [(edge, Series(f"pod-{v}", v, within(edge))) for edge in EDGES] for v in VERSIONS}
TIMED = {v: [(edge, Series("gateway", v, within(edge))) for edge in EDGES] for v in VERSIONS}


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


@dataclass(frozen=True)
class Faults:
    """How often, per call, each thing goes wrong (0 to 1), and at which calls it surely does.

    `fail_at`: that call gets no answer and does nothing. `lose_at`: it lands and its reply is lost. `crash_after`:
    the process dies when it has landed. `crash_after_write`: so it does after that write. `fail_writes`: each write
    gets no answer and does nothing.
    """

    unavailable: float = 0.0
    lost_reply: float = 0.0
    conflict: float = 0.0
    stale: float = 0.0
    crash: float = 0.0
    crash_after: int = -1
    crash_after_write: int = -1
    fail_at: int = -1
    lose_at: int = -1
    fail_writes: bool = False


class FaultyCluster:
    """The port as one process sees it: some calls get no answer, some answers are lost, some are old."""

    def __init__(self, world: "World", faults: Faults) -> None:
        self.world, self.faults, self.calls, self.writes = world, faults, 0, 0
        self.counts: Counter[str] = Counter()
        self.landed: set[str] = set()
        """The kinds of which something was written."""
        self.asked: set[tuple[str, str]] = set()
        """Each kind with each verb that was asked of it."""

    def _call(self, verb: str, kind: Kind, act: Callable[[], Any]) -> Any:
        chance, faults = self.world.random.random, self.faults
        self.calls += 1
        self.asked.add((kind.name, verb))
        self.counts[verb] += 1
        written = verb not in ("get", "list")
        if self.calls == faults.fail_at or chance() < faults.unavailable or (written and faults.fail_writes):
            raise Unavailable("no answer")
        if chance() < faults.crash:
            raise Crash
        result = act()
        self.writes += written
        self.landed |= {kind.name} if written else set()
        doomed = self.calls == faults.crash_after or (written and self.writes == faults.crash_after_write)
        if doomed or chance() < faults.crash:
            raise Crash
        if self.calls == faults.lose_at or (written and chance() < faults.lost_reply):
            raise Unavailable("the reply was lost")
        return result

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        old = self.world.older.get((kind.name, namespace, name))
        if old is not None and self.world.random.random() < self.faults.stale:
            document: Document = copied(old)
            return document
        found: Document = self._call("get", kind, lambda: self.world.cluster.get(kind, namespace, name))
        return found

    def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Document]:
        found: list[Document] = self._call("list", kind, lambda: self.world.cluster.list(kind, namespace, labels))
        return found

    def create(self, kind: Kind, document: Document) -> Document:
        made: Document = self._call("create", kind, lambda: self.world.cluster.create(kind, document))
        return made

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Document, version: str, subresource: str = ""
    ) -> Document:
        if self.world.random.random() < self.faults.conflict:
            self.world.touch(kind, namespace, name)
        made: Document = self._call(
            "patch", kind, lambda: self.world.cluster.patch(kind, namespace, name, patch, version, subresource)
        )
        return made

    def delete(self, kind: Kind, namespace: str, name: str, version: str) -> None:
        self._call("delete", kind, lambda: self.world.cluster.delete(kind, namespace, name, version))

    def may(self, verb: str, kind: Kind, namespace: str | None, name: str = "") -> bool:
        return self.world.cluster.may(verb, kind, namespace, name)


class VirtualMetrics:
    """The counters of one client Envoy, one second at a time, and whether anybody can ask for them."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.counters: dict[Series, float] = {}
        self.timed: dict[Series, float] = {}
        self.history: dict[int, dict[Series, float]] = {}
        self.at_pods: dict[Series, float] = {}
        self.pods_history: dict[int, dict[Series, float]] = {}
        self.hurt = 0
        """How many requests of users failed on the canary."""
        self.timed_history: dict[int, dict[Series, float]] = {}
        self.pods_timed: dict[Series, float] = {}
        self.pods_timed_history: dict[int, dict[Series, float]] = {}
        self.down_until = 0.0
        self.sidecars = True
        """Whether the pods' own proxies count as well."""
        self.gateway = True
        """Whether the clients' proxy counts."""
        self.garbage = 0.0
        self.garbled = False
        """Whether anybody was ever shown counters that mean nothing."""
        self.shown = 0.0
        """The last moment of which anybody was shown counters that mean something."""
        self.canary_at: list[float] = []
        """The seconds in which the canary was asked."""
        self.came: dict[str, set[float]] = {version: set() for version in VERSIONS}
        """The seconds in which requests came to a version."""
        self.stragglers = dict.fromkeys(VERSIONS, 0)
        """Requests a second that come to a version whatever the routes say, as from proxies that know no others yet."""
        self.answer: Callable[[str, float], list[float]] = lambda promql, at: []
        """The values of an expression's series at a moment."""
        self.asked: list[tuple[float, str]] = []
        """When which expression was asked for."""

    def second(self, now: float) -> None:
        """Let one second of traffic pass. The gateway counts users' requests, the pods those repeated too."""
        world, sent, canary = self.world, self.world.sent(), self.world.pair.canary
        share = float(world.exposed()) / 100
        if sent.routed:
            share = BETA + (1 - BETA) * share
        for version, part in (("v1", 1 - share), (canary, share)):
            requests = round(world.rps * part) + self.stragglers[version]
            repeated = math.floor(world.rps * sent.repeated / 100 + self._odd()) if version == canary else 0
            if requests or repeated:
                self._came(version, now)
            chance = world.failing[version] if now >= world.outage[1] or now < world.outage[0] else 0.5
            failed = sum(world.random.random() < chance for _ in range(requests))
            rejected = self._some(world.rejecting[version], requests - failed)
            again = sum(world.random.random() < chance for _ in range(repeated))
            self.hurt += failed if version == canary else 0
            for outcome, count, more in ((ALL, requests, repeated), (FAILED, failed, again), (REJECTED, rejected, 0)):
                series = Series("gateway", version, outcome)
                self.counters[series] = self.counters.get(series, 0.0) + count
                if world.seen or version == "v1":
                    series = Series(f"pod-{version}", version, outcome)
                    self.at_pods[series] = self.at_pods.get(series, 0.0) + count + more
            answers = requests - failed - rejected
            slow = self._some(world.slow[version], answers)
            for edge, series in TIMED[version]:
                self.timed[series] = self.timed.get(series, 0.0) + (answers if edge >= SLOW else answers - slow)
            if world.seen or version == "v1":
                answers += repeated - again
                slow += self._some(world.slow[version], repeated - again)
                for edge, series in AT_PODS[version]:
                    more = answers if edge >= SLOW else answers - slow
                    self.pods_timed[series] = self.pods_timed.get(series, 0.0) + more
        if world.random.random() < 0.002 * world.trouble:
            self.counters, self.timed = {}, {}  # the proxy restarted
        self.history[round(now)] = dict(self.counters)
        self.pods_history[round(now)] = dict(self.at_pods)
        self.timed_history[round(now)] = dict(self.timed)
        self.pods_timed_history[round(now)] = dict(self.pods_timed)

    def _came(self, version: str, now: float) -> None:
        self.came[version].add(now)
        if version == self.world.pair.canary:
            self.canary_at.append(now)

    def _odd(self) -> float:
        """What rounds a number of repeated requests, for a tenth of three a second is not none."""
        return self.world.random.random() if self.world.strategy.steps[0].mirror else 0.0

    def _some(self, share: float, of: int) -> int:
        """How many of so many, by chance; nothing is drawn where there is no chance, so that old seeds replay."""
        return sum(self.world.random.random() < share for _ in range(of)) if share else 0

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        if self.world.now < self.down_until:
            raise Unavailable("the metrics store is away")
        times = [start + step * i for i in range(round((end - start) / step) + 1)]
        found = [Snapshot(t, self._shown(math.floor(t + 1e-6), edges, target.reporter)) for t in times]
        if self.world.random.random() < self.garbage:
            self.garbled = True
            return [Snapshot(s.at, {k: float("nan") for k in s.counters}) for s in found]
        self.shown = max(self.shown, end)
        return found

    def _shown(self, second: int, edges: tuple[float, ...] | None, reporter: str) -> dict[Series, float]:
        """The counters of a second, with the histogram at those edges (None: at all)."""
        pods = reporter == "destination"
        if pods and not self.sidecars:
            return {}
        counters = (self.pods_history if pods else self.history).get(second, {})
        if edges == ():
            return counters
        asked = {within(edge) for edge in (EDGES if edges is None else (*edges, math.inf))}
        timed = (self.pods_timed_history if pods else self.timed_history).get(second, {})
        return counters | {series: value for series, value in timed.items() if series.outcome in asked}

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        return {target: self._settled(target, at, edges) for target, edges in asked.items()}

    def _settled(self, target: Target, at: float, edges: Edges) -> Settled:
        horizon = self.horizon(target)
        if horizon is None or horizon < at:
            return Snapshot(at), horizon
        return self.snapshots(target, at, at, 1.0, edges)[0], horizon

    def horizon(self, target: Target) -> float | None:
        if self.world.now < self.down_until:
            raise Unavailable("the metrics store is away")
        counts = self.gateway if target.reporter == "source" else self.sidecars
        return self.world.now - 1 if counts else None

    def interval(self, target: Target) -> float | None:
        return 1.0

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        if self.world.now < self.down_until:
            raise Unavailable("the metrics store is away")
        self.asked.append((self.world.now, promql))
        series: dict[int, list[tuple[float, float]]] = {}
        for at in [start + step * i for i in range(round((end - start) / step) + 1)]:
            for index, value in enumerate(self.answer(promql, at)):
                series.setdefault(index, []).append((at, value))
        return list(series.values())


class VirtualWebhooks:
    """Answers of gates and of checks, as they are set: a yes, a no, or why there is neither; by default always yes.

    `outcome` says of each message that is posted whether it arrives, and what whoever posted it hears of that.
    """

    def __init__(self) -> None:
        self.outcome: Callable[[Mapping[str, Any]], tuple[bool, str | None]] = lambda message: (True, "")
        self.posts: list[tuple[float, str]] = []
        """When which message was posted."""
        self.arrived: list[dict[str, Any]] = []
        self.said: Word | str | None = Word(True, "gate.example")
        self.check: Callable[[Question], Word | str | None] = lambda question: Word(True, "check.example")
        self.asked: list[Question] = []
        self.urls: list[str] = []

    def answer(self, url: str, question: Question) -> Word | str | None:
        self.urls.append(url)
        self.asked.append(question)
        return self.check(question) if "check" in question else self.said


@dataclass
class Answers:
    """How both versions answer probes in a world, and what was asked of them."""

    missing: dict[str, float] = field(default_factory=lambda: {"v1": 0.0, "v2": 0.0})
    """The chance that an answer of a version is not as expected."""
    late: set[str] = field(default_factory=set)
    """Versions that do not answer."""
    away: str = ""
    """Why nobody can be asked."""
    errands: list[Errand] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    """How many were sent to each version in the last errand."""
    fragile: bool = False
    """Whether the canary waits for ratings for ever, and misses while a fault lies there."""
    canary_at: list[float] = field(default_factory=list)
    """When the canary answered one, by our route."""


class VirtualProbes:
    """The probes of one process: each second as many as are due, answered as our routes lead them."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._errand: Errand | None = None
        self._sent: dict[str, int] = {}
        self._since = 0.0

    def answers(self, errand: Errand, stable: int, canary: int) -> Sequence[Answered]:
        if self._errand != errand:
            self._errand, self._sent, self._since = errand, {"v1": 0, "v2": 0}, self.world.now
            self.world.probes.errands.append(errand)
        self.world.probes.sent = self._sent
        found: list[Answered] = []
        due = math.floor((self.world.now - self._since) * errand.probe.rps)
        for version, most in ((errand.stable, stable), (errand.canary, canary)):
            while self._sent[version] < min(most, due):
                self._sent[version] += 1
                found.append(self._answered(errand, version == errand.canary, version))
        return found

    def _answered(self, errand: Errand, canary: bool, version: str) -> Answered:
        world, mark = self.world, errand.mark(canary)
        if world.probes.away:
            return Answered(canary, silent=world.probes.away)
        if version in world.probes.late:
            return Answered(canary, late=True)
        routes = [route for route in of_ours(world.virtual_service()) if "/probe" in route["name"]]
        asked = [route for route in routes if any(m["headers"].get(HEADER) == {"exact": mark} for m in route["match"])]
        to = {entry["destination"]["subset"] for route in asked for entry in route["route"]}
        if not to:
            return Answered(canary, 200, 0.01, marked=False)
        assert to == {version}, f"a probe for {version} would go to {to}"
        if canary:
            world.metrics.canary_at.append(world.now)
            world.probes.canary_at.append(world.now)
            if world.probes.fragile and world.drilled():
                return Answered(canary, 200, 7.0)
        missed = world.random.random() < world.probes.missing[version]
        return Answered(canary, 500 if missed else 200, 0.01)


def probing(weight: int = 0, bake: Bake | None = None, **changes: Any) -> Step:
    """A step with probes: alone before the weights, or beside one."""
    probe = replace(Probe("http://reviews.shop.svc:9080/health", count=20, rps=5.0), **changes)
    return Step(Decimal(weight), bake or Bake(0.0, 60.0), probe)


class ProcessWebhooks:
    """The port as one process sees it: what it posted before it died is not answered to the next."""

    def __init__(self, world: "World") -> None:
        self.world, self.all = world, world.webhooks
        self.under_way: dict[str, str | None] = {}

    def answer(self, url: str, question: Question) -> Word | str | None:
        return self.all.answer(url, question)

    def deliver(self, url: str, message: Mapping[str, Any]) -> str | None:
        if message["id"] not in self.under_way:
            arrives, heard = self.all.outcome(message)
            self.all.posts.append((self.world.now, message["id"]))
            self.all.arrived += [dict(message)] if arrives else []
            self.under_way[message["id"]] = heard
            return None  # nobody knows at once
        heard = self.under_way[message["id"]]
        if heard is not None:
            del self.under_way[message["id"]]
        return heard


def drilling(weight: int = 0, **changes: Any) -> Step:
    """A step that delays what the canary asks ratings, before the weights."""
    probe = Probe("http://reviews.shop.svc:9080/", count=20, rps=10.0, expect=Expected(2, 2.0))
    return Step(Decimal(weight), Bake(0.0, 60.0), replace(Fault("ratings", probe, delay=7.0), **changes))


def mirroring(percent: int = 100, safe: Safe = Safe.READS, seconds: float = 8.0) -> Step:
    """A step before anybody is exposed."""
    return Step(Decimal(0), Bake(seconds, seconds), Mirror(Decimal(percent), safe))


def routing(weight: int = 5, sticky: float = 0.0) -> Step:
    """A step with a header route of ours beside the weight."""
    return Step(Decimal(weight), Bake(6.0, 40.0), Route({"headers": {"beta": {"exact": "yes"}}}, Decimal(20), sticky))


def strategy(**changes: Any) -> Strategy:
    """Short bakes: a whole rollout in a minute or two."""
    weights = [Decimal(w) for w in (5, 25, 50, 100)]
    made = Strategy(
        "test",
        tuple(Step(w, Bake(6.0, 40.0)) for w in weights),
        confirm=10.0,
        inconclusive=OnInconclusive.ADVANCE_NOTED,
        checks=(ERRORS,),
        deadline=400.0,
        look=2.0,
        propagation=3.0,
    )
    return replace(made, **changes)


@dataclass(frozen=True)
class Sent:
    """What the routes of a VirtualService send to the canary."""

    document: Document
    share: Decimal = Decimal(0)
    """In percent, where a weight decides."""
    routed: bool = False
    repeated: float = 0.0
    """How many of stable's requests are sent again, in percent."""

    @classmethod
    def by(cls, document: Document, pair: Pair, keys: Sequence[str] = ()) -> "Sent":
        share = max(percents(document, pair, keys), default=Decimal(0))
        return cls(document, share, routed(document), repeated(document))


@dataclass
class World:
    """Everything outside the engine, and the record of what happened to it."""

    seed: int
    trouble: float = 1.0
    rps: int = 120
    now: float = START
    failing: dict[str, float] = field(default_factory=lambda: dict.fromkeys(VERSIONS, 0.0))
    rejecting: dict[str, float] = field(default_factory=lambda: dict.fromkeys(VERSIONS, 0.0))
    slow: dict[str, float] = field(default_factory=lambda: dict.fromkeys(VERSIONS, 0.0))
    outage: tuple[float, float] = (0.0, 0.0)
    strategy: Strategy = field(default_factory=strategy)
    declared: Document = field(default_factory=dict)
    """The spec of a ServiceRollout, where a controller drives."""
    staff: dict[str, Staff] = field(default_factory=dict)
    """What makes the pods of each version, where we are to scale them; else they are just there."""
    named: bool = False
    """Whether the route for everybody has a match, and moves because it is named."""
    beside: tuple[str, ...] = ()
    """The named routes with a match beside it, of API and AHEAD."""
    edge: bool = False
    """Whether users come by a gateway too, where API alone moves."""
    behind: bool = False
    """Whether v2 serves everybody already, and only those of API come to v1."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.cluster = WatchedMemory()
        self.older: dict[tuple[str, str, str], Document] = {}
        self.metrics = VirtualMetrics(self)
        self.webhooks = VirtualWebhooks()
        self.probes = Answers()
        self.log: list[str] = []
        self.processes: list[FaultyCluster] = []
        self.pair = PAIR
        """Whose traffic is counted."""
        self.ready = {"v1": 4, "v2": 4}
        self.seen = True
        """Whether the canary's pods are in the mesh: their proxies count."""
        self.by_hand = False
        self._home = "reviews" if self.declared else "rollout-reviews"
        """The name of the object that the record is in."""
        self._sent = Sent({})
        self._read: tuple[Document | None, Attempt | None] | None = None
        """What was found last in a document, and that document: whoever writes puts another in its place."""
        self.aborting = False
        """Whether a person aborts: what the claims of an attempt that has ended say is given back at once, then."""
        self._seed_documents()

    # --- documents ---------------------------------------------------------------------------------------------

    def _seed_documents(self) -> None:
        self.cluster.create(SERVICE, _document(SERVICE, "ratings", spec={"selector": {"app": "ratings"}, "ports": []}))
        self.cluster.create(SERVICE, _document(SERVICE, "reviews", spec={"selector": {"app": "reviews"}, "ports": []}))
        routes: list[Document] = [
            {"match": [{"headers": {"who": {"exact": "tester"}}}], "route": [_to("v2")], "unknown": {"kept": True}},
            {"name": MAIN, "route": [_to("v1")], "timeout": "3s"},
        ]
        if self.named:
            routes[1]["match"] = [{"uri": {"prefix": "/"}}]
        if self.behind:
            routes[1]["route"] = shares(0, 100)
        made: Document = {API: [_to("v1")], AHEAD: shares(0, 100) if self.seed % 2 else [_to("v2")]}
        match: Document = {API: AT_API, AHEAD: {"match": [{"uri": {"prefix": "/ahead"}}]}}
        routes[1:1] = [{"name": name, **copied(match[name]), "route": made[name]} for name in self.beside]
        if self.edge:
            http = [{"name": API, **copied(AT_API), "route": [_to("v1")]}, copied(routes[0])]
            spec: Document = {"hosts": ["shop.example"], "gateways": ["edge"], "http": http}
            self.cluster.create(VIRTUAL_SERVICE, _document(VIRTUAL_SERVICE, EDGE, spec=spec))
        spec = {"hosts": ["reviews"], "http": routes}
        self.routes = routes
        self.cluster.create(VIRTUAL_SERVICE, _document(VIRTUAL_SERVICE, "reviews", spec=spec))
        subsets = [{"name": "v1", "labels": {"version": "v1"}}]
        spec = {"host": "reviews", "subsets": subsets}
        self.cluster.create(DESTINATION_RULE, _document(DESTINATION_RULE, "reviews", spec=spec))
        self.workloads = Workloads(self, self.staff)
        for version in ("v1", "v2"):
            if not self.staff:
                self._pods(version)
        if self.declared:
            self.cluster.create(SERVICE_ROLLOUT, _document(SERVICE_ROLLOUT, "reviews", spec=self.declared))
        self.workloads.count()
        self.endpoints()

    def _pods(self, version: str) -> None:
        labels = {"app": "reviews", "version": version}
        for i in range(4):
            self.cluster.create(POD, _document(POD, f"reviews-{version}-{i}", labels=labels))

    def deploy(self, version: str) -> None:
        """There is one more version, and it is ready."""
        self._pods(version)
        self.set_ready(version, 4)

    def try_out(self, version: str) -> None:
        """From now on this one is the canary, whose share of users is counted."""
        self.pair, self._sent = replace(PAIR, canary=version), Sent({})

    def endpoints(self) -> None:
        document = _document(ENDPOINT_SLICE, "reviews-1", labels={"kubernetes.io/service-name": "reviews"})
        document["endpoints"] = [
            {
                "addresses": [f"10.0.{version[1:]}.{i}"],
                "conditions": {"ready": i < ready},
                "targetRef": {"name": f"reviews-{version}-{i}"},
            }
            for version, ready in self.ready.items()
            for i in range(4)
        ]
        self.cluster.documents.pop((ENDPOINT_SLICE.name, "shop", "reviews-1"), None)
        self.cluster.create(ENDPOINT_SLICE, document)

    def virtual_service(self) -> Document:
        return self.cluster.get(VIRTUAL_SERVICE, "shop", "reviews")

    def at_edge(self) -> Document:
        return self.cluster.get(VIRTUAL_SERVICE, "shop", EDGE)

    def with_ratings(self, routes: list[Document] | None = None) -> "World":
        """There are (but with None) routes to the Service that reviews calls."""
        if routes is not None:
            spec = {"hosts": ["ratings"], "http": routes}
            self.cluster.create(VIRTUAL_SERVICE, _document(VIRTUAL_SERVICE, "ratings", spec=spec))
        return self

    def faulty(self) -> list[Document]:
        """The routes of ours that carry faults, in whatever VirtualService."""
        every = self.cluster.list(VIRTUAL_SERVICE)
        return [route for vs in every for route in vs["spec"]["http"] if "/drill/" in route.get("name", "")]

    def drilled(self) -> bool:
        """Whether what the canary asks ratings meets a fault of ours."""
        return any("fault" in route for route in self.faulty())

    def exposed(self) -> Decimal:
        """What the canary gets, in percent."""
        return self.sent().share

    def repeated(self) -> float:
        """How many of stable's requests are sent to the canary again, in percent."""
        return self.sent().repeated

    def sent(self) -> "Sent":
        """What the routes send to the canary now."""
        document = self.cluster.documents[(VIRTUAL_SERVICE.name, "shop", "reviews")]
        if self._sent.document is not document:
            self._sent = Sent.by(document, self.pair, self.keys)
        return self._sent

    def edit(self, change: Callable[[Document], None], manager: str = "kubectl", name: str = "reviews") -> None:
        """Somebody else edits the VirtualService, or the one of this name."""
        document = self.cluster.get(VIRTUAL_SERVICE, "shop", name)
        routes = copied(document["spec"]["http"])
        change(document)
        if document["spec"]["http"] != routes:
            owned: Document = {"f:spec": {"f:http": {}}}
            document["metadata"]["managedFields"] = [{"manager": manager, "time": str(self.now), "fieldsV1": owned}]
        self.write_by_hand((VIRTUAL_SERVICE.name, "shop", name), document)

    def write_by_hand(self, key: Key, document: Document | None) -> None:
        """Somebody writes or deletes an object, past the engine."""
        self.by_hand = True
        self.cluster._write(key, document)
        self.by_hand = False

    def touch(self, kind: Kind, namespace: str, name: str) -> None:
        """Somebody changes something that is no business of ours: our next write conflicts."""
        document = self.cluster._read((kind.name, namespace, name))
        if document is not None and kind in (DEPLOYMENT, AUTOSCALER):
            seen = {"status": {"observed": self.random.random()}}
            self.write_by_hand((kind.name, namespace, name), {**document, **seen})
        if document is None or kind is not VIRTUAL_SERVICE:
            return
        self.edit(lambda d: d["metadata"].setdefault("annotations", {}).update({"note": str(self.random.random())}))

    def set_ready(self, version: str, count: int) -> None:
        if self.staff:
            self.workloads.healthy[version] = count
            self.workloads.count()
            return
        self.ready[version] = count
        self.endpoints()

    # --- time --------------------------------------------------------------------------------------------------

    def engine(self, name: str, faults: Faults) -> Engine:
        self.processes.append(FaultyCluster(self, faults))
        probes = VirtualProbes(self)
        cluster, hooks = self.processes[-1], ProcessWebhooks(self)
        own = Holder(cluster, "rollout-reviews", "shop", name)
        lease = ByHand(cluster, own, HOME, lambda: bool(self.declared))
        return Engine(cluster, self.metrics, hooks, probes, "reviews", "shop", lease, self._shelf(cluster))

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the routes that are named, as an attempt has them: AHEAD is where it goes to already."""
        return tuple(f"{'!' if name == AHEAD else ''}name:{name}" for name in self.names)

    @property
    def names(self) -> tuple[str, ...]:
        there = dict.fromkeys([*self.beside, *([API] if self.edge else [])])
        return (MAIN,) * self.named + tuple(there)

    def request(self) -> Request:
        scale = Scale.AUTO if self.staff else Scale.WAIT
        return Request("reviews", "shop", "v2", self.strategy, scale=scale, names=self.names)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while int(self.now) < int(until):
            self.now = float(int(self.now) + 1)
            self.metrics.second(self.now)
            if self.staff:
                self.workloads.second()
        self.now = until

    def attempt(self) -> Attempt | None:
        """What is recorded; None also where the record is damaged."""
        key = (SERVICE_ROLLOUT if self.declared else CONFIG_MAP).name, "shop", self._home
        document = self.cluster.documents.get(key)
        if self._read is None or self._read[0] is not document:
            self._read = document, self._recorded()
        return self._read[1]

    def _recorded(self) -> Attempt | None:
        try:
            return StateStore(self._shelf(self.cluster)).read().attempt
        except (InvalidInput, NotFound):
            return None

    def _shelf(self, cluster: Cluster) -> Shelf:
        if self.declared:
            return StatusShelf(cluster, "reviews", "shop", observing=False)
        return ConfigMapShelf(cluster, "reviews", "shop")

    def spoil_record(self, text: str | None) -> None:
        """Somebody removes the record, or writes something else there."""
        if not self.declared:
            key = (CONFIG_MAP.name, "shop", self._home)
            if key in self.cluster.documents:
                self.write_by_hand(key, (text and {**self.cluster.documents[key], "data": {"record": text}}) or None)
            return
        key = (SERVICE_ROLLOUT.name, "shop", "reviews")
        if (self.cluster.documents.get(key) or {}).get("status"):
            self.write_by_hand(key, merged(self.cluster.documents[key], {"status": {"record": text}}))


def drive(world: World, faults: Callable[[int], Faults], each: Callable[[World], None], limit: float = 1500.0) -> int:
    """Run processes one after another until the attempt ended and was cleaned up; returns how many it took."""
    life, engine, begun = 1, world.engine("process-1", faults(1)), False
    while world.now < START + limit:
        after = 1.0
        try:
            if not begun:
                if engine.acquire(world.now):
                    engine.begin(world.request(), world.now)
                    begun = True
            else:
                tick = engine.tick(world.now)
                after = tick.after
                if tick.attempt and tick.attempt.phase.ended and tick.attempt.cleaned and not tick.attempt.notices:
                    engine.lease.release(world.now)
                    return life
        except Crash:
            life += 1
            world.log.append(f"{world.now - START:.0f}: process {life - 1} dies")
            engine, after = world.engine(f"process-{life}", faults(life)), 2.0
            begun = world.attempt() is not None
        except InvalidInput as error:
            if not begun:
                return life  # refused: nothing was written
            world.log.append(f"{world.now - START:.0f}: {error}")
        except (Unreachable, Conflict) as error:
            world.log.append(f"{world.now - START:.0f}: {error}")
        each(world)
        world.pass_time(max(after, 0.2))
        each(world)
    return life


def of_ours(vs: Document) -> list[Document]:
    """The routes that we added."""
    return [route for route in vs["spec"]["http"] if str(route.get("name", "")).startswith(f"rollout.dev/{HOST}/")]


def for_all(route: Document) -> bool:
    """Whether it is the route for everybody, also where it has a match, or that of API, whatever it is called."""
    if str(route.get("name", "")).startswith("rollout.dev/"):
        return False
    return route.get("match") in (None, AT_API["match"]) or route.get("name") == MAIN


def routed(vs: Document) -> bool:
    """Whether a route of ours sends users to the canary by a match."""
    return any("/route/" in route["name"] for route in of_ours(vs))


def probed(vs: Document) -> bool:
    """Whether a route of ours sends probes to the canary."""
    return any("/probe/" in route["name"] for route in of_ours(vs))


def repeated(vs: Document) -> float:
    """How many of the requests of everybody are sent to the canary again, in percent; of all, READ are reads."""
    found = 0.0
    for route in of_ours(vs):
        part = READ if any("method" in match for match in route["match"]) else 1.0
        to_canary = [m for m in route.get("mirrors") or [] if m["destination"].get("subset") == "v2"]
        found = max(found, *(part * float(m["percentage"]["value"]) for m in to_canary), 0.0)
    return found


def shares(v1: int, v2: int) -> list[Document]:
    """Destinations with these weights."""
    return [{**_to("v1"), "weight": v1}, {**_to("v2"), "weight": v2}]


def _to(subset: str) -> Document:
    return {"destination": {"host": "reviews", "subset": subset}}


def _document(kind: Kind, name: str, labels: dict[str, str] | None = None, **rest: Any) -> Document:
    metadata: Document = {"name": name, "namespace": "shop"}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": kind.api_version(), "kind": kind.name, "metadata": metadata, **rest}
