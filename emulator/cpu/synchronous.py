# SPDX-License-Identifier: Apache-2.0
"""From what the engine stopped on to the architecture's synchronous exception.

Unicorn names an exception only by a coarse number and sets neither ESR nor FAR. The instruction is
decoded again, its address computed, the translation walked by the model: the syndrome is built from
that, the same way whoever translated, so that both MMU modes give the same run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import esr, mmu, traps
from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.arch.exceptions import SyncKind, route_synchronous
from aether_edgecloud.emulator.cpu.engine_stop import ExceptionNumber, Fill
from aether_edgecloud.emulator.errors import EmulatorFault

DFSC_EXTERNAL_ABORT = 0b010000
DFSC_ALIGNMENT = 0b100001
SCTLR_SA = 1 << 3
SCTLR_SA0 = 1 << 4
_PAGE_MASK = ~0xFFF
_SP = 31


@dataclass(frozen=True, slots=True)
class SyncException:
    """A synchronous exception to take: where to, and what the syndrome registers say.

    `far` is a VA, `hpfar` the register's value; None where the exception does not write it.
    """

    target_el: int
    esr: int
    elr: int
    far: int | None = None
    hpfar: int | None = None

    @property
    def ec(self) -> int:
        """ESR_ELx.EC."""
        return esr.exception_class(self.esr)


@dataclass(frozen=True, slots=True)
class Emulate:
    """No exception: the access goes to a register that only the model has; None: nothing is to be
    done for the instruction."""

    access: a64.SysRegAccess | None


@dataclass(frozen=True, slots=True)
class FirmwareCall:
    """SMC that reaches EL3."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an exception depends on, read once when the engine stopped.

    `x` holds X0-X30 and then SP. `word` is the instruction the exception is about, None where it
    could not be fetched.
    """

    pc: int
    el: int
    sp_sel: int
    x: Sequence[int]
    word: int | None
    controls: traps.TrapControls


def svc(ctx: Context) -> SyncException:
    """SVC; PC is past it."""
    instruction = a64.decode(ctx.word or 0)
    imm = instruction.imm if isinstance(instruction, a64.Svc) else 0
    target = route_synchronous(SyncKind.GENERAL, ctx.el, ctx.controls.hcr_el2)
    return SyncException(target, esr.syndrome(ExceptionClass.SVC, imm), ctx.pc)


def hvc(ctx: Context) -> SyncException:
    """HVC; PC is past it. Unicorn has raised UNDEFINED instead where HVC is disabled."""
    instruction = a64.decode(ctx.word or 0)
    imm = instruction.imm if isinstance(instruction, a64.Hvc) else 0
    return SyncException(2, esr.syndrome(ExceptionClass.HVC, imm), ctx.pc)


def breakpoint_instruction(ctx: Context) -> SyncException:
    """BRK; PC is on it."""
    instruction = a64.decode(ctx.word or 0)
    imm = instruction.imm if isinstance(instruction, a64.Brk) else 0
    target = route_synchronous(SyncKind.DEBUG, ctx.el, ctx.controls.hcr_el2, ctx.controls.mdcr_el2)
    return SyncException(target, esr.syndrome(ExceptionClass.BRK, imm), ctx.pc)


def at_instruction(ctx: Context, ec: ExceptionClass, far: int | None = None) -> SyncException:
    """Illegal state, PC or SP alignment: no ISS, PC is on the instruction."""
    target = route_synchronous(SyncKind.GENERAL, ctx.el, ctx.controls.hcr_el2)
    return SyncException(target, esr.syndrome(ec), ctx.pc, far)


def undefined(ctx: Context) -> SyncException | Emulate | FirmwareCall:
    """What Unicorn calls undefined: really UNDEFINED, a trap, or a register it does not have."""
    instruction = a64.decode(ctx.word) if ctx.word is not None else a64.Other()
    match instruction:
        case a64.SysRegAccess():
            check = traps.check_sysreg(instruction, ctx.el, ctx.controls, sp_sel=ctx.sp_sel)
            if isinstance(check, traps.Allowed):
                return Emulate(instruction)
        case a64.SysInstruction():
            check = traps.check_sys_instruction(instruction, ctx.el, ctx.controls)
            if isinstance(check, traps.Allowed):
                return Emulate(None)
        case a64.MsrImmediate():
            check = traps.check_msr_immediate(instruction, ctx.el, ctx.controls)
        case a64.Wfx():
            check = traps.check_wfx(instruction.kind, ctx.el, ctx.controls)
        case a64.Smc():
            check = traps.check_smc(instruction.imm, ctx.el, ctx.controls)
            if isinstance(check, traps.Allowed):
                return FirmwareCall()
        case a64.FpSimd():
            check = traps.check_fp(ctx.el, ctx.controls)
        case a64.LoadStore(simd=True):
            check = traps.check_fp(ctx.el, ctx.controls)
        case _:
            check = traps.Undefined()
    if isinstance(check, traps.Trapped):
        return SyncException(check.target_el, esr.syndrome(check.ec, check.iss), ctx.pc)
    target = route_synchronous(SyncKind.GENERAL, ctx.el, ctx.controls.hcr_el2)
    return SyncException(target, esr.syndrome(ExceptionClass.UNKNOWN), ctx.pc)


def watched(ctx: Context, sctlr: int) -> SyncException | None:
    """What an instruction raises that Unicorn would just execute; `sctlr` is that of its regime.

    A trap of FP and SIMD comes before the SP alignment check of the access itself.
    """
    instruction = a64.decode(ctx.word) if ctx.word is not None else a64.Other()
    check: traps.TrapResult = traps.ALLOWED
    match instruction:
        case a64.FpSimd() | a64.LoadStore(simd=True):
            check = traps.check_fp(ctx.el, ctx.controls)
        case a64.Wfx(kind=a64.WfxKind.WFE):
            check = traps.check_wfx(instruction.kind, ctx.el, ctx.controls)
        case a64.SysRegAccess():
            check = traps.check_sysreg(instruction, ctx.el, ctx.controls, sp_sel=ctx.sp_sel)
    if isinstance(check, traps.Trapped):
        return SyncException(check.target_el, esr.syndrome(check.ec, check.iss), ctx.pc)
    if isinstance(check, traps.Undefined):
        return at_instruction(ctx, ExceptionClass.UNKNOWN)
    checked = sctlr & (SCTLR_SA if ctx.el else SCTLR_SA0)
    uses_sp = (
        isinstance(instruction, a64.LoadStore)
        and instruction.rn == _SP
        and instruction.kind is not a64.MemoryKind.PREFETCH  # a hint is exempt
    )
    if checked and uses_sp and ctx.x[_SP] % 16:
        return at_instruction(ctx, ExceptionClass.SP_ALIGNMENT)
    return None


@dataclass(frozen=True, slots=True)
class MemoryAccess:
    """One access of an instruction: VA of its first byte, length, kind, and at which privilege."""

    va: int
    size: int
    access: mmu.Access
    el: int
    instruction: a64.Instruction

    @property
    def pages(self) -> tuple[int, ...]:
        """The VA at which each page that the access touches is entered."""
        last = (self.va + max(self.size, 1) - 1) & ((1 << 64) - 1)
        if (last ^ self.va) & _PAGE_MASK:
            return (self.va, last & _PAGE_MASK)
        return (self.va,)

    @property
    def unaligned_ordered(self) -> bool:
        """An exclusive, acquire or release access that is not aligned always faults."""
        ls = self.instruction
        return (
            isinstance(ls, a64.LoadStore)
            and (ls.exclusive or ls.acquire_release)
            and self.va % self.size != 0
        )


def memory_access(ctx: Context, fill: Fill) -> MemoryAccess:
    """The access that the stopped instruction makes. `fill` is FETCH for the instruction itself."""
    if fill is Fill.FETCH or ctx.word is None:
        return MemoryAccess(ctx.pc, 4, mmu.Access.FETCH, ctx.el, a64.Other())
    instruction = a64.decode(ctx.word)
    access = mmu.Access.WRITE if fill is Fill.WRITE else mmu.Access.READ
    if isinstance(instruction, a64.LoadStore):
        el = 0 if instruction.unprivileged and ctx.el == 1 else ctx.el
        va = a64.effective_address(instruction, ctx.x, ctx.pc)
        return MemoryAccess(va, instruction.access_bytes, access, el, instruction)
    if isinstance(instruction, a64.SysInstruction):
        va = 0 if instruction.rt == 31 else ctx.x[instruction.rt]
        return MemoryAccess(va, 1, access, ctx.el, instruction)
    return MemoryAccess(ctx.pc, 4, mmu.Access.FETCH, ctx.el, instruction)


def native_fill(ctx: Context, number: int) -> Fill:
    """Kind of access behind one of Unicorn's own abort numbers."""
    if number == ExceptionNumber.PREFETCH_ABORT:
        return Fill.FETCH
    instruction = a64.decode(ctx.word) if ctx.word is not None else a64.Other()
    stores = isinstance(instruction, a64.LoadStore) and instruction.is_store
    zeroes = isinstance(instruction, a64.SysInstruction) and instruction.is_dc_zva
    return Fill.WRITE if stores or zeroes else Fill.READ


