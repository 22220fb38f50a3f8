"""The report as Markdown, as GitHub and GitLab render it in comments and job summaries."""

import html
import re
from collections.abc import Iterator

from rollout.cli.console import at, zone
from rollout.cli.reporting import Report, columns, hurt, row, strategy
from rollout.core.lifecycle import Phase

LONGEST = 600
"""Characters of one text: a comment may have 65 536 in all."""
SIGNS = {Phase.PROMOTED: "✅", Phase.ROLLED_BACK: "❌", Phase.ROLLING_BACK: "❌", Phase.PAUSED: "⏸️", Phase.WAITING: "⏸️"}
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>|~&$^]|(?<=:)//|(?<=www)\.")


def plain(text: str) -> str:
    r"""Text that Markdown shows as it is, in one line: no markup, no link, nobody called by an @.

    It must not begin a line.

    >>> plain("a|b `c` <d>\ne @f"), plain("see https://x")
    ('a\\|b \\`c\\` \\<d\\> e @<!-- -->f', 'see https:\\/\\/x')
    """
    words = " ".join(text.split())
    cut = words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"
    escaped = _SPECIAL.sub(lambda found: "".join(f"\\{sign}" for sign in found[0]), cut)
    return escaped.replace("@", "@<!-- -->")


def page(r: Report) -> str:
    """The report, ending in a line break."""
    return "\n".join(_lines(r)) + "\n"


def _lines(r: Report) -> Iterator[str]:
    a = r.attempt
    yield f"### {SIGNS.get(a.phase, '➡️')} {plain(r.title)}: {plain(r.outcome)}"
    yield ""
    yield f"**Why:** {plain(r.why)}."
    yield ""
    yield f"**Who was hurt:** {plain(' '.join(hurt(r)))}"
    yield from (f"\n*Missing:* {plain(line)}" for line in r.missing)
    if r.standings:
        yield ""
        titles = columns(r)
        for cells in (titles, ["---:"] * len(titles), *(row(r, standing) for standing in r.standings)):
            yield f"| {' | '.join(cell if cell == '---:' else plain(cell) for cell in cells)} |"
    yield from _folded(f"What happened, and why ({len(a.journal)} lines)", (f"{at(e.at)} {e.text}" for e in a.journal))
    yield from _folded(f"Strategy {a.strategy.name}", strategy(r))
    yield ""
    yield (
        f"Namespace {plain(a.namespace)}, attempt {a.number}, from {at(a.started, date=True)} to "
        f"{at(r.until, date=True)} ({zone(r.until)})."
    )


def _folded(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield ""
    yield f"<details><summary>{html.escape(title)}</summary>"
    yield ""
    yield from (f"- {plain(line)}" for line in lines)
    yield ""
    yield "</details>"
