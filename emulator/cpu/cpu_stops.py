# SPDX-License-Identifier: Apache-2.0
"""What follows from each stop of a CPU's engine: exceptions and interrupts that the hooks leave to
Python are taken, and instructions executed that only the models can."""

from enum import Enum
from typing import TYPE_CHECKING

from aether_edgecloud.emulator.arch import mmu_at
from aether_edgecloud.emulator.arch.esr import ExceptionClass, syndrome
from aether_edgecloud.emulator.arch.exceptions import (
    HCR_VSE,
    PendingInterrupt,
    Vector,
    next_interrupt,
)
from aether_edgecloud.emulator.arch.pstate import PState
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu import synchronous as sync
from aether_edgecloud.emulator.cpu.engine_stop import EngineEnd, EngineStop, ExceptionNumber
from aether_edgecloud.emulator.cpu.exception_entry import ExceptionEntry
from aether_edgecloud.emulator.cpu.exits import interrupt_kind
from aether_edgecloud.emulator.cpu.hooks import StopReason
from aether_edgecloud.emulator.errors import EmulatorFault

if TYPE_CHECKING:
    from aether_edgecloud.emulator.cpu.cpu import Cpu


class CpuEvent(Enum):
    """Why `Cpu.run` came back."""

    DEADLINE = "deadline"  # the instruction count reached the deadline
    WAIT = "wait"  # WFI: nothing to do until an interrupt is pending
    FIRMWARE = "firmware"  # SMC to EL3: X0-X7 hold the call
    ATTENTION = "attention"  # somebody asked for a stop at a block boundary
    AARCH32 = "aarch32"  # an ERET went to AArch32 state, which is not modelled
    YIELD = "yield"  # WFE: another CPU may be waited for
    LOCKUP = "lockup"  # exceptions follow one another with no instruction retired between
    SWITCH = "switch"  # at a switch point another CPU may be given the turn
    PEEK = "peek"  # the instruction to stop at is next, or in the block that is


# HookState.attention: somebody wants a stop; control registers have changed.
LOOK, CONTROLS = 1, 2

# Exceptions in a row, with nothing retired in between, after which a CPU counts as locked up.
LOCKUP_LIMIT = 100


