# SPDX-License-Identifier: Apache-2.0
"""Whether an instruction is allowed, UNDEFINED or trapped, and where to and with which syndrome:
the accessibility pseudocode of the Arm ARM's register descriptions, AArch64.CheckForWFxTrap,
AArch64.CheckFPAdvSIMDEnabled, AArch64.CheckForSMCUndefOrTrap.

Undefined is EC 0 with ISS 0, routed by exceptions.route_synchronous(GENERAL). All results hold for
a Non-secure PE without FEAT_VHE and with SCR_EL3.{HCE, SMD} = {1, 0}. HSTR_EL2 traps AArch32 only.
"""

from dataclasses import dataclass
from typing import TypeAlias

from aether_edgecloud.emulator.arch.decode import (
    MsrImmediate,
    PStateField,
    SysInstruction,
    SysRegAccess,
    WfxKind,
)
from aether_edgecloud.emulator.arch.esr import ExceptionClass, iss_fp, iss_sysreg, iss_wfx
from aether_edgecloud.emulator.arch.sysregs import (
    Trap,
    by_encoding,
    is_implementation_defined,
    sysop_by_encoding,
)

HCR_TWI = 1 << 13
HCR_TWE = 1 << 14
HCR_TID1 = 1 << 16
HCR_TID2 = 1 << 17
HCR_TID3 = 1 << 18
HCR_TSC = 1 << 19
HCR_TIDCP = 1 << 20
HCR_TACR = 1 << 21
HCR_TSW = 1 << 22
HCR_TPC = 1 << 23
HCR_TPU = 1 << 24
HCR_TTLB = 1 << 25
HCR_TVM = 1 << 26
HCR_TGE = 1 << 27
HCR_TDZ = 1 << 28
HCR_TRVM = 1 << 30
CPTR_TFP = 1 << 10
CPTR_TCPAC = 1 << 31
CPACR_FPEN_SHIFT = 20
MDCR_TPMCR = 1 << 5
MDCR_TPM = 1 << 6
MDCR_TDE = 1 << 8
MDCR_TDA = 1 << 9
MDCR_TDOSA = 1 << 10
MDCR_TDRA = 1 << 11
SCTLR_UMA = 1 << 9
SCTLR_DZE = 1 << 14
SCTLR_UCT = 1 << 15
SCTLR_NTWI = 1 << 16
SCTLR_NTWE = 1 << 18
SCTLR_UCI = 1 << 26
CNTHCTL_EL1PCTEN = 1 << 0
CNTHCTL_EL1PCEN = 1 << 1
CNTKCTL_EL0PCTEN = 1 << 0
CNTKCTL_EL0VCTEN = 1 << 1
CNTKCTL_EL0VTEN = 1 << 8
CNTKCTL_EL0PTEN = 1 << 9
MDSCR_TDCC = 1 << 12
PMUSERENR_EN = 1 << 0
PMUSERENR_SW = 1 << 1
PMUSERENR_CR = 1 << 2
PMUSERENR_ER = 1 << 3
DCZID_DZP = 1 << 4


@dataclass(frozen=True, slots=True)
class TrapControls:
    """The registers that decide about traps, as raw values."""

    hcr_el2: int = 0
    cptr_el2: int = 0
    cpacr_el1: int = 0
    mdcr_el2: int = 0
    hstr_el2: int = 0
    cnthctl_el2: int = 0
    cntkctl_el1: int = 0
    sctlr_el1: int = 0
    pmuserenr_el0: int = 0
    mdscr_el1: int = 0


@dataclass(frozen=True, slots=True)
class Allowed:
    """The instruction executes."""


@dataclass(frozen=True, slots=True)
class Undefined:
    """The instruction is UNDEFINED: EC 0, ISS 0."""


@dataclass(frozen=True, slots=True)
class Trapped:
    """The instruction raises an exception to target_el."""

    target_el: int
    ec: ExceptionClass
    iss: int


TrapResult: TypeAlias = Allowed | Undefined | Trapped

ALLOWED = Allowed()
UNDEFINED = Undefined()

# Trap rules decided by one bit at EL1 and EL0: (register, bit that traps to EL2).
_EL2_BITS: dict[Trap, tuple[str, int]] = {
    Trap.ACR: ("hcr_el2", HCR_TACR),
    Trap.ID1: ("hcr_el2", HCR_TID1),
    Trap.ID2: ("hcr_el2", HCR_TID2),
    Trap.ID3: ("hcr_el2", HCR_TID3),
    Trap.CPAC: ("cptr_el2", CPTR_TCPAC),
    Trap.SET_WAY: ("hcr_el2", HCR_TSW),
    Trap.POC: ("hcr_el2", HCR_TPC),
    Trap.POU: ("hcr_el2", HCR_TPU),
    Trap.TLB: ("hcr_el2", HCR_TTLB),
    Trap.ZVA: ("hcr_el2", HCR_TDZ),
    # TDE = 1 counts as TDA, TDOSA and TDRA = 1.
    Trap.DEBUG: ("mdcr_el2", MDCR_TDA | MDCR_TDE),
    Trap.DEBUG_ROM: ("mdcr_el2", MDCR_TDRA | MDCR_TDE),
    Trap.DEBUG_OS: ("mdcr_el2", MDCR_TDOSA | MDCR_TDE),
    Trap.PM: ("mdcr_el2", MDCR_TPM),
    Trap.PMCR: ("mdcr_el2", MDCR_TPMCR),
}
_DEBUG_TRAPS = (Trap.DEBUG, Trap.DEBUG_ROM, Trap.DEBUG_OS)


