"""The decision: from one observation to the next state and its effects, an ordered list of questions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from rollout.core.attempt import Attempt, Reading, Scale, Verdict, Word
from rollout.core.lifecycle import Phase, Reason
from rollout.core.probe import Outcome, Probed
from rollout.core.quantities import floored, spoken
from rollout.core.query import Effect, Measured, gist
from rollout.core.strategy import Gate, OnInconclusive, OnNo, OnTimeout, Overlay, Pause, load, together

FIGHT_COUNT, FIGHT_SECONDS = 3, 60.0
DRIFT_FIGHT = "DriftFight"
"""The word for a pause because somebody else goes on writing the weights."""
MENDED = ", then `rollout promote` goes on, or `rollout abort` takes back"
"""What follows where somebody has to mend a route."""
ASK_SELDOM = 60.0
"""Seconds between two questions to a webhook that does not say yes, at most."""
LONG_AGO = 60.0
"""Seconds after which every proxy has a subset, though the clock that says so be another's."""
EASE_EVERY = 30.0
"""Seconds after which a take-back that stable could not carry at once gives it a quarter more."""
MUCH, SEEN = 50, 180.0
"""Percent whose return an autoscaler must see, and seconds until it has: its metrics are a minute old."""
LINGERS = 300.0
"""Seconds after a take-back by which pods go though requests come: until then nothing else can begin."""
WAITED_FOR = (Reason.DRAINED, Reason.DELETED, Reason.SUPERSEDED)
"""The reasons for a take-back after which somebody waits for its end."""
QUIET_BY = 600.0
"""Seconds within which requests that a version still gets must have ended, or nobody waits for that any more."""
ROUNDING = 1e-3
"""Seconds by which the end of a look may miss the end of a bake: times of looks are sums."""


@dataclass(frozen=True)
class RouteState:
    """What one VirtualService shows: our claim (None: it lies not there), and the canary's percent per route.

    `editor` is the last foreign writer by managedFields; `taken_back` the reason that a take-back left, at `taken_at`;
    `put_at` when our claim's weight was put there (0: not known); `sealed` that its claim says promoted. `dressed` says
    that the routes of ours in it are those that the attempt's step asks for, no more and no less; `lacking` that one of
    them is not there; `bare` that nothing of ours is; `trouble` why those asked for cannot be made;
    `stray` which route is not any more what the attempt knows by its name.
    """

    name: str
    claimed: Decimal | None
    percents: tuple[Decimal, ...]
    editor: str = ""
    taken_back: Reason | None = None
    taken_at: float = 0.0
    put_at: float = 0.0
    sealed: bool = False
    present: bool = True
    dressed: bool = True
    lacking: bool = False
    bare: bool = True
    trouble: str = ""
    stray: str = ""

    @property
    def actual(self) -> Decimal:
        """The highest percent that any of its routes gives the canary."""
        return max(self.percents, default=Decimal(0))

    @property
    def least(self) -> Decimal:
        """The lowest percent that any of its routes gives the canary."""
        return min(self.percents, default=Decimal(0))

    def touched(self, attempt: Attempt) -> bool:
        """Whether there is anything of this attempt to take back here."""
        return (self.present or not self.bare) and (bool(attempt.since) or self.claimed is not None)

    def carries(self, weight: Decimal) -> bool:
        """Whether every route stands at `weight`, by our own write, with the routes of ours that belong beside it."""
        return self.claimed == weight and self.dressed and all(percent == weight for percent in self.percents)


@dataclass(frozen=True)
class DrillState:
    """What the VirtualService shows that carries a fault `on` a host: `dressed` as the step asks for, or `bare` of it.

    `trouble`: why the fault cannot be put there.
    """

    on: str
    dressed: bool = False
    bare: bool = True
    trouble: str = ""


