# SPDX-License-Identifier: Apache-2.0
"""A run of the hypervisor with one guest, debugged by packets: what gdb would be told is what the
machine is at that place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aether_edgecloud.emulator.gdb import opening, registers
from aether_edgecloud.emulator.gdb.memory import View
from aether_edgecloud.emulator.gdb.requests import (
    Motion,
    Point,
    PointKind,
    Resume,
    TargetError,
    Why,
)
from aether_edgecloud.emulator.gdb.session import Session
from aether_edgecloud.emulator.gdb.target import ReplayTarget
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay import Replay
from aether_edgecloud.properties.gdb.client import ask
from aether_edgecloud.properties.replay.runs import HELLO, recording

GUEST = 0x4000_0000


@pytest.fixture(scope="module")
def opened() -> Iterator[ReplayTarget]:
    loaded = binary.load(None)
    target = opening.live(build_request("hello", loaded), loaded.elf)
    yield target
    target.replay.close()


@pytest.fixture
def target(opened: ReplayTarget) -> ReplayTarget:
    opened.replay.goto(0)
    opened.remove_all()
    opened.view = View.CURRENT
    opened.focus = 1
    opened.monitor("scope auto", lambda: False)
    return opened


def test_a_cpu_that_there_is_not_is_told(target: ReplayTarget) -> None:
    for line in ("scope cpu 9", "scope cpu -1", "cpu 9", "cpu -1"):
        with pytest.raises(TargetError, match=r"there is no CPU (9|-1); they are 0 to 0"):
            target.monitor(line, lambda: False)
    assert target.focus == 1
    assert _go(target, Motion.STEP) is Why.STEPPED


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("position 5", r"position takes nothing; '5' is too much"),
        ("vm x", "takes nothing"),
        ("stage2 1", "takes nothing"),
        ("events 1 2", r"events takes \[N\]; '2' is too much"),
        ("last-write vm_count 4 4", "too much"),
        ("memory pa el2", "too much"),
        ("cpu 0 0", "too much"),
        ("scope el1 el2", "auto, any"),
        ("scope cpu", "auto, any"),
        ("scope vm hello x", "too much"),
        ("events -3", "-3 is no number of things"),
        ("console -1", "-1 is no number of things"),
        ("events x", "'x' is no number"),
        ("owner -5", "A physical address"),
        ("goto 5 6", "no place"),
        ("goto 5.3", "position 5 has no attempt 3"),
        ("goto event:0", "there are none"),
    ],
)
def test_monitor_commands_that_make_no_sense(target: ReplayTarget, line: str, words: str) -> None:
    scope, view, position = target.points.scope, target.view, target.replay.position
    with pytest.raises(TargetError, match=words):
        target.monitor(line, lambda: False)
    assert (target.points.scope, target.view, target.replay.position) == (scope, view, position)


def test_events_are_told_with_their_attempts_and_numbers(tmp_path: Path) -> None:
    recorded = ReplayTarget(Replay.open(recording(HELLO, tmp_path)), None)
    kinds = recorded.replay.events.kind
    number = int((kinds == EventKind.EXCEPTION).argmax())
    there = recorded.replay.event_moment(number)
    assert there.attempt == 1
    recorded.go_to(f"event:{number}")
    lines = recorded.monitor("events 1", lambda: False).splitlines()
    assert lines[1].split() == ["->", there.shown]
    assert lines[2].split()[0] == there.shown
    assert f" event:{number} " in lines[2]
    assert there.shown in recorded.monitor("position", lambda: False)
    recorded.replay.close()


def test_no_things_are_none(target: ReplayTarget) -> None:
    assert target.monitor("events 0", lambda: False).split() == ["->", "0"]
    assert target.monitor("console 0", lambda: False).strip() == ""


def test_the_last_write_of_a_symbol_is_that_of_its_address(target: ReplayTarget) -> None:
    found = []
    for where in ("vm_count", "vm_count+0", f"{_symbol(target, 'vm_count'):#x}"):
        target.go_to("end")
        target.view = View.EL2
        target.monitor(f"last-write {where} 4", lambda: False)
        found.append(target.replay.position)
    assert len(set(found)) == 1
    target.go_to("end")
    target.view = View.IPA
    target.monitor("last-write vm_count 4", lambda: False)
    assert target.replay.position == found[0]
    with pytest.raises(TargetError, match="there is no symbol"):
        target.monitor("last-write vm_coun", lambda: False)


def _symbol(target: ReplayTarget, name: str) -> int:
    address = target.replay.symbols.address_of(name)
    assert address is not None
    return address


def _go(target: ReplayTarget, motion: Motion, start: int = 0, end: int = 0) -> Why:
    return target.resume(Resume(motion, 1, start, end), lambda: False).why


def _to(target: ReplayTarget, name: str) -> None:
    point = Point(PointKind.HARDWARE, _symbol(target, name), 4)
    target.insert(point)
    assert _go(target, Motion.FORWARD) is Why.HARDWARE
    target.remove(point)


def _pc(target: ReplayTarget) -> int:
    return target.replay.machine.cpus[0].pc


def test_registers_are_those_of_the_machine(target: ReplayTarget) -> None:
    _to(target, "trap_hvc")
    cpu = target.replay.machine.cpus[0]
    core = target.read_registers(1)
    assert len(core) == 33 * 8 + 4
    for number in (*range(31), registers.SP, registers.PC):
        value = int.from_bytes(core[8 * number : 8 * number + 8], "little")
        assert value == int.from_bytes(target.read_register(1, number), "little")
    assert [
        int.from_bytes(core[8 * number : 8 * number + 8], "little") for number in range(31)
    ] == cpu.access.x
    names = {register.name: n for n, register in enumerate(registers.ALL)}
    for name in ("HCR_EL2", "VTTBR_EL2", "ESR_EL2", "SPSR_EL2", "TCR_EL2", "SCTLR_EL1"):
        value = int.from_bytes(target.read_register(1, names[name]), "little")
        assert value == cpu.access.read(name), name
    assert int.from_bytes(target.read_register(1, names["vmid"]), "little") == 1
    assert int.from_bytes(target.read_register(1, names["CurrentEL"]), "little") == 8
    elr = int.from_bytes(target.read_register(1, names["ELR_EL2"]), "little")
    assert GUEST <= elr < GUEST + (4 << 20)


def test_nothing_can_be_changed(target: ReplayTarget) -> None:
    before = target.read_registers(1), target.read_memory(1, _symbol(target, "main"), 16)
    for payload in (b"P0=0100000000000000", b"G00", b"M%x,1:00" % _symbol(target, "main")):
        (answer,) = ask(Session(target), payload)
        assert answer == b"E.a recording cannot be changed"
    assert before == (target.read_registers(1), target.read_memory(1, _symbol(target, "main"), 16))


def test_each_step_has_its_way_back(target: ReplayTarget) -> None:
    """Through an exception into the guest and back."""
    hvc = _hvc_of_the_guest(target)
    target.monitor("scope el1", lambda: False)
    target.insert(Point(PointKind.SOFTWARE, hvc, 4))
    assert _go(target, Motion.FORWARD) is Why.SOFTWARE
    assert target.replay.machine.cpus[0].current_el == 1
    target.remove_all()
    seen = []
    for _ in range(12):
        seen.append((_pc(target), target.read_registers(1)))
        assert _go(target, Motion.STEP) is Why.STEPPED
    assert target.replay.machine.cpus[0].current_el == 2
    for expected in reversed(seen):
        assert _go(target, Motion.STEP_BACK) is Why.STEPPED
        assert (_pc(target), target.read_registers(1)) == expected


def _hvc_of_the_guest(target: ReplayTarget) -> int:
    """Where the first HVC of the guest is: behind it the first exception returns."""
    _to(target, "trap_hvc")
    address = target.replay.machine.cpus[0].access.read("ELR_EL2") - 4
    target.replay.goto(0)
    return address


def test_both_ends(target: ReplayTarget) -> None:
    assert _go(target, Motion.STEP_BACK) is Why.BEGIN
    assert _go(target, Motion.BACK) is Why.BEGIN
    assert target.replay.position == 0
    assert _go(target, Motion.FORWARD) is Why.END
    end = target.replay.position
    assert end == target.replay.end > 0
    assert _go(target, Motion.FORWARD) is Why.END
    assert _go(target, Motion.STEP) is Why.END
    assert _go(target, Motion.STEP_BACK) is Why.STEPPED
    assert target.replay.position == end - 1
    assert _go(target, Motion.BACK) is Why.BEGIN


def test_a_breakpoint_is_met_the_same_times_both_ways(target: ReplayTarget) -> None:
    address = _symbol(target, "trap_hvc")
    target.insert(Point(PointKind.SOFTWARE, address, 4))
    on, back = [], []
    while _go(target, Motion.FORWARD) is Why.SOFTWARE:
        assert _pc(target) == address
        on.append(target.replay.position)
    while _go(target, Motion.BACK) is Why.SOFTWARE:
        assert _pc(target) == address
        back.append(target.replay.position)
    assert on == back[::-1]
    assert len(on) > 2


def test_a_breakpoint_in_the_image_is_not_the_guests(target: ReplayTarget) -> None:
    """The guest, at its entry, has the addresses at which EL2's image lies."""
    image = target.replay.machine.loaded[0]
    _to(target, "trap_hvc")
    while target.replay.machine.cpus[0].current_el == 2:
        assert _go(target, Motion.STEP) is Why.STEPPED
    in_guest = _pc(target)
    target.insert(Point(PointKind.SOFTWARE, in_guest, 4))
    assert (in_guest in image) == (target.points.breakpoints[0].el == 2)
    target.remove_all()
    target.monitor("scope el2", lambda: False)
    target.insert(Point(PointKind.SOFTWARE, in_guest, 4))
    assert _go(target, Motion.FORWARD) in (Why.END, Why.SOFTWARE)
    assert target.replay.machine.cpus[0].current_el == 2


