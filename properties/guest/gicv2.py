# SPDX-License-Identifier: Apache-2.0
"""A GICv2 as software sees it (Arm IHI 0048B, with GIC-400's identification), for any number of
CPUs: registers in, registers out, and which interrupt each CPU is signalled.

Where the architecture leaves a choice: five priority bits; of equal priorities the lowest INTID is
first, of an SGI's sources the lowest; the lowest CPU of its targets gets an SPI; an interrupt that
is active is not signalled; accesses of a size that a register does not have read as zero and are
ignored; without Security Extensions nothing is grouped. What it calls UNPREDICTABLE is not here.
"""

from dataclasses import dataclass, field

INTERRUPTS = 96
SPURIOUS = 1023
IDLE_PRIORITY = 0xFF
ALL = 0xFFFF_FFFF

GICD_CTLR, GICD_TYPER, GICD_IIDR = 0x000, 0x004, 0x008
ISENABLER, ICENABLER = 0x100, 0x180
ISPENDR, ICPENDR = 0x200, 0x280
ISACTIVER, ICACTIVER = 0x300, 0x380
IPRIORITYR, ITARGETSR, ICFGR = 0x400, 0x800, 0xC00
SGIR, CPENDSGIR, SPENDSGIR = 0xF00, 0xF10, 0xF20
IDENTIFICATION = dict(
    zip(
        range(0xFD0, 0x1000, 4),
        (0x04, 0, 0, 0, 0x90, 0xB4, 0x2B, 0, 0x0D, 0xF0, 0x05, 0xB1),
        strict=True,
    )
)
GICC_CTLR, PMR, BPR, IAR, EOIR, RPR, HPPIR, DIR = 0x0, 0x4, 0x8, 0xC, 0x10, 0x14, 0x18, 0x1000
ENABLE, EOIMODE = 1, 1 << 9
BPR_LOWEST = 2


