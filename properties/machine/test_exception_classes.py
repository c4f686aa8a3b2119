# SPDX-License-Identifier: Apache-2.0
"""Every class of synchronous exception, as the Arm ARM describes it, in both MMU modes.

Expected syndromes are written down from the Arm ARM's description of ESR_ELx, not computed by the
models under test. Vector numbers: 0 SP_EL0, 4 SP_ELx, 8 lower EL, each plus 1 IRQ, 2 FIQ, 3 SError.
"""

import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.properties.machine.bare import (
    LIMIT,
    NO_MEMORY,
    Taken,
    assemble,
    boot,
    constant,
    hcr,
    program,
    run,
)

pytestmark = pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)

SP0, SPX, LOWER = 0, 4, 8
IL = 1 << 25
EXTERNAL_ABORT = 0b010000
SP_EL0_IN_USE = 0x3C4

HCR_TWI, HCR_TWE, HCR_TID3, HCR_TSC = 1 << 13, 1 << 14, 1 << 18, 1 << 19
HCR_TIDCP, HCR_TGE = 1 << 20, 1 << 27


def expect(taken: Taken | None, el: int, vector: int, ec: int, iss: int, elr: int) -> Taken:
    assert taken is not None, "no exception was taken"
    assert (taken.el, taken.vector) == (el, vector)
    assert hex(taken.esr) == hex(ec << 26 | IL | iss)
    assert taken.elr == elr
    return taken


@pytest.mark.parametrize(("el", "vector"), [(0, LOWER), (1, SPX)])
def test_svc_goes_to_el1_and_returns_behind_it(mmu: MmuMode, el: int, vector: int) -> None:
    expect(run("nop\n svc #0x1234", mmu, el=el), 1, vector, 0x15, 0x1234, 8)


def test_svc_on_sp_el0_takes_the_first_group(mmu: MmuMode) -> None:
    taken = expect(run("svc #1", mmu, spsr=0x3C4), 1, SP0, 0x15, 1, 4)
    assert taken.spsr == 0x3C4


def test_svc_from_el0_goes_to_el2_under_tge(mmu: MmuMode) -> None:
    expect(run("svc #1", mmu, el=0, setup=hcr(HCR_TGE)), 2, LOWER, 0x15, 1, 4)


def test_hvc(mmu: MmuMode) -> None:
    expect(run("hvc #0xffff", mmu), 2, LOWER, 0x16, 0xFFFF, 4)
    expect(run("hvc #2", mmu, el=2), 2, SPX, 0x16, 2, 4)
    expect(run("hvc #2", mmu, el=0), 1, LOWER, 0x00, 0, 0)


def test_smc_trapped_by_tsc_stays_on_the_smc(mmu: MmuMode) -> None:
    expect(run("nop\n smc #5", mmu, setup=hcr(HCR_TSC)), 2, LOWER, 0x17, 5, 4)
    expect(run("smc #5", mmu, el=0), 1, LOWER, 0x00, 0, 0)


def test_brk(mmu: MmuMode) -> None:
    expect(run("nop\n brk #0x42", mmu), 1, SPX, 0x3C, 0x42, 4)
    to_el2 = "mov x1, #0x100\n msr mdcr_el2, x1"  # MDCR_EL2.TDE
    expect(run("brk #1", mmu, setup=to_el2), 2, LOWER, 0x3C, 1, 0)


@pytest.mark.parametrize("body", [".long 0", "hlt #1", "mrs x0, s3_4_c1_c1_0"])
def test_undefined(mmu: MmuMode, body: str) -> None:
    """UDF, HLT without halting debug, an EL2 register at EL1."""
    expect(run(f"nop\n {body}", mmu), 1, SPX, 0x00, 0, 4)
    expect(run(body, mmu, el=0), 1, LOWER, 0x00, 0, 0)


@pytest.mark.parametrize("body", ["mrs x0, sp_el0", "msr sp_el0, x0"])
def test_sp_el0_is_undefined_while_it_is_the_stack_pointer(mmu: MmuMode, body: str) -> None:
    expect(run(f"nop\n {body}", mmu, spsr=SP_EL0_IN_USE), 1, SP0, 0x00, 0, 4)


COND = 1 << 24 | 0xE << 20


