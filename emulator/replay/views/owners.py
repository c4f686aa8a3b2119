# SPDX-License-Identifier: Apache-2.0
"""Who owns a frame of RAM, by the frame table of the hypervisor: symbol `frame_banks`, an array of
(PA, frames, PA of four bytes for each: owner, state, borrower, 0). A hypervisor without it tells
nothing."""

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.replay.views.registers import vm_name

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.replay import Replay

_PAGE = 4096
_BANK = struct.Struct("<QQQ")
_MOST_BANKS = 16
_OWNER_VM = 16
_OWNERS = {0: "free", 1: "firmware", 2: "EL2"}
_STATES = {2: "tables", 3: "telemetry", 4: "shared", 5: "lent", 6: "mailbox"}
_FREE = 0


class Owners:
    """The frame table at the cursor."""

    def __init__(self, replay: "Replay") -> None:
        self._replay = replay
        self._banks = tuple(_banks(replay))

    def split(self, pa: int, size: int) -> Iterator[tuple[int, int, str | None]]:
        """A range of PAs in pieces that one owner has: PA, size, owner in words."""
        end = pa + size
        while pa < end:
            piece, words = self._piece(pa, end)
            yield pa, piece - pa, words
            pa = piece

    def _piece(self, pa: int, end: int) -> tuple[int, str | None]:
        for base, frames in self._banks:
            if base <= pa < base + len(frames) * _PAGE:
                first = (pa - base) // _PAGE
                row = frames[first : -(-(end - base) // _PAGE)]
                others = np.flatnonzero(row != row[0])
                count = int(others[0]) if len(others) else len(row)
                return min(base + (first + count) * _PAGE, end), self._words(int(row[0]))
        later = min((base for base, _ in self._banks if pa < base < end), default=end)
        return later, None

    def _words(self, frame: int) -> str:
        owner, state, borrower = frame & 0xFF, frame >> 8 & 0xFF, frame >> 16 & 0xFF
        if state == _FREE:
            return "free"
        words = self._name(owner)
        if state in _STATES:
            words += f" ({_STATES[state]}"
            words += f" with {self._name(borrower)})" if borrower else ")"
        return words

    def _name(self, owner: int) -> str:
        if owner < _OWNER_VM:
            return _OWNERS.get(owner, f"owner {owner}")
        vmid = owner - _OWNER_VM
        return vm_name(self._replay, vmid) or f"VM {vmid}"


def _banks(replay: "Replay") -> Iterator[tuple[int, npt.NDArray[np.uint32]]]:
    at = replay.symbols.address_of("frame_banks")
    memory = replay.machine.memory
    if at is None:
        return
    for number in range(_MOST_BANKS):
        try:
            base, count, table = _BANK.unpack(memory.read(at + number * _BANK.size, _BANK.size))
            # Before the table is made, and past its end, is something else.
            if not count or not memory.is_ram(base) or not memory.is_ram(table):
                return
            if base % _PAGE or not memory.is_ram(base + count * _PAGE - 1):
                return
            yield base, np.frombuffer(memory.read(table, 4 * count), "<u4")
        except ValueError:
            return
