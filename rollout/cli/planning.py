"""What a promotion would do: each step's exact change of each object, written nowhere."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from rollout.adapters import yaml_text
from rollout.adapters.questions import calls_query
from rollout.cli import foretelling
from rollout.core.address import inside, shown
from rollout.core.attempt import Attempt, Drill, Scale
from rollout.core.decision import needed
from rollout.core.documents import DESTINATION_RULE, VIRTUAL_SERVICE, Document, ref
from rollout.core.errors import InvalidInput, Unreachable
from rollout.core.probe import HEADER
from rollout.core.quantities import spoken
from rollout.core.query import Hook, Measured, Query
from rollout.core.strategy import Route, Strategy, load, together
from rollout.engine import choosing
from rollout.engine.observing import Scene, pair_of, plan_subsets, read_scene
from rollout.engine.past import Load
from rollout.engine.querying import examined
from rollout.engine.scaling import held, staffed
from rollout.mesh import drills
from rollout.mesh.claims import annotation
from rollout.mesh.overlays import laid_out
from rollout.mesh.routes import Pair, http_routes, key_of, pins, shifted, unpinned, with_routes
from rollout.mesh.subsets import adding_patch, new_rule
from rollout.mesh.workloads import in_words, waking
from rollout.ports import Cluster, Metrics


@dataclass(frozen=True)
class Change:
    """One write to one object: `when`, and the lines of its difference (none: nothing changes)."""

    object: str
    when: str
    diff: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A promotion beforehand. Times are seconds; `notes` are sentences, `steps` what each weight asks for.

    `why` says why the strategy was chosen (empty: it was named); `forecast` is None where traffic is not known;
    `queries` are what the strategy's own ones answer now.
    """

    service: str
    namespace: str
    stable: str
    canary: str
    strategy: str
    why: str
    takes_at_least: float
    ends_after: float
    steps: tuple[str, ...]
    forecast: foretelling.Outlook | None
    queries: tuple[Measured, ...]
    notes: tuple[str, ...]
    changes: tuple[Change, ...]


def planned(cluster: Cluster, attempt: Attempt, metrics: Metrics | None, fit: bool, unknown: str = "") -> Plan:
    """The plan of an attempt that would start now; with `fit` its strategy is fitted to the traffic first.

    `unknown` is a note of what could not be read.
    """
    scene = read_scene(cluster, attempt)
    load, silent = foretelling.measured(metrics, attempt, scene.target(attempt))
    strategy, why = choosing.fitted(attempt.strategy, load, silent) if fit else (attempt.strategy, "")
    attempt = replace(attempt, strategy=strategy)
    answers, unasked = _queried(attempt, metrics)
    least = strategy.propagation + sum(step.bake.min for step in strategy.steps[:-1]) + strategy.confirm
    return Plan(
        attempt.service,
        attempt.namespace,
        attempt.stable,
        attempt.canary,
        strategy.name,
        why,
        least,
        strategy.limit,
        tuple(steps_told(attempt, strategy)),
        foretelling.outlook(strategy, load) if load else None,
        answers,
        (
            *([unknown] if unknown else ()),
            *_unforetold(attempt, load, silent, why),
            *(entry.text for entry in attempt.journal[1:]),
            *unasked,
            *_notes(attempt, scene),
            *_scaled(cluster, attempt, scene),
            *_uncalled(attempt, metrics),
        ),
        (*_subsets(attempt, scene), *_weights(attempt, scene), *_faults(attempt, scene)),
    )


def told(plan: Plan) -> Iterator[str]:
    """The plan for a person, line by line."""
    yield f"{plan.service} in {plan.namespace}: {plan.stable} → {plan.canary} with strategy {plan.strategy}"
    if plan.why:
        yield plan.why
    yield f"takes at least {spoken(plan.takes_at_least)}; goes back after {spoken(plan.ends_after)} if it has not ended"
    yield from (f"  {step}" for step in plan.steps)
    if plan.forecast:
        yield from foretelling.lines(plan.forecast, plan.stable, plan.canary)
    yield from (f"query: {one.text}" for one in plan.queries)
    yield from (f"- {note}" for note in plan.notes)
    for change in plan.changes:
        yield ""
        yield f"{change.object} {change.when}:"
        yield from (f"  {line}" for line in change.diff or ("(no change)",))


