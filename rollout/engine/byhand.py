"""Who drives a service by hand where a controller may lead: one of the two gives way."""

import math
from collections.abc import Callable

from rollout.core.documents import LEASE, MANAGED_BY, Document, name_of
from rollout.core.errors import Forbidden
from rollout.engine.lease import CONTROLLER, Holder, holder_of, live, renewed_at
from rollout.ports import Cluster

HOME = "rollout-system"
"""The namespace in which a controller has its Lease, if nobody says otherwise."""


class ByHand:
    """A process's hold on a service's own Lease, which it takes only where no controller leads (see `Hold`).

    We take our Lease, then look at the controllers'; a controller takes its own, then looks at ours: whichever comes
    second sees the other. `governed` says whether a ServiceRollout asks for the service; otherwise no controller has
    anything to do with it. `home` is the namespace of the controllers' Leases, one for each shard: which of them has
    the object, a Lease does not say, so each counts.
    """

    def __init__(self, cluster: Cluster, own: Holder, home: str, governed: Callable[[], bool]) -> None:
        self._cluster, self._own, self._home, self._governed = cluster, own, home, governed
        self._leaders: dict[str, Holder] = {}
        self._cleared = 0
        self._until = -math.inf
        self.other = ""

    @property
    def fence(self) -> int:
        """See `Hold`: none before we have seen that nobody leads."""
        return self._own.fence if self._own.fence == self._cleared or not self._governed() else 0

    def hold(self, now: float, floor: int = 0) -> bool:
        """See `Hold`."""
        if self._governed() and not self._own.fence and self.led(now):
            return False
        held = self._own.hold(now, floor)
        self.other, self._until = self._own.other, now + self._own.wait(now)
        if not held or not self._governed() or self._own.fence == self._cleared:
            return held
        if self.led(now):
            self._own.release(now)
            return False
        self._cleared = self._own.fence
        return True

    def led(self, now: float) -> bool:
        """Whether a controller leads, or may lead, as far as we have seen; by our own clock. Raises `Unavailable`."""
        try:
            leases = _leases(self._cluster, self._home)
        except Forbidden:
            self.other, self._until = f"whoever leads (we may not list the Leases of {self._home})", math.inf
            return True
        for lease in leases:
            leader = self._leaders.setdefault(
                name_of(lease), Holder(self._cluster, name_of(lease), self._home, self._own.identity)
            )
            expires = leader.expires(lease, now)
            if holder_of(lease) and expires > now:
                self.other, self._until = f"the controller {holder_of(lease)}", expires
                return True
        return False

    def doubt(self) -> None:
        """See `Hold`."""
        self._own.doubt()

    def sure(self, now: float) -> bool:
        """See `Hold`."""
        return bool(self.fence) and self._own.sure(now)

    def wait(self, now: float) -> float:
        """See `Hold`."""
        return max(0.0, self._until - now)

    def unattended(self, now: float) -> float | None:
        """See `Hold`. Where we may not see whether a controller leads, we do not say that nobody does."""
        since = self._own.unattended(now)
        if since is None or not self._governed():
            return since
        try:
            leases = _leases(self._cluster, self._home)
        except Forbidden:
            return None
        if any(live(one, now) for one in leases):
            return None
        return max([since, *(renewed_at(one) for one in leases)])

    def release(self, now: float) -> None:
        """See `Hold`."""
        self._cleared = 0
        self._own.release(now)


def leader(cluster: Cluster, home: str, now: float) -> str:
    """Which controller leads by the Leases' own times, for people to read; empty if none does.

    Raises `Forbidden` where we may not know, and `Unavailable`.
    """
    return next((holder_of(one) for one in _leases(cluster, home) if live(one, now)), "")


def _leases(cluster: Cluster, home: str) -> list[Document]:
    every = cluster.list(LEASE, home, MANAGED_BY)
    return [one for one in every if name_of(one) == CONTROLLER or name_of(one).startswith(f"{CONTROLLER}-")]
