# SPDX-License-Identifier: Apache-2.0
"""Framing, by the protocol's description: checksums, escapes, runs, damaged and endless packets."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.gdb import packets
from aether_edgecloud.emulator.gdb.packets import Decoder, Packet, Signal
from aether_edgecloud.properties.gdb import client


def _events(data: bytes, limit: int = 64) -> list[packets.Event]:
    return list(Decoder(limit).feed(data))


def test_a_packet_with_its_checksum() -> None:
    assert _events(b"$m0,8#01") == [Packet(b"m0,8")]
    assert _events(b"$OK#9A") == [Packet(b"OK")]


def test_what_stands_outside_packets() -> None:
    assert _events(b"+-\x03x\n$#00") == [
        Signal.ACK,
        Signal.NACK,
        Signal.INTERRUPT,
        Packet(b""),
    ]


@pytest.mark.parametrize("data", [b"$m0,8#02", b"$m0,8#0x", b"$m0,8# 1", b"$m0,8#+1"])
def test_a_damaged_packet(data: bytes) -> None:
    assert _events(data) == [Signal.DAMAGED]


def test_a_new_packet_begins_in_one_that_was_cut_off() -> None:
    assert _events(b"$m0,8$?#3f") == [Packet(b"?")]


def test_an_escape_at_the_end_stands_for_nothing() -> None:
    assert _events(b"$a}#de") == [Packet(b"a")]


def test_a_packet_may_be_as_long_as_the_limit_and_no_longer() -> None:
    assert _events(client.packet(b"a" * 64)) == [Packet(b"a" * 64)]
    assert _events(client.packet(b"a" * 65)) == [Signal.TOO_LONG]
    assert _events(client.packet(b"a" * 1000) + b"$?#3f") == [Signal.TOO_LONG, Packet(b"?")]


def test_an_endless_packet_takes_no_memory() -> None:
    decoder = Decoder(64)
    for _ in range(1000):
        assert not list(decoder.feed(b"$" + b"x" * 1000))
    assert len(decoder._body) <= 64


@given(st.lists(st.binary(max_size=80)), st.data())
def test_packets_arrive_whole_however_they_are_cut(
    wanted: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(client.packet(payload) for payload in wanted)
    decoder = Decoder(1000)
    found: list[packets.Event] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert found == [Packet(payload) for payload in wanted]


@given(st.binary(max_size=2000))
def test_any_bytes_may_come(data: bytes) -> None:
    for event in Decoder(100).feed(data):
        assert isinstance(event, Packet | Signal)


_RUNS = st.lists(st.tuples(st.sampled_from(b"0a$#}*+-\x00\x7f\xff"), st.integers(1, 220)))


@given(_RUNS)
def test_a_frame_says_what_was_put_in(runs: list[tuple[int, int]]) -> None:
    """With runs of all lengths: some lengths cannot be said, since their character means
    something else."""
    payload = b"".join(bytes((byte,)) * count for byte, count in runs)
    assert client.payloads(packets.frame(payload)) == [payload]


@pytest.mark.parametrize(
    ("count", "body"),
    [
        (3, b"000"),
        (4, b"0* "),
        (6, b'0*"'),
        (7, b'0*"0'),  # "#"
        (8, b'0*"00'),  # "$"
        (9, b"0*%"),
        (15, b"0**0"),  # "+"
        (98, b"0*~"),
    ],
)
def test_run_lengths(count: int, body: bytes) -> None:
    assert packets.shorten_runs(b"0" * count) == body


@given(st.integers(1, 400))
def test_a_run_is_never_told_by_a_character_with_a_meaning(count: int) -> None:
    body = packets.shorten_runs(b"0" * count)
    assert not set(body) & set(b"$#")
    assert all(b <= 126 for b in body)


@given(st.binary(max_size=300))
def test_runs_of_any_text_are_expanded_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        packets.expand_runs(data)
