# SPDX-License-Identifier: Apache-2.0
"""The layout: every cell of the screen belongs to one pane at most, at every size there is."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.ui.model.layout import SMALLEST, Box, Layout, Pane, lay_out

_sizes = st.tuples(st.integers(SMALLEST[0], 220), st.integers(SMALLEST[1], 70))
_recent = st.permutations(list(Pane))


def _cells(box: Box) -> set[tuple[int, int]]:
    return set(itertools.product(range(box.x, box.x + box.width), range(box.y, box.y + box.height)))


def _layout(size: tuple[int, int], recent: list[Pane], zoomed: bool) -> Layout:
    return lay_out(*size, recent, zoomed=zoomed)


@given(_sizes, _recent, st.booleans())
def test_panes_do_not_overlap_and_leave_the_other_lines(
    size: tuple[int, int], recent: list[Pane], zoomed: bool
) -> None:
    layout = _layout(size, recent, zoomed)
    width, height = size
    last = height - 2 - layout.timeline
    taken: set[tuple[int, int]] = set()
    for box in layout.boxes:
        assert box.x >= 0
        assert box.x + box.width <= width
        assert box.y >= 1
        assert box.y + box.height <= last
        cells = _cells(box)
        assert not cells & taken
        taken |= cells
    # Nothing is left over but the columns between panes.
    columns = len({box.x for box in layout.boxes})
    assert len(taken) == (width - columns + 1) * (last - 1)


@given(_sizes, _recent, st.booleans())
def test_the_pane_with_the_keys_is_always_seen(
    size: tuple[int, int], recent: list[Pane], zoomed: bool
) -> None:
    layout = _layout(size, recent, zoomed)
    assert layout.box(recent[0]) is not None
    panes = [box.pane for box in layout.boxes]
    assert len(set(panes)) == len(panes)
    if zoomed:
        assert panes == [recent[0]]
    else:
        assert Pane.CODE in panes


@given(_sizes, _recent)
def test_every_pane_has_room_for_some_lines(size: tuple[int, int], recent: list[Pane]) -> None:
    for box in _layout(size, recent, False).boxes:
        assert box.width >= 28
        assert box.height >= 8


def test_the_smallest_terminal() -> None:
    layout = lay_out(*SMALLEST, list(Pane), zoomed=False)
    assert [box.pane for box in layout.boxes] == [Pane.CODE, Pane.REGISTERS]
    assert layout.timeline == 3


def test_larger_terminals_show_more() -> None:
    counts = [
        len(lay_out(width, height, list(Pane), zoomed=False).boxes)
        for width, height in ((80, 24), (120, 40), (200, 60))
    ]
    assert counts == [2, 4, 5]
