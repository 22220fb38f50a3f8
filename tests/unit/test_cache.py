"""What watches and our own writes tell, in any order, comes to what the cluster holds; who depends on it is woken."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.controller.cache import Cache, CachedCluster, Changed, Scope
from rollout.controller.shelf import Shelf
from rollout.core.documents import CONFIG_MAP, SERVICE, VIRTUAL_SERVICE, Document, Kind, carries, name_of, version_of
from rollout.core.errors import Conflict, Forbidden, NotFound, Unavailable
from rollout.ports import Change
from tests.fakes.memory import WatchedMemory

POD = Kind("Pod", "pods")


def document(name: str, kind: Kind = POD, namespace: str = "shop", **labels: str) -> Document:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": kind.api_version(), "kind": kind.name, "metadata": metadata}


@dataclass
class Follower:
    """A reflector that the test moves by hand: the next event of its scope when the test says so."""

    memory: WatchedMemory
    cache: Cache
    scope: Scope
    at: int = 0
    listed: tuple[list[Document], str] | None = None

    def ask(self) -> None:
        """Ask for a list; it may be applied much later."""
        self.listed = self.memory.listing(self.scope.kind, self.scope.namespace, dict(self.scope.labels))

    def apply(self) -> None:
        if self.listed is not None:
            self.cache.replaced(self.scope, *self.listed)
            self.at, self.listed = int(self.listed[1]), None

    def events(self) -> list[tuple[int, Change]]:
        scope = self.scope
        told = [(e.version, e.told(scope.kind, scope.namespace, dict(scope.labels))) for e in self.memory.history]
        return [(version, change) for version, change in told if change is not None and version > self.at]

    def step(self, back: int = 0) -> None:
        """Hear the next event; or hear again all from `back` versions ago, as a watch that was taken up there."""
        self.at = max(0, self.at - back)
        for version, change in self.events()[:1]:
            self.cache.changed(self.scope, change)
            self.at = version

    def bookmark(self) -> None:
        if not self.events():
            self.at = self.memory._count
            self.cache.reached(self.scope, str(self.at))

    def finish(self) -> None:
        self.apply()
        while self.events():
            self.step()
        self.bookmark()


@dataclass
class Setting:
    """A cluster, a cache of some scopes of it, and whom the cache has called."""

    scopes: list[Scope]
    memory: WatchedMemory = field(default_factory=WatchedMemory)
    calls: list[Changed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cache = Cache(self.calls.append)
        self.followers = [Follower(self.memory, self.cache, scope) for scope in self.scopes]
        for follower in self.followers:
            self.cache.cover(follower.scope)

    def synced(self) -> "Setting":
        for follower in self.followers:
            follower.ask()
            follower.finish()
        self.calls.clear()
        return self

    def view(self, reader: str = "", narrow: bool = False) -> CachedCluster:
        return CachedCluster(self.memory, self.cache, reader, narrow)

    @property
    def woken(self) -> list[frozenset[str]]:
        return [call.readers for call in self.calls]


ALL, IN_SHOP, LABELLED = Scope.of(POD), Scope.of(POD, "shop"), Scope.of(POD, "shop", {"app": "a"})


def test_reads_come_from_the_cache_once_it_was_listed_and_ask_nobody() -> None:
    world = Setting([ALL])
    view = world.view()
    made = world.memory.create(POD, document("a"))
    assert view.get(POD, "shop", "a") == made  # by the API
    assert not world.cache.synced(ALL)
    world.synced()
    world.memory.away()
    assert view.get(POD, "shop", "a") == made
    assert view.list(POD) == [made]
    assert view.list(POD, "shop", {"app": "a"}) == []
    with pytest.raises(NotFound, match="shop/b"):
        view.get(POD, "shop", "b")
    with pytest.raises(Unavailable):
        view.get(CONFIG_MAP, "shop", "a")


def test_a_scope_with_labels_answers_only_for_those() -> None:
    world = Setting([LABELLED])
    made = [world.memory.create(POD, document(name, app=name, tier="x")) for name in ("a", "b")]
    world.synced()
    view = world.view()
    assert view.list(POD, "shop", {"app": "b"}) == [made[1]]  # by the API
    world.memory.away()
    assert view.list(POD, "shop", {"app": "a"}) == view.list(POD, "shop", {"app": "a", "tier": "x"}) == [made[0]]
    assert view.get(POD, "shop", "a") == made[0]
    for ask in (
        lambda: view.list(POD, "shop", {"tier": "x"}),
        lambda: view.list(POD, "shop"),
        lambda: view.list(POD, None, {"app": "a"}),
        lambda: view.get(POD, "shop", "b"),  # it may be there without the label
    ):
        with pytest.raises(Unavailable):
            ask()


def test_a_narrow_view_lists_no_other_namespaces_and_asks_nobody() -> None:
    world = Setting([IN_SHOP]).synced()
    world.memory.away()
    view = world.view(narrow=True)
    with pytest.raises(Forbidden, match="in all namespaces"):
        view.list(POD)
    assert view.list(POD, "shop") == []


def test_what_the_api_refused_is_refused_without_asking_again() -> None:
    world = Setting([IN_SHOP])
    world.cache.refused(IN_SHOP, "we may not list pods in namespace shop")
    assert world.cache.settled(IN_SHOP)
    assert not world.cache.synced(IN_SHOP)
    world.memory.away()
    with pytest.raises(Forbidden, match="pods in namespace shop"):
        world.view().list(POD, "shop")
    world.memory.away(False)
    assert world.synced().view().list(POD, "shop") == []


def test_of_a_pod_only_that_is_kept_which_somebody_reads() -> None:
    world = Setting([ALL]).synced()
    pod = document("a") | {"spec": {"containers": []}, "status": {"phase": "Running"}}
    pod["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    world.view().create(POD, pod)
    kept = world.view().get(POD, "shop", "a")
    assert kept["status"] == {"phase": "Running"}
    assert (kept["metadata"]["name"], kept.keys() & {"spec"}, kept["metadata"].keys() & {"managedFields"}) == (
        "a", set(), set(),
    )  # fmt: skip


def test_an_own_write_is_read_at_once_and_its_echo_is_no_news() -> None:
    world = Setting([ALL]).synced()
    ours, other = world.view("ours"), world.view("other")
    other.list(POD, "shop")
    made = ours.create(POD, document("a"))
    assert ours.get(POD, "shop", "a") == made
    patched = ours.patch(POD, "shop", "a", {"metadata": {"labels": {"app": "a"}}}, version_of(made))
    assert ours.list(POD, "shop", {"app": "a"}) == [patched]
    ours.delete(POD, "shop", "a", version_of(patched))
    with pytest.raises(NotFound):
        ours.get(POD, "shop", "a")
    assert world.woken == [frozenset({"other"})] * 3
    assert {call.writer for call in world.calls} == {"ours"}
    world.followers[0].finish()
    assert len(world.calls) == 3
    assert ours.list(POD) == []


def test_a_write_that_conflicts_shows_what_is_there_before_it_is_raised() -> None:
    world = Setting([ALL])
    made = world.memory.create(POD, document("a"))
    world.synced()
    view = world.view("ours")
    view.get(POD, "shop", "a")
    foreign = world.memory.patch(POD, "shop", "a", {"metadata": {"labels": {"x": "y"}}}, version_of(made))
    with pytest.raises(Conflict):
        view.patch(POD, "shop", "a", {"metadata": {"labels": {"x": "z"}}}, version_of(made))
    assert view.get(POD, "shop", "a") == foreign
    assert world.woken == [frozenset({"ours"})]  # somebody else's change
    world.memory.delete(POD, "shop", "a", version_of(foreign))
    with pytest.raises(NotFound):
        view.delete(POD, "shop", "a", version_of(foreign))
    with pytest.raises(NotFound):
        view.get(POD, "shop", "a")
    world.memory.create(POD, document("b"))
    with pytest.raises(Conflict):
        view.create(POD, document("b"))
    assert name_of(view.get(POD, "shop", "b")) == "b"
    world.followers[0].finish()
    assert [name_of(one) for one in view.list(POD)] == ["b"]


def test_a_lost_reply_changes_nothing_until_the_watch_tells() -> None:
    class Losing(WatchedMemory):
        def patch(self, *arguments: object, **named: object) -> Document:
            super().patch(*arguments, **named)  # type: ignore[arg-type]
            raise Unavailable("the reply was lost")

    world = Setting([ALL], Losing())
    made = world.memory.create(POD, document("a"))
    world.synced()
    view = world.view("ours")
    view.get(POD, "shop", "a")
    with pytest.raises(Unavailable):
        view.patch(POD, "shop", "a", {"metadata": {"labels": {"x": "y"}}}, version_of(made))
    assert view.get(POD, "shop", "a") == made
    assert world.calls == []
    world.followers[0].finish()
    assert world.woken == [frozenset({"ours"})]


def test_a_change_wakes_those_who_read_it_and_nobody_else() -> None:
    world = Setting([Scope.of(POD), Scope.of(SERVICE)]).synced()
    readers = {
        "object": lambda view: view.get(POD, "shop", "a"),
        "labels": lambda view: view.list(POD, "shop", {"app": "a"}),
        "namespace": lambda view: view.list(POD, "shop"),
        "everything": lambda view: view.list(POD),
        "another object": lambda view: view.get(POD, "shop", "b"),
        "other labels": lambda view: view.list(POD, "shop", {"app": "b"}),
        "another namespace": lambda view: view.list(POD, "bank"),
        "another kind": lambda view: view.get(SERVICE, "shop", "a"),
    }
    views = {name: world.view(name) for name in readers}
    for name, read in readers.items():
        try:
            read(views[name])  # type: ignore[no-untyped-call]
        except NotFound:
            assert "object" in name or "kind" in name
    made = world.memory.create(POD, document("a", app="a"))
    world.followers[0].finish()
    assert world.woken == [frozenset({"object", "labels", "namespace", "everything"})]
    moved = world.memory.patch(POD, "shop", "a", {"metadata": {"labels": {"app": "b"}}}, version_of(made))
    world.followers[0].finish()
    assert world.woken[1] == frozenset({"object", "labels", "namespace", "everything", "other labels"})
    for name in ("object", "everything"):
        views[name].fresh()
    world.memory.delete(POD, "shop", "a", version_of(moved))
    world.followers[0].finish()
    assert world.woken[2] == frozenset({"namespace", "other labels"})
    for view in views.values():
        view.fresh()
    left = world.cache._readers
    assert (left._objects, left._lists, left._read) == ({}, {}, {})


def test_late_news_does_not_bring_back_what_we_deleted() -> None:
    world = Setting([ALL])
    made = world.memory.create(POD, document("a"))
    world.synced()
    view = world.view("ours")
    patched = world.memory.patch(POD, "shop", "a", {"metadata": {"labels": {"x": "y"}}}, version_of(made))
    world.memory.away(False)
    view.delete(POD, "shop", "a", version_of(patched))
    world.cache.reached(ALL, version_of(made))
    world.followers[0].step()  # the patch
    assert view.list(POD) == []
    again = view.create(POD, document("a"))
    world.followers[0].step()  # the deletion
    assert view.list(POD) == [again]
    world.followers[0].finish()
    assert world.cache._shelves["Pod"]._gone == {}


def test_late_news_does_not_bring_back_what_we_took_out_of_a_scope() -> None:
    world = Setting([LABELLED])
    made = world.memory.create(POD, document("p", app="a"))
    world.synced()
    patched = world.memory.patch(POD, "shop", "p", {"metadata": {"labels": {"x": "y"}}}, version_of(made))
    view = world.view("ours")
    view.patch(POD, "shop", "p", {"metadata": {"labels": {"app": "b"}}}, version_of(patched))
    world.followers[0].step()
    assert view.list(POD, "shop", {"app": "a"}) == []
    world.followers[0].finish()
    assert view.list(POD, "shop", {"app": "a"}) == []


def test_an_answer_that_is_long_under_way_does_not_bring_back_what_is_gone() -> None:
    world = Setting([ALL])
    made = world.memory.create(POD, document("a"))
    world.synced()
    with world.cache.asking(POD):
        answer = world.memory.patch(POD, "shop", "a", {"metadata": {"labels": {"x": "y"}}}, version_of(made))
        world.memory.delete(POD, "shop", "a", version_of(answer))
        world.followers[0].finish()
        world.cache.stands(POD, answer)
    assert world.view().list(POD) == []
    world.memory.create(POD, document("b"))
    world.followers[0].finish()
    assert world.cache._shelves["Pod"]._gone == {}


def test_who_leaves_one_scope_may_stand_in_another() -> None:
    one, other = Scope.of(POD, "shop", {"app": "a"}), Scope.of(POD, "shop", {"app": "b"})
    for order in ((0, 1), (1, 0)):
        world = Setting([one, other])
        made = world.memory.create(POD, document("p", app="a"))
        world.synced()
        moved = world.memory.patch(POD, "shop", "p", {"metadata": {"labels": {"app": "b"}}}, version_of(made))
        for index in order:
            world.followers[index].finish()
        world.memory.away()
        assert world.view().list(POD, "shop", {"app": "b"}) == [moved]
        assert world.view().list(POD, "shop", {"app": "a"}) == []


def test_a_scope_that_nobody_follows_is_asked_for_at_the_api() -> None:
    world = Setting([ALL])
    made = world.memory.create(POD, document("a"))
    world.synced()
    patched = world.memory.patch(POD, "shop", "a", {"metadata": {"labels": {"x": "y"}}}, version_of(made))
    view = world.view()
    assert view.list(POD) == [made]
    world.cache.doubted(ALL)
    assert view.list(POD) == [patched]
    world.followers[0].finish()
    world.memory.away()
    assert view.list(POD) == [patched]


def test_who_asked_the_api_before_a_scope_was_listed_is_woken_all_the_same() -> None:
    for read in (lambda view: view.list(POD, "shop"), lambda view: view.get(POD, "shop", "a")):
        world = Setting([ALL])
        made = world.memory.create(POD, document("a"))
        read(world.view("ours"))  # type: ignore[no-untyped-call]
        world.calls.clear()
        world.memory.delete(POD, "shop", "a", version_of(made))
        for follower in world.followers:
            follower.ask()
            follower.finish()
        assert world.woken == [frozenset({"ours"})]


def test_what_is_forgotten_is_kept_no_longer_and_changed_nothing() -> None:
    world = Setting([ALL, LABELLED])
    for name in ("a", "b"):
        world.memory.create(POD, document(name, app=name))
    world.synced()
    world.view("somebody").list(POD, "shop")
    world.cache.forget(ALL)
    assert world.calls == []
    shelf = world.cache._shelves["Pod"]
    assert shelf.kept("shop", "b") is None
    assert shelf.kept("shop", "a") is not None
    world.cache.replaced(ALL, [document("c")], "99")  # a list that was under way
    assert not world.cache.synced(ALL)
    world.cache.forget(LABELLED)
    assert shelf == Shelf()


# Any interleaving. Two scopes that overlap, another that holds all of a namespace, and one of another kind.

SCOPES = [
    Scope.of(POD, "shop", {"app": "a"}),
    Scope.of(POD, "shop", {"app": "b"}),
    Scope.of(POD, "bank"),
    Scope.of(VIRTUAL_SERVICE),
]
WIDER = [*SCOPES, Scope.of(POD)]
NAMES = st.sampled_from(["p", "q"])
PLACES = st.sampled_from(["shop", "bank"])
KINDS = st.sampled_from([POD, POD, VIRTUAL_SERVICE])
APPS = st.sampled_from(["a", "b", "c"])
MOVES = st.one_of(
    st.tuples(st.just("write"), KINDS, PLACES, NAMES, APPS),
    st.tuples(st.just("own write"), KINDS, PLACES, NAMES, APPS),
    st.tuples(st.just("slow write"), KINDS, PLACES, NAMES, APPS),
    st.tuples(st.just("delete"), KINDS, PLACES, NAMES),
    st.tuples(st.just("own delete"), KINDS, PLACES, NAMES),
    st.tuples(st.just("answer")),
    st.tuples(st.just("list"), st.integers(0, 4)),
    st.tuples(st.just("apply"), st.integers(0, 4)),
    st.tuples(st.just("step"), st.integers(0, 4)),
    st.tuples(st.just("step"), st.integers(0, 4)),
    st.tuples(st.just("again"), st.integers(0, 4), st.integers(1, 6)),
    st.tuples(st.just("bookmark"), st.integers(0, 4)),
    st.tuples(st.just("doubt"), st.integers(0, 4)),
    st.tuples(st.just("read"), st.integers(0, 3)),
)
QUESTIONS = [
    lambda view: view.get(POD, "shop", "p"),
    lambda view: view.list(POD, "shop", {"app": "a"}),
    lambda view: view.list(POD, "bank"),
    lambda view: view.list(VIRTUAL_SERVICE),
]


class Interleaving:
    """Plays moves, and remembers what each view read, and whether it was woken since."""

    def __init__(self, scopes: list[Scope]) -> None:
        self.world = Setting(scopes)
        self.views = [self.world.view(str(index)) for index in range(len(QUESTIONS))]
        self.read: dict[int, object] = {}
        self.since: dict[int, int] = {}
        """How many changes had been told when it was read."""
        self.slow: list[tuple[Kind, Document, object]] = []
        self.own = self.world.view("writer")

    def play(self, move: tuple[object, ...]) -> None:
        verb, *rest = move
        getattr(self, str(verb).replace(" ", "_"))(*rest)

    def _write_by(self, cluster: object, kind: Kind, namespace: str, name: str, app: str) -> Document | None:
        assert isinstance(cluster, WatchedMemory | CachedCluster)
        try:
            found = cluster.get(kind, namespace, name)
            count = str(int(found["metadata"]["labels"].get("n", 0)) + 1)
            patch = {"metadata": {"labels": {"app": app, "n": count}}}
            return cluster.patch(kind, namespace, name, patch, version_of(found))
        except NotFound:
            try:
                return cluster.create(kind, document(name, kind, namespace, app=app))
            except Conflict:
                return None
        except Conflict:
            return None

    def write(self, kind: Kind, namespace: str, name: str, app: str) -> None:
        self._write_by(self.world.memory, kind, namespace, name, app)

    def own_write(self, kind: Kind, namespace: str, name: str, app: str) -> None:
        made = self._write_by(self.own, kind, namespace, name, app)
        if made is not None:
            assert int(version_of(self.own.get(kind, namespace, name))) >= int(version_of(made))

    def slow_write(self, kind: Kind, namespace: str, name: str, app: str) -> None:
        """Ours, but its answer is still under way."""
        under_way = self.world.cache.asking(kind)
        under_way.__enter__()
        made = self._write_by(self.world.memory, kind, namespace, name, app)
        assert made is not None
        self.slow.append((kind, made, under_way))

    def answer(self) -> None:
        if self.slow:
            kind, made, under_way = self.slow.pop(0)
            self.world.cache.stands(kind, made, "writer")
            under_way.__exit__(None, None, None)  # type: ignore[attr-defined]

    def delete(self, kind: Kind, namespace: str, name: str, cluster: object = None) -> None:
        cluster = cluster or self.world.memory
        assert isinstance(cluster, WatchedMemory | CachedCluster)
        try:
            cluster.delete(kind, namespace, name, version_of(cluster.get(kind, namespace, name)))
        except (NotFound, Conflict):
            return

    def own_delete(self, kind: Kind, namespace: str, name: str) -> None:
        self.delete(kind, namespace, name, self.own)

    def _follower(self, index: int) -> Follower:
        return self.world.followers[index % len(self.world.followers)]

    def list(self, index: int) -> None:
        self._follower(index).ask()

    def apply(self, index: int) -> None:
        self._follower(index).apply()

    def step(self, index: int) -> None:
        if self.world.cache.synced(self._follower(index).scope):
            self._follower(index).step()

    def again(self, index: int, back: int) -> None:
        if self.world.cache.synced(self._follower(index).scope):
            self._follower(index).step(back)

    def bookmark(self, index: int) -> None:
        if self.world.cache.synced(self._follower(index).scope):
            self._follower(index).bookmark()

    def doubt(self, index: int) -> None:
        self.world.cache.doubted(self._follower(index).scope)

    def _asked(self, index: int) -> object:
        try:
            return QUESTIONS[index](self.views[index])
        except NotFound:
            return None

    def read_(self, index: int) -> None:
        self.views[index].fresh()
        self.read[index], self.since[index] = self._asked(index), len(self.world.calls)

    def finish(self) -> None:
        while self.slow:
            self.answer()
        for follower in self.world.followers:
            if follower.listed is None and not self.world.cache.synced(follower.scope):
                follower.ask()
            follower.finish()


@pytest.mark.parametrize("scopes", [SCOPES, WIDER], ids=["apart", "overlapping"])
@given(moves=st.lists(MOVES, max_size=60))
@settings(max_examples=150)
def test_any_interleaving_comes_to_what_the_cluster_holds(scopes: list[Scope], moves: list[tuple[object, ...]]) -> None:
    played = Interleaving(scopes)
    for move in moves:
        if move[0] == "read":
            played.read_(int(str(move[1])))
        else:
            played.play(move)
    played.finish()
    memory, cache = played.world.memory, played.world.cache
    for scope in scopes:
        wanted = memory.list(scope.kind, scope.namespace, dict(scope.labels))
        assert cache.select("", scope.kind, scope.namespace, dict(scope.labels)) == wanted
    held = {kind.name: memory.list(kind) for kind in (POD, VIRTUAL_SERVICE)}
    for kind, shelf in cache._shelves.items():
        kept = [one for names in shelf._kept.values() for one in names.values()]
        assert all(one in held[kind] for one in kept)
        assert len(kept) == sum(
            any(_in(scope, one) for scope in scopes if scope.kind.name == kind) for one in held[kind]
        )
    for index, seen in played.read.items():
        woken = any(str(index) in call.readers for call in played.world.calls[played.since[index] :])
        if not woken and (index or scopes is WIDER):  # of one without a label the others know nothing
            assert seen == played._asked(index), f"{index} was not woken"


def _in(scope: Scope, one: Document) -> bool:
    return scope.namespace in (None, one["metadata"]["namespace"]) and carries(one, dict(scope.labels))
