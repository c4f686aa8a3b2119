# SPDX-License-Identifier: Apache-2.0
"""What Unicorn shows of a CPU only in a saved context: the exclusive monitor; and power-on state.

A context is a copy of the CPU's whole state in a layout that is not documented. Where the monitor
lies in it is found once, by a load exclusive of a known value from a known address.
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
        self._state = pointer.value + self.size - self._state_size

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
        """The CPU's state alone, which means the same to any engine of this Unicorn."""
        return c.string_at(self._state, self._state_size)

    def set_state(self, state: bytes) -> None:
        """Put it there; ValueError if it is not as long as such a state is."""
        if len(state) != self._state_size:
            raise ValueError("the state of another kind of CPU")
        c.memmove(self._state, state, self._state_size)

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
    engine = unicorn.Uc(unicorn_const.UC_ARCH_ARM64, unicorn_const.UC_MODE_ARM)
    engine.ctl_set_page_size(_PAGE)
    engine.ctl_set_cpu_model(cpu_model)
    engine.ctl_exits_enabled(True)
    engine.mem_map(_PAGE, 2 * _PAGE)
    address, value = _PAGE + 0x0A50, 0x5EED_0BAD_CAFE_F00D
    # LDXR X0, [X1]; MOV X0, #0; MOV X1, #0; WFI
    engine.mem_write(2 * _PAGE, struct.pack("<4I", 0xC85F7C20, 0xD2800000, 0xD2800001, 0xD503207F))
    engine.mem_write(address, struct.pack("<Q", value))
    engine.reg_write(arm64_const.UC_ARM64_REG_X1, address)
    engine.emu_start(2 * _PAGE, 0)
    context = Context(engine._uch)
    context.save()
    pattern = struct.pack("<QQ", address, value)
    offset = context.contents().find(pattern)
    found = context.contents().count(pattern)
    context.free()
    if found != 1:
        raise EmulatorFault("this Unicorn's contexts do not show the exclusive monitor")
    return offset
