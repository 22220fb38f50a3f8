"""The judge: evidence over all checks of an attempt, look by look, and the verdict that it amounts to.

Evidence to go back is the weighted average of the checks' e-values, valid however they depend on each other (Vovk and
Wang 2021); to go on, every check must have its own. docs/judge.md tells it all.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from rollout.core.attempt import Verdict
from rollout.core.strategy import Check, Kind
from rollout.judge.attribution import Counts, Sides, attributed
from rollout.judge.bets import Tally
from rollout.judge.contest import WARMING, Contest, Rule, contest, rule_of, tally
from rollout.judge.logs import log_sum
from rollout.judge.looks import Arm, Look

ALPHA = 0.01
"""The chance that a good version is rolled back in a whole rollout."""
ALONE = 0.25
"""The part of ALPHA that is left for 100 %, where nobody can be compared with."""
BETA = 0.05
"""The chance that a step is passed by a version on the edge of what its budget allows."""
STARTS, DRIP, EVERY = (0.4, 0.15, 0.15), 0.3 / 250, 8
"""How the prior over the beginning of harm is spent: at the first looks of three steps, the rest drop by drop, each
so many looks."""
WORTH = {Kind.ERRORS: 0.5, Kind.LATENCY: 0.25, Kind.REJECTIONS: 0.15, Kind.RESTARTS: 0.1}
"""What part of ALPHA a kind of check gets, before parts of absent ones are shared out."""
OBEYED = 10.0
"""Seconds that proxies may take to obey a new weight, where it matters which one a lost request met."""
UNSEEN, REPEATED = "unseen", 50
"""The name under which it is a breach that no repeated request was seen, and from how many on."""
DISASTER, HEALTHY, DISASTER_SEEN, DISASTROUS = 0.5, 0.1, 50, "disaster"
"""A disaster is a canary that fails this share of its requests, in two looks and so many requests, beside a stable that
fails at most that; and the name under which it is a breach."""
QUANTILES = (0.5, 0.9, 0.99)
TIMED_ENOUGH, QUICK = 100, 10.0
"""From so many timed answers it can be told which are slow; and quicker than QUICK milliseconds none is."""


@dataclass(frozen=True)
class Terms:
    """Under which circumstances looks are judged.

    `weight` (percent) stands since `since` (epoch seconds; None: it is not there yet, or the canary has none). `margin`
    is how many points worse the canary may be before it gets the next weight. Counts of a look may come from up to
    `lag` seconds before it began. `apart` says that the two versions are not counted at the same moments. More than a
    third of the canary's pods are warming up until `warm_until`, and all of them for `warm_up` seconds from its first
    request on. `mirrored` says that the canary has no users: its requests are stable's, repeated, and `weight` is the
    share of all requests which they would make at most. By `seen_by` (epoch seconds) one of them must have been seen.
    `routed` says that requests reach the canary by a match too, so that its share may be larger than its weight.
    `probed` says that probes are among the requests, of one kind only: what they take tells nothing of the others.
    What was counted until `deaf_until` (epoch seconds) tells nothing: a drill made the canary fail.
    """

    checks: tuple[Check, ...]
    weight: Decimal
    since: float | None
    margin: float
    lag: float = 0.0
    apart: bool = False
    warm_until: float = 0.0
    warm_up: float = 0.0
    mirrored: bool = False
    seen_by: float = math.inf
    routed: bool = False
    probed: bool = False
    deaf_until: float = 0.0

    @property
    def exposed(self) -> bool:
        """Whether requests reach the canary."""
        return bool(self.weight or self.routed)

    def warming(self, look: Look) -> bool:
        """Whether fresh pods of the canary take part in a look; those from before they came count in full for ever."""
        return look.since < self.warm_until and look.at > self.warm_until - self.warm_up

    @functools.cached_property
    def rules(self) -> Mapping[Kind, Rule]:
        """Each check's rule."""
        return rules(self.checks)