@dataclass(frozen=True)
class Observation:
    """All facts of one moment. `reading` is None when the metrics could not be asked (`silence` says why).

    `canary_youngest` is when the last of the canary's pods became ready (0: not known); `stable_pods` and `canary_pods`
    are how many pods each has, and how often those have restarted; `canary_starved` how many of its containers ended
    last for want of memory; `subsets_since` when the rules with the subsets were changed last, by the API server's
    clock (infinite: not known); `measured` what the strategy's queries and webhooks answered, `probed` what came of the
    step's probes; `scaling` what is done about endpoints that the canary lacks; `reached` whether requests come to
    a canary that went back (None: nobody tells).
    """

    now: float
    attempt: Attempt
    routes: tuple[RouteState, ...]
    stable_ready: int
    canary_ready: int
    stable_subset: bool
    canary_subset: bool
    canary_youngest: float = 0.0
    stable_pods: tuple[int, int] = (0, 0)
    canary_pods: tuple[int, int] = (0, 0)
    canary_starved: int = 0
    subsets_since: float = math.inf
    reading: Reading | None = None
    silence: str = ""
    word: Word | None = None
    silent: str = ""
    measured: tuple[Measured, ...] = ()
    probed: Probed | None = None
    drills: tuple[DrillState, ...] = ()
    scaling: str = ""
    reached: bool | None = None

    @property
    def repeating(self) -> bool:
        """Whether the routes of ours that the step asks for lie there, one at least."""
        return all(r.dressed for r in self.routes) and not all(r.bare for r in self.routes)

    @property
    def missing(self) -> bool:
        """Whether a route of ours is to be added where it does not lie."""
        return any(r.lacking for r in self.routes)

    def first(self, effect: Effect) -> Measured | None:
        """The first check whose answer has this effect. While the canary has nothing, answers mean nothing of it."""
        return next((one for one in self.measured if one.effect is effect and self.attempt.exposed), None)


@dataclass(frozen=True)
class Decision:
    """The next state of the attempt, and what to do about the world.

    `weight`: write it to every route; `taken_back`: with this reason beside it; `seal`: with the word that the canary
    is promoted. `bare`: remove the routes of ours, and leave the weights. `drill`: put the attempt's fault on its way,
    or remove what it does not ask for. `prepare`: add the subsets. `clean`: remove our claims and what we added for
    nothing. `after`: look again in so many seconds. `passing`: what changed in the attempt need not be recorded at
    once, for who takes over finds it again.
    """

    attempt: Attempt
    weight: Decimal | None = None
    taken_back: Reason | None = None
    seal: bool = False
    bare: bool = False
    drill: bool = False
    prepare: bool = False
    clean: bool = False
    after: float = 1.0
    passing: bool = False


Answer = Decision | None


def decide(o: Observation) -> Decision:
    """Ask the questions in order; the first answer wins. Whatever it is, a fault that is over goes with it."""
    for question in QUESTIONS:
        answer = question(o)
        if answer is not None:
            return _lifted(o, answer)
    return _lifted(o, Decision(o.attempt))


def _lifted(o: Observation, d: Decision) -> Decision:
    if d.attempt.fault or all(one.bare for one in o.drills):
        return d
    return replace(d, attempt=replace(d.attempt, drilled=o.now), drill=True, after=min(d.after, 0.5))


def landed(o: Observation) -> Attempt:
    """The attempt, with when its weight came to stand on every route where the claims that carry it tell.

    So it need not be recorded by itself, and what it showed is judged also by who comes after a take-back. A fault
    lies elsewhere: no claim tells when it was put there.
    """
    a = o.attempt
    moving = a.phase in (Phase.SHIFTING, Phase.WAITING, Phase.CONFIRMING)
    if not moving or a.landed or not a.since or a.fault or a.passed:
        return a
    if not all(r.put_at and (r.carries(a.weight) or (r.taken_back and r.put_at >= a.since)) for r in o.routes):
        return a
    return replace(a, landed=max([a.since, *(r.put_at for r in o.routes)]))


def _ended(o: Observation) -> Answer:
    a = o.attempt
    if not a.phase.ended:
        return None
    if a.cleaned:
        return Decision(a, after=60.0)
    rest = min(a.ended - o.now, 0.0) + _needed_yet(a)
    if a.scale is Scale.AUTO and a.phase is Phase.ROLLED_BACK and rest > 0:
        return Decision(a, after=min(rest, 2.0))
    if o.reached and lingers(o):
        return Decision(a, after=5.0)
    return Decision(a, clean=all(one.bare for one in o.drills))


def _needed_yet(a: Attempt) -> float:
    """Seconds from the end of a take-back for which what was scaled is needed: proxies go on sending to the canary, and
    an autoscaler of stable knows by and by that all of the load is back.
    """
    stood = (entry.weight for entry in a.journal if entry.weight)  # a doubt may have lowered its step
    most = max((*stood, *(step.weight for step in a.strategy.steps[: a.step + 1])), default=Decimal(0))
    return max(a.strategy.propagation, SEEN if most >= MUCH else 0.0)


