# SPDX-License-Identifier: Apache-2.0
"""GICH and GICV against IHI 0048B: list registers, delivery, end, maintenance."""

import json

import pytest

from aether_edgecloud.emulator.boards.devices import build_devices
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.devices.gicv2 import Gicv2
from aether_edgecloud.emulator.devices.gicv2_distributor import Gicd
from aether_edgecloud.emulator.devices.gicv2_hypervisor import Gich
from aether_edgecloud.emulator.devices.gicv2_virtual import Gicv

HW, GRP1, EOI = 1 << 31, 1 << 30, 1 << 19
PENDING, ACTIVE = 1 << 28, 2 << 28
EN, UIE, LRENPIE, NPIE = 1, 2, 4, 8
MISR_EOI, MISR_U, MISR_LRENP, MISR_NP = 1, 2, 4, 8


def entry(intid: int, priority: int = 0xA0, flags: int = PENDING) -> int:
    return flags | priority >> 3 << 23 | intid


class Bench:
    """A virtual interface that is on, with no mask: Group 0 is taken."""

    def __init__(self, cpus: int = 1, control: int = 0b11, cpu: int = 0) -> None:
        self.gic = Gicv2(64, cpus)
        self.cpu = cpu
        self.gich, self.gicv = (
            self.gic.hypervisor_interface(cpu),
            self.gic.virtual_cpu_interface(cpu),
        )
        self.gicd = self.gic.distributor_of(cpu)
        self.gich.write(Gich.HCR, 4, EN)
        self.gicv.write(Gicv.PMR, 4, 0xFF)
        self.gicv.write(Gicv.CTLR, 4, control)

    def fill(self, index: int, value: int) -> None:
        self.gich.write(Gich.LR + 4 * index, 4, value)

    def list_register(self, index: int) -> int:
        return self.gich.read(Gich.LR + 4 * index, 4)

    def hcr(self, value: int) -> None:
        self.gich.write(Gich.HCR, 4, value)

    def control(self, value: int) -> None:
        self.gicv.write(Gicv.CTLR, 4, value)

    def iar(self) -> int:
        return self.gicv.read(Gicv.IAR, 4)

    def eoi(self, value: int) -> None:
        self.gicv.write(Gicv.EOIR, 4, value)

    def eoi_count(self) -> int:
        return self.gich.read(Gich.HCR, 4) >> 27

    def misr(self) -> int:
        return self.gich.read(Gich.MISR, 4)


def test_reset_and_identification_values() -> None:
    gic = Gicv2(64)
    gich, gicv = gic.hypervisor_interface(), gic.virtual_cpu_interface()
    assert gich.read(Gich.VTR, 4) == 4 << 29 | 4 << 26 | 3  # 5 and 5 bits, 4 list registers
    assert gich.read(Gich.HCR, 4) == 0
    assert gich.read(Gich.VMCR, 4) == 2 << 21 | 3 << 18
    assert gich.read(Gich.ELRSR0, 4) == 0xF
    assert gicv.read(Gicv.IAR, 4) == 1023
    assert gicv.read(Gicv.HPPIR, 4) == 1023
    assert gicv.read(Gicv.AHPPIR, 4) == 1023
    assert gicv.read(Gicv.RPR, 4) == 0xFF
    assert gicv.read(Gicv.IIDR, 4) == gic.cpu_interface().read(0xFC, 4)
    assert not gic.virq()
    assert not gic.vfiq()
    assert not gic.maintenance()


@pytest.mark.parametrize(
    ("register", "kept"),
    [
        (Gich.HCR, 0xF800_00FF),
        (Gich.VTR, 0x9000_0003),
        (Gich.VMCR, 0xF8FC_021F),
        (Gich.APR, 0xFFFF_FFFF),
        (Gich.LR, 0xFF8F_FFFF),
        (Gich.LR + 12, 0xFF8F_FFFF),
        (Gich.LR + 16, 0),
        (Gich.EISR0, 0),
        (Gich.ELRSR1, 0),
    ],
)
def test_writable_bits(register: int, kept: int) -> None:
    gich = Gicv2(64).hypervisor_interface()
    gich.write(register, 4, 0xFFFF_FFFF)
    assert gich.read(register, 4) == kept
    before = gich.save()
    for offset, size in ((register, 1), (register, 2), (register, 8), (register + 1, 4)):
        gich.write(offset, size, 0)
        assert gich.read(offset, size) == 0
    assert gich.save() == before