def test_wfi_and_wfe_traps(mmu: MmuMode) -> None:
    expect(run("wfi", mmu, setup=hcr(HCR_TWI)), 2, LOWER, 0x01, COND, 0)
    expect(run("nop\n wfe", mmu, setup=hcr(HCR_TWE)), 2, LOWER, 0x01, COND | 1, 4)
    expect(run("wfi", mmu, el=0), 1, LOWER, 0x01, COND, 0)  # SCTLR_EL1.nTWI = 0
    expect(run("wfe", mmu, el=0), 1, LOWER, 0x01, COND | 1, 0)
    assert run("wfe", mmu) is None


FP_OFF_AT_EL1 = "msr cpacr_el1, xzr"
FP_OFF_AT_EL2 = "mov x1, #0x37ff\n msr cptr_el2, x1"


@pytest.mark.parametrize(
    "body", ["fmov d0, #1.0", "ldr q0, [sp]", "stp d0, d1, [sp]", "mrs x0, fpcr", "dup v0.4s, w0"]
)
def test_floating_point_traps(mmu: MmuMode, body: str) -> None:
    body = f"nop\n {body}"
    expect(run(body, mmu, setup=FP_OFF_AT_EL1), 1, SPX, 0x07, COND, 4)
    expect(run(body, mmu, setup=FP_OFF_AT_EL2), 2, LOWER, 0x07, COND, 4)
    expect(run(body, mmu, el=2, setup=FP_OFF_AT_EL2), 2, SPX, 0x07, COND, 4)
    assert run(body, mmu) is None


def test_floating_point_can_be_switched_off_later(mmu: MmuMode) -> None:
    """The block has been translated and has run before the trap is enabled."""
    body = "again: fmov d0, #1.0\n cbnz x5, done\n mov x5, #1\n msr cpacr_el1, xzr\n isb\n b again"
    expect(run("mov x5, #0\n" + body, mmu), 1, SPX, 0x07, COND, 4)


def sysreg_iss(op0: int, op1: int, crn: int, crm: int, op2: int, rt: int, read: int) -> int:
    return op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | read


@pytest.mark.parametrize(
    ("body", "setup", "iss"),
    [
        ("mrs x9, id_aa64pfr0_el1", hcr(HCR_TID3), sysreg_iss(3, 0, 0, 4, 0, 9, 1)),
        ("mrs x3, cntp_ctl_el0", "msr cnthctl_el2, xzr", sysreg_iss(3, 3, 14, 2, 1, 3, 1)),
        ("msr cntp_cval_el0, x4", "msr cnthctl_el2, xzr", sysreg_iss(3, 3, 14, 2, 2, 4, 0)),
        ("mrs xzr, cntpct_el0", "msr cnthctl_el2, xzr", sysreg_iss(3, 3, 14, 0, 1, 31, 1)),
        (
            "mrs x5, s3_3_c9_c12_0",  # PMCR_EL0
            "mov x1, #0x20\n msr mdcr_el2, x1",
            sysreg_iss(3, 3, 9, 12, 0, 5, 1),
        ),
        ("mrs x6, s3_1_c15_c3_0", hcr(HCR_TIDCP), sysreg_iss(3, 1, 15, 3, 0, 6, 1)),  # CBAR_EL1
        ("msr s3_1_c15_c2_1, x7", hcr(HCR_TIDCP), sysreg_iss(3, 1, 15, 2, 1, 7, 0)),  # CPUECTLR
        (
            "mrs x8, s2_0_c1_c1_4",  # OSLSR_EL1
            "mov x1, #0x400\n msr mdcr_el2, x1",
            sysreg_iss(2, 0, 1, 1, 4, 8, 1),
        ),
    ],
)
def test_register_traps_to_el2(mmu: MmuMode, body: str, setup: str, iss: int) -> None:
    expect(run(f"nop\n {body}", mmu, setup=setup), 2, LOWER, 0x18, iss, 4)
    assert run(body, mmu, el=2, setup=setup) is None


def test_el0_counter_read_traps_to_el2_when_only_el2_forbids_it(mmu: MmuMode) -> None:
    setup = "msr cnthctl_el2, xzr\n mov x1, #1\n msr cntkctl_el1, x1"
    iss = sysreg_iss(3, 3, 14, 0, 1, 2, 1)
    expect(run("nop\n mrs x2, cntpct_el0", mmu, el=0, setup=setup), 2, LOWER, 0x18, iss, 4)


