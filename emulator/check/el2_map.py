# SPDX-License-Identifier: Apache-2.0
"""What EL2's stage 1 maps at one moment, read from memory as a walker would."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory
from aether_edgecloud.emulator.monitor.registers import CpuRegisters
from aether_edgecloud.stage2.decode import Geometry, Leaf, decode_tables

_M, _WXN, _VM = 1 << 0, 1 << 19, 1 << 0
_OTHER_GRANULES = (1, 2)
"""TCR_EL2.TG0 and VTCR_EL2.TG0 for 64 and 16 KiB."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What is at a VA: its PA, and whether EL2 can write and execute there."""

    pa: int
    write: bool
    execute: bool


@dataclass(frozen=True, slots=True)
class El2Map:
    """The leaves by rising VA; None while EL2 does not translate. `is_known`: whether the tables
    are of a granule that can be read here; else there is nothing to say about any VA."""

    leaves: tuple[Leaf, ...] | None
    is_known: bool = True

    def at(self, va: int) -> Mapped | None:
        """What is mapped at a VA; None for nothing."""
        if self.leaves is None:
            return Mapped(va, write=True, execute=True)
        index = bisect.bisect_right(self.leaves, va, key=lambda leaf: leaf.ia) - 1
        leaf = self.leaves[index] if index >= 0 else None
        if leaf is None or va >= leaf.end or not leaf.af:
            return None
        return Mapped(leaf.pa + va - leaf.ia, leaf.write, leaf.exec_el1)

    def writable_code(self) -> Iterator[tuple[Leaf, Leaf]]:
        """Each leaf that can be executed, with one that is, or leads to, the same memory and can
        be written."""
        code = [leaf for leaf in self.leaves or () if leaf.exec_el1]
        writable = sorted(
            (leaf for leaf in self.leaves or () if leaf.write and not leaf.memory.is_device),
            key=lambda leaf: leaf.pa,
        )
        for leaf in code:
            if leaf.write:
                yield leaf, leaf
                continue
            end = bisect.bisect_left(writable, leaf.pa + leaf.size, key=lambda other: other.pa)
            for other in reversed(writable[:end]):
                # Blocks are aligned to their size: the first that ends before is the last to look
                # at, unless a larger one lies below.
                if other.pa + other.size > leaf.pa:
                    yield leaf, other
                    break
                if leaf.pa - other.pa > 1 << 30:
                    break

    def is_writable_pa(self, pages: list[int]) -> int:
        """How many of these pages, by rising PA, EL2 can write."""
        spans = sorted((leaf.pa, leaf.pa + leaf.size) for leaf in self.leaves or () if leaf.write)
        count, at, end = 0, 0, 0
        for pa in pages:
            while at < len(spans) and spans[at][0] <= pa:
                end = max(end, spans[at][1])
                at += 1
            count += pa < end
        return count


def has_other_granule(registers: CpuRegisters, *, is_stage2: bool) -> bool:
    """Whether a regime of a CPU that is on uses a granule other than 4 KiB."""
    if is_stage2:
        is_on, control = registers.hcr_el2 & _VM, registers.vtcr_el2
    else:
        is_on, control = registers.sctlr_el2 & _M, registers.tcr_el2
    return bool(is_on) and control >> 14 & 3 in _OTHER_GRANULES


def read_map(memory: PhysicalMemory, registers: CpuRegisters) -> El2Map:
    """What these registers map. No leaves for registers that lead to no tree."""
    if not registers.sctlr_el2 & _M:
        return El2Map(None)
    if has_other_granule(registers, is_stage2=False):
        return El2Map((), is_known=False)
    try:
        geometry = Geometry.el2(
            registers.tcr_el2,
            registers.ttbr0_el2,
            registers.mair_el2,
            wxn=bool(registers.sctlr_el2 & _WXN),
        )
    except ValueError:
        return El2Map(())
    words = memory.bytes.cast("Q")

    def read(pa: int, entries: int, /) -> list[int] | None:
        first = pa - memory.ram_base
        if first < 0 or first + entries * 8 > memory.ram_size or first % 8 or pa % PAGE_SIZE:
            return None
        found: list[int] = words[first >> 3 : (first >> 3) + entries].tolist()
        return found

    return El2Map(decode_tables(read, geometry).leaves)
