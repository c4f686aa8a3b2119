# SPDX-License-Identifier: Apache-2.0
"""Many registers of an engine as one string of bytes, that is compared and seldom looked into."""

import ctypes as c
from collections.abc import Sequence

import unicorn
from unicorn import arm64_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import Engine
from aether_edgecloud.emulator.cpu.hooks import CpReg

_LIB = binding.uclib
_WORD, _VECTOR = 8, 16


class RegisterImage:
    """A fixed set of registers, read in one call, also inside a callback."""

    def __init__(
        self,
        engine: Engine,
        core: Sequence[reg.CoreRegister] = (),
        system: Sequence[reg.SystemRegister] = (),
        vectors: Sequence[reg.CoreRegister] = (),
    ) -> None:
        self._handle = engine.handle
        self._core, self._system, self._vectors = core, system, vectors
        self._system_at = _WORD * len(core)
        self._vectors_at = self._system_at + c.sizeof(CpReg) * len(system)
        self._cells = (c.c_uint8 * (self._vectors_at + _VECTOR * len(vectors)))()
        base = c.addressof(self._cells)
        places = [base + _WORD * n for n in range(len(core))]
        numbers = [register.number for register in core]
        for n, one in enumerate(system):
            offset = self._system_at + n * c.sizeof(CpReg)
            cell = CpReg.from_buffer(self._cells, offset)
            cell.crn, cell.crm, cell.op0, cell.op1, cell.op2 = (
                *(one.crn, one.crm),
                *(one.op0, one.op1, one.op2),
            )
            places.append(base + offset)
            numbers.append(arm64_const.UC_ARM64_REG_CP_REG)
        places += [base + self._vectors_at + _VECTOR * n for n in range(len(vectors))]
        numbers += [register.number for register in vectors]
        self._count = len(numbers)
        self._numbers = (c.c_int * self._count)(*numbers)
        self._places = (c.c_void_p * self._count)(*places)

    def read(self) -> bytes:
        """The registers as they are."""
        status = _LIB.uc_reg_read_batch(self._handle, self._numbers, self._places, self._count)
        if status:
            raise unicorn.UcError(status)
        return bytes(self._cells)

    def write(self, image: bytes) -> None:
        """Make the registers what an image says. Never while the engine runs."""
        c.memmove(self._cells, image, len(self._cells))
        status = _LIB.uc_reg_write_batch(self._handle, self._numbers, self._places, self._count)
        if status:
            raise unicorn.UcError(status)

    def decode(self, image: bytes) -> dict[str, int]:
        """The registers of an image by name, as `registers.py` has them."""
        found: dict[str, int] = {}
        for n, register in enumerate(self._core):
            found[register.name] = int.from_bytes(image[_WORD * n : _WORD * (n + 1)], "little")
        for n, one in enumerate(self._system):
            at = self._system_at + n * c.sizeof(CpReg) + CpReg.value.offset
            found[one.name] = int.from_bytes(image[at : at + _WORD], "little")
        for n, register in enumerate(self._vectors):
            at = self._vectors_at + _VECTOR * n
            found[register.name] = int.from_bytes(image[at : at + _VECTOR], "little")
        return found
