# SPDX-License-Identifier: Apache-2.0
"""Which of many lines the user means."""

from collections.abc import Sequence

_MOST = 500


def matching(lines: Sequence[str], typed: str) -> list[int]:
    """Numbers of the lines that have every word typed, whatever its case; at most 500 of them."""
    words = typed.casefold().split()
    found: list[int] = []
    for number, line in enumerate(lines):
        folded = line.casefold()
        if all(word in folded for word in words):
            found.append(number)
            if len(found) == _MOST:
                break
    return found