def test_a_range_is_stepped_out_of(target: ReplayTarget) -> None:
    start = _symbol(target, "clear_bss")
    _to(target, "clear_bss")
    # Its loop of three instructions is tens of thousands long; here twice around.
    assert _go(target, Motion.STEP_RANGE, start, start + 8) is Why.STEPPED
    assert _pc(target) == start + 8
    first = target.replay.position
    target.insert(Point(PointKind.SOFTWARE, start + 4, 4))
    assert _go(target, Motion.STEP_RANGE, start, start + 12) is Why.SOFTWARE
    assert (_pc(target), target.replay.position) == (start + 4, first + 2)


def _to_the_write(target: ReplayTarget, point: Point, why: Why) -> int:
    """The place before the first access that changes what is watched, found as gdb does: it takes
    a step without the watchpoint after each report."""
    before = target.read_memory(1, point.address, point.size)
    while True:
        target.insert(point)
        stop = target.resume(Resume(Motion.FORWARD, 1), lambda: False)
        assert (stop.why, stop.address) == (why, point.address)
        target.remove(point)
        position = target.replay.position
        assert _go(target, Motion.STEP) is Why.STEPPED
        if target.read_memory(1, point.address, point.size) != before:
            return position


@pytest.mark.parametrize(
    ("kind", "why"), [(PointKind.WRITE, Why.WRITE), (PointKind.ACCESS, Why.ACCESS)]
)
def test_a_watchpoint_is_met_before_the_write_and_backwards_after_it(
    target: ReplayTarget, kind: PointKind, why: Why
) -> None:
    """gdb takes the step over the access itself, for AArch64."""
    address = _symbol(target, "vm_count")
    point = Point(kind, address, 4)
    there = _to_the_write(target, point, why)
    assert target.read_memory(1, address, 4) == b"\1\0\0\0"
    assert target.replay.position == there + 1
    target.insert(point)
    stop = target.resume(Resume(Motion.BACK, 1), lambda: False)
    assert (stop.why, stop.address, target.replay.position) == (why, address, there + 1)
    target.remove(point)
    assert _go(target, Motion.STEP_BACK) is Why.STEPPED
    assert target.read_memory(1, address, 4) == bytes(4)


