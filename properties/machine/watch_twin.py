# SPDX-License-Identifier: Apache-2.0
"""The hits of `watch.c` once more: all that a stretch of a run does is written down, instruction by
instruction, and what is sought is looked up in that."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.watch import ANY_VMID, READS, WRITES, Found, Sought
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.properties.machine.each_instruction import (
    at_each_access,
    before_each_instruction,
    position,
    translate,
    word_at,
)

_DC_ZVA = 0xD50B_7420
_LINE = 64


class Access(NamedTuple):
    """A piece of an access to RAM, at a PA. `around`: the two aligned pieces around a load."""

    address: int
    data: bytes
    is_store: bool
    around: bytes = b""


@dataclass(slots=True)
class Instruction:
    """An instruction that was tried; `position` by the count of all CPUs, of its block's start too.
    `x`: X0-X30 before it."""

    position: int
    pc: int
    block_position: int
    block_pc: int
    el: int
    vmid: int
    sp: int
    x: tuple[int, ...]
    word: int
    accesses: list[Access] = field(default_factory=list)

    @property
    def written(self) -> tuple[int, int] | None:
        """Encoding and value of MSR (register) or SYS."""
        if self.word >> 21 != 0xD500_0000 >> 21 or not self.word >> 19 & 3:
            return None
        return self.word >> 5 & 0xFFFF, (*self.x, 0)[self.word & 31]


class Written:
    """What each CPU of a machine does from now on."""

    def __init__(self, machine: Machine) -> None:
        self.cpus: list[list[Instruction]] = [[] for _ in machine.cpus]
        for cpu, done in zip(machine.cpus, self.cpus, strict=True):
            _write_down(machine, cpu, done)


def _write_down(machine: Machine, cpu: Cpu, done: list[Instruction]) -> None:
    batch = cpu.engine.batch([reg.PSTATE, reg.VTTBR_EL2, reg.SP, *reg.X])

    def before(pc: int) -> None:
        pstate, vttbr, sp, *x = batch.read()
        word, block_pc = word_at(cpu, pc), int(cpu.state.block_pc)
        at, block = position(machine, cpu, pc), position(machine, cpu, block_pc)
        el, vmid = pstate >> 2 & 3, vttbr >> 48 & 0xFF
        done.append(Instruction(at, pc, block, block_pc, el, vmid, sp, tuple(x), word))
        line = translate(cpu, x[word & 31] & -_LINE) if word & ~31 == _DC_ZVA else None
        if line is not None and machine.memory.ram_base <= line:
            # Done by the emulator in one piece, or by Unicorn in many.
            done[-1].accesses.append(Access(line, bytes(_LINE), True))

    def at_access(pa: int, size: int, value: int, is_store: bool) -> None:
        if done[-1].word & ~31 != _DC_ZVA:
            data = value.to_bytes(8, "little")[:size] if is_store else machine.read_pa(pa, size)
            around = b"" if is_store else machine.read_pa(pa & -size, 2 * size)
            done[-1].accesses.append(Access(pa, data, is_store, around))

    before_each_instruction(cpu, before)
    at_each_access(machine, cpu, at_access)


@dataclass(frozen=True, slots=True)
class Window:
    """Which hits count: those from `farthest` to `nearest` instructions before `end`. Of accesses
    the position of their block's start is taken unless `is_exact`."""

    end: int
    nearest: int
    farthest: int
    is_exact: bool

    def holds(self, found: Found) -> bool:
        """Whether one counts."""
        return self.nearest <= found.ahead <= self.farthest


def hits(done: list[Instruction], sought: Sought, window: Window) -> list[Found]:
    """What is found of one CPU's instructions, in their order."""
    return [found for found in _all_hits(done, sought, window) if window.holds(found)]


def _wide(accesses: list[Access]) -> Iterator[tuple[int, bytes, bool]]:
    """What counts where accesses are not sought exactly."""
    for address, data, is_store, around in accesses:
        size = len(data)
        if is_store or not address % size:
            yield address, data, is_store
        else:
            yield address & -size, around[:size], is_store
            yield (address & -size) + size, around[size:], is_store


def _all_hits(done: list[Instruction], sought: Sought, window: Window) -> Iterator[Found]:
    register = sought.register
    number = -1 if register is None else reg.X.index(register.register)
    before: Instruction | None = None
    for one in done:
        ahead = window.end - one.position
        for code in sought.codes:
            is_there = code.va == one.pc and code.levels >> one.el & 1
            is_vm = code.vmid in (ANY_VMID, one.vmid)
            if is_there and is_vm and code.sp_least <= one.sp <= code.sp_most:
                yield Found(ahead, one.pc, one.pc, 0, code.id, 0, False)
        if register is not None and before is not None and one.x[number] != before.x[number]:
            at = window.end - before.position
            yield Found(at, before.pc, 0, one.x[number], register.id, 8, True)
        for wanted in sought.sysregs:
            if one.written is not None and one.written[0] == wanted.key:
                yield Found(ahead, one.pc, wanted.key, one.written[1], wanted.id, 8, True)
        pc = one.pc if window.is_exact else one.block_pc
        at = ahead if window.is_exact else window.end - one.block_position
        accesses = ((a.address, a.data, a.is_store) for a in one.accesses)
        for address, data, is_store in accesses if window.is_exact else _wide(one.accesses):
            for place in sought.ranges:
                is_kind = place.accesses & (WRITES if is_store else READS)
                if is_kind and place.start < address + len(data) and address < place.end:
                    value = int.from_bytes(data, "little")
                    yield Found(at, pc, address, value, place.id, len(data), is_store)
        before = one


def in_order(found: Iterable[Found], sought: Sought) -> dict[int | None, list[object]]:
    """What was found, by number of a range of memory; the rest together. Accesses byte by byte, as
    far as they were sought: they come in pieces."""
    ranges = {wanted.id: wanted for wanted in sought.ranges}
    result: dict[int | None, list[object]] = {}
    for one in found:
        wanted = ranges.get(one.id)
        if wanted is None:
            result.setdefault(None, []).append(one)
            continue
        first, last = max(one.address, wanted.start), min(one.address + one.size, wanted.end)
        assert first < last, "an access beside what is sought"
        result.setdefault(one.id, []).extend(
            (one.ahead, one.pc, one.is_store, at, one.value >> 8 * (at - one.address) & 0xFF)
            for at in range(first, last)
        )
    return result
