# SPDX-License-Identifier: Apache-2.0
"""Whatever the chunks of a file say, if their checksums are right: a recording, or one line."""

import json
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording import chunks, container, document
from aether_edgecloud.emulator.recording.container import (
    INDEX,
    ChunkReader,
    ChunkWriter,
)
from aether_edgecloud.emulator.recording.contents import unpack_interval, unpack_table
from aether_edgecloud.emulator.recording.events import EVENT
from aether_edgecloud.emulator.recording.identity import Identity
from aether_edgecloud.emulator.recording.pages import PageReader
from aether_edgecloud.properties.recording.altered import (
    OF_THE_RUN,
    content,
    parts,
    read,
    whole,
)

Part = tuple[bytes, int, bytes]


def written(found: list[Part], index: bytes | None = None) -> bytes:
    """A file of such chunks: type, number, payload. `index` in place of the right one."""
    with tempfile.TemporaryFile() as file:
        writer = ChunkWriter(file, "a file")
        for part in found:
            writer.add(*part)
        if index is None:
            writer.close()
        else:
            start = writer.size
            writer.add(INDEX, 0, index)
            file.write(container._END.pack(start, container._END_MAGIC))
        file.seek(0)
        return file.read()


def original() -> list[Part]:
    """The chunks as they were written."""
    return [(chunk.type, chunk.number, payload) for chunk, payload in parts()]


def refused(data: bytes, words: str = "damaged") -> None:
    with pytest.raises(UserError, match=words):
        read(data)


def test_what_is_written_again_is_the_same() -> None:
    assert written(original()) == content()


@pytest.mark.parametrize(
    "rows",
    [
        b"",
        b"nonsense",
        b"[" * 100_000,
        b"{}",
        b"7",
        b"[7]",
        b"[[]]",
        b'[["INTV"]]',
        b'[["INTV",0,32,-24]]',
        b'[["INTV",0,1e999,24]]',
        b'[["INTV",0,32,99999999999999999999999999]]',
        b'[["INTV",0,-5,24]]',
        b"[[null,0,32,24]]",
        b" " * (1 << 26) + b"[]",
    ],
)
def test_an_index_that_cannot_be_is_none(rows: bytes) -> None:
    for index in (zlib.compress(rows), rows[:100]):
        found = read(written(original(), index))
        assert found.everything == whole().everything
        assert "breaks off" in found.notes[0]


@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"nonsense",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"end":7}',
        b'{"end":7,"stop":"LIMIT"}',
        b'{"end":-1,"stop":"LIMIT"}',
        b'{"end":1e30,"stop":"LIMIT"}',
        b'{"end":1000000000000000000,"stop":"LIMIT"}',
        b'{"end":"7","stop":"LIMIT"}',
        b'{"end":null,"stop":"LIMIT"}',
        b'{"end":7,"stop":"NONSENSE"}',
        b'{"end":7,"stop":[]}',
    ],
)
def test_an_end_that_cannot_be_is_told(end: bytes) -> None:
    refused(written([*original()[:-1], (chunks.END, 0, end)]))


def test_a_table_of_an_older_format_is_told() -> None:
    """Such files had no pages that were touched."""

    def without(payload: bytes) -> bytes:
        values, sections = chunks.unpack_document(payload)
        return chunks.pack_document(values, {n: sections[n] for n in ("pages", "contents")}, 1)

    older = [(k, n, without(p) if k == chunks.TABLE else p) for k, n, p in original()]
    refused(written(older), "damaged .*it has no 'touched'")


def test_frames_that_say_they_are_large_are_not_believed() -> None:
    large = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + bytes(8)
    for kind in OF_THE_RUN:
        refused(written([(k, n, large if k == kind else p) for k, n, p in original()]))


ABSURD: list[object] = [
    *(None, True, -1, 1.5, 7, 2**32, 2**63, 2**64, 2**70, 1e300),
    *("", "x", [], [[]], {}, [1, 2]),
]


def alterations(value: object) -> Iterator[object]:
    """JSON with one thing in it, anywhere, that is another, or gone."""
    yield from ABSURD
    if isinstance(value, dict):
        for key, part in value.items():
            yield {k: v for k, v in value.items() if k != key}
            yield from (value | {key: other} for other in alterations(part))
    if isinstance(value, list):
        for at, part in enumerate(value[:3]):
            yield value[:at] + value[at + 1 :]
            yield from ([*value[:at], other, *value[at + 1 :]] for other in alterations(part))


def payload_of(kind: bytes, at: int = 0) -> bytes:
    return [payload for chunk, payload in parts() if chunk.type == kind][at]


@pytest.mark.parametrize("quantum", [0, -1])
def test_an_identity_without_a_quantum_is_malformed(quantum: int) -> None:
    plain = json.loads(payload_of(chunks.IDENTITY)) | {"quantum": quantum}
    with pytest.raises(document.Malformed, match="quantum"):
        Identity.from_json(json.dumps(plain).encode())


