# SPDX-License-Identifier: Apache-2.0
"""What adversaries keep goes into a recording's checkpoints and comes back the same."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.recording import document
from aether_edgecloud.emulator.recording.attached import Decoder, encode
from aether_edgecloud.emulator.recording.document import Malformed, Sections


@dataclass(frozen=True, slots=True)
class _Line:
    """A part of some adversary's state."""

    number: int
    old: bytes
    readers: tuple[int, ...] = ()


_PLAIN = st.none() | st.booleans() | st.integers(0, (1 << 64) - 1) | st.text() | st.binary()
_LINES = st.builds(
    _Line,
    st.integers(0, (1 << 64) - 1),
    st.binary(),
    st.lists(st.integers(0, 99)).map(tuple),
)
_STATES = st.recursive(
    _PLAIN | _LINES | st.frozensets(st.integers()) | st.sets(st.text()),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(
            st.integers() | st.text() | st.tuples(st.integers(), st.integers()), inner
        )
    ),
)


def _through_a_file(value: object) -> Any:
    sections: Sections = {}
    packed = document.pack({"state": encode(value, "s", sections)}, sections)
    values, found = document.unpack(packed)
    return Decoder([_Line]).decode(values["state"], found)


@given(_STATES)
def test_a_state_comes_back_the_same(state: object) -> None:
    again = _through_a_file(state)
    assert again == state
    assert type(again) is type(state)


def test_what_is_no_state_is_not_written() -> None:
    with pytest.raises(TypeError, match="object"):
        encode(object(), "s", {})


@pytest.mark.parametrize(
    "plain",
    [
        ["c", "Path", "/"],
        ["c", "_Line", 1 << 64, ["b", "s0"], ["t"]],
        ["c", "_Line", 1],
        ["c"],
        ["d", 1],
        ["d", ["l"], 1],
        ["x"],
        [],
        {"a": 1},
        ["b", "elsewhere"],
        1.5,
    ],
)
def test_what_no_one_has_written_is_refused(plain: object) -> None:
    _, sections = document.unpack(document.pack({}, {"s0": b""}))
    with pytest.raises(Malformed):
        Decoder([_Line]).decode(plain, sections)
