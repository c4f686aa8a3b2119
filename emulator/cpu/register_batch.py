# SPDX-License-Identifier: Apache-2.0
"""Registers of an engine, several at a time."""

import ctypes as c
from collections.abc import Sequence
from typing import Any

import unicorn
from unicorn import arm64_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.hooks import CpReg

_LIB = binding.uclib
_MASK64 = (1 << 64) - 1


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
