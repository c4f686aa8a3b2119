# SPDX-License-Identifier: Apache-2.0
"""A page is taken from a guest that runs on another CPU, and used again: which sequences let the
guest read what it must not, by which schedules.

EL2 on CPU 0 breaks the entry and then stores a secret to the page. The guest on CPU 1 loads from
the page again and again, and tells if it ever sees the secret.
"""

import struct
from dataclasses import replace

import pytest

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.interleave.explore import Result, explore
from aether_edgecloud.emulator.interleave.interleaving import Method
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.machine.smp import SHARED, machine, start, wait_for, word

LIMIT = 400_000
READY, DONE, LEAK = 8, 16, 24
SECRET = 0x5EC
PAGE_IPA, PAGE_PA = 0x4040_0000, 0x4060_0000
ROOT, LEVEL_2, LEVEL_3 = 0x4061_0000, 0x4061_1000, 0x4061_2000
NORMAL = 1 << 10 | 3 << 8 | 3 << 6 | 15 << 2  # AF, inner shareable, read and write, write-back
TABLES = {
    ROOT + 8: struct.pack("<Q", LEVEL_2 | 3),
    LEVEL_2 + 8: struct.pack("<Q", 0x4020_0000 | NORMAL | 1),
    LEVEL_2 + 16: struct.pack("<Q", LEVEL_3 | 3),
    LEVEL_3: struct.pack("<Q", PAGE_PA | NORMAL | 3),
}
VTCR = 1 << 31 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 25  # 39 bits, 4 KiB, level 1
VTTBR = 1 << 48 | ROOT

STAGE_2_ON = f"""
    {constant("x1", VTCR)}
    msr vtcr_el2, x1
    {constant("x1", VTTBR)}
    msr vttbr_el2, x1
    {constant("x1", 1 << 31 | 1)}
    msr hcr_el2, x1
    isb
    tlbi alle1
    dsb nsh
    isb
"""
GUEST = f"""
    {STAGE_2_ON}
    {constant("x1", 0x30D0_0800)}
    msr sctlr_el1, x1
    {constant("x21", PAGE_IPA)}
    mov x22, #{SECRET}
    adr x1, guest
    msr elr_el2, x1
    mov x1, #0x3c5
    msr spsr_el2, x1
    isb
    eret
guest:
    ldr x5, [x21]
    mov x6, #1
    str x6, [x20, #{READY}]
look:
    ldr x5, [x21]
    cmp x5, x22
    b.ne look
    str x5, [x20, #{LEAK}]
    hvc #0
caught:
    mov x6, #1
    str x6, [x20, #{DONE}]
"""
BEGIN = f"""
    {start(1)}
    {wait_for(READY, 1)}
    {STAGE_2_ON}
    {constant("x10", LEVEL_3)}
    {constant("x11", PAGE_IPA >> 12)}
    {constant("x12", PAGE_PA)}
    mov x13, #{SECRET}
"""
BREAK, REUSE = "str xzr, [x10]\n", "str x13, [x12]\n"
IPAS2, VMALLE1 = "tlbi ipas2e1is, x11\n", "tlbi vmalle1is\n"
DSB = "dsb ish\n"
END = "dsb sy\n isb\n dsb sy\n" + wait_for(DONE, 1)

RIGHT = {
    "by address": BREAK + DSB + IPAS2 + DSB + VMALLE1 + DSB + "isb\n" + REUSE,
    "by VMID": BREAK + DSB + "tlbi vmalls12e1is\n" + DSB + "isb\n" + REUSE,
}
WRONG = {
    "no TLBI": BREAK + DSB + REUSE,
    "TLBI of this CPU alone": BREAK + DSB + "tlbi ipas2e1, x11\n" + DSB + "tlbi vmalle1\n" + DSB
    + "isb\n" + REUSE,
    "reuse before the entry is broken": REUSE + BREAK + DSB + "tlbi vmalls12e1is\n" + DSB,
    "reuse before the TLBI": BREAK + DSB + REUSE + DSB + "tlbi vmalls12e1is\n" + DSB + "isb\n",
}  # fmt: skip
SUBTLE = {
    "reuse before the DSB": BREAK + DSB + "tlbi vmalls12e1is\n" + REUSE + DSB + "isb\n",
    "reuse between the two TLBIs": BREAK + DSB + IPAS2 + DSB + REUSE + VMALLE1 + DSB + "isb\n",
}
"""Where a TLB that is kinder than it has to be shows nothing."""


def built(sequence: str, plan: Plan | None = None) -> Machine:
    made = machine(
        BEGIN + sequence + END, GUEST, 2, MmuMode.MODEL, vector="b caught", memory=TABLES
    )
    if plan is None:
        return made
    other = Machine.of(replace(made.setup, adversary=plan))
    made.close()
    for pa, data in TABLES.items():
        other.write_pa(pa, data)
    return other


def leaks(made: Machine) -> str | None:
    stop = made.run(made.instructions + LIMIT)
    if stop.kind is not StopKind.SYSTEM_OFF:
        return stop.kind.name
    return "leak" if word(made, LEAK) else None


def explored(made: Machine, *, schedules: int = 300, failures: int = 300) -> Result:
    """All schedules of up to two preemptions, from where the guest runs."""
    while word(made, READY) == 0:
        assert made.run(made.instructions + 20).instructions < LIMIT
    result = explore(
        made, leaks, schedules=schedules, method=Method.BOUNDED, depth=2, failures=failures
    )
    made.close()
    return result


@pytest.mark.parametrize("sequence", RIGHT.values(), ids=RIGHT)
def test_right_sequences_never_leak(sequence: str) -> None:
    result = explored(built(sequence))
    assert result.is_complete and not result.failures
    assert result.distinct > 50


@pytest.mark.parametrize("sequence", WRONG.values(), ids=WRONG)
def test_wrong_sequences_leak_by_some_schedule(sequence: str) -> None:
    result = explored(built(sequence), failures=1)
    assert result.first is not None and result.first.what == "leak"


def test_stores_to_tables_are_switch_points_under_a_monitor() -> None:
    """A walker on another CPU may come between two of them."""
    counts = []
    for monitored in (False, True):
        made = built(BREAK + BREAK + DSB + "tlbi vmalls12e1is\n" + DSB + REUSE)
        if monitored:
            Monitor(made, report=lambda _violation: None)
        counts.append(explored(made, schedules=1).points)
    assert counts[1] == counts[0] + 2


def test_the_shared_page_is_that_of_the_programs() -> None:
    assert 0x4020_0000 <= SHARED < PAGE_IPA


UNKIND = Plan(tlb=True, rate=256)


@pytest.mark.parametrize("sequence", RIGHT.values(), ids=RIGHT)
def test_right_sequences_never_leak_with_unkind_tlbs(sequence: str) -> None:
    result = explored(built(sequence, UNKIND))
    assert result.is_complete and not result.failures


@pytest.mark.parametrize("sequence", SUBTLE.values(), ids=SUBTLE)
def test_it_takes_unkind_tlbs_and_a_schedule_to_see_what_is_used_too_early(sequence: str) -> None:
    """Neither shows it alone."""
    kind = explored(built(sequence))
    assert kind.is_complete and not kind.failures
    unkind = explored(built(sequence, UNKIND))
    assert unkind.is_complete
    leaks_found = [failure for failure in unkind.failures if failure.what == "leak"]
    assert 0 < len(leaks_found) < unkind.schedules
    assert not any(
        failure.interleaving.preemptions() == () and failure.interleaving.seed == 0
        for failure in leaks_found
    )
