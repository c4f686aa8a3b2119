# SPDX-License-Identifier: Apache-2.0
"""GICv2 delivery against IHI 0048B: pending, priority, preemption, groups, end, SGIs."""

import pytest

from aether_edgecloud.emulator.devices.gicv2 import Gicv2
from aether_edgecloud.emulator.devices.gicv2_cpu_interface import CpuInterface, Gicc
from aether_edgecloud.emulator.devices.gicv2_distributor import Gicd

SPI = 40
OTHER = 41
PPI = 27


class Bench:
    """A GIC whose interrupts are all enabled, at priority 0xA0, going to every CPU."""

    def __init__(self, cpus: int = 1, control: int = 0b11) -> None:
        self.gic = Gicv2(64, cpus)
        for cpu in range(cpus):
            gicd, gicc = self.gic.distributor_of(cpu), self.gic.cpu_interface(cpu)
            for word in range(3):
                gicd.write(Gicd.ISENABLER + 4 * word, 4, 0xFFFF_FFFF)
            for offset in range(0, 96, 4):
                gicd.write(Gicd.IPRIORITYR + offset, 4, 0xA0A0_A0A0)
                gicd.write(Gicd.ITARGETSR + offset, 4, 0xFFFF_FFFF)
            gicd.write(Gicd.CTLR, 4, 0b11)
            gicc.write(Gicc.PMR, 4, 0xFF)
            gicc.write(Gicc.CTLR, 4, control)

    def gicc(self, cpu: int = 0) -> CpuInterface:
        return self.gic.cpu_interface(cpu)

    def iar(self, cpu: int = 0) -> int:
        return self.gicc(cpu).read(Gicc.IAR, 4)

    def eoi(self, value: int, cpu: int = 0) -> None:
        self.gicc(cpu).write(Gicc.EOIR, 4, value)

    def priority(self, intid: int, priority: int, cpu: int = 0) -> None:
        self.gic.distributor_of(cpu).write(Gicd.IPRIORITYR + intid, 1, priority)

    def bit(self, array: int, intid: int, cpu: int = 0) -> bool:
        word = self.gic.distributor_of(cpu).read(array + intid // 32 * 4, 4)
        return bool(word >> intid % 32 & 1)

    def set_bit(self, array: int, intid: int, cpu: int = 0) -> None:
        self.gic.distributor_of(cpu).write(array + intid // 32 * 4, 4, 1 << intid % 32)

    def edge(self, intid: int) -> None:
        gicd = self.gic.distributor
        offset = Gicd.ICFGR + intid // 16 * 4
        gicd.write(offset, 4, gicd.read(offset, 4) | 2 << intid % 16 * 2)

    def group1(self, intid: int) -> None:
        gicd = self.gic.distributor
        offset = Gicd.IGROUPR + intid // 32 * 4
        gicd.write(offset, 4, gicd.read(offset, 4) | 1 << intid % 32)


@pytest.mark.parametrize("intid", [PPI, SPI])
def test_a_level_is_taken_again_until_the_device_lets_go(intid: int) -> None:
    bench = Bench()
    bench.gic.set_level(intid, True)
    assert bench.gic.irq(0)
    assert not bench.gic.fiq(0)
    assert bench.iar() == intid
    assert not bench.gic.irq(0)
    # The input is still there: active and pending.
    assert bench.bit(Gicd.ISPENDR, intid)
    assert bench.bit(Gicd.ISACTIVER, intid)
    assert bench.iar() == 1023
    bench.eoi(intid)
    assert bench.gic.irq(0)
    assert bench.iar() == intid
    bench.gic.set_level(intid, False)
    assert not bench.bit(Gicd.ISPENDR, intid)
    bench.eoi(intid)
    assert not bench.gic.irq(0)
    assert bench.iar() == 1023


@pytest.mark.parametrize("intid", [PPI, SPI])
def test_an_edge_is_taken_once(intid: int) -> None:
    bench = Bench()
    bench.edge(intid)
    bench.gic.set_level(intid, True)
    bench.gic.set_level(intid, False)
    assert bench.bit(Gicd.ISPENDR, intid)
    assert bench.iar() == intid
    assert not bench.bit(Gicd.ISPENDR, intid)
    bench.gic.set_level(intid, True)  # a second edge, while active
    assert bench.bit(Gicd.ISPENDR, intid)
    assert bench.iar() == 1023
    bench.eoi(intid)
    assert bench.iar() == intid
    bench.eoi(intid)
    bench.gic.set_level(intid, True)  # no new edge
    assert bench.iar() == 1023


def test_an_edge_while_disabled_is_kept() -> None:
    bench = Bench()
    bench.edge(SPI)
    bench.set_bit(Gicd.ICENABLER, SPI)
    bench.gic.set_level(SPI, True)
    bench.gic.set_level(SPI, False)
    assert bench.iar() == 1023
    bench.set_bit(Gicd.ISENABLER, SPI)
    assert bench.iar() == SPI


def test_clearing_a_level_has_no_effect_while_the_input_is_asserted() -> None:
    bench = Bench()
    bench.gic.set_level(SPI, True)
    bench.set_bit(Gicd.ICPENDR, SPI)
    assert bench.bit(Gicd.ISPENDR, SPI)


def test_pending_set_by_software_stays_without_the_input() -> None:
    bench = Bench()
    bench.set_bit(Gicd.ISPENDR, SPI)
    bench.gic.set_level(SPI, True)
    bench.gic.set_level(SPI, False)
    assert bench.bit(Gicd.ISPENDR, SPI)
    assert bench.iar() == SPI
    assert not bench.bit(Gicd.ISPENDR, SPI)


@pytest.mark.parametrize(("pmr", "taken"), [(0xA0, False), (0xA1, True), (0x9F, False)])
def test_the_mask_passes_only_higher_priorities(pmr: int, taken: bool) -> None:
    bench = Bench()
    bench.gicc().write(Gicc.PMR, 4, pmr)
    bench.gic.set_level(SPI, True)
    assert bench.gic.irq(0) is taken
    # HPPIR shows what waits, sufficient or not.
    assert bench.gicc().read(Gicc.HPPIR, 4) == SPI
    assert bench.iar() == (SPI if taken else 1023)


def test_the_higher_priority_then_the_lower_number() -> None:
    bench = Bench()
    bench.priority(OTHER, 0x90)
    bench.gic.set_level(SPI, True)
    bench.gic.set_level(OTHER, True)
    bench.gic.set_level(PPI, True)
    assert bench.iar() == OTHER
    bench.eoi(OTHER)
    bench.gic.set_level(OTHER, False)
    assert bench.iar() == PPI


@pytest.mark.parametrize(
    ("binary_point", "preempts"), [(0, True), (1, True), (2, True), (3, False), (7, False)]
)
def test_preemption_needs_a_higher_group_priority(binary_point: int, preempts: bool) -> None:
    # 0xA0 against 0xA8: bit 3 belongs to the group priority up to a binary point of 2.
    bench = Bench()
    bench.gicc().write(Gicc.BPR, 4, binary_point)
    bench.priority(OTHER, 0xA8)
    bench.gic.set_level(OTHER, True)
    assert bench.iar() == OTHER
    assert bench.gicc().read(Gicc.RPR, 4) == 0xA8 & 0xFE << binary_point
    bench.gic.set_level(SPI, True)
    assert bench.gic.irq(0) is preempts
    assert bench.iar() == (SPI if preempts else 1023)


def test_group_1_uses_its_own_binary_point_unless_common() -> None:
    bench = Bench(control=0b11 | 1 << 2)
    bench.gicc().write(Gicc.ABPR, 4, 4)  # group priority [7:4]
    bench.group1(SPI)
    bench.group1(OTHER)
    bench.priority(OTHER, 0xA8)
    bench.gic.set_level(OTHER, True)
    assert bench.iar() == OTHER
    assert bench.gicc().read(Gicc.RPR, 4) == 0xA0
    bench.gic.set_level(SPI, True)
    assert not bench.gic.irq(0)
    bench.eoi(OTHER)
    bench.gic.set_level(SPI, False)
    bench.gicc().write(Gicc.CTLR, 4, 0b11 | 1 << 2 | 1 << 4)  # CBPR: GICC_BPR for both
    assert bench.iar() == OTHER
    assert bench.gicc().read(Gicc.RPR, 4) == 0xA8
    bench.gic.set_level(SPI, True)
    assert bench.gic.irq(0)


def test_nested_interrupts_end_in_reverse() -> None:
    bench = Bench()
    for intid, priority in ((42, 0xC0), (41, 0x80), (40, 0x40)):
        bench.priority(intid, priority)
        bench.gic.set_level(intid, True)
        assert bench.iar() == intid
        bench.gic.set_level(intid, False)
        assert bench.gicc().read(Gicc.RPR, 4) == priority
    for intid, running in ((40, 0x80), (41, 0xC0), (42, 0xFF)):
        bench.eoi(intid)
        assert bench.gicc().read(Gicc.RPR, 4) == running
        assert not bench.bit(Gicd.ISACTIVER, intid)


def test_eoi_mode_parts_priority_drop_from_deactivation() -> None:
    bench = Bench(control=0b11 | 1 << 9)
    bench.gic.set_level(SPI, True)
    assert bench.iar() == SPI
    bench.eoi(SPI)
    assert bench.gicc().read(Gicc.RPR, 4) == 0xFF
    assert bench.bit(Gicd.ISACTIVER, SPI)
    assert not bench.gic.irq(0)  # the input is still asserted, but the interrupt active
    bench.gic.set_level(OTHER, True)
    assert bench.iar() == OTHER  # others of the same priority are free
    bench.eoi(OTHER)
    bench.gicc().write(Gicc.DIR, 4, SPI)
    assert not bench.bit(Gicd.ISACTIVER, SPI)
    assert bench.bit(Gicd.ISACTIVER, OTHER)
    assert bench.iar() == SPI


def test_deactivate_is_ignored_without_eoi_mode() -> None:
    bench = Bench()
    bench.gic.set_level(SPI, True)
    assert bench.iar() == SPI
    bench.gicc().write(Gicc.DIR, 4, SPI)
    assert bench.bit(Gicd.ISACTIVER, SPI)


@pytest.mark.parametrize("intid", [1020, 1022, 1023])
def test_ending_a_special_id_changes_nothing(intid: int) -> None:
    bench = Bench()
    bench.gic.set_level(SPI, True)
    assert bench.iar() == SPI
    bench.eoi(intid)
    assert bench.gicc().read(Gicc.RPR, 4) == 0xA0
    assert bench.bit(Gicd.ISACTIVER, SPI)


@pytest.mark.parametrize(
    ("control", "group", "irq", "fiq"),
    [
        (0b0011, 0, True, False),
        (0b1011, 0, False, True),
        (0b1011, 1, True, False),
        (0b0001, 1, False, False),
        (0b0010, 0, False, False),
        (0b0010, 1, True, False),
        (0b1010, 0, False, False),
    ],
)
def test_signal_by_group_and_enables(control: int, group: int, irq: bool, fiq: bool) -> None:
    bench = Bench(control=control)
    if group:
        bench.group1(SPI)
    bench.gic.set_level(SPI, True)
    assert bench.gic.irq(0) is irq
    assert bench.gic.fiq(0) is fiq
    if not irq and not fiq:
        assert bench.iar() == 1023
        assert bench.gicc().read(Gicc.AIAR, 4) == 1023


@pytest.mark.parametrize("group", [0, 1])
def test_a_group_off_in_the_distributor_is_not_forwarded(group: int) -> None:
    bench = Bench(control=0b111)
    if group:
        bench.group1(SPI)
    else:
        bench.group1(OTHER)
    bench.priority(SPI, 0x20)
    bench.gic.set_level(SPI, True)
    bench.gic.set_level(OTHER, True)
    bench.gic.distributor.write(Gicd.CTLR, 4, 0b11 & ~(1 << group))
    # The other group gets through, though its priority is lower.
    assert bench.gicc().read(Gicc.HPPIR, 4) == OTHER
    assert bench.iar() == OTHER


def test_group_1_shows_in_the_plain_registers_only_with_ackctl() -> None:
    bench = Bench()
    bench.group1(SPI)
    bench.gic.set_level(SPI, True)
    assert bench.iar() == 1022
    assert bench.gicc().read(Gicc.HPPIR, 4) == 1022
    assert not bench.bit(Gicd.ISACTIVER, SPI)
    assert bench.gicc().read(Gicc.AHPPIR, 4) == SPI
    assert bench.gicc().read(Gicc.AIAR, 4) == SPI
    assert bench.bit(Gicd.ISACTIVER, SPI)
    bench.gicc().write(Gicc.AEOIR, 4, SPI)
    assert not bench.bit(Gicd.ISACTIVER, SPI)
    assert bench.gicc().read(Gicc.RPR, 4) == 0xFF
    bench.gicc().write(Gicc.CTLR, 4, 0b111)
    assert bench.gicc().read(Gicc.HPPIR, 4) == SPI
    assert bench.iar() == SPI


def test_group_1_of_insufficient_priority_is_spurious_not_1022() -> None:
    bench = Bench()
    bench.group1(SPI)
    bench.gicc().write(Gicc.PMR, 4, 0x80)
    bench.gic.set_level(SPI, True)
    assert bench.iar() == 1023


def test_the_aliases_never_give_group_0() -> None:
    bench = Bench()
    bench.gic.set_level(SPI, True)
    assert bench.gicc().read(Gicc.AHPPIR, 4) == 1023
    assert bench.gicc().read(Gicc.AIAR, 4) == 1023
    assert bench.iar() == SPI
    bench.gicc().write(Gicc.AEOIR, 4, SPI)
    assert bench.bit(Gicd.ISACTIVER, SPI)


def test_an_active_priority_is_kept_per_group() -> None:
    bench = Bench(control=0b111)
    bench.group1(OTHER)
    bench.priority(OTHER, 0x40)
    bench.gic.set_level(SPI, True)
    assert bench.iar() == SPI
    bench.gic.set_level(OTHER, True)
    assert bench.iar() == OTHER
    assert bench.gicc().read(Gicc.APR + 8, 4) == 1 << (0xA0 >> 1) - 64
    assert bench.gicc().read(Gicc.NSAPR + 4, 4) == 1 << (0x40 >> 1) - 32
    bench.eoi(SPI)  # out of order: drops the priority of Group 0
    assert bench.gicc().read(Gicc.RPR, 4) == 0x40


def test_a_shared_interrupt_is_taken_by_one_cpu_only() -> None:
    bench = Bench(cpus=2)
    bench.gic.set_level(SPI, True)
    assert bench.gic.irq(0)
    assert bench.gic.irq(1)
    assert bench.iar(1) == SPI
    assert not bench.gic.irq(0)
    assert bench.iar(0) == 1023
    assert bench.bit(Gicd.ISACTIVER, SPI, cpu=0)
    bench.eoi(SPI, cpu=1)
    assert bench.gic.irq(0)


def test_a_shared_interrupt_goes_to_its_targets_only() -> None:
    bench = Bench(cpus=4)
    bench.gic.distributor.write(Gicd.ITARGETSR + SPI, 1, 0b0100)
    bench.gic.set_level(SPI, True)
    assert [bench.gic.irq(cpu) for cpu in range(4)] == [False, False, True, False]
    bench.gic.distributor.write(Gicd.ITARGETSR + SPI, 1, 0b1000)
    assert [bench.gic.irq(cpu) for cpu in range(4)] == [False, False, False, True]


def test_a_private_interrupt_belongs_to_its_cpu() -> None:
    bench = Bench(cpus=2)
    bench.gic.set_level(PPI, True, cpu=1)
    assert [bench.gic.irq(cpu) for cpu in range(2)] == [False, True]
    assert bench.iar(1) == PPI
    assert not bench.bit(Gicd.ISACTIVER, PPI, cpu=0)


@pytest.mark.parametrize(
    ("filter_and_list", "targets"),
    [
        (0b00 << 24 | 0b0110 << 16, {1, 2}),
        (0b00 << 24, set()),
        (0b00 << 24 | 0xF0 << 16, set()),
        (0b01 << 24 | 0b0100 << 16, {0, 1, 3}),
        (0b10 << 24 | 0b0001 << 16, {2}),
        (0b11 << 24 | 0b1111 << 16, set()),
    ],
)
def test_the_forms_of_sgir(filter_and_list: int, targets: set[int]) -> None:
    bench = Bench(cpus=4)
    bench.gic.distributor_of(2).write(Gicd.SGIR, 4, filter_and_list | 9)
    assert {cpu for cpu in range(4) if bench.gic.irq(cpu)} == targets
    for cpu in targets:
        assert bench.gicc(cpu).read(Gicc.HPPIR, 4) == 2 << 10 | 9
        assert bench.iar(cpu) == 2 << 10 | 9


def test_one_sgi_from_two_cpus_is_taken_twice() -> None:
    bench = Bench(cpus=3)
    for sender in (2, 1):
        bench.gic.distributor_of(sender).write(Gicd.SGIR, 4, 1 << 16 | 5)
    assert bench.gic.distributor.read(Gicd.SPENDSGIR + 5, 1) == 0b110
    assert bench.iar() == 1 << 10 | 5
    assert bench.bit(Gicd.ISPENDR, 5)
    assert bench.iar() == 1023  # active and pending
    bench.eoi(1 << 10 | 5)
    assert bench.iar() == 2 << 10 | 5
    assert not bench.bit(Gicd.ISPENDR, 5)
    bench.eoi(2 << 10 | 5)
    assert bench.iar() == 1023


def test_software_can_move_pending_sgis() -> None:
    bench = Bench(cpus=4)
    gicd = bench.gic.distributor_of(1)
    gicd.write(Gicd.SPENDSGIR, 4, 0x0000_0A00)  # SGI 1 from CPUs 1 and 3, at CPU 1
    assert gicd.read(Gicd.CPENDSGIR, 4) == 0x0000_0A00
    assert bench.gic.distributor_of(0).read(Gicd.SPENDSGIR, 4) == 0
    gicd.write(Gicd.CPENDSGIR + 1, 1, 0b0010)
    assert bench.iar(1) == 3 << 10 | 1
    gicd.write(Gicd.SPENDSGIR + 1, 1, 0xF0)  # CPUs that do not exist
    assert gicd.read(Gicd.SPENDSGIR, 4) == 0


def test_set_active_blocks_an_interrupt_until_cleared() -> None:
    bench = Bench()
    bench.set_bit(Gicd.ISACTIVER, SPI)
    bench.gic.set_level(SPI, True)
    assert bench.iar() == 1023
    assert bench.gicc().read(Gicc.RPR, 4) == 0xFF
    bench.set_bit(Gicd.ICACTIVER, SPI)
    assert bench.iar() == SPI


def test_disabling_an_active_interrupt_leaves_it_active() -> None:
    bench = Bench()
    bench.gic.set_level(SPI, True)
    assert bench.iar() == SPI
    bench.set_bit(Gicd.ICENABLER, SPI)
    assert bench.bit(Gicd.ISACTIVER, SPI)
    bench.eoi(SPI)
    assert not bench.bit(Gicd.ISACTIVER, SPI)
    assert bench.iar() == 1023