def test_machine_control_is_the_virtual_machines_view() -> None:
    bench = Bench()
    bench.gicv.write(Gicv.PMR, 4, 0xAF)
    bench.gicv.write(Gicv.BPR, 4, 4)
    bench.gicv.write(Gicv.ABPR, 4, 5)
    bench.control(0x21D)
    assert bench.gich.read(Gich.VMCR, 4) == 0xA8 << 24 | 4 << 21 | 5 << 18 | 0x21D
    bench.gich.write(Gich.VMCR, 4, 0x50 << 24 | 1 << 21 | 7 << 18 | 0x12)
    assert bench.gicv.read(Gicv.PMR, 4) == 0x50
    assert bench.gicv.read(Gicv.BPR, 4) == 2  # its least
    assert bench.gicv.read(Gicv.ABPR, 4) == 7
    assert bench.gicv.read(Gicv.CTLR, 4) == 0x12
    bench.gicv.write(Gicv.ABPR, 4, 0)
    assert bench.gicv.read(Gicv.ABPR, 4) == 3


def test_active_priorities_are_one_register_with_two_names() -> None:
    bench = Bench()
    bench.gich.write(Gich.APR, 4, 1 << 20)
    assert bench.gicv.read(Gicv.APR0, 4) == 1 << 20
    assert bench.gicv.read(Gicv.RPR, 4) == 20 * 8
    bench.gicv.write(Gicv.APR0, 4, 0)
    assert bench.gich.read(Gich.APR, 4) == 0


def test_a_software_interrupt_from_pending_to_empty() -> None:
    bench = Bench()
    bench.fill(2, entry(40))
    assert bench.gic.virq()
    assert not bench.gic.irq()
    assert bench.gich.read(Gich.ELRSR0, 4) == 0b1011
    assert bench.gicv.read(Gicv.HPPIR, 4) == 40
    assert bench.iar() == 40
    assert not bench.gic.virq()
    assert bench.list_register(2) == entry(40, flags=ACTIVE)
    assert bench.gicv.read(Gicv.RPR, 4) == 0xA0
    assert bench.iar() == 1023
    bench.eoi(40)
    assert bench.list_register(2) == entry(40, flags=0)
    assert bench.gicv.read(Gicv.RPR, 4) == 0xFF
    assert bench.gich.read(Gich.ELRSR0, 4) == 0xF
    assert bench.eoi_count() == 0


def test_pending_while_active_comes_again_after_the_end() -> None:
    bench = Bench()
    bench.fill(0, entry(40))
    bench.iar()
    bench.fill(0, entry(40, flags=PENDING | ACTIVE))
    assert not bench.gic.virq()
    assert bench.iar() == 1023
    bench.eoi(40)
    assert bench.gic.virq()
    assert bench.iar() == 40


def test_the_sender_of_an_sgi_is_seen_only_for_an_sgi() -> None:
    bench = Bench()
    bench.fill(0, entry(5) | 3 << 10)
    assert bench.gicv.read(Gicv.HPPIR, 4) == 3 << 10 | 5
    assert bench.iar() == 3 << 10 | 5
    bench.eoi(3 << 10 | 5)
    bench.fill(0, entry(16) | 3 << 10)
    assert bench.iar() == 16
    bench.eoi(16)
    bench.fill(0, entry(5, flags=PENDING | HW) | 27 << 10)
    assert bench.iar() == 5


@pytest.mark.parametrize("intid", [27, 40])
@pytest.mark.parametrize("split", [False, True])
def test_a_hardware_interrupt_ends_in_the_distributor(intid: int, split: bool) -> None:
    bench = Bench(control=0b11 | split << 9, cpus=2, cpu=1)
    array = Gicd.ISACTIVER + intid // 32 * 4
    active = 1 << intid % 32

    def physical(cpu: int) -> int:
        return bench.gic.distributor_of(cpu).read(array, 4)

    for cpu in (0, 1):
        bench.gic.distributor_of(cpu).write(array, 4, active)
    bench.fill(0, entry(77, flags=PENDING | HW) | intid << 10)
    assert bench.iar() == 77
    assert physical(1) == active
    bench.eoi(77)
    assert bench.gicv.read(Gicv.RPR, 4) == 0xFF
    if split:
        assert physical(1) == active
        assert bench.list_register(0) & ACTIVE
        bench.gicv.write(Gicv.DIR, 4, 77)
    assert physical(1) == 0
    assert physical(0) == (active if intid < 32 else 0)  # another CPU's PPI is another's
    assert not bench.list_register(0) & (PENDING | ACTIVE)
    assert bench.gich.read(Gich.EISR0, 4) == 0


