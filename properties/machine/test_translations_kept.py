# SPDX-License-Identifier: Apache-2.0
"""Which translations are kept, and until when: what a program sees that forgets a TLBI must not
depend on the host, and what is invalidated rightly must be gone."""

import struct

import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.properties.machine.bare import LIMIT, boot, constant, hcr, program

TABLES = 0x4200_0000
L1, L2, L3 = TABLES, TABLES + 0x1000, TABLES + 0x2000
S2_L1, S2_L2, S2_L3 = TABLES + 0x1_0000, TABLES + 0x1_2000, TABLES + 0x1_3000
WINDOW = 0x8000_0000  # VA
OLD, NEW = 0x4300_0000, 0x4320_0000  # IPA and PA, 2 MiB each

BLOCK, TABLE, PAGE = 0x701, 0b11, 0x703  # AF, inner shareable, EL1 read and write, AttrIndx 0
S2_NORMAL = 0xF << 2 | 0b11 << 6 | 0b11 << 8 | 1 << 10

STAGE1_ON = f"""
    {constant("x1", L1)}
    msr ttbr0_el1, x1
    {constant("x1", 25 | 1 << 23 | 0x3500 | 1 << 32)}
    msr tcr_el1, x1
    mov x1, #0xff
    msr mair_el1, x1
    isb
    {constant("x1", 0x30D0_0801)}
    msr sctlr_el1, x1
    isb
"""
STAGE2_ON = f"""
    {constant("x1", S2_L1)}
    msr vttbr_el2, x1
    {constant("x1", 32 | 1 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 4 << 16 | 1 << 31)}
    msr vtcr_el2, x1
    {hcr(1)}
    isb
    tlbi alle1
    dsb ish
    isb
"""


def table(entries: dict[int, int], size: int = 512) -> bytes:
    return struct.pack(f"<{size}Q", *(entries.get(i, 0) for i in range(size)))


def identity_pages(base: int) -> bytes:
    """One level-3 table of stage 2, over 2 MiB."""
    return table({i: (base + (i << 12)) | S2_NORMAL | 0b11 for i in range(512)})


STAGE1 = {
    L1: table({1: 0x4000_0000 | BLOCK, 2: L2 | TABLE}),
    L2: table({0: OLD | BLOCK}),
    OLD: struct.pack("<Q", 1),
    OLD + 4096: struct.pack("<Q", 1),
    NEW: struct.pack("<Q", 2),
    NEW + 4096: struct.pack("<Q", 2),
}


def stage2_of_pages() -> dict[int, bytes]:
    """Everything the program uses, in 4 KiB pages at stage 2."""
    used = (0x4000_0000, 0x4020_0000, 0x4200_0000, OLD, NEW)
    level2 = {(b - 0x4000_0000) >> 21: (S2_L3 + (i << 12)) | TABLE for i, b in enumerate(used)}
    tables = {S2_L3 + (i << 12): identity_pages(base) for i, base in enumerate(used)}
    return {S2_L1: table({1: S2_L2 | TABLE}), S2_L2: table(level2), **tables}


CHANGE_BLOCK = f"""
    {constant("x1", WINDOW)}
    ldr x3, [x1]
    ldr x4, [x1, #4096]
    {constant("x5", L2)}
    str xzr, [x5]
    dsb ishst
    {constant("x6", WINDOW >> 12)}
    {{tlbi}}
    dsb ish
    isb
    {constant("x7", NEW | BLOCK)}
    str x7, [x5]
    dsb ish
    isb
    ldr x8, [x1]
    ldr x9, [x1, #4096]
"""


@pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)
@pytest.mark.parametrize("stage2", [False, True], ids=["stage-1-alone", "over-4k-stage-2"])
@pytest.mark.parametrize("tlbi", ["tlbi vae1, x6", "tlbi vae1is, x6", "tlbi vmalle1is"])
def test_a_block_goes_as_a_whole(mmu: MmuMode, stage2: bool, tlbi: str) -> None:
    """A TLBI by the VA of its first page removes all of a 2 MiB block, however it is kept."""
    setup = (STAGE2_ON if stage2 else "") + STAGE1_ON
    memory = STAGE1 | (stage2_of_pages() if stage2 else {})
    machine = boot(program(CHANGE_BLOCK.format(tlbi=tlbi), setup=setup), mmu, memory)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    x = machine.cpu.registers()
    assert (x[3], x[4], x[8], x[9]) == (1, 1, 2, 2)


