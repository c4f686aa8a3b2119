# SPDX-License-Identifier: Apache-2.0
"""GICv2 registers against IHI 0048B: reset values, banking, access sizes, RAZ/WI."""

import json

import pytest

from aether_edgecloud.emulator.devices.gicv2 import Gicv2
from aether_edgecloud.emulator.devices.gicv2_cpu_interface import Gicc
from aether_edgecloud.emulator.devices.gicv2_distributor import Gicd
from aether_edgecloud.emulator.devices.gicv2_variant import GIC_400

ALL = 0xFFFF_FFFF


def test_reset_values_of_the_distributor() -> None:
    gicd = Gicv2(256, 4).distributor
    assert gicd.read(Gicd.CTLR, 4) == 0
    assert gicd.read(Gicd.TYPER, 4) == 3 << 5 | 8  # CPUNumber 3, 32 * (8 + 1) interrupts
    assert gicd.read(Gicd.IGROUPR, 4) == 0
    assert gicd.read(Gicd.ISENABLER, 4) == 0xFFFF  # SGIs, always
    assert gicd.read(Gicd.ISENABLER + 4, 4) == 0
    assert gicd.read(Gicd.ICFGR, 4) == 0xAAAA_AAAA  # SGIs are edge-triggered
    assert gicd.read(Gicd.ICFGR + 4, 4) == 0
    identification = [gicd.read(offset, 4) for offset in range(0xFE0, 0x1000, 4)]
    assert identification == [0x90, 0xB4, 0x2B, 0x00, 0x0D, 0xF0, 0x05, 0xB1]
    assert gicd.read(0xFD0, 4) == 0x04


def test_reset_values_of_the_cpu_interface() -> None:
    gicc = Gicv2(256).cpu_interface(0)
    assert gicc.read(Gicc.CTLR, 4) == 0
    assert gicc.read(Gicc.PMR, 4) == 0
    assert gicc.read(Gicc.BPR, 4) == 0
    assert gicc.read(Gicc.ABPR, 4) == 1
    assert gicc.read(Gicc.RPR, 4) == 0xFF
    assert gicc.read(Gicc.IAR, 4) == 1023
    assert gicc.read(Gicc.AIAR, 4) == 1023
    assert gicc.read(Gicc.HPPIR, 4) == 1023
    assert gicc.read(Gicc.AHPPIR, 4) == 1023
    iidr = gicc.read(Gicc.IIDR, 4)
    assert iidr & 0xFFF == 0x43B  # Arm
    assert iidr >> 16 & 0xF == 2  # GICv2


@pytest.mark.parametrize(("spis", "lines"), [(0, 0), (1, 1), (32, 1), (33, 2), (256, 8), (988, 31)])
def test_typer_counts_lines_in_thirty_twos(spis: int, lines: int) -> None:
    assert Gicv2(spis).distributor.read(Gicd.TYPER, 4) & 0x1F == lines


@pytest.mark.parametrize(("spis", "cpus"), [(-1, 1), (989, 1), (32, 0), (32, 9)])
def test_an_impossible_gic_is_refused(spis: int, cpus: int) -> None:
    with pytest.raises(ValueError, match="GICv2 has"):
        Gicv2(spis, cpus)


def test_bits_of_interrupts_that_do_not_exist_are_raz_wi() -> None:
    gicd = Gicv2(40).distributor  # IDs 32 to 71
    for array in (Gicd.IGROUPR, Gicd.ISENABLER, Gicd.ISPENDR, Gicd.ISACTIVER):
        for word, expected in ((1, ALL), (2, 0xFF), (3, 0), (31, 0)):
            gicd.write(array + 4 * word, 4, ALL)
            assert gicd.read(array + 4 * word, 4) == expected
    gicd.write(Gicd.IPRIORITYR + 68, 4, ALL)
    gicd.write(Gicd.IPRIORITYR + 72, 4, ALL)
    assert gicd.read(Gicd.IPRIORITYR + 68, 4) == ALL
    assert gicd.read(Gicd.IPRIORITYR + 72, 4) == 0
    gicd.write(Gicd.ICFGR + 4 * 4, 4, ALL)
    assert gicd.read(Gicd.ICFGR + 4 * 4, 4) == 0xAAAA


