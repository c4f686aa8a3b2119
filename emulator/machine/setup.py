# SPDX-License-Identifier: Apache-2.0
"""What a machine is built of. Its runs are a function of this and of its input."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from aether_edgecloud.emulator.boards import spin_table
from aether_edgecloud.emulator.boards.board import Board, Placement
from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine.image import BootImage


@dataclass(frozen=True, slots=True)
class Setup:
    """The arguments of a `Machine`. `initrd` is a bundle."""

    board: Board
    image: BootImage
    initrd: bytes
    mmu: MmuMode
    bootargs: str
    quantum: int
    seed: int

    def place(self) -> Placement:
        """Where what firmware loads goes; UserError if it does not fit into the board's RAM."""
        return self.board.place(self.image.memory_size, len(self.initrd))

    def dtb(self) -> bytes:
        """The device tree that firmware hands over."""
        return build_dtb(self.board, initrd=self.place().initrd, bootargs=self.bootargs)

    def loads(self) -> Iterator[tuple[int, bytes]]:
        """What RAM holds at reset, each with its PA; the rest is zero."""
        place = self.place()
        yield place.image.start, self.image.data
        if place.initrd is not None:
            yield place.initrd.start, self.initrd
        yield place.dtb.start, self.dtb()
        if self.board.spin_table is not None:
            yield self.board.spin_table.base, spin_table.CODE

    def digest(self) -> str:
        """The same for machines that are built alike, and for no others."""
        parts = (self.image.data, self.initrd, self.dtb())
        return self.board_digest() + "".join(hashlib.sha256(part).hexdigest() for part in parts)

    def board_digest(self) -> str:
        """How `digest` begins: that of the board and of how it is run, which may not make sense."""
        told = repr((self.board, self.mmu, self.quantum, self.seed)).encode()
        return hashlib.sha256(told).hexdigest()