PAGES = 900
FORGETS_TLBI = f"""
    {constant("x1", WINDOW)}
    mov x2, #{PAGES}
first: ldr x3, [x1]
    add x1, x1, #4096
    subs x2, x2, #1
    b.ne first
    {constant("x1", L3)}
    {constant("x4", NEW | PAGE)}
    mov x2, #{PAGES}
change: str x4, [x1], #8
    subs x2, x2, #1
    b.ne change
    dsb ish
    isb
    mov x11, #0
    {constant("x1", WINDOW)}
    mov x2, #{PAGES}
again: ldr x3, [x1]
    add x11, x11, x3
    add x1, x1, #4096
    subs x2, x2, #1
    b.ne again
"""


def forgetful(load: str) -> Machine:
    user = 1 << 6  # AP[1]: EL0 too
    memory = STAGE1 | {
        L2: table({0: L3 | TABLE, 1: (L3 + 0x1000) | TABLE}),
        L3: table(dict.fromkeys(range(1024), OLD | PAGE | user), 1024),
    }
    body = FORGETS_TLBI.replace("ldr x3", f"{load} x3")
    return boot(program(body, setup=STAGE1_ON), MmuMode.MODEL, memory)


@pytest.mark.parametrize("load", ["ldr", "ldtr"])
def test_what_a_forgotten_tlbi_leaves_does_not_depend_on_unicorns_tlb(load: str) -> None:
    """How many entries Unicorn holds depends on the host's clock. Emptying its TLB at every few
    instructions stands for the worst host. A load as from EL0 is kept as one of EL0."""
    calm, disturbed = forgetful(load), forgetful(load)
    assert calm.run(LIMIT).kind is StopKind.SYSTEM_OFF
    while disturbed.run(disturbed.cpu.retired + 50).kind is StopKind.LIMIT:
        disturbed.cpu.engine.flush_tlb()
    for machine in (calm, disturbed):
        assert machine.cpu.registers()[11] == PAGES  # the old page, every time
    assert calm.cpu.translation.walks == disturbed.cpu.translation.walks
    assert state_sha256(calm) == state_sha256(disturbed)


def test_a_permission_granted_without_tlbi_is_seen() -> None:
    """From read-only to writable: a kept entry is no reason for a fault that no table has."""
    read_only = BLOCK | 1 << 7
    body = f"""
        {constant("x1", WINDOW)}
        ldr x3, [x1]
        {constant("x5", L2)}
        {constant("x7", OLD | BLOCK)}
        str x7, [x5]
        dsb ish
        isb
        str x1, [x1]
        ldr x8, [x1]
    """
    memory = STAGE1 | {L2: table({0: OLD | read_only})}
    machine = boot(program(body, setup=STAGE1_ON), MmuMode.MODEL, memory)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    assert machine.cpu.registers()[8] == WINDOW


def test_register_sets_without_end_do_not_fill_the_memory() -> None:
    body = """
        mov x6, #1000
    next: lsl x3, x6, #48
        msr ttbr0_el1, x3
        isb
        ldr x2, [sp]
        subs x6, x6, #1
        b.ne next
    """
    machine = boot(program(body), MmuMode.MODEL)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    assert machine.cpu.translation.register_sets <= 64


def test_code_changed_through_another_address_without_maintenance_is_seen() -> None:
    """Software has to do IC IVAU. What it sees that forgets it must not depend on the host's clock
    either, which decides how long Unicorn's TLB sends stores to a page past its check for code."""
    returns = [struct.pack("<2I", 0xD280_0000 | n << 5, 0xD65F_03C0) for n in (1, 2, 3, 4)]
    first, second = OLD + 0x100, OLD + 0x200
    word = int.from_bytes(returns[2][:4], "little"), int.from_bytes(returns[3][:4], "little")
    body = f"""
        {constant("x1", WINDOW)}
        str xzr, [x1, #8]
        {constant("x10", first)}
        {constant("x11", second)}
        blr x10
        mov x3, x0
        blr x11
        mov x4, x0
        {constant("x5", word[0])}
        {constant("x6", word[1])}
        str w5, [x1, #0x100]
        str w6, [x1, #0x200]
        isb
        blr x10
        mov x8, x0
        blr x11
        mov x9, x0
    """
    memory = {**STAGE1, OLD: bytes(0x100) + returns[0].ljust(0x100, b"\0") + returns[1]}
    calm, disturbed = (boot(program(body, setup=STAGE1_ON), MmuMode.MODEL, memory) for _ in (0, 1))
    assert calm.run(LIMIT).kind is StopKind.SYSTEM_OFF
    while disturbed.run(disturbed.cpu.retired + 3).kind is StopKind.LIMIT:
        disturbed.cpu.engine.flush_tlb()
    for machine in (calm, disturbed):
        x = machine.cpu.registers()
        assert (x[3], x[4], x[8], x[9]) == (1, 2, 3, 4)
    assert state_sha256(calm) == state_sha256(disturbed)
