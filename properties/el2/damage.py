# SPDX-License-Identifier: Apache-2.0
"""Damaged input for the readers, and what their answers must look like."""

import struct

from hypothesis import strategies as st

from .host_readers import Answer


def ranges(text: str) -> list[tuple[int, ...]]:
    """What an answer says as `base+size,base+size`, all hexadecimal."""
    return [tuple(int(n, 16) for n in item.split("+")) for item in text.split(",") if item]


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] < b[0] + b[1] and b[0] < a[0] + a[1]


def is_clear_error(answer: Answer) -> bool:
    """Where, what and what to do, in one line."""
    where, what = answer["error"].split(": ", 1)
    what, fix = what.split("; ", 1)
    return bool(where and what and fix) and answer["error"].isprintable()


@st.composite
def damaged(draw: st.DrawFn, blob: bytes) -> bytes:
    """`blob` with some bytes or words changed, cut short, or with a piece moved."""
    data = bytearray(blob)
    edits = draw(
        st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=6)
    )
    for at, value in edits:
        data[at] = value
    words = st.sampled_from((0, 1, 2, 3, 4, 9, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF))
    for at, word in draw(
        st.lists(st.tuples(st.integers(0, len(data) // 4 - 1), words), max_size=3)
    ):
        struct.pack_into(">I", data, 4 * at, word)
    if draw(st.booleans()):
        source, size = draw(st.tuples(st.integers(0, len(data)), st.integers(0, 64)))
        target = draw(st.integers(0, len(data)))
        data[target:target] = data[source : source + size]
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)
