# SPDX-License-Identifier: Apache-2.0
"""Files that are not what was written: cut, altered, foreign, newer, of another emulator. Each is
one line for the user, or the part of the run that is still there; never anything else."""

import dataclasses
import functools
import json
import os
import resource
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aether_edgecloud.emulator.cpu import engine_state
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording import chunks, container, identity
from aether_edgecloud.emulator.recording.container import ChunkReader, ChunkWriter
from aether_edgecloud.emulator.recording.events import COLUMNS, EVENT, EventKind
from aether_edgecloud.emulator.recording.recorder import Recorder
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.properties.machine.snapshot_worlds import WORLDS
from aether_edgecloud.properties.recording.recorded import LIMIT, SMALL, recorded, spacing_of


def everything(recording: Recording) -> dict[str, object]:
    """All that a file gives, by name; of what grows with the run, a list."""
    checkpoints = recording.checkpoints
    events = recording.events
    return {
        "identity": recording.identity,
        "bundle": recording.bundle(),
        "el2": recording.el2(),
        "positions": list(checkpoints.positions),
        "snapshots": [
            (s.cores, s.schedule, s.devices, s.console, s.ram)
            for s in (checkpoints.load(n) for n in range(len(checkpoints.positions)))
        ],
        "events": [
            row
            for row in zip(*(getattr(events, name).tolist() for name in COLUMNS), strict=True)
            if row[1] != EventKind.MARK or events.marks[row[4]] != "end"
        ],
        "console": list(recording.console),
        "marks": [mark for mark in recording.marks if mark.text != "end"],
        "given": recording.log.given,
    }


@functools.cache
def expected_of(content: bytes) -> dict[str, object]:
    """Everything in a file that is whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "whole.aet")
        path.write_bytes(content)
        recording = Recording.open(path)
        found = everything(recording)
        recording.close()
    return found


def check(content: bytes, written: bytes | None = None) -> str:
    """Opens a file and reads all of it: it is what was written, or its beginning and says so, or
    an error of the user's. Which of them."""
    expected = expected_of(recorded(SMALL).content if written is None else written)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged.aet")
        path.write_bytes(content)
        try:
            recording = Recording.open(path)
        except UserError as e:
            assert str(e).startswith(str(path))
            return "refused"
        try:
            found = everything(recording)
        except UserError as e:
            assert str(e).startswith(str(path))
            return "damaged"
        finally:
            recording.close()
        end, notes = recording.end, recording.notes
    for name, value in found.items():
        whole = expected[name]
        if isinstance(value, list) and notes:
            assert isinstance(whole, list)
            assert value == whole[: len(value)], name
        else:
            assert value == whole, name
    if not notes:
        assert end == recorded(SMALL).stop.instructions
        return "whole"
    positions = found["positions"]
    assert isinstance(positions, list)
    assert end in (positions[-1], recorded(SMALL).stop.instructions)
    return "beginning"


_LENGTH = len(recorded(SMALL).content)


@given(st.integers(0, _LENGTH - 1))
@example(0)
@example(7)
@example(container.HEADER_SIZE)
@example(_LENGTH - 1)
def test_a_file_that_was_cut_off(length: int) -> None:
    assert check(recorded(SMALL).content[:length]) in ("refused", "beginning")


@given(st.lists(st.tuples(st.integers(0, _LENGTH - 1), st.integers(1, 255)), min_size=1))
@example([(0, 1)])
@example([(container.HEADER_SIZE, 255)])
@example([(_LENGTH - 1, 1)])
def test_bytes_that_were_changed(changes: list[tuple[int, int]]) -> None:
    content = bytearray(recorded(SMALL).content)
    for place, bits in changes:
        content[place] ^= bits
    if bytes(content) != recorded(SMALL).content:
        assert check(bytes(content)) != "whole"


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_at_all(content: bytes, is_ours: bool) -> None:
    head = recorded(SMALL).content[: container.HEADER_SIZE] if is_ours else b""
    assert check(head + content) == "refused"


@given(st.integers(0, _LENGTH), st.binary(min_size=1, max_size=100))
def test_bytes_that_were_put_in(place: int, added: bytes) -> None:
    content = recorded(SMALL).content
    assert check(content[:place] + added + content[place:]) != "whole"


def test_the_whole_file_is_whole() -> None:
    assert check(recorded(SMALL).content) == "whole"


def test_the_end_alone_is_lost() -> None:
    """Without the index nothing of the run is lost."""
    assert check(recorded(SMALL).content[:-1]) == "beginning"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cut.aet")
        path.write_bytes(recorded(SMALL).content[:-1])
        recording = Recording.open(path)
        assert recording.stop is recorded(SMALL).stop.kind
        assert recording.end == recorded(SMALL).stop.instructions
        (note,) = recording.notes
        assert "breaks off" in note
        recording.close()