def _el0_permitted(trap: Trap, c: TrapControls, is_read: bool) -> bool:
    """Whether EL1's controls let EL0 do it."""
    user = c.pmuserenr_el0
    enabled = bool(user & PMUSERENR_EN)
    match trap:
        case Trap.UMA:
            return bool(c.sctlr_el1 & SCTLR_UMA)
        case Trap.UCT:
            return bool(c.sctlr_el1 & SCTLR_UCT)
        case Trap.UCI:
            return bool(c.sctlr_el1 & SCTLR_UCI)
        case Trap.DZE:
            return bool(c.sctlr_el1 & SCTLR_DZE)
        case Trap.DCC:
            return not c.mdscr_el1 & MDSCR_TDCC
        case Trap.PMU_EN:
            return enabled
        case Trap.PMU_SW:
            return bool(user & (PMUSERENR_EN | PMUSERENR_SW))
        case Trap.PMU_CR:
            return enabled or (is_read and bool(user & PMUSERENR_CR))
        case Trap.PMU_ER:
            return enabled or (is_read and bool(user & PMUSERENR_ER))
        case Trap.PMU_SEL:
            return bool(user & (PMUSERENR_EN | PMUSERENR_ER))
        case Trap.CNT_FRQ:
            return bool(c.cntkctl_el1 & (CNTKCTL_EL0PCTEN | CNTKCTL_EL0VCTEN))
        case Trap.CNT_PCT:
            return bool(c.cntkctl_el1 & CNTKCTL_EL0PCTEN)
        case Trap.CNT_VCT:
            return bool(c.cntkctl_el1 & CNTKCTL_EL0VCTEN)
        case Trap.CNT_PT:
            return bool(c.cntkctl_el1 & CNTKCTL_EL0PTEN)
        case Trap.CNT_VT:
            return bool(c.cntkctl_el1 & CNTKCTL_EL0VTEN)
    return True


def _el2_traps(trap: Trap, c: TrapControls, is_read: bool) -> bool:
    """Whether EL2's controls trap it at EL0 and EL1."""
    match trap:
        case Trap.VM:
            return bool(c.hcr_el2 & (HCR_TRVM if is_read else HCR_TVM))
        case Trap.CNT_PCT:
            return not c.cnthctl_el2 & CNTHCTL_EL1PCTEN
        case Trap.CNT_PT:
            return not c.cnthctl_el2 & CNTHCTL_EL1PCEN
    control = _EL2_BITS.get(trap)
    if control is None:
        return False
    if trap in _DEBUG_TRAPS and c.hcr_el2 & HCR_TGE:
        return True  # TGE = 1 counts as MDCR_EL2.TDE = 1
    register, bits = control
    value: int = getattr(c, register)
    return bool(value & bits)


def _el1_or_el2(c: TrapControls) -> int:
    """Where an exception from EL0 that EL1's controls cause goes."""
    return 2 if c.hcr_el2 & HCR_TGE else 1


def _check(
    traps: tuple[Trap, ...], el: int, c: TrapControls, is_read: bool, iss: int
) -> TrapResult:
    """EL1's controls come before EL2's, as in the accessibility pseudocode."""
    if el == 0:
        for trap in traps:
            if not _el0_permitted(trap, c, is_read):
                return Trapped(_el1_or_el2(c), ExceptionClass.SYSREG, iss)
    if el < 2:
        for trap in traps:
            if _el2_traps(trap, c, is_read):
                return Trapped(2, ExceptionClass.SYSREG, iss)
    return ALLOWED


def _check_implementation_defined(el: int, c: TrapControls, iss: int) -> TrapResult | None:
    """HCR_EL2.TIDCP. At EL0 it is IMPLEMENTATION DEFINED whether it traps; here it does not,
    and the access is UNDEFINED as it is without TIDCP."""
    if el == 0:
        return UNDEFINED
    if el == 1 and c.hcr_el2 & HCR_TIDCP:
        return Trapped(2, ExceptionClass.SYSREG, iss)
    return None


