"""Why a rollout stands where it stands, from its record alone."""

from collections.abc import Iterator

from rollout.adapters import yaml_text
from rollout.cli.console import at
from rollout.cli.gitops import ignored
from rollout.core.attempt import Attempt
from rollout.core.lifecycle import Phase
from rollout.core.quantities import spoken


def explained(a: Attempt, now: float, notice: str, asked: bool = False) -> Iterator[str]:
    """Sentences for a person; `notice` says that nobody drives it, if that is so. `asked`: the proxies are, anyway."""
    yield f"{a.service} {a.stable} → {a.canary}: {a.phase}, {a.canary} at {a.weight} %, strategy {a.strategy.name}."
    if a.phase.ended:
        yield f"It ended at {at(a.ended)} after {spoken(a.ended - a.started)}: {a.message}."
        if a.phase is Phase.ROLLED_BACK:
            yield f"`rollout retry {a.service}` begins the same once more."
    else:
        yield f"It stands there since {at(a.since or a.started)}: {a.message}."
        if a.last and a.strategy.checks:
            when = f"At {at(a.last.looked_at)} the judge said" if a.last.looked_at else "The judge says"
            yield f"{when} {a.last.verdict}: {a.last.text}."
            yield (
                f"Of the evidence that it takes to go on, {a.last.to_go_on:.0%} is there; "
                f"of what it takes to go back, {a.last.to_go_back:.0%}."
            )
        yield from _answers(a)
        if a.probed:
            yield f"Of its probes: {a.probed.text}."
        yield from _waits(a)
        if a.stands and not asked:
            yield f"Whether the proxies obey is what `rollout explain {a.service} --proxies` asks them."
        if notice:
            yield f"{notice[0].upper()}{notice[1:]}: `rollout promote` goes on, `rollout abort` takes back."
            yield f"Its deadline is {at(a.deadline)}; whoever drives it after that takes the traffic back."
        else:
            rest = spoken(max(0.0, a.deadline - now))
            yield f"If it has not ended by {at(a.deadline)} (in {rest}), traffic goes back."
    if a.notices:
        yield f"People were not told yet: {', '.join(notice.event for notice in a.notices)}."
    yield "Journal:"
    yield from (f"  {at(entry.at)}  {entry.text}" for entry in a.journal)


def _answers(a: Attempt) -> Iterator[str]:
    kinds = {one.name: one.kind for one in a.strategy.queries}
    for one in a.measured:
        when = f"At {at(one.at)} a {kinds[one.name]} said: " if one.at else ""
        yield f"{when}{one.text}."


def _waits(a: Attempt) -> Iterator[str]:
    if a.phase is Phase.PAUSED:
        yield "It waits for a person: `rollout promote` goes on, `rollout abort` takes back."
        if a.fighting:
            yield "Whoever writes these weights must leave them alone while we do. For Argo CD, in its Application:"
            yield from (f"  {line}" for line in _ignoring(a))
            yield f"`rollout gitops {a.service}` says more, and what Flux needs."
    elif a.phase is Phase.CONFIRMING:
        yield f"It waits until {at(a.stands + a.strategy.confirm)}; at 100 % there is nobody to compare with."
    elif a.phase is Phase.WAITING:
        yield f"{a.message}."
    elif a.at and a.stands and a.mirror:
        yield f"It is {a.mirror} until {at(a.stands + a.at.bake.min)} at least; no user sees {a.canary} yet."
    elif a.at and a.probe and not a.strategy.rises(a.step):
        yield f"It waits for answers to its probes until {at(a.since + a.at.bake.max)}; without them it goes back."
    elif a.at and a.stands and a.phase is Phase.SHIFTING:
        bake, following = a.at.bake, a.strategy.after(a.weight)
        if not a.strategy.checks:
            yield f"It stands until {at(a.stands + bake.min)} at least; nothing is compared."
            return
        margin = 100 * a.strategy.margin_at(a.weight)
        of = "of users or probes " if a.probe else ""
        yield (
            f"Before {following} % it waits for evidence {of}that {a.canary} fails at most {margin:.2g} points more, "
            f"from {at(a.stands + bake.min)} on, until {at(a.stands + bake.max)}."
        )


def _ignoring(a: Attempt) -> Iterator[str]:
    rules = ignored(a.service, a.namespace, [(route.namespace, route.name) for route in a.routes])
    yield from yaml_text.dump({"ignoreDifferences": rules}).splitlines()
