"""The clock: the one place that asks what time it is, and that waits."""

import time


def now() -> float:
    """Epoch seconds."""
    return time.time()


def wait(seconds: float) -> None:
    """Do nothing for so many seconds."""
    time.sleep(max(0.0, seconds))
