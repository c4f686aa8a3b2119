# SPDX-License-Identifier: Apache-2.0
"""VMs with stubs in the emulator, under the real binary, and what each could see of its run."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

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
from aether_edgecloud.emulator.bundle.schedule import WINDOW_US
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.machine import QUANTUM
from aether_edgecloud.emulator.report.console_lines import VmOutput
from aether_edgecloud.emulator.telemetry import layout, pages
from aether_edgecloud.emulator.telemetry.pages import Telemetry
from aether_edgecloud.guest_stubs import catalogue

RAM_SIZE = 256 << 20
PINNED = 0x4C00_0000
"""PA of the memory of a VM whose memory is looked at: of all by number, 16 MiB apart."""
IMAGE_SIZE = 64 << 10
"""All images are filled up to this, and no two are the same: booting then takes the same time
whoever is there."""
HAS_TELEMETRY = 1 << 32
"""In the observer's parameter: the VM has its telemetry page."""
STEP = 200_000
"""Instructions between two looks at the machine."""


@dataclass(frozen=True, slots=True)
class Guest:
    """What a VM runs: a stub's case, on as many vCPUs as its place has."""

    stub: str
    case: str | None = None
    parameter: int = 0

    def image(self, vm: int) -> bytes:
        stub = catalogue.find(self.stub)
        number = 0 if self.case is None else stub.case(self.case).number
        image = toolchain.artefact(f"stub:{self.stub}").flat.read_bytes()
        patched = catalogue.patched(image, case=number, parameter=self.parameter)
        assert len(patched) < IMAGE_SIZE
        return patched.ljust(IMAGE_SIZE - 1, b"\0") + bytes([vm])


@dataclass(frozen=True, slots=True)
class Place:
    """A VM as the schedule sees it: name, the pCPU of each vCPU, restart policy."""

    name: str
    cpus: tuple[int, ...] = (0,)
    restart: Restart = Restart.ALWAYS


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that stays the same whoever runs where. `slots` has for each pCPU the slots of
    a frame: place by number (None: nobody), vCPU, microseconds."""

    places: tuple[Place, ...]
    slots: tuple[tuple[tuple[int | None, int, int], ...], ...]
    frame_us: int
    quantum: int = QUANTUM
    seed: int = 0
    mmu: MmuMode = MmuMode.NATIVE
    window_us: int = WINDOW_US

    def schedule(self) -> ScheduleDescription:
        return ScheduleDescription(
            frame_us=self.frame_us,
            window_us=self.window_us,
            cpus=tuple(
                tuple(
                    SlotDescription(None if vm is None else self.places[vm].name, vcpu, length)
                    for vm, vcpu, length in slots
                )
                for slots in self.slots
            ),
        )


def _vm(number: int, place: Place, guest: Guest) -> VmDescription:
    stub = catalogue.find(guest.stub)
    return VmDescription(
        name=place.name,
        memory=(Memory(stub.memory_base, catalogue.SMALL_MEMORY, PINNED + (number << 24)),),
        images=(ImageBytes("stub", guest.image(number), stub.entry),),
        vcpus=len(place.cpus),
        cpus=place.cpus,
        devices=(DeviceKind.VPL011, DeviceKind.VGICV2, DeviceKind.TELEMETRY),
        dtb=DtbChoice.NONE,
        restart=place.restart,
    )


class Run:
    """A machine with these guests at the layout's places, about to boot."""

    def __init__(
        self, layout_: Layout, guests: Sequence[Guest], el2: binary.El2Binary | None = None
    ):
        self.layout = layout_
        self._el2 = el2 or binary.load(None)
        described = tuple(
            _vm(number, place, guest)
            for number, (place, guest) in enumerate(zip(layout_.places, guests, strict=True))
        )
        self.machine = Machine(
            virt(RAM_SIZE, len(layout_.slots)),
            self._el2.image,
            build(Description(described, layout_.schedule()), where="side by side"),
            mmu=layout_.mmu,
            source=Bytes(b""),
            quantum=layout_.quantum,
            seed=layout_.seed,
        )
        place = self.machine.board.place(self._el2.image.memory_size, 0).image
        found = symbols.load(self._el2.elf, place)
        address = found.address_of(layout.SYMBOL)
        assert address is not None
        self._page = address

    def console(self) -> bytes:
        """All of it so far."""
        return bytes(self.machine.console.output)

    def lines(self) -> list[str]:
        """The same by lines, without their ends."""
        return self.console().decode("latin-1").replace("\r\n", "\n").split("\n")

    def said_by(self, number: int) -> bytes:
        """What a VM itself wrote."""
        reader = VmOutput([place.name for place in self.layout.places])
        parts = reader.feed(self.console()) + reader.finish()
        name = self.layout.places[number].name
        return b"".join(data for speaker, data in parts if speaker == name)

    def telemetry(self) -> Telemetry:
        """The counters of now."""
        found = pages.read_pages(self._read, self._page)
        parsed = None if found is None else pages.parse(found)
        assert parsed is not None
        return parsed

    def until_line(self, line: str, *, times: int = 1, most: int = 60_000_000) -> "Run":
        """Goes on until the console has shown `line` so often; AssertionError after `most`
        instructions, or when the machine has stopped."""
        while self.lines().count(line) < times:
            stop = self.machine.run(self.machine.instructions + STEP)
            if stop.kind is not StopKind.LIMIT or stop.instructions > most:
                shown = self.lines()
                if shown.count(line) >= times:
                    break
                raise AssertionError("\n".join([f"{stop}: never {line!r}", *shown[-40:]]))
        return self

    def until_frame(self, frames: int) -> "Run":
        """Goes on until every pCPU has begun so many frames."""
        while self._frames() < frames:
            stop = self.machine.run(self.machine.instructions + STEP)
            assert stop.kind is StopKind.LIMIT, "\n".join([str(stop), *self.lines()[-40:]])
        return self

    def _frames(self) -> int:
        found = pages.read_pages(self._read, self._page)
        parsed = None if found is None else pages.parse(found)
        if parsed is None:
            return 0
        return min(
            cpu.slots // len(slots)
            for cpu, slots in zip(parsed.hypervisor.cpus, self.layout.slots, strict=True)
        )

    def _read(self, pa: int, size: int) -> bytes:
        memory = self.machine.memory
        offset = pa - self.machine.board.ram_base
        return bytes(memory.bytes[offset : offset + size])

    def memory_sha256(self, number: int) -> str:
        """Of a VM's memory."""
        data = self._read(PINNED + (number << 24), catalogue.SMALL_MEMORY)
        return hashlib.sha256(data).hexdigest()

    def close(self) -> None:
        """Gives the memory back."""
        self.machine.close()


@dataclass(frozen=True, slots=True)
class Observation:
    """What a VM could see of its run from start to end, and more: each entry and exit by PC and
    counter, on each pCPU; its console, its memory, its counters."""

    timelines: tuple[tuple[int, int], ...]
    console: bytes
    memory: str
    counters: layout.VmPage


def observe(run: Run, number: int) -> Observation:
    """Runs until that VM is off, for good."""
    name = run.layout.places[number].name
    run.until_line(f"[aether] vm {name}: off")
    return Observation(
        tuple(cpu.timelines.get(number + 1, (0, 0)) for cpu in run.machine.cpus),
        run.said_by(number),
        run.memory_sha256(number),
        run.telemetry().vms[number],
    )
