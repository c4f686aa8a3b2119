# SPDX-License-Identifier: Apache-2.0
"""A random guest beside a well-behaved one, under the real binary, and what came of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.bundle.description import (
    Description,
    DtbChoice,
    ImageBytes,
    ScheduleDescription,
    SlotDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory, Restart
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.monitor.violation import Violation
from aether_edgecloud.emulator.report.console_lines import VmOutput
from aether_edgecloud.emulator.telemetry import layout, pages
from aether_edgecloud.emulator.telemetry.pages import Telemetry
from aether_edgecloud.guest_stubs import catalogue, random_programs
from aether_edgecloud.guest_stubs.random_programs import End, Program
from aether_edgecloud.properties.boots.booting import VM, Booted

MIB = 1 << 20
PAGE = 4096
RAM_SIZE = 32 * MIB
OBSERVED, RANDOM = 0, 1
"""The VMs by number."""
OBSERVED_AT = 0x4180_0000
RANDOM_AT = (0x41C0_0000, 0x41E1_0000)
"""Where the VMs' memory is pinned."""
OBSERVER_SIZE = catalogue.SMALL_MEMORY
LINES = 3
"""Until the neighbour has said so much, the guests run."""
STEP = 100_000
MOST = 4_000_000
IDLE = Program(((), ()), end=End.SLEEP)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the random guest's vCPUs run (the neighbour has one, on pCPU 0), and whether it starts
    again when it has ended."""

    cpus: tuple[int, ...] = (0,)
    restart: Restart = Restart.ALWAYS
    mmu: MmuMode = MmuMode.MODEL
    partitions: bool = False
    """Both are FF-A partitions, and peers."""

    def schedule(self) -> ScheduleDescription:
        """Slots of a millisecond: the neighbour has two, with the other between and after."""
        rows = []
        for cpu in range(max(self.cpus) + 1):
            mine = [i for i, home in enumerate(self.cpus) if home == cpu]
            row = [SlotDescription("random", i, 400 // len(mine)) for i in mine]
            if cpu == 0:
                row = [
                    SlotDescription("observed", 0, 300),
                    *row,
                    SlotDescription("observed", 0, 200),
                ]
            row.append(SlotDescription(None, 0, 1000 - sum(slot.length_us for slot in row)))
            rows.append(tuple(row))
        return ScheduleDescription(frame_us=1000, cpus=tuple(rows))


ONE = Layout()
ENDS_ONCE = Layout(restart=Restart.NEVER)
TWO_ON_ONE = Layout(cpus=(0, 0))
TWO = Layout(cpus=(0, 1))
PARTITION = Layout(partitions=True)
TWO_IN_PARTITION = Layout(cpus=(0, 1), partitions=True)
LAYOUTS = (ONE, ENDS_ONCE, TWO_ON_ONE, TWO)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. The first four are all that the neighbour could see."""

    timelines: tuple[tuple[int, int], ...]
    console: bytes
    memory: bytes
    counters: layout.VmPage
    stop: Stop
    shown: tuple[str, ...]
    """The console, by lines."""
    random_counters: layout.VmPage
    late: int
    """Slots that began late."""
    changed: tuple[int, ...]
    """PAs of pages that differ from before though nothing but memory of the VMs, data of EL2 and
    telemetry ever should."""
    frames: tuple[int, ...]
    """PAs of frames whose entry in the frame table differs from before, though they were not the
    random guest's, or are not any more."""
    violation: Violation | None
    """What the monitor of the architecture's rules found; None too where there is none."""

    @property
    def view(self) -> tuple[object, ...]:
        """What the neighbour could see."""
        return self.timelines, self.console, self.memory, self.counters