def test_any_identity_is_one_or_malformed() -> None:
    image, bundle = (chunks.decompress(payload_of(kind)) for kind in (chunks.IMAGE, chunks.BUNDLE))
    plain = json.loads(payload_of(chunks.IDENTITY))
    found = 0
    for other in alterations(plain):
        try:
            read_back = Identity.from_json(json.dumps(other).encode())
        except document.Malformed:
            continue
        if read_back.to_plain() != plain:
            found += 1
            try:
                read_back.setup(image, bundle, "a file")
            except UserError as e:
                assert str(e).startswith("a file: ")
        assert Identity.from_json(json.dumps(read_back.to_plain()).encode()) == read_back
    assert found > 100  # numbers and texts may be others


@pytest.mark.parametrize(
    ("kind", "at", "unpack"),
    [
        (chunks.INTERVAL, 0, lambda payload: unpack_interval(payload, 2)),
        (chunks.INTERVAL, 5, lambda payload: unpack_interval(payload, 2)),
        (chunks.TABLE, 5, lambda payload: unpack_table(payload, 1 << 14)),
    ],
)
def test_any_document_of_the_run_is_one_or_malformed(
    kind: bytes, at: int, unpack: Callable[[bytes], object]
) -> None:
    values, sections = chunks.unpack_document(payload_of(kind, at))
    for other in alterations(values):
        if isinstance(other, dict):
            payload = chunks.pack_document(other, sections, 1)
            with suppress(document.Malformed):
                unpack(payload)
    for name, data in sections.items():
        for part in (data[:-1], data + b"x", data + data, b"\xff" * 8, b"\xff" * len(data)):
            with suppress(document.Malformed):
                unpack(chunks.pack_document(values, sections | {name: part}, 1))


