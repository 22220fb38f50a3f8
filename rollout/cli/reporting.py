"""`rollout report`: what an attempt came to, as data and in sentences, whoever writes it down."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rollout.cli.console import at, document
from rollout.cli.foretelling import UNASKED
from rollout.cli.planning import steps_told
from rollout.core.address import shown
from rollout.core.attempt import JOURNAL_LENGTH, Attempt
from rollout.core.errors import RolloutError
from rollout.core.lifecycle import Phase
from rollout.core.quantities import many, share, spoken
from rollout.engine.recounting import Recount, Stretch, recounted, weights_of
from rollout.judge.looks import Arm, altogether
from rollout.ports import Metrics


@dataclass(frozen=True)
class Standing:
    """A weight that the canary had, from one epoch second to another, and what both versions did (None: not known)."""

    weight: Decimal
    since: float
    until: float
    stable: Arm | None
    canary: Arm | None


@dataclass(frozen=True)
class Report:
    """An attempt as it stood at `now`, with what the store had of it (None: nothing); `missing` says what is not there.

    `standings` are the weights that gave the canary users, oldest first.
    """

    attempt: Attempt
    now: float
    recount: Recount | None
    standings: tuple[Standing, ...]
    missing: tuple[str, ...]

    @property
    def until(self) -> float:
        """When it ended, or else now."""
        return self.attempt.ended or self.now

    @property
    def title(self) -> str:
        """What moved, from which version to which."""
        return f"{self.attempt.service}: {self.attempt.stable} → {self.attempt.canary}"

    @property
    def outcome(self) -> str:
        """How it ended, or where it stands, in a few words."""
        a, took = self.attempt, spoken(round(self.until - self.attempt.started))
        if not a.phase.ended:
            return f"{a.phase} at {a.weight} % for {took}"
        return f"Promoted after {took}" if a.phase is Phase.PROMOTED else f"Rolled back ({a.reason}) after {took}"

    @property
    def why(self) -> str:
        """Why it stands there, or why it ended so."""
        return self.attempt.message.removeprefix("rolled back: ").removeprefix(f"{self.attempt.reason}: ")


def reported(attempt: Attempt, metrics: Metrics | None, now: float) -> Report:
    """The report of an attempt; a store that is not there, or does not answer, takes away its part and no more."""
    recount, why = None, UNASKED
    if metrics is not None:
        try:
            recount, why = recounted(metrics, attempt, now), "the store has no counters of that time any more"
        except RolloutError as error:
            why = str(error)
    return made(attempt, recount, now, why)


def made(attempt: Attempt, recount: Recount | None, now: float, why: str = "") -> Report:
    """The report of an attempt and of what was counted; else `why` nothing was."""
    until = attempt.ended or now
    weights = weights_of(attempt, until)
    standings = tuple(
        Standing(weight, since, end, *_counted(recount, weight, since, end))
        for (since, weight), (end, _) in itertools.pairwise((*weights, (until, Decimal(0))))
        if weight
    )
    return Report(attempt, now, recount, standings, tuple(_missing(attempt, recount, standings, why)))


def _counted(recount: Recount | None, weight: Decimal, since: float, until: float) -> tuple[Arm | None, Arm | None]:
    parts = recount.stretches if recount else ()
    mine = [s for s in parts if s.weight == weight and since < s.until and s.since < until]
    return (altogether(s.stable for s in mine), altogether(s.canary for s in mine)) if mine else (None, None)


def _missing(a: Attempt, recount: Recount | None, standings: tuple[Standing, ...], why: str) -> Iterator[str]:
    if recount is None:
        yield f"Requests, failures, latency and the growth of the evidence are not here: {why}"
    elif standings and recount.stretches[0].since > standings[0].since:
        yield f"The store has no counters from before {at(recount.stretches[0].since)}: older requests are not counted."
    if recount and recount.skipped:
        yield f"{recount.skipped} reading(s) are left out, of clients that were new or had restarted."
    if any(entry.weight is None for entry in a.journal):
        yield "The weights are not here: a version of rollout that did not keep them began this."
    if len(a.journal) == JOURNAL_LENGTH:
        yield f"The journal keeps {JOURNAL_LENGTH} lines: what is older is not here."


def hurt(r: Report) -> Iterator[str]:
    """Who was hurt, in sentences; the first is the shortest."""
    a, stretches = r.attempt, _of_users(r)
    if not stretches:
        yield from _hurt_by_record(a)
        return
    stable, canary = altogether(s.stable for s in stretches), altogether(s.canary for s in stretches)
    every, lost = stable.requests + canary.requests, sum(s.lost for s in stretches)
    if not canary.requests:
        yield f"No request of a user reached {a.canary}."
    elif not canary.failures:
        yield f"No request of a user failed on {a.canary}, of {many(canary.requests)}."
    else:
        beside = f"; {a.stable} failed {share(stable.rate)} of {many(stable.requests)} beside it"
        yield f"{_requests(canary.failures)} of users failed on {a.canary}."
        yield f"It failed {share(canary.rate)} of {many(canary.requests)}{beside if stable.requests else ''}."
        yield f"Of all {many(every)} requests while {a.canary} had users, it failed {share(canary.failures / every)}."
    if lost:
        yield f"{_requests(lost)} reached no version."


def _hurt_by_record(a: Attempt) -> Iterator[str]:
    """What the judge had counted when it was last written down, which is not at every look."""
    known = a.last.hurt if a.last else None, a.checkpoint.get("hurt")
    counted = max((count for count in known if count is not None), default=None)
    if not a.strategy.checks or counted is None:
        yield "It is not known whether anybody was hurt: nothing was compared."
    elif counted:
        yield f"At least {_requests(counted)} of users failed on {a.canary}: so many the judge had written down."
    else:
        yield f"No request of a user is known to have failed on {a.canary}, by what the judge had written down."


def _of_users(r: Report) -> list[Stretch]:
    """The stretches in which the canary had users; after a promotion it is on trial no more."""
    if not (r.recount and r.standings):
        return []
    end = r.until if r.attempt.phase is Phase.PROMOTED else r.recount.stretches[-1].until
    mine = [s for s in r.recount.stretches if r.standings[0].since < s.until and s.since < end]
    return [s for s in mine if s.weight or s.canary.requests]


def _requests(count: int) -> str:
    return f"{many(count)} request{'' if count == 1 else 's'}"


def strategy(r: Report) -> Iterator[str]:
    """The strategy that ran, line by line."""
    s = r.attempt.strategy
    yield from steps_told(r.attempt, s)
    checks = ", ".join(str(check.kind) for check in s.checks)
    yield f"compared: {checks}" if checks else "nothing is compared"
    yield from (one.told for one in s.queries)
    if s.notify:
        yield f"people are told by {shown(s.notify)}"
    yield f"goes back if it has not ended after {spoken(s.limit)}"


def row(r: Report, s: Standing) -> tuple[str, ...]:
    """What stood at one weight, in the columns of `columns`."""
    cells = [f"{s.weight} %", at(s.since), spoken(round(s.until - s.since))]
    for arm in (s.stable, s.canary) if r.recount else ():
        cells += [many(arm.requests), _part(arm.failures, arm.requests)] if arm else ["?", "?"]
        cells += [_part(*reversed(arm.slower(edge))) if arm else "?" for edge in _slowest(r)]
    return tuple(cells)


def columns(r: Report) -> tuple[str, ...]:
    """The titles of the columns of `row`; without a store there is nothing to say of the versions."""
    counts = ("requests", "failed", *(f"slower than {edge:g} ms" for edge in _slowest(r)))
    versions = (r.attempt.stable, r.attempt.canary) if r.recount else ()
    return ("weight", "from", "for", *(f"{version} {count}" for version in versions for count in counts))


def _slowest(r: Report) -> tuple[float, ...]:
    """The last of the edges, if there is any."""
    return r.recount.edges[-1:] if r.recount else ()


def _part(hits: int, of: int) -> str:
    return f"{many(hits)} ({share(hits / of)})" if of else "none"


def report_document(r: Report) -> dict[str, Any]:
    """The report as people's scripts read it; times are epoch seconds."""
    edges = r.recount.edges if r.recount else ()
    return document(r.attempt) | {
        "now": r.now,
        "outcome": r.outcome,
        "hurt": list(hurt(r)),
        "missing": list(r.missing),
        "standings": [_span(s, edges) for s in r.standings],
        "stretches": [
            _span(s, edges) | {"lost": s.lost, "to_go_on": s.to_go_on, "to_go_back": s.to_go_back}
            for s in (r.recount.stretches if r.recount else ())
        ],
        "steps": list(strategy(r)),
    }


def _span(s: Standing | Stretch, edges: tuple[float, ...]) -> dict[str, Any]:
    arms = {"stable": _arm(s.stable, edges), "canary": _arm(s.canary, edges)}
    return {"weight": float(s.weight), "since": s.since, "until": s.until, **arms}


def _arm(arm: Arm | None, edges: tuple[float, ...]) -> dict[str, Any] | None:
    if arm is None:
        return None
    slow = [{"over_ms": edge, **dict(zip(("timed", "slower"), arm.slower(edge), strict=True))} for edge in edges]
    return {"requests": arm.requests, "failures": arm.failures, "rejections": arm.rejections, "slow": slow}