def test_el0_counter_read_traps_to_el1_when_el1_forbids_it(mmu: MmuMode) -> None:
    iss = sysreg_iss(3, 3, 14, 0, 2, 2, 1)
    expect(run("mrs x2, cntvct_el0", mmu, el=0), 1, LOWER, 0x18, iss, 0)


HERE = constant("x1", NO_MEMORY + 8)


@pytest.mark.parametrize(("el", "target", "vector"), [(0, 1, LOWER), (1, 1, SPX), (2, 2, SPX)])
def test_external_abort_where_nothing_answers(
    mmu: MmuMode, el: int, target: int, vector: int
) -> None:
    lower = 0 if vector == LOWER else 1
    taken = expect(
        run(f"{HERE}\n ldr x2, [x1, #8]", mmu, el=el),
        target, vector, 0x24 | lower, EXTERNAL_ABORT, 16,
    )  # fmt: skip
    assert taken.far == NO_MEMORY + 16
    write = run(f"{HERE}\n strb w2, [x1], #1", mmu, el=el)
    taken = expect(write, target, vector, 0x24 | lower, 1 << 6 | EXTERNAL_ABORT, 16)
    assert taken.far == NO_MEMORY + 8
    taken = expect(
        run(f"{HERE}\n br x1", mmu, el=el), target, vector, 0x20 | lower, EXTERNAL_ABORT,
        NO_MEMORY + 8 - trigger_va(mmu, el),
    )  # fmt: skip
    assert taken.far == NO_MEMORY + 8


def trigger_va(mmu: MmuMode, el: int) -> int:
    """VA of the body."""
    machine = boot(program("nop", el=el), mmu)
    machine.run(LIMIT)
    return machine.cpu.registers()[26]


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_pc_alignment(mmu: MmuMode, offset: int) -> None:
    body = f"adr x1, target\n add x1, x1, #{offset}\n br x1\n target: nop"
    taken = expect(run(body, mmu), 1, SPX, 0x22, 0, 12 + offset)
    assert taken.far & 3 == offset


SA = "movz x1, #0x0808\n movk x1, #0x30d0, lsl #16\n msr sctlr_el1, x1"
SA0 = "movz x1, #0x0810\n movk x1, #0x30d0, lsl #16\n msr sctlr_el1, x1"


@pytest.mark.parametrize(
    "misalign",
    [
        "mov x2, sp\n add x2, x2, #8\n mov sp, x2",
        "sub sp, sp, #4\n nop\n nop",
        "mov x2, #8\n sub sp, sp, x2\n nop",
        "ldr x2, [sp], #8\n nop\n nop",
        "stp x2, x3, [sp, #-24]!\n nop\n nop",
        "mov x2, sp\n orr sp, x2, #1\n nop",
    ],
)
@pytest.mark.parametrize("access", ["ldr x3, [sp]", "stp x3, x4, [sp, #16]", "strb w3, [sp, #1]"])
def test_sp_alignment(mmu: MmuMode, misalign: str, access: str) -> None:
    expect(run(f"{misalign}\n {access}", mmu, setup=SA), 1, SPX, 0x26, 0, 12)
    assert run(f"{misalign}\n {access}", mmu) is None  # SCTLR_EL1.SA = 0


def test_sp_alignment_in_a_later_block_and_at_el0(mmu: MmuMode) -> None:
    body = "sub sp, sp, #8\n b over\n over: nop\n cbz xzr, there\n there: ldr x0, [sp]"
    expect(run(body, mmu, setup=SA), 1, SPX, 0x26, 0, 16)
    expect(run(body, mmu, el=0, setup=SA0), 1, LOWER, 0x26, 0, 16)
    straight = "sub sp, sp, #8\n add sp, sp, #8\n ldr x0, [sp]"
    assert run(straight, mmu, setup=SA) is None


def test_sp_handed_down_misaligned(mmu: MmuMode) -> None:
    setup = SA + "\n" + constant("x1", 0x4030_0004) + "\n msr sp_el1, x1"
    expect(run("nop\n ldr x0, [sp]", mmu, setup=setup), 1, SPX, 0x26, 0, 4)