def test_an_access_of_the_next_instruction_counts(target: ReplayTarget) -> None:
    point = Point(PointKind.WRITE, _symbol(target, "vm_count"), 4)
    there = _to_the_write(target, point, Why.WRITE)
    target.insert(point)
    for motion in (Motion.FORWARD, Motion.STEP):
        target.replay.goto(there)
        assert _go(target, motion) is Why.WRITE
        assert target.replay.position == there


def test_reads_and_writes_are_told_apart(target: ReplayTarget) -> None:
    address = _symbol(target, "vm_count")
    written = _to_the_write(target, Point(PointKind.WRITE, address, 4), Why.WRITE)
    target.insert(Point(PointKind.READ, address, 4))
    target.replay.goto(written)
    assert _go(target, Motion.FORWARD) is Why.READ
    assert target.replay.position > written


@pytest.mark.parametrize("motion", [Motion.FORWARD, Motion.BACK])
@pytest.mark.parametrize("looks", [1, 2])
def test_ctrl_c_stops_where_it_has_come_to(
    target: ReplayTarget, motion: Motion, looks: int
) -> None:
    """No further than the end, if that is reached before anybody looks a second time."""
    _to(target, "open_bundle")
    start = target.replay.position
    target.insert(Point(PointKind.SOFTWARE, 4, 4))
    left = [False] * (looks - 1)
    stop = target.resume(Resume(motion, 1), lambda: not left or left.pop())
    passed = target.replay.position - start if motion is Motion.FORWARD else start
    if looks == 1:
        assert (stop.why, target.replay.position) == (Why.INTERRUPTED, start)
    assert stop.why in (Why.INTERRUPTED, Why.BEGIN, Why.END)
    assert 0 <= passed <= target.replay.end


