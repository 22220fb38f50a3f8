"""`rollout report`: what it counts, what it does without a store, and that no text breaks out of it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # which rich needs, so it is there

from rollout.adapters.strategy_files import load
from rollout.cli import report_html, report_markdown
from rollout.cli.reporting import Report, hurt, made, report_document, reported
from rollout.core.attempt import Attempt, Entry, Reading, Verdict
from rollout.core.errors import Unavailable
from rollout.core.lifecycle import Phase, Reason
from rollout.engine.recounting import recounted
from rollout.judge.looks import Snapshot
from rollout.lab.traffic import Truth
from rollout.ports import Target
from tests.fakes.past import BEGAN, EVERY, Past

BAD = Truth(100, 0.001, 0.05, scrape=EVERY)
HOSTILE = (
    "<script>alert(1)</script>", "a|b", "`c`", "one\n\n# two\n- three", "&lt;b&gt;", '"><img src=x onerror=y>', "](x)",
    "https://evil.example", "www.evil.example", "@somebody", "**b** __c__ ~~d~~", "</details>", "\\", "\\|", "$x$",
)  # fmt: skip
WILD = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["C"], include_characters="\r\n\t"))
)


def attempt(canary: str = "v2", said: str = "Breach: it fails") -> Attempt:
    """Five minutes at 5 %, then back."""
    lines = ((0, "v1 → v2", 0), (0, "0 → 5 %", 5), (300, said, 0), (301, f"rolled back: {said}", 0))
    return Attempt(
        1, "reviews", "shop", "v1", canary, load("canary"), (), BEGAN, BEGAN + 3600, Phase.ROLLED_BACK,
        counted=("v1", "v2"), reason=Reason.BREACH, message=f"rolled back: {said}", ended=BEGAN + 301,
        last=Reading(Verdict.ROLLBACK, said, hurt=7),
        journal=tuple(Entry(BEGAN + at, text, Decimal(weight)) for at, text, weight in lines),
    )  # fmt: skip


@cache
def past() -> Past:
    return Past(BAD, ((300, 5), (300, 0)))


@cache
def counted() -> Report:
    return reported(attempt(), past(), BEGAN + 600)


class Away(Past):
    """A store that does not answer."""

    def __init__(self) -> None:
        pass

    def interval(self, target: Target) -> float | None:
        raise Unavailable("Prometheus does not answer")


class Forgetful(Past):
    """A store that has lost the first minutes."""

    def snapshots(
        self, target: Target, start: float, end: float, step: float, edges: tuple[float, ...] | None = ()
    ) -> list[Snapshot]:
        kept = super().snapshots(target, start, end, step, edges)
        return [one if one.at > BEGAN + 150 else Snapshot(one.at) for one in kept]


def test_it_counts_what_the_users_saw_and_how_the_evidence_grew() -> None:
    found = counted()
    assert found.recount is not None
    (standing,) = found.standings
    assert (standing.weight, standing.since, standing.until) == (Decimal(5), BEGAN, BEGAN + 300)
    failed = past().truth["v2"]
    assert f"{failed} requests of users failed on v2." == next(hurt(found))
    assert standing.canary is not None
    assert standing.stable is not None
    assert standing.canary.failures == failed
    assert 0.04 < standing.canary.requests / (standing.canary.requests + standing.stable.requests) < 0.06
    assert max(s.to_go_back or 0 for s in found.recount.stretches) == 1
    assert not found.missing


def test_scripts_get_the_same_as_data() -> None:
    data = json.loads(json.dumps(report_document(counted()), allow_nan=False))
    assert data["outcome"] == "Rolled back (Breach) after 5m1s"
    assert data["standings"][0]["canary"]["failures"] == past().truth["v2"]
    assert sum(s["canary"]["failures"] for s in data["stretches"]) == past().truth["v2"]
    assert [entry["weight"] for entry in data["journal"]] == ["0", "5", "0", "0"]


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (None, "no Prometheus is named"),
        (Away(), "Prometheus does not answer"),
        (Past(BAD, ((15, 0),), since=1e12), "the store has no counters"),
    ],
)
def test_without_a_store_the_record_speaks_and_the_rest_is_said_to_be_missing(store: Past | None, said: str) -> None:
    found = reported(attempt(), store, BEGAN + 600)
    assert found.recount is None
    assert said in found.missing[0]
    assert list(hurt(found)) == ["At least 7 requests of users failed on v2: so many the judge had written down."]
    page = report_html.page(found)
    assert page.count("<figure>") == 1, "the weight is known from the record"
    assert f"not here: {said}" in page
    assert "| 5 % |" in report_markdown.page(found)


def test_what_the_store_has_lost_is_said() -> None:
    forgetful = Forgetful(BAD, ((300, 5), (300, 0)))
    missing = reported(attempt(), forgetful, BEGAN + 600).missing
    assert missing[0].startswith("The store has no counters from before ")
    assert missing[1].endswith("of clients that were new or had restarted.")


def test_a_record_of_an_older_version_has_no_weights_and_says_so() -> None:
    old = replace(attempt(), journal=tuple(Entry(e.at, e.text) for e in attempt().journal))
    found = made(old, recounted(past(), old, BEGAN + 600), BEGAN + 600)
    assert found.standings == ()
    assert any("weights are not here" in line for line in found.missing)
    assert "it fails" in report_html.page(found)


def test_one_that_just_began_has_little_to_tell() -> None:
    fresh = replace(attempt(), phase=Phase.PREFLIGHT, ended=0.0, reason=None, last=None, journal=())
    for now in (BEGAN, BEGAN + 5):
        found = reported(fresh, None, now)
        assert "not known whether anybody was hurt" in next(hurt(found))
        assert report_html.page(found)
        assert report_markdown.page(found)


class Shape(HTMLParser):
    """A document's elements with the names of their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Sequence[str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(("/", tag))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        self.text += data