def check_sysreg(access: SysRegAccess, el: int, c: TrapControls, *, sp_sel: int = 1) -> TrapResult:
    """MRS or MSR (register) at `el`, with PSTATE.SP = sp_sel."""
    iss = iss_sysreg(
        access.op0,
        access.op1,
        access.crn,
        access.crm,
        access.op2,
        access.rt,
        is_read=access.is_read,
    )
    if access.op0 == 3 and is_implementation_defined(access.crn):
        result = _check_implementation_defined(el, c, iss)
        if result is not None:
            return result
    register = by_encoding(access.op0, access.op1, access.crn, access.crm, access.op2)
    if register is None or not register.allows(el, is_read=access.is_read):
        return UNDEFINED
    if Trap.SP_EL0 in register.traps and not sp_sel:
        return UNDEFINED
    if Trap.FP in register.traps:
        return check_fp(el, c)
    return _check(register.traps, el, c, access.is_read, iss)


def check_sys_instruction(access: SysInstruction, el: int, c: TrapControls) -> TrapResult:
    """SYS or SYSL at `el`: DC, IC, AT, TLBI. Faults of their address translation come after."""
    iss = iss_sysreg(
        1, access.op1, access.crn, access.crm, access.op2, access.rt, is_read=access.is_read
    )
    if is_implementation_defined(access.crn):
        result = _check_implementation_defined(el, c, iss)
        if result is not None:
            return result
    op = sysop_by_encoding(access.op1, access.crn, access.crm, access.op2)
    if op is None or access.is_read or el < op.min_el:
        return UNDEFINED
    return _check(op.traps, el, c, access.is_read, iss)


def check_msr_immediate(access: MsrImmediate, el: int, c: TrapControls) -> TrapResult:
    """MSR (immediate): at EL0 only DAIFSet and DAIFClr exist, under SCTLR_EL1.UMA."""
    if access.field in (PStateField.DAIF_SET, PStateField.DAIF_CLR):
        op1, op2 = access.field.value
        iss = iss_sysreg(0, op1, 4, access.imm, op2, 31, is_read=False)
        return _check((Trap.UMA,), el, c, False, iss)
    if access.field is PStateField.SP_SEL and el > 0:
        return ALLOWED
    return UNDEFINED  # the other fields are later than Armv8.0


def check_wfx(kind: WfxKind, el: int, c: TrapControls) -> TrapResult:
    """WFI or WFE that would wait: with a wake-up event pending neither traps."""
    is_wfe = kind is WfxKind.WFE
    iss = iss_wfx(is_wfe=is_wfe)
    if el == 0 and not c.sctlr_el1 & (SCTLR_NTWE if is_wfe else SCTLR_NTWI):
        return Trapped(_el1_or_el2(c), ExceptionClass.WFX, iss)
    if el < 2 and c.hcr_el2 & (HCR_TWE if is_wfe else HCR_TWI):
        return Trapped(2, ExceptionClass.WFX, iss)
    return ALLOWED


def check_fp(el: int, c: TrapControls) -> TrapResult:
    """SIMD and floating point, their loads and stores, FPCR and FPSR."""
    if el < 2:
        fpen = (c.cpacr_el1 >> CPACR_FPEN_SHIFT) & 3
        if fpen in (0, 2) or (fpen == 1 and el == 0):
            if el == 0 and c.hcr_el2 & HCR_TGE:
                return UNDEFINED  # AArch64.AdvSIMDFPAccessTrap: to EL2 as an unknown reason
            return Trapped(1, ExceptionClass.FP_ACCESS, iss_fp())
    if c.cptr_el2 & CPTR_TFP:
        return Trapped(2, ExceptionClass.FP_ACCESS, iss_fp())
    return ALLOWED


def check_smc(imm: int, el: int, c: TrapControls) -> TrapResult:
    """SMC. Allowed means that it reaches the firmware at EL3. When trapped, ELR_EL2 is the
    address of the SMC itself."""
    if el == 0:
        return UNDEFINED
    if el == 1 and c.hcr_el2 & HCR_TSC:
        return Trapped(2, ExceptionClass.SMC, imm)
    return ALLOWED


def check_hvc(imm: int, el: int) -> TrapResult:
    """HVC: to EL2, with ELR_EL2 after it. HCR_EL2.HCD is RES0 on a PE with EL3."""
    return UNDEFINED if el == 0 else Trapped(2, ExceptionClass.HVC, imm)


def check_svc(imm: int, el: int, c: TrapControls) -> Trapped:
    """SVC: to EL1, to EL2 at EL2 or from EL0 under HCR_EL2.TGE."""
    return Trapped(_el1_or_el2(c) if el == 0 else el, ExceptionClass.SVC, imm)


def dczid_value(el: int, c: TrapControls) -> int:
    """DCZID_EL0 as read at `el`: 64-byte blocks, DZP where DC ZVA would trap."""
    result = check_sys_instruction(SysInstruction(3, 7, 4, 1, 0, False), el, c)
    return 4 if result is ALLOWED else 4 | DCZID_DZP