def _bundle(program: Program, where: Layout) -> bytes:
    observer = catalogue.find("observer")
    image = catalogue.patched(
        toolchain.artefact("stub:observer").flat.read_bytes(),
        case=observer.case("single").number,
        parameter=1 << 32 | LINES,
    )
    devices = (DeviceKind.VPL011, DeviceKind.VGICV2, DeviceKind.TELEMETRY)
    observed = VmDescription(
        name="observed",
        memory=(Memory(observer.memory_base, OBSERVER_SIZE, OBSERVED_AT),),
        images=(ImageBytes("stub", image, observer.entry),),
        devices=devices,
        dtb=DtbChoice.NONE,
        peers=("random",) if where.partitions else None,
    )
    memory = (
        Memory(random_programs.MEMORY_BASE, random_programs.MEMORY_SIZE, RANDOM_AT[0]),
        Memory(random_programs.FAR_BASE, random_programs.FAR_SIZE, RANDOM_AT[1]),
    )
    random = VmDescription(
        name="random",
        memory=memory,
        images=(ImageBytes("program", program.image(), random_programs.MEMORY_BASE),),
        entry=random_programs.CODE[0],
        vcpus=len(where.cpus),
        cpus=where.cpus,
        devices=devices,
        dtb=DtbChoice.NONE,
        restart=where.restart,
        peers=("observed",) if where.partitions else None,
    )
    return build(Description((observed, random), where.schedule()), where="random guest")


@cache
def _el2() -> tuple[binary.El2Binary, int, frozenset[int]]:
    """The binary, the PA of its telemetry page, and the pages of its image that it may write."""
    el2 = binary.load(None)
    place = virt(RAM_SIZE).place(el2.image.memory_size, 0).image
    page = symbols.load(el2.elf, place).address_of(layout.SYMBOL)
    assert page is not None and el2.elf is not None
    written: set[int] = set()
    with el2.elf.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if (
                section["sh_flags"] & SH_FLAGS.SHF_WRITE
                and section["sh_flags"] & SH_FLAGS.SHF_ALLOC
            ):
                start = section["sh_addr"] & -PAGE
                written |= set(range(start, section["sh_addr"] + section["sh_size"], PAGE))
    return el2, page, frozenset(place.start + offset for offset in written)


