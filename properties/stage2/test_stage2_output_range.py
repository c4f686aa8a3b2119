# SPDX-License-Identifier: Apache-2.0
"""A mapping ends where the output addresses of the CPU end, and not a page later."""

import pytest

from aether_edgecloud.stage2.host import Arena
from aether_edgecloud.stage2.spec import PAGE, Attr, Config, Memory, Perm, Regime, Status

RW = Attr(Perm(True, True, False, False), Memory.NORMAL_WB)


@pytest.mark.parametrize("regime", Regime)
@pytest.mark.parametrize("pa_bits", [36, 40, 44, 48])
def test_a_range_may_reach_the_last_page_and_no_further(regime: Regime, pa_bits: int) -> None:
    end = 1 << pa_bits
    ia_bits = pa_bits if regime is Regime.STAGE2 else 48
    arena = Arena(8)
    assert arena.init(0, Config(regime=regime, ia_bits=ia_bits, pa_bits=pa_bits)) is Status.OK
    for pages in (2, 3, 512, 513):
        assert arena.map(0, 0, end - PAGE, pages * PAGE, RW) is Status.RANGE
    assert arena.map(0, 0, end, PAGE, RW) is Status.RANGE
    assert arena.map(0, 0, end - 2 * PAGE, 2 * PAGE, RW) is Status.OK
    arena.close()
