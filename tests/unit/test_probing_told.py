"""What people are told of probes, by `plan` and `explain`, and that a URL's secrets are not."""

from dataclasses import replace
from pathlib import Path

from rollout.adapters.strategy_files import parse
from rollout.cli.console import document
from rollout.cli.explaining import explained
from rollout.core.attempt import Attempt, RouteRef
from rollout.core.lifecycle import Phase
from rollout.core.probe import Outcome, Probed
from rollout.engine.probing import Prober
from rollout.ports import Answered, Errand
from tests.simulation.world import probing, strategy
from tests.unit.test_bad_input import step
from tests.unit.test_default_strategy import rollout

URL = "https://ann:pw@shop.example/health?key=secret"
AT = Attempt(
    1, "reviews", "shop", "v1", "v2", strategy(steps=(probing(url=URL), *strategy().steps)),
    (RouteRef("shop", "reviews", ("*",)),), started=0.0, deadline=900.0, phase=Phase.SHIFTING, step=0, since=60.0,
    landed=60.0, message="probing", probed=Probed(Outcome.OPEN, "v2 answers 3 of 3 probes as expected, v1 3 of 3"),
)  # fmt: skip


def test_a_plan_says_what_is_sent_and_where(cluster: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(step(f"{{probe: {{url: '{URL}', outside: true, rps: 2, timeout: 5m}}}}"))
    code, out, err = rollout(cluster, "plan", "--strategy", str(path))
    assert (code, err) == (0, "")
    assert "20 requests GET https://shop.example/… for each version, 2 a second, expecting 2xx; takes 10s to 5m" in out
    assert "probes leave the cluster, to https://shop.example/…" in out
    assert "probes are told from users' requests by the header x-rollout-probe" in out
    assert "+- name: rollout.dev/reviews.bookinfo.svc.cluster.local/probe/name:primary" in out
    assert "secret" not in out
    assert "pw" not in out


def test_explain_and_status_say_what_was_answered() -> None:
    told = "\n".join(explained(AT, 70.0, ""))
    assert "Of its probes: v2 answers 3 of 3 probes as expected" in told
    assert "It waits for answers to its probes until" in told
    shown = document(AT)
    assert shown["probes"]["text"].startswith("v2 answers 3 of 3")
    assert "secret" not in told + str(shown)


class Answering:
    """Gives out what a test puts in."""

    def __init__(self) -> None:
        self.ready: list[Answered] = []
        self.wanted = (0, 0)

    def answers(self, errand: Errand, stable: int, canary: int) -> list[Answered]:
        self.wanted = stable, canary
        given, self.ready = self.ready, []
        return given


def both(count: int, status: int = 200) -> list[Answered]:
    return [Answered(canary, status if canary else 200, 0.1) for canary in (True, False)] * count


def test_what_tells_nothing_is_asked_for_again() -> None:
    probes = Answering()
    prober = Prober(probes)
    probes.ready = [*both(5), Answered(True, silent="nobody there"), Answered(False, 200, 0.1, marked=False)]
    found = prober.probed(AT)
    assert found is not None
    assert found.outcome is Outcome.OPEN
    assert "2 tell nothing (an answer that came by no route of ours)" in found.text
    prober.probed(AT)
    assert probes.wanted == (21, 21)


def test_a_breach_is_not_forgotten_and_another_step_begins_anew() -> None:
    probes = Answering()
    prober = Prober(probes)
    probes.ready = both(20, 500)
    for ready in ([], both(500)):
        found = prober.probed(AT)
        assert found is not None
        assert found.outcome is Outcome.FAILED
        probes.ready = ready
    found = prober.probed(replace(AT, landed=90.0))
    assert found is not None
    assert found.text == "v2 answers 500 of 500 probes as expected, v1 500 of 500"
    assert prober.probed(replace(AT, phase=Phase.PAUSED)) is None


def test_the_first_round_is_not_the_last_where_it_says_neither() -> None:
    probes = Answering()
    prober = Prober(probes)
    probes.ready = [*both(4, 500), *both(16)]
    for wanted in (40, 80):
        found = prober.probed(AT)
        assert found is not None
        assert found.outcome is Outcome.OPEN
        prober.probed(AT)
        assert probes.wanted == (wanted, wanted)
        probes.ready = [*both(wanted // 10, 500), *both(wanted // 2 - wanted // 10)]
    found = prober.probed(AT)
    assert found is not None
    assert found.outcome is Outcome.FAILED


def test_a_step_of_probes_is_read_as_it_is_written() -> None:
    made = parse(step("{probe: {url: 'http://reviews/', expect: {status: 3xx, within: 1500ms}}}"), "s", "s").steps[0]
    assert made.probe is not None
    assert made.probe.expect.lacks(302, 1.4, True) == ""
    assert made.probe.expect.lacks(200, 1.4, True) == "status 200 instead of 3xx"
    assert made.probe.expect.lacks(302, 1.6, True) == "an answer after 1.6 s instead of 1.5 s"
    assert str(made.probe) == "probing http://reviews/…"