@settings(max_examples=25, deadline=None)
@given(WILD)
@example("".join(HOSTILE))
def test_no_text_breaks_out_of_the_html(text: str) -> None:
    recount = counted().recount
    shape, plain = (Shape(report_html.page(made(attempt(*it), recount, BEGAN))) for it in ((text, text), ("v2", "x")))
    assert shape.elements == plain.elements
    assert text in shape.text


def tokens(text: str) -> tuple[list[tuple[str, str]], str]:
    """What Markdown makes of a text: its elements and what a reader sees."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    every = [inline for block in parser.parse(text) for inline in (block, *(block.children or ()))]
    kinds = [(t.type, t.tag) for t in every if t.type not in ("text", "inline", "html_inline", "text_special")]
    assert all(t.content == "<!-- -->" for t in every if t.type == "html_inline")
    return kinds, "".join(t.content for t in every if t.type in ("text", "text_special"))


@settings(max_examples=25, deadline=None)
@given(WILD)
@example(" ".join(HOSTILE))
def test_no_text_breaks_out_of_the_markdown(text: str) -> None:
    recount = counted().recount
    pages = [report_markdown.page(made(attempt(*it), recount, BEGAN)) for it in ((text, text), ("v2", "x"))]
    (wild, seen), (tame, _) = map(tokens, pages)
    assert wild == tame
    assert " ".join(text.split())[:500] in seen
    assert "https://" not in pages[0], "GitHub would make a link of it"


def test_a_comment_takes_the_longest_report() -> None:
    long = replace(attempt(), journal=tuple(Entry(BEGAN, "|" * 10_000, Decimal(5)) for _ in range(40)))
    assert len(report_markdown.page(made(long, None, BEGAN))) < 65_536


def test_a_report_needs_a_rollout(cluster: Path) -> None:
    command = [sys.executable, "-m", "rollout", "report", "reviews", "--cluster", str(cluster)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing of reviews was ever promoted from here" in done.stderr
