"""How users write a strategy as a whole."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

from pydantic import Field, field_validator

from rollout.adapters.spelling.checks import CheckSpec
from rollout.adapters.spelling.faults import Place
from rollout.adapters.spelling.fields import BakeField, Positive, Seconds, Spec, UrlField
from rollout.adapters.spelling.steps import SERVED, StepSpec
from rollout.core.quantities import percent, spoken
from rollout.core.strategy import Bake, OnInconclusive, Step, Strategy


class DriftSpec(Spec):
    """What follows when somebody else changes weights."""

    gitopsManagers: list[str] = []  # noqa: N815, RUF012 - as users write it; pydantic copies it
    """Field managers whose edits are put back, like argocd-controller."""


class NotifySpec(Spec):
    """Where people are told what they should know; see docs/messages.md."""

    url: UrlField
    """An incoming webhook, of Slack or one that takes its messages, or the Secret that keeps its URL."""


class StrategySpec(Spec):
    """The steps that a rollout takes, and what each must show before the next."""

    description: str = ""
    """What it is for, in a line."""
    budget: Positive = percent("0.5")
    """Share of all users' requests that a step may put at risk; 0.5% where it is left out."""
    bake: BakeField
    """How long a weight stands: a duration, or min (never shorter) and max (without evidence until then)."""
    inconclusive: OnInconclusive = OnInconclusive.HOLD
    """At bake.max without evidence: hold until the deadline, or advanceNoted if the canary looks no worse."""
    steps: Annotated[list[StepSpec], Field(min_length=1)]
    """In this order; the weights rise, and the last step is the weight 100."""
    confirm: Seconds
    """How long 100 % stands before it is promoted, like 5m: nobody is left to compare with."""
    deadline: Seconds | None = None
    """Without an end by then it goes back; where it is left out, after twice what its bakes may take."""
    checks: list[CheckSpec]
    """What is compared; `[]` says on purpose that nothing is judged."""
    drift: DriftSpec = DriftSpec()
    """What follows when somebody else changes weights."""
    notify: NotifySpec | None = None
    """Where people are told that it started, waits, stands still, was promoted or taken back."""

    @field_validator("checks")
    @classmethod
    def _once(cls, checks: list[CheckSpec]) -> list[CheckSpec]:
        kinds = [kind for check in checks if check.asked is None for kind in check.model_fields_set]
        names = [repr(check.asked.name) for check in checks if check.asked is not None]
        if twice := sorted({one for one in (*kinds, *names) if (*kinds, *names).count(one) > 1}):
            raise ValueError(f"the check {', '.join(twice)} is there twice")
        return checks

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: list[StepSpec]) -> list[StepSpec]:
        weights = [step.weight for step in steps if step.weight is not None]
        if any(after <= before for before, after in zip([Decimal(0), *weights], weights, strict=False)):
            raise ValueError(f"the weights must rise: {', '.join(map(str, weights))}")
        if not weights:
            raise ValueError("no step has a weight; the last must be `weight: 100`")
        if weights[-1] != 100:
            raise ValueError(f"the last weight must be 100, not {weights[-1]}")
        first = next(i for i, step in enumerate(steps, 1) if step.weight is not None or step.route)
        if late := next((i for i, step in enumerate(steps, 1) if step.mirror and i > first), None):
            raise ValueError(
                f"step {late} mirrors what users see already; a mirror comes before the first weight or route"
            )
        users = False
        for place, step in enumerate(steps, 1):
            users |= bool(step.weight or step.route)
            if step.fault and users and not (step.fault.only or step.fault.everyone):
                raise ValueError(
                    f"step {place} is a fault that users of the canary would meet; put it before the first weight or "
                    "route, say `only: {headers: …}` which requests are for it, or `everyone: true`"
                )
            if step.probe and users and step.probe.expect.status not in SERVED:
                raise ValueError(
                    f"step {place} sends probes that expect neither 2xx nor 3xx, and beside users' requests they would "
                    "count as the canary's failures; put it before the first weight or route"
                )
        if steps[-1].weight is None:
            raise ValueError("after 100 % there is nothing to wait for; put the last step before it")
        return steps

    def made(self, name: str) -> Strategy:
        """As the engine knows it."""
        bake = Bake(self.bake.min, self.bake.max)
        steps: list[Step] = []
        for one in self.steps:
            steps.append(one.made(bake, steps[-1].weight if steps else Decimal(0)))
        return Strategy(
            name,
            tuple(steps),
            self.confirm,
            float(self.budget) / 100,
            self.inconclusive,
            tuple(check for one in self.checks if (check := one.one())),
            self.deadline or 0.0,
            gitops_managers=tuple(self.drift.gitopsManagers),
            description=self.description,
            queries=tuple(one.asked.made() for one in self.checks if one.asked is not None),
            notify=self.notify.url if self.notify else "",
        )


def unsent(strategy: Strategy) -> Iterator[tuple[Place, str]]:
    """Where probes cannot all be sent while their step stands, and what is to be said of it."""
    for place, step in enumerate(strategy.steps):
        if step.probe and step.probe.round > step.bake.max:
            sentence = (
                f"{step.probe.count} probes at {step.probe.rps:g} a second take {spoken(step.probe.round)}, and the "
                f"step stands at most {spoken(step.bake.max)}; send fewer, or faster, or give it more time"
            )
            yield ("steps", place, "fault" if step.fault else "probe"), sentence
