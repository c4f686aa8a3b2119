# SPDX-License-Identifier: Apache-2.0
"""What only the MMU model gets right, because Unicorn's walker cannot: see docs/not-modelled.md."""

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.properties.machine.bare import NO_MEMORY, constant, run


def test_dc_zva_where_nothing_answers() -> None:
    """With its own walker Unicorn reports this one only at the end of the block."""
    taken = run(constant("x1", NO_MEMORY + 8) + "\n dc zva, x1\n nop", MmuMode.MODEL)
    assert taken is not None
    assert taken.esr == 0x25 << 26 | 1 << 25 | 1 << 6 | 0b010000
    assert taken.elr == 16
    assert taken.far & ~63 == NO_MEMORY
