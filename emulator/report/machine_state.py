# SPDX-License-Identifier: Apache-2.0
"""What `aether inspect` shows of a stopped machine, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine, Stop
from aether_edgecloud.stage2.decode import Decoded, Geometry, decode_tables

DEFAULT_REGISTERS = (
    "SCTLR_EL2", "HCR_EL2", "TCR_EL2", "TTBR0_EL2", "MAIR_EL2", "VTCR_EL2", "VTTBR_EL2",
    "CPTR_EL2", "MDCR_EL2", "VBAR_EL2", "ESR_EL2", "ELR_EL2", "SPSR_EL2", "FAR_EL2", "HPFAR_EL2",
    "SCTLR_EL1", "TCR_EL1", "TTBR0_EL1", "TTBR1_EL1", "MAIR_EL1", "CPACR_EL1",
    "VBAR_EL1", "ESR_EL1", "ELR_EL1", "SPSR_EL1", "FAR_EL1",
)  # fmt: skip

_MMU_ON = 1
_HCR_VM = 1
_WXN = 1 << 19


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """A system register by its architectural name."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class NoMap:
    """Why there is no map to show."""

    why: str


@dataclass(frozen=True, slots=True)
class MachineState:
    """One CPU of a machine at a stop, and `why` it stopped. `pc` is a VA at exception level `el`;
    `x` holds X0 to X30. `instructions` are those of this CPU."""

    why: str
    cpu: int
    cpus: int
    instructions: int
    el: int
    pc: int
    sp: int
    pstate: int
    x: tuple[int, ...]
    registers: tuple[RegisterValue, ...]
    stage2: Decoded | NoMap
    el2: Decoded | NoMap
    returns_to_el2: bool
    """SPSR_EL2 names EL2: the last exception to EL2 was its own."""


def register_names(wanted: Sequence[str]) -> tuple[str, ...]:
    """The architecture's spelling of the registers named. UserError for one it has not."""
    found: list[str] = []
    for name in wanted:
        try:
            found.append(sysregs.by_name(name).name)
        except KeyError:
            raise UserError(
                f"no system register {name!r}",
                where="--register",
                fix="use the architecture's name, as HCR_EL2",
            ) from None
    return tuple(found)


def read_state(machine: Machine, number: int, stop: Stop, registers: Sequence[str]) -> MachineState:
    """Reads what is shown of CPU `number`. `registers` are names that `register_names` gave."""
    cpu = machine.cpus[number]
    x = cpu.registers()
    values = [(name, read_register(cpu, name)) for name in registers]
    return MachineState(
        why=stop.kind.value,
        cpu=number,
        cpus=len(machine.cpus),
        instructions=cpu.retired,
        el=cpu.current_el,
        pc=cpu.pc,
        sp=x[31],
        pstate=cpu.engine.read(reg.PSTATE),
        x=tuple(x[:31]),
        registers=tuple(RegisterValue(n, v) for n, v in values if v is not None),
        stage2=_stage2(cpu, machine.memory),
        el2=el2_tables(cpu, machine.memory),
        returns_to_el2=_value(cpu, "SPSR_EL2") >> 2 & 3 == 2,
    )


def read_register(cpu: Cpu, name: str) -> int | None:
    """A system register by its architectural name; None where only an instruction can read it."""
    kind, _, level = name.partition("_EL")
    banks = {"ELR": reg.ELR, "ESR": reg.ESR, "FAR": reg.FAR, "VBAR": reg.VBAR}
    if kind in banks and level in ("1", "2"):
        return cpu.engine.read(banks[kind][int(level)])
    return cpu.system_register(sysregs.by_name(name))


def _stage2(cpu: Cpu, memory: PhysicalMemory) -> Decoded | NoMap:
    if not _value(cpu, "HCR_EL2") & _HCR_VM:
        return NoMap("stage 2 is off (HCR_EL2.VM is 0)")
    return stage2_tables(cpu, memory)


def stage2_tables(cpu: Cpu, memory: PhysicalMemory) -> Decoded | NoMap:
    """What VTCR_EL2 and VTTBR_EL2 say, in use or not."""
    try:
        geometry = Geometry.stage2(_value(cpu, "VTCR_EL2"), _value(cpu, "VTTBR_EL2"))
    except ValueError as e:
        return NoMap(str(e))
    return _decode(memory, geometry)


def el2_tables(cpu: Cpu, memory: PhysicalMemory) -> Decoded | NoMap:
    """EL2's own map."""
    sctlr = _value(cpu, "SCTLR_EL2")
    if not sctlr & _MMU_ON:
        return NoMap("EL2's MMU is off (SCTLR_EL2.M is 0)")
    try:
        geometry = Geometry.el2(
            _value(cpu, "TCR_EL2"),
            _value(cpu, "TTBR0_EL2"),
            _value(cpu, "MAIR_EL2"),
            wxn=bool(sctlr & _WXN),
        )
    except ValueError as e:
        return NoMap(str(e))
    return _decode(memory, geometry)


def _decode(memory: PhysicalMemory, geometry: Geometry) -> Decoded:
    def read_table(pa: int, entries: int, /) -> list[int] | None:
        start = pa - memory.ram_base
        if not 0 <= start <= memory.ram_size - 8 * entries:
            return None
        return memory.bytes[start : start + 8 * entries].cast("Q").tolist()

    return decode_tables(read_table, geometry)


def _value(cpu: Cpu, name: str) -> int:
    return read_register(cpu, name) or 0