@dataclass(slots=True)
class Interrupt:
    """An SPI, or a PPI or SGI of one CPU."""

    enabled: bool = False
    latch: bool = False
    line: bool = False
    edge: bool = False
    active: int | None = None
    """The CPU that has taken it."""
    priority: int = 0
    targets: int = 0
    sources: set[int] = field(default_factory=set)
    been_at: set[int] = field(default_factory=set)
    """CPUs that were signalled it: the others see late what has become of it."""

    def pending(self) -> bool:
        return self.latch or bool(self.sources) or (self.line and not self.edge)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a read of IAR has returned, and the group priority it runs at."""

    iar: int
    group: int

    @property
    def intid(self) -> int:
        return self.iar & 0x3FF


@dataclass(slots=True)
class Interface:
    """The CPU interface of one CPU."""

    control: int = 0
    mask: int = 0
    binary_point: int = BPR_LOWEST
    taken: list[Taken] = field(default_factory=list)
    """Whose priority is not dropped; the last is to be ended first."""
    dropped: list[Taken] = field(default_factory=list)
    """EOImode: priority dropped, not deactivated."""

    def group(self, priority: int) -> int:
        return priority & ~((2 << self.binary_point) - 1) & 0xFF


@dataclass(frozen=True, slots=True)
class Value:
    """What a read returns, in the bits of `mask`."""

    value: int
    mask: int = ALL


class Gicv2:
    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.enabled = False
        self.interfaces = [Interface() for _ in range(cpus)]
        self._private = [
            [Interrupt(enabled=i < 16, edge=i < 16) for i in range(32)] for _ in range(cpus)
        ]
        self._shared = [Interrupt() for _ in range(INTERRUPTS - 32)]

    def interrupt(self, cpu: int, intid: int) -> Interrupt:
        return self._private[cpu][intid] if intid < 32 else self._shared[intid - 32]

    def target(self, cpu: int, intid: int) -> int | None:
        """The CPU that an interrupt, as `cpu` sees it, goes to."""
        if intid < 32:
            return cpu
        targets = 1 if self.cpus == 1 else self.interrupt(cpu, intid).targets
        return (targets & -targets).bit_length() - 1 if targets else None

    # Signalling

    def highest_pending(self, cpu: int) -> int | None:
        """Before priorities are masked; by INTID."""
        if not self.enabled:
            return None
        some = [
            (line.priority, intid)
            for intid in range(INTERRUPTS)
            if self.target(cpu, intid) == cpu
            and (line := self.interrupt(cpu, intid)).enabled
            and line.pending()
            and line.active is None
        ]
        return min(some)[1] if some else None

    def signalled(self, cpu: int) -> int | None:
        interface = self.interfaces[cpu]
        intid = self.highest_pending(cpu)
        if intid is None or not interface.control & ENABLE:
            return None
        priority = self.interrupt(cpu, intid).priority
        running = interface.taken[-1].group if interface.taken else 0x100
        if priority >= interface.mask or interface.group(priority) >= running:
            return None
        return intid

    def follow(self) -> None:
        """Called after each change."""
        for cpu in range(self.cpus):
            for intid in range(32, INTERRUPTS):
                line = self.interrupt(cpu, intid)
                if line.active == cpu or (
                    self.target(cpu, intid) == cpu and line.enabled and line.pending()
                ):
                    line.been_at.add(cpu)

    def _shown(self, cpu: int, intid: int) -> int:
        line = self.interrupt(cpu, intid)
        return intid | (min(line.sources) << 10 if line.sources else 0)

    def acknowledge(self, cpu: int) -> int:
        intid = self.signalled(cpu)
        if intid is None:
            return SPURIOUS
        line = self.interrupt(cpu, intid)
        interface = self.interfaces[cpu]
        iar = self._shown(cpu, intid)
        line.latch = False
        line.sources.discard(iar >> 10)
        line.active = cpu
        interface.taken.append(Taken(iar, interface.group(line.priority)))
        return iar

    def end(self, cpu: int) -> None:
        """EOIR, of the last one."""
        interface = self.interfaces[cpu]
        taken = interface.taken.pop()
        line = self.interrupt(cpu, taken.intid)
        if line.active != cpu:
            return  # was deactivated by ICACTIVER
        if interface.control & EOIMODE:
            interface.dropped.append(taken)
        else:
            line.active = None

    def deactivate(self, cpu: int, intid: int) -> None:
        self.interrupt(cpu, intid).active = None
        for i, interface in enumerate(self.interfaces):
            if intid >= 32 or i == cpu:
                interface.dropped = [t for t in interface.dropped if t.intid != intid]

    # Registers

    def _word(self, cpu: int, offset: int) -> list[tuple[int, Interrupt]]:
        first = offset % 0x80 * 8
        last = min(first + 32, INTERRUPTS)
        return [(intid % 32, self.interrupt(cpu, intid)) for intid in range(first, last)]

    def _bitmap(self, cpu: int, offset: int) -> Value:
        value, mask = 0, ALL
        for i, line in self._word(cpu, offset):
            bit = line.enabled
            if offset >= ISPENDR:
                bit = line.pending() if offset < ISACTIVER else line.active is not None
                if line.been_at - {cpu}:
                    mask &= ~(1 << i)
            value |= bit << i
        return Value(value, mask)

    def _byte(self, cpu: int, offset: int) -> int:
        if offset >= CPENDSGIR:
            return sum(1 << i for i in self.interrupt(cpu, offset % 16).sources)
        intid = offset % 0x400
        if intid >= INTERRUPTS or (offset >= ITARGETSR and self.cpus == 1):
            return 0
        line = self.interrupt(cpu, intid)
        if offset < ITARGETSR:
            return line.priority
        return 1 << cpu if intid < 32 else line.targets

    def read(self, cpu: int, offset: int, size: int) -> Value:
        """A load from the distributor."""
        if is_byte_register(offset):
            if size not in (1, 4):
                return Value(0)
            return Value(sum(self._byte(cpu, offset + i) << 8 * i for i in range(size)))
        if size != 4:
            return Value(0)
        if ISENABLER <= offset < IPRIORITYR:
            return self._bitmap(cpu, offset)
        if ICFGR <= offset < ICFGR + 0x100:
            first = (offset - ICFGR) * 4
            some = range(first, min(first + 16, INTERRUPTS))
            return Value(sum(2 << i % 16 * 2 for i in some if self.interrupt(cpu, i).edge))
        fixed = {
            GICD_CTLR: int(self.enabled),
            GICD_TYPER: (self.cpus - 1) << 5 | INTERRUPTS // 32 - 1,
            GICD_IIDR: 0x0200_043B,
            **IDENTIFICATION,
        }
        return Value(fixed.get(offset, 0))

    def _write_bit(self, cpu: int, offset: int, intid: int, line: Interrupt) -> None:
        on = not offset & 0x80
        if offset < ISPENDR:
            line.enabled = on or intid < 16
        elif offset < ISACTIVER:
            line.latch = on and intid >= 16
        elif not on:
            self.deactivate(cpu, intid)
        elif line.active is None:
            line.active = cpu

    def _write_byte(self, cpu: int, offset: int, value: int) -> None:
        everyone = (1 << self.cpus) - 1
        if offset >= CPENDSGIR:
            some = {i for i in range(self.cpus) if value >> i & 1}
            line = self.interrupt(cpu, offset % 16)
            line.sources = line.sources | some if offset >= SPENDSGIR else line.sources - some
            return
        intid = offset % 0x400
        if intid >= INTERRUPTS:
            return
        if offset < ITARGETSR:
            self.interrupt(cpu, intid).priority = value & 0xF8
        elif intid >= 32 and self.cpus > 1:
            self.interrupt(cpu, intid).targets = value & everyone

    def _send(self, cpu: int, value: int) -> None:
        filters = {
            0: [i for i in range(self.cpus) if value >> 16 + i & 1],
            1: [i for i in range(self.cpus) if i != cpu],
            2: [cpu],
        }
        for target in filters.get(value >> 24 & 3, []):
            self.interrupt(target, value & 15).sources.add(cpu)

    def write(self, cpu: int, offset: int, size: int, value: int) -> None:
        """A store to the distributor."""
        if is_byte_register(offset):
            for i in range(size if size in (1, 4) else 0):
                self._write_byte(cpu, offset + i, value >> 8 * i & 0xFF)
        elif size != 4:
            return
        elif offset == GICD_CTLR:
            self.enabled = bool(value & ENABLE)
        elif ISENABLER <= offset < IPRIORITYR:
            for i, line in self._word(cpu, offset):
                if value >> i & 1:
                    self._write_bit(cpu, offset, offset % 0x80 * 8 + i, line)
        elif ICFGR <= offset < ICFGR + 0x100:
            first = (offset - ICFGR) * 4
            for intid in range(max(first, 32), min(first + 16, INTERRUPTS)):
                self.interrupt(cpu, intid).edge = bool(value >> intid % 16 * 2 & 2)
        elif offset == SGIR:
            self._send(cpu, value)
        self.follow()

    def read_interface(self, cpu: int, offset: int) -> int:
        """A load from the CPU interface, but IAR."""
        interface = self.interfaces[cpu]
        if offset == HPPIR:
            intid = self.highest_pending(cpu)
            return SPURIOUS if intid is None else self._shown(cpu, intid)
        if offset == RPR:
            return interface.taken[-1].group if interface.taken else IDLE_PRIORITY
        return {GICC_CTLR: interface.control, PMR: interface.mask, BPR: interface.binary_point}[
            offset
        ]

    def write_interface(self, cpu: int, offset: int, value: int) -> None:
        """A store to the CPU interface, but EOIR and DIR."""
        interface = self.interfaces[cpu]
        if offset == GICC_CTLR:
            interface.control = value & (ENABLE | EOIMODE)
        elif offset == PMR:
            interface.mask = value & 0xF8
        else:
            interface.binary_point = max(BPR_LOWEST, value & 7)

    def drive(self, intid: int, level: bool) -> None:
        """The input of an SPI."""
        line = self.interrupt(0, intid)
        line.latch = line.latch or (level and not line.line and line.edge)
        line.line = level
        self.follow()


def is_byte_register(offset: int) -> bool:
    return IPRIORITYR <= offset < ICFGR or CPENDSGIR <= offset < SPENDSGIR + 16
