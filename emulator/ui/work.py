# SPDX-License-Identifier: Apache-2.0
"""How far the work in the other thread is, and the wish to end it."""

from aether_edgecloud.emulator.replay.progress import Cancelled


class Meter:
    """Written by the thread that works, read by the one that shows; `cancel` the other way
    round. Each is a single assignment."""

    def __init__(self) -> None:
        self._done = 0
        self._total = 0
        self._cancelled = False

    def at(self, done: int, total: int) -> None:
        """`done` of `total`. Raises Cancelled once `cancel` was called."""
        self._done, self._total = done, total
        if self._cancelled:
            raise Cancelled

    def cancel(self) -> None:
        """End the work the next time it tells of itself."""
        self._cancelled = True

    @property
    def words(self) -> str:
        """For the user."""
        if self._cancelled:
            return "ending ..."
        share = f" {100 * self._done // self._total}%" if self._total else ""
        return f"working{share} (Escape ends it)"
