# SPDX-License-Identifier: Apache-2.0
"""Monitors that report, and go on; and several of one machine."""

from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.monitor.events import EventKind
from aether_edgecloud.emulator.monitor.monitor import Monitor, Record
from aether_edgecloud.emulator.monitor.violation import Rule, Violation
from aether_edgecloud.properties.monitor.el2_programs import (
    DATA,
    DSB_ISH,
    DSB_ISHST,
    IPA,
    L3,
    LIMIT,
    PAGE_LEAF,
    boot,
    entry,
    flush_ipa,
    tlbi,
    write,
)

UNMAP = write(entry(L3, 0), 0)
MAKE = write(entry(L3, 0), DATA + 0x5000 | PAGE_LEAF) + DSB_ISH
WRONG = UNMAP + DSB_ISHST + tlbi("vmalle1is") + DSB_ISH + MAKE


def test_the_run_goes_on_after_each() -> None:
    machine = boot(WRONG + write(entry(L3, 1), 0) + DSB_ISH)
    found: list[Violation] = []
    monitor = Monitor(machine, report=found.append)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    assert monitor.violation is None
    monitor.check()
    assert [violation.rule for violation in found] == [
        Rule.MAKE_BEFORE_CLEAN,
        Rule.NOT_FLUSHED,
        Rule.NOT_FLUSHED,
    ]
    first = found[0]
    assert (first.entry_pa, first.level, first.ia) == (entry(L3, 0), 3, IPA)
    assert first.pc in range(0x4020_0000, 0x4020_1000)
    assert found[0].instruction < found[1].instruction


def test_what_it_finds_first_is_what_stops_another() -> None:
    found: list[Violation] = []
    machine = boot(WRONG)
    reporting, stopping = Monitor(machine, report=found.append), Monitor(machine)
    assert machine.run(LIMIT).kind is StopKind.BREAK
    assert stopping.violation is not None
    assert str(found[0]) == str(stopping.violation)
    assert reporting.violation is None


def test_an_entry_has_several_old_values() -> None:
    old = [DATA + n * 0x1000 | PAGE_LEAF for n in (0, 6, 7)]
    body = "".join(write(entry(L3, 0), value) for value in (*old[1:], 0)) + DSB_ISHST
    machine = boot(body)
    monitor = Monitor(machine, report=lambda violation: None)
    machine.run(LIMIT)
    assert [one.old for one in monitor.entries.unclean.of_entry(entry(L3, 0))] == old
    machine = boot(body + flush_ipa())
    monitor = Monitor(machine, report=lambda violation: None)
    machine.run(LIMIT)
    assert len(monitor.entries.unclean) == 0


def test_two_that_record_do_not_disturb_each_other() -> None:
    machine = boot(UNMAP + flush_ipa())
    monitors = [Monitor(machine, record=Record.EVENTS) for _ in range(2)]
    plain = Monitor(machine)
    machine.run(40)
    plain.close()
    machine.run(LIMIT)
    first, second = (monitor.events for monitor in monitors)
    assert first == second
    alone = boot(UNMAP + flush_ipa())
    monitor = Monitor(alone, record=Record.EVENTS)
    alone.run(LIMIT)
    assert monitor.events == first
    assert [e.kind for e in first].count(EventKind.STORE) == 1


def test_one_that_comes_later_sees_the_code_that_runs() -> None:
    machine = boot(UNMAP + flush_ipa())
    Monitor(machine)
    machine.run(5)
    late = Monitor(machine)
    machine.run(LIMIT)
    assert list(late.trees.code) == [0x4020_0000]


def test_snapshots_carry_them_all() -> None:
    machine = boot(WRONG)
    found: list[Violation] = []
    Monitor(machine, report=found.append)
    stopping = Monitor(machine)
    start = machine.snapshot()
    machine.run(LIMIT)
    told, found[:] = [str(one) for one in found], []
    machine.restore(start)
    assert stopping.violation is None
    machine.run(LIMIT)
    assert [str(one) for one in found] == told
    assert stopping.violation is not None