# Every mistake has its words.


def _refusal(content: bytes, folder: Path) -> str:
    path = folder / "bad.aet"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Recording.open(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    return line


def _with_version(major: int, minor: int) -> bytes:
    head = struct.pack("<8sHH16x", container.MAGIC, major, minor)
    content = recorded(SMALL).content
    return head + struct.pack("<I", zlib.crc32(head)) + content[container.HEADER_SIZE :]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\x7fELF" + bytes(100), "not a recording"),
        (b"hello", "not a recording"),
        (container.MAGIC, "only the beginning of a recording"),
        (_with_version(3, 0), "made by a newer version of aether, in format 3.0; this one reads 2"),
        (_with_version(2, 1), "made by a newer version of aether, in format 2.1; this one reads 2"),
        (container.MAGIC + b"\3" + bytes(99), "made by a newer version of aether, in format 3.0"),
        (_with_version(1, 0), "recorded in the old format 1.0; record it again"),
        (container.MAGIC + b"\2" + bytes(99), "the recording is damaged (its header)"),
        (recorded(SMALL).content[: container.HEADER_SIZE], "breaks off before the run begins"),
        (recorded(SMALL).content[:3000], "breaks off before"),
    ],
)
def test_bad_files_in_words(content: bytes, words: str, tmp_path: Path) -> None:
    assert words in _refusal(content, tmp_path)


def test_no_file_at_all(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "nothing", tmp_path, tmp_path / "pipe"):
        with pytest.raises(UserError, match="cannot be read"):
            Recording.open(path)


def _rewritten(change: Callable[[bytes, bytes], bytes], folder: Path) -> bytes:
    """The file, each chunk's payload changed by type; all checksums are right again."""
    source = folder / "source.aet"
    source.write_bytes(recorded(SMALL).content)
    reader = ChunkReader(source)
    target = folder / "target.aet"
    with target.open("wb") as file:
        writer = ChunkWriter(file, "target")
        for chunk in reader.chunks:
            writer.add(chunk.type, chunk.number, change(chunk.type, reader.read(chunk)))
        writer.close()
    reader.close()
    return target.read_bytes()


def test_a_file_that_is_put_together_again_is_the_same(tmp_path: Path) -> None:
    assert _rewritten(lambda _, payload: payload, tmp_path) == recorded(SMALL).content


@pytest.mark.parametrize(
    ("kind", "words"), [(chunks.IMAGE, "its binary is not"), (chunks.BUNDLE, "its bundle is not")]
)
def test_another_binary_or_bundle(kind: bytes, words: str, tmp_path: Path) -> None:
    def change(found: bytes, payload: bytes) -> bytes:
        if found != kind:
            return payload
        return chunks.compress(chunks.decompress(payload) + b"another", 1)

    path = tmp_path / "other.aet"
    path.write_bytes(_rewritten(change, tmp_path))
    recording = Recording.open(path)
    for ask in (recording.machine, recording.bundle, lambda: recording.checkpoints.load(0)):
        with pytest.raises(UserError, match=words):
            ask()
    recording.close()


@pytest.mark.parametrize("kind", [chunks.CHECKPOINT, chunks.TABLE, chunks.INTERVAL, chunks.PAGES])
def test_chunks_that_make_no_sense(kind: bytes, tmp_path: Path) -> None:
    """Whole by their checksums, and yet not what they should be."""
    contents = [b"", b"nonsense", chunks.compress(b"nonsense", 1)]
    contents.append(chunks.pack_document({}, {}, 1))
    for bad in contents:
        content = _rewritten(lambda t, payload: bad if t == kind else payload, tmp_path)  # noqa: B023
        path = tmp_path / "bad.aet"
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            everything(Recording.open(path))


def test_another_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = identity.our_versions()
    path = recorded(SMALL).write(tmp_path)

    def become(**changes: str) -> None:
        other = dataclasses.replace(ours, **changes)
        monkeypatch.setattr(identity, "our_versions", lambda: other)

    become(unicorn="9.9.9")
    for any_emulator in (False, True):
        with pytest.raises(UserError, match=r"recorded with Unicorn .*; this is 9\.9\.9"):
            Recording.open(path, any_emulator=any_emulator)
    become(layout="other")
    with pytest.raises(UserError, match="recorded with another build of Unicorn"):
        Recording.open(path, any_emulator=True)
    become(layout="other", emulator="other")
    with pytest.raises(UserError, match="recorded with another emulator"):
        Recording.open(path, any_emulator=True)
    become(emulator="other")
    with pytest.raises(UserError, match="recorded with another emulator"):
        Recording.open(path)
    recording = Recording.open(path, any_emulator=True)
    (note,) = recording.notes
    assert "may differ" in note
    recording.close()


