"""Where a ServiceRollout asks for a service: where its record lies, who may drive it, and what the verbs say of it."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rollout import wiring
from rollout.adapters.folder import FolderCluster
from rollout.cli.app import app
from rollout.cli.console import at
from rollout.cli.declaring import Leaderless
from rollout.controller.leading import Leader
from rollout.core.attempt import Attempt, Record
from rollout.core.documents import CONFIG_MAP, KINDS, LEASE, SERVICE_ROLLOUT, Document, Kind, version_of
from rollout.core.errors import Forbidden, InvalidInput, NotFound, RolloutError
from rollout.core.lifecycle import Phase, Reason
from rollout.core.quantities import stamp
from rollout.engine.byhand import HOME, ByHand, leader
from rollout.engine.lease import DURATION, Holder
from rollout.engine.objects import object_for
from rollout.engine.state import FoundShelf, StateStore
from rollout.engine.status import waiting_since
from tests.fakes.memory import MemoryCluster
from tests.unit.test_report import attempt

SPEC = {"service": "reviews", "version": "v1", "strategy": {"name": "canary"}}


def rolled_out(cluster: Any, name: str = "ours", made: str = "2026-01-01T00:00:00Z", **spec: Any) -> Document:
    """A ServiceRollout for reviews."""
    metadata = {"name": name, "namespace": "bookinfo", "creationTimestamp": made}
    document: Document = cluster.create(SERVICE_ROLLOUT, {"metadata": metadata, "spec": SPEC | spec})
    return document


def recorded(cluster: Any, known: Attempt) -> None:
    store = StateStore(FoundShelf(cluster, "reviews", "bookinfo"))
    store.read()
    store.write(Record(known), time.time())


def flying() -> Attempt:
    now = time.time()
    return replace(
        attempt(),
        namespace="bookinfo",
        phase=Phase.SHIFTING,
        reason=None,
        started=now,
        deadline=now + 900,
        cleaned=False,
        routes=(),
    )


def asked(cluster: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--cluster", str(cluster)])


def leading(cluster: Any, now: float) -> Leader:
    leader = Leader(cluster, HOME, "controller-1")
    assert leader.renew(now)
    return leader


class Narrow(MemoryCluster):
    """Where this kind is not served, or may not be listed."""

    def __init__(self, kind: Kind, error: type[RolloutError]) -> None:
        super().__init__()
        self.kind, self.error, self.asked = kind, error, 0

    def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Document]:
        if kind is self.kind:
            self.asked += 1
            raise self.error(f"cannot list {kind.plural}")
        return super().list(kind, namespace, labels)


def test_of_several_objects_the_oldest_counts() -> None:
    cluster = MemoryCluster()
    assert object_for(cluster, "reviews", "bookinfo") is None
    rolled_out(cluster, "younger", "2026-02-01T00:00:00Z")
    rolled_out(cluster, "older")
    rolled_out(cluster, "another", "2025-01-01T00:00:00Z", service="ratings")
    found = object_for(cluster, "reviews", "bookinfo")
    assert found is not None
    assert found["metadata"]["name"] == "older"
    assert object_for(cluster, "reviews", "elsewhere") is None


@pytest.mark.parametrize("error", [NotFound, Forbidden])
def test_without_the_kind_the_record_lies_in_a_config_map(error: type[RolloutError]) -> None:
    cluster = Narrow(SERVICE_ROLLOUT, error)
    recorded(cluster, flying())
    assert cluster.asked == 1, "one request, however often it is read and written"
    assert cluster.get(CONFIG_MAP, "bookinfo", "rollout-reviews")


def test_with_an_object_the_record_lies_in_its_status(cluster: Path) -> None:
    folder = FolderCluster(cluster)
    rolled_out(folder)
    recorded(folder, flying())
    assert not folder.list(CONFIG_MAP)
    document = folder.get(SERVICE_ROLLOUT, "bookinfo", "ours")
    assert document["status"]["phase"] == Phase.SHIFTING
    assert document["metadata"]["finalizers"]
    done = asked(cluster, "status", "reviews", "--output", "json")
    assert json.loads(done.stdout)["phase"] == Phase.SHIFTING
    assert json.loads(done.stdout)["unattended"] is True
    leading(folder, time.time())
    done = asked(cluster, "status", "reviews", "--output", "json")
    assert json.loads(done.stdout)["unattended"] is False, "a controller leads"
    told = asked(cluster, "status", "reviews", "--lease-namespace", "elsewhere").stdout
    assert "no controller ever led in elsewhere (--lease-namespace, if it is elsewhere): nobody drives" in told


def test_a_word_goes_to_the_status_and_leaves_the_rest_to_the_controller(cluster: Path) -> None:
    folder = FolderCluster(cluster)
    rolled_out(folder)
    recorded(folder, flying())
    done = asked(cluster, "pause", "reviews", "--as", "ann", "--because", "lunch")
    assert done.exit_code == 0, done.output
    status = folder.get(SERVICE_ROLLOUT, "bookinfo", "ours")["status"]
    assert (status["phase"], status["message"]) == (Phase.PAUSED, "paused by ann: lunch")
    assert status["observedGeneration"] == -1, "that the spec was acted upon is for the controller to say"
    assert asked(cluster, "resume", "reviews").exit_code == 0
    known = StateStore(FoundShelf(folder, "reviews", "bookinfo")).read().attempt
    assert known is not None
    assert known.resume


@pytest.mark.parametrize("verb", ["status", "explain"])
def test_what_stalls_an_object_is_told(cluster: Path, verb: str) -> None:
    folder = FolderCluster(cluster)
    document = rolled_out(folder)
    condition = {"type": "Stalled", "status": "True", "reason": "InvalidSpec", "message": "spec.version: 7 is no text"}
    folder.patch(
        SERVICE_ROLLOUT, "bookinfo", "ours", {"status": {"conditions": [condition]}}, version_of(document), "status"
    )
    told = "ServiceRollout bookinfo/ours is stalled: InvalidSpec: spec.version: 7 is no text"
    assert told in asked(cluster, verb, "reviews").stdout
    recorded(folder, replace(attempt(), namespace="bookinfo", cleaned=True))
    assert told not in asked(cluster, verb, "reviews").stdout, "the record's writer found out anew"


def test_status_says_which_version_is_to_be_retired_next_and_when(cluster: Path) -> None:
    folder = FolderCluster(cluster)
    rolled_out(folder, version="v2", retire={"after": "24h"})
    promoted = replace(attempt(), namespace="bookinfo", phase=Phase.PROMOTED, reason=None, cleaned=True)
    recorded(folder, promoted)
    document = folder.get(SERVICE_ROLLOUT, "bookinfo", "ours")
    due = at(promoted.ended + 86400, date=True)
    assert document["status"]["retireAt"] == stamp(promoted.ended + 86400)
    line = f"v1 is to be retired from {due} on, if nobody asks it"
    for more in ((), ("--watch",)):
        assert asked(cluster, "status", "reviews", *more).stdout.splitlines()[-1] == line
    assert "retired" not in asked(cluster, "status", "reviews", "-o", "json").stdout
    folder.patch(SERVICE_ROLLOUT, "bookinfo", "ours", {"spec": {"retire": {"after": "never"}}}, version_of(document))
    assert "retired" not in asked(cluster, "status", "reviews").stdout


@pytest.mark.parametrize(
    ("status", "since"),
    [
        ({}, "2026-01-01T00:00:00Z"),
        ({"observedGeneration": -1}, "2026-01-01T00:00:00Z"),
        ({"observedGeneration": 1}, "1970-01-01T00:01:00Z"),
        ({"observedGeneration": 1, "waitingSince": "2026-02-02T00:00:00Z"}, "2026-02-02T00:00:00Z"),
    ],
)
def test_who_was_not_seen_yet_waits_since_it_was_made_and_who_asked_for_a_version_since_now(
    status: Document, since: str
) -> None:
    metadata = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    assert waiting_since({"metadata": metadata, "spec": {"trigger": "newVersion"}, "status": status}, 60.0) == since


def test_history_and_report_read_the_status(cluster: Path) -> None:
    folder = FolderCluster(cluster)
    rolled_out(folder)
    recorded(folder, replace(attempt(), namespace="bookinfo", cleaned=True))
    assert json.loads(asked(cluster, "history", "reviews", "--output", "json").stdout)[0]["number"] == 1
    assert "reviews" in asked(cluster, "report", "reviews", "--format", "markdown").stdout


# --- who drives ------------------------------------------------------------------------------------------------


def by_hand(cluster: Any, name: str = "person", governed: bool = True) -> ByHand:
    return ByHand(cluster, Holder(cluster, "rollout-reviews", "bookinfo", name), HOME, lambda: governed)


def held(cluster: Any) -> str:
    try:
        lease = cluster.get(LEASE, "bookinfo", "rollout-reviews")
    except NotFound:
        return ""
    return str(lease["spec"]["holderIdentity"])


def test_nobody_drives_by_hand_beside_a_controller() -> None:
    cluster = MemoryCluster()
    leader, hold = leading(cluster, 100.0), by_hand(cluster)
    assert not hold.hold(100.0)
    assert hold.other == "the controller controller-1"
    assert not held(cluster)
    assert hold.wait(100.0) == DURATION
    assert leader.renew(110.0)
    assert not hold.hold(110.0)
    assert not hold.hold(124.0)
    assert hold.hold(110.0 + DURATION), "it was not renewed for so long by our own clock"
    assert (hold.fence, held(cluster)) == (1, "person")
    assert hold.sure(126.0)
    hold.release(126.0)
    assert (hold.fence, held(cluster)) == (0, "")


def test_a_controller_for_some_objects_counts_as_well() -> None:
    cluster = MemoryCluster()
    Leader(cluster, HOME, "controller-1", name="rollout-controller-289b4946").renew(100.0)
    assert not by_hand(cluster).hold(100.0)


def test_a_controller_that_came_first_by_a_moment_has_it() -> None:
    """It took its Lease between our two looks."""
    cluster = MemoryCluster()
    hold = by_hand(cluster)

    def once(*_: object) -> None:
        cluster.on_write = None
        leading(cluster, 100.0)

    cluster.on_write = once
    assert not hold.hold(100.0)
    assert (hold.fence, held(cluster)) == (0, ""), "ours was let go"
    assert not hold.sure(100.0)


def test_without_an_object_no_controller_concerns_us() -> None:
    cluster = MemoryCluster()
    leading(cluster, 100.0)
    hold = by_hand(cluster, governed=False)
    assert hold.hold(100.0)
    assert hold.unattended(100.0) is None
    hold.release(101.0)
    assert hold.unattended(101.0) == 101.0


def test_who_may_not_see_who_leads_does_not_drive() -> None:
    cluster = Narrow(LEASE, Forbidden)
    hold = by_hand(cluster)
    assert not hold.hold(100.0)
    assert "may not list the Leases of rollout-system" in hold.other
    assert hold.unattended(100.0) is None
    with pytest.raises(Forbidden):
        leader(cluster, HOME, 100.0)


def test_abort_takes_back_where_no_controller_lives(cluster: Path) -> None:
    folder = FolderCluster(cluster)
    rolled_out(folder)
    recorded(folder, flying())
    done = asked(cluster, "abort", "reviews", "--output", "json")
    assert (done.exit_code, json.loads(done.stdout)["phase"]) == (0, Phase.ROLLED_BACK)
    document = folder.get(SERVICE_ROLLOUT, "bookinfo", "ours")
    assert document["status"]["reason"] == "Aborted"
    assert not document["metadata"].get("finalizers")


def test_an_engine_is_wired_to_the_object(cluster: Path) -> None:
    folder = FolderCluster(cluster)
    rolled_out(folder)
    made = wiring.engine(folder, wiring.folder_world(cluster)[1], "reviews", "bookinfo")
    assert made.states.read() == Record()
    assert made.states.declared is not None
    assert made.states.declared["spec"]["version"] == "v1"


# --- what is asked of the object -------------------------------------------------------------------------------

TO_V2 = ("promote", "reviews", "--to", "v2", "--yes")


def back() -> Attempt:
    return replace(attempt(), namespace="bookinfo", phase=Phase.ROLLED_BACK, reason=Reason.ABORTED, cleaned=True)


def done() -> Attempt:
    return replace(attempt(), namespace="bookinfo", phase=Phase.PROMOTED, reason=None, cleaned=True)


@pytest.mark.parametrize(
    ("known", "version", "leads", "arguments", "error", "said"),
    [
        (None, "v1", False, TO_V2, Leaderless, "no controller lives in rollout-system"),
        (back, "v2", False, ("retry", "reviews"), Leaderless, "--local drives from here"),
        (done, "v2", False, ("undo", "reviews"), Leaderless, "no controller lives in rollout-system"),
        (None, "v1", True, (*TO_V2, "--strategy", "cautious"), InvalidInput, "edit its spec.strategy"),
        (None, "v1", True, (*TO_V2, "--scale", "auto"), InvalidInput, "says `scale: wait`; edit its spec.scale"),
        (None, "v1", True, (*TO_V2, "--scale", "up"), InvalidInput, "--scale is wait or auto, not 'up'"),
        (
            None,
            "v1",
            True,
            (*TO_V2, "--route", "x"),
            InvalidInput,
            "which routes with a match move (none); edit its spec",
        ),
        (None, "v1", True, (*TO_V2, "--from", "v3"), InvalidInput, "the controller finds that v1 serves, not v3"),
        (None, "v1", True, (*TO_V2, "--local"), InvalidInput, "the controller controller-1 lives"),
        (done, "v2", True, ("undo", "reviews", "--local"), InvalidInput, "the controller controller-1 lives"),
        (back, "v1", True, ("retry", "reviews"), InvalidInput, "what went back was v2: `rollout promote reviews"),
        (back, "v2", True, ("undo", "reviews"), InvalidInput, "nothing was promoted"),
        (done, "v2", True, TO_V2, InvalidInput, "has brought reviews to v2 already"),
    ],
)
def test_what_cannot_be_asked_of_the_object_leaves_everything_as_it_is(
    cluster: Path,
    known: Callable[[], Attempt] | None,
    version: str,
    leads: bool,
    arguments: tuple[str, ...],
    error: type[RolloutError],
    said: str,
) -> None:
    folder = FolderCluster(cluster)
    rolled_out(folder, version=version)
    if known:
        recorded(folder, known())
    if leads:
        leading(folder, time.time())
    before = [folder.list(kind) for kind in KINDS.values()]
    result = asked(cluster, *arguments)
    assert isinstance(result.exception, error)
    assert said in str(result.exception)
    assert [folder.list(kind) for kind in KINDS.values()] == before
