# SPDX-License-Identifier: Apache-2.0
"""Memory that is not whole pages: a bank is the whole pages inside of it, what is reserved is every
page that it touches. A page that is RAM in part is nobody's."""

import pytest

from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.bundle.fdt import Node, Property

from .damage import ranges
from .host_readers import Readers

PAGE = 0x1000
MIB = 1 << 20


def tree(bank: tuple[int, int], reserved: tuple[int, int]) -> bytes:
    """Of one bank of memory, and one reserved range."""
    cells = (Property("#address-cells", fdt.cells(1)), Property("#size-cells", fdt.cells(1)))
    memory = Node("memory", (Property("reg", fdt.cells(*bank)),))
    firmware = Node("fw", (Property("reg", fdt.cells(*reserved)),))
    area = Node("reserved-memory", (*cells, Property("ranges", b"")), (firmware,))
    return fdt.write(Node("", cells, (memory, area)))


@pytest.mark.parametrize("before", [0, 1, 0x800, PAGE - 1])
@pytest.mark.parametrize("after", [0, 1, 0x800, PAGE - 1])
def test_partial_pages(readers: Readers, before: int, after: int) -> None:
    start, end = MIB, MIB + 8 * PAGE
    low, high = start + 2 * PAGE, start + 4 * PAGE
    bank = (start - before, end + after - (start - before))
    answer = readers.board(tree(bank, (low - before, high + after - (low - before))))
    assert ranges(answer["banks"]) == [(start, end - start)]
    low, high = low - PAGE * (before > 0), high + PAGE * (after > 0)
    assert ranges(answer["reserved"]) == [(low, high - low)]
