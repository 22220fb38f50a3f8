"""Messages to people: what they say, how many are kept, and that they arrive over real HTTP."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from rollout import wiring
from rollout.adapters import webhooks
from rollout.adapters.counters import CounterFiles
from rollout.adapters.folder import FolderCluster
from rollout.adapters.strategy_files import parse
from rollout.cli import driving, reporting
from rollout.cli.driving import Manners
from rollout.cli.explaining import explained
from rollout.cli.planning import planned, told
from rollout.core.address import SecretKey
from rollout.core.attempt import Attempt, Event
from rollout.core.lifecycle import Phase, Reason
from rollout.core.notices import HELD_AFTER, MOST, message, noticed
from rollout.core.strategy import Bake, Gate, Step
from rollout.engine.survey import Request, survey
from tests.fakes.serving import serving
from tests.simulation.world import World, strategy

DOCS = Path(__file__).parents[2] / "docs" / "messages.md"
SLACK = "https://slack.example/services/s3cret"


def attempt_at(**changes: Any) -> Attempt:
    world = World(seed=1, trouble=0.0, strategy=strategy(notify=SLACK))
    made: dict[str, Any] = {"phase": Phase.SHIFTING, "weight": Decimal(5), "step": 0}
    return replace(survey(world.cluster, world.request(), 1, world.now), **made | changes)


def told_of(before: Attempt | None, after: Attempt, now: float) -> list[Event]:
    return [notice.event for notice in noticed(before, after, now).notices]


def test_what_people_are_told_of() -> None:
    a = attempt_at()
    now = a.started
    assert told_of(None, a, now) == [Event.STARTED]
    assert told_of(a, replace(a, weight=Decimal(25), step=1), now) == []
    assert told_of(a, a.noted(now, "gone", phase=Phase.PAUSED), now) == [Event.PAUSED]
    assert told_of(a, a.noted(now, "Breach: bad", phase=Phase.ROLLING_BACK), now) == []
    back = a.noted(now, "Breach: bad", phase=Phase.ROLLING_BACK, reason=Reason.BREACH)
    assert told_of(back, replace(back, stuck=True), now) == [Event.STUCK]
    assert told_of(back, back, now + HELD_AFTER) == [Event.HELD]
    assert told_of(back, replace(back, phase=Phase.ROLLED_BACK), now) == [Event.ROLLED_BACK]
    assert noticed(None, replace(a, strategy=strategy()), now).notices == ()


@pytest.mark.parametrize(("url", "person"), [("", True), ("https://gate.example/", False)])
def test_a_gate_calls_a_person_unless_it_asks_a_webhook(url: str, person: bool) -> None:
    before = attempt_at()
    gate = Step(Decimal(5), Bake(0.0, 60.0), Gate(url))
    strategy = replace(before.strategy, steps=(before.strategy.steps[0], gate, *before.strategy.steps[1:]))
    after = replace(before, strategy=strategy, phase=Phase.WAITING, step=1)
    (notice,) = noticed(before, after, 0.0).notices
    assert message(notice, "reviews", "shop")["needs_person"] is person


def test_a_hold_is_told_once_though_something_else_is_written_between() -> None:
    a = attempt_at()
    held = a.noted(a.started, "holding: no metrics")
    assert told_of(held, held, a.started + HELD_AFTER - 1) == []
    once = noticed(held, held, a.started + HELD_AFTER)
    later = once.remarked(a.started + 400, "slack.example was not told").noted(a.started + 401, "holding: no metrics")
    assert told_of(once, later, a.started + 900) == [Event.HELD]
    assert noticed(once, later, a.started + 900).noticed == 1
    other = later.noted(a.started + 1000, "holding: no endpoint")
    assert noticed(other, other, a.started + 1000 + HELD_AFTER).noticed == 2


def test_what_waits_to_be_told_is_bounded_and_no_id_is_used_twice() -> None:
    a = attempt_at()
    for place in range(MOST + 5):
        a = noticed(a, a.noted(a.started, f"{place}", phase=Phase.PAUSED), a.started)
        a = replace(a, phase=Phase.SHIFTING)
    assert len(a.notices) == MOST
    assert len({notice.id for notice in a.notices}) == MOST
    assert a.notices[-1].id == f"{a.id}/{MOST + 5}"


def test_the_docs_name_every_field_and_every_event() -> None:
    a = attempt_at()
    said = message(noticed(None, a, a.started).notices[0], "reviews", "shop")
    shown = json.loads(re.findall(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)[0])
    assert list(shown) == list(said)
    assert all(f"`{field}`" in DOCS.read_text() for field in ("text", "id", "at", "message", *Event))


def test_a_sentence_says_what_happened_and_mentions_nobody() -> None:
    a = attempt_at()
    before = replace(a, phase=Phase.ROLLING_BACK, reason=Reason.REFUSED)
    text = "rolled back: Refused: <!channel> & <https://evil.example|click>"
    after = before.noted(a.started + 124, text, phase=Phase.ROLLED_BACK, weight=Decimal(0))
    said = message(noticed(before, after, a.started + 124).notices[0], "reviews", "shop")
    assert said["text"] == (
        "reviews in shop: v1 → v2 was taken back after 2m4s (Refused): "
        "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;"
    )
    assert said["message"] == "<!channel> & <https://evil.example|click>"
    assert (said["reason"], said["phase"], said["weight"]) == ("Refused", "RolledBack", "0")


def test_a_file_says_where_and_only_the_host_is_shown() -> None:
    text = "bake: 1m\nconfirm: 1m\nchecks: []\nsteps: [{weight: 100}]\nnotify: {url: %s}\n"
    made = parse(text % "{secret: hooks, key: slack}", "s", "s.yaml")
    assert made.notify == SecretKey("hooks", "slack")
    assert made.secrets == (SecretKey("hooks", "slack"),)
    assert parse(text % SLACK, "s", "s.yaml").notify == SLACK
    world, a = World(seed=1, trouble=0.0), attempt_at()
    plan = list(told(planned(world.cluster, a, None, fit=False)))
    assert "- people are told by https://slack.example/…" in plan
    waiting = noticed(None, a, a.started)
    lines = list(explained(waiting, a.started, ""))
    assert "People were not told yet: started." in lines
    report = list(reporting.strategy(reporting.made(a, None, a.started)))
    assert "people are told by https://slack.example/…" in report
    assert "s3cret" not in str((plan, lines, report))


# Over real HTTP


class Channel(BaseHTTPRequestHandler):
    statuses: list[int] = []  # noqa: RUF012 - a server makes one of us a request
    heard: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        Channel.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(Channel.statuses.pop(0) if Channel.statuses else 200)
        self.end_headers()
        self.wfile.write(b"ok")


@pytest.fixture
def url() -> Iterator[str]:
    Channel.statuses, Channel.heard = [], []
    with serving(Channel) as here:
        yield f"{here}/services/s3cret"


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, ""), (204, ""), (302, "127.0.0.1 answers with status 302"), (403, "127.0.0.1 answers with status 403")],
)
def test_only_a_2xx_says_that_it_arrived(url: str, status: int, said: str) -> None:
    Channel.statuses = [status]
    hooks, until = webhooks.HttpWebhooks(), time.monotonic() + 10
    while (found := hooks.deliver(url, {"text": "a"})) is None and time.monotonic() < until:
        time.sleep(0.01)
    assert (found, Channel.heard) == (said, [{"text": "a"}])


def test_a_whole_rollout_tells_a_real_server(url: str, cluster: Path) -> None:
    """The first answer is no 2xx, so the first message comes twice."""
    Channel.statuses = [500]
    steps = (Step(Decimal(100), Bake(0.0, 0.0)),)
    made = strategy(notify=url, steps=steps, checks=(), confirm=1.5, propagation=0.2)
    engine = wiring.engine(FolderCluster(cluster), CounterFiles(cluster), "reviews", "bookinfo")
    lines: list[str] = []

    def tell(attempt: Attempt | None, notice: str) -> None:
        lines.append(notice)

    attempt, code = driving.promote(engine, Request("reviews", "bookinfo", "v2", made), Manners(), tell)
    assert (code, attempt and attempt.notices) == (0, ())
    assert [one["event"] for one in Channel.heard] == ["started", "started", "promoted"]
    assert Channel.heard[0] == Channel.heard[1]
    assert Channel.heard[2]["text"].startswith("reviews in bookinfo: v1 → v2 is promoted after ")
    assert "s3cret" not in "".join(lines)
    assert not [entry for entry in (attempt.journal if attempt else ()) if "s3cret" in entry.text]
