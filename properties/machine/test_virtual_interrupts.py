# SPDX-License-Identifier: Apache-2.0
"""Virtual interrupts: from the GIC's list registers to an exception at EL1, and what a hypervisor
hears of them."""

import pytest

from aether_edgecloud.emulator.cpu.controls import Lines
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.properties.machine.bare import (
    LIMIT,
    boot,
    constant,
    hcr,
    program,
    result,
    run,
)

pytestmark = pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)

SPX, LOWER = 4, 8
IRQ, FIQ = 1, 2
HCR_FMO, HCR_IMO = 8, 16
SPIN = "msr daifclr, #3\n spin: add x5, x5, #1\n b spin"
GICH, GICV, GICD, GICC = 0x0803_0000, 0x0804_0000, 0x0800_0000, 0x0801_0000
INTID, EOI = 40, 1 << 19

LIST = f"""
    {constant("x2", GICV)}
    mov w3, #0xff
    str w3, [x2, #4]
    mov w3, #1
    str w3, [x2]
    {constant("x2", GICH)}
    str w3, [x2]
    {constant("x3", 1 << 28 | EOI | INTID)}
    str w3, [x2, #0x100]
"""
MAINTENANCE_ON = f"""
    {constant("x2", GICC)}
    mov w3, #0xff
    str w3, [x2, #4]
    mov w3, #1
    str w3, [x2]
    {constant("x2", GICD)}
    str w3, [x2]
    movz w3, #0x0200, lsl #16
    str w3, [x2, #0x100]
"""


@pytest.mark.parametrize(
    ("lines", "route", "vector"),
    [(Lines(virq=True), HCR_IMO, IRQ), (Lines(vfiq=True), HCR_FMO, FIQ)],
)
def test_each_virtual_line_is_taken_at_el1(
    mmu: MmuMode, lines: Lines, route: int, vector: int
) -> None:
    machine = boot(program(SPIN, setup=hcr(route)), mmu)
    machine.run(200)
    machine.cpu.set_lines(lines)
    machine.cpu.set_deadline(LIMIT)
    machine.cpu.run()
    taken = result(machine)
    assert taken is not None
    assert (taken.el, taken.vector) == (1, SPX + vector)


def test_not_without_routing(mmu: MmuMode) -> None:
    body = "msr daifclr, #3\n mov x6, #100\n loop: subs x6, x6, #1\n b.ne loop"
    machine = boot(program(body, setup=hcr(0)), mmu)
    machine.run(60)
    machine.cpu.set_lines(Lines(virq=True, vfiq=True))
    machine.cpu.set_deadline(None)
    machine.cpu.run()
    assert result(machine) is None


def test_a_list_register_interrupts_el1(mmu: MmuMode) -> None:
    taken = run(SPIN, mmu, setup=LIST + hcr(HCR_IMO))
    assert taken is not None
    assert (taken.el, taken.vector) == (1, SPX + IRQ)
    assert run("nop\n nop\n nop", mmu, setup=LIST + hcr(HCR_IMO)) is None  # masked
    taken = run("spin: b spin", mmu, el=0, spsr=0, setup=LIST + hcr(HCR_IMO))
    assert taken is not None
    assert (taken.el, taken.vector) == (1, LOWER + IRQ)


def test_a_virtual_interrupt_wakes_a_guest_that_sleeps(mmu: MmuMode) -> None:
    """Masked, it ends the WFI; not listed, nothing does."""
    assert run("wfi", mmu, setup=LIST + hcr(HCR_IMO)) is None
    machine = boot(program("wfi", setup=hcr(HCR_IMO)), mmu)
    assert machine.run(LIMIT).kind is StopKind.DEADLOCK
    machine = boot(program("wfi", el=2, setup=LIST + hcr(HCR_IMO)), mmu)
    assert machine.run(LIMIT).kind is StopKind.DEADLOCK  # of no interest at EL2


def test_isr_shows_it_at_el1(mmu: MmuMode) -> None:
    machine = boot(program("mrs x8, s3_0_c12_c1_0", setup=LIST + hcr(HCR_IMO)), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    assert machine.cpu.registers()[8] == 0x80


def test_its_end_asks_the_hypervisor_for_maintenance(mmu: MmuMode) -> None:
    body = f"""
        {constant("x2", GICV)}
        ldr w5, [x2, #0xc]
        str w5, [x2, #0x10]
        isb
        more: add x6, x6, #1
        b more
    """
    setup = MAINTENANCE_ON + LIST + hcr(HCR_IMO)
    machine = boot(program(body, setup=setup), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    taken = result(machine)
    assert taken is not None
    assert (taken.el, taken.vector) == (2, LOWER + IRQ)
    assert machine.cpu.registers()[5] == INTID
    assert machine.cpu.registers()[6] < 3
