"""With `scale: auto`: what a rollout needs of Deployments and autoscalers, put there before a weight and given back."""

from collections.abc import Callable, Collection, Sequence

from rollout.core.attempt import Attempt, Scale
from rollout.core.decision import wanted
from rollout.core.documents import (
    AUTOSCALER,
    DEPLOYMENT,
    KINDS,
    Document,
    name_of,
    namespace_of,
    ref,
    selector_of,
    version_of,
)
from rollout.core.errors import Conflict, InvalidInput, NotFound, RolloutError
from rollout.engine.lookup import ROOT_NAMESPACE
from rollout.engine.observing import Scene, pair_of
from rollout.mesh import claims
from rollout.mesh.claims import claim_of
from rollout.mesh.hosts import fqdn
from rollout.mesh.routes import Pair, percents
from rollout.mesh.subsets import labels_for, seen_from
from rollout.mesh.workloads import (
    Workload,
    Write,
    annotation,
    behind,
    giving_patch,
    holding,
    in_words,
    scaled,
    scales,
    waking,
)
from rollout.ports import Cluster

LOOK_EVERY = 5.0
"""Seconds after which we look again whether all is scaled, and at what could not be."""


class Scales:
    """The writes to the workloads of one service. `said` is what is done about endpoints that the canary lacks."""

    def __init__(self, cluster: Cluster, service: str, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._key, self._claim = annotation(service, namespace), claims.annotation(service, namespace)
        self._host = fqdn(service, namespace)
        self._settled: tuple[str, int] = ("", 0)
        self._look_at = 0.0
        self.said = ""

    def put(self, a: Attempt, scene: Scene, now: float, record: Callable[[list[str]], None]) -> None:
        """Scale for the weight that stands and the next; what will be done is given to `record`, in words, before.

        What that raises is raised: somebody else drives. What stands in the way of scaling is said, and tried again
        later: it is no reason not to look after users. The claims lie there before, so that whoever comes next knows
        that there may be something to give back.
        """
        want = wanted(a)
        if a.scale is Scale.WAIT or not want or self._settled == (a.id, want) or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        try:
            writes, trouble, self.said = self._needed(a, scene, want)
        except RolloutError as error:
            self.said = str(error)
            return
        if writes:
            record([in_words(document, patch) for document, patch in writes])
        elif not trouble:
            self._settled = (a.id, want)
        try:
            for document, patch in writes:
                self._patch(document, patch)
        except Conflict:
            self._look_at = 0.0  # its status changes while its pods come
        except RolloutError as error:
            self.said = str(error)

    def _needed(self, a: Attempt, scene: Scene, want: int) -> tuple[list[Write], bool, str]:
        stable, canary = staffed(self._cluster, a, scene)
        one = only(canary, a.service, a.canary)
        writes, trouble = waking(one, self._key, a.id, want)
        asked = f"{ref(DEPLOYMENT, one.deployment)} is asked for {want}"
        return [*held(stable, a, self._key), *writes], bool(trouble), trouble or asked

    def give_back(self, went_back: Collection[str], of: str = "") -> list[str]:
        """Put back what was scaled, or leave it to whoever changed it since; returns what was done, in words.

        An autoscaler's least goes back at every end, a Deployment's number only for the attempts that `went_back`: a
        version that serves keeps its pods. With `of` only what was scaled for that attempt.
        """
        done = []
        autoscalers = self._cluster.list(AUTOSCALER, self._namespace)
        theirs = {scales(one) for one in autoscalers}
        for document in (*autoscalers, *self._cluster.list(DEPLOYMENT, self._namespace)):
            note, scaler = scaled(document, self._key), document["kind"] == AUTOSCALER.name
            if of and note and note.attempt != of:
                continue
            back = scaler or bool(note and note.attempt in went_back)
            patch = giving_patch(document, self._key, back, not scaler and name_of(document) in theirs)
            if patch:
                self._patch(document, patch)
                done.append(in_words(document, patch))
        return [one for one in done if one]

    def give_back_by(self, claimed: Sequence[Document]) -> None:
        """Put back what the claims on these VirtualServices say may have been scaled, once traffic is back."""
        told_by = [(vs, claim) for vs in claimed if (claim := claim_of(vs, self._claim)) and claim.scaling]
        serving = {
            claim.attempt
            for vs, claim in told_by
            if claim.sealed or any(percents(vs, Pair(self._host, claim.stable, claim.canary), claim.keys))
        }
        if told_by:
            self.give_back({claim.attempt for _, claim in told_by} - serving)

    def _patch(self, document: Document, patch: Document) -> None:
        kind = KINDS[document["kind"]]
        self._cluster.patch(kind, namespace_of(document), name_of(document), patch, version_of(document))


def shared(scene: Scene, a: Attempt) -> bool:
    """Whether somebody gives the canary users, though it went back."""
    routes = zip(scene.routes, a.routes, strict=True)
    return any(any(percents(vs, pair_of(a), route.keys)) for vs, route in routes if vs is not None)


def held(stable: list[Workload], a: Attempt, key: str) -> list[Write]:
    """What to write so that an autoscaler leaves stable what it takes to get everything back (I12)."""
    return holding(stable[0], key, a.id, a.capacity) if len(stable) == 1 else []


def staffed(cluster: Cluster, a: Attempt, scene: Scene) -> tuple[list[Workload], list[Workload]]:
    """What makes stable's pods, and what makes the canary's."""
    if scene.service is None:
        raise NotFound(f"the Service {a.service} is gone")
    level = seen_from(scene.rules, pair_of(a).host, a.namespace, a.namespace, ROOT_NAMESPACE)
    stable, canary = (labels_for(level, version) for version in (a.stable, a.canary))
    theirs, ours = workloads(cluster, scene.service, stable, canary)
    return theirs, ours


def workloads(cluster: Cluster, service: Document, *subsets: dict[str, str]) -> tuple[list[Workload], ...]:
    """What makes the pods of each of these subsets."""
    namespace, selector = namespace_of(service), selector_of(service)
    deployments, autoscalers = (cluster.list(kind, namespace) for kind in (DEPLOYMENT, AUTOSCALER))
    return tuple(behind(deployments, autoscalers, {**selector, **subset}) for subset in subsets)


def only(found: list[Workload], service: str, version: str) -> Workload:
    """The one workload that can be scaled for a version. Raises `InvalidInput`."""
    if len(found) == 1:
        return found[0]
    names = " and ".join(ref(DEPLOYMENT, one.deployment) for one in found)
    why = f"{names} make pods of it, and we do not know which to scale" if found else "no Deployment makes pods of it"
    raise InvalidInput(f"scale: auto cannot scale {service} {version}: {why}; leave it at scale: wait")
