# SPDX-License-Identifier: Apache-2.0
"""Laws of a GICv2 under any sequence of accesses, from two CPUs.

The machine below knows nothing of priorities inside the model: it keeps its own account of what
software and devices did, and judges each acknowledge by it.
"""

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aether_edgecloud.emulator.devices.gicv2 import Gicv2
from aether_edgecloud.emulator.devices.gicv2_cpu_interface import CpuInterface, Gicc
from aether_edgecloud.emulator.devices.gicv2_distributor import Gicd
from aether_edgecloud.emulator.devices.gicv2_variant import GIC_400, QEMU_VIRT

CPUS = 2
SPIS = 4
INTIDS = (0, 1, 5, 16, 27, 30, 32, 33, 34, 35)
SGI_IDS = tuple(i for i in INTIDS if i < 16)
LINES = tuple(i for i in INTIDS if i >= 16)
EOI_MODE = 1 << 9
PRIORITIES = (0x40, 0x48, 0x80, 0xA0, 0xA8, 0xF8, 0x00)

cpus = st.integers(0, CPUS - 1)
intids = st.sampled_from(INTIDS)
lines = st.sampled_from(LINES)


class GicMachine(RuleBasedStateMachine):
    """Group 0 only, so that a binary point alone decides preemption."""

    def __init__(self) -> None:
        super().__init__()
        self.gic = Gicv2(SPIS, CPUS)
        # By (cpu, id) for private interrupts, by (0, id) for shared ones.
        self.enabled = {(cpu, i) for cpu in range(CPUS) for i in SGI_IDS}
        self.active: set[tuple[int, int]] = set()
        self.level: set[tuple[int, int]] = set()
        self.latched: set[tuple[int, int]] = set()
        self.edge: set[tuple[int, int]] = set()
        self.sgis: set[tuple[int, int, int]] = set()  # target, id, source
        self.priority: dict[tuple[int, int], int] = {}
        self.targets = dict.fromkeys((i for i in LINES if i >= 32), 0)
        self.forwarding = False
        self.pmr = [0] * CPUS
        self.control = [0] * CPUS
        self.binary_point = [0] * CPUS
        # Per CPU, innermost last: what was acknowledged, and at which group priority.
        self.running: list[list[tuple[int, int]]] = [[] for _ in range(CPUS)]

    @initialize(gic_400=st.booleans())
    def build(self, gic_400: bool) -> None:
        self.variant = GIC_400 if gic_400 else QEMU_VIRT
        self.gic = Gicv2(SPIS, CPUS, self.variant)
        self.binary_point = [self.variant.min_binary_point] * CPUS
        # From a GIC in full use: from reset, nearly every sequence leaves something off and
        # acknowledges nothing.
        for cpu in range(CPUS):
            self.enable_all(cpu)
            for intid in INTIDS:
                self.set_priority(cpu, intid, PRIORITIES[(intid + cpu) % len(PRIORITIES)])

    # The account.

    def key(self, cpu: int, intid: int) -> tuple[int, int]:
        return (cpu, intid) if intid < 32 else (0, intid)

    def is_pending(self, cpu: int, intid: int) -> bool:
        if intid < 16:
            return any(sgi[:2] == (cpu, intid) for sgi in self.sgis)
        key = self.key(cpu, intid)
        return key in self.latched or (key in self.level and key not in self.edge)

    def forwarded(self, cpu: int) -> list[tuple[int, int]]:
        """(priority, id) of what the distributor forwards to a CPU, most urgent first."""
        found = []
        for intid in INTIDS:
            key = self.key(cpu, intid)
            if intid >= 32 and not self.targets[intid] >> cpu & 1:
                continue
            if key in self.enabled and key not in self.active and self.is_pending(cpu, intid):
                found.append((self.priority.get(key, 0), intid))
        return sorted(found) if self.forwarding else []

    def expected(self, cpu: int) -> tuple[int, int] | None:
        best = self.forwarded(cpu)[:1]
        if not best or not self.control[cpu] & 1:
            return None
        priority, _ = best[0]
        running = min((level for _, level in self.running[cpu]), default=0x100)
        if priority >= self.pmr[cpu] or priority & 0xFE << self.binary_point[cpu] >= running:
            return None
        return best[0]

    def gicc(self, cpu: int) -> CpuInterface:
        return self.gic.cpu_interface(cpu)

    def write_bit(self, cpu: int, array: int, intid: int) -> None:
        self.gic.distributor_of(cpu).write(array + intid // 32 * 4, 4, 1 << intid % 32)

    # What software and devices do.

    @rule(cpu=cpus, intid=intids, on=st.booleans())
    def enable(self, cpu: int, intid: int, on: bool) -> None:
        self.write_bit(cpu, Gicd.ISENABLER if on else Gicd.ICENABLER, intid)
        if intid < 16:
            return
        if on:
            self.enabled.add(self.key(cpu, intid))
        else:
            self.enabled.discard(self.key(cpu, intid))

    @rule(cpu=cpus)
    def enable_all(self, cpu: int) -> None:
        """What a driver does at its start, and what brings the search back from all off."""
        for intid in INTIDS:
            self.enable(cpu, intid, True)
            if intid >= 32:
                self.target(cpu, intid, 0b11)
        self.forward(cpu, True)
        self.mask(cpu, 0xFF)
        self.write_control(cpu, self.control[cpu] | 1)

    @rule(cpu=cpus, intid=intids, priority=st.sampled_from(PRIORITIES))
    def set_priority(self, cpu: int, intid: int, priority: int) -> None:
        self.gic.distributor_of(cpu).write(Gicd.IPRIORITYR + intid, 1, priority)
        self.priority[self.key(cpu, intid)] = priority

    @rule(cpu=cpus, intid=st.sampled_from([i for i in LINES if i >= 32]), mask=st.integers(0, 3))
    def target(self, cpu: int, intid: int, mask: int) -> None:
        self.gic.distributor_of(cpu).write(Gicd.ITARGETSR + intid, 1, mask)
        self.targets[intid] = mask

    @rule(cpu=cpus, intid=lines, asserted=st.booleans())
    def line(self, cpu: int, intid: int, asserted: bool) -> None:
        key = self.key(cpu, intid)
        self.gic.set_level(intid, asserted, cpu)
        if asserted:
            if key in self.edge and key not in self.level:
                self.latched.add(key)
            self.level.add(key)
        else:
            self.level.discard(key)

    @rule(cpu=cpus, intid=lines)
    def make_edge(self, cpu: int, intid: int) -> None:
        gicd = self.gic.distributor_of(cpu)
        offset = Gicd.ICFGR + intid // 16 * 4
        gicd.write(offset, 4, gicd.read(offset, 4) | 2 << intid % 16 * 2)
        self.edge.add(self.key(cpu, intid))

    @rule(cpu=cpus, intid=lines, on=st.booleans())
    def pend(self, cpu: int, intid: int, on: bool) -> None:
        self.write_bit(cpu, Gicd.ISPENDR if on else Gicd.ICPENDR, intid)
        if on:
            self.latched.add(self.key(cpu, intid))
        else:
            self.latched.discard(self.key(cpu, intid))

    @rule(cpu=cpus, intid=st.sampled_from(SGI_IDS), mask=st.integers(0, 3))
    def send(self, cpu: int, intid: int, mask: int) -> None:
        self.gic.distributor_of(cpu).write(Gicd.SGIR, 4, mask << 16 | intid)
        self.sgis |= {(target, intid, cpu) for target in range(CPUS) if mask >> target & 1}

    @rule(cpu=cpus, on=st.booleans())
    def forward(self, cpu: int, on: bool) -> None:
        self.gic.distributor_of(cpu).write(Gicd.CTLR, 4, int(on))
        self.forwarding = on

    @rule(cpu=cpus, pmr=st.sampled_from([0xFF, 0xA8, 0x80, 0x48, 0x40, 0]))
    def mask(self, cpu: int, pmr: int) -> None:
        self.gicc(cpu).write(Gicc.PMR, 4, pmr)
        self.pmr[cpu] = pmr & self.variant.priority_mask

    def write_control(self, cpu: int, value: int) -> None:
        self.gicc(cpu).write(Gicc.CTLR, 4, value)
        self.control[cpu] = value

    @rule(cpu=cpus, on=st.booleans())
    def interface(self, cpu: int, on: bool) -> None:
        self.write_control(cpu, self.control[cpu] & ~1 | on)

    @precondition(lambda self: not self.active)
    @rule(split=st.booleans())
    def eoi_mode(self, split: bool) -> None:
        for cpu in range(CPUS):
            self.write_control(cpu, self.control[cpu] & ~EOI_MODE | (EOI_MODE if split else 0))

    @precondition(lambda self: not any(self.running))
    @rule(value=st.integers(0, 7))
    def group_by(self, value: int) -> None:
        for cpu in range(CPUS):
            self.gicc(cpu).write(Gicc.BPR, 4, value)
            self.binary_point[cpu] = max(value, self.variant.min_binary_point)

    @rule(cpu=cpus)
    def acknowledge(self, cpu: int) -> None:
        expected = self.expected(cpu)
        value = self.gicc(cpu).read(Gicc.IAR, 4)
        if expected is None:
            assert value == 1023
            return
        priority, intid = expected
        key = self.key(cpu, intid)
        assert value & 0x3FF == intid
        source = value >> 10
        if intid < 16:
            # Of several senders, any: the model's choice must be one of them.
            assert (cpu, intid, source) in self.sgis
            self.sgis.remove((cpu, intid, source))
        else:
            assert source == 0
            self.latched.discard(key)
        self.active.add(key)
        self.running[cpu].append((value, priority & 0xFE << self.binary_point[cpu]))

    @precondition(lambda self: any(self.running))
    @rule(cpu=cpus)
    def end(self, cpu: int) -> None:
        if not self.running[cpu]:
            return
        value, _ = self.running[cpu].pop()
        self.gicc(cpu).write(Gicc.EOIR, 4, value)
        if not self.control[cpu] & EOI_MODE:
            self.active.discard(self.key(cpu, value & 0x3FF))

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def deactivate(self, data: st.DataObject) -> None:
        cpu, intid = data.draw(st.sampled_from(sorted(self.active)))
        self.gicc(cpu).write(Gicc.DIR, 4, intid)
        if self.control[cpu] & EOI_MODE:
            self.active.discard((cpu, intid))

    # No interrupt is lost.

    @rule(cpu=cpus, intid=lines)
    def a_level_held_is_served(self, cpu: int, intid: int) -> None:
        """Enable all, hold the level, and serve as a handler does: its turn comes."""
        self.enable_all(cpu)
        self.set_priority(cpu, intid, 0x40)
        self.line(cpu, intid, True)
        if self.key(cpu, intid) in self.edge:
            self.pend(cpu, intid, True)
        for other in range(CPUS):
            while self.running[other]:
                self.end(other)
        for busy_cpu, busy in sorted(self.active):
            self.write_bit(busy_cpu, Gicd.ICACTIVER, busy)
        self.active.clear()
        for _ in range(2 * len(INTIDS) * CPUS):
            value = self.gicc(cpu).read(Gicc.IAR, 4)
            if value & 0x3FF == intid:
                self.latched.discard(self.key(cpu, intid))
                self.active.add(self.key(cpu, intid))
                level = 0x40 & 0xFE << self.binary_point[cpu]
                self.running[cpu].append((value, level))
                return
            assert value != 1023, "nothing to serve, but the level is held"
            self.quiet(cpu, value)
        raise AssertionError("the level held was never acknowledged")

    def quiet(self, cpu: int, value: int) -> None:
        """A handler for what came first: calm its device, end it, deactivate it."""
        intid = value & 0x3FF
        if intid < 16:
            self.sgis.discard((cpu, intid, value >> 10))
        else:
            self.latched.discard(self.key(cpu, intid))
            self.line(cpu, intid, False)
        self.gicc(cpu).write(Gicc.EOIR, 4, value)
        if self.control[cpu] & EOI_MODE:
            self.gicc(cpu).write(Gicc.DIR, 4, value)

    @rule()
    def through_a_file(self) -> None:
        """Saving, JSON, and restoring into a new GIC is an identity."""
        state = json.loads(json.dumps(self.gic.save()))
        other = Gicv2(SPIS, CPUS, self.variant)
        other.restore(state)
        assert other.save() == self.gic.save()
        self.gic = other

    # At every moment.

    @invariant()
    def signals_follow_the_account(self) -> None:
        for cpu in range(CPUS):
            assert self.gic.irq(cpu) == (self.expected(cpu) is not None)
            assert not self.gic.fiq(cpu)

    @invariant()
    def active_and_pending_follow_the_account(self) -> None:
        for cpu in range(CPUS):
            gicd = self.gic.distributor_of(cpu)
            for intid in INTIDS:
                word, bit = intid // 32 * 4, intid % 32
                active = gicd.read(Gicd.ISACTIVER + word, 4) >> bit & 1
                assert active == (self.key(cpu, intid) in self.active)
                pending = gicd.read(Gicd.ISPENDR + word, 4) >> bit & 1
                assert pending == self.is_pending(cpu, intid)

    @invariant()
    def running_priority_is_the_innermost(self) -> None:
        for cpu in range(CPUS):
            levels = [level for _, level in self.running[cpu]]
            assert self.gicc(cpu).read(Gicc.RPR, 4) == (levels[-1] if levels else 0xFF)


TestGic = GicMachine.TestCase
TestGic.settings = settings(max_examples=60, stateful_step_count=50)
