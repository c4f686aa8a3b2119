# SPDX-License-Identifier: Apache-2.0
"""A hypervisor and a virtual machine at one virtual interface, in any order, against an account.

The account knows of each interrupt only what IHI 0048B says of it; that no interrupt is lost or
invented follows from the invariants.
"""

import json
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from aether_edgecloud.emulator.boards.devices import build_devices
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.devices.gicv2_distributor import Gicd
from aether_edgecloud.emulator.devices.gicv2_hypervisor import Gich, HypervisorInterface
from aether_edgecloud.emulator.devices.gicv2_virtual import Gicv, VirtualCpuInterface

CPUS = 2
HW, GRP1, EOI = 1 << 31, 1 << 30, 1 << 19
EOI_MODE = 1 << 9
PHYSICAL = (20, 27, 40, 41)
priorities = st.sampled_from([0x00, 0x40, 0x48, 0x80, 0x88, 0xF8])


@dataclass
class Entry:
    """An interrupt in a list register."""

    intid: int
    priority: int
    group: int
    sender: int | None
    physical: int | None
    asks: bool
    pending: bool
    active: bool

    @property
    def iar(self) -> int:
        return self.intid | (self.sender or 0) << 10


class VirtualMachine(RuleBasedStateMachine):
    """One virtual interface of two; the other is never touched."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[int, Entry] = {}
        self.ended: set[int] = set()
        self.physical: set[int] = set()
        self.running: list[tuple[int, int]] = []  # interrupt ID, group priority
        self.dropped: list[int] = []  # ended in EOImode, not yet deactivated
        self.lost_ends = 0
        self.mask = 0xFF
        self.binary_point = 2
        self.hcr = 1
        self.control = 0b111

    @initialize(cpu=st.integers(0, CPUS - 1))
    def switch_on(self, cpu: int) -> None:
        self.cpu = cpu
        self.devices = build_devices(virt(cpus=CPUS))
        self.gich.write(Gich.HCR, 4, 1)
        self.gich.write(Gich.VMCR, 4, 0xF8 << 24 | 2 << 21 | 3 << 18 | self.control)
        self.mask = 0xF8

    @property
    def gich(self) -> HypervisorInterface:
        return self.devices.gic.hypervisor_interface(self.cpu)

    @property
    def gicv(self) -> VirtualCpuInterface:
        return self.devices.gic.virtual_cpu_interface(self.cpu)

    # The account.

    def level(self, entry: Entry) -> int:
        """Group priority; CBPR is set in no control value, so Group 1 goes by GICV_ABPR = 3."""
        shift = self.binary_point + 1 if entry.group == 0 else 3
        return entry.priority >> shift << shift

    def best(self) -> int | None:
        ready = [n for n, e in self.entries.items() if e.pending and not e.active]
        if not ready or not self.hcr & 1:
            return None
        return min(ready, key=lambda n: (self.entries[n].priority, n))

    def signalled(self) -> int | None:
        best = self.best()
        if best is None:
            return None
        entry = self.entries[best]
        if not self.control >> entry.group & 1 or entry.priority >= self.mask:
            return None
        if self.running and self.level(entry) >= min(level for _, level in self.running):
            return None
        return best

    def free(self) -> list[int]:
        return [n for n in range(4) if n not in self.entries and n not in self.ended]

    # The hypervisor.

    @precondition(lambda self: self.free())
    @rule(
        data=st.data(),
        priority=priorities,
        group=st.integers(0, 1),
        kind=st.sampled_from(["sgi", "software", "asks", "hardware"]),
        sender=st.integers(0, 7),
    )
    def inject(
        self, data: st.DataObject, priority: int, group: int, kind: str, sender: int
    ) -> None:
        index = data.draw(st.sampled_from(self.free()))
        known = {e.intid for e in self.entries.values()} | set(self.dropped)
        known |= {intid for intid, _ in self.running}
        ids = range(16) if kind == "sgi" else range(16, 48)
        intid = data.draw(st.sampled_from([n for n in ids if n not in known]))
        value = 1 << 28 | priority >> 3 << 23 | group << 30 | intid
        entry = Entry(intid, priority, group, None, None, False, True, False)
        if kind == "sgi":
            entry.sender = sender
            value |= sender << 10
        elif kind == "asks":
            entry.asks = True
            value |= EOI
        elif kind == "hardware":
            used = {e.physical for e in self.entries.values()}
            entry.physical = data.draw(st.sampled_from([p for p in PHYSICAL if p not in used]))
            value |= HW | entry.physical << 10
            word = entry.physical // 32 * 4
            gicd = self.devices.gic.distributor_of(self.cpu)
            gicd.write(Gicd.ISACTIVER + word, 4, 1 << entry.physical % 32)
            self.physical.add(entry.physical)
        self.gich.write(Gich.LR + 4 * index, 4, value)
        self.entries[index] = entry

    @precondition(lambda self: any(e.active and e.physical is None for e in self.entries.values()))
    @rule(data=st.data())
    def inject_again(self, data: st.DataObject) -> None:
        """A software interrupt becomes pending while it is active."""
        active = [n for n, e in self.entries.items() if e.active and e.physical is None]
        index = data.draw(st.sampled_from(active))
        value = self.gich.read(Gich.LR + 4 * index, 4)
        self.gich.write(Gich.LR + 4 * index, 4, value | 1 << 28)
        self.entries[index].pending = True

    @precondition(lambda self: any(not e.active for e in self.entries.values()))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """One that is only pending is taken back."""
        index = data.draw(st.sampled_from([n for n, e in self.entries.items() if not e.active]))
        self.gich.write(Gich.LR + 4 * index, 4, 0)
        del self.entries[index]

    @precondition(lambda self: any(e.active for e in self.entries.values()))
    @rule(data=st.data())
    def spill(self, data: st.DataObject) -> None:
        """An active one makes room for others; its end will be counted."""
        index = data.draw(st.sampled_from([n for n, e in self.entries.items() if e.active]))
        self.gich.write(Gich.LR + 4 * index, 4, 0)
        del self.entries[index]

    @rule()
    def see_ends(self) -> None:
        for index in self.ended:
            self.gich.write(Gich.LR + 4 * index, 4, 0)
        self.ended.clear()

    @rule(on=st.booleans(), sources=st.integers(0, 0x7F), keep_count=st.booleans())
    def enable(self, on: bool, sources: int, keep_count: bool) -> None:
        self.hcr = sources << 1 | on
        self.lost_ends = self.lost_ends if keep_count else 0
        self.gich.write(Gich.HCR, 4, self.hcr | self.lost_ends << 27)

    @rule()
    def through_a_file(self) -> None:
        """Saving, JSON, and restoring into new devices is an identity."""
        state = json.loads(json.dumps(self.devices.save()))
        other = build_devices(virt(cpus=CPUS))
        other.restore(state)
        assert other.save() == self.devices.save()
        self.devices = other

    # The virtual machine.

    @rule(mask=st.sampled_from([0xFF, 0x88, 0x48, 0x40, 0]))
    def set_mask(self, mask: int) -> None:
        self.gicv.write(Gicv.PMR, 4, mask)
        self.mask = mask & 0xF8

    @rule(groups=st.integers(0, 3))
    def enable_groups(self, groups: int) -> None:
        self.control = self.control & ~3 | groups
        self.gicv.write(Gicv.CTLR, 4, self.control)

    @precondition(lambda self: not self.running and not self.dropped)
    @rule(split=st.booleans(), binary_point=st.integers(0, 7))
    def configure(self, split: bool, binary_point: int) -> None:
        if any(e.active for e in self.entries.values()):
            return
        self.control = self.control & ~EOI_MODE | (EOI_MODE if split else 0)
        self.gicv.write(Gicv.CTLR, 4, self.control)
        self.gicv.write(Gicv.BPR, 4, binary_point)
        self.binary_point = max(binary_point, 2)

    @rule()
    def acknowledge(self) -> None:
        expected = self.signalled()
        value = self.gicv.read(Gicv.IAR, 4)
        if expected is None:
            assert value == 1023
            return
        entry = self.entries[expected]
        assert value == entry.iar
        self.running.append((entry.intid, self.level(entry)))
        entry.pending, entry.active = False, True

    @precondition(lambda self: self.running)
    @rule()
    def end(self) -> None:
        intid, _ = self.running.pop()
        self.gicv.write(Gicv.EOIR, 4, intid)
        if self.control & EOI_MODE:
            self.dropped.append(intid)
        else:
            self.make_inactive(intid)

    @precondition(lambda self: self.dropped)
    @rule(data=st.data())
    def deactivate(self, data: st.DataObject) -> None:
        intid = data.draw(st.sampled_from(self.dropped))
        self.dropped.remove(intid)
        self.gicv.write(Gicv.DIR, 4, intid)
        self.make_inactive(intid)

    def make_inactive(self, intid: int) -> None:
        index = next((n for n, e in self.entries.items() if e.intid == intid and e.active), None)
        if index is None:
            self.lost_ends = (self.lost_ends + 1) % 32
            return
        entry = self.entries[index]
        entry.active = False
        if entry.physical is not None:
            self.physical.discard(entry.physical)
        if not entry.pending:
            del self.entries[index]
            if entry.asks:
                self.ended.add(index)

    # At every moment.

    @invariant()
    def signals_follow_the_account(self) -> None:
        gic = self.devices.gic
        assert gic.virq(self.cpu) == (self.signalled() is not None)
        assert not gic.vfiq(self.cpu)
        assert not gic.virq(1 - self.cpu)
        best = self.best()
        expected = 1023 if best is None else self.entries[best].iar
        assert self.gicv.read(Gicv.HPPIR, 4) == expected

    @invariant()
    def list_registers_follow_the_account(self) -> None:
        for index in range(4):
            state = self.gich.read(Gich.LR + 4 * index, 4) >> 28 & 3
            entry = self.entries.get(index)
            assert state == (entry.pending + 2 * entry.active if entry else 0)
        assert self.gich.read(Gich.EISR0, 4) == sum(1 << n for n in self.ended)
        assert self.gich.read(Gich.ELRSR0, 4) == sum(1 << n for n in self.free())

    @invariant()
    def running_priority_is_the_innermost(self) -> None:
        levels = [level for _, level in self.running]
        assert self.gicv.read(Gicv.RPR, 4) == (levels[-1] if levels else 0xFF)
        assert self.gich.read(Gich.APR, 4) == sum(1 << level // 8 for level in levels)

    @invariant()
    def maintenance_follows_the_account(self) -> None:
        pending = any(e.pending and not e.active for e in self.entries.values())
        causes = [
            bool(self.ended),
            bool(self.hcr & 2) and len(self.entries) <= 1,
            bool(self.hcr & 4) and self.lost_ends > 0,
            bool(self.hcr & 8) and not pending,
            bool(self.hcr & 0x10) and bool(self.control & 1),
            bool(self.hcr & 0x20) and not self.control & 1,
            bool(self.hcr & 0x40) and bool(self.control & 2),
            bool(self.hcr & 0x80) and not self.control & 2,
        ]
        assert self.gich.read(Gich.MISR, 4) == sum(on << n for n, on in enumerate(causes))
        assert self.gich.read(Gich.HCR, 4) == self.hcr | self.lost_ends << 27
        self.devices.wire(self.cpu, 0)
        ppi = self.devices.gic.distributor_of(self.cpu).read(Gicd.ISPENDR, 4) >> 25 & 1
        assert ppi == (any(causes) and self.hcr & 1)

    @invariant()
    def the_distributor_loses_only_what_has_ended(self) -> None:
        gicd = self.devices.gic.distributor_of(self.cpu)
        words = [gicd.read(Gicd.ISACTIVER + 4 * n, 4) for n in range(2)]
        for intid in PHYSICAL:
            assert words[intid // 32] >> intid % 32 & 1 == (intid in self.physical)


TestVirtualMachine = VirtualMachine.TestCase
TestVirtualMachine.settings = settings(max_examples=80, stateful_step_count=50)
