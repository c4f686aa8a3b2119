# SPDX-License-Identifier: Apache-2.0
"""The Unicorn engine: what works around Unicorn is here, each work-around with its reason.

The engine runs instructions and reports why it stopped; it takes no exception, walks no table and
knows no device. What it cannot decide it asks its `EngineClient`.
"""

import ctypes as c
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Protocol, TypeVar

import numpy as np
import unicorn
from unicorn import arm64_const, unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.context import Context, ExclusiveMonitor
from aether_edgecloud.emulator.cpu.engine_state import EngineBuffers, EngineState
from aether_edgecloud.emulator.cpu.hooks import (
    BLOCK_SLOTS,
    BLOCK_UNPRIVILEGED,
    CODE_LINES,
    EXIT_RECORDS,
    FAULT_MODEL_FN,
    FILL_MODEL_FN,
    KEPT_ANSWERS,
    KEPT_FAULTS,
    NEVER,
    SYSREG_KEYS,
    SYSREG_MODEL_FN,
    CpReg,
    ExitRecord,
    HookState,
    KeptAnswer,
    KeptFault,
    StopReason,
    Tlb,
    TlbEntry,
    WatchedBlock,
)
from aether_edgecloud.emulator.errors import EmulatorFault

# Reading a register that it does not have is an error only if this is set when Unicorn looks.
os.environ.setdefault("UC_IGNORE_REG_BREAK", "1")

PAGE_SIZE = 4096
LINE_SIZE = 64
_LIB = binding.uclib
_WRITE_CONTROL = 1 << 30
_CTL_TLB_FLUSH = unicorn_const.UC_CTL_TLB_FLUSH | _WRITE_CONTROL
_CTL_TB_FLUSH = unicorn_const.UC_CTL_TB_FLUSH | _WRITE_CONTROL
_CTL_TB_REMOVE_CACHE = (
    unicorn_const.UC_CTL_TB_REMOVE_CACHE | _WRITE_CONTROL | 2 << 26  # number of arguments
)
_MASK64 = (1 << 64) - 1
T = TypeVar("T")


class MmuMode(Enum):
    """Who decides a translation."""

    MODEL = "model"  # every TLB fill asks the client
    NATIVE = "native"  # Unicorn's own walker


class Fill(IntEnum):
    """Kind of access that missed in the TLB (`uc_mem_type`)."""

    READ = unicorn_const.UC_MEM_READ
    WRITE = unicorn_const.UC_MEM_WRITE
    FETCH = unicorn_const.UC_MEM_FETCH


class ExceptionNumber(IntEnum):
    """Unicorn's number of a synchronous exception. PC is past the instruction for SVC, HVC and SMC,
    on it otherwise."""

    UNDEFINED = 1
    SVC = 2
    PREFETCH_ABORT = 3
    DATA_ABORT = 4
    BREAKPOINT = 7
    HVC = 11
    HYP_TRAP = 12
    SMC = 13


class EngineEnd(Enum):
    """What ended a call of `Engine.run`."""

    STOPPED = "stopped"  # a hook did, see `reason`
    WAIT = "wait"  # WFI; PC is past it
    ABORT = "abort"  # an access that no translation or no memory answers; see `fill`


@dataclass(frozen=True, slots=True)
class EngineStop:
    """Why the engine stopped, and where.

    `pc` is a VA. `fill` tells of the access of an ABORT.
    `physical` is set when translation succeeded and nothing answered at that PA.
    """

    end: EngineEnd
    reason: StopReason
    pc: int
    exception: int = 0
    fill: Fill = Fill.READ
    physical: int | None = None


class HookProvider(Protocol):
    """Where the hooks come from: `HookLibrary`, or its Python twin."""

    def address(self, name: str) -> int:
        """Address of the C callback `name`."""


class EngineClient(Protocol):
    """What the engine asks of its owner while it runs."""

    def fill_tlb(self, va: int, access: int, el: int, entry: TlbEntry) -> bool:
        """Translate the page at `va` into `entry` for an access (`Fill`) from `el`; False for a
        fault."""

    def find_fault(self, va: int, fill: Fill) -> bool:
        """Put the fault of an access in the engine's state; False if there is none, or not one that
        a few numbers describe."""

    def read_sysreg(self, key: int) -> int | None:
        """Value of a modelled register, or None to leave the access to Unicorn."""

    def write_sysreg(self, key: int, value: int) -> bool:
        """Write a modelled register; False leaves the access to Unicorn."""


