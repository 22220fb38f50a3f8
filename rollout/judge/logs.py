"""Sums of numbers of which only the logarithms are known, because the numbers themselves would overflow."""

import math
from collections.abc import Collection


def log_add(one: float, other: float) -> float:
    """The logarithm of the sum of two numbers.

    >>> round(math.exp(log_add(math.log(2), math.log(3))), 9)
    5.0
    """
    high, low = max(one, other), min(one, other)
    return high + math.log1p(math.exp(low - high))


def log_mean(logs: Collection[float]) -> float:
    """The logarithm of the mean of at least one number."""
    high = max(logs)
    return high + math.log(sum(math.exp(log - high) for log in logs) / len(logs))


def log_sum(weighted: Collection[tuple[float, float]]) -> float:
    """The logarithm of a weighted sum of at least one number, each given as its weight and its logarithm."""
    high = max(log for _, log in weighted)
    return high + math.log(sum(weight * math.exp(log - high) for weight, log in weighted))
