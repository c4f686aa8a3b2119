# SPDX-License-Identifier: Apache-2.0
"""How runs are compared: what counts, where a difference is placed, what a manifest lets flow."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.register_image import RegisterImage
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.machine.console import Bytes, InputSource
from aether_edgecloud.emulator.noninterference.compare import MARK, record
from aether_edgecloud.emulator.noninterference.crossings import ENTRY, CrossingLog
from aether_edgecloud.emulator.noninterference.pair import Options, Side, Subject
from aether_edgecloud.emulator.noninterference.result import Verdict
from aether_edgecloud.emulator.noninterference.secret import Secret, SecretKind
from aether_edgecloud.emulator.noninterference.subject import compared
from aether_edgecloud.emulator.recording.recorder import Recorder
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.replay import Replay

from . import patches
from .worlds import KEEPER, OBSERVER, TICKS_A_US, World, others, two_runs, usual

NOTHING: frozenset[SecretKind] = frozenset({SecretKind.INPUT})


def meddled(subject: Subject, change: Callable[[Machine], None], at: int) -> Subject:
    """Every second machine is changed when so many instructions have retired."""
    numbers = count()

    def build(source: InputSource) -> Machine:
        machine = subject.booted(source)
        if next(numbers) % 2 == 0:
            return machine
        run = machine.run
        done = [False]

        def meddling(until: int | None = None, **more: int | None) -> object:
            if not done[0]:
                assert until is not None
                stop = run(min(until, at), **more)
                if stop.instructions >= at:
                    done[0] = True
                    change(machine)
                return stop
            return run(until, **more)

        machine.run = meddling  # type: ignore[method-assign,assignment]
        return machine

    return replace(subject, build=build, booted=build)


def first_entries(subject: Subject, vmid: int, number: int) -> tuple[int, int]:
    """Position and PA of the memory's start, at the entry of that number."""
    machine = subject.build(Bytes())
    log = CrossingLog(machine, frozenset([vmid]), looks_at_memory=lambda vcpu, n: True)
    while sum(map(len, log.pending.values())) <= number:
        machine.run(machine.instructions + 50_000)
    (crossings,) = log.pending.values()
    place = crossings[number].position, log.regions[vmid][0].pa
    log.close()
    machine.close()
    return place


def test_a_byte_of_memory_is_found_where_it_changes() -> None:
    """Long before the VM reads it, or its memory is looked at the next time."""
    subject = usual(World())
    position, pa = first_entries(subject, 2, 40)

    def change(machine: Machine) -> None:
        machine.write_pa(pa + 0x12_3456, b"\x5a")

    changed = meddled(subject, change, position - 150)
    found = two_runs(changed, kinds=NOTHING).difference
    assert found is not None and found.a is not None
    assert (found.what, found.number) == ("entry", 40)
    assert found.a.position == position
    (page,) = found.memory
    assert found.pages == 1 and page.ipa + page.offset == 0x4012_3456
    assert (page.a[0], page.b[0]) == (0, 0x5A)


def test_memory_that_the_last_exit_has_changed_is_found_at_the_end() -> None:
    subject = usual(World((KEEPER, replace(OBSERVER, stub="hello", case=None))))
    position, pa = first_entries(subject, 2, 0)

    def change(machine: Machine) -> None:
        machine.write_pa(pa + 0x30_0001, b"\x01")

    found = two_runs(meddled(subject, change, position + 300_000), kinds=NOTHING).difference
    assert found is not None and found.what == "memory at the end"
    assert found.memory[0].ipa == 0x4030_0000 and found.memory[0].offset == 1


