"""What the engine needs from the world: a cluster of documents, and counters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rollout.core.attempt import Word
from rollout.core.documents import Document, Kind
from rollout.core.probe import Probe
from rollout.core.query import Points
from rollout.judge.looks import Snapshot


class Cluster(Protocol):
    """Objects as documents, with the promises of the Kubernetes API.

    Every method raises `Unavailable` when no answer came (a write may then have landed) and `Forbidden` when the
    answer was no. Documents that are given out belong to the caller.
    """

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """The object as it stands. Raises `NotFound`."""

    def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Document]:
        """The objects of a namespace (None: of all), with these labels, ordered by namespace and name.

        Of Secrets, the metadata alone: nobody of us needs what many of them hold.
        """

    def create(self, kind: Kind, document: Document) -> Document:
        """Make the object. Raises `Conflict` if it exists, `InvalidInput` if the server rejects it."""

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Document, version: str, subresource: str = ""
    ) -> Document:
        """Apply a JSON merge patch (RFC 7386) to the very object that was read at `version`; returns all of it.

        With the subresource "status" the status alone changes, whatever else is in the patch; without one, the status
        of a kind that is written `apart` is left alone. Raises `Conflict` if the object changed since, `NotFound`, and
        `InvalidInput` if the server rejects the patch.
        """

    def delete(self, kind: Kind, namespace: str, name: str, version: str) -> None:
        """Delete the very object that was read at `version`. Raises `Conflict`, `NotFound`.

        One with finalizers gets a deletionTimestamp, and goes with the last of them.
        """

    def may(self, verb: str, kind: Kind, namespace: str | None, name: str = "") -> bool:
        """Whether we have the right to `verb` (get, list, create, patch, delete) objects of `kind` there, or one."""


@dataclass(frozen=True)
class Change:
    """What became of an object: how it stands, or, where it is `gone`, how it stood last.

    Of one that is gone the resourceVersion says when it went. Where only objects with some labels are watched, one that
    has lost them is gone as well.
    """

    document: Document
    gone: bool = False


class Watch(Protocol):
    """What changes, as it comes; asked for when the first is taken."""

    def __iter__(self) -> Iterator[Change | str]:
        """Each change, in order, and between them versions up to which there are no others.

        The first that comes is the version from which it began, as soon as the server has agreed to tell. Ends when
        the server has told enough, or by `close`. Raises `Expired` where it is too late to be told of what came after
        that version, and `Unavailable` or `Forbidden` as every call does.
        """

    def close(self) -> None:
        """End it at once, also while another thread waits for the next change."""


class Watchable(Cluster, Protocol):
    """A cluster that also tells what changes."""

    def listing(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[list[Document], str]:
        """What `list` gives, in any order, and the version at which all of it stood so.

        Raises `Expired` where the list was long and changed too much while it was read: ask again.
        """

    def watch(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None, since: str, seconds: float
    ) -> Watch:
        """What changes after the version `since`, for so many seconds at most.

        Without a version it begins with all that is there, as changes, and then the version at which that stood so;
        `InvalidInput` is raised, when the first is taken, by a server that cannot do that.
        """


@dataclass(frozen=True)
class Target:
    """Whose counters are asked for.

    `service` is the fully qualified host; `ports` the Service's ports, because clients also name `host:port`
    (none: whichever they name).
    `stable` and `canary` are values of the pods' `version` label, as the mesh's counters carry them;
    both empty: every version. `reporter` is who counts: "source", the clients' proxies, each of which holds both
    versions at one moment, or "destination", the pods' own, each of which holds its version only.
    """

    service: str
    namespace: str
    ports: tuple[int, ...]
    stable: str
    canary: str
    reporter: str = "source"


Edges = tuple[float, ...] | None
"""Where answers are counted by the time that they took (milliseconds): nowhere, at these, or (None) wherever it can be.
"""
Asked = Mapping[Target, Edges]
"""Targets of one namespace and reporter, each with where its answers are to be counted."""
Settled = tuple[Snapshot, float | None]
"""The counters of one moment, and the horizon."""


class Metrics(Protocol):
    """The mesh's request counters, as they stood at given moments of the store's own time (epoch seconds)."""

    def snapshots(self, target: Target, start: float, end: float, step: float, edges: Edges = ()) -> list[Snapshot]:
        """The raw counters at start, start + step … end, oldest first.

        With `edges` (milliseconds; None: all there are) also the histogram of answers, at those of its edges that
        exist and at infinity; answers that failed or were rejected are not in it. A moment without any counter is a
        snapshot without counters. Raises `Unavailable`.
        """

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        """The raw counters of targets of one namespace and reporter at one moment, each with the horizon.

        Where that lies before the moment it was too early, and the counters are not to be judged. Raises `Unavailable`.
        """

    def horizon(self, target: Target) -> float | None:
        """The moment up to which every reporting instance's counters are there; None if nobody reports.

        What lies before it never changes any more, however late samples arrive. Raises `Unavailable`.
        """

    def interval(self, target: Target) -> float | None:
        """Seconds between two readings of an instance, the longest; None where nothing tells. Raises `Unavailable`."""

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        """The series of an expression of the user's own, each where it has a value at start, start + step … end.

        Oldest first; a value may be no number. Raises `InvalidInput` with the store's own words where it cannot answer
        this expression (it does not parse, takes too long, is no vector), `Unavailable` where it answers nothing.
        """


Question = dict[str, str]
"""What a webhook is asked: service, namespace, stable, canary, weight (percent), attempt, asked (how often before), and
`check`, the name of the check that asks, where none of the gates does."""


class Webhooks(Protocol):
    """Endpoints of the user's own, over HTTP: gates and checks that are asked, and one where people are told."""

    def answer(self, url: str, question: Question) -> Word | str | None:
        """What was answered: a yes or a no, or in words why there is neither; None while it is not there yet.

        Never waits: to ask again later is to look whether an answer came. An answer is given out once; who asks after
        that asks anew. Several questions may be under way, each with an answer of its own.
        """

    def deliver(self, url: str, message: Mapping[str, Any]) -> str | None:
        """Post a message: empty when it has arrived, why not in words, None while that is not known yet.

        Never waits, as above: to deliver the same message again is to look whether it arrived, and, once that was
        told, to post it anew.
        """


