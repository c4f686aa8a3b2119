# SPDX-License-Identifier: Apache-2.0
"""Guests that call the hypervisor without a pause (stub `caller`): nothing is found on the real
binary, however unkind the machine, and the guests see no difference."""

import functools
import re
from dataclasses import dataclass

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.adversary.plan import Plan
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
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.emulator.check.checker import ALL_RULES, Checker
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.machine import QUANTUM
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.properties.adversary import table_builds
from aether_edgecloud.properties.adversary.table_builds import Program
from aether_edgecloud.properties.mutants import catalogue as bugs

RAM_SIZE = 64 << 20
MEMORY_IPA = 0x4020_0000
MEMORY_SIZE = 0x3_0000
NAMES = ("a", "b")
CALLER = catalogue.find("caller")
SEED_UNIT = 100_000
"""Of the stub's parameter, beside thousands of calls."""
NOTED = ["writable-tables"]
"""What is found on the real binary: by design, and no breach."""
SLOTS = {
    1: ((("a", 0, 1000), ("b", 0, 1000)),),
    2: (
        (("a", 0, 1000), ("b", 1, 1000), ("a", 0, 1000), ("b", 1, 1000)),
        (("b", 0, 1000), ("a", 1, 2000), ("b", 0, 1000)),
    ),
}
"""Of each number of CPUs: VM, vCPU, microseconds. With two, each VM has two vCPUs, and all that
are of different CPUs meet."""
_COUNTS = re.compile(
    r"(\d+) and (\d+) calls; (\d+) offers, (\d+) retrieved, (\d+) relinquished, (\d+) reclaimed"
)


@dataclass(frozen=True, slots=True)
class Calls:
    """Two VMs that make calls, and hand each other pages."""

    case: str
    seed: int
    thousands: int
    """Of calls, that each of them makes at least."""
    cpus: int = 1
    quantum: int = QUANTUM

    def bundle(self) -> bytes:
        image = catalogue.patched(
            toolchain.artefact("stub:caller").flat.read_bytes(),
            case=CALLER.case(self.case).number,
            parameter=SEED_UNIT * self.seed + self.thousands,
        )
        slots = SLOTS[self.cpus]
        vms = tuple(
            VmDescription(
                name=name,
                memory=(Memory(MEMORY_IPA, MEMORY_SIZE),),
                images=(ImageBytes("caller", image, MEMORY_IPA),),
                vcpus=self.cpus,
                cpus=tuple(range(self.cpus)) if name == "a" else tuple(range(self.cpus))[::-1],
                devices=(DeviceKind.VPL011, DeviceKind.VGICV2),
                dtb=DtbChoice.NONE,
                peers=tuple(other for other in NAMES if other != name),
            )
            for name in NAMES
        )
        rows = tuple(tuple(SlotDescription(*slot) for slot in row) for row in slots)
        frame = sum(length for _, _, length in slots[0])
        return build(
            Description(vms, ScheduleDescription(frame_us=frame, cpus=rows)), where="calls"
        )

    def machine(self, plan: Plan | None = None, binary: BootImage | None = None) -> Machine:
        return Machine(
            virt(RAM_SIZE, self.cpus),
            binary or BootImage.from_file(toolchain.artefact("el2").flat),
            self.bundle(),
            mmu=MmuMode.MODEL,
            source=Bytes(b""),
            adversary=plan,
            quantum=self.quantum,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a checked run was."""

    findings: tuple[str, ...]
    stop: StopKind
    console: str
    instructions: int

    @property
    def counts(self) -> list[tuple[int, ...]]:
        """Of each VM: calls of vCPU 0 and of vCPU 1, offers, retrieved, relinquished, reclaimed."""
        return [tuple(map(int, found)) for found in _COUNTS.findall(self.console)]


def check(calls: Calls, plan: Plan | None = None) -> Seen:
    machine = calls.machine(plan)
    try:
        checker = Checker(machine, rules=ALL_RULES)
        stop = machine.run(calls.thousands * 40_000_000)
        checker.finish()
        found = tuple(finding.rule.id for finding in checker.findings.found)
        return Seen(found, stop.kind, console(machine), stop.instructions)
    finally:
        machine.close()


def console(machine: Machine) -> str:
    return bytes(machine.console.output).decode("latin-1").replace("\r", "")


kind = functools.cache(check)
"""On the kind machine."""


def is_well(seen: Seen, calls: Calls) -> None:
    assert list(seen.findings) == NOTED
    assert seen.stop is StopKind.SYSTEM_OFF
    assert "WRONG" not in seen.console and "panic" not in seen.console, seen.console
    assert seen.console.count("as it should be") == len(NAMES), seen.console
    for own, second, *_ in seen.counts:
        assert own >= 1000 * calls.thousands
        assert (second > 0) == (calls.cpus > 1)


SHORT = (Calls("calls", 3, 2), Calls("lending", 4, 1, cpus=2))


@pytest.mark.parametrize("calls", SHORT, ids=str)
def test_nothing_is_found(calls: Calls) -> None:
    seen = kind(calls)
    is_well(seen, calls)
    if calls.case == "lending":
        for _, _, *changes in seen.counts:
            assert all(count >= 10 for count in changes), "pages hardly change hands"


@pytest.mark.parametrize(
    "calls", [SHORT[0], pytest.param(SHORT[1], marks=pytest.mark.nightly)], ids=str
)
def test_nor_on_the_worst_hardware(calls: Calls) -> None:
    """And neither results nor their times are other than before."""
    seen = check(calls, Plan(tlb=True, caches=True, seed=calls.seed, rate=256))
    is_well(seen, calls)
    assert (seen.console, seen.instructions) == (kind(calls).console, kind(calls).instructions)


LONG = (
    (Calls("calls", 11, 20), 256),
    (Calls("calls", 12, 20), 128),
    (Calls("calls", 13, 10, cpus=2), 256),
    (Calls("lending", 14, 6), 192),
    (Calls("lending", 15, 3, cpus=2, quantum=100), 256),
)


@pytest.mark.nightly
@pytest.mark.parametrize(("calls", "rate"), LONG, ids=str)
def test_nor_in_many_calls(calls: Calls, rate: int) -> None:
    seen = check(calls, Plan(tlb=True, caches=True, seed=calls.seed, rate=rate))
    is_well(seen, calls)
    assert seen.console == kind(calls).console


NOTICED = {
    "lend-without-zeroing": None,
    "relinquish-without-zeroing": None,
    "donate-keeps-the-page": None,
    "read-only-share-writable": None,
    "sender-not-checked": None,
    "tlbi-never": Plan(tlb=True, rate=256),
}
"""Bugs, and the adversary that it takes."""


@pytest.mark.nightly
@pytest.mark.parametrize("name", NOTICED)
def test_the_callers_notice(name: str) -> None:
    """Without a checker; or the hypervisor itself does."""
    (bug,) = (bug for bug in bugs.load(toolchain.SOURCE_ROOT) if bug.id == name)
    binary = table_builds.binary(Program.HYPERVISOR, bug.edit)
    calls = Calls("lending", 3, 2)
    machine = calls.machine(NOTICED[name], BootImage.from_bytes(binary, where="el2"))
    try:
        machine.run(calls.thousands * 40_000_000)
        assert any(word in console(machine) for word in ("WRONG", "panic"))
    finally:
        machine.close()
