"""What a metrics store of a test is that nobody asks queries of his own, nor look by look."""

from rollout.core.query import Points
from rollout.judge.looks import Snapshot
from rollout.ports import Target


class Unqueried:
    """The rest of the Metrics port."""

    def settled(self, target: Target, at: float, edges: tuple[float, ...] | None = ()) -> tuple[Snapshot, float | None]:
        raise AssertionError(f"nobody should have looked at {target.service}")

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        raise AssertionError(f"nobody should have asked for {promql}")
