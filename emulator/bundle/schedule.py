# SPDX-License-Identifier: Apache-2.0
"""The static schedule: which vCPU has which part of the major frame on each physical CPU.

A frame of fixed length repeats for ever, the same on every physical CPU. On each of them its slots
fill it, one after another. A slot begins with a window of fixed length in which the hypervisor does
its own work, so that whoever had the slot before cannot be felt in the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FRAME_US = 10_000
WINDOW_US = 64
SLOT_US = 58
"""A vCPU's slot is longer than the window by so much at least: 10 us until its guest is entered,
48 us for a step of what its VM needs between two lives."""
FFA_SLOT_US = 113
"""That of a partition: 10 us, 80 us for a call of FF-A and 23 us for a page of it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """`length_us` microseconds for vCPU `vcpu` of VM number `vm`; None is nobody."""

    vm: int | None
    vcpu: int
    length_us: int


@dataclass(frozen=True, slots=True)
class CpuSlots:
    """The slots of one physical CPU: the `cpu`-th node in the board's /cpus, from 0."""

    cpu: int
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The frame, the window that each slot begins with, and the CPUs that are used."""

    frame_us: int = FRAME_US
    window_us: int = WINDOW_US
    cpus: tuple[CpuSlots, ...] = ()

    @property
    def cpu_count(self) -> int:
        """How many CPUs a board needs to have."""
        return max((c.cpu for c in self.cpus), default=0) + 1


def equal_shares(
    pins: Sequence[Sequence[int]], *, frame_us: int = FRAME_US, window_us: int = WINDOW_US
) -> Schedule:
    """The schedule without wishes: `pins[vm][vcpu]` is the CPU of each vCPU, and all on one CPU
    share its frame equally, in this order.

    Microseconds that do not divide go to the first ones. CPU 0 is always used: it has the console.
    """
    shares: dict[int, list[tuple[int, int]]] = {0: []}
    for vm, cpus in enumerate(pins):
        for vcpu, cpu in enumerate(cpus):
            shares.setdefault(cpu, []).append((vm, vcpu))
    return Schedule(
        frame_us,
        window_us,
        tuple(CpuSlots(cpu, _shared(shares[cpu], frame_us)) for cpu in sorted(shares)),
    )


def _shared(vcpus: Sequence[tuple[int, int]], frame_us: int) -> tuple[Slot, ...]:
    if not vcpus:
        return (Slot(None, 0, frame_us),)
    each, left = divmod(frame_us, len(vcpus))
    return tuple(
        Slot(vm, vcpu, each + (1 if index < left else 0)) for index, (vm, vcpu) in enumerate(vcpus)
    )


def own_cpus(vcpus: int) -> tuple[int, ...]:
    """Where vCPUs go when nothing is said: the first to CPU 0, the second to CPU 1, ..."""
    return tuple(range(vcpus))
