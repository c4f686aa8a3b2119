# SPDX-License-Identifier: Apache-2.0
"""The virtual GIC, with any number of list registers, is a GICv2 to its guest: nothing is lost or
invented, the right one comes first; and each physical interrupt is deactivated once.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from .gic_model import IDLE, Interface, PlainGic, Taken
from .vgic_library import VgicLibrary, build

CTLR, ISENABLER, ISPENDR, ISACTIVER = 0x000, 0x100, 0x200, 0x300
CLEAR = 0x80
IPRIORITYR, ITARGETSR, ICFGR = 0x400, 0x800, 0xC00
SGIR, CPENDSGIR, SPENDSGIR = 0xF00, 0xF10, 0xF20
TIMER = 27
FORWARDED = (40, 41, 70)
ROUNDS = 40
"""EL2 is entered no more often than this before the guest goes on."""

INTIDS = (0, 3, TIMER, 33, 34, 40, 70, 95)
Operation = tuple[str, int, int, int]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> VgicLibrary:
    return build(tmp_path_factory.mktemp("vgic"))


@dataclass(slots=True)
class Physical:
    """A physical interrupt: its input, and whether the distributor holds it active."""

    level: bool = False
    active: bool = False


class Bench:
    """The virtual GIC on its hardware, and the plain GIC beside it."""

    def __init__(self, library: VgicLibrary, cpus: int, lrs: int, eoimode: bool) -> None:
        self.c = library
        self.c.start(cpus, lrs, FORWARDED)
        self.eoimode = eoimode
        self.plain = PlainGic(cpus)
        self.interfaces = [Interface(self.c.gich(i), lrs, eoimode) for i in range(cpus)]
        self.stacks: list[list[Taken]] = [[] for _ in range(cpus)]
        self.dropped: list[list[Taken]] = [[] for _ in range(cpus)]
        self.loaded = [False] * cpus
        self.timers = [Physical() for _ in range(cpus)]
        self.spis = {intid: Physical() for intid in FORWARDED}
        for cpu in range(cpus):
            self.switch(cpu, 0)
            self.interfaces[cpu].start()

    # Hardware

    def physical(self, cpu: int, intid: int) -> Physical:
        return self.timers[cpu] if intid == TIMER else self.spis[intid]

    def deactivate(self, cpu: int, intid: int) -> None:
        line = self.physical(cpu, intid)
        assert line.active, f"physical interrupt {intid} was deactivated twice"
        line.active = False

    def follow_writes(self) -> None:
        for write in self.c.take_writes():
            for intid in (write.index * 32 + i for i in range(32) if write.bits >> i & 1):
                if write.offset == ISACTIVER + CLEAR:
                    self.deactivate(write.cpu, intid)
                elif write.offset == ISACTIVER:
                    assert not self.physical(write.cpu, intid).active
                    self.physical(write.cpu, intid).active = True

    def fire(self, cpu: int) -> bool:
        """A physical interrupt of this CPU is taken to EL2, if there is one."""
        lines = [(TIMER, self.timers[cpu])] + [(i, s) for i, s in self.spis.items() if cpu == 0]
        for intid, line in lines:
            if self.loaded[cpu] and line.level and not line.active:
                line.active = True
                self.c.physical(cpu, intid)
                self.plain.line(cpu, intid).latch = True
                return True
        return False

    def settle(self) -> None:
        """EL2 runs wherever it has a reason to, until it has none."""
        for _ in range(ROUNDS):
            busy = False
            for cpu, interface in enumerate(self.interfaces):
                interface.refresh()
                fired = self.fire(cpu)
                if self.loaded[cpu] and interface.maintenance():
                    self.c.maintenance(cpu)
                    fired = True
                if self.loaded[cpu]:
                    fired = self.c.enter(cpu) or fired
                    interface.all_lrs_are_sound()
                self.follow_writes()
                busy = busy or fired
            if not busy:
                return
        raise AssertionError("EL2 is entered for ever")

    def check(self) -> None:
        """Each vCPU that is loaded is signalled what a plain GIC would signal it."""
        for cpu, interface in enumerate(self.interfaces):
            if not self.loaded[cpu]:
                continue
            running = min(
                (self.priority_when_taken(cpu, t) for t in self.stacks[cpu]), default=IDLE
            )
            best = self.plain.best_priority(cpu)
            expected = None if best is None or best >= running else best
            assert interface.signalled_priority() == expected, f"vCPU {cpu}"
            held = self.timers[cpu].active
            line = self.plain.line(cpu, TIMER)
            assert held <= (line.latch or line.active is not None), "the timer is lost"
        for intid, spi in self.spis.items():
            line = self.plain.line(0, intid)
            assert spi.active <= (line.latch or line.active is not None), f"SPI {intid} is lost"

    def priority_when_taken(self, cpu: int, taken: Taken) -> int:
        return self.plain.line(cpu, taken.intid).priority >> 3

    # What a guest and its devices do

    def do(self, operation: Operation) -> None:
        name, cpu, intid, value = operation
        getattr(self, name)(cpu % len(self.interfaces), intid, value)
        self.settle()
        self.check()

    def switch(self, cpu: int, _intid: int = 0, _value: int = 0) -> None:
        if self.loaded[cpu]:
            self.c.save(cpu)
        else:
            self.c.load(cpu)
        self.loaded[cpu] = not self.loaded[cpu]
        self.follow_writes()
        if not self.loaded[cpu]:
            assert not self.timers[cpu].active, "left active for the next vCPU"

    def guest(self, cpu: int, offset: int, value: int, size: int = 4) -> bool:
        """A store, if the vCPU runs."""
        if self.loaded[cpu]:
            self.c.write(cpu, offset, value, size)
        return self.loaded[cpu]

    def set_bit(self, cpu: int, first: int, intid: int) -> bool:
        return self.guest(cpu, first + intid // 32 * 4, 1 << intid % 32)

    def control(self, cpu: int, _intid: int, value: int) -> None:
        on = value % 8 != 0
        if self.guest(cpu, CTLR, int(on)):
            self.plain.enabled = on

    def enable(self, cpu: int, intid: int, value: int) -> None:
        on = value % 4 != 0
        if self.set_bit(cpu, ISENABLER + (0 if on else CLEAR), intid) and intid >= 16:
            self.plain.line(cpu, intid).enabled = on

    def pend(self, cpu: int, intid: int, value: int) -> None:
        on = value % 2 != 0
        if self.set_bit(cpu, ISPENDR + (0 if on else CLEAR), intid) and intid >= 16:
            self.plain.line(cpu, intid).latch = on

    def priority(self, cpu: int, intid: int, value: int) -> None:
        if self.plain.line(cpu, intid).active is not None:
            return
        if self.guest(cpu, IPRIORITYR + intid, value, 1):
            self.plain.line(cpu, intid).priority = value & 0xF8

    def target(self, cpu: int, intid: int, value: int) -> None:
        if intid >= 32 and self.guest(cpu, ITARGETSR + intid, value, 1):
            self.plain.line(cpu, intid).targets = value & ((1 << self.plain.cpus) - 1)

    def configure(self, cpu: int, intid: int, value: int) -> None:
        if intid < 32 or not self.loaded[cpu]:
            return
        offset = ICFGR + intid // 16 * 4
        bit = 2 << intid % 16 * 2
        before = self.c.read(cpu, offset)
        self.c.write(cpu, offset, before & ~bit | (bit if value & 1 else 0))
        self.plain.line(cpu, intid).edge = bool(value & 1)

    def sgi(self, cpu: int, intid: int, value: int) -> None:
        if not self.guest(cpu, SGIR, value << 16 | intid % 16):
            return
        everyone = range(self.plain.cpus)
        targets: Iterable[int] = (
            [i for i in everyone if value >> i & 1],
            [i for i in everyone if i != cpu],
            [cpu],
            [],
        )[value >> 8 & 3]
        for target in targets:
            self.plain.line(target, intid % 16).sources.add(cpu)

    def sgi_pend(self, cpu: int, intid: int, value: int) -> None:
        first = SPENDSGIR if value & 0x100 else CPENDSGIR
        if self.guest(cpu, first + intid % 16, value & 0xFF, 1):
            some = {i for i in range(self.plain.cpus) if value >> i & 1}
            line = self.plain.line(cpu, intid % 16)
            line.sources = line.sources | some if value & 0x100 else line.sources - some

    def level(self, cpu: int, intid: int, value: int) -> None:
        if intid < 32 or intid in FORWARDED:
            return
        line = self.plain.line(cpu, intid)
        on = bool(value & 1)
        self.c.set_level(cpu, intid, on)
        line.latch = line.latch or (on and not line.level and line.edge)
        line.level = on

    def wire(self, cpu: int, intid: int, value: int) -> None:
        if intid == TIMER or intid in FORWARDED:
            self.physical(cpu, intid).level = bool(value & 1)

    def take(self, cpu: int, _intid: int, _value: int) -> None:
        taken = self.interfaces[cpu].acknowledge() if self.loaded[cpu] else None
        if taken is not None:
            self.plain.take(cpu, taken)
            self.stacks[cpu].append(taken)

    def end(self, cpu: int, _intid: int, _value: int) -> None:
        if not self.loaded[cpu] or not self.stacks[cpu]:
            return
        taken = self.stacks[cpu].pop()
        deactivated = self.interfaces[cpu].end(taken)
        if deactivated is not None:
            assert deactivated == taken.intid
            self.deactivate(cpu, deactivated)
        if self.eoimode:
            self.dropped[cpu].append(taken)
        else:
            self.plain.line(cpu, taken.intid).active = None

    def finish(self, cpu: int, intid: int, value: int) -> None:
        """GICC_DIR or GICD_ICACTIVER, of what was ended with EOImode."""
        if not self.loaded[cpu] or not self.dropped[cpu]:
            return
        taken = self.dropped[cpu].pop(intid % len(self.dropped[cpu]))
        if value & 1:
            self.c.dir(cpu, taken.source << 10 | taken.intid)
        else:
            self.set_bit(cpu, ISACTIVER + CLEAR, taken.intid)
        self.plain.line(cpu, taken.intid).active = None

    def read_back(self, cpu: int, intid: int, _value: int) -> None:
        if not self.loaded[cpu]:
            return
        for first, expected in (
            (ISENABLER, lambda line: line.enabled),
            (ISPENDR, lambda line: line.pending()),
            (ISACTIVER, lambda line: line.active is not None),
        ):
            line = self.plain.line(cpu, intid)
            got = self.c.read(cpu, first + intid // 32 * 4) >> intid % 32 & 1
            elsewhere = intid >= 32 and not self.plain.goes_to(cpu, intid)
            if not elsewhere and line.active in (None, cpu):
                assert got == expected(line), hex(first)
        sources = self.c.read(cpu, CPENDSGIR + intid % 16, 1)
        assert sources == sum(1 << i for i in self.plain.line(cpu, intid % 16).sources)

    def drain(self) -> None:
        """The devices fall silent, and the guest takes all there is."""
        for line in [*self.timers, *self.spis.values()]:
            line.level = False
        for cpu in range(self.plain.cpus):
            if not self.loaded[cpu]:
                self.do(("switch", cpu, 0, 0))
        for cpu in range(self.plain.cpus):
            while self.stacks[cpu]:
                self.do(("end", cpu, 0, 0))
            while self.dropped[cpu]:
                self.do(("finish", cpu, 0, 0))
            while self.interfaces[cpu].signalled() is not None:
                self.do(("take", cpu, 0, 0))
                self.do(("level", cpu, self.stacks[cpu][-1].intid, 0))
                self.do(("end", cpu, 0, 0))
                if self.eoimode:
                    self.do(("finish", cpu, 0, 1))

    def restart(self) -> None:
        for cpu in range(self.plain.cpus):
            if self.loaded[cpu]:
                self.switch(cpu)
        self.c.reset()
        self.follow_writes()
        assert not any(line.active for line in [*self.timers, *self.spis.values()])


NAMES = (
    *("take", "end") * 6,
    *("sgi", "level", "wire") * 4,
    *("finish", "pend", "enable", "read_back", "target", "priority", "configure") * 2,
    *("sgi_pend", "switch", "control"),
)


def prepare(bench: Bench) -> None:
    """All on, as a guest's boot leaves it."""
    bench.do(("control", 0, 0, 1))
    for intid in INTIDS:
        for cpu in range(bench.plain.cpus if intid < 32 else 1):
            bench.do(("enable", cpu, intid, 1))
            bench.do(("target", cpu, intid, 1))


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(100, 250), eoimode=st.booleans())
def test_the_guest_sees_a_gicv2(
    library: VgicLibrary, seed: int, length: int, eoimode: bool
) -> None:
    """A run is drawn from a seed: states that matter lie many operations on a few interrupts deep,
    where a generator of lists that shrink well seldom comes."""
    draw = random.Random(seed)
    cpus, lrs = draw.randint(1, 4), draw.randint(1, 4)
    intids = draw.sample(INTIDS, 4)
    bench = Bench(library, cpus, lrs, eoimode)
    prepare(bench)
    note(f"{cpus} vCPUs, {lrs} list registers")
    for _ in range(length):
        operation = (
            draw.choice(NAMES),
            draw.randrange(cpus),
            draw.choice(intids),
            draw.randrange(0x400),
        )
        note(str(operation))
        bench.do(operation)
    bench.drain()
    bench.restart()
