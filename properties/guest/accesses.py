# SPDX-License-Identifier: Apache-2.0
"""Random programs of accesses to the GIC, with what a guest should see. Only what the architecture
defines is done: interrupts are ended in order, and configuration waits until they are inactive."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import gicv2
from .gicv2 import EOIMODE, Gicv2, Value
from .program import GICC, GICD, Operation, Step, finish, read, settle, switch_on, write

UART = 0x0900_0000
UART_DR, UART_IMSC, UART_ICR = UART + 0x00, UART + 0x38, UART + 0x44
UART_TX = 1 << 5
UART_SPI = 33

SOON = 100
"""Iterations, of about three instructions, until the effect of a vCPU's own access is there."""
ELSEWHERE = 8000
"""Until that on another vCPU is: a kick, or the next slot when this one is nearly over; and the
CPUs of the machine are up to a quantum apart."""

SGIS = (0, 1, 7, 15)
PPIS = (16, 20, 27, 31)
SPIS = (UART_SPI, 32, 34, 47, 63, 64, 80, 94, 95)
ISR_I = 1 << 7


@dataclass(frozen=True, slots=True)
class Seen:
    """What is expected of a step, and for people what the step is."""

    expected: Value
    what: str


class Writer:
    """Writes a program, and follows it in the specification. Each of its parts is drawn from a
    seed of its own, so that a program without some of them is much the same in the others."""

    def __init__(self, seed: int, cpus: int, parts: Sequence[int]) -> None:
        self._draw = random.Random(seed)
        self.cpus = cpus
        self.gic = Gicv2(cpus)
        self.steps: list[Step] = switch_on(cpus)
        self.seen: list[Seen] = [
            Seen(Value(0, 0 if i else gicv2.ALL), "CPU_ON")
            for step in self.steps
            for i in range(step.results)
        ]
        self._cpu = 0
        self._far = False  # something is on its way to or from another vCPU
        pool = [*SGIS, *PPIS, *SPIS]
        self._intids = pool if seed % 3 == 0 else sorted(self._draw.sample(pool, 6))
        self._start()
        for part in parts:
            self._draw = random.Random(f"{seed} {part}")
            if self._draw.random() < 0.3:
                self._go_to(self._draw.randrange(cpus))
            self._draw.choice(_CHOICES)(self)
        self._drain()
        self._go_to(0)
        self.steps += finish()

    # Steps

    def _read(self, address: int, size: int, expected: Value, what: str) -> None:
        self.steps.append(read(self._cpu, address, size))
        self.seen.append(Seen(expected, f"step {len(self.steps) - 1}, vCPU {self._cpu}: {what}"))

    def _distributor(self, offset: int, value: int, size: int = 4) -> None:
        self.steps.append(write(self._cpu, GICD + offset, value, size))
        self.gic.write(self._cpu, offset, size, value)

    def _interface(self, offset: int, value: int) -> None:
        self.steps.append(write(self._cpu, GICC + offset, value))
        self.gic.write_interface(self._cpu, offset, value)

    def _go_to(self, cpu: int) -> None:
        self._cpu = cpu
        self._far = self.cpus > 1

    def _soon(self) -> None:
        self.steps.append(settle(self._cpu, ELSEWHERE if self._far else SOON))
        self._far = False

    def _start(self) -> None:
        self.steps.append(write(0, UART_DR, ord("\n")))  # and it is ready to send more
        self._distributor(gicv2.GICD_CTLR, 1)
        for cpu in range(self.cpus):
            self._go_to(cpu)
            self._interface(gicv2.GICC_CTLR, 1 | self._draw.choice((0, EOIMODE)))
            self._interface(gicv2.PMR, 0xFF)
            for intid in self._intids:
                if intid >= 16 and self._draw.random() < 0.8:
                    self._distributor(gicv2.ISENABLER + intid // 32 * 4, 1 << intid % 32)
                if self._draw.random() < 0.8:
                    priority = self._draw.randrange(0, 0x80, 8)
                    self._distributor(gicv2.IPRIORITYR + intid, priority, 1)
                if intid >= 32 and cpu == 0:
                    targets = 1 << self._draw.randrange(self.cpus)
                    self._distributor(gicv2.ITARGETSR + intid, targets, 1)

    def _drain(self) -> None:
        """The device falls silent, and all that is left is taken and ended."""
        self._drive(False)
        self._distributor(gicv2.GICD_CTLR, 1)
        for cpu in range(self.cpus):
            self._go_to(cpu)
            while self.gic.interfaces[cpu].taken:
                self.end()
            while self.gic.interfaces[cpu].dropped:
                self.deactivate()
            self._interface(gicv2.GICC_CTLR, 1)
            self._interface(gicv2.PMR, 0xFF)
            while self.take() != gicv2.SPURIOUS:
                self.end()

    # What a guest does

    def take(self) -> int:
        self._soon()
        iar = self.gic.acknowledge(self._cpu)
        self._read(GICC + gicv2.IAR, 4, Value(iar), "IAR")
        self.gic.follow()
        return iar

    def end(self) -> None:
        interface = self.gic.interfaces[self._cpu]
        if interface.taken:
            self.steps.append(write(self._cpu, GICC + gicv2.EOIR, interface.taken[-1].iar))
            self.gic.end(self._cpu)

    def deactivate(self) -> None:
        """By DIR; that of an SPI on any CPU with EOImode."""
        if not self.gic.interfaces[self._cpu].control & EOIMODE:
            return
        some = [
            taken
            for cpu, interface in enumerate(self.gic.interfaces)
            for taken in interface.dropped
            if cpu == self._cpu or taken.intid >= 32
        ]
        if some:
            taken = self._draw.choice(some)
            self.steps.append(write(self._cpu, GICC + gicv2.DIR, taken.iar))
            self.gic.deactivate(self._cpu, taken.intid)

    def signalled(self) -> None:
        self._soon()
        self.steps.append(Step(Operation.PENDING, self._cpu))
        expected = 0 if self.gic.signalled(self._cpu) is None else ISR_I
        what = f"step {len(self.steps) - 1}, vCPU {self._cpu}: ISR_EL1"
        self.seen.append(Seen(Value(expected, ISR_I), what))

    def send(self) -> None:
        sgi = self._draw.choice(SGIS)
        form = self._draw.choice((0, 0, 0, 1, 2, 3))
        self._distributor(gicv2.SGIR, form << 24 | self._draw.randrange(256) << 16 | sgi)

    def pend_sgi(self) -> None:
        first = self._draw.choice((gicv2.CPENDSGIR, gicv2.SPENDSGIR))
        if self._draw.random() < 0.8:
            value = self._draw.randrange(256)
            self._distributor(first + self._draw.choice(SGIS), value, 1)
        else:
            value = self._draw.getrandbits(32) & self._draw.getrandbits(32)
            self._distributor(first + self._draw.randrange(0, 16, 4), value)

    def _bits(self, first: int, allowed: Callable[[int], bool]) -> None:
        """One or several bits of one of the registers from `first` on."""
        index = self._draw.choice(self._intids) // 32
        some = [i for i in self._intids if i // 32 == index and allowed(i)]
        chosen = self._draw.sample(some, min(len(some), self._draw.choice((1, 1, 2, 5))))
        self._distributor(first + 4 * index, sum(1 << i % 32 for i in chosen))

    def pend(self) -> None:
        self._bits(gicv2.ISPENDR, lambda _: True)

    def flood(self) -> None:
        """More than there are list registers."""
        for index in range(3):
            some = [i for i in self._intids if i // 32 == index]
            self._distributor(gicv2.ISPENDR + 4 * index, sum(1 << i % 32 for i in some))

    def unpend(self) -> None:
        self._bits(gicv2.ICPENDR, lambda _: True)

    def enable(self) -> None:
        self._bits(gicv2.ISENABLER, lambda _: True)

    def disable(self) -> None:
        self._bits(gicv2.ICENABLER, lambda _: True)

    def _being_taken(self, intid: int) -> bool:
        """On the stack of a CPU."""
        return any(
            t.intid == intid
            for cpu, interface in enumerate(self.gic.interfaces)
            for t in interface.taken
            if intid >= 32 or cpu == self._cpu
        )

    def _quiet(self, intid: int) -> bool:
        line = self.gic.interrupt(self._cpu, intid)
        return line.active is None and not self._being_taken(intid)

    def activate(self) -> None:
        """Not what a CPU would end before it has taken it; nor an SGI, which has a source."""
        self._bits(gicv2.ISACTIVER, lambda i: i >= 16 and self._quiet(i))

    def inactivate(self) -> None:
        self._bits(gicv2.ICACTIVER, lambda i: not self._being_taken(i))

    def inactivate_taken(self) -> None:
        """Before its EOI, which then only drops the priority. It stays with its CPU."""
        taken = self.gic.interfaces[self._cpu].taken
        if not taken or self.gic.interfaces[self._cpu].control & EOIMODE:
            return
        intid = self._draw.choice(taken).intid
        if self.gic.target(self._cpu, intid) == self._cpu:
            self._distributor(gicv2.ICACTIVER + intid // 32 * 4, 1 << intid % 32)

    def prioritize(self) -> None:
        intid = self._draw.choice(self._intids)
        if self._draw.random() < 0.7:
            if self._quiet(intid):
                value = self._draw.randrange(256)
                self._distributor(gicv2.IPRIORITYR + intid, value, 1)
        elif all(self._quiet(i) for i in range(intid & ~3, (intid & ~3) + 4)):
            self._distributor(gicv2.IPRIORITYR + (intid & ~3), self._draw.getrandbits(32))

    def direct(self) -> None:
        """New targets, also while it is active."""
        intid = self._draw.choice(self._intids)
        line = self.gic.interrupt(self._cpu, intid)
        if not self._being_taken(intid) or line.active is not None:
            one = 1 << self._draw.randrange(self.cpus)
            value = self._draw.choice((one, one, self._draw.randrange(256)))
            self._distributor(gicv2.ITARGETSR + intid, value, 1)
            self._far = self.cpus > 1  # it may wait at another vCPU

    def configure(self) -> None:
        """Edge or level: of interrupts that are disabled and where nothing happens."""
        intid = self._draw.choice(self._intids)
        first = intid & ~15
        others = [self.gic.interrupt(self._cpu, i) for i in range(first, first + 16)]
        value = sum(2 << 2 * i for i, line in enumerate(others) if line.edge)
        line = self.gic.interrupt(self._cpu, intid)
        if intid < 32:
            self._distributor(gicv2.ICFGR + first // 4, self._draw.getrandbits(32))
        elif self._quiet(intid) and not line.pending() and not line.line:
            value ^= 2 << intid % 16 * 2
            self._distributor(gicv2.ICENABLER + intid // 32 * 4, 1 << intid % 32)
            self._distributor(gicv2.ICFGR + first // 4, value)
            self._distributor(gicv2.ISENABLER + intid // 32 * 4, 1 << intid % 32)

    def _drive(self, level: bool) -> None:
        self.steps.append(write(self._cpu, UART_IMSC, UART_TX if level else 0))
        self.gic.drive(UART_SPI, level)

    def drive(self) -> None:
        self._drive(self._draw.random() < 0.5)

    def control(self) -> None:
        self._distributor(gicv2.GICD_CTLR, self._draw.choice((0, 1, 1, 1)))

    def control_interface(self) -> None:
        interface = self.gic.interfaces[self._cpu]
        mode = interface.control & EOIMODE
        if not interface.taken and not interface.dropped:
            mode = self._draw.choice((0, EOIMODE))
        self._interface(gicv2.GICC_CTLR, mode | self._draw.choice((0, 1, 1, 1)))

    def mask(self) -> None:
        self._interface(gicv2.PMR, self._draw.choice((0xFF, 0xF0, self._draw.randrange(256))))

    def group(self) -> None:
        if not self.gic.interfaces[self._cpu].taken:
            self._interface(gicv2.BPR, self._draw.choice((0, 0, self._draw.randrange(8))))

    def look(self) -> None:
        """At any register of the distributor."""
        size = self._draw.choice((1, 2, 4, 4, 4, 4, 4, 4))
        place = self._draw.choice(_PLACES)
        offset = self._draw.randrange(*place) // size * size
        expected = self.gic.read(self._cpu, offset, size)
        self._soon()
        self._read(GICD + offset, size, expected, f"GICD+{offset:#x}, {size} bytes")

    def look_at_interface(self) -> None:
        names = ("GICC_CTLR", "PMR", "BPR", "RPR", "HPPIR")
        name = self._draw.choice(names)
        offset = int(getattr(gicv2, name))
        self._soon()
        value = self.gic.read_interface(self._cpu, offset)
        enabled = self.gic.interfaces[self._cpu].control & gicv2.ENABLE
        known = name != "HPPIR" or enabled  # without: IMPLEMENTATION DEFINED
        self._read(GICC + offset, 4, Value(value, gicv2.ALL if known else 0), name)

    def ignored(self) -> None:
        """Stores that must not do anything."""
        offset, size = self._draw.choice(
            ((0x004, 4), (0x008, 4), (0x080, 4), (0x100, 2), (0x200, 1), (0xFE8, 4), (0xF00, 2))
        )
        self._distributor(offset, self._draw.getrandbits(8 * size), size)


_PLACES = (
    (0x000, 0x00C),
    (0x080, 0x100),
    (gicv2.ISENABLER, gicv2.ISENABLER + 0x0C),
    (gicv2.ICENABLER, gicv2.ICENABLER + 0x10),
    (gicv2.ISPENDR, gicv2.ISPENDR + 0x0C),
    (gicv2.ICPENDR, gicv2.ICPENDR + 0x10),
    (gicv2.ISACTIVER, gicv2.ISACTIVER + 0x0C),
    (gicv2.ICACTIVER, gicv2.ICACTIVER + 0x10),
    (gicv2.IPRIORITYR, gicv2.IPRIORITYR + 0x68),
    (gicv2.ITARGETSR, gicv2.ITARGETSR + 0x68),
    (gicv2.ICFGR, gicv2.ICFGR + 0x20),
    (gicv2.SGIR, 0x1000),
    (gicv2.CPENDSGIR, gicv2.SPENDSGIR + 0x10),
)
_CHOICES: tuple[Callable[[Writer], object], ...] = (
    *(Writer.take, Writer.end) * 6,
    *(Writer.send, Writer.pend, Writer.deactivate, Writer.look) * 3,
    *(Writer.drive, Writer.enable, Writer.signalled, Writer.look_at_interface) * 2,
    *(Writer.flood, Writer.unpend, Writer.disable, Writer.pend_sgi, Writer.prioritize),
    *(Writer.activate, Writer.inactivate, Writer.inactivate, Writer.inactivate_taken),
    *(Writer.direct, Writer.configure, Writer.control, Writer.control_interface),
    *(Writer.mask, Writer.group, Writer.ignored),
)


def differences(writer: Writer, got: list[int]) -> list[str]:
    """Where a guest has seen something else."""
    found = [
        f"{seen.what}: {value:#x}, not {seen.expected.value:#x} (bits {seen.expected.mask:#x})"
        for seen, value in zip(writer.seen, got, strict=False)
        if (value ^ seen.expected.value) & seen.expected.mask
    ]
    if len(got) != len(writer.seen):
        found.append(f"{len(got)} results, not {len(writer.seen)}")
    return found