def lingers(o: Observation) -> bool:
    """Whether requests that come to a canary though it went back would keep the pods that were scaled for it.

    Not for ever, not where the controller is to go, and not where somebody gave it users since: then nothing goes.
    """
    a = o.attempt
    gives_back = a.scale is Scale.AUTO and a.phase is Phase.ROLLED_BACK and not a.cleaned
    due = _needed_yet(a) <= o.now - a.ended < LINGERS
    return gives_back and due and a.reason not in WAITED_FOR and not any(r.actual for r in o.routes)


def _sealed(o: Observation) -> Answer:
    """What a claim says is promoted is promoted, whoever wrote it and died: a take-back respects it too."""
    a = o.attempt
    if a.phase is not Phase.CONFIRMING or not any(r.sealed for r in o.routes):
        return None
    if not all(r.sealed for r in o.routes if r.present):
        return Decision(a, weight=a.weight, seal=True)
    text = f"{a.canary} serves all of it" + (f" that namespace {a.namespace} shows" if a.narrow else "")
    # What strayed after one claim said so cannot hold back the others any more, but is not passed over in silence.
    text = "; but ".join([text, *(r.stray for r in o.routes if r.stray)])
    return Decision(a.noted(o.now, text, phase=Phase.PROMOTED, ended=o.now))


def _taken_back(o: Observation) -> Answer:
    """A take-back seen on any route is finished, never undone."""
    a = o.attempt
    if a.phase is Phase.ROLLING_BACK:
        return _finish_back(o)
    reason = next((r.taken_back for r in o.routes if r.taken_back), None)
    if reason is None:
        return None
    return _back(o, reason, f"taken back on {next(r.name for r in o.routes if r.taken_back)}")


def _finish_back(o: Observation) -> Decision:
    """Give back what stable can carry, and again a part of the rest, until nothing is left (I12)."""
    a = o.attempt
    if all(r.actual == 0 and r.dressed and (r.taken_back or not a.since) for r in o.routes if r.touched(a)):
        text = f"rolled back: {a.message}" if not a.message.startswith("rolled back") else a.message
        return Decision(a.noted(o.now, text, phase=Phase.ROLLED_BACK, weight=Decimal(0), ended=o.now))
    remains = _remaining(o)
    if remains and all(r.taken_back and r.dressed and r.actual <= remains for r in o.routes if r.touched(a)):
        note = f"{a.stable} cannot carry all of it: {o.stable_ready} of {a.capacity} ready; {remains} % stay for now"
        return Decision(a.noted(o.now, note, weight=remains, stuck=not o.stable_ready), after=2.0)
    return Decision(replace(a, weight=remains, stuck=False), weight=remains, taken_back=a.reason or Reason.STATE_LOST)


def _overdue(o: Observation) -> Answer:
    a = o.attempt
    if o.now < a.deadline:
        return None
    proven = a.last is None or a.last.verdict not in (Verdict.INCONCLUSIVE, Verdict.NO_DATA)
    reason = Reason.OVERDUE if proven else Reason.UNPROVEN
    return _back(o, reason, f"deadline after {spoken(a.deadline - a.started)}: {a.message}")


def _canary_gone(o: Observation) -> Answer:
    a = o.attempt
    if a.phase is Phase.PREFLIGHT or not (a.exposed or any(r.actual for r in o.routes)):
        return None
    if not o.canary_subset:
        return _back(o, Reason.SUBSET_GONE, f"the subset {a.canary} is gone from the DestinationRule")
    if not o.canary_ready:
        return _back(o, Reason.CANARY_UNREADY, f"no endpoint of {a.canary} is ready")
    return None


def _breached(o: Observation) -> Answer:
    """The judge's evidence, probes that stable answers better, or a check of the user's own whose breach takes back."""
    doubt = o.reading is not None and o.reading.verdict is Verdict.DOUBT and _comparable(o) is None
    doubt = doubt and o.attempt.weight == 100  # what somebody lowered since can be compared
    if o.reading is not None and (o.reading.verdict is Verdict.ROLLBACK or doubt):
        seen = replace(o, attempt=replace(o.attempt, last=replace(o.reading, verdict=Verdict.ROLLBACK)))
        return _back(seen, Reason.BREACH, o.reading.text)
    if o.probed is not None and o.probed.outcome is Outcome.FAILED:
        return _back(o, Reason.BREACH, o.probed.text)
    broken = o.first(Effect.ROLLBACK)
    return _back(o, Reason.BREACH, broken.text) if broken else None


