# SPDX-License-Identifier: Apache-2.0
"""A file that is no trace, or no longer one, is told in a line; a lost tail is only that."""

import errno
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.trace import Selection, Trace, TraceRecorder, text
from aether_edgecloud.emulator.trace.chunk import Chunk
from aether_edgecloud.emulator.trace.file import MAGIC, TraceFile, TraceWriter, unpack
from aether_edgecloud.properties.machine.bare import assemble

COUNTING = """
    movz x0, #0x4100, lsl #16
    mov x1, #3000
again: str x1, [x0], #8
    subs x1, x1, #1
    b.ne again
    movz x0, #0x8400, lsl #16
    movk x0, #8
    smc #0
    b .
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A trace of a few chunks."""
    file = tmp_path_factory.mktemp("trace") / "whole.trace"
    machine = Machine(virt(64 << 20), BootImage(assemble(COUNTING), 1 << 16))
    writer = TraceWriter(file, {"target": "counting", "vms": []})
    recorder = TraceRecorder(machine, writer.add, chunk=2_000)
    machine.run()
    recorder.close()
    writer.close()
    machine.close()
    with Trace.open(file) as trace:
        assert trace.chunk_count >= 4
    return file.read_bytes()


def instructions(data: bytes, folder: Path) -> tuple[int, str | None]:
    """How many can be read, and what is said to be lost."""
    file = folder / "some.trace"
    file.write_bytes(data)
    with Trace.open(file) as trace:
        count = sum(chunk.count for chunk in trace if len(chunk.writes.value))
        assert count == len(trace)
        return count, trace.lost


def test_a_lost_tail_is_only_that(whole: bytes, tmp_path: Path) -> None:
    total, lost = instructions(whole, tmp_path)
    assert lost is None
    last = total
    for size in range(len(whole) - 1, 200, -211):
        count, lost = instructions(whole[:size], tmp_path)
        assert lost is not None and "breaks off" in lost
        assert count <= last
        assert total - count <= 2_100 + total * (len(whole) - size) // len(whole) * 2
        last = count
    assert last == 0


def test_garbage_behind_what_is_whole_does_no_harm(whole: bytes, tmp_path: Path) -> None:
    total, _ = instructions(whole, tmp_path)
    cut = whole[: -len(whole) // 50]
    count, _ = instructions(cut, tmp_path)
    again, lost = instructions(cut + bytes(range(256)) * 9, tmp_path)
    assert again == count < total
    assert lost is not None


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_damaged_tail_is_lost_alone(chunks: int, whole: bytes, tmp_path: Path) -> None:
    """Though the end behind it is whole."""
    file = tmp_path / "some.trace"
    file.write_bytes(whole)
    with Trace.open(file) as trace:
        counts = [chunk.count for chunk in trace]
    places = TraceFile(file).chunks[-chunks:]
    damaged = bytearray(whole)
    for place in places:
        damaged[place.offset + place.size // 2] ^= 1
    count, lost = instructions(bytes(damaged), tmp_path)
    assert count == sum(counts[:-chunks])
    rest = len(whole) - (places[0].offset - 28)
    assert lost == f"the trace breaks off: {rest} bytes at its end are no use"
    assert main(["trace", str(file)]) == 0


def test_damage_in_the_middle_is_told_where_it_is_read(whole: bytes, tmp_path: Path) -> None:
    file = tmp_path / "some.trace"
    file.write_bytes(whole)
    place = TraceFile(file).chunks[1]
    damaged = bytearray(whole)
    damaged[place.offset] ^= 1
    file.write_bytes(damaged)
    with Trace.open(file) as trace:
        assert trace.lost is None
        assert trace.chunk(0).count and trace.chunk(2).count
        with pytest.raises(UserError, match=f"damaged .the chunk at byte {place.offset}"):
            trace.chunk(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "the file is empty"),
        (lambda data: b"\x7fELF" + data, "not a trace"),
        (lambda data: b"#!/bin/sh\n", "not a trace"),
        (lambda data: data[:5], "only the beginning of a trace"),
        (lambda data: data[:14], "only the beginning of a trace"),
        (lambda data: data[:30], "its header"),
        (lambda data: MAGIC + (2).to_bytes(4, "little") + data[12:], "format 2"),
        (lambda data: data[:20] + b"?" + data[21:], "its header"),
    ],
)
def test_what_is_no_trace_is_told(
    change: Callable[[bytes], bytes], words: str, whole: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "bad.trace"
    file.write_bytes(change(whole))
    with pytest.raises(UserError, match=words):
        Trace.open(file)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "none", tmp_path / "pipe"):
        with pytest.raises(UserError, match="cannot be read"):
            Trace.open(place)
    with pytest.raises(UserError, match="cannot be written"):
        TraceWriter(tmp_path / "none" / "file", {})


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_trace(place: str) -> None:
    with pytest.raises(UserError, match=r"cannot be read .it is no file"):
        Trace.open(Path(place))


