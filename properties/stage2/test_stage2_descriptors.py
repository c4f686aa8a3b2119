# SPDX-License-Identifier: Apache-2.0
"""Attributes of memory: which there are, and how descriptors say them."""

import pytest

from aether_edgecloud.properties.stage2.test_stage2_operations import (
    EL2_RX,
    MIB2,
    NONE,
    RO,
    RW,
    RWX,
    Bench,
    stage2,
)
from aether_edgecloud.stage2.spec import (
    PAGE,
    Attr,
    Config,
    Memory,
    Perm,
    Regime,
    Status,
)


def test_write_xor_execute_at_el2() -> None:
    bench = Bench([Config(Regime.EL2, ia_bits=39)], 8)
    for perm in (Perm(True, True, True, False), Perm(True, False, False, True), NONE):
        assert bench.map(0, 0, 0, PAGE, Attr(perm, Memory.NORMAL_WB)) is Status.BAD_ATTR
    assert bench.map(0, 0, 0, PAGE, Attr(EL2_RX, Memory.NORMAL_WB)) is Status.OK
    assert bench.protect(0, 0, PAGE, Perm(True, True, True, False)) is Status.BAD_ATTR
    assert bench.protect(0, 0, PAGE, RW) is Status.OK
    bench.check()
    bench.close()


def test_device_memory_is_never_executable() -> None:
    bench = Bench([stage2(40), Config(Regime.EL2, ia_bits=39)], 8)
    for number, perm in ((0, Perm(True, False, True, True)), (1, EL2_RX)):
        for memory in (Memory.DEVICE_nGnRnE, Memory.DEVICE_nGnRE):
            ia = memory * MIB2
            assert bench.map(number, ia, ia, PAGE, Attr(perm, memory)) is Status.BAD_ATTR
            assert bench.map(number, ia, ia, PAGE, Attr(RO, memory)) is Status.OK
            assert bench.protect(number, ia, PAGE, perm) is Status.BAD_ATTR
    bench.close()


def test_execute_at_one_level_needs_xnx() -> None:
    el1, el0 = Perm(True, False, True, False), Perm(True, False, False, True)
    plain = Bench([stage2(40)], 8)
    xnx = Bench([stage2(40, xnx=True)], 8)
    for index, perm in enumerate((el1, el0)):
        attr = Attr(perm, Memory.NORMAL_WB)
        assert plain.map(0, index * PAGE, 0, PAGE, attr) is Status.BAD_ATTR
        assert xnx.map(0, index * PAGE, 0, PAGE, attr) is Status.OK
    xnx.check()
    assert [xnx.arena.walk(0, ia)[1].descriptor >> 53 & 3 for ia in (0, PAGE)] == [0b11, 0b01]
    plain.close()
    xnx.close()


@pytest.mark.parametrize(
    ("attr", "bits"),
    [
        (Attr(RWX, Memory.NORMAL_WB), 0x7FF),
        (Attr(RW, Memory.NORMAL_NC), 1 << 54 | 0x6D7),
        (Attr(RO, Memory.DEVICE_nGnRE), 1 << 54 | 0x647),
        (Attr(NONE, Memory.DEVICE_nGnRnE), 1 << 54 | 0x603),
    ],
)
def test_stage2_descriptor_bits(attr: Attr, bits: int) -> None:
    """Against the format in the Arm ARM: XN 54, AF 10, SH 9:8, S2AP 7:6, MemAttr 5:2, type 1:0."""
    bench = Bench([stage2(40)], 8)
    assert bench.map(0, 0, 0x4000_0000, PAGE, attr) is Status.OK
    assert bench.arena.walk(0, 0)[1].descriptor == 0x4000_0000 | bits
    bench.close()


@pytest.mark.parametrize(
    ("attr", "bits"),
    [
        (Attr(RW, Memory.NORMAL_WB), 1 << 54 | 0x743),
        (Attr(EL2_RX, Memory.NORMAL_WB), 0x7C3),
        (Attr(RO, Memory.NORMAL_NC), 1 << 54 | 0x6C7),
        (Attr(RW, Memory.DEVICE_nGnRnE), 1 << 54 | 0x64B),
        (Attr(RW, Memory.DEVICE_nGnRE), 1 << 54 | 0x64F),
    ],
)
def test_el2_descriptor_bits(attr: Attr, bits: int) -> None:
    """XN 54, AF 10, SH 9:8, AP[2:1] 7:6 with AP[1] RES1, AttrIndx 4:2 into 0x040044ff."""
    bench = Bench([Config(Regime.EL2, ia_bits=39)], 8)
    assert bench.map(0, 0, 0x4000_0000, PAGE, attr) is Status.OK
    assert bench.arena.walk(0, 0)[1].descriptor == 0x4000_0000 | bits
    bench.close()
