# SPDX-License-Identifier: Apache-2.0
"""What is damaged is lost, and not more: of the run what comes behind it, of the rest itself."""

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording import chunks
from aether_edgecloud.emulator.recording.container import (
    CHUNK_HEADER_SIZE,
)
from aether_edgecloud.properties.recording.altered import (
    ELF,
    OF_THE_RUN,
    SOURCES,
    check_beginning,
    content,
    damage,
    parts,
    read,
    whole,
)


@pytest.mark.parametrize("at", [4, CHUNK_HEADER_SIZE + 1])
@pytest.mark.parametrize("kind", OF_THE_RUN)
def test_the_run_ends_where_the_damage_is(kind: bytes, at: int) -> None:
    """In the header of a chunk or in what it holds, the last of its kind or one in the middle."""
    of_kind = [chunk for chunk, _ in parts() if chunk.type == kind]
    for chunk in (of_kind[-1], of_kind[len(of_kind) // 2]):
        found = read(damage(chunk.offset + at))
        check_beginning(found)
        before = [c for c, _ in parts() if c.type == chunks.CHECKPOINT and c.offset < chunk.offset]
        assert len(found.positions) == len(before) > 0
        assert found.end == found.positions[-1] and not found.is_complete
        (note,) = found.notes
        assert f"{kind.decode()} chunk at byte {chunk.offset})" in note
        assert f"with {len(before)} of {len(whole().positions)} checkpoints" in note


@pytest.mark.parametrize("at", [4, CHUNK_HEADER_SIZE + 1])
@pytest.mark.parametrize(
    ("kind", "words"),
    [(chunks.ELF, "the binary's symbols"), (chunks.SOURCES, "the texts of its source files")],
)
def test_without_symbols_or_sources_the_run_is_all_there(kind: bytes, words: str, at: int) -> None:
    (chunk,) = [chunk for chunk, _ in parts() if chunk.type == kind]
    found = read(damage(chunk.offset + at))
    assert found.notes == [f"{words} are damaged, and left out"]
    assert found.end == whole().end and found.is_complete
    assert found.everything | {"el2": None} == whole().everything | {"el2": None}
    el2 = found.everything["el2"]
    elf, sources = (None, SOURCES) if kind == chunks.ELF else (ELF, {})
    assert (el2.elf, el2.sources) == (elf, sources)  # type: ignore[attr-defined]


def test_what_tells_of_the_end_is_lost_alone() -> None:
    (end,) = [chunk for chunk, _ in parts() if chunk.type == chunks.END]
    for place in (end.offset + 4, end.offset + CHUNK_HEADER_SIZE + 1):
        found = read(damage(place))
        check_beginning(found)
        assert (found.positions, found.end) == (whole().positions, whole().positions[-1])
        assert not found.is_complete
        assert found.notes
    for place in (end.end + 4, end.end + CHUNK_HEADER_SIZE + 1, len(content()) - 1):
        found = read(damage(place))
        assert (found.everything, found.end) == (whole().everything, whole().end)
        (note,) = found.notes
        assert "breaks off" in note


@pytest.mark.parametrize("kind", [chunks.IDENTITY, chunks.IMAGE, chunks.BUNDLE])
def test_without_what_ran_there_is_no_run(kind: bytes) -> None:
    (chunk,) = [chunk for chunk, _ in parts() if chunk.type == kind]
    with pytest.raises(UserError, match=rf"damaged \({kind.decode()} chunk at byte"):
        read(damage(chunk.offset + CHUNK_HEADER_SIZE + 1))