@pytest.mark.nightly
def test_memory_can_be_left_out() -> None:
    subject = usual(World())
    position, pa = first_entries(subject, 2, 40)
    changed = meddled(subject, lambda m: m.write_pa(pa + 0x12_3456, b"\x5a"), position - 150)
    found = two_runs(changed, kinds=NOTHING, has_memory=False)
    assert found.holds and not found.vms[0].memory_looks


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (reg.X[17], 0x1234),
        pytest.param(reg.FPSR, 1, marks=pytest.mark.nightly),
        pytest.param(reg.SP_BANK[0], 0x40, marks=pytest.mark.nightly),
    ],
)
def test_a_register_is_found_at_the_next_entry_or_exit(
    register: reg.CoreRegister, value: int
) -> None:
    subject = usual(World())
    position, _ = first_entries(subject, 2, 40)

    def change(machine: Machine) -> None:
        assert machine.cpu.current_el == 1
        machine.cpu.engine.write(register, value)

    found = two_runs(meddled(subject, change, position), kinds=NOTHING).difference
    assert found is not None and found.number == 41 and found.what.startswith("exit")
    assert register.name.upper() in [one.name for one in found.values]


def test_what_only_one_run_has_is_missed_in_the_other() -> None:
    subject = usual(World())
    position, _ = first_entries(subject, 2, 40)

    def change(machine: Machine) -> None:
        machine.cpu.state.on_crossing = None  # as if its slots went by without it

    found = two_runs(meddled(subject, change, position), kinds=NOTHING).difference
    assert found is not None and found.number == 41
    assert found.a is not None and found.b is None and found.why == "run b has no such crossing"


def test_without_time_only_what_the_vm_does_itself_counts() -> None:
    """A guest that calls and looks at no clock sees no time; a hypervisor that lets time flow is
    found with it, and not without."""
    calls = replace(OBSERVER, stub="null-hvc", case=None, parameter=400)
    world = World((replace(KEEPER, case="time"), calls))
    subject = world.subject(image=patches.without_sleep("run", "sleep_until", "serve"))
    timed = two_runs(subject)
    assert timed.difference is not None
    assert {value.name for value in timed.difference.values} >= {"time"}
    without = two_runs(subject, is_timed=False)
    assert without.holds and without.vms[0].crossings > 400


def test_a_log_changes_nothing_in_a_run() -> None:
    subject = usual(World())
    results = []
    for has_log in (False, True):
        machine = subject.build(Bytes())
        log = CrossingLog(machine, frozenset([1, 2])) if has_log else None
        machine.run(2_000_000)
        results.append((machine.instructions, machine.cpu.timelines, bytes(machine.console.output)))
        if log is not None:
            events = {vcpu.vmid: len(seen) for vcpu, seen in log.pending.items()}
            assert events == {vmid: n for vmid, (_, n) in machine.cpu.timelines.items()}
            assert all(seen[0].kind == ENTRY for seen in log.pending.values())
        machine.close()
    assert results[0] == results[1]


def test_an_image_of_registers_holds_what_they_hold() -> None:
    machine = usual(World()).build(Bytes())
    cpu = machine.cpu
    vectors = RegisterImage(cpu.engine, vectors=reg.V)
    vectors.write(bytes(range(256)) * 2)
    image = RegisterImage(cpu.engine, (*reg.X, reg.PC), (reg.VTTBR_EL2, reg.HCR_EL2), reg.V)
    cpu.write_x({n: 0x1111 * n for n in range(31)})
    cpu.engine.write(reg.VTTBR_EL2, 0x7 << 48 | 0x4000)
    found = image.decode(image.read())
    assert [found[f"x{n}"] for n in range(31)] == [0x1111 * n for n in range(31)]
    assert found["vttbr_el2"] == 0x7 << 48 | 0x4000
    for n, text in enumerate(cpu.engine.read_vectors()):
        assert found[f"q{n}"] == int(text, 16)
        assert (
            found[f"q{n}"].to_bytes(16, "little") == (bytes(range(256)) * 2)[16 * n : 16 * n + 16]
        )
    machine.close()


def test_secrets_of_two_seeds_share_nothing() -> None:
    one, other = Secret(0), Secret(1)
    a, b = one.draw("memory", 4096), other.draw("memory", 4096)
    assert a == Secret(0).draw("memory", 4096)
    assert sum(x == y for x, y in zip(a, b, strict=True)) < 40
    assert one.typed(1)[:2] == b"\x141" and one.typed(1)[2:].isalpha()