@pytest.mark.parametrize("name", ["state_size", "monitor_offset", "clock_offset"])
def test_another_build_of_unicorn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same version, with another layout of a CPU's state."""
    path = recorded(SMALL).write(tmp_path)
    ours = getattr(engine_state, name)
    monkeypatch.setattr(engine_state, name, lambda *model: ours(*model) + 8)
    monkeypatch.setattr(engine_state, "layout", engine_state.layout.__wrapped__)
    monkeypatch.setattr(identity, "layout", engine_state.layout)
    monkeypatch.setattr(identity, "our_versions", identity.our_versions.__wrapped__)
    with pytest.raises(UserError, match="recorded with another build of Unicorn"):
        Recording.open(path, any_emulator=True)


def test_versions_are_those_of_the_sources() -> None:
    versions = identity.our_versions()
    assert len(versions.emulator) == len(versions.layout) == 64
    assert versions.unicorn.count(".") == 2


# Writing.


def test_what_is_written_can_be_read_at_any_time(tmp_path: Path) -> None:
    """As after a kill: the file as it is on the way."""
    machine = WORLDS[SMALL].make()
    path = tmp_path / "run.aet"
    found = []
    with Recorder(machine, path, target=SMALL, vms=("vm0", "vm1"), spacing=spacing_of(SMALL)) as r:
        for until in range(500, 2500, 500):
            r.run(until)
            found.append(path.read_bytes())
        r.finish(r.run(LIMIT))
    machine.close()
    whole = path.read_bytes()
    assert check(whole, whole) == "whole"
    for content in found:
        assert whole.startswith(content)
        assert check(content, whole) in ("refused", "beginning")


def test_a_run_that_was_left_in_the_middle(tmp_path: Path) -> None:
    machine = WORLDS[SMALL].make()
    path = tmp_path / "run.aet"
    with pytest.raises(KeyboardInterrupt), Recorder(machine, path, spacing=spacing_of(SMALL)) as r:
        r.run(1_000)
        raise KeyboardInterrupt
    left_at = machine.instructions
    machine.close()
    recording = Recording.open(path)
    assert (recording.end, recording.stop.name if recording.stop else "") == (left_at, "BREAK")
    assert not recording.notes
    recording.close()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    machine = WORLDS[SMALL].make()
    for path in (tmp_path, tmp_path / "none" / "run.aet"):
        with pytest.raises(UserError, match="cannot be written"):
            Recorder(machine, path)
    machine.close()


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    machine = WORLDS[SMALL].make()
    threads = threading.active_count()
    with (
        pytest.raises(UserError, match=r"cannot be written .*No space left"),
        Recorder(machine, Path("/dev/full"), spacing=spacing_of(SMALL)) as recorder,
    ):
        recorder.finish(recorder.run(LIMIT))
    assert threading.active_count() == threads
    assert machine.cpu.state.events is None
    machine.close()


def test_a_disk_that_becomes_full(tmp_path: Path) -> None:
    """The bytes that found no room are still buffered, and fail again when the file is closed."""
    machine = WORLDS[SMALL].make()
    threads = threading.active_count()
    path = tmp_path / "run.aet"
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (container.HEADER_SIZE + 64, usual[1]))
    try:
        with (
            pytest.raises(UserError, match=r"cannot be written .*File too large") as told,
            Recorder(machine, path, spacing=spacing_of(SMALL)) as recorder,
        ):
            recorder.finish(recorder.run(LIMIT))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert told.value.where == str(path)
    assert threading.active_count() == threads
    machine.close()


def test_the_index_is_what_a_scan_finds(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.write_bytes(recorded(SMALL).content)
    cut.write_bytes(recorded(SMALL).content[:-1])
    readers = ChunkReader(whole), ChunkReader(cut)
    assert readers[0].chunks == readers[1].chunks
    assert readers[0].lost is None and readers[1].lost is not None
    for reader in readers:
        reader.close()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**64 - 1), st.integers(0, 12), st.integers(0, 7), st.integers(0, 255)
        ),
        max_size=30,
    )
)
def test_events_come_back_as_they_were(rows: list[tuple[int, int, int, int]]) -> None:
    events = np.zeros(len(rows), EVENT)
    for number, (position, kind, cpu, vm) in enumerate(sorted(rows)):
        events[number] = (position, position ^ 5, vm << 56, 2**64 - 1, kind, cpu, vm, 0)
    packed = chunks.pack_events(events)
    assert (chunks.unpack_events(len(rows), packed) == events).all()
    assert json.dumps({name: len(data) for name, data in packed.items()})
