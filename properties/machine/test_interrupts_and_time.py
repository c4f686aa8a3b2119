# SPDX-License-Identifier: Apache-2.0
"""Interrupts, waiting and time on the bare machine, in both MMU modes."""

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
IRQ, FIQ, SERROR = 1, 2, 3
HCR_FMO, HCR_IMO, HCR_AMO, HCR_VF, HCR_VI, HCR_VSE = 8, 16, 32, 64, 128, 256

GIC_ON = "\n".join(
    [
        constant("x2", 0x0801_0000),
        "mov w3, #0xff\n str w3, [x2, #4]\n mov w3, #1\n str w3, [x2]",
        constant("x2", 0x0800_0000),
        "str w3, [x2]\n movz w3, #0x0400, lsl #16\n str w3, [x2, #0x100]",  # enable PPI 26
    ]
)
TIMER_IN_1000 = "mov x3, #1000\n msr s3_4_c14_c2_0, x3\n mov x3, #1\n msr s3_4_c14_c2_1, x3"
SPIN = "spin: add x5, x5, #1\n b spin"


def test_timer_interrupt_is_taken_to_el2_whatever_el1_masks(mmu: MmuMode) -> None:
    taken = run(SPIN, mmu, setup=hcr(HCR_IMO) + "\n" + GIC_ON + "\n" + TIMER_IN_1000)
    assert taken is not None
    assert (taken.el, taken.vector) == (2, LOWER + IRQ)
    assert taken.elr in (0, 4)
    assert taken.spsr == 0x3C5


