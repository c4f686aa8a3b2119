# SPDX-License-Identifier: Apache-2.0
"""A run seen instruction by instruction, by callbacks of Unicorn's that the emulator does not use.

Slow, and it changes nothing in the run.
"""

import ctypes as c
from collections.abc import Callable

from unicorn import unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.machine import Machine

_LIB = binding.uclib
_CODE_FN = c.CFUNCTYPE(None, c.c_void_p, c.c_uint64, c.c_uint32, c.c_void_p)
_MEM_FN = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.c_uint64, c.c_int, c.c_int64, c.c_void_p)


def position(machine: Machine, cpu: Cpu, pc: int) -> int:
    """How many instructions all CPUs have retired before the one at `pc`, that this CPU is at."""
    others = sum(other.retired for other in machine.cpus if other is not cpu)
    return others + cpu.engine.position(pc)


def word_at(cpu: Cpu, va: int) -> int:
    """The instruction at an address that is executed now."""
    word = c.c_uint32()
    execute = c.c_uint32(unicorn_const.UC_PROT_EXEC)
    handle = cpu.engine.handle
    _LIB.uc_vmem_read(handle, c.c_uint64(va), execute, c.byref(word), c.c_size_t(4))
    return word.value


def translate(cpu: Cpu, va: int) -> int | None:
    """PA of a byte that the current EL can store to."""
    pa = c.c_uint64()
    write = c.c_uint32(unicorn_const.UC_PROT_WRITE)
    status = _LIB.uc_vmem_translate(cpu.engine.handle, c.c_uint64(va), write, c.byref(pa))
    return None if status else pa.value


def before_each_instruction(cpu: Cpu, tell: Callable[[int], None]) -> None:
    """From now on `tell` is called, with its VA, before each instruction that the CPU tries."""

    def on_code(_uc: int, pc: int, _size: int, _user: int) -> None:
        if not cpu.state.reason:  # else another hook has stopped the engine before it
            try:
                tell(pc)
            except BaseException as error:  # the run raises it
                cpu.engine.fail(error)

    cpu.engine._hook_python(unicorn_const.UC_HOOK_CODE, _CODE_FN(on_code))
    cpu.engine.code.flush()


def at_each_access(machine: Machine, cpu: Cpu, tell: Callable[[int, int, int, bool], None]) -> None:
    """From now on `tell` is called at each access to RAM: its PA, size, value (of a load 0), and
    whether it is a store. An access may come in pieces."""
    base, size = machine.board.ram_base, machine.board.ram_size

    def on_access(_uc: int, kind: int, pa: int, width: int, value: int, _user: int) -> None:
        try:
            tell(pa, width, value % (1 << 64), kind == unicorn_const.UC_MEM_WRITE)
        except BaseException as error:  # the run raises it
            cpu.engine.fail(error)

    kinds = unicorn_const.UC_HOOK_MEM_READ | unicorn_const.UC_HOOK_MEM_WRITE
    cpu.engine._hook_python(kinds, _MEM_FN(on_access), base, base + size - 1)
    cpu.engine.code.flush()
