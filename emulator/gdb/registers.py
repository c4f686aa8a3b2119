# SPDX-License-Identifier: Apache-2.0
"""The registers of a CPU that is stopped, in the order in which gdb counts them.

gdb numbers registers through the target description from its first to its last: `ALL` is that
order, and a register's number is its place there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.arch.sysregs import Model, RegAccess, SysReg
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.devices.generic_timer import TimerRegister

_BANKS = {"ELR": reg.ELR, "ESR": reg.ESR, "FAR": reg.FAR, "VBAR": reg.VBAR}
# Fields of PSTATE that have a register of their own, by its mask.
_IN_PSTATE = {"NZCV": 0xF000_0000, "DAIF": 0x3C0, "CurrentEL": 0xC, "SPSel": 1}
# FP registers stand in their own group; what ISR_EL1 shows no MRS at EL2 can tell.
_LEFT_OUT = frozenset({"FPCR", "FPSR", "ISR_EL1"})
_DEBUG, _IMPLEMENTATION_DEFINED = 2, (11, 15)
_VMID_SHIFT, _VMID_MASK = 48, 0xFF


class Group(Enum):
    """A feature of the target description."""

    CORE = "org.gnu.gdb.aarch64.core"
    FPU = "org.gnu.gdb.aarch64.fpu"
    EL2 = "org.aether-edgecloud.el2"
    EL1 = "org.aether-edgecloud.el1"
    RUN = "org.aether-edgecloud.run"


@dataclass(frozen=True, slots=True)
class Register:
    """One register: `size` in bytes, and how it is read."""

    name: str
    group: Group
    size: int
    read: Callable[[Cpu], int]

    def value(self, cpu: Cpu) -> bytes:
        """As gdb wants it: little-endian."""
        return (self.read(cpu) & (1 << 8 * self.size) - 1).to_bytes(self.size, "little")


def _core() -> Iterator[Register]:
    def x(number: int) -> Callable[[Cpu], int]:
        return lambda cpu: cpu.access.x[number]

    for n in range(31):
        yield Register(f"x{n}", Group.CORE, 8, x(n))
    yield Register("sp", Group.CORE, 8, lambda cpu: cpu.access.sp)
    yield Register("pc", Group.CORE, 8, lambda cpu: cpu.pc)
    yield Register("cpsr", Group.CORE, 4, lambda cpu: cpu.access.pstate.to_spsr())


def _fpu() -> Iterator[Register]:
    def v(number: int) -> Callable[[Cpu], int]:
        return lambda cpu: int(cpu.engine.read_vectors()[number], 16)

    for n in range(32):
        yield Register(f"v{n}", Group.FPU, 16, v(n))
    yield Register("fpsr", Group.FPU, 4, lambda cpu: cpu.engine.read(reg.FPSR))
    yield Register("fpcr", Group.FPU, 4, lambda cpu: cpu.engine.read(reg.FPCR))


def _system(group: Group) -> Iterator[Register]:
    """Those of EL2, or those of EL1 and EL0. Not the debug and performance registers, nor those
    that are the CPU designer's own."""

    def read(register: SysReg) -> Callable[[Cpu], int]:
        return lambda cpu: read_system(cpu, register)

    for register in sysregs.SYSREGS:
        is_wanted = (
            register.op0 != _DEBUG
            and register.crn not in _IMPLEMENTATION_DEFINED
            and register.model is not Model.PMU
            and register.access is not RegAccess.WO
            and register.name not in _LEFT_OUT
            and not register.name.startswith("S3_")
        )
        if is_wanted and (register.min_el == 2) == (group is Group.EL2):
            yield Register(register.name, group, 8, read(register))


def read_system(cpu: Cpu, register: SysReg) -> int:
    """What an MRS at EL2 would read, without its effects."""
    name = register.name
    kind, _, level = name.partition("_EL")
    if kind in _BANKS and level in ("1", "2"):
        return cpu.engine.read(_BANKS[kind][int(level)])
    if name in _IN_PSTATE:
        return cpu.access.pstate.to_spsr() & _IN_PSTATE[name]
    if kind == "SP":
        return _stack_pointer(cpu, int(level))
    match register.model:
        case Model.TIMER:
            models = cpu.system_registers
            return models.timer.read(TimerRegister(name), models.clock.counter(cpu.retired))
        case Model.CONSTANT:
            return register.reset
        case Model.RAZ_WI:
            return 0
    return cpu.system_register(register) or 0


def _stack_pointer(cpu: Cpu, level: int) -> int:
    """The bank that is in use is not kept in the bank."""
    pstate = cpu.access.pstate
    if level == (pstate.el if pstate.sp_sel else 0):
        return cpu.access.sp
    return cpu.engine.read(reg.SP_BANK[level])


def vmid(cpu: Cpu) -> int:
    """The VM whose tables VTTBR_EL2 names; 0 for none."""
    return cpu.native(reg.VTTBR_EL2) >> _VMID_SHIFT & _VMID_MASK


def _run() -> Iterator[Register]:
    yield Register("retired", Group.RUN, 8, lambda cpu: cpu.retired)
    yield Register("vmid", Group.RUN, 4, vmid)


ALL: tuple[Register, ...] = (
    *_core(),
    *_fpu(),
    *_system(Group.EL2),
    *_system(Group.EL1),
    *_run(),
)
CORE_COUNT = sum(register.group is Group.CORE for register in ALL)
X29, SP, PC, CPSR = 29, 31, 32, 33
