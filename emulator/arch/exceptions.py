# SPDX-License-Identifier: Apache-2.0
"""Exception routing, entry and return in AArch64 (Arm ARM AArch64.TakeException, ELFromSPSR,
IllegalExceptionReturn, and the interrupt routing and masking tables).

The firmware is assumed to have left SCR_EL3.{NS, HCE, RW} = 1 and SCR_EL3.{SMD, EA, FIQ, IRQ} = 0,
with HCR_EL2.E2H absent: a Non-secure PE without FEAT_VHE whose interrupts stay below EL3.
"""

from dataclasses import dataclass, replace
from enum import Enum, IntEnum

from aether_edgecloud.emulator.arch.pstate import DAIF_ALL, SPSR_NRW, PState

HCR_FMO = 1 << 3
HCR_IMO = 1 << 4
HCR_AMO = 1 << 5
HCR_VF = 1 << 6
HCR_VI = 1 << 7
HCR_VSE = 1 << 8
HCR_TGE = 1 << 27
HCR_RW = 1 << 31
HCR_TEA = 1 << 37
MDCR_TDE = 1 << 8
SCTLR_SPAN = 1 << 23


class Vector(IntEnum):
    """Kind of exception; the value is its offset inside a group of four vectors."""

    SYNC = 0x000
    IRQ = 0x080
    FIQ = 0x100
    SERROR = 0x180


# PSTATE.DAIF bit, HCR_EL2 routing bit and HCR_EL2 virtual-pending bit of each interrupt.
_MASK_BIT = {Vector.IRQ: 2, Vector.FIQ: 1, Vector.SERROR: 4}
_ROUTE_BIT = {Vector.IRQ: HCR_IMO, Vector.FIQ: HCR_FMO, Vector.SERROR: HCR_AMO}
_VIRTUAL_BIT = {Vector.IRQ: HCR_VI, Vector.FIQ: HCR_VF, Vector.SERROR: HCR_VSE}

# IMPLEMENTATION DEFINED by the Arm ARM; this order is the model's, fixed so that runs repeat.
INTERRUPT_PRIORITY = (Vector.SERROR, Vector.FIQ, Vector.IRQ)


class SyncKind(Enum):
    """What a synchronous exception is, as far as routing depends on it."""

    GENERAL = "undefined, SVC, EL1-controlled trap, stage 1 fault, PC/SP alignment, illegal state"
    STAGE2_ABORT = "abort of stage 2, alignment fault by the stage 2 memory type included"
    EXTERNAL_ABORT = "synchronous external abort, on a stage 1 walk included"
    DEBUG = "BRK, breakpoint, watchpoint, software step"
    HVC = "HVC, executed at EL1 or EL2"
    TRAP_EL2 = "trap by an EL2 control"


def route_synchronous(kind: SyncKind, el: int, hcr_el2: int, mdcr_el2: int = 0) -> int:
    """Exception level that takes a synchronous exception raised at `el`."""
    if el >= 2:
        return el
    if kind in (SyncKind.STAGE2_ABORT, SyncKind.HVC, SyncKind.TRAP_EL2):
        return 2
    if kind is SyncKind.EXTERNAL_ABORT and hcr_el2 & HCR_TEA:
        return 2
    if kind is SyncKind.DEBUG and (mdcr_el2 & MDCR_TDE or hcr_el2 & HCR_TGE):
        return 2
    # TGE takes EL0's exceptions to EL2. EL1 with TGE=1 cannot be reached by a legal return,
    # but a write of HCR_EL2 by EL2 does not apply until one: only EL0 needs the rule.
    if el == 0 and hcr_el2 & HCR_TGE:
        return 2
    return 1


def route_interrupt(kind: Vector, pstate: PState, hcr_el2: int) -> int | None:
    """Exception level that takes a pending physical interrupt now; None while it stays pending."""
    masked = bool(pstate.daif & _MASK_BIT[kind])
    if hcr_el2 & (_ROUTE_BIT[kind] | HCR_TGE):
        # An interrupt to a higher EL is not masked by PSTATE.
        return None if pstate.el == 2 and masked else 2
    return None if pstate.el == 2 or masked else 1


