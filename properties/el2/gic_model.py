# SPDX-License-Identifier: Apache-2.0
"""What the virtual GIC stands on and against: GICH with GICV of a pCPU (Arm IHI 0048B, chapter 5),
and a plain GICv2 with CPU interfaces of its own, which a guest should not be able to tell from it.
"""

import ctypes
from dataclasses import dataclass, field

HCR, VMCR, ELRSR0, APR, LR0 = 0x00, 0x08, 0x30, 0xF0, 0x100
HCR_EN, HCR_LRENPIE, HCR_NPIE = 1 << 0, 1 << 2, 1 << 3
LR_EOI, LR_HW = 1 << 19, 1 << 31
PENDING, ACTIVE = 1 << 28, 1 << 29
VMCR_EOIMODE = 1 << 9
IDLE = 32
"""Running priority, of 32, when nothing is active."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An interrupt as GICC_IAR shows it."""

    intid: int
    source: int


class Interface:
    """GICH and GICV over the memory that the hypervisor writes. Registers that the hardware derives
    are stored by `refresh`, before the hypervisor looks."""

    def __init__(self, words: "ctypes._Pointer[ctypes.c_uint32]", lrs: int, eoimode: bool) -> None:
        self._words = words
        self._lrs = lrs
        self._eoimode = eoimode

    def start(self) -> None:
        """The guest enables its CPU interface."""
        self._words[VMCR // 4] = VMCR_EOIMODE if self._eoimode else 0

    def _lr(self, i: int) -> int:
        return int(self._words[LR0 // 4 + i])

    def _running(self) -> int:
        apr = int(self._words[APR // 4])
        return (apr & -apr).bit_length() - 1 if apr else IDLE

    def signalled(self) -> int | None:
        """The list register whose interrupt is signalled, if there is one."""
        if not self._words[HCR // 4] & HCR_EN:
            return None
        best = None
        for i in range(self._lrs):
            lr = self._lr(i)
            if lr & (PENDING | ACTIVE) == PENDING and (
                best is None or lr >> 23 & 31 < self._lr(best) >> 23 & 31
            ):
                best = i
        if best is None or self._lr(best) >> 23 & 31 >= self._running():
            return None
        return best

    def signalled_priority(self) -> int | None:
        best = self.signalled()
        return None if best is None else self._lr(best) >> 23 & 31

    def acknowledge(self) -> Taken | None:
        best = self.signalled()
        if best is None:
            return None
        lr = self._lr(best)
        self._words[APR // 4] |= 1 << (lr >> 23 & 31)
        self._words[LR0 // 4 + best] = lr & ~PENDING | ACTIVE
        return Taken(lr & 0x3FF, 0 if lr & LR_HW else lr >> 10 & 7)

    def end(self, taken: Taken) -> int | None:
        """GICC_EOIR. The INTID that is physically deactivated by it, if there is one."""
        apr = self._words[APR // 4]
        assert apr, "the test ends what it has taken"
        self._words[APR // 4] = apr & (apr - 1)
        if self._eoimode:
            return None
        for i in range(self._lrs):
            lr = self._lr(i)
            same = lr & LR_HW or taken.intid >= 16 or lr >> 10 & 7 == taken.source
            if lr & 0x3FF == taken.intid and lr & ACTIVE and same:
                self._words[LR0 // 4 + i] = lr & ~ACTIVE
                return lr >> 10 & 0x3FF if lr & LR_HW else None
        self._words[HCR // 4] += 1 << 27
        return None

    def maintenance(self) -> bool:
        """Is the maintenance interrupt asserted?"""
        hcr = self._words[HCR // 4]
        lrs = [self._lr(i) for i in range(self._lrs)]
        eoi = any(lr & LR_EOI and not lr & (PENDING | ACTIVE | LR_HW) for lr in lrs)
        none_pending = not any(lr & (PENDING | ACTIVE) == PENDING for lr in lrs)
        asserted = eoi or (hcr & HCR_NPIE and none_pending)
        return bool(hcr & HCR_EN and (asserted or (hcr & HCR_LRENPIE and hcr >> 27)))

    def refresh(self) -> None:
        empty = [not self._lr(i) & (PENDING | ACTIVE) for i in range(self._lrs)]
        self._words[ELRSR0 // 4] = sum(1 << i for i, is_empty in enumerate(empty) if is_empty)

    def all_lrs_are_sound(self) -> None:
        """What IHI 0048B asks of whoever writes list registers."""
        used = [self._lr(i) for i in range(self._lrs) if self._lr(i) & (PENDING | ACTIVE)]
        intids = [lr & 0x3FF for lr in used]
        assert len(intids) == len(set(intids))
        assert not any(lr & LR_HW and lr & PENDING and lr & ACTIVE for lr in used)


@dataclass(slots=True)
class Line:
    """An interrupt of the plain GIC: an SPI, or a PPI or SGI of one CPU."""

    enabled: bool = False
    latch: bool = False
    level: bool = False
    edge: bool = False
    active: int | None = None
    """The CPU that has taken it."""
    priority: int = 0
    targets: int = 0
    sources: set[int] = field(default_factory=set)

    def pending(self) -> bool:
        return self.latch or bool(self.sources) or (self.level and not self.edge)


class PlainGic:
    """A GICv2 by its specification, one state for each interrupt and no list registers."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.enabled = False
        self._private = [
            [Line(enabled=i < 16, edge=i < 16) for i in range(32)] for _ in range(cpus)
        ]
        self._shared = [Line() for _ in range(64)]

    def line(self, cpu: int, intid: int) -> Line:
        return self._private[cpu][intid] if intid < 32 else self._shared[intid - 32]

    def goes_to(self, cpu: int, intid: int) -> bool:
        """The lowest CPU of its targets is the one that gets an SPI."""
        targets = 1 if self.cpus == 1 else self.line(cpu, intid).targets
        return intid < 32 or targets & -targets == 1 << cpu

    def candidates(self, cpu: int) -> list[int]:
        """What may be signalled to this CPU, but for its running priority."""
        if not self.enabled:
            return []
        lines = [(intid, self.line(cpu, intid)) for intid in range(96)]
        return [
            intid
            for intid, line in lines
            if line.pending() and line.enabled and line.active is None and self.goes_to(cpu, intid)
        ]

    def best_priority(self, cpu: int) -> int | None:
        return min((self.line(cpu, i).priority >> 3 for i in self.candidates(cpu)), default=None)

    def take(self, cpu: int, taken: Taken) -> None:
        """It was acknowledged, and must be one that could be."""
        assert taken.intid in self.candidates(cpu), f"invented: {taken} on CPU {cpu}"
        line = self.line(cpu, taken.intid)
        assert line.priority >> 3 == self.best_priority(cpu)
        if taken.intid < 16:
            assert taken.source in line.sources, f"a source that sent nothing: {taken}"
            line.sources.remove(taken.source)
        line.latch = False
        line.active = cpu
