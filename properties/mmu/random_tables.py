# SPDX-License-Identifier: Apache-2.0
"""Random translation set-ups: mostly sound registers and trees, with some damage done to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hypothesis import strategies as st

from aether_edgecloud.emulator.arch.mmu import Granule, MmuRegisters
from aether_edgecloud.emulator.arch.mmu_regime import TTWParams

from .native_walker import CODE, RAM_BASE, RAM_SIZE, TABLES_SIZE

T = TypeVar("T")

ALL_GRANULES = (Granule.KB4, Granule.KB16, Granule.KB64)
"""Unicorn walks all three, whatever ID_AA64MMFR0_EL1 says."""

MASK48 = (1 << 48) - 1
SCTLR_M, SCTLR_C, SCTLR_I, SCTLR_WXN, SCTLR_EE = 1 << 0, 1 << 2, 1 << 12, 1 << 19, 1 << 25
HCR_VM, HCR_PTW, HCR_DC, HCR_TGE, HCR_CD, HCR_ID = 1, 1 << 2, 1 << 12, 1 << 27, 1 << 32, 1 << 33
TG0 = {Granule.KB4: 0b00, Granule.KB64: 0b01, Granule.KB16: 0b10}
TG1 = {Granule.KB4: 0b10, Granule.KB64: 0b11, Granule.KB16: 0b01}
MAIR_BYTES = (0x00, 0x04, 0x08, 0x0C, 0x44, 0xAA, 0xEE, 0xBB, 0xFF, 0x4F, 0xF4, 0xA4, 0x33, 0x77)
TXSZ = (16, 17, 20, 24, 25, 25, 25, 28, 30, 32, 33, 34, 38, 39)
# (T0SZ, SL0) of stage 2 that fit, by granule, for a 44-bit PA size.
VTCR_SHAPES = {
    Granule.KB4: ((20, 2), (24, 1), (24, 1), (24, 1), (25, 1), (30, 1), (33, 1), (21, 1), (31, 0),
                  (34, 0), (39, 0), (32, 0)),
    Granule.KB16: ((20, 2), (24, 2), (28, 1), (24, 1), (25, 1), (30, 1), (38, 1), (39, 0)),
    Granule.KB64: ((20, 2), (21, 2), (24, 1), (25, 1), (30, 1), (34, 1), (35, 0), (39, 0)),
}  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """Registers, the words of memory they refer to, and addresses that the trees are about."""

    registers: MmuRegisters
    words: dict[int, int]
    vas: tuple[int, ...]


class Choices:
    """Short names for Hypothesis draws."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self._draw = draw

    def below(self, n: int) -> int:
        return self._draw(st.integers(0, n - 1))

    def bits(self, n: int) -> int:
        return self.below(1 << n)

    def chance(self, percent: int) -> bool:
        return self.below(100) >= 100 - percent

    def of(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]


@dataclass
class Tables:
    """The table area: descriptors by PA, which are big-endian, where the next table goes."""

    words: dict[int, int] = field(default_factory=dict)
    big_endian: set[int] = field(default_factory=set)
    next_free: int = RAM_BASE

    def allocate(self, size: int) -> int:
        size = max(size, 0x1000)
        pa = (self.next_free + size - 1) & -size
        self.next_free = pa + size
        return pa

    def in_memory(self) -> dict[int, int]:
        """The words as they lie in memory."""
        words = dict(self.words)
        for pa in self.big_endian:
            words[pa] = int.from_bytes(words[pa].to_bytes(8, "little"), "big")
        return words


@dataclass
class Tree:
    """One tree under construction. `delta` is the PA of its tables less the address it uses."""

    params: TTWParams
    tables: Tables
    delta: int
    big_endian: bool

    def map(
        self, ia: int, oa: int, leaf_level: int, leaf: Callable[[], int], table: Callable[[], int]
    ) -> int | None:
        """Map `ia` to `oa` by a leaf at `leaf_level` or the next level that has one.

        Follows the tables already there; the address reached, None if something is in the way.
        """
        base = self.params.baseaddress
        for level, shift, index_mask, encoding in self.params.levels:
            slot = base + self.delta + 8 * (ia >> shift & index_mask)
            if not RAM_BASE <= slot < RAM_BASE + TABLES_SIZE:
                return None
            present = self.tables.words.get(slot)
            if present is None and self.big_endian:
                self.tables.big_endian.add(slot)
            if present is None and level >= leaf_level and encoding > 0:
                size = 1 << shift
                base = oa & -size
                self.tables.words[slot] = base & MASK48 | leaf() | encoding
                return base | ia & size - 1
            if present is None:
                new = self.tables.allocate(1 << self.params.granule) - self.delta
                present = self.tables.words[slot] = new & MASK48 | table() | 0b11
            if present & 0b11 != 0b11 or level == 3:
                size = 1 << shift
                leaf_here = present & 0b11 == encoding
                return (present & MASK48 & -size | ia & size - 1) if leaf_here else None
            base = present & self.params.table_mask
        return None


