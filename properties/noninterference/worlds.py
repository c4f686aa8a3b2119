# SPDX-License-Identifier: Apache-2.0
"""Schedules with a VM that keeps a secret, and comparisons of two runs of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import build as bundle
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
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.machine.console import InputSource
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.noninterference import channels
from aether_edgecloud.emulator.noninterference.booted import Booted
from aether_edgecloud.emulator.noninterference.compare import compare
from aether_edgecloud.emulator.noninterference.pair import Options, Subject
from aether_edgecloud.emulator.noninterference.result import Comparison
from aether_edgecloud.emulator.noninterference.secret import USUAL, Secret, SecretKind
from aether_edgecloud.guest_stubs import catalogue

RAM_SIZE = 128 << 20
ALL = USUAL | {SecretKind.INPUT}
FRAME_US = 1000
TICKS_A_US = 62
"""At least: board `virt` counts 62.5 in a microsecond."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM: its name, a stub's case, and the pCPU of each of its vCPUs."""

    name: str
    stub: str
    case: str | None = None
    cpus: tuple[int, ...] = (0,)
    parameter: int = 0
    restart: Restart = Restart.ALWAYS
    peers: tuple[str, ...] | None = None
    manages: tuple[str, ...] = ()

    def describe(self) -> VmDescription:
        stub = catalogue.find(self.stub)
        number = 0 if self.case is None else stub.case(self.case).number
        flat = toolchain.artefact(f"stub:{self.stub}").flat.read_bytes()
        image = catalogue.patched(flat, case=number, parameter=self.parameter)
        return VmDescription(
            name=self.name,
            memory=(Memory(stub.memory_base, catalogue.SMALL_MEMORY),),
            images=(ImageBytes(self.stub, image, stub.entry),),
            vcpus=len(self.cpus),
            cpus=self.cpus,
            devices=(DeviceKind.VPL011, DeviceKind.VGICV2),
            dtb=DtbChoice.NONE,
            restart=self.restart,
            peers=self.peers,
            manages=self.manages,
        )


KEEPER = Guest("keeper", "keeper", "anything")
OBSERVER = Guest("observer", "observer", "single", restart=Restart.NEVER)
Slots = tuple[tuple[tuple[int | None, int, int], ...], ...]
"""For each pCPU the slots of a frame: guest by number (None: nobody), vCPU, microseconds."""


@dataclass(frozen=True, slots=True)
class World:
    """Guests in a schedule; without `slots` each vCPU has the same on its CPU."""

    guests: tuple[Guest, ...] = (KEEPER, OBSERVER)
    slots: Slots | None = None
    frame_us: int = FRAME_US
    window_us: int = 64
    mmu: MmuMode = MmuMode.MODEL
    quantum: int = 1000
    seed: int = 0

    def schedule(self) -> ScheduleDescription:
        names = [guest.name for guest in self.guests]
        return ScheduleDescription(
            frame_us=self.frame_us,
            window_us=self.window_us,
            cpus=tuple(
                tuple(
                    SlotDescription(None if vm is None else names[vm], vcpu, length)
                    for vm, vcpu, length in row
                )
                for row in self.slots or self._usual_slots()
            ),
        )

    def _usual_slots(self) -> Slots:
        count = 1 + max(cpu for guest in self.guests for cpu in guest.cpus)
        rows = []
        for cpu in range(count):
            here = [
                (number, vcpu)
                for number, guest in enumerate(self.guests)
                for vcpu, home in enumerate(guest.cpus)
                if home == cpu
            ]
            length = self.frame_us // max(1, len(here))
            rest = self.frame_us - length * max(0, len(here) - 1)
            row = [(*one, length) for one in here[:-1]]
            rows.append((*row, (*here[-1], rest)) if here else ((None, 0, self.frame_us),))
        return tuple(rows)

    @property
    def cpus(self) -> int:
        return len(self.slots or self._usual_slots())

    def subject(self, secret: int = 0, image: BootImage | None = None) -> Subject:
        """What is run twice; `image` in place of the hypervisor."""
        described = Description(tuple(guest.describe() for guest in self.guests), self.schedule())
        data = bundle.build(described, where="noninterference")
        manifest, opened = bundle.open_bundle(data, where="noninterference")
        el2 = image or binary.load(None).image

        def build(source: InputSource) -> Machine:
            return Machine(
                virt(RAM_SIZE, self.cpus), el2, data,
                mmu=self.mmu, source=source, quantum=self.quantum, seed=self.seed,
            )  # fmt: skip

        vm = manifest.vms[secret]
        return Subject(
            build=build,
            booted=Booted(build).machine,
            names=tuple(guest.name for guest in self.guests),
            sizes=tuple(sum(memory.size for memory in vm.memory) for vm in manifest.vms),
            secret=secret,
            entry=vm.entry,
            kept=tuple(
                range(one.load_address, one.load_address + len(opened.blobs[one.blob].data))
                for one in vm.images
            ),
            ways=tuple(channels.declared(manifest, secret).items()),
            kinds=ALL,
        )


@cache
def usual(world: World) -> Subject:
    """The same with the hypervisor as it is; it boots once."""
    return world.subject()


def others(subject: Subject) -> frozenset[int]:
    return frozenset(range(len(subject.names))) - {subject.secret}


def two_runs(
    subject: Subject,
    *,
    ms: int = 40,
    seed: int = 0,
    kinds: frozenset[SecretKind] = ALL,
    vms: Sequence[int] | None = None,
    is_timed: bool = True,
    has_memory: bool = True,
) -> Comparison:
    """With the secrets `seed` and `seed + 1`, for so many milliseconds of the machine's time."""
    first = Secret(seed, kinds)
    compared = others(subject) if vms is None else frozenset(vms)
    options = Options(ms * 1000 * TICKS_A_US, compared, is_timed=is_timed, has_memory=has_memory)
    return compare(subject, (first, replace(first, seed=seed + 1)), options)