class _Failing(io.BytesIO):
    """A disk that reads so often, and then no more."""

    def __init__(self, path: Path, data: bytes, left: int) -> None:
        super().__init__(data)
        self._descriptor = os.open(path, os.O_RDONLY)
        self.left = left

    def fileno(self) -> int:
        return self._descriptor

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def test_a_disk_that_fails_is_told_wherever_it_is_read(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "good.trace"
    file.write_bytes(whole)
    disks: list[_Failing] = []

    def fail_after(count: int) -> None:
        def open_it(path: Path, mode: str) -> _Failing:
            disks.append(_Failing(path, whole, count))
            return disks[-1]

        monkeypatch.setattr(Path, "open", open_it)

    fail_after(99)
    with Trace.open(file):
        reads = 99 - disks[0].left
    assert reads > 6
    for count in range(reads):
        fail_after(count)
        with pytest.raises(UserError, match=r"cannot be read .Input/output error"):
            Trace.open(file)
        assert disks[-1].closed
    fail_after(reads)
    with Trace.open(file) as trace, pytest.raises(UserError, match=r"cannot be read .Input"):
        trace.chunk(0)


@given(data=st.data())
def test_a_changed_byte_is_noticed(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """What can be read is what was written."""
    folder = tmp_path_factory.getbasetemp()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(1, 255))
    changed = bytearray(whole)
    changed[place] ^= other
    total, _ = instructions(whole, folder)
    try:
        count, lost = instructions(bytes(changed), folder)
    except UserError as error:
        assert "damaged" in str(error) or "no" in str(error) or "format" in str(error)
    else:
        assert lost is not None
        assert count <= total


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trace", "{bad}"], "not a trace"),
        (["trace", "{good}", "5"], "no stretch of a run"),
        (["trace", "{good}", "9:5"], "no instructions"),
        (["trace", "{good}", "a:b"], "no number"),
        (["trace", "{good}", "--vm", "x"], "no VM"),
        (["trace", "{good}", "-o", "x", "--as", "trace"], "a trace already"),
        (["trace", "{good}", "9_000_000:", "--as", "text"], "it has positions 0 to "),
        (["trace", "{good}", "9_000_000:", "--as", "exec", "-o", "{new}"], "no instruction of the"),
        (["trace", "{good}", "1:2"], "is of a whole trace"),
        (["trace", "{good}", "--el", "2"], "is of a whole trace"),
        (["trace", "{good}", "--as", "perfetto", "--vm", "1", "-o", "{new}"], "of a whole trace"),
        (["trace", "{good}", "--as", "exec", "-o", "{good}"], "would overwrite what it is made"),
        (["trace", "{cut}"], "nothing of it can be read"),
        (["trace", "{cut}", "--as", "perfetto", "-o", "{new}"], "nothing of it can be read"),
        (["trace", "{new}"], "cannot be read (No such file or directory)"),
        (["trace", "none.trace"], "none.trace: cannot be read (No such file or directory)"),
        (["trace", "none.aet"], "none.aet: cannot be read"),
        (["trace", "{good}", "-o", "{new}"], "a summary is printed"),
        (["trace", "hello", "--as", "summary", "-o", "{new}"], "a summary is printed"),
        (["trace", "{empty}"], "the file is empty"),
        (["trace", "{random}"], "not a trace"),
        (["trace", "{folder}"], "cannot be read (Is a directory)"),
        (["trace", "hello"], "needs a file"),
        (["trace", "hello", "9_000_000_000:", "-o", "{new}"], "no instruction of the run"),
        (["run", "hello", "--trace", "1:2"], "needs a file"),
        (["run", "hello", "-o", "{new}"], "is for --trace"),
        (["run", "hello", "--trace", "1:2", "-o", "{new}", "--mmu", "native"], "MMU model"),
        (["run", "hello", "--trace", "1:2", "-o", "{new}", "--on", "qemu"], "QEMU"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    words: str,
    whole: bytes,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    good, bad, new = (tmp_path / name for name in ("good", "bad", "new"))
    good.write_bytes(whole)
    bad.write_bytes(MAGIC[:4] + whole[4:8] + b"\0" * 3)
    bad.write_bytes(b"\x89AETTRX\n" + whole[8:])
    cut, empty, random = (tmp_path / name for name in ("cut", "empty", "random"))
    cut.write_bytes(whole[:200])
    empty.touch()
    random.write_bytes(bytes(range(7, 256)))
    places = {"good": good, "bad": bad, "new": new, "cut": cut, "empty": empty, "random": random}
    places["folder"] = tmp_path
    assert main([word.format(**places) for word in arguments]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert said[-1].startswith("aether: ")
    assert not new.exists()
    assert good.read_bytes() == whole
    if arguments[1] != "{bad}":
        assert words in said[-1]


def test_a_run_of_which_nothing_is_traced_leaves_no_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run is told as ever; where the trace would have gone to is no file, it stays."""
    new, nowhere, old, link = (tmp_path / name for name in ("new", "nowhere", "old", "link"))
    nowhere.symlink_to("/dev/null")
    old.write_bytes(b"old")
    link.symlink_to(old)
    for file in (new, nowhere, old, link, Path("/dev/null")):
        assert main(["run", "hello", "--trace", "9_000_000_000:", "-o", str(file)]) == 2
        out, err = capfd.readouterr()
        assert out.endswith("[aether] end: guest-off\r\n")
        assert "guest-off" in err
        lines = [line for line in err.splitlines() if line.startswith("aether: ")]
        assert lines == [line for line in lines if "there is no trace; the run got to 9" in line]
        assert len(lines) == 1
        assert main(["trace", "hello", "9_000_000_000:", "-o", str(file)]) == 2
        assert "there is no trace" in capfd.readouterr().err
    assert link.readlink() == old
    assert old.read_bytes() == b"old"
    assert nowhere.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "nowhere", "old"]


def test_an_earlier_trace_is_replaced_through_a_link(tmp_path: Path) -> None:
    old, link = tmp_path / "old", tmp_path / "link"
    old.write_bytes(b"old")
    link.symlink_to(old)
    assert main(["run", "hello", "--trace", "500:900", "-o", str(link)]) == 0
    assert link.readlink() == old
    with Trace.open(old) as trace:
        assert len(trace) == 400
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "old"]


def test_a_run_that_fails_keeps_its_status(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whether anything of it was traced or not."""
    new = str(tmp_path / "new")
    for stretch in ("9_000_000_000:", "500:900"):
        limit = ["--max-instructions", "9000"]
        assert main(["run", "hello", "--trace", stretch, "-o", new, *limit]) == 1
    assert "there is no trace" in capfd.readouterr().err


def test_an_export_that_fails_leaves_what_was_there(
    whole: bytes,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lines(chunk: Chunk, wanted: Selection) -> Iterator[str]:
        yield "one"
        raise UserError("no more")

    monkeypatch.setattr(text, "lines", lines)
    good, old = tmp_path / "good.trace", tmp_path / "old"
    good.write_bytes(whole)
    old.write_text("old")
    assert main(["trace", str(good), "--as", "text", "-o", str(old)]) == 2
    assert capfd.readouterr().err == "aether: no more\n"
    assert old.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["good.trace", "old"]


@pytest.mark.parametrize("header", [b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_a_header_of_something_else_is_told(header: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bad.trace"
    head = MAGIC + struct.pack("<II", 1, len(header)) + header
    file.write_bytes(head + struct.pack("<I", zlib.crc32(head)))
    with pytest.raises(UserError, match="its header"):
        Trace.open(file)


def test_a_frame_that_says_it_is_large_is_not_believed(tmp_path: Path) -> None:
    """Neither where the rows are few nor where they are as many."""
    frame = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    large = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + bytes(8)
    for data, rows in ((frame, 1), (large, 1 << 37)):
        heads = struct.pack("<QQ", len(data), rows) + bytes(16 * 10)
        with pytest.raises(ValueError, match="registers has another size"):
            unpack(bytes(6 * 8) + heads + data)


def test_positions_are_those_of_the_machine(whole: bytes, tmp_path: Path) -> None:
    file = tmp_path / "whole.trace"
    file.write_bytes(whole)
    with Trace.open(file) as trace:
        positions = np.concatenate([chunk.position for chunk in trace])
        assert np.array_equal(positions, np.arange(len(positions)).astype(np.uint64))
        before, after = trace.registers(3_002), trace.registers(3_005)
        assert (before["x1"] - after["x1"], after["x0"] - before["x0"]) == (1, 8)
        with pytest.raises(UserError, match="no instruction at position"):
            trace.registers(len(trace))