def test_a_range_alone_holds_the_secret() -> None:
    subject = usual(World())
    place = range(0x4010_0100, 0x4010_0180)
    secret = Secret(3, frozenset({SecretKind.MEMORY}), (place,))
    side = Side(subject, secret, Options(30_000 * TICKS_A_US, frozenset([1])))
    while not side.planter.starts:
        side.advance()
    (region,) = side.log.memory.regions(side.machine.cpu)
    data = side.machine.read_pa(region.pa + 0x10_0000, 4096)
    side.close()
    assert side.planter.bytes_planted == len(place)
    assert any(data[0x100:0x180]) and not any(data[:0x100]) and not any(data[0x180:])


# What a manifest lets flow


def channels_of(world: World, secret: int = 0) -> dict[str, list[str]]:
    subject = world.subject(secret)
    return {
        subject.names[number]: [str(channel) for channel in ways] for number, ways in subject.ways
    }


PEERS = World(
    (
        replace(KEEPER, peers=("middle",)),
        replace(OBSERVER, name="middle", peers=("keeper", "far")),
        replace(OBSERVER, name="far", peers=("middle",)),
        replace(OBSERVER, name="apart"),
    ),
)


def test_channels_are_followed_from_vm_to_vm() -> None:
    assert channels_of(PEERS) == {
        "middle": ["keeper is an FF-A peer of middle"],
        "far": ["keeper is an FF-A peer of middle", "middle is an FF-A peer of far"],
    }
    managed = World((KEEPER, replace(OBSERVER, manages=("keeper",))))
    assert channels_of(managed) == {"observer": ["keeper is managed by observer"]}
    manages = World((replace(KEEPER, manages=("observer",)), OBSERVER))
    assert channels_of(manages) == {"observer": ["keeper manages observer"]}
    assert channels_of(World()) == {}


def test_what_may_be_told_is_not_compared() -> None:
    subject = PEERS.subject()
    assert compared(subject) == {3}
    found = two_runs(subject, vms=[3], ms=45)
    verdicts = {vm.name: vm.verdict for vm in found.vms}
    assert verdicts == {"middle": Verdict.VOID, "far": Verdict.VOID, "apart": Verdict.EQUAL}
    assert compared(subject, ("far",)) == {2}


def test_a_manifest_that_opens_a_channel_to_everybody_is_refused() -> None:
    world = World((replace(KEEPER, peers=("observer",)), replace(OBSERVER, peers=("keeper",))))
    with pytest.raises(UserError, match="every other VM") as caught:
        compared(world.subject())
    assert "keeper is an FF-A peer of observer" in str(caught.value)


def test_runs_that_end_before_anybody_ran_say_nothing() -> None:
    with pytest.raises(UserError, match="never entered"):
        two_runs(replace(usual(World()), booted=usual(World()).build), ms=1)


# Recordings


def test_both_runs_are_recorded_up_to_the_difference(tmp_path: Path) -> None:
    world = World((replace(KEEPER, case="registers"), OBSERVER))
    subject = world.subject(image=patches.without_write("TPIDR_EL1", "el1_load"))
    found = two_runs(subject)
    difference = found.difference
    assert difference is not None and difference.a is not None and difference.b is not None
    files = (tmp_path / "a.aet", tmp_path / "b.aet")
    record(
        subject,
        (found.a, found.b),
        Options(40_000 * TICKS_A_US, others(subject)),
        files,
        found,
        lambda machine, path: Recorder(machine, path, vms=subject.names),
    )
    (value,) = difference.values
    for file, place, number in zip(
        files, (difference.a, difference.b), (value.a, value.b), strict=True
    ):
        replay = Replay.open(file)
        replay.visit(Moment(place.position))
        assert replay.machine.cpu.current_el == 1
        assert replay.machine.cpu.native(reg.SystemRegister("", 3, 0, 13, 0, 4)) == number
        assert replay.moment(f"mark:{MARK}").position == place.position
        replay.close()
