"""What a metrics store of a test is that nobody asks queries of his own."""

from rollout.core.query import Points


class Unqueried:
    """The rest of the Metrics port."""

    def values(self, promql: str, start: float, end: float, step: float) -> list[Points]:
        raise AssertionError(f"nobody should have asked for {promql}")