@pytest.mark.parametrize("spsr", [0x3C9, 0x3C6, 0x3C1, 0x3C2])
def test_illegal_exception_return(mmu: MmuMode, spsr: int) -> None:
    """To a higher EL, to reserved modes: PSTATE.IL, and the target instruction is not executed."""
    body = f"adr x1, there\n msr elr_el1, x1\n mov x1, #{spsr}\n msr spsr_el1, x1\n eret\n there:"
    taken = expect(run(f"{body} svc #0", mmu), 1, SPX, 0x0E, 0, 20)
    assert taken.spsr & (1 << 20)
    assert taken.spsr & 0xF == 5


def test_illegal_return_at_el2(mmu: MmuMode) -> None:
    body = "adr x1, there\n msr elr_el2, x1\n mov x1, #0x3ce\n msr spsr_el2, x1\n eret\n there: nop"
    taken = expect(run(body, mmu, el=2), 2, SPX, 0x0E, 0, 20)
    assert taken.spsr & (1 << 20)


def test_exclusive_that_is_not_aligned(mmu: MmuMode) -> None:
    body = constant("x1", 0x4030_0004) + "\n ldxr x2, [x1]"
    taken = expect(run(body, mmu), 1, SPX, 0x25, 0b100001, 16)
    assert taken.far == 0x4030_0004


def test_flags_are_saved_and_masked(mmu: MmuMode) -> None:
    body = "msr daifclr, #0xf\n mov x1, #0xf0000000\n msr nzcv, x1\n svc #0"
    taken = expect(run(body, mmu), 1, SPX, 0x15, 0, 16)
    assert taken.spsr == 0xF0000005


def test_pc_alignment_comes_before_everything_else_of_a_fetch(mmu: MmuMode) -> None:
    nowhere = run(constant("x1", NO_MEMORY + 2) + "\n br x1", mmu)
    assert nowhere is not None
    assert (nowhere.ec, nowhere.far) == (0x22, NO_MEMORY + 2)
    to_el2 = "mov x1, #0x3c9\n msr spsr_el1, x1\n eret"
    illegal = run(f"adr x1, there\n add x1, x1, #2\n msr elr_el1, x1\n {to_el2}\n there: nop", mmu)
    assert illegal is not None
    assert illegal.ec == 0x22
    assert illegal.spsr & (1 << 20)


@pytest.mark.parametrize("load", ["ldar x2, [x1]", "ldxr x2, [x1]"])
def test_alignment_comes_before_translation(mmu: MmuMode, load: str) -> None:
    taken = run(constant("x1", NO_MEMORY + 2) + f"\n {load}", mmu)
    assert taken is not None
    assert taken.iss & 0x3F == 0b100001


@pytest.mark.parametrize("el", [0, 1, 2])
def test_a_device_does_not_answer_a_fetch(mmu: MmuMode, el: int) -> None:
    taken = run(constant("x1", 0x0900_0000) + "\n br x1", mmu, el=el)
    assert taken is not None
    assert taken.ec == (0x20 if el == 0 else 0x21)
    assert (taken.iss, taken.far) == (EXTERNAL_ABORT, 0x0900_0000)


@pytest.mark.parametrize("setting", ["mov x1, #1", "mov x1, #0xa000"])
def test_software_step_and_breakpoints_never_fire(mmu: MmuMode, setting: str) -> None:
    """They are not modelled; the registers keep what is written."""
    arm = (
        "msr s2_0_c1_c0_4, xzr\n adr x1, trigger\n msr s2_0_c0_c0_4, x1\n mov x1, #0x1e5\n"
        f"msr s2_0_c0_c0_5, x1\n {setting}\n msr s2_0_c0_c2_2, x1\n mrs x7, s2_0_c0_c2_2"
    )
    taken = run("nop\n nop\n svc #0", mmu, el=0, setup=arm, spsr=0x20_00C0)
    expect(taken, 1, LOWER, 0x15, 0, 12)


@pytest.mark.parametrize(
    ("encoding", "value"),
    [("s3_4_c1_c0_0", 0x30C5_0838), ("s3_4_c1_c1_2", 0x33FF), ("s3_4_c1_c1_1", 6)],
)
def test_reset_values(mmu: MmuMode, encoding: str, value: int) -> None:
    """SCTLR_EL2, CPTR_EL2 and MDCR_EL2 as a Cortex-A72 has them at reset."""
    off = "movz x0, #0x8400, lsl #16\n movk x0, #8\n smc #0"
    machine = boot(assemble(f"mrs x9, {encoding}\n {off}"), mmu)
    machine.run(LIMIT)
    assert machine.cpu.registers()[9] == value
