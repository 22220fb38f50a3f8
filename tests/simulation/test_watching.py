"""`rollout watch` in the virtual world: somebody else moves the weights, users fail, and we only read."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from rollout.adapters import clock
from rollout.cli import watching
from rollout.core.attempt import Verdict
from rollout.core.documents import POD, SERVICE, Document
from rollout.core.errors import InvalidInput, Unavailable
from rollout.core.strategy import ERRORS, RESTARTS
from rollout.engine.rights import RIGHTS, pairs
from rollout.engine.survey import Request
from rollout.engine.watching import LATE, Sight, Watch
from rollout.judge.looks import Snapshot
from rollout.mesh.routes import Pair, percents
from rollout.mesh.services import as_subsets
from rollout.ports import Target
from tests.fakes.memory import MemoryCluster
from tests.simulation.world import HOST, START, Faults, FaultyCluster, VirtualMetrics, World, _document

SHOP = ".shop.svc.cluster.local"
OWN = {f"reviews-primary{SHOP}": "v1", f"reviews-canary{SHOP}": "v2"}


def subsets(**weights: int) -> list[Document]:
    return [{"destination": {"host": "reviews", "subset": v}, "weight": w} for v, w in weights.items()]


def services(canary: int, names: tuple[str, str] = ("reviews-primary", "reviews-canary")) -> list[Document]:
    return [{"destination": {"host": h}, "weight": w} for h, w in zip(names, (100 - canary, canary), strict=True)]


@dataclass
class Scene:
    """A world whose time passes while the watcher waits; the hand does what it does at its seconds."""

    world: World
    metrics: Any = None
    hand: dict[int, Callable[[], object]] = field(default_factory=dict)
    told: list[Sight] = field(default_factory=list)

    def moved(self, second: int, routes: list[Document], manager: str = "flagger") -> None:
        self.hand[second] = lambda: self.world.edit(lambda vs: vs["spec"]["http"][1].update(route=routes), manager)

    def watch(self, lasting: float = 300.0, **asked: Any) -> tuple[int, Watch]:
        """What comes of it; nothing may have been written, nor asked for beyond what a promotion reads."""
        cluster = FaultyCluster(self.world, Faults())
        request = replace(self.world.request(), canary="", **asked)
        watch = Watch(cluster, self.metrics or self.world.metrics, request)
        code = watching.stay(watch, lasting, self.told.append)
        assert cluster.asked <= {(kind.name, verb) for kind, verb in pairs(RIGHTS) if verb in ("get", "list")}
        return code, watch

    def wait(self, seconds: float) -> None:
        until = self.world.now + seconds
        for second in sorted(second for second in self.hand if START + second <= until):
            self.world.pass_time(START + second - self.world.now)
            self.hand.pop(second)()
        self.world.pass_time(until - self.world.now)

    def closing(self, watch: Watch) -> str:
        return watching.closing(watch.replay(self.world.now))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(World(seed=5, trouble=0.0))
    monkeypatch.setattr(clock, "now", lambda: made.world.now)
    monkeypatch.setattr(clock, "wait", made.wait)
    return made


def test_harm_under_a_foreign_hand_is_told_when_it_is_seen_and_summed_up_at_the_end(scene: Scene) -> None:
    scene.world.failing["v2"] = 0.2
    scene.moved(5, subsets(v1=75, v2=25))
    scene.moved(45, subsets(v1=100, v2=0), "somebody")
    code, watch = scene.watch()
    assert code == 1
    first, begun = scene.told[:2]
    assert first.notice == "nothing is shifting: v1 has a share of reviews; waiting"
    assert (begun.stable, begun.canary, begun.weight, begun.editor) == ("v1", "v2", Decimal(25), "flagger")
    back = next(s for s in scene.told if s.said and s.said.verdict is Verdict.ROLLBACK)
    assert START + 5 < back.at < START + 30
    assert back.said is not None
    last = scene.told[-1]
    assert (last.weight, last.judged, last.editor) == (Decimal(0), Decimal(25), "somebody")
    replay = watch.replay(scene.world.now)
    assert replay is not None
    assert replay.failed[0] == back.said.hurt > 5
    unseen = scene.world.metrics.hurt - sum(replay.failed)
    assert 0 <= unseen < 15, "what failed last counts too; only what failed before the weight was seen does not"
    assert f"taken v2 back {round(scene.world.now - back.at)}s ago, after {back.said.hurt} failed" in scene.closing(
        watch
    )
    assert watching.last(replay)["went_back"] is True


def test_a_good_version_is_followed_from_weight_to_weight_until_it_has_everything(scene: Scene) -> None:
    for second, canary in ((3, 5), (60, 25), (90, 50), (120, 100)):
        scene.moved(second, subsets(v1=100 - canary, v2=canary))
    code, watch = scene.watch()
    assert code == 0
    assert list(dict.fromkeys(sight.weight for sight in scene.told)) == [None, 5, 25, 50, 100]
    replay = watch.replay(scene.world.now)
    assert replay is not None
    assert [plateau.weight for plateau in replay.plateaus] == [5, 25, 50, 100]
    assert all(abs(plateau.share - float(plateau.weight) / 100) < 0.01 for plateau in replay.plateaus[:-1])
    assert all(plateau.on_after is not None for plateau in replay.plateaus[:-1])
    assert "had everything after 1m57s and 0 requests failed" in scene.closing(watch)


def test_what_was_counted_before_a_change_is_judged_at_the_weight_before(scene: Scene) -> None:
    """The hand is quicker than the counters: they come 12 s late, and it has lowered the weight after 6 s."""

    class Late(VirtualMetrics):
        def horizon(self, target: Target) -> float | None:
            return self.world.now - 12

    scene.world.metrics = Late(scene.world)
    scene.world.failing["v2"] = 0.9
    scene.moved(30, subsets(v1=50, v2=50))
    scene.moved(36, subsets(v1=100, v2=0))
    code, watch = scene.watch()
    assert code == 1
    replay = watch.replay(scene.world.now)
    assert replay is not None
    assert [plateau.weight for plateau in replay.plateaus] == [50]
    assert sum(replay.failed) > 100


def test_counters_that_never_come_do_not_keep_it_for_ever(scene: Scene) -> None:
    scene.moved(5, subsets(v1=75, v2=25))
    scene.hand[6] = lambda: setattr(scene.world.metrics, "down_until", START + 1e6)
    scene.moved(20, subsets(v1=100, v2=0))
    code, watch = scene.watch(lasting=1000)
    assert (code, scene.world.now < START + 20 + LATE + 10) == (0, True)
    assert any("metrics store is away" in sight.notice for sight in scene.told)
    assert "would have gone on not from 25 %" in scene.closing(watch)


@dataclass
class ByHost(VirtualMetrics):
    """The store where each version is a Service, and no pod carries the label `version`."""

    world: World

    def __post_init__(self) -> None:
        VirtualMetrics.__init__(self, self.world)

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        assert (target.stable, target.canary) == ("", "")
        mine, found = OWN[target.service], super().snapshots(target, start, end, step, edges)
        return [
            Snapshot(s.at, {k._replace(version=""): n for k, n in s.counters.items() if k.version == mine})
            for s in found
        ]


class TwoServices(World):
    """Flagger's shape: the Service `reviews` is split between two others."""

    def exposed(self) -> Decimal:
        pair = Pair(HOST, "reviews-primary", "reviews-canary")
        return max(percents(as_subsets(self.virtual_service(), HOST), pair), default=Decimal(0))