@dataclass(frozen=True)
class Evidence:
    """What the judge remembers: replaying the looks after `at` from here gives the same verdict as never stopping.

    `contests` holds one contest a check, and one for each edge of a latency check; `reserve` is the part of the prior
    over beginnings not yet spent; `highest` the largest log e-value so far against "no harm", and `breached` the
    contest that carried it over the line. `weight` stands since `weight_since`, the canary's share `changed` last at
    that time and was at `most` so large lately; its `first` request was seen then; `counts` is what was counted since.
    `hurt` are the canary's failures since the first step, `restarts` those of stable's and the canary's pods when they
    were last seen (None: not yet). `disaster` are the looks in a row in which the canary failed most of its requests
    beside a healthy stable, and how many requests those were. `mirrored` and `routed` as the terms have it. `timed` is
    stable's histogram so far, while it is too small for `edges` to be chosen; None stands for infinity, which JSON
    lacks. `doubted` is the `weight_since` of the first time without a comparison in which answers were too slow
    (None: none yet).
    """

    at: float = 0.0
    digest: str = ""
    weight: Decimal = Decimal(0)
    weight_since: float = 0.0
    changed: float = 0.0
    most: Decimal = Decimal(0)
    first: float = 0.0
    steps: int = 0
    looks: int = 0
    looked_at: float = 0.0
    reserve: float = 1.0
    contests: Mapping[str, Contest] = field(default_factory=dict)
    edges: tuple[float, ...] = ()
    timed: tuple[tuple[float | None, int], ...] = ()
    highest: float = 0.0
    breached: str = ""
    counts: Counts = Counts()
    hurt: int = 0
    disaster: tuple[int, int] = (0, 0)
    mirrored: bool = False
    routed: bool = False
    restarts: tuple[int, int] | None = None
    doubted: float | None = None

    @property
    def blind(self) -> bool:
        """Whether nobody is left to compare with."""
        return self.weight == 100

    @property
    def doubtful(self) -> bool:
        """Whether it answers too slowly with nobody to compare with, and was not compared anew for that yet."""
        return self.blind and self.doubted == self.weight_since

    @property
    def doubtable(self) -> bool:
        """Whether slow answers would be a doubt now, and not a breach: they are one once."""
        return self.blind and self.doubted in (None, self.weight_since)


@dataclass(frozen=True)
class Judged:
    """What the evidence amounts to. `luck` bounds the chance that a good version would look as bad at any time so far.

    `to_go_back` and `to_go_on` say how far the evidence is, from 0 to 1; `check` is the contest that weighs most for
    the verdict.
    """

    verdict: Verdict
    check: str
    harm: float
    luck: float
    to_go_back: float
    to_go_on: float
    no_worse: bool


def judged(e: Evidence, look: Look, terms: Terms) -> Evidence:
    """The evidence after one more look.

    A look at or before the last one is ignored: none is judged twice. One that reaches back before a change of weight
    is judged as if the canary had had the larger of the two weights all along, and does not count for going on. A look
    while the canary has nothing tells about stable's past.
    """
    if look.at <= e.at:
        return e
    e = _prepared(e, look, terms)
    if terms.since is None or not terms.exposed:
        return e if terms.exposed else _remembered(e, look)
    if (terms.since, terms.weight) != (e.weight_since, e.weight):
        e = _at_next_step(e, look, terms)
    if look.at <= terms.since or look.since - terms.lag < terms.deaf_until:
        return e
    obeyed = look.since - terms.lag - OBEYED >= e.changed
    fair = 0.0 if e.routed else float(e.weight) / 100  # where its share is not known, it lacks none of it
    counts, sides = attributed(e.counts, look, fair, obeyed)
    if not sides.canary.requests:
        return _unseen(replace(e, counts=counts), look, terms)
    hurt = 0 if terms.mirrored else sides.canary.failures
    e = replace(
        _staked(e), counts=counts, looks=e.looks + 1, looked_at=look.at, hurt=e.hurt + hurt,
        first=e.first or look.since,
    )  # fmt: skip
    made = {name: _contested(e, name, one, look, sides, terms) for name, one in e.contests.items()}
    return _weighed(_disastrous(replace(e, contests=made), look, sides, terms), terms)