def _drifted(o: Observation) -> Answer:
    """Somebody else moved the weights: up is put back, down stands unless the writer is a declared manager."""
    a = o.attempt
    if a.phase is Phase.PREFLIGHT:
        return None
    for route in o.routes:
        if not route.present:
            gone = f"{route.name} is gone, or lost its routes to {a.stable}"
            return _pause(o, f"{route.stray}{MENDED}; {gone}" if route.stray else gone)
        if route.trouble:
            return _pause(o, route.trouble)
        reference = a.weight if route.claimed is None else route.claimed
        if all(percent == reference for percent in route.percents):
            if a.landed and not route.dressed and a.phase is not Phase.PAUSED:
                return _put_back(o, _undressed(a, route))
            continue
        down = route.least < reference
        if a.phase is Phase.PAUSED and route.actual <= reference:
            continue  # who paused us may go on doing so
        by = f" by {route.editor}" if route.editor else ""
        text = f"{route.name} was set to {route.least if down else route.actual} % instead of {reference} %{by}"
        if down and route.editor not in a.strategy.gitops_managers:
            return _pause(o, f"{text}; it stands. `rollout promote` goes on, `rollout abort` takes back")
        return _put_back(o, text)
    stray = next((route.stray for route in o.routes if route.stray), "")
    return _pause(o, f"{stray}{MENDED}") if stray else None


def _undressed(a: Attempt, route: RouteState) -> str:
    by = f" by {route.editor}" if route.editor else ""
    if not a.overlays:
        return f"{route.name} got a route of ours that is over{by}"
    acts = " and ".join(map(str, a.overlays))
    return f"{route.name}: the route for {acts} was removed, or is not what its original is now{by}"


def _put_back(o: Observation, text: str) -> Decision:
    a = o.attempt
    recent = (*(t for t in a.put_back if t > o.now - FIGHT_SECONDS), o.now)
    if len(recent) > FIGHT_COUNT:
        again = f"{DRIFT_FIGHT}: {text}, again and again; let its writer ignore the weights"
        held = _pause(o, a.message if a.fighting else again)
        return replace(held, attempt=replace(held.attempt, put_back=(), fought=True))
    if lack := _uncovered(o):
        return _pause(o, f"{text}; {lack}")  # which lowers what was raised, without the route of ours
    # While it is paused, why it is paused goes on being what it says.
    noted = a.remarked if a.phase is Phase.PAUSED else a.noted
    if lack := _unbearable(o, a.weight):
        return Decision(noted(o.now, f"{text}; {lack}"), after=2.0)
    landed = o.now if a.overlays and o.missing else a.landed  # what was missing did not bake
    return Decision(replace(noted(o.now, f"{text}; put back"), put_back=recent, landed=landed), weight=a.weight)


def _unbearable(o: Observation, weight: Decimal) -> str:
    """Why `weight` must not be written to every route now: either version would get more than it can carry."""
    a = o.attempt
    if weight > min((r.least for r in o.routes), default=Decimal(0)) and (lack := _lacking(o, weight)):
        return lack
    if _remaining(o) > weight:
        return f"holding: {a.stable} could not carry the rest, {o.stable_ready} of {a.capacity} endpoint(s) are ready"
    return ""


def _uncovered(o: Observation) -> str:
    """Why routes of ours must not be added now where they are not."""
    a = o.attempt
    return _lacking(o, a.weight, a.overlays) if a.overlays and o.missing else ""


def _pause(o: Observation, text: str) -> Decision:
    """Stand still: nothing of the user's is written, and the lowest of what stands is where it would go on."""
    low = min((r.least for r in o.routes if r.present), default=o.attempt.weight)
    a = replace(o.attempt, weight=min(floored(low), o.attempt.weight), resume=False, fought=False)
    phase = Phase.PAUSED if a.phase is not Phase.PREFLIGHT else a.phase
    return Decision(a.noted(o.now, text, phase=phase), bare=_clad(o), after=2.0)


def _clad(o: Observation) -> bool:
    """Whether a route of ours lies anywhere: over what somebody made of its original, it would go on as before."""
    return not all(r.bare for r in o.routes)


