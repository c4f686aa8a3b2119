# SPDX-License-Identifier: Apache-2.0
"""Back and forward, as in a browser; and bookmarks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.ui.model.history import Bookmarks, History
from aether_edgecloud.emulator.ui.model.row import Place


@given(st.lists(st.integers(0, 50), max_size=30))
def test_back_undoes_jumps_and_forward_does_them_again(jumps: list[int]) -> None:
    history = History.at(Place(0))
    visited = [Place(0)]
    for position in jumps:
        history.jump(Place(position))
        if visited[-1] != Place(position):
            visited.append(Place(position))
    for expected in reversed(visited[:-1]):
        assert history.peek(-1) == expected
        history.move(-1)
    assert history.peek(-1) is None
    for expected in visited[1:]:
        assert history.peek(1) == expected
        history.move(1)
    assert history.peek(1) is None


def test_a_jump_from_the_middle_forgets_what_lay_ahead() -> None:
    history = History.at(Place(0))
    history.jump(Place(10))
    history.jump(Place(20))
    history.move(-1)
    history.jump(Place(30))
    assert history.peek(1) is None
    assert history.peek(-1) == Place(10)


def test_steps_move_the_place_itself() -> None:
    history = History.at(Place(0))
    history.jump(Place(10))
    history.drift(Place(11))
    history.drift(Place(12))
    history.jump(Place(90))
    assert history.peek(-1) == Place(12)
    history.move(-1)
    assert history.peek(-1) == Place(0)


def test_another_attempt_at_a_position_is_another_place() -> None:
    history = History.at(Place(5))
    history.jump(Place(5, 1))
    assert history.peek(-1) == Place(5)


def test_a_long_history_keeps_the_newest() -> None:
    history = History.at(Place(0))
    for position in range(1, 3000):
        history.jump(Place(position))
    assert history.places[history.index] == Place(2999)
    assert len(history.places) == 1000


def test_bookmarks_are_set_renamed_and_cleared_by_moment() -> None:
    bookmarks = Bookmarks()
    bookmarks.set(Moment(7, 1), "handler")
    bookmarks.set(Moment(7), "seven")
    bookmarks.set(Moment(3), "three")
    assert [mark.name for mark in bookmarks.all()] == ["three", "seven", "handler"]
    assert bookmarks.named("handler") == bookmarks.all()[2].moment == Moment(7, 1)
    bookmarks.set(Moment(7), "heaven")
    assert bookmarks.named("seven") is None
    assert bookmarks.at(Moment(7)) == "heaven"
    bookmarks.clear(Moment(7))
    assert bookmarks.at(Moment(7)) is None
    assert bookmarks.at(Moment(7, 1)) == "handler"


@pytest.mark.parametrize("name", ["", " x", "x\n", "a\x1b[2J", "\ud800", "x" * 81])
def test_what_is_no_name_of_a_bookmark(name: str) -> None:
    bookmarks = Bookmarks()
    with pytest.raises(UserError, match="1 to 80 printable"):
        bookmarks.set(Moment(7), name)
    assert bookmarks.all() == ()
    bookmarks.set(Moment(7), "x" * 80)