def steps_told(a: Attempt, strategy: Strategy) -> Iterator[str]:
    """What each step of a strategy asks for, and how long it takes, a line each."""
    for place, (step, told) in enumerate(zip(strategy.steps, strategy.told, strict=True)):
        if step.wait:
            yield f"{step.wait}, for at most {spoken(step.bake.max)}"
            continue
        need = needed(max(a.capacity, 1), load(step.weight, strategy.beside(place)))
        text = f"{told}: needs {need} ready endpoint(s) of {a.canary}"
        if step.weight == 100:
            yield f"{text}; confirmed after {spoken(strategy.confirm)} without anybody to compare with"
            continue
        if step.probe and not strategy.rises(place):
            least = spoken(max(step.bake.min, step.probe.round))
            yield f"{text}; {step.probe.told()}; takes {least} to {spoken(step.bake.max)}"
            continue
        bake = spoken(step.bake.min)
        if step.bake.max > step.bake.min:
            bake += f" to {spoken(step.bake.max)}"
        text += f"; stands {bake}"
        if step.mirror:
            text += f"; no user sees an answer of {a.canary}"
        elif strategy.checks and step.bake.max:
            margin = 100 * strategy.margin_at(step.weight)
            text += f", until {a.canary} is shown to fail at most {margin:.2g} points more than {a.stable}"
        if step.probe:
            text += f"; {step.probe.told()}, of which as many as it takes are evidence"
        yield text


def _unforetold(a: Attempt, load: Load | None, unknown: str, why: str) -> Iterator[str]:
    if load is None and a.strategy.checks and not why:  # which says it already
        yield f"no forecast: {unknown}"


def _queried(a: Attempt, metrics: Metrics | None) -> tuple[tuple[Measured, ...], tuple[str, ...]]:
    """What each query answers now, or a note why nobody knows."""
    if not any(isinstance(one, Query) for one in a.strategy.queries):
        return (), ()
    if metrics is None:
        return (), (f"no query was asked: {foretelling.UNASKED}",)
    try:
        return examined(metrics, a, a.started), ()
    except Unreachable as error:
        return (), (f"no query was asked: {error}",)


def _notes(a: Attempt, scene: Scene) -> Iterator[str]:
    pair = pair_of(a)
    if any(isinstance(step.act, Route) and step.act.match for step in a.strategy.steps):
        yield (
            f"who matches the route gets {a.canary} and is compared with everybody else: if those users fail more "
            "often anyway, that counts against it"
        )
    yield from (f"{one.told}, at every look" for one in a.strategy.queries if isinstance(one, Hook))
    yield from _probed(a)
    if a.strategy.notify:
        yield f"people are told by {shown(a.strategy.notify)}"
    yield from _drilled(a)
    yield from (f"a URL is read from {where} in namespace {a.namespace}" for where in a.strategy.secrets)
    for vs, route in _routes(a, scene):
        title = ref(VIRTUAL_SERVICE, vs)
        found = {key_of(http_routes(vs)[index]) for index in shifted(vs, pair)}
        for one in http_routes(vs):
            if one.get("match") and key_of(one) in {*route} - found and one.get("name") in a.names:
                yield f"{title}: route {key_of(one)} moves though it has a match, for it is named"
        for pin in pins(vs, pair, route):
            yield f"{title}: route {pin} is left alone (a pin: it sends to one version only, by a match)"
        if unpinned(vs, pair, route):
            yield (
                f"{title} names no subset today, so it sends to every version whose pods the Service selects; "
                f"the first write pins {a.stable}"
            )
        yield f"{title} carries our annotation {annotation(a.service, a.namespace)} until it has ended"


def _scaled(cluster: Cluster, a: Attempt, scene: Scene) -> Iterator[str]:
    """What is scaled, and how far; the most that any step asks for."""
    if a.scale is Scale.WAIT:
        return
    stable, (one,) = staffed(cluster, a, scene)
    most = max(needed(max(a.capacity, 1), load(s.weight, a.strategy.beside(i))) for i, s in enumerate(a.strategy.steps))
    writes, trouble = waking(one, "", a.id, most)
    text = ", ".join(in_words(*write) for write in writes) or "nothing of it need change"
    yield f"{a.canary} is scaled for each step, to {most} at last: {text}; given back after a rollback"
    if trouble:
        yield f"{trouble}, {a.canary} needs {most} at last: the rollout will wait there for somebody to allow it"
    for write in held(stable, a, ""):
        yield f"{a.stable} keeps its {a.capacity} until the end: {in_words(*write)}; given back then"
    if len(stable) != 1:
        yield f"{len(stable)} Deployments make pods of {a.stable}: no autoscaler is kept from shrinking it"


def _probed(a: Attempt) -> Iterator[str]:
    probes = [step.probe for step in a.strategy.steps if step.probe]
    if probes:
        yield (
            f"probes are told from users' requests by the header {HEADER}, and lead to one version by a route of ours; "
            f"an answer that came by another way tells nothing: their URL must lead to a route of {a.service}"
        )
    for probe in dict.fromkeys(shown(one.url) for one in probes if not inside(one.url)):
        yield f"probes leave the cluster, to {probe}"