class Translates(Protocol):
    """What says whether an address can be accessed."""

    def fault(self, va: int, el: int, access: mmu.Access) -> mmu.Fault | None:
        """The fault of an access; None if it is translated."""

    def answers(self, va: int, el: int, access: mmu.Access) -> bool:
        """Whether anything is at the PA that it is translated to."""


def abort(ctx: Context, fill: Fill, translation: Translates) -> SyncException:
    """What a failed access raises, by the order of the architecture's checks.

    EmulatorFault if nothing is wrong with it."""
    access = memory_access(ctx, fill)
    if fill is Fill.FETCH and ctx.pc % 4:
        return at_instruction(ctx, ExceptionClass.PC_ALIGNMENT, ctx.pc)
    if access.unaligned_ordered:
        return alignment_fault(ctx, access)
    for va in access.pages:
        fault = translation.fault(va, access.el, access.access)
        if fault is not None:
            return translation_abort(ctx, access, va, fault)
        if not translation.answers(va, access.el, access.access):
            return external_abort(ctx, access, va)
    raise EmulatorFault(f"Unicorn aborts at {ctx.pc:#x} on {access.va:#x}, the MMU model does not")


def alignment_fault(ctx: Context, access: MemoryAccess) -> SyncException:
    """Data abort for an access that is not aligned."""
    target = route_synchronous(SyncKind.GENERAL, ctx.el, ctx.controls.hcr_el2)
    iss = esr.iss_data_abort(DFSC_ALIGNMENT, is_write=access.access is mmu.Access.WRITE)
    return _abort(ctx, access, access.va, target, iss, None)


