# SPDX-License-Identifier: Apache-2.0
"""How fast a machine is set back, and how many hypercalls can be tried in an hour.

Times are of the processor, not of the clock on the wall: what else the host does counts less.
"""

import functools
import statistics
import struct
import time
from collections.abc import Iterator

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.bundle.description import (
    Description,
    DtbChoice,
    ImageBytes,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.report.figure import Figure, LeftOut
from aether_edgecloud.properties.attack import campaign
from aether_edgecloud.properties.attack.arena import Arena

RAM_SIZE = 64 << 20
_MEMORY_IPA, _MEMORY_SIZE = 0x4000_0000, 1 << 20
_WFI, _HVC_0 = 0xD503_207F, 0xD400_0002
_CODE = struct.pack("<4I", _WFI, 0x17FF_FFFF, _HVC_0, 0x17FF_FFFD)  # rest: wfi; b rest; call:
_REST, _CALL = _MEMORY_IPA + 4, _MEMORY_IPA + 8
_LIMIT = 10_000_000
_PER_ROUND = 300
_DIRTY_PAGES = 300
_CALLS_PER_EXAMPLE = 20
_MOVES_PER_SESSION = 100
_WARM_SESSIONS = 10
AETHER_VERSION = 0x8600_0000
_FUNCTIONS = (
    AETHER_VERSION,
    0x8400_0000,  # PSCI_VERSION
    0x8000_0001,  # SMCCC_ARCH_FEATURES
    0xC400_0003,  # CPU_ON of a vCPU that there is not
    0xC400_0004,  # AFFINITY_INFO
    0x8400_0063,  # FFA_VERSION, of a VM that is no partition
    0xDEAD_BEEF,
)


def restore(rounds: int) -> Iterator[Figure | LeftOut | str]:
    """The time to go back, by CPUs; a few hundred pages have been written since."""
    for cpus in (1, 2):
        name = f"restore of {_DIRTY_PAGES} pages, {cpus} CPU{'s' if cpus > 1 else ''}"
        yield name
        try:
            machine = _resting(cpus)
        except UserError as e:
            yield LeftOut(name, str(e))
            continue
        snapshot = machine.snapshot()
        spent = []
        for number in range(_PER_ROUND * rounds):
            machine.run(machine.instructions + 2_000)
            for page in range(_DIRTY_PAGES):
                pa = machine.board.ram.stop - (page + 1) * 4096
                machine.memory.write(pa, number.to_bytes(8, "little"))
            began = time.process_time()
            machine.restore(snapshot)
            spent.append(time.process_time() - began)
        machine.close()
        yield Figure(name, statistics.median(spent) * 1000, "ms", 2.0)


def hypercalls(rounds: int) -> Iterator[Figure | LeftOut | str]:
    """Examples of some calls each, every one from the same snapshot, on one processor."""
    for name, is_watched in (
        ("plain hypercalls an hour", False),
        ("the same with the monitor", True),
    ):
        yield name
        try:
            machine = _resting(1)
        except UserError as e:
            yield LeftOut(name, str(e))
            continue
        if is_watched:
            Monitor(machine)
        snapshot = machine.snapshot()
        calls, began = 0, time.process_time()
        for example in range(_PER_ROUND * rounds // 2):
            machine.restore(snapshot)
            for number in range(_CALLS_PER_EXAMPLE):
                function = _FUNCTIONS[(example + number) % len(_FUNCTIONS)]
                _call(machine, (function, example, number, 0))
                calls += 1
        rate = calls / (time.process_time() - began) * 3600
        machine.close()
        yield Figure(name, rate, "calls", lower_is_better=False)
    yield from _attacked(rounds)


def _attacked(rounds: int) -> Iterator[Figure | LeftOut | str]:
    """Calls of all kinds by several VMs on two CPUs, the whole state compared with the
    specification after each."""
    name = "hypercalls an hour in an attack, all checked"
    yield name
    try:
        arena = Arena()
    except UserError as e:
        yield LeftOut(name, str(e))
        return
    for warm in range(_WARM_SESSIONS):  # what is translated once is
        campaign.run(arena, -1 - warm, _MOVES_PER_SESSION)
    began = time.process_time()
    sessions = [campaign.run(arena, n + 1, _MOVES_PER_SESSION) for n in range(5 * rounds)]
    calls = sum(session.calls for session in sessions)
    rate = calls / (time.process_time() - began) * 3600
    arena.close()
    yield Figure(name, rate, "calls", 2e6, lower_is_better=False)


def _vm(name: str, cpu: int) -> VmDescription:
    return VmDescription(
        name=name,
        memory=(Memory(_MEMORY_IPA, _MEMORY_SIZE),),
        images=(ImageBytes("rest", _CODE, _MEMORY_IPA),),
        cpus=(cpu,),
        devices=(DeviceKind.VPL011,),
        dtb=DtbChoice.NONE,
    )


@functools.cache
def _bundle(cpus: int) -> bytes:
    vms = (_vm("a", 0), _vm("b", cpus - 1))
    return build(Description(vms), where="bench")


def _resting(cpus: int) -> Machine:
    """Two VMs, the first of which rests in a slot of its own."""
    machine = Machine(virt(RAM_SIZE, cpus), binary.load(None).image, _bundle(cpus))
    machine.on_wait = lambda number: machine.cpus[number].current_el == 1
    while True:
        _wait(machine)
        if machine.find_guest(1) == 0:
            return machine
        machine.cpus[0].access.pc = _REST  # its WFI, which ended with the stop, begins anew
        _pass_slot(machine)


def _pass_slot(machine: Machine) -> None:
    asked, machine.on_wait = machine.on_wait, None
    machine.run(machine.instructions + 1_000)
    machine.on_wait = asked


def _wait(machine: Machine) -> None:
    stop = machine.run(machine.instructions + _LIMIT)
    if stop.kind is not StopKind.BREAK:
        raise UserError(f"ended by {stop.kind.value}", where="bench", fix="run a stub alone")


def _call(machine: Machine, arguments: tuple[int, ...]) -> None:
    """One HVC of the VM that rests, until it rests again."""
    cpu = machine.cpus[0]
    for number, value in enumerate(arguments):
        cpu.access.write_x(number, value)
    cpu.access.pc = _CALL
    _wait(machine)
