# SPDX-License-Identifier: Apache-2.0
"""What a machine is built of. Its runs are a function of this and of its input."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aether_edgecloud.emulator.boards import spin_table
from aether_edgecloud.emulator.boards.board import Board, Placement
from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.machine.payload import Payload

if TYPE_CHECKING:
    from aether_edgecloud.emulator.machine.machine import Machine


class Adversary(Protocol):
    """What makes a machine less kind than it has to be. Two that are equal do the same, and have
    the same repr()."""

    def attach(self, machine: "Machine", /) -> None:
        """Take part in a machine that is at reset."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The arguments of a `Machine`. `initrd` is a bundle; with a `payload` there is none, and
    no `bootargs`: it says itself what lies where."""

    board: Board
    image: BootImage
    initrd: bytes
    mmu: MmuMode
    bootargs: str
    quantum: int
    seed: int
    adversary: Adversary | None = None
    payload: Payload | None = None
    interleaving: Adversary | None = None
    """An `Interleaving`."""

    def place(self) -> Placement:
        """Where what firmware loads goes; UserError if it does not fit into the board's RAM."""
        payload = self.payload
        if payload is not None:
            image = range(payload.image, payload.image + self.image.memory_size)
            initrd = None if payload.initrd is None else payload.initrd.span
            return Placement(image, initrd, payload.dtb.span)
        return self.board.place(self.image.memory_size, len(self.initrd))

    def dtb(self) -> bytes:
        """The device tree that firmware hands over."""
        if self.payload is not None:
            return self.payload.dtb.data
        return build_dtb(self.board, initrd=self.place().initrd, bootargs=self.bootargs)

    def start(self) -> tuple[int, int]:
        """Where CPU 0 begins (PA), and its X0."""
        if self.payload is not None:
            return self.payload.entry, self.payload.x0
        place = self.place()
        return place.image.start, place.dtb.start

    def carried(self) -> bytes:
        """What is loaded besides the image and cannot be made from the rest of this: the bundle,
        or the payload, packed."""
        return self.initrd if self.payload is None else self.payload.pack()

    def taken(self) -> tuple[range, ...]:
        """Ranges of PA that `loads` writes or that the image keeps; the image's comes first, then
        the initrd's, if there is one, and the DTB's."""
        place = self.place()
        modules = () if self.payload is None else self.payload.modules
        first = tuple(r for r in (place.image, place.initrd, place.dtb) if r is not None)
        return (*first, *(piece.span for piece in modules))

    def loads(self) -> Iterator[tuple[int, bytes]]:
        """What RAM holds at reset, each with its PA; the rest is zero."""
        place = self.place()
        yield place.image.start, self.image.data
        if self.payload is not None:
            yield from ((piece.address, piece.data) for piece in self.payload.pieces)
        else:
            if place.initrd is not None:
                yield place.initrd.start, self.initrd
            yield place.dtb.start, self.dtb()
        if self.board.spin_table is not None:
            yield self.board.spin_table.base, spin_table.CODE

    def digest(self) -> str:
        """The same for machines that are built alike, and for no others."""
        parts = (self.image.data, self.carried(), self.dtb())
        return self.board_digest() + "".join(hashlib.sha256(part).hexdigest() for part in parts)

    def board_digest(self) -> str:
        """How `digest` begins: that of the board and of how it is run, which may not make sense."""
        turns = (self.quantum, self.seed, self.interleaving)
        told = repr((self.board, self.mmu, *turns, self.adversary)).encode()
        return hashlib.sha256(told).hexdigest()