def restarted(e: Evidence, stable: Tally, canary: Tally, terms: Terms) -> Evidence:
    """The evidence after the pods were seen: how many each version has, and how often those have restarted so far.

    Only what is new since they were last seen counts, and only while the canary has a weight; a count that fell, for a
    pod went away, is a new beginning. Seeing the same twice changes nothing.
    """
    name, before = name_of(Kind.RESTARTS), e.restarts
    e = replace(e, restarts=(stable.hits, canary.hits))
    if before is None or name not in e.contests or not terms.exposed or not (stable.of and canary.of):
        return e
    new = Tally(stable.of, max(0, stable.hits - before[0])), Tally(canary.of, max(0, canary.hits - before[1]))
    if not new[0].hits + new[1].hits or e.blind:
        return e
    made = e.contests[name].happened(terms.rules[Kind.RESTARTS], *new)
    return _weighed(replace(e, contests={**e.contests, name: made}), terms)


def resting(e: Evidence, looks: Iterable[Look], checks: tuple[Check, ...]) -> Evidence:
    """The evidence after looks while the canary has nothing: they tell of stable's past."""
    terms = Terms(checks, Decimal(0), None, 0.0)
    for look in looks:
        e = judged(e, look, terms)
    return e


def latency_of(checks: Sequence[Check]) -> Check | None:
    """The check of slow answers among them."""
    return next((check for check in checks if check.kind is Kind.LATENCY), None)


def edges_of(checks: Sequence[Check], timed: Sequence[tuple[float, int]]) -> tuple[float, ...]:
    """The edges at which slow answers are counted: those of a histogram that are nearest to half, 90 and 99 % of it.

    And the one nearest to what the latency check names. Edges below QUICK are left out: nobody feels them. Without such
    a check, or a histogram of at least TIMED_ENOUGH answers, there are none.
    """
    check = latency_of(checks)
    known = [(edge, count) for edge, count in timed if QUICK <= edge < math.inf]
    total = timed[-1][1] if timed else 0
    if check is None or not known or total < TIMED_ENOUGH:
        return ()
    found = {min(known, key=lambda it: abs(it[1] / total - quantile))[0] for quantile in QUANTILES}
    if check.over:
        over = check.over
        found.add(min(known, key=lambda it: abs(it[0] - over))[0])
    return tuple(sorted(found))


def name_of(kind: Kind, edge: float | None = None) -> str:
    """The name of a contest.

    >>> name_of(Kind.ERRORS), name_of(Kind.LATENCY, 250.0), kind_of("latency 250")
    ('errors', 'latency 250', (<Kind.LATENCY: 'latency'>, 250.0))
    """
    return f"{kind} {edge:g}" if edge is not None else str(kind)


@functools.cache
def kind_of(name: str) -> tuple[Kind, float | None]:
    """The kind and the edge of a contest by its name."""
    kind, _, edge = name.partition(" ")
    return Kind(kind), float(edge) if edge else None


@functools.cache
def rules(checks: tuple[Check, ...]) -> Mapping[Kind, Rule]:
    """Each check's rule."""
    return {check.kind: rule_of(check) for check in checks}


def read(e: Evidence, checks: tuple[Check, ...], overdue: bool) -> Judged:
    """The verdict of the evidence; `overdue` says that the bake has lasted as long as it may."""
    by_kind = rules(checks)
    harms = _harms(e, by_kind)
    harm = _total(harms)
    gates = {name: one for name, one in e.contests.items() if by_kind[kind_of(name)[0]].gates}
    harmless = {name: one.harmless for name, one in gates.items()}
    go = min(harmless.values(), default=0.0)
    worst = (
        str(Kind.ERRORS)
        if e.breached in (DISASTROUS, UNSEEN)
        else e.breached or max(harms, key=lambda name: harms[name][1], default="")
    )
    least = min(harmless, key=lambda name: harmless[name], default="")
    enough = _enough(e)
    calm = harm < enough / 2 and _complete(e, by_kind)
    if e.breached:
        verdict = Verdict.ROLLBACK
    elif not e.looked_at:
        verdict = Verdict.NO_DATA
    elif e.blind:
        verdict = Verdict.DOUBT if e.doubtful else Verdict.BLIND
    elif calm and go >= math.log(1 / BETA):
        verdict = Verdict.ADVANCE
    else:
        verdict = Verdict.INCONCLUSIVE if overdue else Verdict.CONTINUE
    compared = [(by_kind[kind_of(name)[0]], Tally(*one.stable), Tally(*one.canary)) for name, one in gates.items()]
    no_worse = bool(compared) and all(
        s.of and c.of and not rule.harmful(s.hits / s.of, c.hits / c.of) for rule, s, c in compared
    )
    return Judged(
        verdict,
        worst if verdict is Verdict.ROLLBACK or not calm else least,
        harm,
        min(1.0, math.exp(-e.highest)),
        _part(harm, enough),
        0.0 if e.blind else _part(go, math.log(1 / BETA)),
        no_worse,
    )


