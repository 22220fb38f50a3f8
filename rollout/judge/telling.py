"""What the evidence says, for people who know no statistics."""

import math

from rollout.core.attempt import Reading, Verdict
from rollout.core.quantities import many, share
from rollout.core.strategy import Kind
from rollout.judge.bets import Tally
from rollout.judge.contest import Contest
from rollout.judge.judge import BETA, DISASTROUS, UNSEEN, Evidence, Judged, kind_of

Names = tuple[str, str]
"""Stable's and the canary's."""


def reading(e: Evidence, found: Judged, names: Names) -> Reading:
    """What the judge `found` in the evidence, with the numbers behind it."""
    return Reading(
        found.verdict, told(e, found, names), e.looked_at, found.no_worse, found.check, found.luck, found.to_go_back,
        found.to_go_on, e.hurt,
    )  # fmt: skip


def told(e: Evidence, found: Judged, names: Names) -> str:
    """The verdict's numbers in one sentence."""
    stable, canary = names
    if not (e.counts.canary.requests or e.counts.stable.requests):
        return "no request seen yet"
    if e.breached == UNSEEN:
        repeated = round(e.counts.stable.requests * e.weight / (100 - e.weight))
        return (
            f"none of up to {repeated} requests that were repeated at {canary} was seen there; "
            "are its pods in the mesh, do they take the callers' TLS, and are there reads, where only those are sent?"
        )
    if not e.counts.canary.requests and not e.looked_at:
        return f"{stable} got {e.counts.stable.requests} requests, {canary} none" + _lost(e)
    one = e.contests.get(found.check)
    parts = [compared(found.check, one, names, e.blind)] if one else []
    if e.breached == DISASTROUS:
        parts.append("most of its requests in two looks in a row: nobody waits for proof")
    elif found.verdict is Verdict.ROLLBACK and not e.blind:
        parts.append(luck(found.luck))
    if e.hurt:
        parts.append(f"{e.hurt} request{'s' if e.hurt > 1 else ''} of users failed on {canary}")
    if found.verdict is Verdict.INCONCLUSIVE and one and not e.blind:
        parts.append(f"cannot exclude +{100 * not_excluded(Tally(*one.canary)):.1f} points")
    if (got := split(e)) is not None:
        parts.append(f"{canary} got {share(got)} of the requests, {'beside' if e.routed else 'not'} {e.weight} %")
    if e.counts.skipped:
        parts.append(f"{e.counts.skipped} reading(s) left out, of clients that were new or had restarted")
    return "; ".join(parts) + _lost(e)


def compared(check: str, one: Contest, names: Names, blind: bool) -> str:
    """Both versions' rates, with what chance alone would allow."""
    kind, edge = kind_of(check)
    stable, canary = Tally(*one.stable), Tally(*one.canary)
    if kind is Kind.RESTARTS:
        return f"{names[1]} restarted {canary.hits} times in {canary.of} pods, {names[0]} {stable.hits} in {stable.of}"
    if kind is Kind.LATENCY:
        verb, more = "answers", f" slower than {edge:g} ms"
    else:
        verb, more = ("fails", "") if kind is Kind.ERRORS else ("rejects", "")
    said = f"{names[1]} {verb} {_rate(canary, _wide(one))}{more}"
    if blind:
        return f"{said}, nobody to compare with"
    return f"{said}, {names[0]} {_rate(stable, _wide(one))}"


def luck(chance: float) -> str:
    """The chance that a good version would look as bad, in words.

    >>> luck(0.00023), luck(1e-30), luck(1.0)
    ('chance that this is luck: under 1 in 4 300', 'chance that this is luck: under 1 in a billion', \
'nothing speaks against it')
    """
    if chance >= 1:
        return "nothing speaks against it"
    if chance < 1e-9:
        return "chance that this is luck: under 1 in a billion"
    digits = 10 ** max(0, int(math.log10(1 / chance)) - 1)
    return f"chance that this is luck: under 1 in {many(math.floor(1 / chance / digits) * digits)}"


def interval(seen: Tally, wide: float = 1.0) -> tuple[float, float]:
    """The rates that so many hits fit with, at 95 %; `wide` is how much more than by chance they scatter.

    Wilson 1927, with the requests divided by the dispersion.

    >>> [round(rate, 4) for rate in interval(Tally(1000, 21))]
    [0.0138, 0.0319]
    """
    if not seen.of:
        return 0.0, 1.0
    n, p, z = seen.of / wide, seen.hits / seen.of, 1.96
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = (middle - spread) / (1 + z * z / n) if seen.hits else 0.0
    return low, min(1.0, (middle + spread) / (1 + z * z / n))


def not_excluded(canary: Tally) -> float:
    """The rise in the rate that so many requests cannot exclude, at BETA: the rule of three, generalised.

    >>> round(not_excluded(Tally(100, 0)), 3)
    0.03
    """
    return min(1.0, (math.log(1 / BETA) + 2 * canary.hits) / max(1, canary.of))


def split(e: Evidence) -> float | None:
    """The canary's share of the requests of this step, where chance does not explain that it is not its weight's.

    Where requests reach it by a match as well, always.
    """
    total, seen = e.counts.routed
    wanted = float(e.weight) / 100
    if not total or e.mirrored:
        return None
    if e.routed:
        return seen / total
    far = 5 * math.sqrt(total * wanted * (1 - wanted)) + 0.1 * wanted * total
    return seen / total if abs(seen - wanted * total) > far else None


def _wide(one: Contest) -> float:
    return one.scatter.factor or 1.0


def _rate(seen: Tally, wide: float) -> str:
    if not seen.of:
        return "nothing (no requests)"
    low, high = interval(seen, wide)
    return f"{share(seen.hits / seen.of)} ({share(low)} to {share(high)}) of {seen.of}"


def _lost(e: Evidence) -> str:
    lost = e.counts.unattributed.requests
    return f"; {lost} request(s) reached no version" if lost else ""
