# SPDX-License-Identifier: Apache-2.0
"""What firmware leaves in RAM for a binary that brings no bundle: each thing at an address of its
own, and where the first CPU begins."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from aether_edgecloud.emulator.errors import UserError

__all__ = ["Payload", "Piece"]

_WORD = 8
_MOST_PIECES = 1 << 16


@dataclass(frozen=True, slots=True)
class Piece:
    """`data` at the PA `address`. `what` names it for people, as "the initrd"."""

    what: str
    address: int
    data: bytes

    @property
    def span(self) -> range:
        """Its range of PA."""
        return range(self.address, self.address + len(self.data))


@dataclass(frozen=True, slots=True)
class Payload:
    """`image` is the PA of the binary's first byte, `entry` where CPU 0 begins, `x0` what its X0
    holds. `pieces` are what is loaded besides the binary, the DTB first, then the initrd if
    `has_initrd`. All addresses are PA.
    """

    image: int
    entry: int
    x0: int
    pieces: tuple[Piece, ...]
    has_initrd: bool = False

    @property
    def dtb(self) -> Piece:
        """The board's device tree."""
        return self.pieces[0]

    @property
    def initrd(self) -> Piece | None:
        """What /chosen names as the initrd."""
        return self.pieces[1] if self.has_initrd else None

    @property
    def modules(self) -> tuple[Piece, ...]:
        """The other pieces."""
        return self.pieces[1 + self.has_initrd :]

    @property
    def sha256(self) -> str:
        """Of all of it."""
        return hashlib.sha256(self.pack()).hexdigest()

    def pack(self) -> bytes:
        """As one string of bytes, for `unpack`."""
        numbers = (self.image, self.entry, self.x0, int(self.has_initrd), len(self.pieces))
        parts = [number.to_bytes(_WORD, "little") for number in numbers]
        for piece in self.pieces:
            name = piece.what.encode()
            parts += [n.to_bytes(_WORD, "little") for n in (piece.address, len(name))]
            parts += [name, len(piece.data).to_bytes(_WORD, "little"), piece.data]
        return b"".join(parts)

    @staticmethod
    def unpack(data: bytes, where: str) -> "Payload":
        """What was packed. UserError, with the place `where`, for anything else."""
        reader = _Reader(data)
        try:
            image, entry, x0, has_initrd, count = (reader.number() for _ in range(5))
            if count not in range(1 + has_initrd, _MOST_PIECES):
                raise ValueError(f"{count} pieces")
            pieces = tuple(reader.pieces(count))
            reader.end()
            return Payload(image, entry, x0, pieces, bool(has_initrd))
        except ValueError as error:
            raise UserError(
                f"what was loaded with the binary cannot be read ({error})",
                where=where,
                fix="copy the file again, or record the run again",
            ) from None


class _Reader:
    """Takes a string of bytes apart; ValueError where it is too short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise ValueError("it is cut off")
        self._at += size
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(_WORD), "little")

    def pieces(self, count: int) -> Iterator[Piece]:
        for _ in range(count):
            address = self.number()
            what = self.take(self.number()).decode()
            yield Piece(what, address, self.take(self.number()))

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("something follows it")