@pytest.mark.parametrize("physical", [0, 15, 200, 1020, 1023])
def test_a_physical_id_that_is_none_deactivates_nothing(physical: int) -> None:
    bench = Bench()
    bench.gicd.write(Gicd.ISACTIVER, 4, 0xFFFF_FFFF)
    bench.fill(0, entry(40, flags=PENDING | HW) | physical << 10)
    bench.eoi(bench.iar())
    assert bench.gicd.read(Gicd.ISACTIVER, 4) == 0xFFFF_FFFF
    assert bench.gich.read(Gich.ELRSR0, 4) == 0xF


def test_a_deactivated_hardware_interrupt_can_come_again() -> None:
    bench = Bench()
    bench.gicd.write(Gicd.CTLR, 4, 1)
    bench.gicd.write(Gicd.ISENABLER, 4, 1 << 27)
    gicc = bench.gic.cpu_interface()
    gicc.write(4, 4, 0xFF)
    gicc.write(0, 4, 0x201)
    bench.gic.set_level(27, True)
    assert gicc.read(0xC, 4) == 27
    gicc.write(0x10, 4, 27)
    bench.fill(0, entry(27, flags=PENDING | HW) | 27 << 10)
    assert not bench.gic.irq()  # active: the level waits for the virtual machine
    assert bench.iar() == 27
    bench.eoi(27)
    assert bench.gic.irq()


def test_the_higher_priority_then_the_lower_list_register() -> None:
    bench = Bench()
    for index, (intid, priority) in enumerate([(40, 0xA0), (43, 0x98), (42, 0x98), (41, 0xA0)]):
        bench.fill(index, entry(intid, priority))
    taken = []
    for _ in range(4):
        taken.append(bench.iar())
        bench.eoi(taken[-1])
    assert taken == [43, 42, 40, 41]


@pytest.mark.parametrize(
    ("binary_point", "preempts"), [(0, True), (2, True), (3, False), (7, False)]
)
def test_preemption_needs_a_higher_group_priority(binary_point: int, preempts: bool) -> None:
    bench = Bench()
    bench.gicv.write(Gicv.BPR, 4, binary_point)
    bench.fill(0, entry(40, 0xA8))
    assert bench.iar() == 40
    assert bench.gicv.read(Gicv.RPR, 4) == 0xA8 & 0xFE << max(binary_point, 2)
    bench.fill(1, entry(41, 0xA0))
    assert bench.gic.virq() is preempts
    assert bench.iar() == (41 if preempts else 1023)


def test_group_1_uses_its_own_binary_point_unless_common() -> None:
    bench = Bench(control=0b111)
    bench.gicv.write(Gicv.ABPR, 4, 4)
    bench.fill(0, entry(40, 0xA8) | GRP1)
    bench.iar()
    assert bench.gicv.read(Gicv.RPR, 4) == 0xA0
    bench.eoi(40)
    bench.control(0b10111)
    bench.fill(0, entry(40, 0xA8) | GRP1)
    bench.iar()
    assert bench.gicv.read(Gicv.RPR, 4) == 0xA8


def test_nested_interrupts_end_in_reverse() -> None:
    bench = Bench()
    for index, (intid, priority) in enumerate([(42, 0xC0), (41, 0x80), (40, 0x40)]):
        bench.fill(index, entry(intid, priority))
        assert bench.iar() == intid
    assert bench.gich.read(Gich.APR, 4) == 1 << 24 | 1 << 16 | 1 << 8
    for intid, running in ((40, 0x80), (41, 0xC0), (42, 0xFF)):
        bench.eoi(intid)
        assert bench.gicv.read(Gicv.RPR, 4) == running


