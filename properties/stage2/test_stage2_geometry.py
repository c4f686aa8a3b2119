# SPDX-License-Identifier: Apache-2.0
"""Geometry and register values: the library, the specification and the registers' fields agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.stage2.decode import Geometry
from aether_edgecloud.stage2.decode import Regime as DecodedRegime
from aether_edgecloud.stage2.host import Arena, root_size
from aether_edgecloud.stage2.spec import PA_BITS, PAGE, Config, Regime, Status


@given(
    st.builds(
        Config,
        regime=st.sampled_from(Regime),
        ia_bits=st.integers(0, 70),
        pa_bits=st.sampled_from(PA_BITS) | st.integers(0, 64),
        vmid=st.sampled_from([0, 1, 255, 256, 65535]),
        xnx=st.booleans(),
        pages_only=st.booleans(),
    )
)
def test_configurations(config: Config) -> None:
    assert root_size(config) == (config.root_size if config.accepted else 0)
    arena = Arena(1)
    assert arena.init(0, config) is (Status.OK if config.accepted else Status.RANGE)
    arena.close()


# Arm ARM, "Implication of concatenation of translation tables": 4 KiB granule.
@pytest.mark.parametrize(
    ("ia_bits", "level", "tables"),
    [
        (25, 2, 1),
        (30, 2, 1),
        (31, 2, 2),
        (32, 2, 4),
        (34, 2, 16),
        (35, 1, 1),
        (39, 1, 1),
        (40, 1, 2),
        (42, 1, 8),
        (43, 1, 16),
        (44, 0, 1),
        (48, 0, 1),
    ],
)
def test_stage2_start_level_and_concatenation(ia_bits: int, level: int, tables: int) -> None:
    config = Config(Regime.STAGE2, ia_bits=ia_bits, pa_bits=48, vmid=5)
    assert (config.start_level, config.root_size) == (level, tables * PAGE)
    assert root_size(config) == tables * PAGE
    arena = Arena(1)
    assert arena.init(0, config) is Status.OK
    registers = arena.registers(0)
    assert registers.start_level == level
    geometry = Geometry.stage2(registers.vtcr_el2, registers.vttbr_el2)
    assert geometry == Geometry(DecodedRegime.STAGE2, arena.root_of(0), ia_bits, level, pa_bits=48)
    assert geometry.root_tables == tables
    assert registers.vttbr_el2 >> 48 == 5
    arena.close()


@pytest.mark.parametrize(
    ("ia_bits", "level"), [(25, 2), (30, 2), (31, 1), (39, 1), (40, 0), (48, 0)]
)
def test_el2_start_level(ia_bits: int, level: int) -> None:
    config = Config(Regime.EL2, ia_bits=ia_bits, pa_bits=44)
    arena = Arena(1)
    assert arena.init(0, config) is Status.OK
    registers = arena.registers(0)
    geometry = Geometry.el2(registers.tcr_el2, registers.ttbr0_el2, 0x0400_44FF)
    assert geometry == Geometry(DecodedRegime.EL2, arena.root_of(0), ia_bits, level, pa_bits=44)
    assert registers.start_level == config.start_level == level
    assert root_size(config) == PAGE
    arena.close()


def test_register_fields() -> None:
    """T0SZ 5:0, SL0 7:6, IRGN0 9:8, ORGN0 11:10, SH0 13:12, TG0 15:14, PS 18:16, RES1."""
    arena = Arena(1)
    assert arena.init(0, Config(Regime.STAGE2, ia_bits=40, pa_bits=44, vmid=1)) is Status.OK
    assert arena.registers(0).vtcr_el2 == (
        1 << 31 | 0b100 << 16 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | 0b01 << 6 | 24
    )
    assert arena.init(1, Config(Regime.EL2, ia_bits=39, pa_bits=40)) is Status.OK
    assert arena.registers(1).tcr_el2 == (
        1 << 31 | 1 << 23 | 0b010 << 16 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | 25
    )
    arena.close()
