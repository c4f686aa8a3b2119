# SPDX-License-Identifier: Apache-2.0
"""Recording, after the fact, a run whose machine was changed from outside between its pieces, as
tests do: they write registers and memory, run, look, write again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Pieces:
    """A run: what the machine was where each of its pieces began, and the position at which the
    last one ended."""

    starts: tuple[Snapshot, ...]
    end: int


class PieceKeeper:
    """Remembers the pieces of a machine's run since it was restored last. Each piece costs a
    snapshot; the run does not change."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._starts: list[Snapshot] = []
        machine.on_run = self._begins
        machine.on_restore = self.forget

    @property
    def pieces(self) -> Pieces:
        """The run so far."""
        return Pieces(tuple(self._starts), self._machine.instructions)

    def forget(self) -> None:
        """The run begins here."""
        self._starts.clear()

    def close(self) -> None:
        """Remember nothing any more."""
        self._machine.on_run = self._machine.on_restore = None
        self._starts.clear()

    def _begins(self) -> None:
        position = self._machine.instructions
        # A piece in which nothing ran is no piece.
        if self._starts and self._starts[-1].instructions == position:
            self._starts.pop()
        self._starts.append(self._machine.snapshot())


def record_pieces(
    pieces: Pieces,
    like: Machine,
    path: Path,
    *,
    target: str,
    vms: tuple[str, ...] = (),
    elf: bytes | None = None,
    marks: Sequence[tuple[int, str]] = (),
) -> None:
    """Writes the run as a recording: from reset, by a machine built as `like` is; where a piece
    begins, the machine becomes what it was there. `marks` are positions and names. UserError if
    the file cannot be written."""
    machine = Machine.of(like.setup)
    try:
        with Recorder(machine, path, target=target, vms=vms, elf=elf) as recorder:
            for number, start in enumerate(pieces.starts, 1):
                recorder.run(start.instructions)
                recorder.become(replace(start, attachments=start.attachments[: machine.built_in]))
                recorder.mark(f"piece {number}")
            recorder.run(pieces.end)
            for position, text in marks:
                recorder.mark(text, min(position, pieces.end))
    finally:
        machine.close()
