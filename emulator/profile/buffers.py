# SPDX-License-Identifier: Apache-2.0
"""What the C side of a profile fills, mirrored from `profile.h`.

The mirror is checked against the sizes and offsets that the compiled library reports.
"""

import ctypes as c

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.cpu.hooks import EXCEPTION_KINDS

KIND_BOOT = EXCEPTION_KINDS
KIND_ATTACHED = EXCEPTION_KINDS + 1
KIND_MASK = 0x7F
WRITE = 0x80
MMIO = 0x100

STAYS = 4096
CODE_SLOTS = 1 << 14
DEPTH = 8

STAY = np.dtype(
    [
        ("begin", "<u8"),
        ("end", "<u8"),
        ("instructions", "<u8"),
        ("inside", "<u8"),
        ("esr", "<u8"),
        ("far", "<u8"),
        ("hpfar", "<u8"),
        ("elr", "<u8"),
        ("x0", "<u8"),
        ("x16", "<u8"),
        ("tag", "<u2"),
        ("cpu", "u1"),
        ("depth", "u1"),
        ("vm", "u1"),
        ("vm_after", "u1"),
        ("is_over", "u1"),
        ("unused", "u1"),
    ]
)
"""`struct profiled_stay`."""

CODE = np.dtype(
    [
        ("pc", "<u8"),
        ("runs", "<u8"),
        ("instructions", "<u4"),
        ("tag", "<u2"),
        ("is_inside", "<u2"),
    ]
)
"""`struct profiled_code`."""

Rows = npt.NDArray[np.void]
DRAIN_FN = c.CFUNCTYPE(None)


class BuffersState(c.Structure):
    """`struct profile_buffers`."""

    _fields_ = [
        ("stay_count", c.c_uint32),
        ("stay_capacity", c.c_uint32),
        ("stays", c.c_void_p),
        ("code", c.c_void_p),
        ("drain", c.c_void_p),
    ]


class CpuProfile(c.Structure):
    """`struct profile`."""

    _fields_ = [
        ("state", c.c_void_p),
        ("buffers", c.c_void_p),
        ("uc", c.c_uint64),
        ("retired", c.c_uint64),
        ("exceptions", c.c_uint64),
        ("others", c.c_uint64),
        ("pc", c.c_uint64),
        ("eret", c.c_uint64),
        ("el", c.c_uint32),
        ("cpu", c.c_uint32),
        ("depth", c.c_uint32),
        ("deeper", c.c_uint32),
        ("open", c.c_uint8 * (DEPTH * STAY.itemsize)),
    ]


class Buffers:
    """The memory that the C side fills, for all CPUs of a machine."""

    def __init__(self) -> None:
        self._stays = np.zeros(STAYS, STAY)
        self._code = np.zeros(CODE_SLOTS, CODE)
        self.state = BuffersState(
            stay_capacity=STAYS, stays=self._stays.ctypes.data, code=self._code.ctypes.data
        )

    def take(self) -> tuple[Rows, Rows]:
        """The stays, in the order in which they ended, and the code that ran, in no order; both
        begin anew."""
        stays = self._stays[: self.state.stay_count].copy()
        code = self._code[self._code["runs"] != 0].copy()
        self.state.stay_count = 0
        self._code["runs"] = 0
        return stays, code


def declare(library: c.CDLL) -> None:
    """Says what the library's functions take. RuntimeError if it was built from other structs."""
    layout = library.aether_profile_layout
    layout.argtypes, layout.restype = [c.c_uint32], c.c_uint64
    mine = [
        STAY.itemsize,
        CODE.itemsize,
        c.sizeof(BuffersState),
        c.sizeof(CpuProfile),
        *(kind.fields[name][1] for kind, name in ((STAY, "tag"),) if kind.fields is not None),
        BuffersState.drain.offset,
        CpuProfile.open.offset,
    ]
    theirs = [layout(i) for i in range(len(mine))]
    if mine != theirs:
        raise RuntimeError(f"layout of the profile is {theirs}, expected {mine}")
    for name, arguments in (
        ("aether_profile_begin", [c.POINTER(CpuProfile), c.c_uint32, c.c_uint64]),
        ("aether_profile_end", [c.POINTER(CpuProfile)]),
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
