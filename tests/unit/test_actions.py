"""`--output github`: what the runner makes of our lines, and that nothing there can fail a rollout."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollout.cli import actions
from rollout.core.attempt import Attempt
from rollout.core.lifecycle import Phase, Reason
from tests.unit.test_report import attempt

ESCAPES = {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}


def understood(line: str) -> tuple[str, str, str]:
    """A line as the runner reads it: level, title and text."""
    found = re.fullmatch(r"::(\w+) title=([^,]*?)::(.*)", line)
    assert found, line
    title, text = (re.sub("|".join(ESCAPES), lambda it: ESCAPES[it[0]], part) for part in found.groups()[1:])
    return found[1], title, text


@settings(max_examples=40, deadline=None)
@given(st.text(), st.text())
@example("a, b: c%", "x\r\n::error::y %0A")
def test_the_runner_reads_what_we_meant(title: str, text: str) -> None:
    line = actions.command("error", title, text)
    assert not set("\r\n") & set(line)
    if not re.search(r"[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", line):
        assert understood(line) == ("error", title, text)


@settings(max_examples=40, deadline=None)
@given(st.text() | st.sampled_from(["a\n::set-output name=x::y", "b ##[add-mask]c", "##[##[x"]))
def test_no_line_of_the_log_is_a_command(text: str) -> None:
    line = f"12:00:00  {actions.harmless(text)}"
    assert len(line.splitlines()) == 1
    assert "##[" not in line


def told(capsys: pytest.CaptureFixture[str], *attempts: Attempt) -> list[str]:
    log = actions.Log()
    for one in attempts:
        log(one)
        log(one)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("::")]


def test_what_a_person_needs_to_see_is_annotated_once(capsys: pytest.CaptureFixture[str]) -> None:
    ended = attempt()
    moving = replace(ended, phase=Phase.SHIFTING, reason=None, message="0 → 5 %", ended=0.0)
    back = replace(ended, phase=Phase.ROLLING_BACK, message="Breach: it fails", ended=0.0)
    paused = replace(moving, phase=Phase.PAUSED, message="reviews was set to 0 %, by 50%")
    promoted = replace(ended, phase=Phase.PROMOTED, reason=None, message="v2 serves all of it")
    assert told(capsys, moving, paused, moving, back, ended) == [
        "::warning title=reviews v1 → v2%3A Paused::reviews was set to 0 %25, by 50%25",
        "::warning title=reviews v1 → v2%3A RollingBack::Breach: it fails",
        "::error title=reviews v1 → v2%3A RolledBack::rolled back: Breach: it fails",
    ]
    assert told(capsys, moving, promoted) == ["::notice title=reviews v1 → v2%3A Promoted::v2 serves all of it"]


def test_the_summary_and_the_outputs_are_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, outputs = tmp_path / "summary", tmp_path / "outputs"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    actions.close(actions.Log(), attempt(), 1, None)
    assert summary.read_text().startswith("before\n### ❌ reviews: v1 → v2: Rolled back (Breach) after 5m1s\n")
    assert outputs.read_text() == f"phase=RolledBack\nreason={Reason.BREACH}\n"


def test_a_summary_that_cannot_be_written_is_said_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "no" / "where"))
    actions.close(actions.Log(), attempt(), 1, None)
    assert capsys.readouterr().out.startswith("::warning title=rollout::the job's summary or outputs are not written")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    actions.close(actions.Log(), attempt(), 1, None)
    actions.close(actions.Log(), None, 130, None)
    assert capsys.readouterr().out == ""
