"""How users write a ServiceRollout, and what we write of it in its status."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from rollout.adapters.spelling import faults
from rollout.adapters.spelling.fields import Spec, as_text
from rollout.adapters.spelling.strategy import DriftSpec, NotifySpec, StrategySpec, unsent
from rollout.adapters.strategy_files import load, parse, presets
from rollout.core.address import Url
from rollout.core.attempt import Scale
from rollout.core.documents import CONFIG_MAP, SERVICE_ROLLOUT, Document, name_of, namespace_of, ref
from rollout.core.errors import InvalidInput, NotFound, about
from rollout.core.quantities import DURATION, duration
from rollout.core.strategy import Strategy
from rollout.ports import Cluster

LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SUBDOMAIN = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
SUBSET = r"^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$"
KEY = r"^[-._A-Za-z0-9]+$"
USUAL_KEY = "strategy.yaml"
NEVER = "never"
ONE_OF_BOTH = "write either `version`, or `trigger: newVersion`"


def _named(pattern: str, longest: int, what: str) -> tuple[AfterValidator, WithJsonSchema]:
    def checked(value: str) -> str:
        if len(value) > longest or not re.fullmatch(pattern, value):
            raise ValueError(f"{value[:70]!r} cannot be {what}")
        return value

    schema = {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": longest}
    return AfterValidator(checked), WithJsonSchema(schema)


def _after(value: str) -> str:
    if value != NEVER:
        try:
            duration(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from None
    return value


class PresetSpec(Spec):
    """A strategy that comes with rollout."""

    name: str
    """A preset's name, such as canary: `rollout strategies` has them all."""


class ConfigMapSpec(Spec):
    """A strategy that a ConfigMap of the same namespace keeps."""

    configMap: Annotated[str, *_named(SUBDOMAIN, 253, "the name of a ConfigMap")]  # noqa: N815 - as users write it
    """The ConfigMap that keeps the strategy as YAML, in the namespace of this object."""
    key: Annotated[str, *_named(KEY, 253, "a key of a ConfigMap")] = USUAL_KEY
    """Under which key; strategy.yaml where it is left out."""


WAYS: dict[str, type[Spec]] = {"name": PresetSpec, "configMap": ConfigMapSpec, "steps": StrategySpec}
"""By which key it is seen how a strategy is given."""


def _given(value: object) -> Spec:
    if not isinstance(value, dict):
        raise ValueError(faults.SENTENCES["dict_type"])  # noqa: TRY004 - as pydantic wants it
    ways = [way for way in WAYS if way in value]
    if len(ways) != 1:
        raise ValueError("write one of `name: PRESET`, `configMap: NAME`, and the strategy itself with its `steps`")
    return WAYS[ways[0]].model_validate(value)


Given = Annotated[
    PresetSpec | ConfigMapSpec | StrategySpec,
    PlainValidator(_given, json_schema_input_type=PresetSpec | ConfigMapSpec | StrategySpec),
]


class RetireSpec(Spec):
    """When a version that was replaced is scaled down to 0: once nothing is sent to it, and no request comes."""

    after: Annotated[str, AfterValidator(_after), as_text(f"^never$|{DURATION}")] = NEVER
    """How long after the promotion, like 24h; or never."""


class RoutesSpec(Spec):
    """Which routes move beside those that are found by their destinations.

    A name of a route without a match is accepted and changes nothing, and a change of names alone begins nothing.
    """

    names: list[Annotated[str, Field(min_length=1)]]
    """HTTP routes that are to move though they have a match; before the first release, or once at what serves."""