def external_abort(ctx: Context, access: MemoryAccess, va: int) -> SyncException:
    """Synchronous external abort: the address is translated, and nothing answers there."""
    target = route_synchronous(SyncKind.EXTERNAL_ABORT, ctx.el, ctx.controls.hcr_el2)
    if access.access is mmu.Access.FETCH:
        iss = esr.iss_instruction_abort(DFSC_EXTERNAL_ABORT)
    else:
        is_write = access.access is mmu.Access.WRITE
        iss = esr.iss_data_abort(DFSC_EXTERNAL_ABORT, is_write=is_write)
    return _abort(ctx, access, va, target, iss, None)


def translation_abort(
    ctx: Context, access: MemoryAccess, va: int, fault: mmu.Fault
) -> SyncException:
    """Abort for a fault of either stage."""
    if fault.stage == 2:
        kind = SyncKind.STAGE2_ABORT
    elif fault.kind is mmu.FaultKind.SYNC_EXTERNAL_ON_WALK:
        kind = SyncKind.EXTERNAL_ABORT
    else:
        kind = SyncKind.GENERAL
    target = route_synchronous(kind, ctx.el, ctx.controls.hcr_el2)
    if access.access is mmu.Access.FETCH:
        iss = esr.iss_instruction_abort(fault.fsc, s1ptw=fault.s1ptw)
    else:
        described = a64.iss_for_data_abort(access.instruction) if fault.stage == 2 else 0
        iss = esr.iss_data_abort(
            fault.fsc,
            is_write=access.access is mmu.Access.WRITE,
            instruction=described,
            s1ptw=fault.s1ptw,
            cache_maintenance=_is_maintenance(access.instruction),
        )
    hpfar = fault.hpfar_el2 if fault.stage == 2 else None
    return _abort(ctx, access, va, target, iss, hpfar)


def _is_maintenance(instruction: a64.Instruction) -> bool:
    """AT and cache maintenance report ISS.CM; DC ZVA stores."""
    return isinstance(instruction, a64.SysInstruction) and not instruction.is_dc_zva


def _abort(
    ctx: Context, access: MemoryAccess, va: int, target: int, iss: int, hpfar: int | None
) -> SyncException:
    ec = esr.abort_class(
        is_fetch=access.access is mmu.Access.FETCH, from_el=ctx.el, target_el=target
    )
    return SyncException(target, esr.syndrome(ec, iss), ctx.pc, va, hpfar)
