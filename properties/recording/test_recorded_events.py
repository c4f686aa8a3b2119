# SPDX-License-Identifier: Apache-2.0
"""The events in a recording are those of the run, by what else is known of it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.exits import kind_name
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.monitor import events as monitored
from aether_edgecloud.emulator.monitor.monitor import Monitor, Record
from aether_edgecloud.emulator.recording.events import EVENT, EventKind, Events, encoding_name
from aether_edgecloud.emulator.recording.vm_switches import VmSwitches
from aether_edgecloud.properties.machine.snapshot_worlds import WORLDS
from aether_edgecloud.properties.recording.recorded import LIMIT, NAMES, opened, recorded

_TAKEN = (EventKind.EXCEPTION, EventKind.INTERRUPT, EventKind.HYPERCALL)
_HVC = 0x16


def test_vmid_0_is_no_vm() -> None:
    """A hypervisor may use it; it has no name among the VMs."""
    rows = np.zeros(3, EVENT)
    rows["kind"], rows["c"] = EventKind.ERET, 2
    rows["vm"], rows["position"] = (1, 0, 2), (10, 20, 30)
    switches = VmSwitches()
    assert list(switches.first_entries(switches.insert(rows))) == [(1, 10), (2, 30)]


def _ran(name: str) -> Machine:
    machine = WORLDS[name].make()
    machine.run(LIMIT)
    return machine


def _rows(events: Events, *kinds: EventKind) -> list[tuple[int, ...]]:
    chosen = np.flatnonzero(np.isin(events.kind, kinds))
    names = ("position", "cpu", "kind", "vm", "a", "b", "c")
    return list(zip(*(getattr(events, n)[chosen].tolist() for n in names), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_exception_is_there(name: str, tmp_path: Path) -> None:
    """Against what each CPU has counted."""
    machine = _ran(name)
    with opened(name, tmp_path) as recording:
        found: list[Counter[tuple[int, int, str]]] = [Counter() for _ in machine.cpus]
        for _, cpu, kind, _, _, _, c in _rows(recording.events, *_TAKEN):
            if kind == EventKind.HYPERCALL:
                found[cpu][1, 2, "hvc"] += 1
                continue
            assert (c >> 8 >= 64) == (kind == EventKind.INTERRUPT)
            found[cpu][c & 15, c >> 4 & 15, kind_name(c >> 8)] += 1
    assert [dict(counter) for counter in found] == [cpu.exception_counts for cpu in machine.cpus]
    machine.close()


@pytest.mark.parametrize("name", NAMES)
def test_levels_follow_from_one_another(name: str, tmp_path: Path) -> None:
    """On each CPU, what takes it to another level begins at the one where it was left."""
    with opened(name, tmp_path) as recording:
        events = recording.events
        assert (np.diff(events.position.astype(np.int64)) >= 0).all()
        level: dict[int, int] = {}
        for _, cpu, kind, _, a, _, c in _rows(events, *_TAKEN, EventKind.ERET):
            if kind == EventKind.ERET:
                assert (level.get(cpu, 2), a != c) == (c, True)
                level[cpu] = a
            else:
                start, end = (1, 2) if kind == EventKind.HYPERCALL else (c & 15, c >> 4 & 15)
                assert level.get(cpu, 2) == start
                level[cpu] = end


@pytest.mark.parametrize("name", ["hello", "four CPUs on and off"])
def test_registers_and_maintenance_as_the_monitor_sees_them(name: str, tmp_path: Path) -> None:
    machine = WORLDS[name].make()
    monitor = Monitor(machine, record=Record.EVENTS)
    machine.run(LIMIT)
    seen: dict[int, list[tuple[object, ...]]] = {n: [] for n in range(len(machine.cpus))}
    for event in monitor.events:
        if event.kind in (monitored.EventKind.MSR, monitored.EventKind.TLBI) and event.pc:
            seen[event.cpu].append((event.name.lower(), event.value, event.pc))
    translation = set(monitored.REGISTERS)
    found: dict[int, list[tuple[object, ...]]] = {n: [] for n in seen}
    level = dict.fromkeys(seen, 2)
    with opened(name, tmp_path) as recording:
        for _, cpu, kind, _, a, b, c in _rows(recording.events, *EventKind):
            match EventKind(kind):
                case EventKind.ERET:
                    level[cpu] = a
                case EventKind.HYPERCALL:
                    level[cpu] = 2
                case EventKind.EXCEPTION | EventKind.INTERRUPT:
                    level[cpu] = c >> 4 & 15
                case EventKind.SYSREG_WRITE if a in translation and level[cpu] == 2:
                    found[cpu].append((encoding_name(a).lower(), b, c))
                case EventKind.TLBI if level[cpu] == 2:
                    name = encoding_name(a).removeprefix("TLBI ").lower()
                    found[cpu].append((name, b, c))
    # What the registers held before the first instruction is no write.
    start = {cpu: [row for row in rows if row[2] != machine.image] for cpu, rows in seen.items()}
    for cpu, rows in found.items():
        assert rows == start[cpu][len(start[cpu]) - len(rows) :]
        assert len(rows) >= len(start[cpu]) - len(monitored.REGISTERS)
    monitor.close()
    machine.close()


def test_an_event_is_where_its_instruction_is(tmp_path: Path) -> None:
    """The machine run to the block with a register write is before that write, and the counter of
    instructions says how far: the PC of the write minus that of the block."""
    with opened("hello", tmp_path) as recording:
        machine = recording.machine()
        writes = _rows(recording.events, EventKind.SYSREG_WRITE, EventKind.TLBI)
        for position, cpu, _, _, _, _, pc in writes[5::40]:
            machine.restore(recording.checkpoints.load(0))
            until = position
            while True:
                machine.restore(recording.checkpoints.load(0))
                stop = machine.run(until)
                if stop.instructions <= position:
                    break
                until -= 1 + (stop.instructions - position)
            assert pc == stop.pc + 4 * (position - stop.instructions)
            assert cpu == 0
        machine.close()


def test_hypercalls_and_entries_of_vms(tmp_path: Path) -> None:
    with opened("hello", tmp_path) as recording:
        events = recording.events
        machine = recording.machine()
        calls = _rows(events, EventKind.HYPERCALL)
        assert {vm for _, _, _, vm, *_ in calls} == {1}
        assert 0x8400_0008 in {a for *_, a, _, _ in calls}  # PSCI SYSTEM_OFF
        ((position, cpu, _, vm, a, b, _),) = _rows(events, EventKind.VM_SWITCH)
        assert (cpu, vm, a, b) == (0, 1, 0, 1)
        assert [m.position for m in recording.marks if m.text == "guest vm0"] == [position]
        stop = machine.run(position)
        assert (stop.instructions, stop.el) == (position, 1)
        assert machine.cpu.native(reg.VTTBR_EL2) >> 48 == 1
        machine.close()


def test_lines_of_output(tmp_path: Path) -> None:
    with opened("hello", tmp_path) as recording:
        events = recording.events
        output = b"".join(chunk.data for chunk in recording.console)
        numbers = np.flatnonzero(events.kind == EventKind.CONSOLE).tolist()
        assert [events.say(n) for n in numbers] == output.decode().split("\r\n")[:-1]
        ends = [position for position, *_ in _rows(events, EventKind.CONSOLE)]
        for number, end in zip(numbers, ends, strict=True):
            sent = b"".join(c.data for c in recording.console if c.position <= end)
            start, length = int(events.a[number]), int(events.b[number])
            assert len(sent) >= start + length


def test_every_byte_of_output_and_input_is_an_access(tmp_path: Path) -> None:
    name = "one that reads"
    with opened(name, tmp_path) as recording:
        events = recording.events
        data = recording.identity.board.devices[4].base
        accesses = [(b, c >> 8) for *_, a, b, c in _rows(events, EventKind.MMIO) if a == data]
        written = bytes(b & 0xFF for b, is_write in accesses if is_write)
        assert written == b"".join(chunk.data for chunk in recording.console)
        read = bytes(b & 0xFF for b, is_write in accesses if not is_write)
        given = bytes(byte for _, byte in recording.log.given)
        assert bytes(a for *_, a, _, _ in _rows(events, EventKind.DEVICE_WRITE)) == given
        assert given.startswith(read) and given


def test_tables_as_the_monitor_sees_them(tmp_path: Path) -> None:
    """All stores to live tables are found again, with their values, by executing intervals."""
    machine = WORLDS["hello"].make()
    monitor = Monitor(machine, record=Record.EVENTS)
    machine.run(LIMIT)
    stores: Counter[tuple[int, ...]] = Counter(
        (event.address, event.old, event.value, event.instruction)
        for event in monitor.events
        if event.kind is monitored.EventKind.STORE
    )
    barriers = Counter(
        (event.pc, event.instruction)
        for event in monitor.events
        if event.kind is monitored.EventKind.DSB
    )
    monitor.close()
    machine.close()
    assert stores
    with opened("hello", tmp_path) as recording:
        positions = recording.checkpoints.positions
        found: Counter[tuple[int, ...]] = Counter()
        dsbs: Counter[tuple[int, ...]] = Counter()
        for first in reversed(range(len(positions))):
            events = recording.index(first)
            for position, _, kind, _, a, b, c in _rows(events, *EventKind):
                assert positions[first] <= position <= recording.end
                if kind == EventKind.TABLE_WRITE:
                    found[a, b, c, position] += 1
                else:
                    dsbs[b, position] += 1
    assert stores - found == Counter()
    assert dsbs == barriers


@pytest.mark.parametrize("name", NAMES)
def test_every_event_can_be_said(name: str, tmp_path: Path) -> None:
    with opened(name, tmp_path) as recording:
        events = recording.events
        for kind in EventKind:
            for index in np.flatnonzero(events.kind == kind)[:50].tolist():
                words = events.say(index)
                assert kind is EventKind.CONSOLE or words
                assert "\n" not in words


def test_switches_are_worked_out_the_same_however_the_run_is_cut() -> None:
    rows = np.zeros(200, EVENT)
    rows["kind"] = np.where(np.arange(200) % 3, EventKind.ERET, EventKind.MMIO)
    rows["c"] = np.where(np.arange(200) % 7, 2, 1)
    rows["vm"] = np.arange(200) // 13 % 3 + 1
    rows["cpu"] = np.arange(200) // 5 % 2
    rows["position"] = np.arange(200) * 10
    whole = VmSwitches().insert(rows)
    cut = VmSwitches()
    parts = np.concatenate([cut.insert(rows[n : n + 17]) for n in range(0, 200, 17)])
    assert (whole == parts).all()
    last = {0: 0, 1: 0}
    for row in whole:
        if row["kind"] == EventKind.VM_SWITCH:
            assert (row["a"], row["b"]) == (last[int(row["cpu"])], row["vm"])
            last[int(row["cpu"])] = int(row["vm"])
        elif row["kind"] == EventKind.ERET and row["c"] == 2:
            assert last[int(row["cpu"])] == row["vm"]
    assert recorded("hello").content