def test_set_and_clear_registers_change_only_the_bits_written() -> None:
    gicd = Gicv2(64).distributor
    pairs = (
        (Gicd.ISENABLER, Gicd.ICENABLER),
        (Gicd.ISPENDR, Gicd.ICPENDR),
        (Gicd.ISACTIVER, Gicd.ICACTIVER),
    )
    for set_register, clear_register in pairs:
        gicd.write(set_register + 8, 4, 0b1110)
        gicd.write(set_register + 8, 4, 0b0001)
        gicd.write(clear_register + 8, 4, 0b0100)
        assert gicd.read(set_register + 8, 4) == 0b1011
        assert gicd.read(clear_register + 8, 4) == 0b1011
        assert gicd.read(set_register + 4, 4) == 0


def test_sgi_enables_and_pending_bits_do_not_take_writes() -> None:
    gicd = Gicv2(32).distributor
    gicd.write(Gicd.ICENABLER, 4, ALL)
    assert gicd.read(Gicd.ISENABLER, 4) == 0xFFFF
    gicd.write(Gicd.ISPENDR, 4, ALL)
    assert gicd.read(Gicd.ISPENDR, 4) == 0xFFFF_0000
    gicd.write(Gicd.SPENDSGIR, 1, 1)
    gicd.write(Gicd.ICPENDR, 4, ALL)
    assert gicd.read(Gicd.ISPENDR, 4) == 0x1


def test_the_first_word_of_every_array_is_banked() -> None:
    gic = Gicv2(32, 2)
    first, second = gic.distributor_of(0), gic.distributor_of(1)
    for array in (Gicd.IGROUPR, Gicd.ISENABLER, Gicd.ISPENDR, Gicd.ISACTIVER):
        before = second.read(array, 4)
        first.write(array, 4, 0x00F0_0000)
        assert first.read(array, 4) & 0x00F0_0000 == 0x00F0_0000
        assert second.read(array, 4) == before
        first.write(array + 4, 4, 0x0000_00F0)
        assert second.read(array + 4, 4) == 0x0000_00F0
    first.write(Gicd.IPRIORITYR, 1, 0xA0)
    first.write(Gicd.IPRIORITYR + 32, 1, 0xB0)
    assert second.read(Gicd.IPRIORITYR, 1) == 0
    assert second.read(Gicd.IPRIORITYR + 32, 1) == 0xB0
    first.write(Gicd.ICFGR + 4, 4, 0x2)
    assert second.read(Gicd.ICFGR + 4, 4) == 0


def test_targets_of_private_interrupts_name_the_reader() -> None:
    gic = Gicv2(32, 8)
    for cpu in range(8):
        gicd = gic.distributor_of(cpu)
        for word in range(8):
            gicd.write(Gicd.ITARGETSR + 4 * word, 4, ALL)
            assert gicd.read(Gicd.ITARGETSR + 4 * word, 4) == (1 << cpu) * 0x0101_0101


def test_targets_of_spis_keep_only_cpus_that_exist() -> None:
    gicd = Gicv2(32, 3).distributor
    assert gicd.read(Gicd.ITARGETSR + 32, 4) == 0
    gicd.write(Gicd.ITARGETSR + 32, 4, 0xFF02_0104)
    assert gicd.read(Gicd.ITARGETSR + 32, 4) == 0x0702_0104


def test_targets_are_raz_wi_on_a_uniprocessor() -> None:
    gicd = Gicv2(32, 1).distributor
    for offset in (0, 4, 28, 32, 60):
        gicd.write(Gicd.ITARGETSR + offset, 4, ALL)
        assert gicd.read(Gicd.ITARGETSR + offset, 4) == 0


def test_configuration_has_one_writable_bit_an_interrupt() -> None:
    gicd = Gicv2(32).distributor
    gicd.write(Gicd.ICFGR, 4, 0)
    assert gicd.read(Gicd.ICFGR, 4) == 0xAAAA_AAAA
    gicd.write(Gicd.ICFGR + 8, 4, 0xFFFF_0003)
    assert gicd.read(Gicd.ICFGR + 8, 4) == 0xAAAA_0002


@pytest.mark.parametrize("offset", [Gicd.IPRIORITYR + 32, Gicd.ITARGETSR + 32, Gicd.SPENDSGIR])
def test_byte_access_where_the_specification_allows_it(offset: int) -> None:
    gicd = Gicv2(32, 2).distributor
    for lane in range(4):
        gicd.write(offset + lane, 1, 1 + lane % 2)
    assert gicd.read(offset, 4) == 0x0201_0201
    assert [gicd.read(offset + lane, 1) for lane in range(4)] == [1, 2, 1, 2]


