# SPDX-License-Identifier: Apache-2.0
"""Moments of a run to go back to."""

from collections.abc import Container, Sequence
from typing import Protocol

from aether_edgecloud.emulator.machine.snapshot import Snapshot


class Checkpoints(Protocol):
    """Snapshots by number, of rising position; the first is of the machine at reset."""

    @property
    def positions(self) -> Sequence[int]:
        """Instructions that had retired in all at each; the first is 0."""

    def load(self, index: int) -> Snapshot:
        """One of them. UserError where the file does not give it."""

    def touched(self, index: int) -> Container[int] | None:
        """Numbers of the pages of RAM that may have been written from checkpoint `index` to the
        next; None if that is not known."""


class MemoryCheckpoints:
    """Snapshots that are kept in memory."""

    def __init__(self) -> None:
        self._positions: list[int] = []
        self._snapshots: list[Snapshot] = []

    @property
    def positions(self) -> Sequence[int]:
        """Instructions that had retired in all at each."""
        return self._positions

    def load(self, index: int) -> Snapshot:
        """One of them."""
        return self._snapshots[index]

    def touched(self, index: int) -> None:
        """Not known."""

    def add(self, snapshot: Snapshot) -> None:
        """One more, later than the others."""
        if self._positions and snapshot.instructions <= self._positions[-1]:
            raise ValueError("checkpoints come in rising order")
        self._positions.append(snapshot.instructions)
        self._snapshots.append(snapshot)
