# SPDX-License-Identifier: Apache-2.0
"""Each fault kind at each level: of stage 1, of stage 2, and of stage 2 on a stage-1 walk.

The model must give exactly that fault, and Unicorn the same but for the listed differences.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from aether_edgecloud.emulator.arch.mmu import Access, Fault, FaultKind, MmuRegisters, translate

from .native_walker import RAM_BASE, TABLES_SIZE, native_walker
from .small_tables import HCR_PTW, HCR_VM, PS_44, SCTLR_M, TG1_4K, s1, s2, table
from .test_mmu_against_unicorn import check_access

K = FaultKind
S1_TABLES = tuple(RAM_BASE + 0x1000 * i for i in range(4))
S2_TABLES = tuple(RAM_BASE + 0x10_0000 + 0x1000 * i for i in range(4))
DATA = RAM_BASE + TABLES_SIZE
BEYOND_PA = 1 << 45
ABORTING = 0x8000_0000
"""A PA without memory."""


@dataclass(frozen=True)
class Case:
    fault: Fault
    el: int
    va: int
    access: Access
    registers: MmuRegisters
    words: dict[int, int]

    def __str__(self) -> str:
        f = self.fault
        stage = "stage 2 on stage-1 walk" if f.s1ptw else f"stage {f.stage}"
        return f"EL{self.el} {stage} {f.kind.name} level {f.level}"


def _slots(tables: tuple[int, ...], address: int) -> tuple[int, ...]:
    """Where the descriptors of `address` lie in a tree of one table for each level."""
    return tuple(tables[level] + 8 * (address >> 39 - 9 * level & 511) for level in range(4))


def _path(tables: tuple[int, ...], address: int, leaf_level: int, leaf: int) -> dict[int, int]:
    slots = _slots(tables, address)
    words = {slots[level]: table(tables[level + 1]) for level in range(leaf_level)}
    return words | {slots[leaf_level]: leaf}


def _of_stage_1(el: int) -> Iterator[Case]:
    va = 0x0000_4080_4020_1008
    slots = _slots(S1_TABLES, va)
    registers = MmuRegisters(
        sctlr_el1=SCTLR_M,
        tcr_el1=16 | 16 << 16 | TG1_4K << 30 | PS_44 << 32,
        ttbr0_el1=S1_TABLES[0],
        sctlr_el2=SCTLR_M,
        tcr_el2=16 | PS_44 << 16,
        ttbr0_el2=S1_TABLES[0],
    )

    def case(
        kind: FaultKind,
        level: int,
        words: dict[int, int],
        base: int = S1_TABLES[0],
        access: Access = Access.READ,
    ) -> Case:
        based = replace(registers, ttbr0_el1=base, ttbr0_el2=base)
        return Case(Fault(kind, level, 1), el, va, access, based, words)

    sound = _path(S1_TABLES, va, 3, s1(DATA))
    yield case(K.ADDRESS_SIZE, 0, sound, S1_TABLES[0] | BEYOND_PA)
    yield case(K.SYNC_EXTERNAL_ON_WALK, 0, sound, ABORTING)
    yield case(K.TRANSLATION, 0, sound | {slots[0]: 0})
    yield case(K.ADDRESS_SIZE, 0, sound | {slots[0]: sound[slots[0]] | BEYOND_PA})
    for level in (1, 2, 3):
        yield case(K.TRANSLATION, level, sound | {slots[level]: 0})
        yield case(K.ADDRESS_SIZE, level, sound | {slots[level]: sound[slots[level]] | BEYOND_PA})
        yield case(K.SYNC_EXTERNAL_ON_WALK, level, sound | {slots[level - 1]: table(ABORTING)})
        yield case(K.ACCESS_FLAG, level, _path(S1_TABLES, va, level, s1(0, level, af=0)))
        read_only = _path(S1_TABLES, va, level, s1(0, level, ap=0b10))
        yield case(K.PERMISSION, level, read_only, access=Access.WRITE)


def _of_stage_2(s1ptw: bool) -> Iterator[Case]:
    """Without stage 1 the VA is the IPA; with it, the first IPA is that of the first descriptor."""
    va = 0x0000_0080_4020_1008
    ipa = S1_TABLES[0] + 8 * (va >> 39 & 511) if s1ptw else va
    slots = _slots(S2_TABLES, ipa)
    registers = MmuRegisters(
        sctlr_el1=SCTLR_M * s1ptw,
        tcr_el1=16 | 16 << 16 | TG1_4K << 30 | PS_44 << 32,
        ttbr0_el1=S1_TABLES[0],
        hcr_el2=HCR_VM,
        vtcr_el2=20 | 2 << 6 | PS_44 << 16,
        vttbr_el2=S2_TABLES[0],
    )

    def case(
        kind: FaultKind, level: int, words: dict[int, int], base: int = S2_TABLES[0], hcr: int = 0
    ) -> Case:
        based = replace(registers, vttbr_el2=base, hcr_el2=HCR_VM | hcr)
        return Case(Fault(kind, level, 2, s1ptw, ipa), 1, va, Access.READ, based, words)

    sound = _path(S2_TABLES, ipa, 3, s2(ipa & ~0xFFF))
    yield case(K.ADDRESS_SIZE, 0, sound, S2_TABLES[0] | BEYOND_PA)
    yield case(K.SYNC_EXTERNAL_ON_WALK, 0, sound, ABORTING)
    yield case(K.TRANSLATION, 0, sound | {slots[0]: 0})
    yield case(K.ADDRESS_SIZE, 0, sound | {slots[0]: sound[slots[0]] | BEYOND_PA})
    for level in (1, 2, 3):
        yield case(K.TRANSLATION, level, sound | {slots[level]: 0})
        yield case(K.ADDRESS_SIZE, level, sound | {slots[level]: sound[slots[level]] | BEYOND_PA})
        yield case(K.SYNC_EXTERNAL_ON_WALK, level, sound | {slots[level - 1]: table(ABORTING)})
        yield case(K.ACCESS_FLAG, level, _path(S2_TABLES, ipa, level, s2(0, level, af=0)))
        write_only = _path(S2_TABLES, ipa, level, s2(0, level, s2ap=0b10))
        yield case(K.PERMISSION, level, write_only)
        if s1ptw:
            device = _path(S2_TABLES, ipa, level, s2(RAM_BASE, level, memattr=0b0001))
            yield case(K.PERMISSION, level, device, hcr=HCR_PTW)


CASES = [*_of_stage_1(1), *_of_stage_1(2), *_of_stage_2(False), *_of_stage_2(True)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fault(case: Case) -> None:
    walker = native_walker()
    try:
        for pa, word in case.words.items():
            walker.write64(pa, word)
        walker.load(case.registers)
        found = translate(case.registers, walker.ram, case.va, case.el, case.access)
        assert found == case.fault
        check_access(walker, case.registers, case.va, case.el, case.access)
    finally:
        walker.reset()


def test_nothing_is_left_out() -> None:
    """All kinds of fault a walk can meet, at all levels they exist at."""
    reached = {(c.fault.kind, c.fault.level, c.fault.stage, c.fault.s1ptw, c.el) for c in CASES}
    for stage, s1ptw, el in ((1, False, 1), (1, False, 2), (2, False, 1), (2, True, 1)):
        for kind in (K.TRANSLATION, K.ADDRESS_SIZE, K.SYNC_EXTERNAL_ON_WALK):
            assert {(kind, level, stage, s1ptw, el) for level in range(4)} <= reached
        for kind in (K.ACCESS_FLAG, K.PERMISSION):
            assert {(kind, level, stage, s1ptw, el) for level in range(1, 4)} <= reached
