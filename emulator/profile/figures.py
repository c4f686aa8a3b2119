# SPDX-License-Identifier: Apache-2.0
"""What a series of lengths comes to."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """How many, the smallest, the middle (a member: the lower one), the largest and the sum; all 0
    of none. `buckets[n]` is how many were of n bits, that is from 2^(n-1) to 2^n - 1."""

    count: int
    low: int
    median: int
    high: int
    total: int
    buckets: tuple[int, ...]


def figures(lengths: Counter[int]) -> Figures:
    """Of lengths, each with how often it was."""
    values = sorted(value for value, times in lengths.items() if times)
    count = sum(lengths.values())
    if not count:
        return Figures(0, 0, 0, 0, 0, ())
    buckets = [0] * (values[-1].bit_length() + 1)
    left, median = (count + 1) // 2, values[-1]
    for value in values:
        buckets[value.bit_length()] += lengths[value]
        if 0 < left <= lengths[value]:
            median = value
        left -= lengths[value]
    total = sum(value * times for value, times in lengths.items())
    return Figures(count, values[0], median, values[-1], total, tuple(buckets))