class ServiceRolloutSpec(Spec):
    """Which version of a service is to serve, and how it gets there."""

    service: Annotated[str, *_named(LABEL, 63, "the name of a Service, like reviews")]
    """The Service whose traffic is moved, in the namespace of this object; it cannot be changed."""
    version: Annotated[str, *_named(SUBSET, 63, "a version, like v2")] | None = None
    """The version that is to serve: a subset's name, which its pods carry as the label `version`."""
    trigger: Annotated[Literal["newVersion"], WithJsonSchema({"type": "string", "enum": ["newVersion"]})] | None = None
    """Instead of a version: newVersion begins when a new Deployment of the Service, with another version, is ready."""
    strategy: Given | None = None
    """By which steps: a preset, a ConfigMap, or all of it here; otherwise `canary`, fitted to the traffic."""
    routes: RoutesSpec | None = None
    """Which routes with a match are to move; without it they are left alone. What leads to everybody moves anyway."""
    drift: DriftSpec | None = None
    """What follows when somebody else changes weights; instead of what the strategy says of it."""
    notify: NotifySpec | None = None
    """Where people are told what they should know; instead of where the strategy says."""
    scale: Literal["wait", "auto"] = "wait"
    """`auto`: scale the canary for each next weight, and give back what was scaled; `wait`: somebody else does."""
    retire: RetireSpec | None = None
    """What becomes of the version that was replaced, if it has one Deployment; where it is left out, nothing."""
    suspend: StrictBool = False
    """True: start nothing, and hold what is under way where it stands."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.version is None) == (self.trigger is None):
            raise ValueError(ONE_OF_BOTH)
        return self


@dataclass(frozen=True)
class ConfigMapKey:
    """Where a strategy is kept: a key of a ConfigMap in the ServiceRollout's namespace."""

    name: str
    key: str


@dataclass(frozen=True)
class ServiceRollout:
    """What a user wants of a service. Without a strategy the preset `canary` is to be fitted to the traffic.

    Without a `version` the next one is wanted that appears. `gitops_managers` (None) and `notify` (empty) are left to
    the strategy. `names` are those of routes that are to move though they have a match.
    """

    namespace: str
    name: str
    service: str
    version: str
    strategy: Strategy | ConfigMapKey | None = None
    suspend: bool = False
    scale: Scale = Scale.WAIT
    gitops_managers: tuple[str, ...] | None = None
    notify: Url = ""
    names: tuple[str, ...] = ()

    def own(self, strategy: Strategy) -> Strategy:
        """A strategy with what the object says itself in place of what the strategy says of it."""
        managers = strategy.gitops_managers if self.gitops_managers is None else self.gitops_managers
        return replace(strategy, gitops_managers=managers, notify=self.notify or strategy.notify)


def declared(document: Document) -> ServiceRollout:
    """What a ServiceRollout says. Raises `InvalidInput` that names the object and each field that is wrong."""
    try:
        spec = ServiceRolloutSpec.model_validate(document.get("spec"))
    except ValidationError as error:
        found = error.errors(include_input=False)
        told = faults.counted([faults.said(one, ("spec",)) for one in found], len(found))
        raise _refused(document, "; ".join(told)) from None
    strategy = _strategy(spec.strategy, lambda place, text: _refused(document, faults.at(("spec", *place), text)))
    return ServiceRollout(
        namespace_of(document),
        name_of(document),
        spec.service,
        spec.version or "",
        strategy,
        spec.suspend,
        Scale(spec.scale),
        tuple(spec.drift.gitopsManagers) if spec.drift else None,
        spec.notify.url if spec.notify else "",
        tuple(dict.fromkeys(spec.routes.names)) if spec.routes else (),
    )


def strategy_of(cluster: Cluster, wanted: ServiceRollout, otherwise: str) -> Strategy:
    """The strategy, read where it is kept, or else that preset, with what the object says itself.

    Raises `InvalidInput`.
    """
    if isinstance(wanted.strategy, ConfigMapKey):
        return wanted.own(_kept(cluster, wanted.namespace, wanted.strategy))
    return wanted.own(wanted.strategy or load(otherwise))


def _kept(cluster: Cluster, namespace: str, kept: ConfigMapKey) -> Strategy:
    name, key = kept.name, kept.key
    where = f"ConfigMap {namespace}/{name}"
    try:
        data = cluster.get(CONFIG_MAP, namespace, name).get("data") or {}
    except NotFound:
        raise InvalidInput(f"spec.strategy.configMap: there is no {where}") from None
    if key not in data:
        raise InvalidInput(f"spec.strategy.key: {where} has no key {key} (there: {', '.join(sorted(data)) or 'none'})")
    with about("strategy"):
        return parse(data[key], name, f"{where}, {key}")


def _refused(document: Document, faults_told: str) -> InvalidInput:
    return InvalidInput(f"{ref(SERVICE_ROLLOUT, document)}: {faults_told}")