def _txsz(c: Choices) -> int:
    return c.of((0, 8, 15, 40, 48, 63)) if c.chance(5) else c.of(TXSZ)


def _granule(c: Choices) -> Granule:
    return c.of((Granule.KB4,) * 5 + (Granule.KB16, Granule.KB64, Granule.KB64))


def _sctlr(c: Choices, enabled: bool) -> int:
    return (
        SCTLR_M * enabled
        | SCTLR_C * c.chance(80)
        | SCTLR_I * c.chance(80)
        | SCTLR_WXN * c.chance(15)
        | SCTLR_EE * c.chance(5)
    )


def _ps(c: Choices) -> int:
    return c.of((0, 1, 2, 3, 6, 7)) if c.chance(25) else c.of((4, 5))


def _mair(c: Choices) -> int:
    return sum(c.of(MAIR_BYTES) << 8 * i for i in range(8))


def _registers(c: Choices, el2: bool) -> MmuRegisters:
    if el2:
        tcr = _txsz(c) | c.bits(6) << 8 | TG0[_granule(c)] << 14 | _ps(c) << 16 | c.bits(1) << 20
        return MmuRegisters(
            sctlr_el2=_sctlr(c, c.chance(95)),
            tcr_el2=tcr,
            mair_el2=_mair(c),
            granules=ALL_GRANULES,
        )
    tcr = (
        _txsz(c)
        | c.chance(12) << 7
        | c.bits(6) << 8
        | TG0[_granule(c)] << 14
        | _txsz(c) << 16
        | c.bits(1) << 22
        | c.chance(12) << 23
        | c.bits(6) << 24
        | TG1[_granule(c)] << 30
        | _ps(c) << 32
        | c.bits(3) << 36
    )
    hcr = 0
    if c.chance(75):
        hcr = (
            HCR_VM * c.chance(90)
            | HCR_PTW * c.chance(30)
            | HCR_DC * c.chance(10)
            | HCR_TGE * c.chance(5)
            | HCR_CD * c.chance(15)
            | HCR_ID * c.chance(15)
        )
    granule = _granule(c)
    t0sz, sl0 = (_txsz(c), c.bits(2)) if c.chance(8) else c.of(VTCR_SHAPES[granule])
    return MmuRegisters(
        sctlr_el1=_sctlr(c, c.chance(85)),
        tcr_el1=tcr,
        mair_el1=_mair(c),
        sctlr_el2=SCTLR_EE * c.chance(5),
        hcr_el2=hcr,
        vtcr_el2=t0sz | sl0 << 6 | c.bits(6) << 8 | TG0[granule] << 14 | _ps(c) << 16,
        granules=ALL_GRANULES,
    )


def _root_size(params: TTWParams) -> int:
    return 8 << params.levels[0].index_mask.bit_length() if params.levels else 0x1000


def _s1_leaf(c: Choices) -> int:
    return (
        c.bits(3) << 2
        | c.bits(1) << 5
        | (c.bits(2) if c.chance(50) else 0b01) << 6
        | c.bits(2) << 8
        | c.chance(96) << 10
        | c.bits(1) << 11
        | c.chance(10) << 52
        | c.chance(25) << 53
        | c.chance(25) << 54
    )


def _s1_table(c: Choices) -> int:
    return c.bits(4) << 59 if c.chance(20) else 0


def _s2_leaf(c: Choices, for_table: bool) -> int:
    memattr = c.of((0b1111, 0b1111, 0b0101, 0b1010, 0b0000, 0b0001, 0b0011, 0b1101))
    if for_table:
        s2ap = c.of((0b00, 0b10)) if c.chance(4) else c.of((0b01, 0b11))
        memattr = memattr if c.chance(20) else 0b1111
    else:
        s2ap = c.bits(2) if c.chance(40) else 0b11
    return (
        memattr << 2
        | s2ap << 6
        | c.bits(2) << 8
        | c.chance(98 if for_table else 95) << 10
        | c.chance(10) << 52
        | c.chance(10) << 53
        | c.chance(20) << 54
    )


