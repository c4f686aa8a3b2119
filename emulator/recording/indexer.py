# SPDX-License-Identifier: Apache-2.0
"""Events that cost too much to look for in every run: an interval is executed again, watched.

Watched are the tables of EL2 and of stage 2: whatever hangs below the roots that a register leads
to by then or later in the run, as far as it has been linked.
"""

import numpy as np

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.observation import (
    Observation,
    Observed,
    Wanted,
)
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording.events import COLUMNS, EVENT, EventKind, Events
from aether_edgecloud.stage2.decode import LAST_LEVEL, Geometry

_DSB_MASK, _DSB = 0xFFFF_F0FF, 0xD503_309F
_OA = 0x0000_FFFF_FFFF_F000
_TABLE = 3  # a descriptor's type above the last level
_VMID_SHIFT = 48
_VTTBR, _VTCR = reg.VTTBR_EL2.key, reg.VTCR_EL2.key
_TTBR0, _TCR = reg.TTBR0_EL2.key, reg.TCR_EL2.key


class Indexer:
    """Finds events in one run, that of `events`, on `machine`, which is its own."""

    def __init__(self, machine: Machine, events: Events) -> None:
        self._machine = machine
        self._memory = machine.memory
        self._words = machine.memory.bytes.cast("Q")
        self._roots = _roots(events)
        self._tables: dict[int, tuple[int, int]] = {}  # PA to VMID and level
        self._seen = Observation(machine.cpus, self._memory, self._listen)
        self._rows: list[tuple[int, int, int, int, int, int, int]] = []

    def find(self, start: Snapshot, end: int) -> Events:
        """TABLE_WRITE and DSB from a checkpoint up to position `end`. `vm` of the former is the
        VMID of the table, 0 for EL2's own."""
        machine = self._machine
        machine.restore(start)
        self._rows = []
        self._tables = {}
        self._seen.watch_nothing()
        for vmid, geometry in self._roots:
            for number in range(geometry.root_tables):
                self._watch(geometry.root + number * PAGE_SIZE, vmid, geometry.start_level)
        for number in range(len(machine.cpus)):
            self._seen.want(number, Wanted.BARRIERS)
        self._seen.flush()
        machine.run(end)
        rows = np.zeros(len(self._rows), EVENT)
        if self._rows:
            for name, column in zip(COLUMNS, zip(*self._rows, strict=True), strict=True):
                rows[name] = np.array(column, np.uint64)
        return Events.of(rows[rows["position"] < end])

    def _listen(self, cpu: int, kind: int, a: int, b: int, new: int) -> None:
        is_store = kind == Observed.STORE
        if not is_store and (kind != Observed.BARRIER or a & _DSB_MASK != _DSB):
            return
        pc = self._seen.pc(cpu, of_store=is_store)
        others = int(self._machine.cpus[cpu].state.others_retired)
        position = self._seen.instruction(cpu, pc) + others
        if not is_store:
            vm = self._machine.cpus[cpu].native(reg.VTTBR_EL2) >> _VMID_SHIFT & 0xFF
            self._rows.append((position, EventKind.DSB, cpu, vm, a, pc, 0))
            return
        vmid, level = self._tables[a & -PAGE_SIZE]
        self._rows.append((position, EventKind.TABLE_WRITE, cpu, vmid, a, b, new))
        if level < LAST_LEVEL and new & _TABLE == _TABLE and new & _OA not in self._tables:
            self._watch(new & _OA, vmid, level + 1)
            self._seen.flush()

    def _watch(self, pa: int, vmid: int, level: int) -> None:
        """Watch a table and those below it."""
        todo = [(pa, level)]
        while todo:
            pa, level = todo.pop()
            page = (pa - self._memory.ram_base) // PAGE_SIZE
            if pa in self._tables or not self._memory.is_ram(pa):
                continue
            self._tables[pa] = vmid, level
            self._seen.watch(page)
            if level < LAST_LEVEL:
                words = self._words[page * PAGE_SIZE // 8 : (page + 1) * PAGE_SIZE // 8].tolist()
                todo += [(word & _OA, level + 1) for word in words if word & _TABLE == _TABLE]


def _roots(events: Events) -> list[tuple[int, Geometry]]:
    """Every tree of EL2 and of stage 2 that a CPU was led to, with its VMID. Which control register
    belongs to which root depends on the order of writes: each goes with each."""
    writes = np.flatnonzero(events.kind == EventKind.SYSREG_WRITE)
    keys, values = events.a[writes], events.b[writes]

    def written(key: int) -> list[int]:
        found: list[int] = np.unique(values[keys == key]).tolist()
        return found

    found: dict[tuple[int, int, int], Geometry] = {}
    for root, control, make in (
        (_VTTBR, _VTCR, Geometry.stage2),
        (_TTBR0, _TCR, lambda tcr, ttbr: Geometry.el2(tcr, ttbr, 0)),
    ):
        for ttbr in written(root):
            vmid = ttbr >> _VMID_SHIFT & 0xFF if root == _VTTBR else 0
            for tcr in written(control):
                try:
                    geometry = make(tcr, ttbr & _OA)
                except ValueError:
                    continue
                found[vmid, geometry.root, geometry.start_level] = geometry
    return [(vmid, geometry) for (vmid, _, _), geometry in found.items()]
