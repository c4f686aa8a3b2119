# SPDX-License-Identifier: Apache-2.0
"""The telemetry pages, as `el2/include/el2/telemetry.h` lays them out (version 1)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

PAGE_SIZE = 4096
MAGIC = b"AETHERT1"
VERSION = 1
SYMBOL = "telemetry_page"
"""The hypervisor's page in its binary."""

MAX_VMS = 8
MAX_VCPUS = 8
MAX_CPUS = 8

EXITS = (
    "hvc",
    "smc",
    "sysreg",
    "instruction-abort",
    "data-abort-mmio-gicd",
    "data-abort-mmio-uart",
    "data-abort-other",
    "irq-timer",
    "irq-maintenance",
    "irq-kick",
    "irq-forwarded",
    "irq-slot",
    "serror",
    "other",
)
"""Why a vCPU came to EL2, in the order of the counters."""

_HEADER = struct.Struct("<8sIIII16sQQQ")
_VCPU = struct.Struct(f"<{len(EXITS)}Q5Q5Q")
_CPU = struct.Struct("<5Q3Q")
_ADDRESS = struct.Struct("<Q")
_CPUS_AT = _HEADER.size
_VM_PAGES_AT = _CPUS_AT + MAX_CPUS * _CPU.size


class PageKind(Enum):
    """Whose page it is."""

    VM = 1
    HYPERVISOR = 2


class VmState(Enum):
    """What a VM is at."""

    DOWN = 0
    RUNNING = 1
    STOPPING = 2
    RECORDING = 3
    LOADING = 4
    RELEASING = 5
    READY = 6
    PAUSED = 7
    ABSENT = 8
    SCRUBBING = 9

    @property
    def word(self) -> str:
        """The state in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class VcpuCounters:
    """One vCPU. `exits` are in the order of EXITS; `el2_ticks` are ticks of the system counter
    between exits and entries; `late` slots are among `slots`."""

    exits: tuple[int, ...]
    el2_ticks: int = 0
    slots: int = 0
    late: int = 0
    injected: int = 0
    kicks: int = 0


@dataclass(frozen=True, slots=True)
class VmPage:
    """The page of one VM."""

    name: str
    state: VmState | None
    crashes: int
    restarts: int
    vcpus: tuple[VcpuCounters, ...]


@dataclass(frozen=True, slots=True)
class CpuCounters:
    """One physical CPU. `most_ticks` is the most that work in a window took."""

    slots: int
    late: int
    idle_slots: int
    switches: int
    most_ticks: int


@dataclass(frozen=True, slots=True)
class HypervisorPage:
    """The hypervisor's page. `vm_pages` are the PAs of the VMs' pages, in their order. Frame and
    window in ticks; `frequency` in ticks a second."""

    frame: int
    window: int
    frequency: int
    cpus: tuple[CpuCounters, ...]
    vm_pages: tuple[int, ...]


def parse_hypervisor(page: bytes) -> HypervisorPage | None:
    """None for bytes that are no page of the hypervisor's (it may not have got so far yet)."""
    header = _header(page, PageKind.HYPERVISOR)
    if header is None:
        return None
    count, _, frame, window, frequency = header
    cpus = tuple(
        CpuCounters(*_CPU.unpack_from(page, _CPUS_AT + i * _CPU.size)[:5])
        for i in range(min(count, MAX_CPUS))
    )
    addresses = (
        _ADDRESS.unpack_from(page, _VM_PAGES_AT + i * _ADDRESS.size)[0] for i in range(MAX_VMS)
    )
    return HypervisorPage(frame, window, frequency, cpus, tuple(a for a in addresses if a))


def parse_vm(page: bytes) -> VmPage | None:
    """None for bytes that are no VM's page."""
    header = _header(page, PageKind.VM)
    if header is None:
        return None
    count, name, state, crashes, restarts = header
    vcpus = []
    for index in range(min(count, MAX_VCPUS)):
        values = _VCPU.unpack_from(page, _HEADER.size + index * _VCPU.size)
        exits, rest = values[: len(EXITS)], values[len(EXITS) : len(EXITS) + 5]
        vcpus.append(VcpuCounters(exits, *rest))
    known = state in VmState._value2member_map_
    return VmPage(name, VmState(state) if known else None, crashes, restarts, tuple(vcpus))


def _header(page: bytes, kind: PageKind) -> tuple[int, str, int, int, int] | None:
    """count, name and the three numbers behind it."""
    if len(page) < PAGE_SIZE:
        return None
    magic, version, found, _, count, name, *numbers = _HEADER.unpack_from(page)
    if magic != MAGIC or version != VERSION or found != kind.value:
        return None
    one, two, three = numbers
    return count, name.partition(b"\0")[0].decode("ascii", "replace"), one, two, three


def total(vcpus: Sequence[VcpuCounters]) -> VcpuCounters:
    """The sums over a VM's vCPUs."""
    return VcpuCounters(
        tuple(sum(v.exits[i] for v in vcpus) for i in range(len(EXITS))),
        sum(v.el2_ticks for v in vcpus),
        sum(v.slots for v in vcpus),
        sum(v.late for v in vcpus),
        sum(v.injected for v in vcpus),
        sum(v.kicks for v in vcpus),
    )