@dataclass(frozen=True)
class Errand:
    """Probes to be sent to both versions, each with its mark (see `Probe.mark`); `id` tells it from every other."""

    id: str
    probe: Probe
    token: str
    stable: str
    canary: str

    def mark(self, canary: bool) -> str:
        """What the probes for one of the versions carry."""
        return self.probe.mark(self.token, self.canary if canary else self.stable)


@dataclass(frozen=True)
class Answered:
    """What a probe for the canary, or for stable, was answered after `seconds`; `matched`: with the expected text.

    `marked` says that the answer came by our route for that version. `late`: it was sent and no answer came for long;
    `silent`: why nobody was asked, in words.
    """

    canary: bool
    status: int = 0
    seconds: float = 0.0
    matched: bool = True
    marked: bool = True
    late: bool = False
    silent: str = ""


class Probes(Protocol):
    """Synthetic requests over HTTP."""

    def answers(self, errand: Errand, stable: int, canary: int) -> Sequence[Answered]:
        """What has come since this was last asked. Never waits.

        Goes on sending at the errand's pace until so many requests in all were sent for each version; stops soon when
        it is not asked for any more, and at once for another errand, whose answers alone are given out then.
        """


class Proxies(Protocol):
    """The pods' own proxies (Envoy)."""

    def routes(self, pod: Document) -> Document:
        """The config dump of a pod's proxy, its routes at least.

        Raises `Unavailable` where it does not answer, `Forbidden` with the rights that it takes, `NotFound` where the
        pod is gone.
        """
