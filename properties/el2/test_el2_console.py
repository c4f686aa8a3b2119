# SPDX-License-Identifier: Apache-2.0
"""One UART for many: nothing a VM writes is lost, changed, or said in another's name; no VM can
hold up another; and input goes to the VM it is meant for."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from .host_console import DOWN, DR, FR, FR_TXFF, RUNNING, Console, taken_apart

Start = Callable[[int], Console]

WITHOUT_END = 0xFFFF_FFFF
RING = 4096
CTRL_T = b"\x14"

BYTES = st.one_of(
    st.binary(max_size=300),
    st.text("ab[]+ \r\n", max_size=300).map(str.encode),
    st.just(b"\n" * 40),
    st.just(b"[aether] vm vm1: crash\r\n"),
    st.just(b"x" * 5000),
)
TEXT = st.text("abc xyz:0123", min_size=1, max_size=100).map(str.strip).filter(bool)
VMS = 3
ANY_VM = st.integers(0, VMS - 1)
STEPS = st.one_of(
    st.tuples(st.just("send"), ANY_VM, BYTES),
    st.tuples(st.just("log"), ANY_VM, TEXT),
    st.tuples(st.just("window"), st.just(0), st.sampled_from((4000, 300, 20, 0))),
    st.tuples(st.just("room"), st.just(0), st.sampled_from((0, 1, 16, 200, WITHOUT_END))),
    st.tuples(st.just("type"), ANY_VM, st.just(b"\x141")),
)


@given(st.lists(STEPS, max_size=40))
@example([("send", 0, b"\n" * 40), ("send", 0, b"a"), ("log", 0, "0"), ("send", 0, b"\n" * 40)])
def test_what_vms_write_comes_out_whole_and_under_their_names(
    console: Start, steps: list[tuple[str, int, bytes | str | int]]
) -> None:
    sent = {f"vm{i}": b"" for i in range(VMS)}
    logged: list[str] = []
    with console(VMS) as c:
        for what, vm, value in steps:
            if isinstance(value, bytes):
                if what == "type":
                    c.type(CTRL_T + b"%d" % (vm + 1))
                else:
                    sent[f"vm{vm}"] += c.send(vm, value)
            elif isinstance(value, str):
                if c.log(vm, value):
                    logged.append(value)
            elif what == "room":
                c.room(value)
            else:
                c.window(value)
        c.room(WITHOUT_END)
        c.flush()
        c.own("end")
        said = taken_apart(c.out())
    own = said.by.pop("aether").split(b"\r\n")
    assert own[0].startswith(b"console: input to vm0; Ctrl-T 1..3 switches")
    assert own[-2:] == [b"end", b""]
    assert sorted(own[1:-2]) == sorted(text.encode() for text in logged)
    for name, data in sent.items():
        # The hypervisor's last line cannot but end one that a VM has begun.
        assert said.by.get(name, b"").removesuffix(b"\r\n") == data.removesuffix(b"\r\n")


@settings(max_examples=30)
@given(st.binary(max_size=600), st.lists(TEXT, max_size=3))
def test_a_vm_alone_writes_as_if_it_had_the_uart(
    console: Start, data: bytes, logged: list[str]
) -> None:
    with console(1) as c:
        assert c.out() == b""
        begun = b"" if data == b"" or data.endswith(b"\n") else b"\r\n"
        for text in ["first", *logged]:
            assert c.send(0, data) == data
            assert c.out() == data
            assert c.log(0, text)
            assert c.out() == begun + b"[aether] " + text.encode() + b"\r\n"
        c.type(data)
        assert c.receive(0) == data


def run_vm0(console: Start, actions: list[tuple[str, bytes]], others: list[bytes]) -> list[object]:
    """All that VM 0 can see of its UART, window by window, while two others write too."""
    seen: list[object] = []
    with console(VMS) as c:
        for number, (what, data) in enumerate(actions):
            if number < len(others):
                c.send(1, others[number])
                c.send(2, others[number][::-1])
                c.log(2, "a line of the hypervisor about vm2")
            if what == "write":
                seen.append(c.send(0, data))
            elif what == "log":
                seen.append(c.log(0, "about vm0"))
            c.window()
            c.slot(0)
            seen += [c.read(0, offset) for offset in (FR, 0x3C, 0x40)]
            seen.append(c.levels()[0])
    return seen


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(("write", "wait", "log")), BYTES), max_size=15),
    st.lists(BYTES, max_size=15),
)
def test_a_vm_cannot_tell_what_others_write(
    console: Start, actions: list[tuple[str, bytes]], others: list[bytes]
) -> None:
    alone = run_vm0(console, actions, [])
    assert run_vm0(console, actions, others) == alone


def test_a_window_is_bounded(console: Start) -> None:
    for text in (b"\n", b"x", b"xy\r\n", b"[a"):
        with console(2) as c:
            c.send(0, text * RING)
            c.send(1, text * RING)
            c.out()
            for _ in range(20):
                c.window()
                assert 0 < len(c.out()) <= 152 + 2 * 24


def test_a_window_without_time_or_room_writes_nothing(console: Start) -> None:
    with console(2) as c:
        c.send(0, b"line\r\n")
        c.out()
        for _ in range(4):
            c.window(0)
        assert c.out() == b""
        c.room(0)
        for _ in range(4):
            c.window()
        assert c.out() == b""
        c.room(3)
        for _ in range(4):
            c.window()
        assert c.out() == b"[vm"
        c.room(WITHOUT_END)
        c.window()
        assert c.out() == b"0] line\r\n"


def test_lines_are_shown_whole_when_they_are_not_too_long(console: Start) -> None:
    lines = [b"a line of %d" % i + b"." * (i * 7 % 100) + b"\r\n" for i in range(40)]
    written = b""
    with console(3) as c:
        for i, line in enumerate(lines):
            for vm in range(3):
                c.send(vm, line[: i % 9])
            c.window()
            for vm in range(3):
                c.send(vm, line[i % 9 :])
            c.log(1, "x" * 120)
            for _ in range(5):
                c.window()
            written += c.out()
        c.flush()
        written += c.out()
    assert written.count(b"x" * 120) == 40
    for name in (b"vm1", b"vm2", b"aether"):
        assert b"[%b+]" % name not in written


def test_a_long_line_is_shown_before_it_ends(console: Start) -> None:
    with console(2) as c:
        c.out()
        c.send(1, b"x" * 100)
        for _ in range(4):
            c.window()
        assert c.out() == b""
        c.send(1, b"x" * 100)
        for _ in range(8):
            c.window()
        assert c.out() == b"[vm1] " + b"x" * 200


def test_the_attached_vm_is_shown_at_once(console: Start) -> None:
    with console(2) as c:
        c.out()
        c.send(0, b"login: ")
        c.send(1, b"\r\n# ")
        for _ in range(4):
            c.window()
        assert c.out() == b"[vm1] \r\n[vm0] login: "
        c.type(CTRL_T + b"2")
        for _ in range(4):
            c.window()
        assert c.out() == b"\r\n[vm1] # "
        c.send(0, b"me\r\n")
        for _ in range(4):
            c.window()
        assert c.out() == b"\r\n[vm0+] me\r\n"


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 9), st.binary(max_size=12)), max_size=8))
def test_input_goes_to_the_vm_that_was_chosen(
    console: Start, typed: list[tuple[int, bytes]]
) -> None:
    expected = {i: b"" for i in range(3)}
    attached = 0
    with console(3) as c:
        for number, data in typed:
            c.type(CTRL_T + b"%d" % number + data.replace(CTRL_T, CTRL_T * 2))
            attached = number - 1 if number <= 3 else attached
            expected[attached] += data
        for _ in range(3):
            c.window()
        assert {i: c.receive(i) for i in range(3)} == expected


def test_input_waits_in_the_uart_while_a_vm_does_not_read(console: Start) -> None:
    data = bytes(range(0x20, 0x7F)) * 10
    with console(2) as c:
        c.type(data)
        c.window()
        c.window()
        got = c.receive(0)
        assert got == data[:256]
        while len(got) < len(data):
            c.window()
            got += c.receive(0)
        assert got == data


def test_a_vm_that_is_down_does_not_keep_others_from_their_input(console: Start) -> None:
    with console(2) as c:
        c.state(0, DOWN)
        c.type(b"x" * 1000 + CTRL_T + b"2" + b"hello")
        c.window()
        assert c.receive(1) == b"hello"
        c.type(CTRL_T + b"1")
        c.window()
        c.state(0, RUNNING)
        assert len(c.receive(0)) <= 256


def test_a_full_ring_is_shown_and_loses_nothing_but_what_ignores_it(console: Start) -> None:
    with console(2) as c:
        data = bytes(range(256)) * 32
        sent = c.send(1, data)
        assert sent == data[:RING]
        assert c.read(1, FR) & FR_TXFF
        c.write(1, DR, ord("!"))
        assert not c.log(1, "no room")
        assert c.log(0, "room")
        c.flush()
        assert not c.read(1, FR) & FR_TXFF
        c.own("end")
        said = taken_apart(c.out()).by
        assert said["vm1"].removesuffix(b"\r\n") == sent


@pytest.mark.parametrize(("room", "fits"), [(6, False), (7, True)])
def test_a_line_needs_room_for_its_end(console: Start, room: int, fits: bool) -> None:
    with console(2) as c:
        c.send(0, b"x" * (RING - room))
        assert c.log(0, "12345") == fits
        c.flush()
        assert taken_apart(c.out()).by["aether"].endswith(b"12345\r\n") == fits


@pytest.mark.parametrize("vms", range(1, 9))
def test_the_switch_is_announced_to_who_can_use_it(console: Start, vms: int) -> None:
    with console(vms) as c:
        said = f"[aether] console: input to vm0; Ctrl-T 1..{vms} switches\r\n"
        assert c.out() == (said.encode() if vms > 1 else b"")
