# SPDX-License-Identifier: Apache-2.0
"""Conditions as what a scan looks for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.watch import (
    ALL_LEVELS,
    ANY_VMID,
    READS,
    WRITES,
    Found,
    Sought,
    SoughtCode,
    SoughtRange,
    SoughtRegister,
    SoughtSysreg,
)
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.replay.conditions import (
    Access,
    AnyOf,
    Condition,
    EventOf,
    Execute,
    Read,
    RegisterWrite,
    StepOut,
    StepOver,
    TableEntryWrite,
    Write,
)
from aether_edgecloud.emulator.replay.scan import Spot

_MOST_RANGE = 1 << 20
_MOST_CONDITIONS = 64
_ENTRY = 8
_GENERAL = {f"X{n}": register for n, register in enumerate(reg.X)} | {"SP": reg.SP}


@dataclass(frozen=True, slots=True)
class Compiled:
    """`sought` tells found things apart by the number of their condition in `conditions`."""

    conditions: tuple[Condition, ...]
    sought: Sought
    events: tuple[EventOf, ...]

    @property
    def needs_scan(self) -> bool:
        """Whether the run has to be executed again."""
        return self.sought != Sought()

    def condition(self, found: Found) -> Condition:
        """The one that was met."""
        return self.conditions[found.id]

    def accepts(self, spot: Spot) -> bool:
        """Whether the CPU is the one asked for."""
        wanted = getattr(self.condition(spot.found), "cpu", None)
        return wanted is None or wanted == spot.cpu


def flatten(what: Condition) -> Iterator[Condition]:
    """The single conditions of one."""
    if isinstance(what, AnyOf):
        for one in what.conditions:
            yield from flatten(one)
    else:
        yield what


def compile_conditions(what: Condition, machine: Machine, cpu: int) -> Compiled:
    """Of all but StepOver and StepOut. `cpu` is the cursor's. UserError for one that makes no
    sense."""
    conditions = tuple(
        RegisterWrite(one.name, cpu) if isinstance(one, RegisterWrite) and one.cpu is None else one
        for one in flatten(what)
    )
    if not 0 < len(conditions) <= _MOST_CONDITIONS:
        fix = f"give 1 to {_MOST_CONDITIONS}"
        raise UserError(f"{len(conditions)} conditions at once cannot be sought", fix=fix)
    ranges: list[SoughtRange] = []
    codes: list[SoughtCode] = []
    keys: list[SoughtSysreg] = []
    registers: list[SoughtRegister] = []
    events: list[EventOf] = []
    for number, one in enumerate(conditions):
        _check_cpu(getattr(one, "cpu", None), machine)
        match one:
            case Execute():
                codes.append(_code(one, number))
            case Access() | Read() | Write():
                ranges.append(_range(one.pa, one.size, _ACCESSES[type(one)], number, machine))
            case TableEntryWrite():
                if one.pa % _ENTRY:
                    raise UserError(
                        f"no entry of a table is at {one.pa:#x}", fix=f"give a multiple of {_ENTRY}"
                    )
                ranges.append(_range(one.pa, _ENTRY, WRITES, number, machine))
            case RegisterWrite():
                name = one.name.upper()
                name = {"FP": "X29", "LR": "X30"}.get(name, name)
                if name in _GENERAL:
                    registers.append(SoughtRegister(_GENERAL[name], number))
                else:
                    keys.append(SoughtSysreg(_key(one.name, machine), number))
            case EventOf():
                events.append(one)
            case _:
                raise UserError(f"{type(one).__name__} cannot be sought together with others")
    if len(registers) > 1:
        raise UserError("one general-purpose register at a time can be sought")
    sought = Sought(tuple(ranges), tuple(codes), tuple(keys), registers[0] if registers else None)
    return Compiled(conditions, sought, tuple(events))


_ACCESSES = {Access: READS | WRITES, Read: READS, Write: WRITES}


def _check_cpu(cpu: int | None, machine: Machine) -> None:
    if cpu is not None and not 0 <= cpu < len(machine.cpus):
        raise UserError(f"there is no CPU {cpu}", fix=f"use 0 to {len(machine.cpus) - 1}")


def _code(one: Execute, number: int) -> SoughtCode:
    if one.va % 4 or not 0 <= one.va < 1 << 64:
        raise UserError(f"no instruction is at {one.va:#x}", fix="give a multiple of 4")
    if one.el is not None and one.el not in (0, 1, 2):
        raise UserError(f"there is no EL{one.el}", fix="use 0, 1 or 2")
    levels = ALL_LEVELS if one.el is None else 1 << one.el
    return SoughtCode(one.va, number, levels, ANY_VMID if one.vmid is None else one.vmid)


def _range(pa: int, size: int, accesses: int, number: int, machine: Machine) -> SoughtRange:
    base, end = machine.board.ram_base, machine.board.ram_base + machine.board.ram_size
    if not 0 < size <= _MOST_RANGE:
        raise UserError(f"{size} bytes cannot be watched", fix=f"give 1 to {_MOST_RANGE}")
    if not base <= pa <= pa + size <= end:
        fix = f"RAM is {base:#x} to {end - 1:#x}; accesses to devices are events"
        raise UserError(f"{pa:#x} is not in RAM", fix=fix)
    return SoughtRange(pa, pa + size, accesses, number)


def _key(name: str, machine: Machine) -> int:
    try:
        register = sysregs.by_name(name)
    except KeyError:
        fix = "use X0 to X30, SP or the architecture's name, as HCR_EL2"
        raise UserError(f"no register {name!r}", fix=fix) from None
    key = reg.SystemRegister(register.name, *register.encoding).key
    if not machine.cpu.engine.has_sysreg(key):
        raise UserError(f"writes of {register.name} cannot be sought", fix="seek its instruction")
    return key


def words(one: Condition, spots: Sequence[Spot]) -> str:
    """What was found, of the pieces of one access or a single thing."""
    found = spots[0].found
    start = f"CPU {spots[0].cpu} at {found.pc:#x}"
    match one:
        case Execute() | StepOver() | StepOut():
            return f"CPU {spots[0].cpu} executes {found.pc:#x}"
        case RegisterWrite():
            return f"{start} writes {one.name} = {found.value:#x}"
        case _:
            verb = "stores" if found.is_store else "loads"
            value = 0
            for spot in reversed(spots):
                value = value << 8 * spot.found.size | spot.found.value
            return f"{start} {verb} {value:#x} at PA {found.address:#x}"
