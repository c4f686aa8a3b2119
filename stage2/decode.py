# SPDX-License-Identifier: Apache-2.0
"""Decode translation tables from memory, as a walker would read them.

Knows the architecture (Arm ARM D8, VMSAv8-64), not the C library: 4 KiB granule, stage 2 and EL2's
stage 1 without VHE, every start level, concatenated root tables, hierarchical attributes. What is
malformed is reported, and walked no further. 16 KiB and 64 KiB granules, 52-bit addresses and
hardware update of AF are not decoded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from typing import Protocol

PAGE = 1 << 12
ENTRIES = 512
LAST_LEVEL = 3
LEVEL_SHIFT = (39, 30, 21, 12)
PS_BITS = (32, 36, 40, 42, 44, 48)

_OA = 0x0000_FFFF_FFFF_F000


class ReadMemory(Protocol):
    """Physical memory. None where there is none."""

    def __call__(self, pa: int, /) -> int | None: ...


class ReadTable(Protocol):
    """`entries` 64-bit words of physical memory from `pa`. None where there is none."""

    def __call__(self, pa: int, entries: int, /) -> Sequence[int] | None: ...


class Regime(Enum):
    STAGE2 = "stage 2"
    EL2 = "EL2"


class Shareability(Enum):
    """The SH field, bits 9:8; Device and Non-cacheable memory count as OUTER whatever it says."""

    NON = 0
    RESERVED = 1
    OUTER = 2
    INNER = 3


@dataclass(frozen=True, slots=True)
class MemoryType:
    """A name in the Arm ARM's words: "Normal WB", "Normal outer WB inner NC", "Device-nGnRE"."""

    name: str
    is_device: bool = False
    is_cacheable: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a tree starts and how its addresses are cut: the contents of the registers."""

    regime: Regime
    root: int
    """PA of the first root table."""
    ia_bits: int
    start_level: int
    pa_bits: int = 48
    xnx: bool = False
    """FEAT_XNX: stage-2 execute permissions differ between EL1 and EL0."""
    mair: int = 0x0400_44FF
    """MAIR_EL2, for Regime.EL2."""
    wxn: bool = False
    """SCTLR_EL2.WXN: writable is not executable."""

    @property
    def root_tables(self) -> int:
        """Number of concatenated tables at the start level."""
        return max(1, (1 << (self.ia_bits - LEVEL_SHIFT[self.start_level])) // ENTRIES)

    @property
    def root_entries(self) -> int:
        return 1 << (self.ia_bits - LEVEL_SHIFT[self.start_level])

    @classmethod
    def stage2(cls, vtcr_el2: int, vttbr_el2: int, *, xnx: bool = False) -> "Geometry":
        """From VTCR_EL2 and VTTBR_EL2. ValueError for another granule or an impossible geometry."""
        if (vtcr_el2 >> 14) & 3 != 0:
            raise ValueError("VTCR_EL2.TG0 is not the 4 KiB granule")
        start_level = (2, 1, 0, 3)[(vtcr_el2 >> 6) & 3]
        geometry = cls(
            Regime.STAGE2,
            vttbr_el2 & 0x0000_FFFF_FFFF_FFFE,
            64 - (vtcr_el2 & 0x3F),
            start_level,
            _pa_bits(vtcr_el2),
            xnx,
        )
        index_bits = geometry.ia_bits - LEVEL_SHIFT[start_level]
        if not 1 <= index_bits <= 13 or not 12 < geometry.ia_bits <= 48:
            raise ValueError("VTCR_EL2.T0SZ and SL0 do not go together")
        if geometry.root % (PAGE * geometry.root_tables) != 0:
            raise ValueError("VTTBR_EL2.BADDR is not aligned to the root tables")
        return geometry

    @classmethod
    def el2(cls, tcr_el2: int, ttbr0_el2: int, mair_el2: int, *, wxn: bool = False) -> "Geometry":
        """From TCR_EL2, TTBR0_EL2, MAIR_EL2 with HCR_EL2.E2H = 0. ValueError as `stage2`."""
        if (tcr_el2 >> 14) & 3 != 0:
            raise ValueError("TCR_EL2.TG0 is not the 4 KiB granule")
        ia_bits = 64 - (tcr_el2 & 0x3F)
        if not 16 <= ia_bits <= 48:
            raise ValueError("TCR_EL2.T0SZ is out of range")
        start_level = next(level for level in (3, 2, 1, 0) if ia_bits <= LEVEL_SHIFT[level] + 9)
        return cls(
            Regime.EL2,
            ttbr0_el2 & 0x0000_FFFF_FFFF_FFFE,
            ia_bits,
            start_level,
            _pa_bits(tcr_el2),
            mair=mair_el2,
            wxn=wxn,
        )


@dataclass(frozen=True, slots=True)
class Leaf:
    """One block or page, or (from `regions`) a run of them that continue one another."""

    ia: int
    size: int
    pa: int
    read: bool
    write: bool
    exec_el1: bool
    """At EL1 for stage 2; at EL2 for EL2's own stage 1."""
    exec_el0: bool
    memory: MemoryType
    shareability: Shareability
    af: bool
    """Access flag: without it every access faults."""
    levels: tuple[int, ...]
    """Levels of the descriptors: 1 and 2 are blocks, 3 pages."""
    descriptor: int
    """The (first) descriptor."""

    @property
    def end(self) -> int:
        return self.ia + self.size


