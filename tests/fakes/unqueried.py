"""What a metrics store of a test is that nobody asks queries of his own, nor look by look."""

from rollout.core.query import Points
from rollout.ports import Asked, Settled, Target


class Unqueried:
    """The rest of the Metrics port."""

    def settled(self, asked: Asked, at: float) -> dict[Target, Settled]:
        raise AssertionError(f"nobody should have looked at {[target.service for target in asked]}")

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        raise AssertionError(f"nobody should have asked for {promql}")