def flagger(scene: Scene) -> None:
    scene.world = TwoServices(seed=5, trouble=0.0)
    scene.metrics = scene.world.metrics = ByHost(scene.world)
    for host, version in OWN.items():
        spec = {"selector": {"app": "reviews", "version": version}, "ports": []}
        scene.world.cluster.create(SERVICE, _document(SERVICE, host.removesuffix(SHOP), spec=spec))
    scene.world.edit(lambda vs: vs["spec"].update(http=[{}, {"route": services(0)}]))


def test_two_services_are_told_apart_by_their_hosts(scene: Scene) -> None:
    flagger(scene)
    scene.world.failing["v2"] = 0.2
    scene.moved(5, services(25))
    scene.moved(40, services(0))
    code, watch = scene.watch()
    assert code == 1
    begun = scene.told[1]
    assert (begun.stable, begun.canary, begun.weight) == ("reviews-primary", "reviews-canary", Decimal(25))
    replay = watch.replay(scene.world.now)
    assert replay is not None
    assert 0 <= scene.world.metrics.hurt - sum(replay.failed) < 15
    assert replay.failed[0] > 50


def test_who_is_called_primary_serves_though_it_has_less(scene: Scene) -> None:
    flagger(scene)
    scene.world.edit(lambda vs: vs["spec"]["http"][1].update(route=services(60)))
    scene.watch(lasting=3)
    assert (scene.told[0].stable, scene.told[0].weight) == ("reviews-primary", Decimal(60))