def route_virtual(kind: Vector, pstate: PState, hcr_el2: int) -> int | None:
    """EL1 if the virtual interrupt that HCR_EL2.{VI,VF,VSE} holds pending is taken now, or None.

    For a virtual interrupt from a GIC virtual CPU interface, pass hcr_el2 with the bit set.
    """
    if not hcr_el2 & _VIRTUAL_BIT[kind] or not hcr_el2 & _ROUTE_BIT[kind] or hcr_el2 & HCR_TGE:
        return None
    if pstate.el == 2 or pstate.daif & _MASK_BIT[kind]:
        return None
    return 1


@dataclass(frozen=True, slots=True)
class PendingInterrupt:
    """An interrupt to take now."""

    kind: Vector
    target_el: int
    virtual: bool


def next_interrupt(
    pstate: PState, hcr_el2: int, *, irq: bool = False, fiq: bool = False, serror: bool = False
) -> PendingInterrupt | None:
    """The interrupt to take before the next instruction, or None.

    irq, fiq, serror are the physical lines; virtual ones come from HCR_EL2. Physical interrupts
    go first, each kind in the order of INTERRUPT_PRIORITY.
    """
    level = {Vector.SERROR: serror, Vector.FIQ: fiq, Vector.IRQ: irq}
    for kind in INTERRUPT_PRIORITY:
        if level[kind]:
            target = route_interrupt(kind, pstate, hcr_el2)
            if target is not None:
                return PendingInterrupt(kind, target, virtual=False)
    for kind in INTERRUPT_PRIORITY:
        target = route_virtual(kind, pstate, hcr_el2)
        if target is not None:
            return PendingInterrupt(kind, target, virtual=True)
    return None


def wakes_wfi(
    hcr_el2: int, *, el: int, irq: bool = False, fiq: bool = False, serror: bool = False
) -> bool:
    """Whether a WFI executed at `el` ends: PSTATE masks do not matter, routing does not either
    (Arm ARM, "WFI wake-up events"); virtual interrupts count at EL0 and EL1 when enabled."""
    if irq or fiq or serror:
        return True
    if el == 2 or hcr_el2 & HCR_TGE:
        return False
    return any(hcr_el2 & _VIRTUAL_BIT[kind] and hcr_el2 & _ROUTE_BIT[kind] for kind in _ROUTE_BIT)


@dataclass(frozen=True, slots=True)
class ExceptionEntry:
    """The state after AArch64.TakeException. None means: that register keeps its value."""

    target_el: int
    pc: int
    pstate: PState
    spsr: int
    elr: int
    esr: int | None
    far: int | None
    hpfar: int | None


def vector_offset(kind: Vector, target_el: int, pstate: PState) -> int:
    """Offset from VBAR_ELx of the vector for an exception taken from `pstate` to target_el."""
    if target_el > pstate.el:
        return 0x400 + kind
    return (0x200 if pstate.sp_sel else 0x000) + kind


def enter(
    kind: Vector,
    target_el: int,
    pstate: PState,
    pc: int,
    vbar: int,
    esr: int | None = None,
    far: int | None = None,
    hpfar: int | None = None,
    *,
    sctlr: int = SCTLR_SPAN,
    has_pan: bool = False,
) -> ExceptionEntry:
    """Take an exception to target_el from AArch64 state `pstate`.

    `pc` is the preferred return address: of the faulting instruction, or of the next one after
    SVC and HVC and for interrupts. `vbar` and `sctlr` are the target's. ESR_ELx is given for
    synchronous exceptions and SError, FAR_ELx and HPFAR_EL2 where the exception writes them.
    Raises ValueError if target_el is lower than the current EL, or EL0.
    """
    if target_el < pstate.el or target_el == 0:
        raise ValueError(f"an exception from EL{pstate.el} cannot be taken to EL{target_el}")
    pan = pstate.pan
    if has_pan and target_el == 1 and not sctlr & SCTLR_SPAN:
        pan = True
    return ExceptionEntry(
        target_el=target_el,
        pc=(vbar & ~0x7FF) + vector_offset(kind, target_el, pstate),
        pstate=replace(pstate, el=target_el, sp_sel=1, daif=DAIF_ALL, il=False, ss=False, pan=pan),
        spsr=pstate.to_spsr(),
        elr=pc,
        esr=esr,
        far=far,
        hpfar=hpfar,
    )