_UNMAPPED_FN = c.CFUNCTYPE(
    c.c_bool, c.c_void_p, c.c_int, c.c_uint64, c.c_int, c.c_int64, c.c_void_p
)
_RUN_FN = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.POINTER(HookState), c.c_uint64)
_SETTLE_FN = c.CFUNCTYPE(c.c_uint32, c.c_void_p, c.POINTER(HookState))
_FOLD_FN = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(HookState), c.c_uint64)
_TLB_CLEAR_FN = c.CFUNCTYPE(None, c.POINTER(HookState))
_TLB_RESTORE_FN = c.CFUNCTYPE(
    None, c.POINTER(HookState), c.c_char_p, c.c_uint32, c.c_char_p, c.c_uint32
)
_MMIO_READ_FN = c.CFUNCTYPE(c.c_uint64, c.c_void_p, c.c_uint64, c.c_uint, c.c_void_p)
_MMIO_WRITE_FN = c.CFUNCTYPE(None, c.c_void_p, c.c_uint64, c.c_uint, c.c_uint64, c.c_void_p)

_UNMAPPED_FILL = {
    unicorn_const.UC_MEM_READ_UNMAPPED: Fill.READ,
    unicorn_const.UC_MEM_WRITE_UNMAPPED: Fill.WRITE,
    unicorn_const.UC_MEM_FETCH_UNMAPPED: Fill.FETCH,
}


def all_pages(ram_size: int) -> c.Array[c.c_uint8]:
    """A byte for each page of RAM, none of them 0."""
    count = ram_size // PAGE_SIZE
    return (c.c_uint8 * count).from_buffer(bytearray(b"\1" * count))


class RegisterBatch:
    """A fixed set of registers read or written in one call, through buffers allocated once.

    One call of Unicorn's batch interface costs about as much as one single register access.
    """

    def __init__(self, handle: c.c_void_p, registers: Sequence[reg.Register]) -> None:
        self._handle = handle
        self._count = len(registers)
        self._numbers = (c.c_int * self._count)()
        self._pointers = (c.c_void_p * self._count)()
        self._cells: list[Any] = []
        for i, register in enumerate(registers):
            cell: Any
            if isinstance(register, reg.SystemRegister):
                cell = CpReg(
                    register.crn, register.crm, register.op0, register.op1, register.op2, 0
                )
                self._numbers[i] = arm64_const.UC_ARM64_REG_CP_REG
                self._cells.append(cell)
            else:
                cell = c.c_uint64()
                self._numbers[i] = register.number
                self._cells.append(cell)
            self._pointers[i] = c.addressof(cell)

    def read(self) -> list[int]:
        """The registers' values, in the order given."""
        status = _LIB.uc_reg_read_batch(self._handle, self._numbers, self._pointers, self._count)
        if status:
            raise unicorn.UcError(status)
        return [cell.value for cell in self._cells]

    def write(self, values: Sequence[int]) -> None:
        """Write all registers, first to last."""
        for cell, value in zip(self._cells, values, strict=True):
            cell.value = value & _MASK64
        status = _LIB.uc_reg_write_batch(self._handle, self._numbers, self._pointers, self._count)
        if status:
            raise unicorn.UcError(status)


