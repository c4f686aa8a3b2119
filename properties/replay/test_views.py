# SPDX-License-Identifier: Apache-2.0
"""What is shown of a moment is what the machine is there, and what the last step made of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay import Direction, EventOf, Execute, Replay
from aether_edgecloud.emulator.replay.views.backtrace import backtrace, stack
from aether_edgecloud.emulator.replay.views.code import disassembly
from aether_edgecloud.emulator.replay.views.maps import Map, stage1_of, translation_map
from aether_edgecloud.emulator.replay.views.memory import Space, memory, physical
from aether_edgecloud.emulator.replay.views.registers import registers
from aether_edgecloud.emulator.replay.views.surroundings import console_at, events_around
from aether_edgecloud.emulator.report import machine_state
from aether_edgecloud.emulator.report.machine_state import NoMap
from aether_edgecloud.properties.replay.runs import HELLO, recording

HYPERCALL = EventOf(frozenset({EventKind.HYPERCALL}))


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Replay]:
    """The run of `hello`, in a hypercall."""
    found = Replay.open(recording(HELLO, tmp_path))
    hit = found.find(HYPERCALL, Direction.FORWARD)
    assert hit is not None
    yield found
    found.close()


def in_console_write(replay: Replay) -> None:
    va = replay.symbols.address_of("console_write")
    assert va is not None
    assert replay.find(Execute(va, el=2), Direction.FORWARD) is not None


def test_registers_tell_what_the_last_step_changed(replay: Replay) -> None:
    for _ in range(12):
        position = replay.position
        before = {r.name: r.value for r in registers(replay).general}
        replay.step()
        view = registers(replay)
        assert replay.position in (position, position + 1)
        for register in (*view.general, *view.system):
            if register.is_changed:
                assert register.before != register.value
        changed = {r.name: r.before for r in view.general if r.is_changed}
        assert changed == {
            r.name: before[r.name] for r in view.general if before[r.name] != r.value
        }
        assert "PC" in changed


def test_registers_by_field(replay: Replay) -> None:
    view = registers(replay, system=("HCR_EL2", "esr_el2"))
    assert [r.name for r in view.system] == ["HCR_EL2", "ESR_EL2"]
    assert {f.name: f.value for f in view.system[1].fields}["EC"] == 0x16
    assert (view.el, view.vm, view.vmid) == (2, "vm0", 1)
    with pytest.raises(UserError):
        registers(replay, system=("HCR_EL9",))
    with pytest.raises(UserError):
        registers(replay, cpu=1)


def test_code_around_the_cursor(replay: Replay) -> None:
    in_console_write(replay)
    code = disassembly(replay, before=2, after=3)
    assert [i.is_current for i in code] == [False, False, True, False, False, False]
    current = code[2]
    assert current.symbol == "console_write"
    assert current.word == replay.machine.cpu.engine.fetch_word(current.va)
    assert current.source is not None
    assert current.source.file.endswith(".c")
    nowhere = disassembly(replay, at=0x1000, before=0, after=0)[0]
    assert nowhere.word is None
    assert "not mapped" in nowhere.text


def test_memory_by_va_ipa_and_pa(replay: Replay) -> None:
    replay.step(-1)
    cpu = replay.machine.cpu
    assert cpu.current_el == 1
    by_va = memory(replay, cpu.pc, 64)
    word = by_va.data[:4]
    assert int.from_bytes(bytes(b for b in word if b is not None), "little") == (
        cpu.engine.fetch_word(cpu.pc)
    )
    pa = physical(replay, cpu.pc, Space.VA)
    assert pa is not None
    by_pa = memory(replay, pa, 64, Space.PA)
    assert by_pa.data == by_va.data
    found = translation_map(replay, Map.STAGE2)
    region = next(r for r in found.regions if r.has_cursor)
    ipa = region.start + pa - region.pa
    assert memory(replay, ipa, 64, Space.IPA).data == by_va.data
    device = memory(replay, 0x0900_0000, 8, Space.PA)
    assert device.data == (None,) * 8
    assert device.pieces[0].why
    with pytest.raises(UserError):
        memory(replay, 0, 0)


def test_memory_tells_what_the_last_step_changed(replay: Replay) -> None:
    in_console_write(replay)
    sp = replay.machine.cpu.registers()[31]
    replay.step()  # STP X29, X30, [SP, #-n]!
    now = replay.machine.cpu.registers()[31]
    assert now < sp
    view = memory(replay, now, 64, changes=True)
    before = replay.look_back(lambda at: memory(at, now, 64).data)
    assert before is not None
    expected = {n for n in range(64) if before[n] != view.data[n]}
    assert view.changed == expected
    assert expected


def test_maps_are_those_of_the_tables(replay: Replay) -> None:
    cpu, ram = replay.machine.cpu, replay.machine.memory
    for which, decoded in (
        (Map.STAGE2, machine_state.stage2_tables(cpu, ram)),
        (Map.STAGE1_EL2, machine_state.el2_tables(cpu, ram)),
    ):
        assert not isinstance(decoded, NoMap)
        view = translation_map(replay, which)
        for leaf in decoded.leaves:
            inside = [r for r in view.regions if r.start <= leaf.ia < r.end]
            assert len(inside) == 1
            assert inside[0].pa + leaf.ia - inside[0].start == leaf.pa
        size = sum(r.end - r.start for r in view.regions)
        assert size == sum(leaf.size for leaf in decoded.leaves)
    owners = {r.owner for r in translation_map(replay, Map.STAGE2).regions}
    assert "vm0" in owners
    assert {r.owner for r in translation_map(replay, Map.STAGE1_EL2).regions} >= {"EL2"}
    assert [view.which for view in stage1_of(replay)] == [Map.STAGE1_EL2]
    replay.goto(10)
    assert translation_map(replay, Map.STAGE2).none
    assert translation_map(replay, Map.STAGE1_EL2).none


def test_stage_1_of_a_guest(replay: Replay) -> None:
    replay.step(-1)
    low, high = stage1_of(replay)
    assert (low.which, high.which) == (Map.STAGE1_LOW, Map.STAGE1_HIGH)
    is_on = replay.machine.cpu.native(reg.SCTLR_EL1) & 1
    assert bool(low.regions) == bool(is_on)


def test_backtrace_from_el2_to_the_guest(replay: Replay) -> None:
    call = replay.look_back(lambda at: at.machine.cpu.pc)
    assert call is not None
    frames = backtrace(replay)
    assert [(f.kind, f.el) for f in frames] == [("pc", 2), ("exception", 1)]
    assert frames[1].pc == call + 4
    in_console_write(replay)
    for _ in range(12):
        frames = backtrace(replay)
        names = [(f.symbol or "").partition("+")[0] for f in frames]
        assert "console_write" in names[:3]
        assert "hypercall" in names
        assert names.count("hypercall") == 1
        assert frames[-1].kind == "exception"
        replay.step()
    words = stack(replay, 8)
    sp = replay.machine.cpu.registers()[31]
    assert [word.va for word in words] == list(range(sp, sp + 64, 8))


def test_events_and_console_at_the_cursor(replay: Replay) -> None:
    early, late = events_around(replay, 5, 5)
    assert len(early) == len(late) == 5
    assert all(event.position < replay.position for event in early)
    assert all(event.position >= replay.position for event in late)
    numbers = [event.index for event in (*early, *late)]
    assert numbers == list(range(numbers[0], numbers[0] + 10))
    kinds = frozenset({EventKind.HYPERCALL})
    assert {e.kind for e in events_around(replay, 3, 3, kinds)[1]} == {EventKind.HYPERCALL}
    output = b"".join(chunk.data for chunk in replay.console)
    here = console_at(replay, 1 << 20)
    assert output.startswith(here)
    assert len(here) < len(output)
    replay.goto(replay.end)
    assert console_at(replay, 1 << 20) == output
