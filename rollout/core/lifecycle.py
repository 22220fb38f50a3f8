"""Phases and the table of legal moves between them; `transitions` keeps the table, none of its callbacks act."""

from enum import StrEnum
from functools import cache

from transitions import Machine


class Phase(StrEnum):
    """Where an attempt stands."""

    PREFLIGHT = "Preflight"
    SHIFTING = "Shifting"
    WAITING = "Waiting"
    PAUSED = "Paused"
    CONFIRMING = "Confirming"
    ROLLING_BACK = "RollingBack"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (Phase.PROMOTED, Phase.ROLLED_BACK)


class Reason(StrEnum):
    """Why traffic was taken back."""

    BREACH = "Breach"
    CANARY_UNREADY = "CanaryUnready"
    SUBSET_GONE = "SubsetGone"
    ABORTED = "Aborted"
    UNPROVEN = "Unproven"
    OVERDUE = "Overdue"
    TIMED_OUT = "TimedOut"
    REFUSED = "Refused"
    UNANSWERED = "Unanswered"
    INTERRUPTED = "Interrupted"
    STATE_LOST = "StateLost"
    SUPERSEDED = "Superseded"
    DELETED = "Deleted"
    DRAINED = "Drained"


MOVES: tuple[tuple[str, Phase, Phase], ...] = (
    ("start", Phase.PREFLIGHT, Phase.SHIFTING),
    ("ask", Phase.SHIFTING, Phase.WAITING),
    ("answer", Phase.WAITING, Phase.SHIFTING),
    ("pause", Phase.SHIFTING, Phase.PAUSED),
    ("pause", Phase.WAITING, Phase.PAUSED),
    ("pause", Phase.CONFIRMING, Phase.PAUSED),
    ("resume", Phase.PAUSED, Phase.SHIFTING),
    ("confirm", Phase.SHIFTING, Phase.CONFIRMING),
    ("compare", Phase.CONFIRMING, Phase.SHIFTING),
    ("promote", Phase.CONFIRMING, Phase.PROMOTED),
    *(
        ("takeBack", phase, Phase.ROLLING_BACK)
        for phase in (Phase.PREFLIGHT, Phase.SHIFTING, Phase.WAITING, Phase.PAUSED, Phase.CONFIRMING)
    ),
    ("tookBack", Phase.ROLLING_BACK, Phase.ROLLED_BACK),
)
"""Every legal move as (name, from, to)."""


@cache
def _machine() -> Machine:
    rows = [{"trigger": name, "source": one.value, "dest": other.value} for name, one, other in MOVES]
    return Machine(
        model=None, states=[p.value for p in Phase], initial="Preflight", transitions=rows, auto_transitions=False
    )


def legal(one: Phase, other: Phase) -> bool:
    """Whether an attempt may go from `one` phase to `other`; to stay is always legal.

    >>> legal(Phase.ROLLED_BACK, Phase.SHIFTING)
    False
    """
    return one is other or bool(_machine().get_transitions(source=one.value, dest=other.value))
