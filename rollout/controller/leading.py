"""Who leads: one Lease for a whole controller, in place of one for each service."""

import threading
from collections.abc import Sequence

from rollout.core.documents import LEASE, MANAGED_BY, name_of, namespace_of
from rollout.engine.lease import CONTROLLER, DURATION, Holder, holder_of
from rollout.engine.state import state_name
from rollout.ports import Cluster

DRAINED = 60.0
"""Seconds for which nobody leads after who drained has gone: in them the other replicas go, too."""


class Leader:
    """The hold of one process on the controller's Lease, for the namespaces `spaces` (None: all). Safe for threads.

    One that `drains` takes it from whoever leads, in order to begin nothing, and to take back what is in flight.

    Whoever drives a single service by hand holds that service's own Lease, and looks at ours when it has it; we look
    at theirs when we have ours: so one of the two always sees the other.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        identity: str,
        spaces: Sequence[str | None] = (None,),
        name: str = CONTROLLER,
        drains: bool = False,
    ) -> None:
        self._cluster, self._spaces, self.drains = cluster, spaces, drains
        self._holder = Holder(cluster, name, namespace, identity, DRAINED if drains else DURATION, drains)
        self._lock = threading.Lock()
        self._driven = frozenset[tuple[str, str]]()

    @property
    def identity(self) -> str:
        """Under which name we lead."""
        return self._holder.identity

    @property
    def other(self) -> str:
        """Who leads, as far as we know, where it is not us."""
        return self._holder.other

    @property
    def fence(self) -> int:
        """Counts who led, while we do; else 0."""
        return self._holder.fence

    def renew(self, now: float) -> bool:
        """Take or keep the lead; False while another has it. Raises `Unreachable` without an answer."""
        with self._lock:
            fence = self._holder.fence
            if not self._holder.hold(now):
                return False
            if self._holder.fence != fence:
                leases = (lease for space in self._spaces for lease in self._cluster.list(LEASE, space, MANAGED_BY))
                self._driven = frozenset((namespace_of(one), name_of(one)) for one in leases if holder_of(one))
            return True

    def sure(self, now: float) -> bool:
        """Whether nobody can have taken the lead from us yet."""
        return self._holder.sure(now)

    def driven(self, service: str, namespace: str) -> bool:
        """Whether somebody held the service's own Lease when we took the lead."""
        return (namespace, state_name(service)) in self._driven

    def lift(self, now: float, floor: int) -> bool:
        """Count our lead anew, from above `floor`."""
        with self._lock:
            return floor < self._holder.fence or self._holder.lift(now, floor)

    def release(self, now: float) -> None:
        """Let it go at once, so that the next need not wait."""
        with self._lock:
            self._holder.release(now)


class Led:
    """The right to drive one service that comes with the lead (see `Hold`)."""

    def __init__(self, leader: Leader, cluster: Cluster, service: str, namespace: str) -> None:
        self._leader, self._asked = leader, (service, namespace)
        self._service = Holder(cluster, state_name(service), namespace, leader.identity)
        self._own = 0
        self.fence = 0
        self.other = ""

    def hold(self, now: float, floor: int = 0) -> bool:
        """See `Hold`. A record of a later fence than ours was written by hand: then who drives so comes first."""
        self.fence = 0
        if not self._leader.sure(now):
            self.other = self._leader.other
            return False
        new = self._own != self._leader.fence
        if floor > self._leader.fence or (new and self._leader.driven(*self._asked)):
            if not self._service.free(now):
                self.other = self._service.other
                return False
            if floor >= self._leader.fence and not self._leader.lift(now, floor):
                return False
        self.fence = self._own = self._leader.fence
        return True

    def doubt(self) -> None:
        """See `Hold`."""
        self._own = 0

    def sure(self, now: float) -> bool:
        """See `Hold`."""
        return self.fence == self._leader.fence != 0 and self._leader.sure(now)

    def wait(self, now: float) -> float:
        """See `Hold`."""
        return self._service.wait(now)

    def unattended(self, now: float) -> float | None:
        """See `Hold`."""
        return None if self._leader.sure(now) else self._service.unattended(now)

    def release(self, now: float) -> None:
        """See `Hold`: the lead is not let go for one service."""
        del now
        self.fence = 0