def _paused(o: Observation) -> Answer:
    """Somebody must ask to go on; then from the lowest of what stands, on every route."""
    a = o.attempt
    if a.phase is not Phase.PAUSED:
        return None
    if not a.resume:
        low = floored(min((r.least for r in o.routes if r.present), default=a.weight))
        return Decision(replace(a, weight=min(a.weight, low)), bare=_clad(o), after=2.0)
    if not all(r.carries(a.weight) for r in o.routes):
        lack = _unbearable(o, a.weight)
        return Decision(a.noted(o.now, lack), after=2.0) if lack else Decision(a, weight=a.weight, after=0.5)
    step = max((i for i, s in enumerate(a.strategy.steps) if s.weight <= a.weight), default=-1)
    step = min(step, a.step)  # what its weight alone does not earn, a step that only acts must
    landed = 0.0 if a.strategy.beside(step) else o.now  # they are not there any more, and begin anew
    changes = {
        "phase": Phase.SHIFTING,
        "step": step,
        "resume": False,
        "since": o.now,
        "landed": landed,
        "passed": False,
    }
    return Decision(a.noted(o.now, f"going on from {a.weight} %", **changes), after=0.5)


def _subsets(o: Observation) -> Answer:
    """Both subsets are there, and long enough for the proxies to have them (I13)."""
    a = o.attempt
    if not (o.stable_subset and o.canary_subset):
        return Decision(a.noted(o.now, "adding the subsets", prepared=0.0), prepare=True)
    if not a.prepared:
        old = o.now - o.subsets_since >= max(LONG_AGO, a.strategy.propagation)
        return Decision(replace(a, prepared=o.subsets_since if old else o.now), after=0.0, passing=True)
    rest = a.prepared + a.strategy.propagation - o.now
    return Decision(a, after=min(rest, 2.0)) if rest > 0 else None


def _comparable(o: Observation) -> int | None:
    """The step (its place) at which slow answers can be compared anew; None where there is none.

    Where somebody must act before anything goes on, or too little time is left, that is not waited for; and of a stable
    that lacks a part of what its share takes, a comparison would tell nothing.
    """
    a = o.attempt
    step = a.strategy.comparable(a.step)
    if step is None or (a.phase is Phase.PAUSED and not a.resume):
        return None
    one = a.strategy.steps[step]
    late = a.deadline - o.now < one.bake.min + a.strategy.confirm
    whole = o.stable_ready > 0 and 100 * o.stable_ready >= a.capacity * (100 - one.weight)
    return step if whole and not late else None


def _doubted(o: Observation) -> Answer:
    """Slow answers with nobody to compare with: stable gets its part back for which it shows whose they are."""
    a = o.attempt
    if o.reading is None or o.reading.verdict is not Verdict.DOUBT or (step := _comparable(o)) is None:
        return None
    text = f"{a.weight} → {a.strategy.steps[step].weight} %, to compare anew ({o.reading.verdict}: {o.reading.text})"
    lower = _at_step(o, step)
    return Decision(lower.noted(o.now, text, landed=0.0, last=None), weight=lower.weight)


def _starting(o: Observation) -> Answer:
    """The claim, at weight 0: from here on a foreign weight is told from our own."""
    a = o.attempt
    if a.phase is not Phase.PREFLIGHT:
        return None
    if not all(r.carries(Decimal(0)) for r in o.routes):
        return Decision(a, weight=Decimal(0), after=0.2)
    text = f"{len(o.routes)} VirtualService(s) ready; {a.stable} serves, {a.canary} at 0 %"
    return Decision(a.noted(o.now, text, phase=Phase.SHIFTING, since=o.now, landed=o.now), after=0.0, passing=True)


def _drilling(o: Observation) -> Answer:
    """The step's fault lies there before its probes are sent, and is gone, for long enough, before anything follows."""
    a = o.attempt
    if a.fault is None:
        rest = a.drilled + a.strategy.propagation - o.now
        return Decision(a, after=min(rest, 2.0)) if a.passed and rest > 0 else None
    (state,) = (one for one in o.drills if one.on == a.fault.on)
    if state.trouble and a.at and o.now - a.since >= a.at.bake.max:
        return _back(o, Reason.UNANSWERED, state.trouble)
    if state.trouble:
        return Decision(a.noted(o.now, f"holding: {state.trouble}"), after=2.0)
    return None if state.dressed else Decision(replace(a, landed=0.0), drill=True, after=0.5)


