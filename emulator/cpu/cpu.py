# SPDX-License-Identifier: Apache-2.0
"""One physical CPU: runs the engine, says what it waits for, answers the models of its registers.
What stops of the engine lead to, exceptions above all, is in `cpu_stops.py`."""

import ctypes as c
from collections.abc import Callable

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import mmu_at, sysregs, traps
from aether_edgecloud.emulator.arch.exceptions import wakes_wfi
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu import synchronous as sync
from aether_edgecloud.emulator.cpu.access import CpuAccess
from aether_edgecloud.emulator.cpu.controls import Lines, apply_controls, apply_lines
from aether_edgecloud.emulator.cpu.cpu_counts import CpuCounts
from aether_edgecloud.emulator.cpu.cpu_state import CpuState
from aether_edgecloud.emulator.cpu.cpu_stops import CONTROLS, LOOK, CpuStops
from aether_edgecloud.emulator.cpu.cpu_stops import CpuEvent as CpuEvent
from aether_edgecloud.emulator.cpu.engine import Engine, HookProvider, MmuMode
from aether_edgecloud.emulator.cpu.engine_stop import Fill
from aether_edgecloud.emulator.cpu.exits import ExitStatistics
from aether_edgecloud.emulator.cpu.hooks import NEVER, StopReason, TlbEntry
from aether_edgecloud.emulator.cpu.own_faults import OwnFaults
from aether_edgecloud.emulator.cpu.system_registers import SystemRegisterModels
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory, TranslationUnit

_INSTRUCTION_KEYS = range(reg.key(1, 0, 0, 0, 0), reg.key(2, 0, 0, 0, 0))


