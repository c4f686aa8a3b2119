# SPDX-License-Identifier: Apache-2.0
"""Address spaces and pools: how they begin, and what keeps them apart."""

import itertools

from aether_edgecloud.properties.stage2.test_stage2_operations import (
    GIB,
    MIB2,
    WB_RWX,
    Bench,
    stage2,
)
from aether_edgecloud.stage2.host import ROOT_AREA, SPACES_MAX, Arena
from aether_edgecloud.stage2.protocol import EventKind, Monitor, Rule, Space
from aether_edgecloud.stage2.spec import (
    LEVEL_SHIFT,
    PAGE,
    Config,
    Regime,
    Status,
)


def test_each_space_has_its_own_tables_and_vmid() -> None:
    first, second = stage2(40), Config(Regime.STAGE2, ia_bits=36, pa_bits=48, vmid=9)
    bench = Bench([first, second], 16)
    for number in (0, 1):
        assert bench.map(number, 0, number * GIB, MIB2, WB_RWX) is Status.OK
    assert bench.unmap(0, PAGE, PAGE) is Status.OK
    assert bench.arena.walk(1, PAGE)[0] is Status.OK
    bench.check()
    bench.close()


def test_init_removes_what_an_earlier_owner_of_the_vmid_left_in_tlbs() -> None:
    arena = Arena(4)
    assert arena.init(0, stage2(40)) is Status.OK
    kinds = [event.kind for event in arena.take_events()]
    for earlier, later in itertools.pairwise(
        [
            EventKind.ZERO,
            EventKind.DSB_ISHST,
            EventKind.SET_VTTBR,
            EventKind.TLBI_VMALLS12E1IS,
            EventKind.DSB_ISH,
        ]
    ):
        assert kinds.index(earlier) < kinds.index(later)
    assert arena.vttbr == 0
    arena.close()


def test_monitor_sees_a_root_that_was_not_cleared() -> None:
    """The checks of this file have teeth: a watched root that no event cleared is reported."""
    monitor = Monitor()
    monitor.watch(Space(stage2(40), 0x4000_0000))
    assert {violation.rule for violation in monitor.violations} == {Rule.NOT_CLEARED}


def test_roots_and_pools_that_are_refused() -> None:
    arena = Arena(4)
    assert arena.pool_init(0x4004_0800, 1) is Status.UNALIGNED
    assert arena.pool_init(0x4004_0000, 0) is Status.RANGE
    assert arena.pool_init((1 << 48) - PAGE, 2) is Status.RANGE
    assert arena.init(0, stage2(40), 0x4000_1000) is Status.UNALIGNED
    assert arena.init(0, stage2(40), 1 << 48) is Status.RANGE
    assert arena.pool_init(0x4004_0000, 4) is Status.OK
    for pa_bits, status in ((32, Status.RANGE), (36, Status.OK)):
        beyond = Arena(2, base=(1 << 32) - SPACES_MAX * ROOT_AREA)
        config = Config(Regime.STAGE2, ia_bits=32, pa_bits=pa_bits, vmid=1)
        assert beyond.init(0, config) is status
        beyond.close()
    assert not [event for event in arena.take_events() if event.kind is not EventKind.WRITE]
    arena.close()


def test_level_sizes() -> None:
    assert [1 << shift for shift in LEVEL_SHIFT] == [1 << 39, GIB, MIB2, PAGE]