def _not_landed(o: Observation) -> Answer:
    """Our own write is not (wholly) there: write again. The bake starts when it is."""
    a = o.attempt
    if all(r.carries(a.weight) for r in o.routes):
        return None if a.landed else Decision(replace(a, landed=o.now), after=0.5)
    if lack := _unbearable(o, a.weight) or _uncovered(o):
        if not a.landed and max(r.actual for r in o.routes) > a.weight:
            return _back(o, Reason.BREACH, f"it cannot be compared anew; {lack}")
        return Decision(a.noted(o.now, lack), after=2.0)
    return Decision(replace(a, landed=0.0), weight=a.weight)


def _waiting(o: Observation) -> Answer:
    """What holds the rollout without being the canary's fault. At 100 nothing depends on stable any more."""
    a = o.attempt
    if o.reading is None or o.silence:
        return Decision(a.noted(o.now, f"holding: {o.silence or 'no metrics'}"), after=2.0)
    if a.weight == 100:
        return None
    if not o.stable_ready:
        return Decision(a.noted(o.now, f"holding: no endpoint of {a.stable} is ready"), after=2.0)
    if a.exposed and (lack := _lacking(o, a.weight, a.overlays)):
        return Decision(a.noted(o.now, lack), after=2.0)
    return None


def _asked(o: Observation) -> Answer:
    """A pause or a gate of the strategy stands still until its time has come, or somebody's word."""
    a, wait = o.attempt, o.attempt.wait
    if wait is None or (a.word and a.word.yes):
        return None
    if a.phase is not Phase.WAITING:
        return Decision(a.noted(o.now, _asking(a, wait), phase=Phase.WAITING), after=0.0)
    late = a.at is not None and o.now - a.since >= a.at.bake.max
    if isinstance(wait, Gate):
        return _gated(o, wait, late)
    if a.resume or (late and not wait.until_resumed):
        return _go_on(o, Word(True, "a person" if a.resume else "the clock"))
    return _unanswered(o, wait) if late else Decision(a, after=2.0)


def _gated(o: Observation, gate: Gate, late: bool) -> Decision:
    word = o.attempt.word or o.word
    if word and word.yes:
        return _go_on(o, word)
    if word and gate.on_no is OnNo.ROLLBACK:
        return _back(replace(o, attempt=replace(o.attempt, word=word)), Reason.REFUSED, str(word))
    if not late:
        return _ask_again(o, word)
    if gate.on_timeout is OnTimeout.ROLLBACK:
        return _unanswered(o, gate)
    return _go_on(o, Word(True, "the strategy", "no answer in time"))


def _unanswered(o: Observation, wait: Pause | Gate) -> Decision:
    return _back(o, Reason.UNANSWERED, f"{_asking(o.attempt, wait)}: nobody did in time")


def _asking(a: Attempt, wait: Pause | Gate) -> str:
    if isinstance(wait, Gate) and not wait.url:
        return f"{wait}: `rollout approve {a.service}`, or with --no"
    return f"{wait}: `rollout resume {a.service}`" if isinstance(wait, Pause) and wait.until_resumed else str(wait)


def _go_on(o: Observation, word: Word) -> Decision:
    said = o.attempt.noted(o.now, str(word), phase=Phase.SHIFTING, word=word, resume=False)
    return Decision(said, after=0.0)


def _ask_again(o: Observation, word: Word | None) -> Decision:
    """After a no that is no end, or silence: later, and ever more seldom."""
    a = replace(o.attempt, word=None)
    if word is None and not o.silent:
        return Decision(a, after=1.0)
    rest = min(ASK_SELDOM, 2.0**a.asked)
    text = str(word or o.silent)
    return Decision(a.noted(o.now, text, asked=a.asked + 1, ask_at=o.now + rest), after=min(rest, 2.0))


def _probing(o: Observation) -> Answer:
    """Whether the step's probes are answered as they should be; without enough answers nobody knows, and time runs."""
    a = o.attempt
    if a.at is None or a.probe is None or a.passed:
        return None
    if o.probed and o.probed.outcome is Outcome.PASSED:
        if a.fault is None:
            return None
        if o.now - a.landed >= a.at.bake.min:  # what is learned is learned; the fault goes before anything follows
            return Decision(a.noted(o.now, f"the drill is over: {o.probed.text}", passed=True), after=0.5)
        return Decision(a, after=1.0)
    if o.now - a.since >= a.at.bake.max:
        return _back(o, Reason.UNANSWERED, f"{a.probe}: {o.probed.text if o.probed else 'none was sent'}")
    return Decision(a, after=1.0)