@pytest.mark.parametrize(("mask", "taken"), [(0xA0, False), (0xA8, True), (0x98, False)])
def test_the_mask_passes_only_higher_priorities(mask: int, taken: bool) -> None:
    bench = Bench()
    bench.gicv.write(Gicv.PMR, 4, mask)
    bench.fill(0, entry(40))
    assert bench.gic.virq() is taken
    assert bench.iar() == (40 if taken else 1023)


@pytest.mark.parametrize(
    ("control", "group", "irq", "fiq"),
    [
        (0b0011, 0, True, False),
        (0b1011, 0, False, True),
        (0b1011, 1, True, False),
        (0b0001, 1, False, False),
        (0b0010, 0, False, False),
        (0b1010, 0, False, False),
    ],
)
def test_signal_by_group_and_enables(control: int, group: int, irq: bool, fiq: bool) -> None:
    bench = Bench(control=control)
    bench.fill(0, entry(40) | (GRP1 if group else 0))
    assert (bench.gic.virq(), bench.gic.vfiq()) == (irq, fiq)
    if not irq and not fiq:
        assert bench.iar() == 1023
        assert bench.gicv.read(Gicv.AIAR, 4) == 1023
    bench.hcr(0)
    assert (bench.gic.virq(), bench.gic.vfiq()) == (False, False)
    assert bench.iar() == 1023


def test_group_1_shows_in_the_plain_registers_only_with_ackctl() -> None:
    bench = Bench()
    bench.fill(0, entry(40) | GRP1)
    assert bench.iar() == 1022
    assert bench.gicv.read(Gicv.HPPIR, 4) == 1022
    assert bench.gicv.read(Gicv.AHPPIR, 4) == 40
    assert bench.gicv.read(Gicv.AIAR, 4) == 40
    bench.gicv.write(Gicv.AEOIR, 4, 40)
    assert bench.gich.read(Gich.ELRSR0, 4) == 0xF
    bench.fill(0, entry(40))
    assert bench.gicv.read(Gicv.AIAR, 4) == 1023
    assert bench.iar() == 40
    bench.gicv.write(Gicv.AEOIR, 4, 40)  # of Group 0
    assert bench.list_register(0) & ACTIVE


@pytest.mark.parametrize("intid", [1020, 1022, 1023])
def test_special_ids_are_neither_taken_nor_ended(intid: int) -> None:
    bench = Bench()
    bench.fill(0, entry(intid, 0))
    bench.fill(1, entry(40))
    assert bench.iar() == 40
    bench.eoi(intid)
    assert bench.gicv.read(Gicv.RPR, 4) == 0xA0
    assert bench.eoi_count() == 0


def test_ends_without_a_list_register_are_counted() -> None:
    bench = Bench()
    bench.eoi(99)  # nothing active: no priority drops, nothing is counted
    assert bench.eoi_count() == 0
    for count in range(1, 34):
        bench.gich.write(Gich.APR, 4, 1 << 10)
        bench.eoi(99)
        assert bench.gich.read(Gich.APR, 4) == 0
        assert bench.eoi_count() == count % 32
    bench.control(0b11 | 1 << 9)
    bench.gich.write(Gich.APR, 4, 1 << 10)
    bench.eoi(99)
    assert bench.eoi_count() == 1
    bench.gicv.write(Gicv.DIR, 4, 99)
    assert bench.eoi_count() == 2


def test_deactivate_is_ignored_without_eoi_mode() -> None:
    bench = Bench()
    bench.fill(0, entry(40))
    bench.iar()
    bench.gicv.write(Gicv.DIR, 4, 40)
    assert bench.list_register(0) & ACTIVE
    bench.gicv.write(Gicv.DIR, 4, 41)
    assert bench.eoi_count() == 0


# Maintenance.


def test_eoi_maintenance_lasts_until_the_list_register_is_written() -> None:
    bench = Bench()
    bench.fill(3, entry(40) | EOI)
    assert bench.misr() == 0
    bench.iar()
    bench.eoi(40)
    assert bench.misr() == MISR_EOI
    assert bench.gic.maintenance()
    assert bench.gich.read(Gich.EISR0, 4) == 0b1000
    assert bench.gich.read(Gich.ELRSR0, 4) == 0b0111  # not free: its end is still to be seen
    bench.fill(3, 0)
    assert bench.misr() == 0
    assert not bench.gic.maintenance()