@pytest.mark.parametrize(("shift", "size"), [(0, 2), (2, 2), (0, 8), (1, 4), (2, 4)])
def test_other_sizes_and_unaligned_words_are_raz_wi(shift: int, size: int) -> None:
    gic = Gicv2(64, 2)
    gicd = gic.distributor
    for array in (Gicd.ISENABLER + 4, Gicd.IPRIORITYR + 32, Gicd.ITARGETSR + 32):
        gicd.write(array + shift, size, 0x0101_0101_0101_0101)
        assert gicd.read(array, 4) == 0
        gicd.write(array, 4, 0x0101_0101)
        assert gicd.read(array + shift, size) == 0
    gicc = gic.cpu_interface(0)
    gicc.write(Gicc.PMR + shift, size, ALL)
    assert gicc.read(Gicc.PMR, 4) == 0


@pytest.mark.parametrize("size", [1, 2])
def test_narrow_access_to_word_registers_is_raz_wi(size: int) -> None:
    gic = Gicv2(32)
    gic.distributor.write(Gicd.CTLR, size, 3)
    assert gic.distributor.read(Gicd.CTLR, 4) == 0
    assert gic.distributor.read(Gicd.TYPER, size) == 0
    gic.cpu_interface(0).write(Gicc.PMR, size, 0xFF)
    assert gic.cpu_interface(0).read(Gicc.PMR, 4) == 0


def test_reserved_offsets_are_raz_wi() -> None:
    gic = Gicv2(988, 8)
    before = json.dumps(gic.save())
    for offset in (0x00C, 0x040, 0xD00, 0xE00, 0xF04, 0xF30, 0xFDC, 0x1000, 0xFFFC):
        gic.distributor.write(offset, 4, ALL)
        assert gic.distributor.read(offset, 4) == 0
    for offset in (0x02C, 0x0C0, 0x0F0, 0x100, 0x1004, 0xFFFC):
        gic.cpu_interface(0).write(offset, 4, ALL)
        assert gic.cpu_interface(0).read(offset, 4) == 0
    assert json.dumps(gic.save()) == before


def test_writable_bits_of_the_cpu_interface() -> None:
    gicc = Gicv2(32).cpu_interface(0)
    gicc.write(Gicc.CTLR, 4, ALL)
    assert gicc.read(Gicc.CTLR, 4) == 0x21F
    gicc.write(Gicc.PMR, 4, ALL)
    assert gicc.read(Gicc.PMR, 4) == 0xFF
    gicc.write(Gicc.BPR, 4, ALL)
    assert gicc.read(Gicc.BPR, 4) == 7
    gicc.write(Gicc.ABPR, 4, 0)
    assert gicc.read(Gicc.ABPR, 4) == 1


def test_gic_400_has_thirty_two_priorities() -> None:
    gic = Gicv2(32, variant=GIC_400)
    gicd, gicc = gic.distributor, gic.cpu_interface(0)
    gicd.write(Gicd.IPRIORITYR + 32, 4, 0xFF07_0809)
    assert gicd.read(Gicd.IPRIORITYR + 32, 4) == 0xF800_0808
    gicc.write(Gicc.PMR, 4, 0xFF)
    assert gicc.read(Gicc.PMR, 4) == 0xF8
    gicc.write(Gicc.BPR, 4, 0)
    assert gicc.read(Gicc.BPR, 4) == 2
    gicc.write(Gicc.ABPR, 4, 0)
    assert gicc.read(Gicc.ABPR, 4) == 3
    for word in range(4):
        gicc.write(Gicc.APR + 4 * word, 4, ALL)
        assert gicc.read(Gicc.APR + 4 * word, 4) == (ALL if word == 0 else 0)
    assert gicd.read(Gicd.IIDR, 4) == 0x0200_143B
    assert gicc.read(Gicc.IIDR, 4) == 0x0202_143B


def test_active_priorities_can_be_saved_and_put_back_by_software() -> None:
    gicc = Gicv2(32).cpu_interface(0)
    gicc.write(Gicc.NSAPR + 4, 4, 1 << 8)  # level 40 of 128: priority 80
    assert gicc.read(Gicc.RPR, 4) == 80
    gicc.write(Gicc.APR, 4, 1 << 3)
    assert gicc.read(Gicc.RPR, 4) == 6
    gicc.write(Gicc.APR, 4, 0)
    gicc.write(Gicc.NSAPR + 4, 4, 0)
    assert gicc.read(Gicc.RPR, 4) == 0xFF


@pytest.mark.parametrize("intid", [0, 15, 64, 1019, 1023])
def test_only_ppis_and_spis_have_inputs(intid: int) -> None:
    with pytest.raises(ValueError, match="no input"):
        Gicv2(32).set_level(intid, True)