def test_restarts_of_two_services_are_counted_each(scene: Scene) -> None:
    flagger(scene)
    scene.world.strategy = replace(scene.world.strategy, checks=(ERRORS, RESTARTS))

    def crash(times: int) -> None:
        for pod in scene.world.cluster.list(POD, "shop", {"version": "v2"}):
            status = {"containerStatuses": [{"name": "app", "restartCount": times}]}
            scene.world.write_by_hand((POD.name, "shop", pod["metadata"]["name"]), {**pod, "status": status})

    scene.moved(3, services(25))
    for times in range(1, 50):
        scene.hand[8 + times] = partial(crash, times)
    code, watch = scene.watch(lasting=70)
    assert code == 1
    assert "restarts" in scene.closing(watch)


def test_three_versions_or_halves_need_a_name(scene: Scene) -> None:
    def seen(routes: list[Document], **asked: Any) -> tuple[str, str]:
        scene.world.edit(lambda vs: vs["spec"]["http"][1].update(route=routes))
        sight = Watch(scene.world.cluster, scene.world.metrics, replace(scene.world.request(), **asked)).look(START)
        return sight.stable, sight.canary

    with pytest.raises(InvalidInput, match="v1, v2 have half of reviews each; name the new one with --to"):
        seen(subsets(v1=50, v2=50), canary="")
    assert seen(subsets(v1=50, v2=50), canary="v1") == ("v2", "v1")
    assert seen(subsets(v1=30, v2=70), canary="") == ("v2", "v1"), "who has more serves, as far as anybody knows"
    assert seen(subsets(v1=30, v2=70), canary="", stable="v1") == ("v1", "v2")
    with pytest.raises(InvalidInput, match="v0, v1, v2 have a share of reviews; name two"):
        seen(subsets(v0=10, v1=60, v2=30), canary="")
    assert seen(subsets(v0=10, v1=60, v2=30), canary="v2", stable="v1") == ("v1", "v2")
    assert seen(subsets(v1=100, v2=0)) == ("", "")


def test_subsets_whose_pods_carry_one_version_are_refused_when_they_share(scene: Scene) -> None:
    """As Argo Rollouts' do, where the pod template gives no version of its own."""
    for pod in scene.world.cluster.list(POD, "shop"):
        key = (POD.name, "shop", pod["metadata"]["name"])
        scene.world.write_by_hand(key, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "reviews"}}})
    scene.moved(3, subsets(v1=90, v2=10))
    with pytest.raises(InvalidInput, match="the pods of the subset v1 carry version=none"):
        scene.watch()


def test_a_cluster_that_is_away_is_waited_for_but_not_at_first(scene: Scene) -> None:
    cluster = FaultyCluster(scene.world, Faults())
    watch = Watch(cluster, scene.world.metrics, scene.world.request())
    cluster.faults = Faults(fail_at=cluster.calls + 3)
    assert watching.stay(watch, 5, scene.told.append) == 0
    assert [sight.notice.split(":")[0] for sight in scene.told] == [
        "nothing is shifting",
        "no answer",
        "nothing is shifting",
    ]
    cluster.faults = Faults(unavailable=1.0)
    with pytest.raises(Unavailable):
        watching.stay(watch, 5, scene.told.append)


def test_ctrl_c_ends_it_with_what_is_known(scene: Scene) -> None:
    scene.moved(2, subsets(v1=75, v2=25))

    def interrupt() -> None:
        raise KeyboardInterrupt

    scene.hand[10] = interrupt
    code, watch = scene.watch()
    assert code == watching.INTERRUPTED
    assert "in fact it has run 7s" in scene.closing(watch)


def test_nothing_to_watch_is_refused(scene: Scene) -> None:
    with pytest.raises(InvalidInput, match="there is no Service nobody"):
        Watch(scene.world.cluster, scene.world.metrics, replace(scene.world.request(), service="nobody"))
    empty = MemoryCluster()
    empty.create(SERVICE, _document(SERVICE, "reviews", spec={}))
    with pytest.raises(InvalidInput, match="no VirtualService routes to reviews"):
        Watch(empty, scene.world.metrics, Request("reviews", "shop", "", scene.world.strategy))