@pytest.mark.parametrize(
    ("kind", "section", "data"),
    [
        (chunks.INTERVAL, "a", lambda data: data + bytes(8)),
        (chunks.INTERVAL, "sent", lambda data: data + b"\1" + bytes(7) + b"\1" + bytes(7)),
        (chunks.INTERVAL, "sent", lambda data: data + bytes(8)),
        (chunks.INTERVAL, "output", lambda data: data + b"x"),
        (chunks.INTERVAL, "given", lambda data: data + bytes(9) + b"\1" + bytes(6)),
        (chunks.TABLE, "pages", lambda data: data + bytes(4)),
        (chunks.TABLE, "pages", lambda data: b"\0\0\0\1" * (len(data) // 4)),
        (chunks.TABLE, "touched", lambda data: b"\0\0\0\1" * (len(data) // 4)),
        (chunks.TABLE, "touched", lambda data: data + b"x"),
    ],
)
def test_what_the_machine_does_not_have_is_malformed(
    kind: bytes, section: str, data: Callable[[bytes], bytes]
) -> None:
    values, sections = chunks.unpack_document(payload_of(kind, 5))
    payload = chunks.pack_document(values, sections | {section: data(sections[section])}, 1)
    with pytest.raises(document.Malformed):
        if kind == chunks.INTERVAL:
            unpack_interval(payload, 2)
        else:
            unpack_table(payload, 1 << 14)


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [("cpu", 1, True), ("cpu", 2, False), ("kind", 12, True), ("kind", 13, False)],
)
def test_events_of_no_kind_or_no_cpu_are_malformed(name: str, value: int, is_one: bool) -> None:
    rows = np.zeros(1, EVENT)
    rows[name] = value
    values, sections = chunks.unpack_document(payload_of(chunks.INTERVAL, 5))
    packed = chunks.pack_document(values | {"events": 1}, sections | chunks.pack_events(rows), 1)
    with nullcontext() if is_one else pytest.raises(document.Malformed):
        assert unpack_interval(packed, 2).rows[name] == value


def test_pages_that_are_none_are_malformed() -> None:
    frame = chunks.compress(bytes(4096), 1)
    for firsts, payload in (
        ([1, 1], frame),
        ([2, 1], frame),
        ([1], chunks.compress(bytes(5000), 1)),
        ([1], chunks.compress(bytes(65 * 4096), 1)),
        ([2], frame),
        ([1], frame[:-1]),
    ):
        with pytest.raises(document.Malformed):
            PageReader({}, firsts, lambda _: payload).pages(np.array([0, 1], np.uint32))  # noqa: B023


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (chunks.TABLE, {"instructions": 5}),
        (chunks.TABLE, {"instructions": 2**63}),
    ],
)
def test_checkpoints_out_of_order_are_told(kind: bytes, values: dict[str, int]) -> None:
    """The first elsewhere than at reset, or one behind the next or the end."""

    def moved(payload: bytes) -> bytes:
        return chunks.pack_document(values, chunks.unpack_document(payload)[1], 1)

    for at in (0, 3, 9):
        refused(
            written([(k, n, moved(p) if (k, n) == (kind, at) else p) for k, n, p in original()])
        )


def altered(value: object, data: st.DataObject) -> object:
    """JSON with one thing in it that is another, or gone."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(value)))
        if data.draw(st.integers(0, 5)):
            return value | {key: altered(value[key], data)}
        return {k: v for k, v in value.items() if k != key}
    if isinstance(value, list) and value and data.draw(st.integers(0, 5)):
        at = data.draw(st.integers(0, len(value) - 1))
        if data.draw(st.integers(0, 5)):
            return [*value[:at], altered(value[at], data), *value[at + 1 :]]
        return value[:at] + value[at + 1 :]
    return data.draw(st.sampled_from(ABSURD))


def altered_payload(kind: bytes, payload: bytes, data: st.DataObject) -> bytes:
    """What it says is changed, or how long its parts are, or any byte of it."""
    plain = payload if kind in (chunks.IDENTITY, chunks.END) else chunks.decompress(payload)
    head = plain
    is_document = kind in (chunks.INTERVAL, chunks.TABLE, chunks.CHECKPOINT)
    if is_document:
        length = int.from_bytes(plain[:4], "little")
        head, rest = plain[4 : 4 + length], plain[4 + length :]
    if (is_document or kind in (chunks.IDENTITY, chunks.END)) and data.draw(st.booleans()):
        head = json.dumps(altered(json.loads(head), data)).encode()
        plain = len(head).to_bytes(4, "little") + head + rest if is_document else head
    else:
        changed = bytearray(plain)
        for place in (
            data.draw(st.lists(st.sampled_from(range(len(plain))), max_size=4)) if plain else ()
        ):
            changed[place] ^= 1 << data.draw(st.integers(0, 7))
        plain = bytes(changed[: data.draw(st.sampled_from([len(plain), len(plain) // 2]))])
    return plain if kind in (chunks.IDENTITY, chunks.END) else chunks.compress(plain, 1)


Change = Callable[[list[Part], int, st.DataObject], None]


def _drop(found: list[Part], at: int, data: st.DataObject) -> None:
    del found[at]


def _twice(found: list[Part], at: int, data: st.DataObject) -> None:
    found.insert(data.draw(st.integers(0, len(found))), found[at])


def _renumber(found: list[Part], at: int, data: st.DataObject) -> None:
    kind, number, payload = found[at]
    found[at] = kind, data.draw(st.sampled_from([number ^ 1, number + 1, 2**32 - 1])), payload


def _retype(found: list[Part], at: int, data: st.DataObject) -> None:
    found[at] = data.draw(st.sampled_from([k for k, *_ in found] + [b"\1\0\0\n"])), *found[at][1:]


def _swap(found: list[Part], at: int, data: st.DataObject) -> None:
    other = data.draw(st.integers(0, len(found) - 1))
    (kind, number, payload), payload_there = found[at], found[other][2]
    found[at], found[other] = (kind, number, payload_there), (*found[other][:2], payload)


def _flip(found: list[Part], at: int, data: st.DataObject) -> None:
    kind, number, payload = found[at]
    changed = bytearray(payload)
    changed[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found[at] = kind, number, bytes(changed)


def _cut(found: list[Part], at: int, data: st.DataObject) -> None:
    kind, number, payload = found[at]
    found[at] = kind, number, payload[: data.draw(st.integers(0, len(payload)))]


def _alter(found: list[Part], at: int, data: st.DataObject) -> None:
    kind, number, payload = found[at]
    found[at] = kind, number, altered_payload(kind, payload, data)


@given(st.sampled_from((_drop, _twice, _renumber, _retype, _swap, _flip, _cut, _alter)), st.data())
def test_any_chunks_are_a_recording_or_one_line(change: Change, data: st.DataObject) -> None:
    """Not more: what is right by its checksums may be another run. It is read, and not run."""
    found = original()
    kind = data.draw(st.sampled_from(sorted({k for k, *_ in found})))
    change(
        found, data.draw(st.sampled_from([n for n, p in enumerate(found) if p[0] == kind])), data
    )
    try:
        seen = read(written(found)[: data.draw(st.sampled_from([None, -1]))])
    except UserError:
        return
    assert seen.positions == sorted(seen.positions) and seen.positions[0] == 0
    assert seen.end >= seen.positions[-1]


@given(st.integers(61, 2**64 - 1), st.binary(max_size=60))
@example(2**64 - 25, b"")
def test_any_length_of_a_chunk(length: int, rest: bytes) -> None:
    """A head with a right checksum, and too little behind it."""
    head = container._CHUNK.pack(chunks.PAGES, 1, length, 0)
    end = parts()[-1][0].offset
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "some.aet")
        path.write_bytes(content()[:end] + head + zlib.crc32(head).to_bytes(4, "little") + rest)
        reader = ChunkReader(path)
        reader.close()
    assert reader.chunks == [chunk for chunk, _ in parts()[:-1]]
    assert (reader.damaged, reader.lost is None) == ([], False)


def test_a_document_that_cannot_be_is_malformed() -> None:
    for data in (b"", b"\1", b"\xff\xff\xff\xff{}", b"\2\0\0\0{}", b"\2\0\0\0[]", b"\1\0\0\0007"):
        with pytest.raises(document.Malformed):
            document.unpack(data)