def test_underflow_means_at_most_one_valid_list_register() -> None:
    bench = Bench()
    bench.hcr(EN | UIE)
    for valid in range(5):
        assert bench.misr() == (MISR_U if valid <= 1 else 0)
        assert bench.gic.maintenance() is (valid <= 1)
        if valid < 4:
            bench.fill(valid, entry(40 + valid, flags=(PENDING, ACTIVE)[valid % 2]))


def test_no_pending_means_that_none_is_only_pending() -> None:
    bench = Bench()
    bench.hcr(EN | NPIE)
    assert bench.misr() == MISR_NP
    bench.fill(0, entry(40))
    assert bench.misr() == 0
    bench.iar()
    assert bench.misr() == MISR_NP
    bench.fill(0, entry(40, flags=PENDING | ACTIVE))
    assert bench.misr() == MISR_NP


def test_entry_not_present() -> None:
    bench = Bench()
    bench.hcr(EN | LRENPIE)
    assert bench.misr() == 0
    bench.gich.write(Gich.APR, 4, 1)
    bench.eoi(99)
    assert bench.misr() == MISR_LRENP
    bench.hcr(EN | 1 << 27)
    assert bench.misr() == 0
    bench.hcr(EN | LRENPIE)
    assert bench.misr() == 0


@pytest.mark.parametrize("control", range(4))
def test_group_enables(control: int) -> None:
    bench = Bench(control=control)
    expected = 0
    for group in (0, 1):
        expected |= 1 << 4 + 2 * group + (0 if control >> group & 1 else 1)
    bench.hcr(EN | 0xF0)
    assert bench.misr() == expected
    for source in range(4, 8):
        bench.hcr(EN | 1 << source)
        assert bench.misr() == expected & 1 << source
    bench.hcr(EN | 0xF0)
    bench.control(control ^ 0b11)
    assert bench.misr() == expected ^ 0xF0


def test_nothing_is_asserted_while_the_interface_is_off() -> None:
    bench = Bench()
    bench.hcr(UIE | NPIE)
    assert bench.misr() == MISR_U | MISR_NP
    assert not bench.gic.maintenance()


def test_every_cpu_has_its_own() -> None:
    devices = build_devices(virt(cpus=4))
    gic = devices.gic
    for cpu in range(4):
        gic.hypervisor_interface(cpu).write(Gich.HCR, 4, EN)
        gic.virtual_cpu_interface(cpu).write(Gicv.PMR, 4, 0xFF)
        gic.virtual_cpu_interface(cpu).write(Gicv.CTLR, 4, 1)
    gic.hypervisor_interface(2).write(Gich.LR, 4, entry(40))
    gic.hypervisor_interface(3).write(Gich.HCR, 4, EN | UIE)
    for cpu in range(4):
        devices.wire(cpu, 0)
    assert [gic.virq(cpu) for cpu in range(4)] == [False, False, True, False]
    maintenance = [gic.distributor_of(cpu).read(Gicd.ISPENDR, 4) for cpu in range(4)]
    assert maintenance == [0, 0, 0, 1 << 25]
    gic.hypervisor_interface(3).write(Gich.HCR, 4, EN)
    devices.wire(3, 0)
    assert gic.distributor_of(3).read(Gicd.ISPENDR, 4) == 0


def test_saving_is_an_identity() -> None:
    bench = Bench(cpus=2, control=0b1111)
    for index in range(4):
        bench.fill(index, entry(40 + index, 0x80 - 8 * index) | EOI)
    bench.iar()
    bench.eoi(43)
    bench.iar()
    bench.gich.write(Gich.HCR, 4, EN | UIE | 5 << 27)
    other = Gicv2(64, 2)
    state = json.loads(json.dumps(bench.gic.save()))
    assert other.save() != state
    other.restore(state)
    assert other.save() == state
    assert other.maintenance() == bench.gic.maintenance()
    assert other.virtual_signals() == bench.gic.virtual_signals()
    for register in Gich:
        assert other.hypervisor_interface().read(register, 4) == bench.gich.read(register, 4)
