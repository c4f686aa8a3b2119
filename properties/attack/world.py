# SPDX-License-Identifier: Apache-2.0
"""The VMs that are attacked, and when each vCPU has its slots."""

from dataclasses import dataclass

from aether_edgecloud.emulator.bundle.manifest import Restart

SLOT_US = 1_000


@dataclass(frozen=True, slots=True)
class Place:
    """A VM of the world: the pCPU of each vCPU, pages of memory, and what the manifest says."""

    name: str
    cpus: tuple[int, ...]
    pages: int
    peers: tuple[str, ...] | None = None
    manages: tuple[str, ...] = ()
    restart: Restart = Restart.NEVER


@dataclass(frozen=True, slots=True)
class Slot:
    """A vCPU's part of the frame, in units of its world."""

    vm: str
    vcpu: int
    units: int = 1


@dataclass(frozen=True, slots=True)
class World:
    """VMs, and the slots of each pCPU."""

    places: tuple[Place, ...]
    slots: tuple[tuple[Slot, ...], ...]
    unit_us: int = SLOT_US

    def number(self, name: str) -> int:
        return next(n for n, place in enumerate(self.places) if place.name == name)

    @property
    def units(self) -> int:
        """Of a frame."""
        return sum(slot.units for slot in self.slots[0])

    def times(self, vm: int, vcpu: int) -> tuple[int, frozenset[int]]:
        """A vCPU's pCPU, and the units of the frame that it has there."""
        found: set[int] = set()
        home = self.places[vm].cpus[vcpu]
        at = 0
        for slot in self.slots[home]:
            if (self.number(slot.vm), slot.vcpu) == (vm, vcpu):
                found.update(range(at, at + slot.units))
            at += slot.units
        return home, frozenset(found)

    def can_meet(self, one: tuple[int, int], other: tuple[int, int]) -> bool:
        """Whether two vCPUs are at some time in their slots on different pCPUs."""
        (cpu, units), (other_cpu, other_units) = self.times(*one), self.times(*other)
        return cpu != other_cpu and bool(units & other_units)


TRIO = World(
    (
        Place("a", (0, 1), 48, peers=("b",), restart=Restart.CRASH),
        Place("b", (0, 1), 48, peers=("a",)),
        Place("m", (2,), 8, manages=("a", "b")),
    ),
    (
        (Slot("a", 0, 2), Slot("b", 0, 2)),
        (Slot("b", 1), Slot("a", 1, 2), Slot("b", 1)),
        (Slot("m", 0, 4),),
    ),
)
"""Two partitions, peers of each other, with two vCPUs each; and a manager, on a pCPU of its own, so
that it always is in a slot. The vCPUs of a VM meet, and each meets one of the other VM; few changes
of slot, since these take the time."""

CROWDED = World(
    (*TRIO.places[:2], Place("m", (0,), 8, manages=("a", "b"))),
    (
        (Slot("a", 0, 2), Slot("b", 0, 2), Slot("m", 0)),
        (Slot("a", 1, 3), Slot("b", 1, 2)),
    ),
)
"""The same VMs, the manager on a pCPU of both partitions: what it does to a vCPU there, it does on
that vCPU's own pCPU."""
