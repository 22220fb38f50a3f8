"""Who drives: one Lease per service, so that two engines never act on it (I10)."""

import math
from typing import Protocol

from rollout.core.documents import LEASE, MANAGED_BY, Document, version_of
from rollout.core.errors import Conflict, NotFound
from rollout.core.quantities import moment, stamp
from rollout.ports import Cluster

CONTROLLER = "rollout-controller"
"""The Lease of a controller, which stands for those of all services that it drives."""
DURATION = 15.0
"""Seconds after which a Lease that was not renewed may be taken, unless it says more itself."""
RENEW_EVERY = 5.0


def holder_of(lease: Document) -> str:
    """Who holds it; empty if nobody does."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def renewed_at(lease: Document) -> float:
    """When it was renewed last, by the holder's own clock (epoch seconds)."""
    return moment((lease.get("spec") or {}).get("renewTime"))


def duration_of(lease: Document) -> float:
    """For how many seconds after a renewal nobody else may take it."""
    return max(DURATION, float((lease.get("spec") or {}).get("leaseDurationSeconds") or 0))


def live(lease: Document, now: float) -> bool:
    """Whether somebody holds it by its own times: for people to read, not to act on."""
    return bool(holder_of(lease)) and now - renewed_at(lease) < duration_of(lease)


class Hold(Protocol):
    """One process's right to drive a service."""

    @property
    def fence(self) -> int:
        """Counts who had it, while it is ours (0: it is not)."""

    @property
    def other(self) -> str:
        """Who holds it, as far as we know."""

    def hold(self, now: float, floor: int = 0) -> bool:
        """Take or keep it, counted from above `floor`; False while another has it. Raises `Unreachable`."""

    def doubt(self) -> None:
        """Ask the API next time, however fresh it seems."""

    def sure(self, now: float) -> bool:
        """Whether nobody can have taken it from us yet."""

    def wait(self, now: float) -> float:
        """Seconds until another's may be taken."""

    def unattended(self, now: float) -> float | None:
        """Since when nobody drives (0: nobody ever did), None while somebody does."""

    def release(self, now: float) -> None:
        """Let it go at once, so that the next need not wait."""


class Holder:
    """One process's hold on a Lease by name: that of a service, or the controller's.

    Another's lease has expired when we have seen it unchanged for its duration by our own clock: remote clocks are
    not to be trusted. `fence` is the Lease's transition count while we hold it, else 0. Ours lasts `lasting` seconds.

    One that `seizes` does not wait until another's has expired, but takes it at once, and is not `sure` of it before
    whoever had it has either seen that it is gone, or could not be sure of it any more.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        namespace: str,
        identity: str,
        lasting: float = DURATION,
        seizes: bool = False,
    ) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self.identity, self._lasting, self._seizes = identity, lasting, seizes
        self.fence = 0
        self.other = ""
        self._renewed = self._ours_from = 0.0
        self._seen, self._seen_at, self._expires = "", 0.0, 0.0

    def hold(self, now: float, floor: int = 0) -> bool:
        """Take or renew the lease; False while another holds it. Raises `Unreachable` without an answer.

        A lease that is taken counts its transitions from above `floor`, the fence of the record that we mean to
        drive: a Lease that somebody deleted would start again at 1, below its own past.
        """
        if self.fence and 0 <= now - self._renewed < RENEW_EVERY:
            return True
        try:
            lease = self._cluster.get(LEASE, self._namespace, self._name)
        except NotFound:
            document = self._document(now, floor + 1)
            return self._try(lambda: self._cluster.create(LEASE, document), floor + 1, now)
        transitions = int((lease.get("spec") or {}).get("leaseTransitions") or 0)
        if holder_of(lease) == self.identity and transitions == self.fence:
            return self._write(lease, transitions, now)
        self.fence = 0
        if self._taken(lease, now):
            if not self._seizes:
                return False
            self._ours_from = now + DURATION
        return self._write(lease, max(transitions, floor) + 1, now)

    def lift(self, now: float, floor: int) -> bool:
        """Count our hold anew, from above `floor`; False if it is lost. Raises `Unreachable` without an answer."""
        lease = self._cluster.get(LEASE, self._namespace, self._name)
        if holder_of(lease) != self.identity:
            self.fence = 0
            return False
        return self._write(lease, floor + 1, now)

    def free(self, now: float) -> bool:
        """Whether no other holds it, by the API; changes nothing. Raises `Unreachable` without an answer."""
        try:
            lease = self._cluster.get(LEASE, self._namespace, self._name)
        except NotFound:
            return True
        return not self._taken(lease, now)

    def doubt(self) -> None:
        """Ask the API next time, however fresh our hold seems."""
        self._renewed = -math.inf

    def expires(self, lease: Document, now: float) -> float:
        """When the lease expires as it was read, by our clock."""
        if version_of(lease) != self._seen or now < self._seen_at:
            self._seen, self._seen_at = version_of(lease), now
        self._expires = self._seen_at + duration_of(lease)
        return self._expires

    def unattended(self, now: float) -> float | None:
        """Since when nobody drives (0: nobody ever did), None while somebody does.

        By the holder's own clock: for people to read, not to act on.
        """
        try:
            lease = self._cluster.get(LEASE, self._namespace, self._name)
        except NotFound:
            return 0.0
        return None if live(lease, now) else renewed_at(lease)

    def wait(self, now: float) -> float:
        """Seconds until the other's lease may be taken."""
        return max(0.0, self._expires - now)

    def sure(self, now: float) -> bool:
        """Whether nobody can have taken the lease from us yet."""
        return bool(self.fence) and 0 <= now - self._renewed < DURATION - RENEW_EVERY and now >= self._ours_from

    def release(self, now: float) -> None:
        """Let it go at once, so that the next need not wait."""
        if not self.fence:
            return
        lease = self._cluster.get(LEASE, self._namespace, self._name)
        if holder_of(lease) == self.identity:
            patch = {"spec": {"holderIdentity": "", "renewTime": stamp(now, "microseconds")}}
            self._cluster.patch(LEASE, self._namespace, self._name, patch, version_of(lease))
        self.fence = 0

    def _taken(self, lease: Document, now: float) -> bool:
        """Whether another holds it, by our own clock; then it is the `other`."""
        holder = holder_of(lease)
        if holder in ("", self.identity) or self.expires(lease, now) <= now:
            return False
        self.other = holder
        return True

    def _write(self, lease: Document, transitions: int, now: float) -> bool:
        spec = self._document(now, transitions)["spec"]
        version = version_of(lease)
        return self._try(
            lambda: self._cluster.patch(LEASE, self._namespace, self._name, {"spec": spec}, version), transitions, now
        )

    def _try(self, write: object, transitions: int, now: float) -> bool:
        assert callable(write)
        try:
            write()
        except Conflict:
            self.fence = 0
            return False
        self.fence, self._renewed, self.other = transitions, now, ""
        return True

    def _document(self, now: float, transitions: int) -> Document:
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._lasting),
            "leaseTransitions": transitions,
            "renewTime": stamp(now, "microseconds"),
        }
        metadata = {"name": self._name, "namespace": self._namespace, "labels": dict(MANAGED_BY)}
        return {"apiVersion": LEASE.api_version(), "kind": LEASE.name, "metadata": metadata, "spec": spec}