class ReturnProblem(Enum):
    """Why an exception return is illegal (Arm ARM IllegalExceptionReturn)."""

    RESERVED_MODE = "SPSR.M is a reserved mode"
    HIGHER_EL = "SPSR.M names a higher exception level"
    TGE = "EL1 cannot be entered while HCR_EL2.TGE is 1"
    WRONG_STATE = "SPSR.M[4] does not match the execution state of the target"


@dataclass(frozen=True, slots=True)
class ExceptionReturn:
    """The state after ERET. With a `problem` it was illegal: PSTATE.IL is set, and EL and SP are
    kept. `aarch32` says that the return is legal but enters AArch32 at EL0 or EL1, which this
    model does not run; pstate is then that before the ERET."""

    pc: int
    pstate: PState
    problem: ReturnProblem | None = None
    aarch32: bool = False


def _return_problem(spsr: int, el: int, hcr_el2: int) -> ReturnProblem | None:
    if spsr & SPSR_NRW:
        # AArch32 modes: User, FIQ, IRQ, Supervisor, Abort, Undefined, System at EL0/EL1; Hyp EL2.
        mode = spsr & 0xF
        targets = {0x0: 0, 0x1: 1, 0x2: 1, 0x3: 1, 0x7: 1, 0xB: 1, 0xF: 1, 0xA: 2}
        if mode not in targets:
            return ReturnProblem.RESERVED_MODE
        target = targets[mode]
    else:
        target = (spsr >> 2) & 3
        if spsr & 2 or (target == 0 and spsr & 1):
            return ReturnProblem.RESERVED_MODE
    if target > el:
        return ReturnProblem.HIGHER_EL
    el1_aarch32 = not hcr_el2 & (HCR_RW | HCR_TGE)
    wants_aarch32 = bool(spsr & SPSR_NRW)
    if target == 2:
        mismatch = wants_aarch32
    elif target == 1:
        mismatch = wants_aarch32 != (not hcr_el2 & HCR_RW)
    else:
        # An AArch64 EL1 (or EL2 under TGE) may have an AArch32 EL0, never the reverse.
        mismatch = el1_aarch32 and not wants_aarch32
    if mismatch:
        return ReturnProblem.WRONG_STATE
    if target == 1 and hcr_el2 & HCR_TGE:
        return ReturnProblem.TGE
    return None


def exception_return(
    pstate: PState, spsr: int, elr: int, hcr_el2: int, *, has_pan: bool = False
) -> ExceptionReturn:
    """ERET at EL1 or EL2 (Arm ARM AArch64.ExceptionReturn, SetPSTATEFromSPSR)."""
    problem = _return_problem(spsr, pstate.el, hcr_el2)
    if problem is None and spsr & SPSR_NRW:
        return ExceptionReturn(elr, pstate, aarch32=True)
    wanted = PState.from_spsr(spsr & ~SPSR_NRW)
    # Software step is not modelled: PSTATE.SS stays 0.
    wanted = replace(wanted, ss=False, pan=has_pan and wanted.pan)
    if problem is not None:
        wanted = replace(wanted, il=True, el=pstate.el, sp_sel=pstate.sp_sel)
    return ExceptionReturn(elr, wanted, problem)
