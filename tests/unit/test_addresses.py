"""URLs that may be secrets: nobody is shown more than the host, and a Secret's are in no record and no message."""

import base64
import logging
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from rollout.adapters import webhooks
from rollout.adapters.strategy_files import parse
from rollout.cli.planning import planned, told
from rollout.core.address import SecretKey, shown
from rollout.core.attempt import Word
from rollout.core.documents import CONFIG_MAP, SECRET, Document, Kind
from rollout.core.errors import Forbidden, InvalidInput
from rollout.core.lifecycle import Phase
from rollout.core.strategy import Bake, Gate, OnNo, Step
from rollout.engine import rights
from rollout.engine.asking import opened
from rollout.engine.survey import survey
from tests.fakes.memory import MemoryCluster
from tests.simulation.world import Faults, World, drive, strategy

CLEAR = "https://gate.example/T0/sesame?key=sesame"
WHERE = SecretKey("hooks", "freeze")
CODED = base64.b64encode(f"{CLEAR}\n".encode()).decode()


def secret(**parts: Mapping[str, str] | None) -> Document:
    metadata = {"name": "hooks", "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **parts}


def kept(document: Document | None) -> MemoryCluster:
    cluster = MemoryCluster()
    if document:
        cluster.create(SECRET, document)
    return cluster


def world(document: Document | None) -> World:
    """A rollout that waits at 5 % for the webhook whose URL the Secret keeps."""
    plain = strategy()
    gate = Step(Decimal(5), Bake(0.0, 60.0), Gate(WHERE, on_no=OnNo.WAIT))
    made = World(7, trouble=0.0, strategy=replace(plain, steps=(plain.steps[0], gate, *plain.steps[1:]), deadline=0.0))
    if document:
        made.cluster.create(SECRET, document)
    return made


@pytest.mark.parametrize("document", [secret(stringData={"freeze": CLEAR}), secret(data={"freeze": CODED})])
def test_a_secret_gives_its_url(document: Document) -> None:
    assert opened(kept(document), "shop", WHERE) == CLEAR


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "there is no Secret hooks in namespace shop"),
        (secret(data={"other": CODED}), "Secret hooks in namespace shop has no key freeze"),
        (secret(data=None), "Secret hooks in namespace shop has no key freeze"),
        (secret(data={"freeze": CLEAR}), "Secret hooks, key freeze in namespace shop is not text in base64"),
        (secret(stringData={"freeze": "sesame"}), "Secret hooks, key freeze in namespace shop holds no URL"),
    ],
)
def test_what_is_not_there_is_bad_input_that_names_it_and_not_its_value(document: Document | None, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        opened(kept(document), "shop", WHERE)
    assert "sesame" not in str(caught.value)
    if document is None:
        made = world(None)
        with pytest.raises(InvalidInput, match=said):
            survey(made.cluster, made.request(), 1, made.now)


def test_a_file_names_a_url_or_the_secret_that_keeps_it() -> None:
    file = "bake: 1m\nconfirm: 1m\nchecks: []\nsteps:\n- gate: {webhook: %s}\n- weight: 100\n"
    made = parse(file % "{secret: hooks, key: freeze}", "s", "s.yaml")
    assert made.secrets == (WHERE,)
    assert str(made.steps[0].act) == "asking the URL in Secret hooks, key freeze"
    assert parse(file % f"'{CLEAR}'", "s", "s.yaml").secrets == ()
    for wrong in ("sesame", "{secret: sesame}", "{secret: sesame, key: 5}", "{secret: a, key: b, more: sesame}"):
        with pytest.raises(InvalidInput, match=r"s.yaml:5: steps.0.gate.webhook: this is no URL") as caught:
            parse(file % wrong, "s", "s.yaml")
        assert "sesame" not in str(caught.value)


def test_the_record_holds_the_reference_and_the_webhook_is_asked_at_the_url() -> None:
    made = world(secret(data={"freeze": CODED}))
    records: list[str] = []
    made.cluster.on_write = lambda key, before, after: records.append(str(after)) if key[0] == CONFIG_MAP.name else None
    drive(made, lambda life: Faults(), lambda w: None)
    attempt = made.attempt()
    assert attempt is not None
    assert attempt.phase is Phase.PROMOTED
    assert set(made.webhooks.urls) == {CLEAR}
    assert records
    assert not [record for record in records if "sesame" in record]
    assert any(entry.text.startswith("asking the URL in Secret hooks, key freeze") for entry in attempt.journal)


def test_a_secret_that_goes_away_in_flight_is_no_answer_and_the_canary_is_judged_on() -> None:
    made = world(secret(data={"freeze": CODED}))
    made.webhooks.said = Word(False, "gate.example")

    def each(w: World) -> None:
        if w.webhooks.asked:
            w.write_by_hand((SECRET.name, "shop", "hooks"), None)
            w.failing["v2"] = 0.3

    drive(made, lambda life: Faults(), each)
    attempt = made.attempt()
    assert attempt is not None
    assert (attempt.phase, attempt.reason) == (Phase.ROLLED_BACK, "Breach")
    assert any("there is no Secret hooks in namespace shop" in entry.text for entry in attempt.journal)


def test_the_right_to_read_it_is_demanded_where_it_is_needed() -> None:
    class Blind(MemoryCluster):
        def may(self, verb: str, kind: Kind, namespace: str | None, name: str = "") -> bool:
            return kind is not SECRET or name == "others"

    made = world(secret(data={"freeze": CODED}))
    attempt = survey(made.cluster, made.request(), 1, made.now)
    with pytest.raises(Forbidden, match="we may not get secrets hooks in shop"):
        rights.demand(Blind(), attempt, subsets=False)
    rights.demand(Blind(), replace(attempt, strategy=strategy()), subsets=False)
    assert "- a URL is read from Secret hooks, key freeze in namespace shop" in told(
        planned(made.cluster, attempt, None, fit=False)
    )


@pytest.mark.parametrize(
    "url", [CLEAR, "http://127.0.0.1:9/sesame", "https://exa mple/sesame", "https://\udcff/sesame"]
)
def test_nobody_who_logs_or_reads_messages_sees_more_than_the_host(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with caplog.at_level(logging.DEBUG):
        said = webhooks.asked(url, {})
    assert "does not answer" in str(said)
    assert "sesame" not in f"{said}{caplog.text}{shown(url)}"