def _proven(o: Observation) -> bool:
    """Whether the step's probes alone are enough to go on: beside a new weight they must show what it has to show."""
    a = o.attempt
    if a.at is None or a.probe is None or o.probed is None or o.now - a.landed < a.at.bake.min:
        return False
    return not a.strategy.rises(a.step) or o.probed.bound <= a.strategy.margin_at(a.weight)


def _baking(o: Observation) -> Answer:
    """Whether this weight has stood long enough and shown enough."""
    a, reading = o.attempt, o.reading
    if a.step < 0 or reading is None or a.wait or _proven(o):
        return None
    confirming = a.phase is Phase.CONFIRMING
    if a.weight == 100 and not confirming:
        return None  # nobody is left to compare with: the bake at 100 is the confirmation
    bake = a.strategy.steps[a.step].bake
    least, most = (a.strategy.confirm, math.inf) if confirming else (bake.min, bake.max)
    stood = o.now - a.landed
    # The last look that can be there ends up to one look before the bake does.
    fresh = reading.looked_at > a.landed and reading.looked_at >= a.landed + least - a.strategy.look - ROUNDING
    asked = all(one.at >= a.landed + least for one in o.measured)
    if stood < least or not asked or (not fresh and a.strategy.checks and (confirming or bake.max > 0)):
        rest = min(least - stood, 1.0) if stood < least else 1.0
        return Decision(_said(o, reading), after=max(rest, 0.05), passing=True)
    if not a.strategy.checks or confirming:
        return None
    # Nobody is hurt by a mirror: it may wait until the canary looks no worse, and need not prove more than that.
    if reading.verdict is Verdict.ADVANCE and (reading.no_worse or not a.mirror):
        return None
    if bake.max == 0:
        return None
    noted = (a.mirror or a.strategy.inconclusive is OnInconclusive.ADVANCE_NOTED) and reading.no_worse
    if reading.verdict is Verdict.INCONCLUSIVE and stood >= most and noted:
        return None
    return Decision(_said(o, reading), after=1.0, passing=True)


def _said(o: Observation, reading: Reading) -> Attempt:
    if o.attempt.last is None or o.attempt.last.verdict is not reading.verdict:
        return o.attempt.noted(o.now, f"{reading.verdict}: {reading.text}", last=reading)
    return replace(o.attempt, last=reading)


def _held(o: Observation) -> Answer:
    """A query or webhook holds the next weight, and the end at 100. Values change: the first is written down."""
    a, held = o.attempt, o.first(Effect.HOLD)
    if held is None or (a.weight == 100 and a.phase is not Phase.CONFIRMING):
        return None
    known = a.message.startswith(f"holding: {gist(held)}")
    return Decision(a if known else a.noted(o.now, f"holding: {held.text}"), after=1.0)


def _advance(o: Observation) -> Answer:
    """The next weight, if the canary has the endpoints to carry it."""
    a = o.attempt
    if a.phase is Phase.CONFIRMING:
        return Decision(a, weight=a.weight, seal=True, after=0.0)
    if a.step + 1 >= len(a.strategy.steps):
        return Decision(a.noted(o.now, "at 100 %, confirming", phase=Phase.CONFIRMING), after=0.5)
    following, beside = a.strategy.steps[a.step + 1], a.strategy.beside(a.step + 1)
    if lack := _lacking(o, following.weight, beside):
        return Decision(a.noted(o.now, lack), after=2.0)
    why = f" ({o.reading.verdict}: {o.reading.text})" if o.reading and a.step >= 0 else ""
    if o.probed and a.probe:
        why = f" ({o.probed.text})" if _proven(o) else f" ({o.probed.text}){why}"
    next_one = _at_step(o, a.step + 1)
    what = f"{a.weight} → {following.weight} %" if following.weight != a.weight else ""
    what = ", ".join(part for part in (what, str(following.act or "")) if part)
    if (wait := next_one.wait) is not None:
        next_one, what = replace(next_one, phase=Phase.WAITING), _asking(a, wait)
    if following.weight == a.weight and beside == a.overlays:
        # A weight that goes on standing goes on being judged: what it has shown is not forgotten.
        return Decision(next_one.noted(o.now, f"{what}{why}"), after=0.0)
    return Decision(next_one.noted(o.now, f"{what}{why}", landed=0.0, last=None), weight=following.weight)