class Fault(Enum):
    NO_MEMORY = "the table lies outside memory"
    OUTSIDE_POOL = "the table lies outside the pool"
    SHARED = "the table is reached a second time: the tree has a loop or a shared branch"
    RESERVED = "reserved descriptor encoding at this level"
    OUTPUT_SIZE = "the output address exceeds the output size"
    MEMORY_TYPE = "reserved memory attribute"


@dataclass(frozen=True, slots=True)
class Malformed:
    fault: Fault
    ia: int
    """First input address that the entry translates."""
    level: int
    entry: int
    """PA of the entry; of the root itself when it cannot be read."""
    descriptor: int


@dataclass(frozen=True, slots=True)
class Table:
    pa: int
    level: int
    ia: int
    """First input address that the table translates."""


@dataclass(frozen=True, slots=True)
class Decoded:
    geometry: Geometry
    leaves: tuple[Leaf, ...]
    """Every block and page, by rising `ia`."""
    tables: tuple[Table, ...]
    """Every table page once, the roots first."""
    malformed: tuple[Malformed, ...]

    @property
    def regions(self) -> tuple[Leaf, ...]:
        """The leaves, with neighbours of equal attributes merged."""
        return tuple(_merge(self.leaves))


@dataclass(frozen=True, slots=True)
class _Hierarchy:
    """What the table descriptors above forbid (stage 1 only)."""

    read_only: bool = False
    execute_never: bool = False


def decode(
    read64: ReadMemory, geometry: Geometry, pool: range | tuple[range, ...] | None = None
) -> Decoded:
    """Decode a whole tree. `pool`: the PAs where tables, roots included, may lie."""

    def read_table(pa: int, entries: int, /) -> list[int] | None:
        words = [read64(pa + index * 8) for index in range(entries)]
        present = [word for word in words if word is not None]
        return present if len(present) == entries else None

    return decode_tables(read_table, geometry, pool)


def decode_tables(
    read_table: ReadTable, geometry: Geometry, pool: range | tuple[range, ...] | None = None
) -> Decoded:
    """As `decode`, with memory that is read table by table: much faster."""
    pools = (pool,) if isinstance(pool, range) else pool
    leaves: list[Leaf] = []
    tables: list[Table] = []
    malformed: list[Malformed] = []
    seen: set[int] = set()
    stack: list[tuple[Table, Sequence[int], _Hierarchy]] = []

    def enter(table: Table, entries: int, above: _Hierarchy, entry: int, descriptor: int) -> None:
        fault = None
        words = None
        if table.pa in seen:
            fault = Fault.SHARED
        elif pools is not None and not any(table.pa in allowed for allowed in pools):
            fault = Fault.OUTSIDE_POOL
        elif (words := read_table(table.pa, entries)) is None:
            fault = Fault.NO_MEMORY
        if fault is not None:
            malformed.append(Malformed(fault, table.ia, table.level - 1, entry, descriptor))
        elif words is not None:
            seen.add(table.pa)
            tables.append(table)
            stack.append((table, words, above))

    start = geometry.start_level
    for number in range(geometry.root_tables):
        root = Table(geometry.root + number * PAGE, start, (number * ENTRIES) << LEVEL_SHIFT[start])
        enter(root, min(ENTRIES, geometry.root_entries), _Hierarchy(), root.pa, 0)
    while stack:
        table, words, above = stack.pop()
        for index, descriptor in enumerate(words):
            if descriptor & 1 == 0:
                continue
            entry = table.pa + index * 8
            ia = table.ia + (index << LEVEL_SHIFT[table.level])
            if descriptor & 2 and table.level < LAST_LEVEL:
                child = Table(descriptor & _OA, table.level + 1, ia)
                if child.pa >> geometry.pa_bits:
                    malformed.append(
                        Malformed(Fault.OUTPUT_SIZE, ia, table.level, entry, descriptor)
                    )
                else:
                    inherited = _inherit(geometry, above, descriptor)
                    enter(child, ENTRIES, inherited, entry, descriptor)
                continue
            result = _leaf(geometry, above, ia, table.level, descriptor)
            if isinstance(result, Fault):
                malformed.append(Malformed(result, ia, table.level, entry, descriptor))
            else:
                leaves.append(result)
    leaves.sort(key=lambda leaf: leaf.ia)
    return Decoded(geometry, tuple(leaves), tuple(tables), tuple(malformed))