class Engine:
    """One Unicorn engine at EL2, over RAM that the caller owns.

    Parameters: `hooks` the hot paths; `mmu` who translates; `ram_base` (PA) and `ram`, a
    writable buffer of whole pages, `dirty_pages` one byte for each of them, in model mode not 0
    once it may have been written; `client` see `EngineClient`.
    """

    def __init__(
        self,
        hooks: HookProvider,
        client: EngineClient,
        mmu: MmuMode,
        ram_base: int,
        ram: c.Array[c.c_char],
        dirty_pages: c.Array[c.c_uint8] | None = None,
        cpu_model: int = arm64_const.UC_CPU_ARM64_A72,
    ) -> None:
        self.mmu = mmu
        self._client = client
        self._failure: BaseException | None = None
        self._callbacks: list[object] = []
        self._unmapped: tuple[Fill, int] | None = None

        self._uc = unicorn.Uc(unicorn_const.UC_ARCH_ARM64, unicorn_const.UC_MODE_ARM)
        # The default page is 1 KiB: a TLBI by VA would then drop a quarter of the page it names.
        self._uc.ctl_set_page_size(PAGE_SIZE)
        self._uc.ctl_set_cpu_model(cpu_model)
        # Without this, `until` of emu_start is an address that ends the run when it is reached.
        self._uc.ctl_exits_enabled(True)
        self.handle = self._uc._uch
        if mmu is MmuMode.MODEL:
            self._uc.ctl_set_tlb_mode(unicorn_const.UC_TLB_VIRTUAL)
        self._ram = ram
        status = _LIB.uc_mem_map_ptr(
            self.handle,
            c.c_uint64(ram_base),
            c.c_uint64(len(ram)),
            c.c_uint32(unicorn_const.UC_PROT_ALL),
            c.c_void_p(c.addressof(ram)),
        )
        if status:
            raise unicorn.UcError(status)

        self.state = HookState()
        self.actions = (c.c_uint8 * SYSREG_KEYS)()
        self._block_flags = (c.c_uint8 * BLOCK_SLOTS)()
        self._peers: tuple[HookState, ...] = ()
        self._context, self._power_on = Context(self.handle), Context(self.handle)
        self.monitor = ExclusiveMonitor(self._context, cpu_model)
        self.state.context = self._context.address
        self.state.exclusive_offset = self.monitor.offset
        self._exits = (ExitRecord * EXIT_RECORDS)()
        self._kept = (KeptAnswer * KEPT_ANSWERS)()
        self._kept_faults = (KeptFault * KEPT_FAULTS)()
        self._tlb = Tlb()
        self.filled = TlbEntry()
        self._watched = (WatchedBlock * BLOCK_SLOTS)()
        self._covered: set[int] = set()
        self.hook_barriers: Callable[[], None] = lambda: None
        """Called at a stop for OBSERVE; an observation's."""
        self.measure_block: Callable[[], None] = lambda: None
        """Called at a stop for MEASURE; a full trace's."""
        self.on_hook: Callable[[], None] = lambda: None
        """Called when a hook is added: blocks with it may end elsewhere. A full trace's."""
        self._executed = (c.c_uint8 * (len(ram) // LINE_SIZE))()
        self._code_pages = (c.c_uint8 * (len(ram) // PAGE_SIZE))()
        self.constant_code = range(0)
        """Pages, numbered from the start of RAM, that nobody writes after they have been executed:
        maintenance of all code leaves what is translated of them."""
        self._dirty_pages = dirty_pages or all_pages(len(ram))
        self._bind_state(ram_base, len(ram))
        self.hooks = hooks
        self._run = _RUN_FN(hooks.address("aether_run"))
        self._settle_el = _SETTLE_FN(hooks.address("aether_settle_el"))
        self._fold = _FOLD_FN(hooks.address("aether_fold"))
        self._tlb_clear = _TLB_CLEAR_FN(hooks.address("aether_tlb_clear"))
        self._buffers: EngineBuffers | None = None
        self._install_hooks()
        self._pc_pstate = self.batch([reg.PC, reg.PSTATE])
        self._enter_el2()

    def close(self) -> None:
        """Give Unicorn's memory back. The engine is of no use afterwards."""
        self._callbacks.clear()
        self._context.free()
        self._power_on.free()
        del self._uc

    def save(self) -> EngineState:
        """Its whole state, translated code apart. Never inside a callback."""
        return self._saved_buffers().save()

    def restore(self, state: EngineState) -> None:
        """Become what was saved, of this engine or of one built alike, except that translated code
        stays. Never inside a callback."""
        self._saved_buffers().restore(state)
        self.flush_tlb()

    def _saved_buffers(self) -> EngineBuffers:
        if self._buffers is None:
            restore_tlb = _TLB_RESTORE_FN(self.hooks.address("aether_tlb_restore"))
            self._buffers = EngineBuffers(
                self.state, self._context, self._tlb, restore_tlb, (self._kept, self._kept_faults)
            )
        return self._buffers

    def set_peers(self, peers: Sequence[HookState]) -> None:
        """The other CPUs' engines, which take part in what this one broadcasts."""
        self._peers = tuple(peers)
        for i, peer in enumerate(self._peers):
            self.state.peers[i] = c.addressof(peer)
        self.state.peer_count = len(self._peers)

    def save_power_on(self) -> None:
        """Take the CPU's state now for that which `power_on` makes."""
        self._power_on.save()

    def power_on(self) -> None:
        """Put the CPU back into the state of `save_power_on`, its TLB empty."""
        self._power_on.restore()
        self.flush_tlb()
        self.clear_tlb()

    def batch(self, registers: Sequence[reg.Register]) -> RegisterBatch:
        """A reusable batch over `registers`."""
        return RegisterBatch(self.handle, registers)

    def read(self, register: reg.Register) -> int:
        """Read one register."""
        return self.batch([register]).read()[0]

    def write(self, register: reg.Register, value: int) -> None:
        """Write one register."""
        self.batch([register]).write([value])

    def read_if_present(self, register: reg.Register) -> int | None:
        """Read one register; None if Unicorn does not have it."""
        try:
            return self.read(register)
        except unicorn.UcError:
            return None

    def has_sysreg(self, key: int) -> bool:
        """Whether Unicorn has a register at this encoding."""
        fields = (key >> 14 & 3, key >> 11 & 7, key >> 7 & 15, key >> 3 & 15, key & 7)
        return self.read_if_present(reg.SystemRegister("", *fields)) is not None

    def read_vectors(self) -> list[str]:
        """V0-V31, 128 bits each, in hexadecimal."""
        return [f"{self._uc.reg_read(register.number):#x}" for register in reg.V]

    def write_pstate(self, pstate: int) -> None:
        """Set PSTATE. Unicorn rebuilds its translation flags only at a system-register write."""
        tpidr = self.read(reg.TPIDR_EL0)
        self.batch([reg.PSTATE, reg.TPIDR_EL0]).write([pstate, tpidr])

    def map_device(
        self,
        base: int,
        size: int,
        read: Callable[[int, int], int],
        write: Callable[[int, int, int], None],
    ) -> None:
        """Map a device window at PA `base`: `read(offset, size)`, `write(offset, size, value)`."""

        def on_read(_uc: int, offset: int, width: int, _user: int) -> int:
            return self._guard(lambda: read(offset, width), 0)

        def on_write(_uc: int, offset: int, width: int, value: int, _user: int) -> None:
            self._guard(lambda: write(offset, width, value), None)

        read_fn, write_fn = _MMIO_READ_FN(on_read), _MMIO_WRITE_FN(on_write)
        self._callbacks += [read_fn, write_fn]
        status = _LIB.uc_mmio_map(
            self.handle, c.c_uint64(base), c.c_size_t(size), read_fn, None, write_fn, None
        )
        if status:
            raise unicorn.UcError(status)

    def fold(self, pc: int) -> None:
        """An exception taken to EL2 from `pc` below: an event of that VM's timeline."""
        self._fold(self.handle, c.byref(self.state), pc)

    def take_exits(self) -> list[tuple[int, int]]:
        """What happened to the stays at EL2 since the last call: (kind, instructions)."""
        records = [(r.kind, r.instructions) for r in self._exits[: self.state.exit_count]]
        self.state.exit_count = 0
        return records

    def note_exit(self, kind: int) -> None:
        """An exception of `kind` was taken to EL2 from below."""
        self._exits[self.state.exit_count] = ExitRecord(kind, 0)
        self.state.exit_count += 1

    def keep_answer(self, key: int, value: int) -> None:
        """Reads of this register at the current EL give `value` until `forget_answers`."""
        slot = self._kept[key % KEPT_ANSWERS]
        slot.value, slot.tag = value, key << 8 | self.state.el << 1 | 1

    def forget_answers(self) -> None:
        """Control registers have changed: traps may apply that did not."""
        c.memset(self._kept, 0, c.sizeof(self._kept))

    def clear_tlb(self) -> None:
        """Drop every translation that is kept, and Unicorn's."""
        self._tlb_clear(c.byref(self.state))
        self.state.epoch += 1
        self.state.stage2_changed = 1
        self.flush_tlb()

    def flush_tlb(self) -> None:
        """Drop all translations of addresses. Allowed inside a callback."""
        _LIB.uc_ctl(self.handle, c.c_int(_CTL_TLB_FLUSH))

    def flush_code(self) -> None:
        """Drop all translated code. Never inside a callback: Unicorn would run freed code."""
        _LIB.uc_ctl(self.handle, c.c_int(_CTL_TB_FLUSH))
        c.memset(self._executed, 0, len(self._executed))
        c.memset(self._code_pages, 0, len(self._code_pages))
        self.flush_tlb()
        self.state.code_changed = self.state.code_line_count = 0
        self.state.code_flushes += 1

    def drop_changed_code(self) -> None:
        """Drop translated code where instruction cache maintenance was done. Never inside a
        callback."""
        state = self.state
        if state.code_line_count > CODE_LINES and self.constant_code:
            state.code_changed = state.code_line_count = 0
            pages = np.flatnonzero(np.frombuffer(memoryview(self._code_pages), np.uint8)).tolist()
            self.drop_pages([page for page in pages if page not in self.constant_code])
            return
        if state.code_line_count > CODE_LINES:
            self.flush_code()
            return
        lines = sorted(set(state.code_lines[: state.code_line_count]))
        state.code_changed = state.code_line_count = 0
        self._drop_physical([line * LINE_SIZE for line in lines], LINE_SIZE)
        for line in lines:
            self._executed[line] = 0

    def code_in(self, pages: Sequence[int]) -> list[int]:
        """Those of these pages, numbered from the start of RAM, that have translated code."""
        code = self._code_pages
        return [page for page in pages if code[page]]

    def drop_pages(self, pages: Sequence[int]) -> None:
        """Drop translated code of pages, numbered from the start of RAM. Never inside a
        callback."""
        if not pages:
            return
        self._drop_physical([page * PAGE_SIZE for page in pages], PAGE_SIZE)
        lines = PAGE_SIZE // LINE_SIZE
        for page in pages:
            self._code_pages[page] = 0
            c.memset(c.addressof(self._executed) + page * lines, 0, lines)

    def _drop_physical(self, offsets: Sequence[int], size: int) -> None:
        """Drop what is translated of so many bytes at each offset into RAM."""
        state = self.state
        # Unicorn drops code by VA only, of what can be fetched: let VAs be PAs meanwhile. Without
        # a hook for its fills, that is what its virtual TLB does.
        state.is_identity = 1
        self._uc.ctl_set_tlb_mode(unicorn_const.UC_TLB_VIRTUAL)
        self.flush_tlb()
        for offset in offsets:
            pa = state.ram_base + offset
            self.drop_code(pa, pa + size)
        if self.mmu is MmuMode.NATIVE:
            self._uc.ctl_set_tlb_mode(unicorn_const.UC_TLB_CPU)
        state.is_identity = 0
        self.flush_tlb()

    def keep_fault(self, fault: KeptFault) -> None:
        """Keep a fault: it stands while its descriptor is as it is, until maintenance."""
        fault.epoch, fault.is_valid = self.state.epoch, 1
        self._kept_faults[(fault.page >> 12 ^ fault.access) % KEPT_FAULTS] = fault

    def fetch_word(self, va: int) -> int | None:
        """The instruction at `va` in the current translation; None if it cannot be fetched."""
        word = c.c_uint32()
        status = _LIB.uc_vmem_read(
            self.handle,
            c.c_uint64(va),
            c.c_uint32(unicorn_const.UC_PROT_EXEC),
            c.byref(word),
            c.c_size_t(4),
        )
        return None if status else word.value

    def block_may_be_unprivileged(self) -> bool:
        """Whether the block that runs has an LDTR or STTR."""
        flags = self._block_flags[(self.state.block_pc >> 2) % BLOCK_SLOTS]
        return bool(flags & BLOCK_UNPRIVILEGED)

    def position(self, pc: int) -> int:
        """Retired instructions at `pc`, an address in the block that runs."""
        state = self.state
        offset: int = (pc - state.block_pc) >> 2
        if 0 <= offset <= state.block_instructions:
            return int(state.retired + offset)
        return int(state.retired)

    def run(self, pc: int) -> EngineStop:
        """Run from `pc` until something needs a decision. Re-raises what a callback raised."""
        state = self.state
        state.reason = StopReason.NONE
        self._unmapped = None
        status = self._run(self.handle, c.byref(state), pc)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        pc = int(state.stop_pc)
        reason = StopReason(state.reason)
        if status == unicorn_const.UC_ERR_OK:
            if reason is StopReason.NONE:
                self._settle(pc, whole_block=True)
                return EngineStop(EngineEnd.WAIT, reason, pc)
            prefetch = state.exception == ExceptionNumber.PREFETCH_ABORT
            if reason is StopReason.EXCEPTION:
                self._settle(pc, whole_block=prefetch)
            elif reason in (StopReason.WATCHED, StopReason.PEEK):
                self._settle(pc, whole_block=False)
            return EngineStop(EngineEnd.STOPPED, reason, pc, exception=state.exception)
        if self._unmapped is not None:
            fill, physical = self._unmapped
            self._settle(pc, whole_block=fill is Fill.FETCH)
            return EngineStop(EngineEnd.ABORT, reason, pc, fill=fill, physical=physical)
        if status == unicorn_const.UC_ERR_FETCH_PROT:
            # A device window; with its own walker Unicorn refuses it only here.
            self._settle(pc, whole_block=True)
            return EngineStop(EngineEnd.ABORT, reason, pc, fill=Fill.FETCH)
        if status == unicorn_const.UC_ERR_EXCEPTION:
            fill = Fill(state.fault_access)
            self._settle(pc, whole_block=fill is Fill.FETCH)
            return EngineStop(EngineEnd.ABORT, reason, pc, fill=fill)
        raise EmulatorFault(f"Unicorn fails at {pc:#x}: {unicorn.UcError(status)}")

    def watch_block(self) -> None:
        """Watch the block of the last WATCH stop instruction by instruction from now on.

        Unicorn never raises some exceptions (SP alignment, FP and WFE traps, a few register
        traps). Blocks in which one may be due get a hook before each instruction.
        """
        pc, end = self.state.watch_pc, self.state.watch_pc + self.state.watch_size
        slot = self._watched[(pc >> 2) % BLOCK_SLOTS]
        slot.pc, slot.end = pc, end
        missing = [at for at in range(pc, end, 4) if at not in self._covered]
        if missing:
            self._covered.update(missing)
            self.hook(unicorn_const.UC_HOOK_CODE, "aether_on_watched", missing[0], missing[-1] + 3)
            self.drop_code(pc, end)

    def drop_code(self, start: int, end: int) -> None:
        """Drop what is translated of [start, end), VAs that can be fetched. Never in a callback."""
        for page in range(start & -PAGE_SIZE, end, PAGE_SIZE):
            first, last = max(start, page), min(end, page + PAGE_SIZE)
            control = c.c_int(_CTL_TB_REMOVE_CACHE)
            _LIB.uc_ctl(self.handle, control, c.c_uint64(first), c.c_uint64(last))

    def _settle(self, pc: int, whole_block: bool) -> None:
        """Account for the block that was left: all of it, or its instructions before `pc`."""
        state = self.state
        if whole_block:
            state.retired += state.block_instructions
            if state.after_eret:
                # The ERET's target could not be fetched: no block hook has looked at the EL.
                self._settle_el(self.handle, c.byref(state))
        else:
            state.retired = self.position(pc)
        state.block_instructions = 0

    def _guard(self, call: Callable[[], T], default: T) -> T:
        """Run a callback's body; keep what it raises, since C cannot carry it, and stop soon."""
        try:
            return call()
        except BaseException as error:  # re-raised by run()
            self.fail(error)
            return default

    def fail(self, error: BaseException) -> None:
        """End the run soon; it raises `error`."""
        if self._failure is None:
            self._failure = error
        self.state.attention |= 1
        _LIB.uc_emu_stop(self.handle)

    def _bind_state(self, ram_base: int, ram_size: int) -> None:
        state = self.state
        state.deadline = NEVER
        state.el = 2
        state.ram_base, state.ram_size = ram_base, ram_size
        state.ram = c.addressof(self._ram)
        state.executed_lines = c.addressof(self._executed)
        state.code_pages = c.addressof(self._code_pages)
        state.dirty_pages = c.addressof(self._dirty_pages)
        state.sysreg_actions = c.addressof(self.actions)
        state.block_flags = c.addressof(self._block_flags)
        state.watched = c.addressof(self._watched)
        state.kept_faults = c.addressof(self._kept_faults)
        state.pass_pc = state.peek_at = NEVER
        model = SYSREG_MODEL_FN(self._on_sysreg)
        self._callbacks.append(model)
        state.sysreg_model = c.cast(model, c.c_void_p).value
        fault = FAULT_MODEL_FN(self._on_fault)
        self._callbacks.append(fault)
        state.fault_model = c.cast(fault, c.c_void_p).value
        fill = FILL_MODEL_FN(self._on_fill)
        self._callbacks.append(fill)
        state.fill_model = c.cast(fill, c.c_void_p).value
        state.tlb = c.addressof(self._tlb)
        state.filled = c.addressof(self.filled)
        for field, symbol in (
            ("reg_read", "uc_reg_read"),
            ("reg_write", "uc_reg_write"),
            ("emu_stop", "uc_emu_stop"),
            ("vmem_read", "uc_vmem_read"),
            ("vmem_translate", "uc_vmem_translate"),
            ("ctl", "uc_ctl"),
            ("context_save", "uc_context_save"),
            ("emu_start", "uc_emu_start"),
        ):
            setattr(state, field, c.cast(getattr(_LIB, symbol), c.c_void_p).value)
        state.reg_pstate = arm64_const.UC_ARM64_REG_PSTATE
        state.reg_pc = arm64_const.UC_ARM64_REG_PC
        state.reg_sp = arm64_const.UC_ARM64_REG_SP
        state.reg_cp = arm64_const.UC_ARM64_REG_CP_REG
        state.reg_x0, state.reg_x29 = reg.X[0].number, reg.X[29].number
        state.reg_sp_el0, state.reg_elr_el0 = reg.SP_BANK[0].number, reg.ELR[0].number
        state.reg_esr_el0, state.reg_far_el0 = reg.ESR[0].number, reg.FAR[0].number
        state.reg_vbar_el0 = reg.VBAR[0].number
        state.exits, state.kept = c.addressof(self._exits), c.addressof(self._kept)
        state.is_native = self.mmu is MmuMode.NATIVE
        state.instructions_per_tick = 1
        state.ctl_flush_tlb = _CTL_TLB_FLUSH
        state.ctl_drop_code = _CTL_TB_REMOVE_CACHE
        # The edge hook misses the very first block: look at EL after it in any case.
        state.after_eret = 1

    def _install_hooks(self) -> None:
        self.hook(unicorn_const.UC_HOOK_BLOCK, "aether_on_block")
        self.hook(unicorn_const.UC_HOOK_EDGE_GENERATED, "aether_on_new_block")
        self.hook(unicorn_const.UC_HOOK_INTR, "aether_on_exception")
        # Some undefined instructions arrive here and not as an exception: both are needed.
        self.hook(unicorn_const.UC_HOOK_INSN_INVALID, "aether_on_undefined")
        for instruction, name in (
            (arm64_const.UC_ARM64_INS_MRS, "aether_on_mrs"),
            (arm64_const.UC_ARM64_INS_MSR, "aether_on_msr"),
            (arm64_const.UC_ARM64_INS_SYS, "aether_on_msr"),
            (arm64_const.UC_ARM64_INS_SYSL, "aether_on_mrs"),
        ):
            self.hook(unicorn_const.UC_HOOK_INSN, name, 1, 0, instruction)
        unmapped = _UNMAPPED_FN(self._on_unmapped)
        # Over RAM such a hook would keep every store on Unicorn's slow path.
        state = self.state
        below, above = state.ram_base - 1, state.ram_base + state.ram_size
        self._hook_python(unicorn_const.UC_HOOK_MEM_UNMAPPED, unmapped, 0, below)
        self._hook_python(unicorn_const.UC_HOOK_MEM_UNMAPPED, unmapped, above, _MASK64)
        if self.mmu is MmuMode.MODEL:
            self.hook(unicorn_const.UC_HOOK_TLB_FILL, "aether_on_fill")

    def hook(self, kind: int, name: str, begin: int = 1, end: int = 0, *extra: int) -> int:
        """Install the C callback `name` over [begin, end], over everything by default. Returns a
        handle for `unhook`."""
        self.on_hook()
        address = self.hooks.address(name)
        return self._add_hook(kind, address, c.addressof(self.state), begin, end, *extra)

    def hook_instruction(self, name: str, va: int) -> int:
        """Install the C callback `name` before the instruction at `va`, that can be fetched. Never
        in a callback. Returns a handle for `unhook`."""
        handle = self.hook(unicorn_const.UC_HOOK_CODE, name, va, va + 3)
        self.drop_code(va, va + 4)
        return handle

    def hook_code(self, name: str, user: int) -> int:
        """Install the C callback `name` before every instruction that is translated from now on,
        `user` being its argument. Returns a handle for `unhook`."""
        kind = unicorn_const.UC_HOOK_CODE
        return self._add_hook(kind, self.hooks.address(name), user, 1, 0)

    def unhook(self, handle: int) -> None:
        """Take a hook away, and the code that was translated with it. Never in a callback."""
        _LIB.uc_hook_del(self.handle, c.c_size_t(handle))

    def _hook_python(self, kind: int, callback: Any, begin: int = 1, end: int = 0) -> None:
        self._callbacks.append(callback)
        address = c.cast(callback, c.c_void_p).value
        assert address is not None
        self._add_hook(kind, address, 0, begin, end)

    def _add_hook(
        self, kind: int, address: int, user: int, begin: int, end: int, *extra: int
    ) -> int:
        handle = c.c_size_t()
        status = _LIB.uc_hook_add(
            self.handle,
            c.byref(handle),
            c.c_int(kind),
            c.c_void_p(address),
            c.c_void_p(user),
            c.c_uint64(begin),
            c.c_uint64(end),
            *[c.c_int(x) for x in extra],
        )
        if status:
            raise unicorn.UcError(status)
        return handle.value

    def _enter_el2(self) -> None:
        """EL2h, non-secure, AArch64 below, all masked: the state firmware hands over."""
        self.write_pstate(0x3C5)
        # Without NS, HCE and RW in SCR_EL3 Unicorn silently ignores EL2: it is Secure then.
        self.write(reg.SCR_EL3, 0x501)
        # An ERET to EL1 stays illegal unless HCR_EL2.RW was set once before EL2 is entered.
        self.write(reg.HCR_EL2, 1 << 31)
        self.write_pstate(0x3C9)
        self.write(reg.HCR_EL2, 0)

    def _on_fill(self, va: int, access: int, el: int) -> int:
        try:
            if self._client.fill_tlb(va, access, el, self.filled):
                return 1
        except BaseException as error:  # re-raised by run()
            self.fail(error)
        self.state.fault_access = access
        return 0

    def _on_fault(self, va: int, access: int) -> int:
        return self._guard(lambda: int(self._client.find_fault(va, Fill(access))), 0)

    def _on_unmapped(
        self, _uc: int, kind: int, pa: int, _size: int, _value: int, _user: int
    ) -> bool:
        self._unmapped = (_UNMAPPED_FILL[kind], pa)
        return False

    def _on_sysreg(self, key: int, rt: int, is_read: int, value: int) -> int:
        def body() -> int:
            if not is_read:
                return int(self._client.write_sysreg(key, value))
            answer = self._client.read_sysreg(key)
            if answer is None:
                return 0
            cell = c.c_uint64(answer & _MASK64)
            _LIB.uc_reg_write(self.handle, c.c_int(rt), c.byref(cell))
            return 1

        return self._guard(body, 1)
