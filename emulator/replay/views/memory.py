# SPDX-License-Identifier: Apache-2.0
"""Bytes of memory by VA, IPA or PA. Only RAM can be looked at: a read of a device may change it."""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from aether_edgecloud.emulator.arch import mmu
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.translation import REGISTERS, PhysicalMemory, mmu_registers
from aether_edgecloud.emulator.errors import UserError

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.replay import Replay

_PAGE = 4096
_MASK64 = (1 << 64) - 1
_MOST = 1 << 24


class Space(Enum):
    """What an address is."""

    VA = "va"  # of the cursor's CPU at its EL; what EL0 may not see its kernel may
    IPA = "ipa"  # of the VM in VTTBR_EL2
    PA = "pa"
    VA_EL2 = "el2"
    VA_GUEST = "guest"  # of EL1 and EL0, through both stages


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a page: from `start` in its address space on. `data` is None where there is no RAM;
    `why` says so in words."""

    start: int
    size: int
    pa: int | None
    data: bytes | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class MemoryView:
    """Bytes from `start` on, page by page."""

    space: Space
    start: int
    size: int
    pieces: tuple[Piece, ...]
    changed: frozenset[int] = frozenset()
    """Offsets from `start` of the bytes that the last step changed."""

    @property
    def data(self) -> tuple[int | None, ...]:
        """Each byte; None where there is no RAM."""
        found: list[int | None] = []
        for piece in self.pieces:
            found += piece.data if piece.data is not None else [None] * piece.size
        return tuple(found)


class Translator:
    """The translations of one CPU as its registers are now."""

    def __init__(self, cpu: Cpu, memory: PhysicalMemory) -> None:
        self._el = cpu.current_el
        self._memory = memory
        self.registers: mmu.MmuRegisters = mmu_registers(*cpu.engine.batch(REGISTERS).read())

    def find(self, address: int, space: Space) -> int | str:
        """The PA of an address, or why there is none."""
        match space:
            case Space.PA:
                return address
            case Space.IPA:
                return self._stage2(address)
            case Space.VA:
                return self._stage1(address, max(self._el, 1))
            case Space.VA_EL2:
                return self._stage1(address, 2)
            case Space.VA_GUEST:
                return self._stage1(address, 1)

    def _stage1(self, va: int, el: int) -> int | str:
        found: mmu.Translation | mmu.Fault | None = None
        for access in (mmu.Access.READ, mmu.Access.FETCH):
            found = mmu.translate(self.registers, self._memory, va & _MASK64, el, access)
            if isinstance(found, mmu.Translation):
                return found.pa
        assert isinstance(found, mmu.Fault)
        return _words(found)

    def ipa(self, va: int) -> int | None:
        """The IPA of a VA of EL1 and EL0; None if it is not mapped."""
        for access in (mmu.Access.FETCH, mmu.Access.READ):
            found = mmu.translate(self.registers, self._memory, va & _MASK64, 1, access)
            if isinstance(found, mmu.Translation):
                return found.ipa
        return None

    def _stage2(self, ipa: int) -> int | str:
        stage2 = self.registers.el10.stage2
        if stage2 is None:
            return ipa
        found = mmu.s2_translate(stage2, self._memory, ipa)
        return _words(found) if isinstance(found, mmu.Fault) else found.address

    def read(self, address: int, size: int, space: Space = Space.VA) -> bytes | None:
        """Bytes that are all there, or None."""
        data = b""
        for piece in self.pieces(address, size, space):
            if piece.data is None:
                return None
            data += piece.data
        return data

    def word(self, address: int, space: Space = Space.VA) -> int | None:
        """64 bits."""
        data = self.read(address, 8, space)
        return None if data is None else int.from_bytes(data, "little")

    def pieces(self, start: int, size: int, space: Space) -> tuple[Piece, ...]:
        """Bytes from `start` on, page by page."""
        pieces = []
        done = 0
        while done < size:
            at = (start + done) & _MASK64
            part = min(size - done, _PAGE - at % _PAGE)
            pieces.append(self._piece(at, part, space))
            done += part
        return tuple(pieces)

    def _piece(self, at: int, size: int, space: Space) -> Piece:
        pa = self.find(at, space)
        if isinstance(pa, str):
            return Piece(at, size, None, None, pa)
        try:
            return Piece(at, size, pa, self._memory.read(pa, size))
        except ValueError:
            return Piece(at, size, pa, None, f"PA {pa:#x} is not in RAM")


def _words(fault: mmu.Fault) -> str:
    kind = fault.kind.name.lower().replace("_", " ")
    return f"not mapped: stage {fault.stage} {kind} fault, level {fault.level}"


def translator(replay: "Replay", cpu: int | None = None) -> Translator:
    """Of a CPU (the cursor's)."""
    machine = replay.machine
    return Translator(machine.cpus[replay.cpu if cpu is None else cpu], machine.memory)


def check_size(size: int) -> None:
    """UserError for a size that makes no sense."""
    if not 0 < size <= _MOST:
        raise UserError(f"{size} bytes cannot be shown", fix=f"give 1 to {_MOST}")


def memory(
    replay: "Replay",
    start: int,
    size: int,
    space: Space = Space.VA,
    *,
    cpu: int | None = None,
    changes: bool = False,
) -> MemoryView:
    """`size` bytes from `start` on; with `changes` also which the last step changed. UserError for
    a size that makes no sense."""
    check_size(size)
    number = replay.cpu if cpu is None else cpu
    pieces = translator(replay, number).pieces(start, size, space)
    changed: frozenset[int] = frozenset()
    if changes:

        def before(at: "Replay") -> list[bytes | None]:
            memory = at.machine.memory
            return [None if p.data is None else memory.read(p.pa or 0, p.size) for p in pieces]

        old = replay.look_back(before)
        changed = frozenset() if old is None else _differing(pieces, old)
    return MemoryView(space, start, size, pieces, changed)


def _differing(pieces: tuple[Piece, ...], old: list[bytes | None]) -> frozenset[int]:
    found = set()
    offset = 0
    for piece, before in zip(pieces, old, strict=True):
        if piece.data is not None and before is not None:
            found |= {
                offset + n
                for n, (a, b) in enumerate(zip(piece.data, before, strict=True))
                if a != b
            }
        offset += piece.size
    return frozenset(found)


def physical(replay: "Replay", address: int, space: Space, *, cpu: int | None = None) -> int | None:
    """The PA of an address; None if it is not mapped."""
    found = translator(replay, cpu).find(address, space)
    return None if isinstance(found, str) else found
