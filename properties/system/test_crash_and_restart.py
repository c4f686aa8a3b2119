# SPDX-License-Identifier: Apache-2.0
"""One VM crashes and is started again, several times: the others neither stop nor shift by a single
instruction."""

from dataclasses import replace
from functools import cache

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.bundle.description import (
    Description,
    ScheduleDescription,
    SlotDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Restart
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.report.console_lines import VmOutput
from aether_edgecloud.properties.system.neighbours import QUIET, observer
from aether_edgecloud.properties.system.side_by_side import (
    Guest,
    Layout,
    Observation,
    Place,
    Run,
    observe,
)

THREE = Layout(
    (
        Place("bad"),
        Place("one", restart=Restart.CRASH),
        Place("two", (0, 1), restart=Restart.CRASH),
    ),
    (
        ((0, 0, 700), (1, 0, 250), (2, 0, 250)),
        ((2, 1, 1200),),
    ),
    1200,
)
TIMES = 3
GOOD = (1, 2)


def observe_both(bad: Guest) -> tuple[list[Observation], Run]:
    """What the two good VMs saw beside a bad one."""
    run = Run(THREE, [bad, observer(lines=25), observer("pair", lines=25)])
    found = [observe(run, number) for number in GOOD]
    return found, run


@pytest.mark.parametrize("case", ["hostile:crash", "intruder:wild-store"])
def test_others_do_not_shift(case: str) -> None:
    stub, _, name = case.partition(":")
    quiet, run = observe_both(QUIET)
    assert run.telemetry().vms[0].crashes == 0
    run.close()
    beside, run = observe_both(Guest(stub, name))
    assert run.telemetry().vms[0].restarts >= TIMES
    assert run.console().count(b"[aether] vm bad: crash: ") >= TIMES
    run.close()
    assert beside == quiet


# The same with Linux.

LINUX_SLOTS = (
    (
        SlotDescription("bad", 0, 6000),
        SlotDescription("good", 0, 3000),
        SlotDescription("small", 0, 1000),
    ),
)
WORK = "aether.work=20000"
"""So that it is there for longer than the other takes to crash and start again."""
LIMIT = 6_000_000_000


@cache
def linux_beside(words: str) -> tuple[object, bytes, int]:
    """The timeline and the console of `good` beside a Linux with these words, and how often that
    one was started."""
    try:
        linux = catalogue.description("linux")
        small = catalogue.description("hello")
    except UserError as e:
        pytest.skip(str(e))
    bad = replace(
        linux,
        name="bad",
        bootargs=words.ljust(24),  # a DTB of one size: the boot takes the same time
        restart=Restart.ALWAYS,  # the wild store may kill a process alone: then it powers off
        devices=(DeviceKind.VGICV2, DeviceKind.VPL011, DeviceKind.TELEMETRY),
        cpus=(0,),
    )
    vms = (
        bad,
        replace(linux, name="good", cpus=(0,), bootargs=WORK),
        replace(small, name="small", cpus=(0,)),
    )
    bundle = build(Description(vms, ScheduleDescription(cpus=LINUX_SLOTS)), where="two Linux")
    machine = Machine(
        virt(512 << 20),
        BootImage.from_file(toolchain.artefact("el2").flat),
        bundle,
        mmu=MmuMode.NATIVE,
    )
    end = b"[aether] vm good: off"
    while end not in machine.console.output and machine.instructions < LIMIT:
        stop = machine.run(machine.instructions + 5_000_000)
        shown = bytes(machine.console.output[-4000:]).decode("latin-1")
        assert stop.kind is StopKind.LIMIT or end in machine.console.output, f"{stop}\n{shown}"
    assert end in machine.console.output
    reader = VmOutput(["bad", "good", "small"])
    parts = reader.feed(bytes(machine.console.output)) + reader.finish()
    console = b"".join(data for speaker, data in parts if speaker == "good")
    assert b"aether: userspace, 1 cpus" in console
    lives = b"".join(data for speaker, data in parts if speaker == "bad").count(b"Linux version")
    found = machine.cpu.timelines[2], console, lives
    machine.close()
    return found


@pytest.mark.nightly
@pytest.mark.parametrize("end", ["sysrq", "wild-store"])
def test_linux_beside_a_linux_that_crashes(end: str) -> None:
    timeline, console, lives = linux_beside("aether.then=sleep")
    assert lives == 1
    again, console_again, lives = linux_beside(f"aether.then={end}")
    assert lives > 1
    assert (again, console_again) == (timeline, console)