def _drilled(a: Attempt) -> Iterator[str]:
    faults = [step.fault for step in a.strategy.steps if step.fault]
    if any(fault.delay for fault in faults):
        yield (
            f"a drill's delay tests the timeout of {a.canary} itself: the mesh's (a route's `timeout`) does not count "
            "the delay that it injects"
        )
    if any(fault.only for fault in faults):
        yield f"a fault for some requests `only` works where {a.canary} passes what they are told by on to whom it asks"
    for fault in faults:
        sent = {name.lower() for name in fault.probe.headers}
        if lacking := [name for name in fault.only.get("headers", {}) if name.lower() not in sent]:
            yield (
                f"while it is {fault}, its probes do not carry {', '.join(lacking)}: they meet the fault only where "
                f"{a.canary} adds that itself"
            )
    yield from (
        f"while it is {fault}, users of {a.canary} may meet the fault, and nobody judges what they get"
        for fault in faults
        if fault.everyone
    )
    for drill in a.drills:
        where = f"VirtualService {drill.namespace}/{drill.name}"
        labels = ",".join(f"{key}={value}" for key, value in drill.labels.items())
        what = "is made for the drill, and deleted after it" if drill.made else "gets the fault above its routes"
        yield f"{where} {what}: only pods with {labels} meet it"


def _uncalled(a: Attempt, metrics: Metrics | None) -> Iterator[str]:
    """Which hosts of drills neither version seems to call, or why nobody knows."""
    for drill in a.drills:
        called = _called(a, drill, metrics)
        if isinstance(called, str):
            yield f"whether {a.service} calls {drill.host} was not asked: {called}"
        elif not called:
            yield f"{a.service} is not known to have called {drill.host}: if it does not, the drill tests nothing"


def _called(a: Attempt, drill: Drill, metrics: Metrics | None) -> bool | str:
    if metrics is None:
        return foretelling.UNASKED
    asked = calls_query(a.namespace, drill.labels.get("app", ""), drill.host)
    try:
        return bool(metrics.values(asked, a.started, a.started, 1.0))
    except (InvalidInput, Unreachable) as error:
        return str(error)


def _subsets(a: Attempt, scene: Scene) -> Iterator[Change]:
    rule, missing, level = plan_subsets(a, scene)
    if not missing:
        return
    if rule is None:
        made = new_rule(a.service, a.namespace, missing, level, scene.rules)
        yield Change(ref(DESTINATION_RULE, made), "is created", _difference({}, made))
        return
    patch = adding_patch(rule, missing, a.stable)
    after = {"annotations": patch["metadata"]["annotations"], "subsets": patch["spec"]["subsets"]}
    before = {"subsets": (rule.get("spec") or {}).get("subsets")}
    names = ", ".join(missing)
    yield Change(ref(DESTINATION_RULE, rule), f"gets the subset(s) {names}, marked ours", _difference(before, after))


def _weights(a: Attempt, scene: Scene) -> Iterator[Change]:
    pair: Pair = pair_of(a)
    for vs, keys in _routes(a, scene):
        scales: dict[str, int] = {}
        routes = http_routes(vs)
        strategy = a.strategy
        changing = ((s.weight, strategy.beside(i)) for i, s in enumerate(strategy.steps) if not s.wait)
        for weight, beside in ((Decimal(0), ()), *changing):
            after, scales = laid_out(with_routes(vs, routes), pair, keys, weight, beside, scales)
            when = (f"with {a.canary} at " if weight or not beside else "") + together(weight, beside)
            yield Change(ref(VIRTUAL_SERVICE, vs), when, _difference(routes, after))
            routes = after


def _faults(a: Attempt, scene: Scene) -> Iterator[Change]:
    host, key = pair_of(a).host, drills.annotation(a.service, a.namespace)
    where = {one.on: (one, vs) for one, vs in zip(a.drills, scene.drilled, strict=True)}
    for fault in (step.fault for step in a.strategy.steps if step.fault):
        drill, vs = where[fault.on]
        if vs is None:
            made = drills.new(drill, key, host, a.id, a.fence, fault)
            yield Change(ref(VIRTUAL_SERVICE, made), f"is created while {fault}", _difference({}, made))
        else:
            after = drills.drilled(vs, host, drill.labels, fault)
            yield Change(ref(VIRTUAL_SERVICE, vs), f"while {fault}", _difference(http_routes(vs), after))


def _routes(a: Attempt, scene: Scene) -> Iterator[tuple[Document, tuple[str, ...]]]:
    for vs, route in zip(scene.routes, a.routes, strict=True):
        if vs is not None:
            yield vs, route.keys


def _difference(before: object, after: object) -> tuple[str, ...]:
    one, other = (yaml_text.dump(it).splitlines() if it else [] for it in (before, after))
    return tuple(difflib.unified_diff(one, other, lineterm="", n=2))[2:]