def _damaged(c: Choices, descriptor: int) -> int:
    match c.below(8):
        case 0:
            return descriptor & ~0b01
        case 1:
            return descriptor ^ 0b10
        case 2:
            return descriptor & ~(1 << 10)
        case 3:
            return descriptor | 1 << 32 + c.below(16)
        case 4:
            return descriptor & ~(0b11 << 6) | c.bits(2) << 6
        case 5:
            return descriptor ^ 1 << 12 + c.below(36)
        case 6:
            return descriptor ^ c.of((1 << 53, 1 << 54, 1 << 59, 1 << 60, 1 << 61, 1 << 62))
        case _:
            return 0


def _va(c: Choices, params: TTWParams, upper: bool) -> int:
    """An address of the range, whose low bits fall into RAM when a large block maps it."""
    low = c.below(RAM_SIZE // 8) * 8
    va = (low | c.bits(4) << params.iasize - 4) & (1 << params.iasize) - 1
    if c.chance(25):
        va ^= 1 << 24 + c.below(params.iasize - 24)
    if upper:
        va |= (1 << 64) - (1 << params.iasize)
    if c.chance(6):
        va ^= 1 << 24 + c.below(40)
    if c.chance(8):
        va ^= c.bits(8) << 56
    return va


@st.composite
def setups(draw: Callable[[st.SearchStrategy[int]], int], el2: bool = False) -> Setup:
    """A set-up for EL2 alone (`el2`), or for EL1 and EL0 under one or two stages."""
    c = Choices(draw)
    tables = Tables()
    registers = _registers(c, el2)
    regime = registers.el2 if el2 else registers.el10
    stage1, stage2 = regime.stage1, regime.stage2
    # Where tables and data lie in the IPA space: as in the PA space, or from 0.
    small = stage2 is not None and stage2.params.iasize < 32
    delta = RAM_BASE if stage2 is not None and (small or c.chance(50)) else 0

    if el2:
        root = tables.allocate(_root_size(stage1.low))
        registers = replace(registers, ttbr0_el2=root)
        stage1 = registers.el2.stage1
    else:
        roots = [
            tables.allocate(_root_size(half)) - delta
            for half in (stage1.low, stage1.high)
            if half is not None
        ]
        if c.chance(3):
            roots[c.below(2)] |= 1 << 32 + c.below(16)
        registers = replace(
            registers,
            ttbr0_el1=roots[0] & MASK48 | c.bits(4) << 48 | c.bits(1),
            ttbr1_el1=roots[1] & MASK48 | c.bits(4) << 48 | c.bits(1),
        )
        if stage2 is not None:
            root = tables.allocate(_root_size(stage2.params))
            if c.chance(3):
                root |= 1 << 32 + c.below(16)
            registers = replace(registers, vttbr_el2=root | c.bits(3) << 48)
        stage1, stage2 = registers.el10.stage1, registers.el10.stage2

    vas, ipas = [], []
    for _ in range(1 + c.below(5)):
        upper = stage1.high is not None and c.chance(40)
        params = stage1.high if upper and stage1.high is not None else stage1.low
        if not stage1.enabled:
            va = c.below(RAM_SIZE // 8) * 8 + RAM_BASE - delta
            va ^= (1 << 24 + c.below(40)) * c.chance(10)
            vas.append(va)
            ipas.append(va & MASK48)
            continue
        va = _va(c, params, upper)
        vas.append(va)
        target = RAM_BASE + c.below(RAM_SIZE >> 12) * 0x1000 - delta
        if c.chance(6):
            target |= 1 << 30 + c.below(14)
        ipa = Tree(params, tables, delta, stage1.big_endian).map(
            va, target, c.of((3, 3, 2, 1, 0)), lambda: _s1_leaf(c), lambda: _s1_table(c)
        )
        if ipa is not None:
            ipas.append(ipa)
    if stage2 is not None:
        tree = Tree(stage2.params, tables, 0, stage2.big_endian)
        s1_pages = sorted({(pa - delta) & ~0xFFF for pa in tables.words})
        for ipa in s1_pages:
            level = c.of((3, 2, 2, 1, 1))
            tree.map(ipa, ipa + delta, level, lambda: _s2_leaf(c, True), lambda: 0)
        for ipa in ipas:
            pa = ipa + delta
            if c.chance(30):
                pa = RAM_BASE + c.below(RAM_SIZE >> 12) * 0x1000
            tree.map(ipa, pa, c.of((3, 3, 2, 1)), lambda: _s2_leaf(c, False), lambda: 0)
    if tables.words and c.chance(45):
        slots = sorted(tables.words)
        for _ in range(1 + c.below(2)):
            slot = c.of(slots)
            tables.words[slot] = _damaged(c, tables.words[slot])
    vas = [va for va in vas if va >> 12 != CODE >> 12]
    return Setup(registers, tables.in_memory(), tuple(vas))