def _at_step(o: Observation, place: int) -> Attempt:
    """The attempt as it begins a step."""
    step = o.attempt.strategy.steps[place]
    # Where nothing lies beside it the last weight is the confirmation, and no step more.
    phase = Phase.CONFIRMING if step.weight == 100 and not step.act else Phase.SHIFTING
    return replace(
        o.attempt, step=place, weight=step.weight, since=o.now, phase=phase, word=None, asked=0, ask_at=0.0,
        probed=None, passed=False,
    )  # fmt: skip


QUESTIONS: tuple[Callable[[Observation], Answer], ...] = (
    _ended,
    _sealed,
    _taken_back,
    _overdue,
    _canary_gone,
    _breached,
    _drifted,
    _paused,
    _subsets,
    _doubted,
    _starting,
    _drilling,
    _not_landed,
    _waiting,
    _asked,
    _probing,
    _baking,
    _held,
    _advance,
)
"""The questions of `decide`, in order; each answers with a decision or passes."""


def take_back(o: Observation, reason: Reason, text: str) -> Decision:
    """The decision that a person or a signal forces: everything back to stable, now."""
    if o.attempt.phase.ended or o.attempt.phase is Phase.ROLLING_BACK or any(r.sealed for r in o.routes):
        return decide(o)
    return _lifted(o, _back(o, reason, text))


def _back(o: Observation, reason: Reason, text: str) -> Decision:
    remains = _remaining(o)
    a = o.attempt.noted(o.now, f"{reason}: {text}", phase=Phase.ROLLING_BACK, reason=reason, weight=remains)
    return Decision(a, weight=remains, taken_back=reason)


def _remaining(o: Observation) -> Decimal:
    highest = max((r.actual for r in o.routes if r.touched(o.attempt)), default=Decimal(0))
    ready = o.canary_ready if o.canary_subset else 0
    last = max((r.taken_at for r in o.routes), default=0.0)
    return remaining(highest, o.attempt.capacity, o.stable_ready, ready, o.now - last >= EASE_EVERY)


def remaining(actual: Decimal, capacity: int, stable_ready: int, canary_ready: int, eased: bool = True) -> Decimal:
    """What must stay of the canary's `actual` percent because a shrunken stable cannot carry more (I12).

    Stable carried everything with `capacity` ready endpoints (0: not known); each is trusted with a quarter more
    than that, and, where `eased`, with a quarter more than it carries now, but one percent at least. Whole percents;
    nothing stays with a canary that has no endpoint.

    >>> remaining(Decimal(50), 4, 4, 4), remaining(Decimal(50), 4, 1, 4), remaining(Decimal(5), 4, 3, 4)
    (Decimal('0'), Decimal('38'), Decimal('0'))
    >>> remaining(Decimal(50), 4, 1, 4, eased=False), remaining(Decimal(50), 4, 0, 4)
    (Decimal('50'), Decimal('50'))
    """
    if not canary_ready or not actual:
        return Decimal(0)
    if not stable_ready:
        return actual
    trusted = Fraction(125 * stable_ready, capacity or stable_ready)
    if eased:
        carried = 100 - Fraction(actual)
        trusted = max(trusted, Fraction(125, 100) * carried, carried + 1)
    return min(actual, Decimal(max(0, 100 - math.floor(trusted))))


def needed(stable_ready: int, weight: Decimal) -> int:
    """Ready canary endpoints that `weight` percent of stable's load needs, stable having so many (I3).

    >>> needed(4, Decimal(25)), needed(4, Decimal(50)), needed(1, Decimal(5))
    (1, 2, 1)
    """
    return max(1, math.ceil(stable_ready * Fraction(weight) / 100))


def _lacking(o: Observation, weight: Decimal, beside: Sequence[Overlay] = ()) -> str:
    """Why the canary must not get `weight` percent of stable's requests now, and what lies beside it."""
    a = o.attempt
    need = needed(max(a.capacity, 1), load(weight, beside))
    if o.canary_ready >= need:
        return ""
    what = together(weight, beside)
    text = f"holding: {what} needs {need} ready endpoint(s) of {a.canary}, {o.canary_ready} are"
    return f"{text}; {o.scaling}" if o.scaling else text


def wanted(a: Attempt) -> int:
    """Ready canary endpoints that the weight which stands needs, and the next (I3); 0 while nothing is to rise."""
    if a.phase not in (Phase.SHIFTING, Phase.WAITING, Phase.CONFIRMING):
        return 0
    steps = a.strategy.steps
    places = range(max(a.step, 0), min(a.step + 2, len(steps)))
    return max(needed(max(a.capacity, 1), load(steps[at].weight, a.strategy.beside(at))) for at in places)
