"""Judge what somebody else does to the weights, look by look. Only reads: no claim, no record, no lease."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from rollout.core.attempt import Attempt, Reading, RouteRef, Verdict
from rollout.core.decision import Observation
from rollout.core.documents import SERVICE, VIRTUAL_SERVICE, Document, name_of, namespace_of
from rollout.core.errors import InvalidInput
from rollout.core.lifecycle import Phase
from rollout.core.quantities import floored
from rollout.engine.looking import LONGEST, Eyes
from rollout.engine.lookup import everywhere, obeyed, pods_of, routing_to
from rollout.engine.observing import Scene, found, observe, read_scene
from rollout.engine.replaying import Ending, Plateau, Replay, goes_on
from rollout.engine.services import ByService
from rollout.engine.survey import Request, counted, known_service, no_route, route_ref
from rollout.judge.looks import Arm
from rollout.mesh.hosts import fqdn, resolved
from rollout.mesh.routes import Pair, percents, sharing, shifted
from rollout.mesh.services import as_subsets, services_of
from rollout.mesh.subsets import labels_for
from rollout.ports import Cluster, Metrics

LATE = 2 * LONGEST
"""Seconds that are waited at the end for the last counters."""
ENDINGS = {Decimal(0): Ending.NOTHING, Decimal(100): Ending.EVERYTHING}
SERVES = ("primary", "stable")
"""How Flagger and Argo Rollouts end the name of the version that serves."""


@dataclass(frozen=True)
class Sight:
    """What one look showed at an epoch second.

    `weight` (percent) is what the `canary` has now, and `editor` who wrote the routes last; the judge has `said` what
    its counters show so far, of the weight `judged`. Counters come later than weights: the two differ for a while after
    each change. While nothing is shared there is a `notice` alone; elsewhere it says why something is missing.
    """

    at: float
    stable: str = ""
    canary: str = ""
    weight: Decimal | None = None
    editor: str = ""
    judged: Decimal | None = None
    said: Reading | None = None
    notice: str = ""


class Watch:
    """The judge beside somebody who moves a service's weights. Begins when two versions first share its requests."""

    def __init__(self, cluster: Cluster, metrics: Metrics, asked: Request) -> None:
        """Versions that `asked` leaves empty are found. Raises `InvalidInput` where nothing could ever be seen."""
        self._cluster, self._metrics, self._asked = cluster, metrics, asked
        self._host = fqdn(asked.service, asked.namespace)
        known_service(cluster, asked.service, asked.namespace)
        every, _ = everywhere(cluster, VIRTUAL_SERVICE, asked.namespace)
        routes = routing_to([as_subsets(vs, self._host) for vs in every], self._host)
        if not routes:
            raise InvalidInput(no_route(asked.service, asked.namespace))
        self._refs = [RouteRef(namespace_of(vs), name_of(vs), ()) for vs in routes]
        self._served = ""
        self._eyes, self._by_service = Eyes(metrics), False
        self._standing: list[Attempt] = []
        """An attempt for each weight that was seen and of which not every look was judged yet, oldest first."""
        self._plateaus: list[Plateau] = []
        self._hurt, self._hurt_at_back = 0, -1
        self.ending: Ending | None = None

    def look(self, now: float) -> Sight:
        """See who has how much now, and judge what was counted since. Raises `Unavailable`, and `InvalidInput`."""
        if not self._standing and (notice := self._begin(now)):
            return Sight(now, notice=notice)
        first = self._standing[0]
        scene = self._scene(first)
        seen = observe(self._cluster, first, scene, now)
        top = max(seen.routes, key=lambda route: route.actual)
        weight = floored(top.actual)
        if weight != self._standing[-1].weight:
            self._standing.append(_at(first, weight, now))
        judged, said, notice = self._judge(seen, scene)
        self.ending = self._ended(now)
        return Sight(now, first.stable, first.canary, weight, top.editor, judged, said, notice)

    def replay(self, now: float) -> Replay | None:
        """What happened until now, and what the judge would have done; None where nothing was shared."""
        if not self._plateaus:
            return None
        plateaus, last = tuple(self._plateaus), self._standing[0]
        if self.ending is Ending.EVERYTHING:
            plateaus += (Plateau(last.weight, last.landed, last.landed, Arm(), Arm()),)
        until = self._hurt if self._hurt_at_back < 0 else self._hurt_at_back
        failed = until, self._hurt - until
        return Replay(last.stable, last.canary, plateaus, now, self.ending or Ending.NOW, failed)

    # --- who shares --------------------------------------------------------------------------------------------

    def _begin(self, now: float) -> str:
        """Begin where two versions share; why not, elsewhere."""
        read = [found(self._cluster, VIRTUAL_SERVICE, one.namespace, one.name) for one in self._refs]
        here = [vs for vs in read if vs]
        routes = [as_subsets(vs, self._host) for vs in here]
        names = set[str]().union(*(sharing(vs, self._host) for vs in routes)) - {""}
        pair = self._pair(routes, names)
        if pair is None:
            self._served = next(iter(names)) if len(names) == 1 else ""
            asked = " and ".join(one for one in (self._asked.stable, self._asked.canary) if one)
            told = f"nothing is shifting: {_listed(names)} a share of {self._asked.service}; waiting"
            return f"{told} for {asked}" if asked else told
        if (weight := _highest(routes, pair)) in ENDINGS:
            return f"nothing is shifting: no route gives both {pair.stable} and {pair.canary} a share; waiting"
        hosts = set[str]().union(*(services_of(vs, self._host) for vs in here))
        own = resolved(pair.stable, self._asked.namespace), resolved(pair.canary, self._asked.namespace)
        self._by_service = set(own) <= hosts
        if self._by_service:
            self._eyes = Eyes(ByService(self._metrics))
        a = self._asked
        attempt = Attempt(
            0, a.service, a.namespace, pair.stable, pair.canary, a.strategy.shifting,
            tuple(route_ref(vs, pair) for vs in routes if shifted(vs, pair)),
            started=now, deadline=math.inf, phase=Phase.SHIFTING,
            counted=own if self._by_service else self._versions(pair),
        )  # fmt: skip
        self._standing = [_at(attempt, weight, now)]
        return ""

    def _pair(self, routes: Sequence[Document], names: set[str]) -> Pair | None:
        """Who is stable, and who is the canary, of those that share; None while nobody shares with those asked for.

        Where nobody says it, stable is who had everything before, else who is called so, else who has more.
        """
        asked = self._asked
        pairs = [
            Pair(self._host, one, other)
            for one, other in itertools.permutations(sorted(names), 2)
            if asked.stable in ("", one) and asked.canary in ("", other)
        ]
        pairs = [pair for pair in pairs if pair.stable == self._served] or pairs
        if not pairs:
            return None
        if len({frozenset((pair.stable, pair.canary)) for pair in pairs}) > 1:
            raise InvalidInput(f"{_listed(names)} a share of {asked.service}; name two with --from and --to")
        ranks = [(not pair.stable.endswith(SERVES), _highest(routes, pair)) for pair in pairs]
        if len(ranks) == 2 and ranks[0] == ranks[1]:
            raise InvalidInput(f"{_listed(names)} half of {asked.service} each; name the new one with --to")
        return pairs[ranks.index(min(ranks))]

    def _versions(self, pair: Pair) -> tuple[str, str]:
        """The versions as the counters carry them. Raises `InvalidInput` where these cannot tell the two apart."""
        asked = self._asked
        pods = pods_of(self._cluster, known_service(self._cluster, asked.service, asked.namespace))
        rules = obeyed(self._cluster, self._host, asked.namespace)
        stable, canary = (pods.of(labels_for(rules, name)) for name in (pair.stable, pair.canary))
        return counted(pair, stable, canary)

    def _scene(self, attempt: Attempt) -> Scene:
        """What the attempt depends on, with Services read as subsets."""
        scene = read_scene(self._cluster, attempt)
        if not self._by_service:
            return scene
        routes = tuple(vs and as_subsets(vs, self._host) for vs in scene.routes)
        places = (host.split(".")[:2] for host in attempt.counted)
        own = tuple(found(self._cluster, SERVICE, namespace, name) for name, namespace in places)
        return replace(scene, routes=routes, own=own)

    # --- what it means -----------------------------------------------------------------------------------------

    def _judge(self, seen: Observation, scene: Scene) -> tuple[Decimal, Reading | None, str]:
        """Judge the looks that came, each at the weight that stood then: the last such weight, and what is said."""
        while True:
            attempt, *later = self._standing
            if attempt.weight in ENDINGS:
                return self._plateaus[-1].weight, self._plateaus[-1].said, ""
            until = left = later[0].landed if later else math.inf
            if later and not later[0].weight:  # what a last look has of the weight before still counts
                until += 2 * max(attempt.strategy.look, self._eyes.interval)
            said, silence = self._eyes.reading(replace(seen, attempt=attempt), scene.target(attempt), until)
            self._note(attempt, min(seen.now, left), seen.now, said)
            if not later or self._eyes.horizon < until:
                return attempt.weight, said, silence
            self._standing = later

    def _note(self, attempt: Attempt, until: float, now: float, said: Reading | None) -> None:
        """Write down what a weight has shown so far, and when the judge would first have acted."""
        if not self._plateaus or self._plateaus[-1].since != attempt.landed:
            self._plateaus.append(Plateau(attempt.weight, attempt.landed, until, Arm(), Arm()))
        counts = self._eyes.counts(attempt)
        plateau = replace(self._plateaus[-1], until=until, stable=counts.stable, canary=counts.canary)
        if said is not None:
            self._hurt = max(self._hurt, said.hurt)
            plateau = self._acted(plateau, attempt, now, said)
        self._plateaus[-1] = plateau

    def _acted(self, plateau: Plateau, attempt: Attempt, now: float, said: Reading) -> Plateau:
        """The plateau with what the judge says, and with what it would do for the first time."""
        stood = now - attempt.landed
        back = said.verdict is Verdict.ROLLBACK and self._hurt_at_back < 0
        if back:
            self._hurt_at_back = said.hurt
        step = attempt.strategy.steps[attempt.step]
        on = plateau.on_after is None and goes_on(said, stood, step, attempt.strategy)
        return replace(
            plateau,
            said=said,
            on_after=stood if on else plateau.on_after,
            back_after=stood if back else plateau.back_after,
        )

    def _ended(self, now: float) -> Ending | None:
        """How it ended, once every look before the end was judged; or when their counters do not come."""
        last = self._standing[-1]
        if last.weight in ENDINGS and now > last.landed + LATE:
            self._standing = [last]
        return ENDINGS.get(self._standing[0].weight)


def _at(attempt: Attempt, weight: Decimal, now: float) -> Attempt:
    """The attempt at a weight that somebody has set."""
    steps = attempt.strategy.steps
    step = steps.index(attempt.strategy.step_at(weight))
    return replace(attempt, weight=weight, since=now, landed=now, step=step)


def _highest(routes: Sequence[Document], pair: Pair) -> Decimal:
    """What the canary has where it has most."""
    return floored(max((percent for vs in routes for percent in percents(vs, pair)), default=Decimal(0)))


def _listed(names: set[str]) -> str:
    """Versions as the subject of a sentence."""
    return f"{', '.join(sorted(names)) or 'no version'} {'have' if len(names) > 1 else 'has'}"
