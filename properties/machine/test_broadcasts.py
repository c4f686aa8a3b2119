# SPDX-License-Identifier: Apache-2.0
"""What one CPU's maintenance does to another: TLBs and instruction caches are each CPU's own."""

import struct

import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.machine.smp import (
    SHARED,
    add,
    finish,
    machine,
    start,
    wait_for,
    word,
)

pytestmark = pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)

TABLES = 0x4200_0000
L1, L2 = TABLES, TABLES + 0x1000
WINDOW = 0x8000_0000  # VA
OLD, NEW = 0x4240_0000, 0x4260_0000
BLOCK, TABLE = 0x701, 0b11  # AF, inner shareable, AttrIndx 0

EL2_MMU_ON = f"""
    {constant("x1", L1)}
    msr ttbr0_el2, x1
    {constant("x1", 25 | 0x3500 | 2 << 16 | 1 << 31 | 1 << 23)}
    msr tcr_el2, x1
    mov x1, #0xff
    msr mair_el2, x1
    isb
    {constant("x1", 0x30C5_1835)}
    msr sctlr_el2, x1
    isb
"""
EL1_MMU_ON = f"""
    {constant("x1", L1)}
    msr ttbr0_el1, x1
    {constant("x1", 25 | 1 << 23 | 0x3500 | 1 << 32)}
    msr tcr_el1, x1
    mov x1, #0xff
    msr mair_el1, x1
    isb
    {constant("x1", 0x30D0_0801)}
    msr sctlr_el1, x1
    mov x1, #0x80000000
    {{hcr}}
    msr hcr_el2, x1
    adr x1, {{label}}
    msr elr_el2, x1
    mov x1, #0x3c5
    msr spsr_el2, x1
    eret
    {{label}}: nop
"""
MEMORY = {
    L1: struct.pack("<3Q", 0, 0x4000_0000 | BLOCK, L2 | TABLE),
    L2: struct.pack("<Q", OLD | BLOCK),
    OLD: struct.pack("<Q", 1),
    NEW: struct.pack("<Q", 2),
}
READ_TWICE = f"""
    {constant("x1", WINDOW)}
    ldr x5, [x1]
    str x5, [x20, #16]
    {add(0)}
    {wait_for(8, 1)}
    {constant("x1", WINDOW)}
    ldr x5, [x1]
    str x5, [x20, #24]
    {add(0)}
"""


def change(tlbi: str) -> str:
    """The entry of the window goes from OLD to NEW while another CPU holds it."""
    return f"""
        {wait_for(0, 1)}
        {constant("x1", L2)}
        str xzr, [x1]
        dsb ishst
        {constant("x6", WINDOW >> 12)}
        {tlbi}
        dsb ish
        isb
        {constant("x7", NEW | BLOCK)}
        str x7, [x1]
        dsb ish
        {add(8)}
        {wait_for(0, 2)}
    """


@pytest.mark.parametrize(
    ("tlbi", "seen"),
    [
        ("tlbi vae2is, x6", 2),
        ("tlbi alle2is", 2),
        ("tlbi vae2, x6", 1),
        ("tlbi alle2", 1),
        ("nop", 1),
    ],
)
def test_tlb_maintenance_at_el2(mmu: MmuMode, tlbi: str, seen: int) -> None:
    """What is inner shareable reaches the other CPU; else it goes on with what it holds."""
    made = machine(start(1) + change(tlbi), EL2_MMU_ON + READ_TWICE, 2, mmu, memory=MEMORY)
    finish(made)
    assert (word(made, 16), word(made, 24)) == (1, seen)


@pytest.mark.parametrize(
    ("tlbi", "forced", "seen"),
    [
        ("tlbi vmalle1is", False, 2),
        ("tlbi vmalle1", False, 1),
        ("tlbi vmalle1", True, 2),
        ("tlbi vaae1, x6", True, 2),
    ],
)
def test_tlb_maintenance_at_el1(mmu: MmuMode, tlbi: str, forced: bool, seen: int) -> None:
    """HCR_EL2.FB makes what EL1 does inner shareable."""
    force = "orr x1, x1, #0x200" if forced else ""
    first = EL1_MMU_ON.format(hcr=force, label="one") + change(tlbi)
    second = EL1_MMU_ON.format(hcr="", label="two") + READ_TWICE
    made = machine(start(1) + first, second, 2, mmu, memory=MEMORY)
    finish(made)
    assert (word(made, 16), word(made, 24)) == (1, seen)


CODE = SHARED + 0x4_0000
MOV_1_RET, MOV_2 = struct.pack("<2I", 0xD280_0020, 0xD65F_03C0), 0xD280_0040  # mov x0, #n; ret

CALL_TWICE = f"""
    {constant("x10", CODE)}
    blr x10
    str x0, [x20, #16]
    {add(0)}
    {wait_for(8, 1)}
    isb
    blr x10
    str x0, [x20, #24]
    {add(0)}
"""


@pytest.mark.parametrize(
    ("maintenance", "seen"),
    [("ic ivau, x1", 2), ("ic ialluis", 2), ("ic iallu", 1), ("nop", 1)],
)
def test_code_that_another_cpu_has_executed(mmu: MmuMode, maintenance: str, seen: int) -> None:
    first = f"""
        {start(1)}
        {wait_for(0, 1)}
        {constant("x1", CODE)}
        {constant("x2", MOV_2)}
        str w2, [x1]
        dc cvau, x1
        dsb ish
        {maintenance}
        dsb ish
        isb
        {add(8)}
        {wait_for(0, 2)}
        {constant("x10", CODE)}
        blr x10
        str x0, [x20, #32]
    """
    made = finish(machine(first, CALL_TWICE, 2, mmu, memory={CODE: MOV_1_RET}))
    assert (word(made, 16), word(made, 24)) == (1, seen)
    assert word(made, 32) == 2


def test_code_loaded_for_a_cpu_that_is_started_later(mmu: MmuMode) -> None:
    """CPU 1 runs it, goes off; CPU 0 loads something else there and starts CPU 1 again."""
    second = f"{constant('x10', CODE)}\n blr x10\n str x0, [x20, #16]\n {add(0)}\n" + (
        f"{constant('x0', 0x8400_0002)}\n smc #0\n"
    )
    again = start(1).replace("smc #0", "again: smc #0\n cmn x0, #4")
    first = f"""
        {start(1)}
        {wait_for(0, 1)}
        {constant("x1", CODE)}
        {constant("x2", MOV_2)}
        str w2, [x1]
        dsb ish
        ic ialluis
        dsb ish
        retry: {again}
        b.eq retry
        {wait_for(0, 2)}
    """
    made = finish(machine(first, second, 2, mmu, memory={CODE: MOV_1_RET}))
    assert word(made, 16) == 2
