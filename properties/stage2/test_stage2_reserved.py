# SPDX-License-Identifier: Apache-2.0
"""Memory by pages, and pages that are reserved: without memory, but not free."""

import pytest

from aether_edgecloud.properties.stage2.test_stage2_operations import (
    GIB,
    MIB2,
    RO,
    WB_RWX,
    Bench,
    levels,
    stage2,
)
from aether_edgecloud.stage2.spec import (
    PAGE,
    Status,
)


def test_pages_only() -> None:
    """Leaves stand at level 3 only, and no operation on what is mapped ever takes a table."""
    bench = Bench([stage2(40, pages_only=True)], 4)
    assert bench.map(0, GIB, GIB, 3 * MIB2, WB_RWX) is Status.OK
    assert levels(bench) == [(3, 3 * 512)]
    assert bench.arena.free_pages == 0
    assert bench.protect(0, GIB + MIB2 - PAGE, 2 * PAGE, RO) is Status.OK
    assert bench.hold(0, GIB + PAGE, MIB2) is Status.OK
    assert bench.unmap(0, GIB + 2 * MIB2, MIB2) is Status.OK
    bench.check()
    bench.close()


def test_a_reserved_page_is_neither_mapped_nor_free() -> None:
    bench = Bench([stage2(40)], 8)
    assert bench.reserve(0, MIB2 - PAGE, 2 * PAGE) is Status.OK
    assert bench.arena.walk(0, MIB2)[0] is Status.ABSENT
    for ia in (MIB2 - PAGE, MIB2):
        assert bench.map(0, ia, 0, PAGE, WB_RWX) is Status.EXISTS
        assert bench.reserve(0, ia, PAGE) is Status.EXISTS
        assert bench.unmap(0, ia, PAGE) is Status.ABSENT
        assert bench.protect(0, ia, PAGE, RO) is Status.ABSENT
        assert bench.hold(0, ia, PAGE) is Status.ABSENT
    for ia, size in ((MIB2 - 2 * PAGE, 2 * PAGE), (MIB2, 2 * PAGE), (0, PAGE)):
        assert bench.fill(0, ia, 0, size, WB_RWX) is Status.ABSENT
    bench.check()
    bench.close()


def test_memory_comes_and_goes_without_a_table_page() -> None:
    bench = Bench([stage2(40)], 3)
    assert bench.reserve(0, MIB2 - PAGE, 2 * PAGE) is Status.OK
    assert bench.arena.free_pages == 0
    for pa in (0, 0x4000_1000):
        assert bench.fill(0, MIB2 - PAGE, pa, 2 * PAGE, WB_RWX) is Status.OK
        assert bench.fill(0, MIB2, pa, PAGE, WB_RWX) is Status.ABSENT
        assert bench.hold(0, MIB2 - PAGE, PAGE) is Status.OK
        assert bench.hold(0, MIB2 - PAGE, 2 * PAGE) is Status.ABSENT
        assert bench.hold(0, MIB2, PAGE) is Status.OK
        bench.check()
    bench.close()


def test_only_pages_can_be_held_not_blocks() -> None:
    bench = Bench([stage2(40)], 4)
    assert bench.map(0, MIB2, MIB2, MIB2 + PAGE, WB_RWX) is Status.OK
    for ia, size in ((MIB2, MIB2), (MIB2, PAGE), (2 * MIB2 - PAGE, 2 * PAGE)):
        assert bench.hold(0, ia, size) is Status.ABSENT
    assert bench.hold(0, 2 * MIB2, PAGE) is Status.OK
    bench.check()
    bench.close()


def test_a_reserved_page_keeps_its_tables() -> None:
    """Unmapping all around it gives no table back; the last one does when it goes, too."""
    bench = Bench([stage2(40)], 4)
    assert bench.map(0, 0, 0, 2 * PAGE, WB_RWX) is Status.OK
    assert bench.hold(0, 0, PAGE) is Status.OK
    assert bench.unmap(0, PAGE, PAGE) is Status.OK
    assert bench.arena.free_pages == 2
    assert bench.fill(0, 0, 0, PAGE, WB_RWX) is Status.OK
    assert bench.unmap(0, 0, PAGE) is Status.OK
    assert bench.arena.free_pages == 4
    bench.close()


@pytest.mark.parametrize(("ia", "size", "need"), [(0, PAGE, 2), (GIB - PAGE, 2 * PAGE, 4)])
def test_exact_need_of_a_reservation(ia: int, size: int, need: int) -> None:
    for pool_pages, status in ((need - 1, Status.NO_MEMORY), (need, Status.OK)):
        bench = Bench([stage2(40)], pool_pages)
        assert bench.reserve(0, ia, size) is status
        bench.check()
        bench.close()