def _strategy(
    spec: Spec | None, refused: Callable[[faults.Place, str], InvalidInput]
) -> Strategy | ConfigMapKey | None:
    if isinstance(spec, PresetSpec):
        known = presets()
        if spec.name not in known:
            sentence = f"there is no preset {spec.name[:70]!r}; there are {', '.join(known)}"
            raise refused(("strategy", "name"), sentence)
        return parse(known[spec.name], spec.name, f"strategies/{spec.name}.yaml")
    if isinstance(spec, ConfigMapSpec):
        return ConfigMapKey(spec.configMap, spec.key)
    if not isinstance(spec, StrategySpec):
        return None
    strategy = spec.made("inline")
    for place, sentence in unsent(strategy):
        raise refused(("strategy", *place), sentence)
    return strategy


class Status(Spec):
    """Its fields are ours to write: who reads them finds no fault in one that a later version has."""

    model_config = ConfigDict(extra="ignore")


Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class EvidenceStatus(Status):
    """What the judge has found at this weight."""

    verdict: str = ""
    """ADVANCE, ROLLBACK, CONTINUE, INCONCLUSIVE, NO_DATA, BLIND, or DOUBT."""
    text: str = ""
    """The same in a sentence."""
    toGoOn: float | None = None  # noqa: N815 - as users read it
    """How much of the evidence is there that it takes to go on; 1 is all of it."""
    toGoBack: float | None = None  # noqa: N815
    """How much of the evidence is there that it takes to go back; 1 is all of it."""
    hurt: int | None = None
    """How many requests the canary failed or rejected, as far as it is known."""


class JournalStatus(Status):
    """One decision."""

    at: Moment
    """When it was taken."""
    text: str
    """What was decided, and why."""
    weight: float | None = None
    """The canary's weight from then on, in percent."""


class RetirementStatus(Status):
    """What was decided about one version that was replaced."""

    version: str = ""
    """Which."""
    fate: str = ""
    """going, retired, or kept."""
    text: str = ""
    """How its pods go, or why they stay."""


class ConditionStatus(Status):
    """One thing that is so, is not so, or is not known."""

    type: Annotated[str, Field(max_length=316)]
    """Ready, Reconciling, Stalled, Promoted."""
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})]
    """Whether it is so."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """Why, in a word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, in a sentence."""
    lastTransitionTime: Moment | None = None  # noqa: N815
    """Since when it is so."""
    observedGeneration: int | None = None  # noqa: N815
    """For which generation of the spec it was found."""


class ServiceRolloutStatus(Status):
    """Where it stands."""

    observedGeneration: int | None = None  # noqa: N815
    """The generation of the spec that this is about; -1 while no controller has seen the object."""
    phase: str = ""
    """Idle, Preflight, Shifting, Waiting, Paused, Confirming, Promoted, RollingBack, or RolledBack."""
    stable: str = ""
    """The version that serves."""
    canary: str = ""
    """The version on trial."""
    attempt: int | None = None
    """The number of this attempt."""
    step: int | None = None
    """The step of the strategy, counted from 0."""
    weight: float | None = None
    """Percent that the canary gets of what stable served."""
    since: Moment | None = None
    """Since when this weight stands."""
    until: Moment | None = None
    """By when the attempt must have ended; otherwise it is taken back."""
    waitingSince: Moment | None = None  # noqa: N815 - as users read it
    """Since when new versions are waited for, with `trigger`: what was deployed before asks for nothing."""
    reason: str = ""
    """Why it stands still or went back, in a word."""
    message: str = ""
    """What it does or waits for, in a sentence."""
    retireAt: Moment | None = None  # noqa: N815
    """When the next version that was replaced is to be retired."""
    retired: list[RetirementStatus] | None = None
    """What was decided about versions that were replaced."""
    evidence: EvidenceStatus | None = None
    """What the judge has found at this weight."""
    journal: list[JournalStatus] | None = None
    """The last decisions, the oldest first."""
    conditions: list[ConditionStatus] | None = None
    """Ready, Reconciling, Stalled and Promoted, as kubectl and Flux read them."""
    record: str = ""
    """The engine's own memory, as JSON; of no use to others."""
