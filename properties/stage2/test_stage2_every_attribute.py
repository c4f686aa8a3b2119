# SPDX-License-Identifier: Apache-2.0
"""Which permissions each type of memory may have: every combination, by the rules of pgtable.h."""

import itertools

import pytest

from aether_edgecloud.stage2.host import Arena
from aether_edgecloud.stage2.spec import PAGE, Attr, Config, Memory, Perm, Regime, Status

DEVICES = (Memory.DEVICE_nGnRnE, Memory.DEVICE_nGnRE)


def allowed(attr: Attr, regime: Regime, xnx: bool) -> bool:
    perm = attr.perm
    executable = perm.exec or perm.exec_el0
    if (perm.write or executable) and not perm.read:
        return False
    if executable and attr.type in DEVICES:
        return False
    if regime is Regime.EL2:
        return perm.read and not perm.exec_el0 and not (perm.write and perm.exec)
    return xnx or perm.exec == perm.exec_el0


@pytest.mark.parametrize("xnx", [False, True])
@pytest.mark.parametrize("regime", Regime)
def test_every_combination(regime: Regime, xnx: bool) -> None:
    arena = Arena(8)
    config = Config(regime=regime, ia_bits=40, pa_bits=40, xnx=xnx and regime is Regime.STAGE2)
    assert arena.init(0, config) is Status.OK
    for bits in itertools.product((True, False), repeat=4):
        for memory in Memory:
            attr = Attr(Perm(*bits), memory)
            got = arena.map(0, 0, 0, PAGE, attr)
            assert got is (Status.OK if allowed(attr, regime, xnx) else Status.BAD_ATTR), attr
            if got is Status.OK:
                assert arena.unmap(0, 0, PAGE) is Status.OK
    arena.close()