class CpuStops:
    """The stops of one CPU."""

    def __init__(self, cpu: "Cpu") -> None:
        self._cpu = cpu
        self._engine = cpu.engine
        self._state = cpu.engine.state
        self._x = cpu.engine.batch([*reg.X, reg.SP])
        self._pc_pstate = cpu.engine.batch([reg.PC, reg.PSTATE])
        self._entry = ExceptionEntry(cpu.engine)
        self._state.lockup_limit = LOCKUP_LIMIT
        self.deferred: tuple[sync.SyncException, int] | None = None
        """An exception that is due at the next block boundary, and how many instructions were
        retired before it."""

    def defer(self, exception: sync.SyncException, retired: int) -> None:
        """Take an exception at the next block boundary, as after `retired` instructions."""
        self.deferred = (exception, retired)
        self._state.is_deferred = 1
        self._state.attention |= LOOK

    def handle(self, stop: EngineStop) -> CpuEvent | None:
        """What the machine has to see; None where the CPU goes on, at its `pc`."""
        if self.deferred is not None:
            # Whatever ended the run came after the instruction that has already failed.
            (exception, self._state.retired), self.deferred = self.deferred, None
            self._state.is_deferred = 0
            return self._take(exception)
        if stop.end is EngineEnd.WAIT:
            return CpuEvent.WAIT
        if stop.end is EngineEnd.ABORT:
            context = self.context(stop.pc)
            return self._take(sync.abort(context, stop.fill, self._cpu.translation))
        match stop.reason:
            case StopReason.DEADLINE:
                return CpuEvent.DEADLINE
            case StopReason.INTERRUPT:
                return self._interrupt()
            case StopReason.EXCEPTION:
                return self._exception(stop)
            case StopReason.ILLEGAL:
                context = self.context(stop.pc, fetch=False)
                return self._take(sync.at_instruction(context, ExceptionClass.ILLEGAL_STATE))
            case StopReason.PC_ALIGN:
                context = self.context(stop.pc, fetch=False)
                return self._take(
                    sync.at_instruction(context, ExceptionClass.PC_ALIGNMENT, stop.pc)
                )
            case StopReason.WATCH:
                self._engine.watch_block()
            case StopReason.OBSERVE:
                self._engine.hook_barriers()
            case StopReason.SPLIT:
                pass
            case StopReason.MEASURE:
                self._engine.measure_block()
            case StopReason.WATCHED:
                return self._watched()
            case StopReason.AARCH32:
                return CpuEvent.AARCH32
            case StopReason.LOCKUP:
                return self._storm()
            case StopReason.YIELD:
                return CpuEvent.YIELD
            case StopReason.PEEK:
                return CpuEvent.PEEK
            case StopReason.SWITCH:
                return CpuEvent.SWITCH
            case StopReason.CODE:
                self._engine.code.drop_changed()
            case StopReason.ATTENTION:
                changed = self._state.attention & CONTROLS
                self._state.attention &= ~(LOOK | CONTROLS)
                if changed:
                    self._cpu.controls_changed()
                return CpuEvent.ATTENTION
            case StopReason.NONE:
                raise EmulatorFault(f"the engine stopped for no reason at {stop.pc:#x}")
        return None

    def _watched(self) -> CpuEvent | None:
        """An instruction that may raise what Unicorn does not: decide, or let it through."""
        context = self.context(self._cpu.pc)
        exception = sync.watched(context, self._cpu.sctlr_of(context.el))
        if exception is not None:
            return self._take(exception)
        self._state.pass_pc = self._cpu.pc
        return None

    def _exception(self, stop: EngineStop) -> CpuEvent | None:
        past = stop.exception in (ExceptionNumber.SVC, ExceptionNumber.HVC, ExceptionNumber.SMC)
        context = self.context(stop.pc, word_at=stop.pc - 4 if past else stop.pc)
        match stop.exception:
            case ExceptionNumber.SVC:
                return self._take(sync.svc(context))
            case ExceptionNumber.HVC:
                return self._take(sync.hvc(context))
            case ExceptionNumber.SMC:
                return CpuEvent.FIRMWARE
            case ExceptionNumber.BREAKPOINT:
                return self._take(sync.breakpoint_instruction(context))
            case ExceptionNumber.PREFETCH_ABORT | ExceptionNumber.DATA_ABORT:
                fill = sync.native_fill(context, stop.exception)
                return self._take(sync.abort(context, fill, self._cpu.translation))
        result = sync.undefined(context)
        match result:
            case sync.FirmwareCall():
                self._cpu.pc += 4
                self._state.retired += 1
                return CpuEvent.FIRMWARE
            case sync.Emulate():
                self._emulate(result)
                return None
            case sync.SyncException(ec=ExceptionClass.WFX) if self._cpu.wakes():
                self._emulate(sync.Emulate(None))  # it would not wait, so it does not trap
                return None
            case sync.SyncException():
                return self._take(result)

    def _emulate(self, emulate: sync.Emulate) -> None:
        """Execute an access to a register that Unicorn does not have."""
        access = emulate.access
        if access is None:
            pass
        elif access.is_read:
            value = self._cpu.system_registers.read_absent(self._cpu, access)
            if access.rt != 31:
                self._engine.write(reg.X[access.rt], value)
        else:
            value = 0 if access.rt == 31 else self._engine.read(reg.X[access.rt])
            self._cpu.system_registers.write_absent(self._cpu, access, value)
        self._cpu.pc += 4
        self._state.retired += 1

    def context(self, pc: int, *, fetch: bool = True, word_at: int | None = None) -> sync.Context:
        """What an exception at the VA `pc` depends on; `word_at` is where its instruction is."""
        controls = self._cpu.trap_controls()
        word = self._engine.fetch_word(pc if word_at is None else word_at) if fetch else None
        sp_sel = self._pc_pstate.read()[1] & 1
        return sync.Context(pc, int(self._state.el), sp_sel, self._x.read(), word, controls)

    def _pending_interrupt(self) -> PendingInterrupt | None:
        pstate = PState.from_spsr(self._pc_pstate.read()[1])
        lines = self._cpu.lines
        return next_interrupt(
            pstate,
            lines.pending_at(self._cpu.hcr_el2),
            irq=lines.irq,
            fiq=lines.fiq,
            serror=lines.serror,
        )

    def _storm(self) -> CpuEvent | None:
        """Exceptions without end. The hooks look for an interrupt where a block begins, and while
        even the vector cannot be fetched none does."""
        return CpuEvent.LOCKUP if self._pending_interrupt() is None else self._interrupt()

    def _interrupt(self) -> CpuEvent | None:
        pending = self._pending_interrupt()
        if pending is None:
            raise EmulatorFault("the hooks stopped for an interrupt that cannot be taken")
        # An SError has a syndrome; nothing is known about the error.
        esr = syndrome(ExceptionClass.SERROR) if pending.kind is Vector.SERROR else None
        kind = interrupt_kind(pending.kind, virtual=pending.virtual)
        self._enter(pending.kind, pending.target_el, kind, self._cpu.pc, esr=esr)
        if pending.kind is Vector.SERROR and pending.virtual:
            # Taking it clears HCR_EL2.VSE (Arm ARM, AArch64.TakeVirtualSErrorException).
            models = self._cpu.system_registers
            models.hide(reg.HCR_EL2, models.hidden(reg.HCR_EL2) & ~HCR_VSE)
            self._cpu.controls_changed()
        return None

    def _take(self, exception: sync.SyncException) -> CpuEvent | None:
        state = self._state
        state.same_count = state.same_count + 1 if state.retired == state.same_place else 0
        state.same_place = state.retired
        if state.same_count > LOCKUP_LIMIT:
            return self._storm()
        if state.el == exception.target_el == 2:
            self._note_own_fault(exception)
        self._enter(
            Vector.SYNC,
            exception.target_el,
            exception.ec,
            exception.elr,
            esr=exception.esr,
            far=exception.far,
            hpfar=exception.hpfar,
        )
        return None

    def _note_own_fault(self, exception: sync.SyncException) -> None:
        word = self._engine.fetch_word(exception.elr)
        va = exception.far or 0
        mapped = self._cpu.translation.address_translate(mmu_at.AtOperation.S1E2R, va, 2)
        self._cpu.own_faults.note(self._state.retired, exception, word, mapped)

    def _enter(
        self,
        vector: Vector,
        target_el: int,
        kind: int,
        return_to: int,
        *,
        esr: int | None = None,
        far: int | None = None,
        hpfar: int | None = None,
    ) -> None:
        entered = self._entry.enter(vector, target_el, return_to, esr=esr, far=far, hpfar=hpfar)
        self._cpu.pc = entered.pc
        if entered.from_el == target_el == 2 and self._cpu.on_context is not None:
            self._cpu.on_context()
        if self._cpu.on_exception is not None:
            self._cpu.on_exception(entered.from_el, target_el, kind, entered.esr, entered.elr)
        self._cpu.counts.exception(entered.from_el, target_el, kind, entered.sp, entered.elr)