# Memory.


def test_memory_by_every_kind_of_address(target: ReplayTarget) -> None:
    hvc = _hvc_of_the_guest(target)
    target.monitor("scope el1", lambda: False)
    target.insert(Point(PointKind.SOFTWARE, hvc, 4))
    _go(target, Motion.FORWARD)
    pc = _pc(target)
    code = target.read_memory(1, pc, 8)
    assert code[:4] == (0xD400_0002).to_bytes(4, "little")
    target.view = View.IPA
    assert target.read_memory(1, pc, 8) == code
    target.view = View.GUEST
    assert target.read_memory(1, pc, 8) == code
    target.view = View.EL2
    main = _symbol(target, "main")  # EL2 may only read and execute it
    assert target.read_memory(1, main, 8) == target.replay.machine.read_pa(main, 8)
    target.physical = True
    assert target.view is View.PA
    assert target.read_memory(1, main, 8) != code
    with pytest.raises(TargetError, match=r"PA 0x9000000 is no RAM"):
        target.read_memory(1, 0x0900_0000, 4)
    target.physical = False
    with pytest.raises(TargetError, match=r"is not mapped: stage 2 translation fault, level \d"):
        target.read_memory(1, 0x1_0000_0000, 4)


def test_the_stack_pointer_in_use_is_its_bank(target: ReplayTarget) -> None:
    names = {register.name: n for n, register in enumerate(registers.ALL)}
    hvc = _hvc_of_the_guest(target)
    _to(target, "trap_hvc")
    at_el2 = target.read_register(1, registers.SP)
    assert at_el2 not in (target.read_register(1, names[f"SP_EL{n}"]) for n in (0, 1))
    target.replay.goto(0)
    target.monitor("scope el1", lambda: False)
    target.insert(Point(PointKind.SOFTWARE, hvc, 4))
    _go(target, Motion.FORWARD)
    in_guest = target.read_register(1, registers.SP)
    assert in_guest == target.read_register(1, names["SP_EL1"]) != bytes(8)


def test_memory_is_read_up_to_where_it_ends(target: ReplayTarget) -> None:
    target.view = View.PA
    machine = target.replay.machine
    end = machine.board.ram_base + machine.board.ram_size
    assert len(target.read_memory(1, end - 4, 16)) == 4
    with pytest.raises(TargetError):
        target.read_memory(1, (1 << 64) - 4, 4)


def test_reading_everything_changes_nothing(target: ReplayTarget) -> None:
    from aether_edgecloud.emulator.machine.state import state_sha256

    _to(target, "trap_hvc")
    before = state_sha256(target.replay.machine)
    for number in range(len(registers.ALL)):
        target.read_register(1, number)
    for view in View:
        target.view = view
        for address in (0, GUEST, _symbol(target, "main"), 0x0800_0000, (1 << 64) - 8):
            ask(Session(target), b"m%x,8" % address)
    assert state_sha256(target.replay.machine) == before
