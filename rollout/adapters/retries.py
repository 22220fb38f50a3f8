"""How often we ask again: reads a few times in quick succession, writes never (a lost reply must be seen)."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from rollout.core.errors import Unavailable

Result = TypeVar("Result")


def read(ask: Callable[[], Result]) -> Result:
    """Ask up to three times, within about a second, as long as no answer comes."""
    again = retry(
        retry=retry_if_exception_type(Unavailable),
        stop=stop_after_attempt(3),
        wait=wait_exponential_jitter(multiplier=0.1, max=0.5),
        reraise=True,
    )
    return again(ask)()
