# SPDX-License-Identifier: Apache-2.0
"""The Unicorn engine: what works around Unicorn is here, each work-around with its reason.

The engine runs instructions and reports why it stopped; it takes no exception, walks no table and
knows no device. What it cannot decide it asks its `EngineClient`.
"""

import ctypes as c
import os
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol, TypeVar

import unicorn
from unicorn import arm64_const, unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.context import Context, ExclusiveMonitor
from aether_edgecloud.emulator.cpu.engine_state import EngineBuffers, EngineState
from aether_edgecloud.emulator.cpu.engine_stop import EngineEnd, EngineStop, ExceptionNumber, Fill
from aether_edgecloud.emulator.cpu.hook_tables import CTL_TLB_FLUSH, HookTables, name_unicorn
from aether_edgecloud.emulator.cpu.hooks import (
    FAULT_MODEL_FN,
    FILL_MODEL_FN,
    NEVER,
    SYSREG_MODEL_FN,
    CpReg,
    HookState,
    StopReason,
    TlbEntry,
)
from aether_edgecloud.emulator.cpu.hooks import PAGE_SIZE as PAGE_SIZE
from aether_edgecloud.emulator.cpu.register_batch import RegisterBatch
from aether_edgecloud.emulator.cpu.translated_code import TranslatedCode
from aether_edgecloud.emulator.errors import EmulatorFault

# Reading a register that it does not have is an error only if this is set when Unicorn looks.
os.environ.setdefault("UC_IGNORE_REG_BREAK", "1")

_LIB = binding.uclib
_B_NEXT = 0x1400_0001
_MASK64 = (1 << 64) - 1
T = TypeVar("T")


class MmuMode(Enum):
    """Who decides a translation."""

    MODEL = "model"  # every TLB fill asks the client
    NATIVE = "native"  # Unicorn's own walker


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
_TLB_INVALIDATE_FN = c.CFUNCTYPE(c.c_uint32, c.POINTER(HookState), c.POINTER(CpReg))
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
        self._run_first_block()
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
        self.tables = HookTables(self.state)
        self.code = TranslatedCode(
            self.handle, self.state, len(ram), is_native=mmu is MmuMode.NATIVE
        )
        self._peers: tuple[HookState, ...] = ()
        self._context, self._power_on = Context(self.handle), Context(self.handle)
        self.monitor = ExclusiveMonitor(self._context, cpu_model)
        self.state.context = self._context.address
        self.state.exclusive_offset = self.monitor.offset
        self._filled = self.tables.filled
        self._covered: set[int] = set()
        self.hook_barriers: Callable[[], None] = lambda: None
        """Called at a stop for OBSERVE; an observation's."""
        self.observation: object = None
        """That of its machine, which who listens shares; see observation.py."""
        self.measure_block: Callable[[], None] = lambda: None
        """Called at a stop for MEASURE; a full trace's."""
        self.on_hook: Callable[[], None] = lambda: None
        """Called when a hook is added: blocks with it may end elsewhere. A full trace's."""
        self.guest_left: Callable[[int], None] = lambda kind: None
        """Told of each exception to EL2 from below that Python takes; a watch over guests."""
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

    def _run_first_block(self) -> None:
        """Unicorn reports a new block only if it has made another one before. The very first may
        be any: what is noted of blocks would be missed in it."""
        self._uc.mem_map(0, PAGE_SIZE)
        self._uc.mem_write(0, _B_NEXT.to_bytes(4, "little"))
        self._uc.ctl_set_exits([4])
        self._uc.emu_start(0, 0)
        self._uc.ctl_set_exits([])
        self._uc.mem_unmap(0, PAGE_SIZE)

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
            tables = self.tables
            kept = (tables.kept, tables.kept_faults)
            self._buffers = EngineBuffers(self.state, self._context, tables.tlb, restore_tlb, kept)
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

    def clear_tlb(self) -> None:
        """Drop every translation that is kept, and Unicorn's."""
        self._tlb_clear(c.byref(self.state))
        self.state.epoch += 1
        self.state.stage2_changed = 1
        self.flush_tlb()

    def forget_below_el2(self) -> None:
        """Drop every translation of EL1&0 that is kept, and all of Unicorn's. Allowed inside a
        callback."""
        alle1 = CpReg(crn=8, crm=7, op0=1, op1=4, op2=4)
        invalidate = _TLB_INVALIDATE_FN(self.hooks.address("aether_tlb_invalidate"))
        invalidate(c.byref(self.state), c.byref(alle1))
        self.state.epoch += 1
        self.state.stage2_changed = 1
        self.flush_tlb()

    def flush_tlb(self) -> None:
        """Drop all translations of addresses. Allowed inside a callback."""
        _LIB.uc_ctl(self.handle, c.c_int(CTL_TLB_FLUSH))

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
            elif reason in (StopReason.WATCHED, StopReason.PEEK, StopReason.SWITCH):
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
        self.tables.note_watched(pc, end)
        missing = [at for at in range(pc, end, 4) if at not in self._covered]
        if missing:
            self._covered.update(missing)
            self.hook(unicorn_const.UC_HOOK_CODE, "aether_on_watched", missing[0], missing[-1] + 3)
            self.code.drop(pc, end)

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
        state.dirty_pages = c.addressof(self._dirty_pages)
        state.pass_pc = state.peek_at = NEVER
        state.is_native = self.mmu is MmuMode.NATIVE
        state.instructions_per_tick = 1
        # The edge hook misses the very first block: look at EL after it in any case.
        state.after_eret = 1
        for field, callback in (
            ("sysreg_model", SYSREG_MODEL_FN(self._on_sysreg)),
            ("fault_model", FAULT_MODEL_FN(self._on_fault)),
            ("fill_model", FILL_MODEL_FN(self._on_fill)),
        ):
            self._callbacks.append(callback)
            setattr(state, field, c.cast(callback, c.c_void_p).value)
        name_unicorn(state)

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
        self.code.drop(va, va + 4)
        return handle

    def hook_code(self, name: str, user: int) -> int:
        """Install the C callback `name` before every instruction that is translated from now on,
        `user` being its argument. Returns a handle for `unhook`."""
        kind = unicorn_const.UC_HOOK_CODE
        return self._add_hook(kind, self.hooks.address(name), user, 1, 0)

    def hook_range(self, name: str, user: int, begin: int, end: int) -> int:
        """Install the C callback `name` before each instruction of [begin, end), VAs; `user` is its
        argument. What is translated already goes. Never in a callback. Returns a handle."""
        kind = unicorn_const.UC_HOOK_CODE
        handle = self._add_hook(kind, self.hooks.address(name), user, begin, end - 1)
        self.code.flush()
        return handle

    def hook_blocks(self, name: str, user: int) -> int:
        """Install the C callback `name` before every block, behind the usual one, `user` being its
        argument; what that one has stopped at it is not told. Never in a callback. Returns a handle
        for `unhook`."""
        handle = self._add_hook(unicorn_const.UC_HOOK_BLOCK, self.hooks.address(name), user, 1, 0)
        self.code.flush()
        return handle

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
            if self._client.fill_tlb(va, access, el, self._filled):
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
