# SPDX-License-Identifier: Apache-2.0
"""A watch over what guests find in their registers, and what EL2 has set for them, on one CPU
(`guest_state.h`)."""

import ctypes as c
from enum import IntEnum
from typing import Protocol

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.hooks import SYSREG_KEYS, CpReg, HookState

X_REGISTERS, V_HALVES = 31, 64
_SYSTEM, _CONTROLS, _MOST, _STACKS = 20, 8, 64, 16
_VALUES = X_REGISTERS + _SYSTEM + V_HALVES
_NO_GUEST = 0xFFFF_FFFF

SYSTEM = (
    "ESR_EL1", "FAR_EL1", "ELR_EL1", "SPSR_EL1", "VBAR_EL1", "SCTLR_EL1", "CPACR_EL1", "TTBR0_EL1",
    "TTBR1_EL1", "TCR_EL1", "PAR_EL1", "MAIR_EL1", "CONTEXTIDR_EL1", "TPIDR_EL1", "TPIDR_EL0",
    "TPIDRRO_EL0", "SP_EL0", "SP_EL1", "CNTKCTL_EL1", "CSSELR_EL1",
)  # fmt: skip
"""A guest's own system registers; first those that an exception given to it changes, and
VBAR_EL1."""
CONTROLS = ("HCR_EL2", "CPTR_EL2", "MDCR_EL2", "HSTR_EL2", "CNTHCTL_EL2", "VPIDR_EL2", "VTCR_EL2")
"""What EL2 may set for each guest."""


class GuestEvent(IntEnum):
    """`enum guest_event`."""

    FIRST = 0
    LEAK = 1
    CARRIED = 2
    STACK = 3
    VECTORS = 4


class _Guest(c.Structure):
    _fields_ = [
        ("key", c.c_uint64),
        ("results", c.c_uint32),
        ("has_values", c.c_uint32),
        ("has_v", c.c_uint32),
        ("unused", c.c_uint32),
        ("values", c.c_uint64 * _VALUES),
        ("is_own", c.c_uint8 * _VALUES),
        ("controls", c.c_uint64 * _CONTROLS),
    ]


class Guests(c.Structure):
    """`struct guests`: all vCPUs seen so far, for all CPUs."""

    _fields_ = [("count", c.c_uint32), ("unused", c.c_uint32), ("guests", _Guest * _MOST)]


class Watch(c.Structure):
    """`struct guest_watch`."""

    _fields_ = [
        ("guests", c.c_void_p),
        ("tell", c.c_void_p),
        ("written", c.c_void_p),
        ("stay", c.c_uint32),
        ("last", c.c_uint32),
        ("has_entered", c.c_uint32),
        ("reg_q0", c.c_int32),
        ("stacks", c.c_uint32),
        ("next_stack", c.c_uint32),
        ("stack", c.c_uint64 * _STACKS),
        ("vbar", c.c_uint64),
        ("eret", c.c_uint64),
        ("control_count", c.c_uint32),
        ("system", CpReg * _SYSTEM),
        ("controls", CpReg * _CONTROLS),
    ]


_TELL_FN = c.CFUNCTYPE(None, c.c_uint32, c.c_uint64, c.c_uint64, c.c_uint64)
_LEFT_FN = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(HookState), c.c_uint32)


class GuestListener(Protocol):
    """What is told. `kind` is one of GuestEvent; what a, b and c are, `guest_state.h` says."""

    def __call__(self, kind: int, a: int, b: int, c: int, /) -> None: ...


class GuestWatch:
    """The watch on one CPU. It changes nothing in a run."""

    def __init__(self, cpu: Cpu, guests: Guests, listener: GuestListener) -> None:
        self._engine = engine = cpu.engine
        self._guests = guests
        _check_layout(engine.hooks.address("aether_guest_layout"))

        def tell(kind: int, a: int, b: int, d: int) -> None:
            try:
                listener(kind, a, b, d)
            except BaseException as error:  # C cannot carry it
                engine.fail(error)

        self._tell = _TELL_FN(tell)
        self._written = (c.c_uint32 * SYSREG_KEYS)()
        self._watch = Watch(
            guests=c.addressof(guests),
            tell=c.cast(self._tell, c.c_void_p).value,
            written=c.addressof(self._written),
            stay=1,
            last=_NO_GUEST,
            reg_q0=reg.V[0].number,
            control_count=len(CONTROLS),
        )
        for cell, name in zip(self._watch.system, SYSTEM, strict=True):
            _encode(cell, name)
        for cell, name in zip(self._watch.controls, CONTROLS, strict=False):
            _encode(cell, name)
        self._left_fn = _LEFT_FN(engine.hooks.address("aether_guest_left"))
        engine.guest_left = self._left  # which keeps all of this alive
        engine.state.guests = c.addressof(self._watch)

    def close(self) -> None:
        """Watch no more."""
        self._engine.state.guests = None
        self._engine.guest_left = lambda kind: None

    def is_written(self, name: str) -> bool:
        """Whether EL2 has written a system register since reset."""
        return bool(self._written[_key(name)])

    def _left(self, kind: int) -> None:
        self._left_fn(self._engine.handle, c.byref(self._engine.state), kind)

    @property
    def eret(self) -> int:
        """PC of the ERET that the CPU has executed last."""
        return int(self._watch.eret)

    def reset(self) -> None:
        """The CPU has been switched on: nothing has been written."""
        c.memset(self._written, 0, c.sizeof(self._written))
        self._watch.stacks = self._watch.next_stack = self._watch.has_entered = 0
        self._watch.last = _NO_GUEST


def vmid_of(guests: Guests, number: int) -> int | None:
    """VTTBR_EL2.VMID of a guest by number; None for one without stage 2."""
    if number >= guests.count:
        return None
    vmid = int(guests.guests[number].key) >> 32
    return vmid if vmid < 1 << 16 else None


def value_name(number: int) -> str:
    """The register of a value by its number."""
    if number < X_REGISTERS:
        return f"X{number}"
    number -= X_REGISTERS
    return SYSTEM[number] if number < _SYSTEM else f"V{(number - _SYSTEM) // 2}"


def _register(name: str) -> sysregs.SysReg:
    return next(register for register in sysregs.SYSREGS if register.name == name)


def _key(name: str) -> int:
    return reg.key(*_register(name).encoding)


def _encode(cell: CpReg, name: str) -> None:
    r = _register(name)
    cell.op0, cell.op1, cell.crn, cell.crm, cell.op2 = r.encoding


def _check_layout(address: int) -> None:
    layout = c.CFUNCTYPE(c.c_uint64, c.c_uint32)(address)
    mine = [c.sizeof(structure) for structure in (_Guest, Guests, Watch)]
    mine += [_Guest.is_own.offset, Watch.system.offset]
    theirs = [layout(field) for field in range(len(mine))]
    if mine != theirs:
        raise RuntimeError(f"the layout of guest_watch is {theirs}, expected {mine}")