def _complete(e: Evidence, by_kind: Mapping[Kind, Rule]) -> bool:
    """Whether every check has something to count: a latency check needs a histogram."""
    return by_kind.keys() == {kind_of(name)[0] for name in e.contests}


def _part(log: float, enough: float) -> float:
    return min(1.0, max(0.0, log / enough))


def _enough(e: Evidence) -> float:
    """The log e-value from which it goes back: ALPHA is shared between the time with and without a comparison."""
    return math.log(1 / ALPHA / (ALONE if e.blind else 1 - ALONE))


def _prepared(e: Evidence, look: Look, terms: Terms) -> Evidence:
    """About to judge a look, with a contest for each check.

    A latency check's begin once enough of stable's answers were timed.
    """
    made = dict(e.contests)
    edges, timed = e.edges, e.timed
    for check in terms.checks:
        timely = check.kind is Kind.LATENCY
        if timely and not edges:
            known = tuple((math.inf if edge is None else edge, count) for edge, count in timed)
            edges = edges_of(terms.checks, known)
            more = (Arm(answers=known) + Arm(answers=look.stable.answers)).answers
            timed = () if edges else tuple((edge if edge < math.inf else None, count) for edge, count in more)
        names = [name_of(check.kind, edge) for edge in (edges if timely else (None,))]
        made |= {name: contest(rule_of(check)) for name in names if name not in made}
    return replace(e, at=look.at, digest=look.digest(e.digest), contests=made, edges=edges, timed=timed)


def _remembered(e: Evidence, look: Look) -> Evidence:
    return replace(e, contests={name: one.remembering(_parts(look, name)) for name, one in e.contests.items()})


def _parts(look: Look, name: str) -> dict[str, Tally]:
    """Each reporting instance's tally of stable."""
    return {i.instance: tally(i.stable, *kind_of(name)) for i in look.increments}


def _at_next_step(e: Evidence, look: Look, terms: Terms) -> Evidence:
    assert terms.since is not None
    blind = terms.weight == 100
    turned = (blind and not e.blind) or e.doubtful
    changed = terms.since if terms.since != e.weight_since else look.since
    lately = e.most if changed - terms.lag < e.changed else Decimal(0)
    most = Decimal(100) if terms.routed or e.routed else max(terms.weight, e.weight, lately)
    fresh = replace(
        e, weight=terms.weight, weight_since=terms.since, changed=changed, most=most, routed=terms.routed,
        steps=e.steps + 1, looks=0, looked_at=0.0, counts=Counts(), mirrored=terms.mirrored,
        contests={
            name: one.at_next_step(turned, not blind and kind_of(name)[0] is Kind.LATENCY)
            for name, one in e.contests.items()
        },
    )  # fmt: skip
    if not turned:
        return fresh
    # What an earlier outage showed is no evidence against a canary with nobody beside it, nor is what it showed then
    # any in a comparison.
    return replace(fresh, reserve=1.0, steps=1, highest=e.highest if blind else 0.0)


def _unseen(e: Evidence, look: Look, terms: Terms) -> Evidence:
    """After a look in which the canary had no request: repeated ones that nobody saw were refused.

    How many were repeated is not known, for pins take some, and writes may be left out: only none at all is a breach.
    """
    repeated = e.counts.stable.requests * e.weight / (100 - e.weight) if terms.mirrored else 0
    late = look.at >= terms.seen_by and not e.counts.canary.requests and repeated >= REPEATED
    return replace(e, breached=e.breached or UNSEEN) if late else e


