# SPDX-License-Identifier: Apache-2.0
"""The timeline: no event is lost between its columns, and zooming keeps what it is about."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.ui.model import timeline
from aether_edgecloud.emulator.ui.model.timeline import LABEL, LANES, Here, Span, Timeline
from aether_edgecloud.properties.ui.columns import events

_END = 1000
_happenings = st.lists(
    st.tuples(st.integers(0, _END), st.sampled_from(EventKind), st.integers(0, 3)), max_size=40
)
_spans = st.builds(
    lambda start, size: Span.within(start, size, _END + 1),
    st.integers(0, _END),
    st.integers(1, _END + 1),
)


@given(_happenings, _spans, st.integers(1, 90))
def test_each_event_is_in_the_column_of_its_position(
    happened: list[tuple[int, EventKind, int]], span: Span, width: int
) -> None:
    drawn = Timeline(events(happened))
    for lane, kinds in LANES.items():
        expected = np.zeros(width, int)
        for position, kind, _ in happened:
            if kind in kinds and span.start <= position < span.end:
                columns = [
                    n
                    for n in range(width)
                    if timeline.at(span, width, n) <= position
                    and (n == width - 1 or position < timeline.at(span, width, n + 1))
                ]
                expected[columns[-1]] += 1
        assert drawn.counts(lane, span, width).tolist() == expected.tolist()


def test_every_kind_that_can_be_frequent_is_in_one_lane() -> None:
    lanes = [kind for kinds in LANES.values() for kind in kinds]
    assert len(lanes) == len(set(lanes))
    assert set(EventKind) - set(lanes) == {EventKind.MARK, EventKind.VM_SWITCH}


@given(_spans, st.integers(0, _END), st.booleans())
def test_zoom_stays_in_the_run_and_about_the_moment(span: Span, about: int, deeper: bool) -> None:
    zoomed = span.zoom(about, _END, deeper=deeper)
    assert 0 <= zoomed.start <= about < zoomed.end <= _END + 1
    assume(span.size > timeline.SMALLEST_SPAN)
    assert zoomed.size <= span.size if deeper else zoomed.size >= span.size


@given(_spans, st.integers(0, _END))
def test_zooming_in_ends_at_single_instructions_and_out_at_the_run(span: Span, about: int) -> None:
    inner = outer = span
    for _ in range(10):
        inner = inner.zoom(about, _END, deeper=True)
        outer = outer.zoom(about, _END, deeper=False)
    assert inner.size == timeline.SMALLEST_SPAN
    assert outer == Span(0, _END + 1)


@pytest.mark.parametrize("end", [0, 1, 5])
def test_a_run_shorter_than_the_smallest_span(end: int) -> None:
    span = Span(0, end + 1)
    assert span.zoom(0, end, deeper=True) == span
    lines = timeline.draw(Timeline(events([])), span, Here(end, 0), (80, 3))
    assert len(lines) == 3


@given(_spans, st.integers(0, _END))
def test_show_moves_only_if_it_has_to(span: Span, position: int) -> None:
    shown = span.show(position, _END)
    assert shown.start <= position < shown.end
    assert shown.size == span.size
    if span.start <= position < span.end:
        assert shown == span


@given(st.lists(st.integers(0, 1 << 40), min_size=1))
def test_bars_rise_with_the_numbers_and_show_the_rare(counts: list[int]) -> None:
    drawn = timeline.bars(np.array(counts))
    assert len(drawn) == len(counts)
    by_count = [bar for _, bar in sorted(zip(counts, drawn, strict=True))]
    assert by_count == sorted(by_count)
    assert [bar == " " for bar in drawn] == [count == 0 for count in counts]


def test_the_vm_lane_shows_who_was_entered_last_on_that_cpu() -> None:
    happened = [
        (10, EventKind.VM_SWITCH, 1),
        (20, EventKind.ERET, 1),
        (50, EventKind.EXCEPTION, 2),  # no entry
        (60, EventKind.ERET, 2),
        (80, EventKind.ERET, 0),  # EL2's own
    ]
    drawn = Timeline(events(happened, cpu=1))
    assert drawn.rulers(1, Span(0, 100), 10).tolist() == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2]
    assert drawn.rulers(0, Span(0, 100), 10).tolist() == [0] * 10


@pytest.mark.parametrize(("rows", "lanes"), [(3, ["events", "vm"]), (7, [*LANES, "vm", "marks"])])
def test_lanes_by_the_rows_there_are(rows: int, lanes: list[str]) -> None:
    drawn = Timeline(events([(5, EventKind.MMIO, 1)]))
    lines = timeline.draw(drawn, Span(0, 100), Here(50, 0, [99]), (80, rows))
    assert [line.plain[:LABEL].strip() for line in lines] == [*lanes, ""]
    assert all(line.cell_len == 80 for line in lines)
    assert lines[-1].plain[LABEL:].split() == ["0", "▲", "99"]
    # The moment is reversed in every lane, in the column the pointer is in.
    pointer = lines[-1].plain.index("▲")
    for line in lines[:-1]:
        assert any(span.start == pointer and "reverse" in str(span.style) for span in line.spans)
    if rows == 7:
        assert lines[-2].plain.rstrip().endswith("◆")


def test_more_events_than_before_are_seen() -> None:
    """A live run goes on."""

    class Growing:
        def __init__(self) -> None:
            self.now = events([])

        def __getattr__(self, name: str) -> object:
            return getattr(self.now, name)

    source = Growing()
    drawn = Timeline(source)  # type: ignore[arg-type]
    assert drawn.counts("devices", Span(0, 10), 1).tolist() == [0]
    source.now = events([(3, EventKind.MMIO, 0)])
    assert drawn.counts("devices", Span(0, 10), 1).tolist() == [1]