def test_interrupt_at_the_instruction_count_of_the_timer(mmu: MmuMode) -> None:
    """CNTHP fires when the counter, which counts instructions, has reached its compare value."""
    setup = hcr(HCR_IMO) + "\n" + GIC_ON + "\n mrs x27, cntpct_el0\n" + TIMER_IN_1000
    machine = boot(program(SPIN, setup=setup), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    taken, x = result(machine), machine.cpu.registers()
    assert taken is not None
    # x27: the counter one MSR and one MOV before TVAL was written, at the count of 1000.
    loop_instructions = 2 * x[5] + (taken.elr == 4)
    assert loop_instructions > 900
    assert abs(machine.cpu.retired - x[27] - 1000) < 30


def test_el2_masks_its_own_interrupts(mmu: MmuMode) -> None:
    body = GIC_ON + "\n" + TIMER_IN_1000 + "\n mov x6, #2000\n wait: subs x6, x6, #1\n b.ne wait\n"
    unmask = "msr daifclr, #2\n nop\n b over\n over: nop"
    assert run(body, mmu, el=2, setup=hcr(HCR_IMO)) is None
    taken = run(body + unmask, mmu, el=2, setup=hcr(HCR_IMO))
    assert taken is not None
    assert (taken.el, taken.vector) == (2, SPX + IRQ)


def test_without_routing_el1_takes_it_when_unmasked(mmu: MmuMode) -> None:
    setup = GIC_ON + "\n" + TIMER_IN_1000
    machine = boot(program(SPIN, setup=setup), mmu)
    assert machine.run(LIMIT).kind is StopKind.LIMIT
    taken = run("msr daifclr, #2\n" + SPIN, mmu, setup=setup)
    assert taken is not None
    assert (taken.el, taken.vector) == (1, SPX + IRQ)


@pytest.mark.parametrize(
    ("bits", "vector"),
    [(HCR_IMO | HCR_VI, IRQ), (HCR_FMO | HCR_VF, FIQ), (HCR_AMO | HCR_VSE, SERROR)],
)
def test_virtual_interrupts(mmu: MmuMode, bits: int, vector: int) -> None:
    body = "nop\n msr daifclr, #7\n b next\n next: nop"
    machine = boot(program(body, setup=hcr(bits)), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    taken = result(machine)
    assert taken is not None
    assert (taken.el, taken.vector) == (1, SPX + vector)
    assert taken.elr == 8
    name = {IRQ: "virq", FIQ: "vfiq", SERROR: "vserror"}[vector]
    assert machine.cpu.exception_counts == {(1, 1, name): 1}  # taken by the model, not behind it
    assert run("nop\n nop", mmu, setup=hcr(bits)) is None  # masked at EL1
    assert run("msr daifclr, #7\n b n\n n: nop", mmu, setup=hcr(bits & 0x1C0)) is None  # not routed


@pytest.mark.parametrize(
    ("lines", "bit", "vector"),
    [
        (Lines(irq=True), HCR_IMO, IRQ),
        (Lines(fiq=True), HCR_FMO, FIQ),
        (Lines(serror=True), HCR_AMO, SERROR),
    ],
)
def test_each_line_has_its_vector(mmu: MmuMode, lines: Lines, bit: int, vector: int) -> None:
    machine = boot(program(SPIN, setup=hcr(bit)), mmu)
    machine.run(200)
    machine.cpu.set_lines(lines)
    machine.cpu.set_deadline(LIMIT)
    machine.cpu.run()
    taken = result(machine)
    assert taken is not None
    assert (taken.el, taken.vector) == (2, LOWER + vector)


def test_a_virtual_interrupt_from_el0_raises_the_level(mmu: MmuMode) -> None:
    machine = boot(
        program("nop\n nop\n b n\n n: nop", el=0, spsr=0, setup=hcr(HCR_IMO | HCR_VI)), mmu
    )
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    taken = result(machine)
    assert taken is not None
    assert (taken.el, taken.vector) == (1, LOWER + IRQ)
    assert machine.cpu.current_el == 1
    assert machine.cpu.instructions_by_el()[0] == 0


def test_serror_has_a_syndrome_and_a_virtual_one_is_taken_once(mmu: MmuMode) -> None:
    esr = 0x2F << 26 | 1 << 25
    taken = run("msr daifclr, #7\n b n\n n: nop", mmu, setup=hcr(HCR_AMO | HCR_VSE))
    assert taken is not None
    assert taken.esr == esr
    again = "msr daifclr, #7\n b n\n n: mrs x9, s3_4_c1_c1_0"
    machine = boot(program(again, setup=hcr(HCR_AMO | HCR_VSE)), mmu)
    machine.run(LIMIT)
    assert machine.cpu.trap_controls().hcr_el2 & HCR_VSE == 0
    machine = boot(program(SPIN, setup=hcr(HCR_AMO)), mmu)
    machine.run(200)
    machine.cpu.set_lines(Lines(serror=True))
    machine.cpu.set_deadline(LIMIT)
    machine.cpu.run()
    physical = result(machine)
    assert physical is not None
    assert physical.esr == esr


def test_hcr_reads_back_what_was_written(mmu: MmuMode) -> None:
    bits = HCR_IMO | HCR_FMO | HCR_AMO | HCR_VI | HCR_VF | HCR_VSE
    machine = boot(program("mrs x9, hcr_el2", el=2, setup=hcr(bits)), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    assert machine.cpu.registers()[9] == 1 << 31 | bits


def test_a_wfi_that_would_not_wait_does_not_trap(mmu: MmuMode) -> None:
    """HCR_EL2.TWI, with the hypervisor's timer pending for nobody."""
    setup = GIC_ON + "\n" + TIMER_IN_1000.replace("1000", "1") + "\n" + hcr(1 << 13)
    assert run("wfi", mmu, setup=setup) is None


def test_a_run_without_a_limit_goes_on_after_a_timer(mmu: MmuMode) -> None:
    body = "spin: add x5, x5, #1\n tbz x5, #12, spin"
    machine = boot(program(body, setup=GIC_ON + "\n" + TIMER_IN_1000), mmu)
    assert machine.run().kind is StopKind.SYSTEM_OFF


def test_wfi_skips_time_to_the_next_event(mmu: MmuMode) -> None:
    body = (
        GIC_ON + "\n mrs x8, cntpct_el0\n" + TIMER_IN_1000.replace("1000", "50000")
        + "\n wfi\n mrs x9, cntpct_el0"
    )  # fmt: skip
    machine = boot(program(body, el=2), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    x = machine.cpu.registers()
    assert 50_000 <= x[9] - x[8] < 50_010
    assert machine.cpu.retired < 1000


def test_wfi_with_nothing_to_wait_for_is_a_deadlock(mmu: MmuMode) -> None:
    machine = boot(program("wfi", el=2), mmu)
    assert machine.run(LIMIT).kind is StopKind.DEADLOCK


def test_a_timer_that_reaches_nobody_does_not_end_a_wfi(mmu: MmuMode) -> None:
    """The GIC is off: the timer's level goes up and stays, and nothing ever comes."""
    machine = boot(program(TIMER_IN_1000 + "\n wfi", el=2), mmu)
    assert machine.run(LIMIT).kind is StopKind.DEADLOCK


def smc(function: int, x1: int = 0) -> str:
    return f"{constant('x0', function)}\n mov x1, #{x1}\n smc #0\n mov x9, x0"


def test_psci_standby_returns_when_an_interrupt_is_pending(mmu: MmuMode) -> None:
    body = GIC_ON + "\n" + TIMER_IN_1000 + "\n" + smc(0x8400_0001)
    machine = boot(program(body, el=2), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    assert machine.cpu.registers()[9] == 0
    assert machine.counter >= 1000 > machine.cpu.retired


def test_psci_from_el2(mmu: MmuMode) -> None:
    assert boot_and_x9(smc(0x8400_0000), mmu) == 0x1_0001  # PSCI_VERSION 1.1
    assert boot_and_x9(smc(0x8000_0000), mmu) == 0x1_0002  # SMCCC_VERSION 1.2
    entry = constant("x2", 0x4020_0000)
    cpu_on = boot_and_x9(f"{entry}\n {smc(0xC400_0003)}", mmu)
    assert cpu_on == -4 % (1 << 64)  # CPU_ON of itself: ALREADY_ON
    assert boot_and_x9(smc(0x8600_0000), mmu) == (1 << 64) - 1  # unknown: NOT_SUPPORTED
    machine = boot(program(smc(0x8400_0002), el=2), mmu)
    assert machine.run(LIMIT).kind is StopKind.DEADLOCK  # CPU_OFF of the only CPU
    machine = boot(program(smc(0x8400_0009), el=2), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_RESET


def boot_and_x9(body: str, mmu: MmuMode) -> int:
    machine = boot(program(body, el=2), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    return machine.cpu.registers()[9]


def test_the_counter_counts_instructions_and_the_virtual_one_has_its_offset(mmu: MmuMode) -> None:
    body = "mrs x8, cntpct_el0\n nop\n nop\n mrs x9, cntpct_el0\n mrs x10, cntvct_el0"
    setup = "mov x1, #3\n msr cnthctl_el2, x1\n mov x1, #100\n msr cntvoff_el2, x1"
    machine = boot(program(body, setup=setup), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    x = machine.cpu.registers()
    assert x[9] - x[8] == 3
    assert x[10] == (x[9] + 1 - 100) % (1 << 64)


def test_isr_shows_physical_lines_at_el2_and_virtual_ones_at_el1(mmu: MmuMode) -> None:
    body = "mrs x8, s3_0_c12_c1_0"
    machine = boot(program(body, setup=hcr(HCR_IMO | HCR_VI)), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    assert machine.cpu.registers()[8] == 0x80
    machine = boot(program(body, el=2, setup=hcr(HCR_IMO | HCR_VI)), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    assert machine.cpu.registers()[8] == 0


def test_instructions_are_counted_by_level(mmu: MmuMode) -> None:
    setup = "adr x1, vectors_el2\n msr vbar_el2, x1"
    machine = boot(program("nop\n nop\n nop\n svc #0", el=0, setup=setup), mmu)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    el0, el1, el2 = machine.cpu.instructions_by_el()
    assert el0 == 4
    assert el0 + el1 + el2 == machine.cpu.retired
    assert el1 == 2 + 5 + 4  # vector, record, off up to and including the SMC
