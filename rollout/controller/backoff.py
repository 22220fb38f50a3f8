"""How long to wait before what did not work is tried again: ever longer, and not everybody at once."""

import random


def delay(first: float, most: float, times: int, who: str) -> float:
    """Seconds until the next try after so many in vain: about `first`, and twice as long each time up to `most`.

    It is up to a fifth less, which spreads those who failed together; for `who` by what has failed how often, so that a
    replay is one.

    >>> [round(delay(15, 240, times, "shop/reviews")) for times in (1, 2, 3, 9)]
    [15, 28, 51, 195]
    """
    longest = min(most, first * 2.0 ** min(times - 1, 30))
    return longest * random.Random(f"{who} {times}").uniform(0.8, 1.0)  # noqa: S311 - it spreads work
