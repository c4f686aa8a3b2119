# SPDX-License-Identifier: Apache-2.0
"""VMs with programs that deal with each other: the calls that steps make, and a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.description import (
    ImageBytes,
    ScheduleDescription,
    SlotDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.guest_stubs.ffa import FFA_64, FfaError, FfaFunction, VmCall, VmState, ids

from . import program
from .program import UNTIL_NOT, Step, call_8, poll

MASK = 2**64 - 1
UNKNOWN = MASK
"""SMCCC: there is no such function."""
SLOT_US = 500
"""Of each VM in turn: other VMs see soon what one has done."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A VM and what it does; `cpus` has the pCPU of each vCPU."""

    name: str
    steps: Sequence[Step]
    peers: tuple[str, ...] | None = None
    manages: tuple[str, ...] = ()
    manual: bool = False
    restart: Restart = Restart.NEVER
    cpus: tuple[int, ...] = (0,)

    def describe(self) -> VmDescription:
        return replace(
            program.vm(self.steps, cpus=self.cpus, name=self.name),
            peers=self.peers,
            manages=self.manages,
            manual_start=self.manual,
            restart=self.restart,
        )


def schedule(actors: Sequence[Actor]) -> ScheduleDescription:
    """Short slots, for each vCPU one on its CPU."""
    count = 1 + max(cpu for actor in actors for cpu in actor.cpus)
    lists: list[list[SlotDescription]] = [[] for _ in range(count)]
    for actor in actors:
        for vcpu, cpu in enumerate(actor.cpus):
            lists[cpu].append(SlotDescription(actor.name, vcpu, SLOT_US))
    frame = SLOT_US * max(len(slots) for slots in lists)
    return ScheduleDescription(frame_us=frame, cpus=tuple(tuple(slots) for slots in lists))


def bundle(actors: Sequence[Actor]) -> bytes:
    return program.bundle([actor.describe() for actor in actors], schedule(actors))


def run(*actors: Actor, most: int = 100_000_000, end: str = "[aether] end: guest-off") -> str:
    """What is on the console when all of them have ended."""
    cpus = 1 + max(cpu for actor in actors for cpu in actor.cpus)
    return program.in_emulator(bundle(actors), cpus=cpus, end=end, most=most)


def answers(text: str, name: str) -> list[tuple[int, ...]]:
    """X0 to X7 of each call of a VM whose program has only calls with eight results."""
    found = program.results(text, name)
    assert len(found) % 8 == 0
    return [tuple(found[i : i + 8]) for i in range(0, len(found), 8)]


def ffa(function: int, *arguments: int, vcpu: int = 0) -> Step:
    return call_8(vcpu, function, *arguments)


def request(sender: int, receiver: int, *payload: int, wide: bool = False, vcpu: int = 0) -> Step:
    """A direct request, again and again while the receiver is not ready for it."""
    function = FfaFunction.MSG_SEND_DIRECT_REQ | (FFA_64 if wide else 0)
    arguments = (ids(sender, receiver), 0, *payload)
    return poll(vcpu, 2 | UNTIL_NOT, FfaError.BUSY & 0xFFFF_FFFF, function, *arguments)


def response(sender: int, receiver: int, *payload: int, wide: bool = False, vcpu: int = 0) -> Step:
    function = FfaFunction.MSG_SEND_DIRECT_RESP | (FFA_64 if wide else 0)
    return call_8(vcpu, function, ids(sender, receiver), 0, *payload)


def wait(vcpu: int = 0) -> Step:
    return call_8(vcpu, FfaFunction.MSG_WAIT)


def manage(what: VmCall, vm: int) -> Step:
    return call_8(0, what, vm)


def until(state: VmState, vm: int) -> Step:
    """VmCall.INFO until the VM is in that state."""
    return poll(0, 1, state, VmCall.INFO, vm)


def error(code: FfaError) -> tuple[int, ...]:
    """X0 to X7 of a call that is refused."""
    return (FfaFunction.ERROR, 0, code & 0xFFFF_FFFF, 0, 0, 0, 0, 0)


def success(*results: int) -> tuple[int, ...]:
    """X0 to X7 of one that is not; `results` from X2 on."""
    return (FfaFunction.SUCCESS, 0, *results, *(0,) * (6 - len(results)))


def timeline(*others: Actor, calls: int = 3_000) -> tuple[int, int]:
    """Of a VM on CPU 0 that makes calls until it switches itself off, beside others: the hash over
    PC and counter at each of its entries and exits, and how many there were. The boot's length is
    in it: programs to be compared have the same number of steps."""
    stub = catalogue.find("null-hvc")
    flat = toolchain.artefact("stub:null-hvc").flat.read_bytes()
    image = ImageBytes("null-hvc", catalogue.patched(flat, case=0, parameter=calls), stub.entry)
    actors = (Actor("watched", []), *others)
    watched = replace(actors[0].describe(), images=(image,))
    vms = [watched, *(actor.describe() for actor in others)]
    binary = BootImage.from_file(toolchain.artefact("el2").flat)
    machine = Machine(
        virt(program.RAM_SIZE, 2),
        binary,
        program.bundle(vms, schedule(actors)),
        mmu=MmuMode.NATIVE,
        source=Bytes(b""),
        quantum=program.QUANTUM,
    )
    try:
        done = 0
        while b"[aether] vm watched: off" not in machine.console.output:
            done = machine.run(until=done + program.STEP).instructions
            assert done < 100_000_000
        return machine.cpus[0].timelines[1]
    finally:
        machine.close()