class Bench:
    """A machine with the two guests, booted once to where they start; each run begins there, with
    another program in the memory of the random guest, and in the bundle it is loaded from when it
    starts again."""

    def __init__(self, where: Layout):
        el2, self._telemetry_page, self._data = _el2()
        self._el2 = el2
        idle = replace(IDLE, vcpus=IDLE.vcpus[: len(where.cpus)])
        bundle = _bundle(idle, where)
        self.machine = Machine(
            virt(RAM_SIZE, max(where.cpus) + 1),
            el2.image,
            bundle,
            mmu=where.mmu,
            source=Bytes(b""),
        )
        self.monitor = Monitor(self.machine) if where.mmu is MmuMode.MODEL else None
        place = self.machine.board.place(el2.image.memory_size, len(bundle)).initrd
        assert place is not None
        self._image = self.machine.board.place(el2.image.memory_size, 0).image
        self._places = (RANDOM_AT[0], place.start + bundle.index(idle.image()))
        while "[aether] vm random: start" not in self.lines():
            stop = self._go(1000)
            assert stop.kind is StopKind.LIMIT, "\n".join([str(stop), *self.lines()])
        self._start = self._pages().copy()
        self._booted = Booted(self.machine, el2)
        self._frames = self._booted.frames()
        if where.partitions:  # its own tables and frames change with what it gives away
            tables = self._booted.stage2(RANDOM).tables
            self._data |= {table.pa for table in tables} | {*self._booted.frame_table()}
        self._snapshot = self.machine.snapshot()
        self.quiet = self.run(idle)
        """What comes of it beside a guest that sleeps."""

    def lines(self) -> list[str]:
        """The console, without the ends of lines."""
        return (
            bytes(self.machine.console.output).decode("latin-1").replace("\r\n", "\n").split("\n")
        )

    @property
    def text(self) -> int:
        """PA of the last word of the hypervisor's code, which is not executed."""
        end = symbols.load(self._el2.elf, self._image).address_of("text_end")
        assert end is not None
        return end - 4

    def run(self, program: Program, *, spoil: int | None = None) -> Outcome:
        """Runs the two guests until the neighbour has ended. `spoil`: a PA where a byte changes."""
        self.machine.restore(self._snapshot)
        for place in self._places:
            self.machine.write_pa(place, program.image())
        if spoil is not None:
            byte = self.machine.read_pa(spoil, 1)[0]
            self.machine.write_pa(spoil, bytes([byte ^ 0xFF]))
        stop = self._go(STEP)
        while (
            stop.kind is StopKind.LIMIT
            and stop.instructions < self._snapshot.instructions + MOST
            and "[aether] vm observed: off" not in self.lines()
        ):
            stop = self._go(STEP)
        found = self._telemetry()
        reader = VmOutput(["observed", "random"])
        output = bytes(self.machine.console.output)
        parts = reader.feed(output) + reader.finish()
        return Outcome(
            tuple(cpu.timelines.get(OBSERVED + 1, (0, 0)) for cpu in self.machine.cpus),
            b"".join(data for speaker, data in parts if speaker == "observed"),
            self.machine.read_pa(OBSERVED_AT, OBSERVER_SIZE),
            found.vms[OBSERVED],
            stop,
            tuple(self.lines()),
            found.vms[RANDOM],
            sum(cpu.late for cpu in found.hypervisor.cpus),
            self._changed(found),
            self._frames_changed(),
            None if self.monitor is None else self.monitor.violation,
        )

    def guest_memory(self, ipa: int, size: int) -> bytes:
        """Of the random guest, where the last run ended."""
        return self.machine.read_pa(RANDOM_AT[0] + ipa - random_programs.MEMORY_BASE, size)

    def given_away(self) -> dict[int, int]:
        """The state of each frame of the random guest that has another than it had, by PA."""
        now = self._booted.frames()
        return {pa: now[pa][1] for pa, before in self._frames.items() if now[pa] != before}

    def state(self) -> str:
        """SHA-256 of where the last run ended."""
        return state_sha256(self.machine)

    def _go(self, instructions: int) -> Stop:
        return self.machine.run(self.machine.instructions + instructions)

    def _telemetry(self) -> Telemetry:
        found = pages.read_pages(self.machine.read_pa, self._telemetry_page)
        parsed = None if found is None else pages.parse(found)
        assert parsed is not None
        return parsed

    def _pages(self) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
        return np.frombuffer(self.machine.memory.bytes, dtype=np.uint64).reshape(-1, PAGE // 8)

    def _frames_changed(self) -> tuple[int, ...]:
        now = self._booted.frames()
        mine = VM + RANDOM + 1
        return tuple(
            pa
            for pa, before in self._frames.items()
            if now[pa] != before and (now[pa][0], before[0]) != (mine, mine)
        )

    def _changed(self, found: Telemetry) -> tuple[int, ...]:
        base = self.machine.memory.ram_base
        differ = np.flatnonzero((self._pages() != self._start).any(axis=1))
        places = (int(number) * PAGE + base for number in differ)
        mine = [
            range(OBSERVED_AT, OBSERVED_AT + OBSERVER_SIZE),
            range(RANDOM_AT[0], RANDOM_AT[0] + random_programs.MEMORY_SIZE),
            range(RANDOM_AT[1], RANDOM_AT[1] + random_programs.FAR_SIZE),
            range(self._places[1] & -PAGE, self._places[1] + random_programs.IMAGE_SIZE),
        ]
        written = self._data | {*found.hypervisor.vm_pages}
        return tuple(
            pa for pa in places if pa not in written and not any(pa in place for place in mine)
        )


@cache
def bench(where: Layout) -> Bench:
    """The machine for a layout; there is one of each."""
    found = Bench(where)
    assert found.quiet.console.count(b"digest=") == LINES
    return found


def of_the_hypervisor(shown: Iterable[str]) -> list[str]:
    """Its own lines."""
    return [line.removeprefix("[aether] ") for line in shown if line.startswith("[aether] ")]
