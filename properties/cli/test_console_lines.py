# SPDX-License-Identifier: Apache-2.0
"""One console of several VMs, told apart: whatever they say and however they interrupt another."""

from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.report.console_lines import (
    HYPERVISOR,
    ConsoleLines,
    Part,
    VmOutput,
)

NAMES = ("linux", "b", "lin")
# What the VMs write, in the order in which it is shown. A VM may print what looks like a prefix.
WORDS = st.sampled_from(
    [b"hello", b"[b] ", b"[aether] end: panic", b"50%\r", b"\r\n", b"\n", b" ", b"[", b"[linux+] "]
)
STORY = st.lists(st.tuples(st.sampled_from((*NAMES, HYPERVISOR)), WORDS), max_size=30)


def shown(story: list[tuple[str, bytes]]) -> tuple[bytes, dict[str, bytes]]:
    """The console as the specification has it, and what each speaker wrote."""
    console = b""
    open_lines: set[str] = set()
    last: str | None = None
    wrote: dict[str, bytes] = {}
    for speaker, words in story:
        wrote[speaker] = wrote.get(speaker, b"") + words
        for piece in words.splitlines(keepends=True) if b"\n" in words else [words]:
            at_start = not console or console.endswith(b"\n")
            if not at_start and last != speaker:
                console += b"\r\n"
                at_start = True
            if at_start:
                plus = b"+" if speaker in open_lines else b""
                console += b"[" + speaker.encode() + plus + b"] "
            console += piece
            last = speaker
            if piece.endswith(b"\n"):
                open_lines.discard(speaker)
            else:
                open_lines.add(speaker)
    return console, wrote


def pieces(console: bytes, data: st.DataObject) -> list[bytes]:
    found = []
    while console:
        size = data.draw(st.integers(1, 9))
        found.append(console[:size])
        console = console[size:]
    return found


@given(STORY, st.data())
def test_each_vm_gets_what_it_wrote(story: list[tuple[str, bytes]], data: st.DataObject) -> None:
    console, wrote = shown(story)
    output = VmOutput(NAMES)
    got: dict[str, bytes] = {}
    parts = [part for piece in pieces(console, data) for part in output.feed(piece)]
    for speaker, text in [*parts, *output.finish()]:
        got[speaker] = got.get(speaker, b"") + text
    for speaker, text in wrote.items():
        # Nobody can tell who ended an interrupted line that never went on.
        assert got[speaker] in (text, text + b"\r\n")
    assert set(got) == set(wrote)


@given(st.binary(max_size=60) | STORY.map(lambda story: shown(story)[0]), st.data())
def test_no_byte_is_added_or_lost(console: bytes, data: st.DataObject) -> None:
    lines = ConsoleLines(NAMES)
    found = [fragment for piece in pieces(console, data) for fragment in lines.feed(piece)]
    found += lines.finish()
    assert b"".join(fragment.data for fragment in found) == console
    whole = ConsoleLines(NAMES)
    expected = [*whole.feed(console), *whole.finish()]
    assert [f for f in found if f.part is not Part.TEXT] == [
        f for f in expected if f.part is not Part.TEXT
    ]


def test_text_is_not_kept_waiting() -> None:
    lines = ConsoleLines(NAMES)
    assert b"".join(f.data for f in lines.feed(b"[linux] login: ")) == b"[linux] login: "
    assert b"".join(f.data for f in lines.feed(b"r")) == b"r"


def test_a_name_that_begins_another() -> None:
    output = VmOutput(NAMES)
    assert output.feed(b"[lin] a\r\n[linux] b") == [("lin", b"a"), ("linux", b"b")]


def test_a_line_without_prefix_is_the_hypervisors() -> None:
    assert VmOutput(NAMES).feed(b"no prefix") == [(HYPERVISOR, b"no prefix")]