class Cpu:
    """A Cortex-A72 at EL2.

    `memory` is the physical address space (also for table walks), `ram` its buffer.
    `system_registers` answers for the registers that Unicorn does not have or must not answer for.
    """

    def __init__(
        self,
        hooks: HookProvider,
        mmu_mode: MmuMode,
        memory: PhysicalMemory,
        ram: c.Array[c.c_char],
        system_registers: SystemRegisterModels,
    ) -> None:
        self.engine = Engine(hooks, self, mmu_mode, memory.ram_base, ram, memory.dirty_pages)
        self.state = self.engine.state
        self.translation = TranslationUnit(self.engine, memory)
        self.system_registers = system_registers
        for key, action in system_registers.actions().items():
            # A register that Unicorn does not have arrives as an undefined instruction instead:
            # answered from its hook, Unicorn would execute the instruction for ever.
            if key in _INSTRUCTION_KEYS or self.engine.has_sysreg(key):
                self.engine.tables.actions[key] = action
        self._reset_registers()
        self.counts = CpuCounts(self.engine)
        """Kept by the hooks, and where exceptions are taken here."""
        self.hcr_el2 = 0
        self.lines = Lines()
        self.pc = 0
        self._ends_slice = False
        self.on_power_on: list[Callable[[], None]] = []
        """Called when the CPU starts anew."""
        self.on_power_off: list[Callable[[], None]] = []
        """Called when it switches itself off."""
        self.own_faults = OwnFaults()
        """What EL2 itself did wrong; no part of the CPU's state."""
        self.on_context: Callable[[], None] | None = None
        """Told of an exception from EL2 to EL2 or EL3: a context synchronisation event."""
        self.on_exception: Callable[[int, int, int, int, int], None] | None = None
        """Told of each exception that is taken here, and not by the hooks: EL from, EL to, kind,
        ESR, preferred return address."""

        e = self.engine
        self._x = e.batch([*reg.X, reg.SP])
        self._trap_registers = e.batch(
            [
                reg.HCR_EL2,
                reg.CPTR_EL2,
                reg.CPACR_EL1,
                reg.MDCR_EL2,
                reg.HSTR_EL2,
                reg.CNTHCTL_EL2,
                reg.CNTKCTL_EL1,
                reg.SCTLR_EL1,
                reg.PMUSERENR_EL0,
                reg.MDSCR_EL1,
            ]
        )
        self._sctlr = e.batch([reg.SCTLR_EL1, reg.SCTLR_EL2])
        self._pc_pstate = e.batch([reg.PC, reg.PSTATE])
        self._stops = CpuStops(self)
        self._par = e.batch([reg.PAR_EL1])
        e.save_power_on()
        self.access = CpuAccess(self)
        """Its registers, while it is stopped."""

    def _reset_registers(self) -> None:
        """The reset values that Unicorn leaves zero."""
        for register in sysregs.SYSREGS:
            if register.model is sysregs.Model.NATIVE and register.reset:
                encoding = reg.SystemRegister(register.name, *register.encoding)
                if self.engine.read_if_present(encoding) == 0:
                    self.engine.write(encoding, register.reset)
        self.engine.write(reg.VMPIDR_EL2, self.system_registers.mpidr)

    # What the engine asks (EngineClient).

    def fill_tlb(self, va: int, access: int, el: int, entry: TlbEntry) -> bool:
        """A TLB fill, decided by the MMU model."""
        return self.translation.fill(va, access, el, entry)

    def find_fault(self, va: int, fill: Fill) -> bool:
        """What the MMU model says of an access that Unicorn's walker refuses."""
        return self.translation.find_fault(va, fill)

    def read_sysreg(self, key: int) -> int | None:
        """MRS or SYSL of a modelled register."""
        value = self.system_registers.read(self, key)
        if value is not None and self.system_registers.is_constant(key):
            self.engine.tables.keep_answer(key, value)
        return value

    def write_sysreg(self, key: int, value: int) -> bool:
        """MSR or SYS of a modelled register."""
        return self.system_registers.write(self, key, value)

    # What the machine sees.

    @property
    def retired(self) -> int:
        """Instructions retired since reset."""
        return int(self.state.retired)

    def now(self) -> int:
        """Retired instructions at this very instruction, inside a system-register access."""
        return self.engine.position(self._pc_pstate.read()[0])

    def set_lines(self, lines: Lines) -> None:
        """Set the interrupt inputs. Effective at the next block boundary."""
        self.lines = lines
        apply_lines(self.state, lines, self.hcr_el2)

    def set_deadline(self, instructions: int | None, *, ends_slice: bool = False) -> None:
        """Stop at the first block boundary at or past this many retired instructions.

        `ends_slice`: other CPUs run then. The end is put off, by a few blocks at most, while a
        store exclusive is due.
        """
        state = self.state
        state.deadline = NEVER if instructions is None else min(max(instructions, 0), NEVER)
        state.guard_exclusive = ends_slice and state.peer_count != 0
        self._ends_slice = ends_slice

    def shorten_deadline(self, instructions: int) -> None:
        """The slice that runs ends already here, if it does not stop before for another reason."""
        if instructions <= self.state.deadline:
            self.set_deadline(instructions, ends_slice=True)

    def set_peek(self, instruction: int | None) -> None:
        """Stop before the block in which this instruction is, counted from 0 at reset; and before
        the instruction itself, where it is hooked by `aether_on_peeked`."""
        self.state.peek_at = NEVER if instruction is None else max(instruction, 0)

    def begin_slice(self) -> None:
        """Other CPUs have run."""
        self.state.extended = self.state.exclusive_open = 0

    @property
    def slice_ended(self) -> bool:
        """Whether the deadline reached last was the end of a slice."""
        return self._ends_slice

    def end_slice(self) -> None:
        """Others run now: what they store must fail a store exclusive of this CPU."""
        state = self.state
        # At a deadline that ends a slice the hooks have looked at the monitor.
        looked = state.reason == StopReason.DEADLINE and state.guard_exclusive
        if state.exclusive_open if looked else state.peer_count:
            self.engine.monitor.clear()

    def request_attention(self) -> None:
        """Stop at the next block boundary."""
        self.state.attention |= LOOK

    def wakes(self) -> bool:
        """Whether a WFI would end now."""
        lines = self.lines
        return wakes_wfi(
            lines.pending_at(self.hcr_el2),
            el=int(self.state.el),
            irq=lines.irq,
            fiq=lines.fiq,
            serror=lines.serror,
        )

    def registers(self) -> list[int]:
        """X0-X30 and SP."""
        return self._x.read()

    def system_register(self, register: sysregs.SysReg) -> int | None:
        """What an MRS at EL2 would read, without its effects; None where only MRS can tell."""
        encoding = reg.SystemRegister(register.name, *register.encoding)
        kept = self.system_registers.stored.get(encoding.key)
        native = self.engine.read_if_present(encoding)
        if self.system_registers.has_hidden_bits(encoding.key):
            return (native or 0) | (kept or 0)
        return native if kept is None else kept

    def write_x(self, values: dict[int, int]) -> None:
        """Write general-purpose registers by number."""
        for number, value in values.items():
            self.access.write_x(number, value)

    def go_to(self, pc: int) -> None:
        """The next instruction is at `pc`, whatever was due before."""
        self.pc = pc
        self.state.pass_pc = NEVER
        self.state.is_deferred = 0
        self._stops.deferred = None

    def instructions_by_el(self) -> tuple[int, int, int]:
        """Retired instructions at EL0, EL1 and EL2."""
        return self.counts.instructions_by_el()

    def collect_exit(self) -> None:
        """Take over what the hooks noted of the stays at EL2."""
        self.counts.collect_exit()

    @property
    def exits(self) -> ExitStatistics:
        """The stays at EL2 up to now."""
        self.counts.collect_exit()
        return self.counts.exits

    @property
    def exception_counts(self) -> dict[tuple[int, int, str], int]:
        """How many exceptions were taken, by EL from, EL to, and kind."""
        return self.counts.exceptions()

    @property
    def timelines(self) -> dict[int, tuple[int, int]]:
        """By VMID: the hash over (PC, counter) of every entry to and exit from that VM's vCPUs on
        this CPU, and how many there were."""
        return self.counts.timelines()

    def close(self) -> None:
        """Give the engine's memory back."""
        self.engine.close()

    def save(self) -> CpuState:
        """Its whole state, while it is stopped."""
        self.collect_exit()
        stored, timer_access = self.system_registers.save()
        return CpuState(
            self.engine.save(),
            self.translation.save(),
            stored,
            timer_access,
            self.pc,
            self.hcr_el2,
            self.lines,
            self._ends_slice,
            self._stops.deferred,
            self.counts.exits.save(),
        )

    def restore(self, state: CpuState) -> None:
        """Become what was saved, of this CPU or of one built alike."""
        self.engine.restore(state.engine)
        self.translation.restore(state.translation)
        self.system_registers.restore(state.stored, state.timer_access)
        self.pc = state.pc
        self.hcr_el2 = state.hcr_el2
        self.lines = state.lines
        self._ends_slice = state.ends_slice
        self._stops.deferred = state.deferred
        self.counts.exits.restore(state.exits)

    def power_on(self, pc: int, x0: int) -> None:
        """Start anew, as from reset, after having been switched off."""
        self.counts.switched_on()
        self.state.pass_pc = NEVER
        self.engine.power_on()
        self.system_registers.reset()
        self.reset(pc, x0)
        for tell in self.on_power_on:
            tell()

    def reset(self, pc: int, x0: int) -> None:
        """Start at PA `pc`, at EL2, with `x0` in X0 (the DTB's PA by the boot protocol)."""
        self.pc = pc
        self.engine.write(reg.X[0], x0)
        self.counts.begin()
        self.translation.registers_changed()
        self.controls_changed()

    def run(self) -> CpuEvent:
        """Run until something concerns the machine. Exceptions are taken on the way."""
        models = self.system_registers
        self.state.counter_skipped = models.clock.skipped
        self.state.instructions_per_tick = models.clock.instructions_per_tick
        self.state.virtual_offset = models.timer.virtual_offset
        if self.state.tlb_flush_due:
            self.state.tlb_flush_due = 0
            self.engine.flush_tlb()
        while True:
            stop = self.engine.run(self.pc)
            self.pc = stop.pc
            event = self._stops.handle(stop)
            if event is not None:
                if event is CpuEvent.FIRMWARE and self.state.el == 2 and self.on_context:
                    self.on_context()
                return event

    # What the register models ask (system_registers.Core).

    @property
    def current_el(self) -> int:
        """The current Exception level."""
        return int(self.state.el)

    def trap_controls(self) -> traps.TrapControls:
        """The registers that decide about traps, as they are now."""
        values, models = self._trap_registers.read(), self.system_registers
        values[0] |= models.hidden(reg.HCR_EL2)
        values[-1] |= models.hidden(reg.MDSCR_EL1)
        return traps.TrapControls(*values)

    def native(self, register: reg.SystemRegister) -> int:
        """A register as Unicorn has it."""
        return self.engine.read(register)

    def write_native(self, register: reg.SystemRegister, value: int) -> None:
        """Write a register that controls translation or traps, as MSR does."""
        self.engine.write(register, value)
        self.engine.flush_tlb()
        self.translation.registers_changed(of_el2=register.op1 == 4 and register.crm != 1)
        self.state.attention |= CONTROLS

    def interrupt_inputs(self) -> tuple[bool, bool, bool]:
        """IRQ, FIQ and SError lines."""
        return self.lines.irq, self.lines.fiq, self.lines.serror

    def virtual_inputs(self) -> tuple[bool, bool, bool]:
        """Virtual IRQ and FIQ lines; there is none for a virtual SError."""
        return self.lines.virq, self.lines.vfiq, False

    def translate_address(self, operation: mmu_at.AtOperation, va: int) -> int | None:
        """PAR_EL1 after an AT instruction; None where it takes a data abort instead, which follows
        at the next block boundary: an AT ends its block."""
        result = self.translation.address_translate(operation, va, self.current_el)
        if isinstance(result, int):
            return result
        context = self._stops.context(self._pc_pstate.read()[0])
        access = sync.MemoryAccess(
            va, 1, operation.access, self.current_el, a64.decode(context.word or 0)
        )
        abort = sync.translation_abort(context, access, va, result)
        self._stops.defer(abort, self.now())
        return None

    def write_par(self, value: int) -> None:
        """Write PAR_EL1."""
        self._par.write([value])

    # What its stops need (CpuStops).

    def sctlr_of(self, el: int) -> int:
        """SCTLR_ELx of the regime of `el`."""
        sctlr_el1, sctlr_el2 = self._sctlr.read()
        return sctlr_el2 if el == 2 else sctlr_el1

    def controls_changed(self) -> None:
        """Work out again what follows from the control registers."""
        controls = self.trap_controls()
        self.hcr_el2 = controls.hcr_el2
        sctlr = (self.sctlr_of(1), self.sctlr_of(2))
        apply_controls(self.state, controls, sctlr)
        self.engine.tables.forget_answers()
        self.system_registers.controls_changed()
        self.set_lines(self.lines)
