# SPDX-License-Identifier: Apache-2.0
"""What Unicorn shows of a CPU only in a saved context: the exclusive monitor; and power-on state.

A context is a copy of the CPU's whole state (`CPUARMState`) in a layout that is not documented.
Where a field lies in it is found once, by instructions that leave a known value there.

One field holds the host's time: `cp15.c15_ccnt_delta`, behind the cycle counter `cp15.c15_ccnt`.
An ERET notes the host's clock there, whether the counter counts or not. The counter never does, as
the performance monitors are modelled, so the field means nothing; `Context.state` has 0 for it.
"""

import ctypes as c
import struct
from functools import cache

import unicorn
from unicorn import arm64_const, unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.errors import EmulatorFault

_LIB = binding.uclib
_NO_MONITOR = (1 << 64) - 1
_PAGE = 4096
_DATA, _CODE = _PAGE, 2 * _PAGE


class Context:
    """A buffer for the whole state of one engine's CPU."""

    def __init__(self, handle: c.c_void_p) -> None:
        self._handle = handle
        pointer = c.c_void_p()
        status = _LIB.uc_context_alloc(handle, c.byref(pointer))
        if status or pointer.value is None:
            raise unicorn.UcError(status)
        self.address: int = pointer.value
        self.size = int(_LIB.uc_context_size(handle))
        # A header comes first: the size of the state behind it, and what an engine has of its own.
        self._state_size = c.c_size_t.from_address(pointer.value).value
        self._header = self.size - self._state_size

    def save(self) -> None:
        """Take the state of the CPU."""
        _LIB.uc_context_save(self._handle, c.c_void_p(self.address))

    def restore(self) -> None:
        """Put it back. Unicorn does not flush its TLB."""
        _LIB.uc_context_restore(self._handle, c.c_void_p(self.address))

    def contents(self) -> bytes:
        """What was saved."""
        return c.string_at(self.address, self.size)

    def state(self) -> bytes:
        """The CPU's state alone, which means the same to any engine of this Unicorn, without the
        host's time: it is the same in every repetition of a run."""
        c.memset(self.address + clock_offset(), 0, c.sizeof(c.c_uint64))
        return c.string_at(self.address + self._header, self._state_size)

    def set_state(self, state: bytes) -> None:
        """Put it there; ValueError if it is not as long as such a state is."""
        if len(state) != self._state_size:
            raise ValueError("the state of another kind of CPU")
        c.memmove(self.address + self._header, state, self._state_size)

    def free(self) -> None:
        """Give the buffer back."""
        _LIB.uc_context_free(c.c_void_p(self.address))


class ExclusiveMonitor:
    """The local exclusive monitor of one engine: the address and the value of a load exclusive."""

    def __init__(self, context: Context, cpu_model: int) -> None:
        self._context = context
        self.offset = monitor_offset(cpu_model)
        self._cells = (c.c_uint64 * 3).from_address(context.address + self.offset)

    def read(self) -> tuple[int, int, int] | None:
        """Address, value and, for a pair, the second value; None while it is open."""
        self._context.save()
        address, value, high = self._cells
        return None if address == _NO_MONITOR else (address, value, high)

    def clear(self) -> None:
        """As CLREX does."""
        if self.read() is not None:
            self._cells[0] = _NO_MONITOR
            self._context.restore()


@cache
def monitor_offset(cpu_model: int) -> int:
    """Where a context holds the monitor's address, followed by its values."""
    probe = _Probe(cpu_model)
    address, value = _DATA + 0x0A50, 0x5EED_0BAD_CAFE_F00D
    probe.write(address, struct.pack("<Q", value))
    # LDXR X0, [X1]; MOV X0, #0; MOV X1, #0
    context = probe.run(address, 0xC85F7C20, 0xD2800000, 0xD2800001)
    probe.close()
    return _only(context, struct.pack("<QQ", address, value), "the exclusive monitor")


@cache
def clock_offset() -> int:
    """Where a context holds the host's time. That is the same for every model of a CPU."""
    probe = _Probe(arm64_const.UC_CPU_ARM64_A72)
    value = 0x5EED_0BAD_C0C0_A5A5
    # MSR PMCCNTR_EL0, X1; MOV X1, #0
    code = (0xD51B9D01, 0xD2800001)
    before, after = probe.run(value, *code), probe.run(value, *code)
    probe.close()
    offset = _only(before, struct.pack("<Q", value), "the cycle counter") + 8
    # The clock has gone on between the two, and nothing else.
    if before[:offset] != after[:offset] or before[offset + 8 :] != after[offset + 8 :]:
        raise EmulatorFault("this Unicorn's contexts do not show the host's time")
    return offset


@cache
def state_size(cpu_model: int) -> int:
    """Bytes of `Context.state`."""
    probe = _Probe(cpu_model)
    size = len(probe.context.state())
    probe.close()
    return size


class _Probe:
    """An engine, to look at its contexts."""

    def __init__(self, cpu_model: int) -> None:
        self._engine = unicorn.Uc(unicorn_const.UC_ARCH_ARM64, unicorn_const.UC_MODE_ARM)
        self._engine.ctl_set_page_size(_PAGE)
        self._engine.ctl_set_cpu_model(cpu_model)
        self._engine.ctl_exits_enabled(True)
        self._engine.mem_map(_DATA, 2 * _PAGE)
        self.context = Context(self._engine._uch)

    def write(self, address: int, data: bytes) -> None:
        """Write memory."""
        self._engine.mem_write(address, data)

    def run(self, x1: int, *code: int) -> bytes:
        """The context after some instructions, with X1 as it is given."""
        self.write(_CODE, struct.pack(f"<{len(code) + 1}I", *code, 0xD503207F))  # WFI
        self._engine.reg_write(arm64_const.UC_ARM64_REG_X1, x1)
        self._engine.emu_start(_CODE, 0)
        self.context.save()
        return self.context.contents()

    def close(self) -> None:
        """Give the context back."""
        self.context.free()


def _only(context: bytes, pattern: bytes, what: str) -> int:
    if context.count(pattern) != 1:
        raise EmulatorFault(f"this Unicorn's contexts do not show {what}")
    return context.index(pattern)