def _inherit(geometry: Geometry, above: _Hierarchy, descriptor: int) -> _Hierarchy:
    if geometry.regime is Regime.STAGE2:
        return above
    # APTable[1] and XNTable.
    return _Hierarchy(
        read_only=above.read_only or bool(descriptor >> 62 & 1),
        execute_never=above.execute_never or bool(descriptor >> 60 & 1),
    )


def _leaf(
    geometry: Geometry, above: _Hierarchy, ia: int, level: int, descriptor: int
) -> Leaf | Fault:
    is_page = level == LAST_LEVEL
    if level == 0 or bool(descriptor & 2) != is_page:
        return Fault.RESERVED
    size = 1 << LEVEL_SHIFT[level]
    pa = descriptor & _OA & ~(size - 1)
    if (pa + size - 1) >> geometry.pa_bits:
        return Fault.OUTPUT_SIZE
    write = bool(descriptor >> 7 & 1)
    if geometry.regime is Regime.STAGE2:
        memory = stage2_memory_type(descriptor >> 2 & 0xF)
        read = bool(descriptor >> 6 & 1)
        # XN[1:0]: 00 both, 01 EL0 only, 10 neither, 11 EL1 only.
        exec_el0 = not descriptor >> 54 & 1
        exec_el1 = exec_el0 != bool(descriptor >> 53 & 1) if geometry.xnx else exec_el0
    else:
        memory = mair_memory_type(geometry.mair >> 8 * (descriptor >> 2 & 7) & 0xFF)
        read = True
        write = not write and not above.read_only
        exec_el1 = not (descriptor >> 54 & 1 or above.execute_never or (geometry.wxn and write))
        exec_el0 = False
    if memory is None:
        return Fault.MEMORY_TYPE
    return Leaf(
        ia,
        size,
        pa,
        read,
        write,
        exec_el1,
        exec_el0,
        memory,
        Shareability(descriptor >> 8 & 3),
        bool(descriptor >> 10 & 1),
        (level,),
        descriptor,
    )


_DEVICE = ("nGnRnE", "nGnRE", "nGRE", "GRE")


def _device(kind: int) -> MemoryType:
    return MemoryType(f"Device-{_DEVICE[kind]}", is_device=True)


def _normal(outer: str, inner: str) -> MemoryType:
    name = f"Normal {inner}" if outer == inner else f"Normal outer {outer} inner {inner}"
    return MemoryType(name, is_cacheable=(outer, inner) != ("NC", "NC"))


@cache
def stage2_memory_type(memattr: int) -> MemoryType | None:
    """MemAttr[3:0] of a stage-2 leaf (HCR_EL2.FWB = 0); None for a reserved value."""
    outer, inner = memattr >> 2, memattr & 3
    if outer == 0:
        return _device(inner)
    cacheability = ("", "NC", "WT", "WB")
    return _normal(cacheability[outer], cacheability[inner]) if inner else None


@cache
def mair_memory_type(attr: int) -> MemoryType | None:
    """One byte of MAIR_ELx; None for a reserved or unpredictable value."""
    outer, inner = attr >> 4, attr & 0xF
    if outer == 0:
        return _device(inner >> 2) if inner & 3 == 0 else None
    if inner == 0:
        return None
    return _normal(_mair_cacheability(outer), _mair_cacheability(inner))


def _mair_cacheability(nibble: int) -> str:
    """0b0100 is Non-cacheable; else bit 2 is Write-Back, bit 3 non-transient, bits 1:0 R and W."""
    if nibble == 0b0100:
        return "NC"
    policy = "WB" if nibble & 4 else "WT"
    return policy if nibble & 8 else f"{policy} transient"


def _merge(leaves: tuple[Leaf, ...]) -> Iterator[Leaf]:
    run: Leaf | None = None
    for leaf in leaves:
        if run is not None and _continues(run, leaf):
            levels = tuple(sorted({*run.levels, *leaf.levels}))
            run = replace(run, size=run.size + leaf.size, levels=levels)
            continue
        if run is not None:
            yield run
        run = leaf
    if run is not None:
        yield run


def _continues(run: Leaf, leaf: Leaf) -> bool:
    return leaf.pa == run.pa + run.size and leaf == replace(
        run, ia=run.end, pa=leaf.pa, size=leaf.size, levels=leaf.levels, descriptor=leaf.descriptor
    )


def _pa_bits(tcr: int) -> int:
    """The PS field of TCR_EL2 or VTCR_EL2; ValueError for a reserved or 52-bit size."""
    ps = tcr >> 16 & 7
    if ps >= len(PS_BITS):
        raise ValueError("the PS field is a size this decoder does not know")
    return PS_BITS[ps]