def _staked(e: Evidence) -> Evidence:
    """Spend a part of the prior over beginnings on the look to come."""
    if e.looks % EVERY:
        return e
    share = STARTS[e.steps - 1] if not e.looks and 0 < e.steps <= len(STARTS) else DRIP
    share = min(share, e.reserve)
    staking = {name: one.staking(share) for name, one in e.contests.items()}
    return replace(e, reserve=e.reserve - share, contests=staking)


def _contested(e: Evidence, name: str, one: Contest, look: Look, sides: Sides, terms: Terms) -> Contest:
    """One contest after a look."""
    kind = kind_of(name)
    rule = terms.rules[kind[0]]
    stable, canary = tally(sides.stable, *kind), tally(sides.canary, *kind)
    if not canary.of or (terms.probed and kind[0] is Kind.LATENCY):
        return one
    one = one.counted(stable, canary)
    warming = terms.warming(look)
    if not rule.rare and (warming or look.since < e.first + terms.warm_up):
        return one  # a cold cache is slow, and no regression
    if e.blind:
        return one.alone(rule, canary)
    if not stable.of:
        return one
    settled = look.since - terms.lag >= e.changed
    most = 0.0 if settled else float(e.most) / 100
    one = one.compared(WARMING if warming else rule, stable, canary, most, terms.apart)
    if warming or not settled:
        return one
    alone, at_worst = tally(sides.stable_alone, *kind), tally(sides.canary_at_worst, *kind)
    return one.approved(rule, _parts(look, name), alone, at_worst, terms.margin) if alone.of else one


def _disastrous(e: Evidence, look: Look, sides: Sides, terms: Terms) -> Evidence:
    """After a look, whether users are served so badly that nobody should wait for evidence of whose fault it is.

    Where hits may clump without limit, one look proves little however many fail in it: at 50 % it would take 16.
    """
    one, other = sides.canary, sides.stable
    settled = not terms.apart and look.since - terms.lag >= e.changed
    bad = one.failures >= DISASTER * one.requests and other.requests and other.failures <= HEALTHY * other.requests
    if not (settled and bad and Kind.ERRORS in terms.rules):
        return replace(e, disaster=(0, 0)) if any(e.disaster) else e
    looks, requests = e.disaster[0] + 1, e.disaster[1] + one.requests
    enough = looks >= 2 and requests >= DISASTER_SEEN
    return replace(e, disaster=(looks, requests), breached=e.breached or (DISASTROUS if enough else ""))


def _harms(e: Evidence, by_kind: Mapping[Kind, Rule]) -> dict[str, tuple[float, float]]:
    """Each contest's worth and log e-value; a kind's edges share its worth."""
    kinds = [kind_of(name)[0] for name in e.contests]
    whole = sum(WORTH[kind] for kind in set(kinds))
    return {
        name: (WORTH[kind] / whole / kinds.count(kind), one.harm(by_kind[kind], e.reserve, e.blind))
        for (name, one), kind in zip(e.contests.items(), kinds, strict=True)
    }


def _total(harms: Mapping[str, tuple[float, float]]) -> float:
    return log_sum(harms.values()) if harms else 0.0  # nothing to contest: an e-value of 1


def _weighed(e: Evidence, terms: Terms) -> Evidence:
    """Remember how bad it ever looked, and a breach for good.

    Slow answers with nobody to compare with may be the doing of whatever both versions need: the first time they are a
    doubt, for a comparison tells. Where anything else speaks against it too it is a breach at once: to compare first
    would cost more failures.
    """
    harms = _harms(e, terms.rules)
    total = _total(harms)
    e = replace(e, highest=max(e.highest, total))
    if e.breached or total < _enough(e):
        return e
    others = {name: harm for name, harm in harms.items() if kind_of(name)[0] is not Kind.LATENCY}
    if e.doubtable and _total(others) <= 0:
        return replace(e, doubted=e.weight_since)
    return replace(e, breached=max(harms, key=lambda name: math.log(harms[name][0]) + harms[name][1]))
