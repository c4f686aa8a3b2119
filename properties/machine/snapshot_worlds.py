# SPDX-License-Identifier: Apache-2.0
"""Machines of which snapshots are taken, and what must not differ between two runs of one."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.bundle.description import Description, VmDescription
from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.cpu.exits import BOOT
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.machine import QUANTUM
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import constant

RAM_SIZE = 64 << 20
POINTS = 24


def look(machine: Machine) -> tuple[object, ...]:
    """All that a run has come to, as far as how it was cut into pieces does not show."""
    return (
        machine.instructions,
        machine.counter,
        machine.console.save(),
        state_sha256(machine),
        machine.console.input_ended,
        *(
            (cpu.timelines, cpu.exits.save(), cpu.exception_counts, cpu.instructions_by_el())
            for cpu in machine.cpus
        ),
    )


def _vm(guest: str, name: str, cpus: tuple[int, ...], restart: Restart) -> VmDescription:
    described = catalogue.description(guest, cpus=len(cpus))
    return replace(described, name=name, cpus=cpus, restart=restart)


@dataclass(frozen=True, slots=True)
class Vms:
    """The real binary with stubs: (guest, the CPU of each vCPU)."""

    guests: tuple[tuple[str, tuple[int, ...]], ...]
    cpus: int = 1
    mmu: MmuMode = MmuMode.MODEL
    quantum: int = QUANTUM
    seed: int = 0
    restart: Restart = Restart.NEVER
    typed: bytes = b""
    step: int = 3_000
    """Instructions from one place to the next."""

    def make(self) -> Machine:
        """At reset."""
        vms = tuple(
            _vm(guest, f"vm{n}", cpus, self.restart) for n, (guest, cpus) in enumerate(self.guests)
        )
        return Machine(
            virt(RAM_SIZE, self.cpus),
            binary.load(None).image,
            _bundle(vms),
            mmu=self.mmu,
            quantum=self.quantum,
            seed=self.seed,
            source=Bytes(self.typed),
        )


@functools.cache
def _bundle(vms: tuple[VmDescription, ...]) -> bytes:
    return build(Description(vms), where="snapshots")


_CODE = smp.SHARED + 0x4_0000
_COUNTING = f"""
    {constant("x10", 60)}
    again: {smp.add(0)}
    {constant("x11", _CODE)}
    {constant("x12", 0xD280_0000)}
    and x13, x10, #0xff
    orr x12, x12, x13, lsl #5
    str w12, [x11]
    {constant("x12", 0xD65F_03C0)}
    str w12, [x11, #4]
    dc cvau, x11
    dsb ish
    ic ivau, x11
    dsb ish
    isb
    mov x14, x30
    blr x11
    mov x30, x14
    str x0, [x20, #64]
    sev
    subs x10, x10, #1
    b.ne again
"""


@dataclass(frozen=True, slots=True)
class Counters:
    """No hypervisor: CPUs that add to one word by exclusives, and CPU 0 writes code and calls it.

    The others wait by WFE in between.
    """

    cpus: int
    quantum: int
    seed: int = 0
    mmu: MmuMode = MmuMode.MODEL
    step: int = 100

    def make(self) -> Machine:
        """At reset."""
        others = f"""
            {constant("x10", 40)}
            more: {smp.add(0)}
            wfe
            subs x10, x10, #1
            b.ne more
        """
        first = smp.start_all(self.cpus) + _COUNTING
        first += smp.wait_for(0, 60 + 40 * (self.cpus - 1))
        return smp.machine(first, others, self.cpus, self.mmu, quantum=self.quantum, seed=self.seed)


World = Vms | Counters

WORLDS: dict[str, World] = {
    "hello": Vms((("hello", (0,)),)),
    "hello, native": Vms((("hello", (0,)),), mmu=MmuMode.NATIVE),
    "one that reads": Vms(
        (("power:read-then-off", (0,)),), typed=b"some words, and the end.", step=5_000
    ),
    "a timer and interrupts": Vms((("gic", (0,)),), step=20_000),
    "interrupts, native": Vms((("gic", (0,)),), mmu=MmuMode.NATIVE, step=20_000),
    "crashes and restarts": Vms((("crash:ldp", (0,)),), restart=Restart.ALWAYS, step=70_000),
    "a pair on two CPUs": Vms(
        (("observer:pair", (0, 1)),), cpus=2, quantum=200, seed=7, step=3_000
    ),
    "four CPUs on and off": Vms(
        (("smp:bring-up", (0, 1, 2, 3)), ("spin:wfi", (3,))), cpus=4, step=15_000
    ),
    "counters, quantum 1": Counters(2, 1),
    "counters, four CPUs": Counters(4, 17, seed=3),
    "counters, native": Counters(2, 50, mmu=MmuMode.NATIVE),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A run that nobody disturbed: where it was looked at, by instructions, and what was seen. At
    the last place the machine may have stopped by itself."""

    places: tuple[int, ...]
    seen: tuple[tuple[object, ...], ...]


@functools.cache
def reference(name: str) -> Reference:
    """Of a world by name: from the first guest's first instruction on."""
    world = WORLDS[name]
    machine = world.make()
    place = 1
    machine.run(place)
    while isinstance(world, Vms) and not machine.cpu.exits.lengths_of(BOOT):
        place += 10_000
        assert machine.run(place).kind is StopKind.LIMIT
    places, seen = [place], [look(machine)]
    while len(places) < POINTS:
        place += world.step
        stop = machine.run(place)
        places.append(place)
        seen.append(look(machine))
        if stop.kind is not StopKind.LIMIT:
            break
    machine.close()
    return Reference(tuple(places), tuple(seen))


@functools.cache
def first_snapshot(name: str) -> Snapshot:
    """Of a world at its first place."""
    machine = WORLDS[name].make()
    machine.run(reference(name).places[0])
    taken = machine.snapshot()
    machine.close()
    return taken


def find(name: str, wanted: Callable[[Machine], bool]) -> Machine | None:
    """A world's machine at the first place where it is as wanted."""
    machine = WORLDS[name].make()
    for place in reference(name).places:
        machine.run(place)
        if wanted(machine):
            return machine
    machine.close()
    return None


@functools.cache
def first_entry(world: Vms) -> int:
    """Where the first guest is entered, about."""
    machine = world.make()
    while not machine.cpu.exits.lengths_of(BOOT):
        assert machine.run(machine.instructions + 10_000).kind is StopKind.LIMIT
    place = machine.instructions
    machine.close()
    return place
