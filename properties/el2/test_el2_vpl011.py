# SPDX-License-Identifier: Apache-2.0
"""The PL011 that a guest sees: registers and interrupts as the PrimeCell UART (PL011) manual has
them (r1p5), on either kind of console."""

from collections.abc import Callable

import pytest

from .host_console import (
    DR,
    FR,
    FR_RXFE,
    FR_TXFE,
    FR_TXFF,
    IBRD,
    ICR,
    IFLS,
    IMSC,
    INT_RT,
    INT_RX,
    INT_TX,
    MIS,
    RIS,
    Console,
)

Start = Callable[[int], Console]

ONE_OR_TWO = pytest.mark.parametrize("vms", [1, 2])
RING = 4096


@ONE_OR_TWO
def test_registers_at_reset(console: Start, vms: int) -> None:
    with console(vms) as c:
        at_reset = {FR: FR_TXFE | FR_RXFE, 0x30: 0x300, IFLS: 0x12}
        for offset in range(0, 0xFE0, 4):
            assert c.read(0, offset) == at_reset.get(offset, 0), hex(offset)
        assert bytes(c.read(0, 0xFE0 + 4 * i) for i in range(8)) == bytes.fromhex(
            "11103400 0df005b1"
        )
        assert c.read(0, 0x1000) == 0


KEPT = {0x20: 0xFF, 0x24: 0xFFFF, 0x28: 0x3F, 0x2C: 0xFF, 0x30: 0xFF87, 0x34: 0x3F}
KEPT |= {0x38: 0x7FF, 0x48: 0x7}


@pytest.mark.parametrize("offset", range(4, 0x100, 4))
def test_what_is_written_is_kept_where_it_should(console: Start, offset: int) -> None:
    with console(2) as c:
        before = {other: c.read(0, other) for other in range(0, 0x100, 4)}
        c.write(0, offset, 0xFFFF_FFFF)
        for other, value in before.items():
            kept = KEPT.get(offset) if other == offset else None
            assert c.read(0, other) == (value if kept is None else kept)
        assert c.read(1, offset) == before[offset]


@ONE_OR_TWO
def test_the_transmit_interrupt(console: Start, vms: int) -> None:
    with console(vms) as c:
        c.write(0, IMSC, INT_TX)
        assert c.read(0, RIS) == 0  # a transition into an empty FIFO, and there was none
        assert not c.levels()[0]
        c.write(0, DR, ord("a"))
        assert c.read(0, RIS) == c.read(0, MIS) == INT_TX
        assert c.levels()[0]
        c.write(0, ICR, INT_TX)
        assert c.read(0, RIS) == 0
        c.slot(0)
        assert not c.levels()[0]
        c.write(0, DR, ord("b"))
        c.write(0, IMSC, 0)
        assert (c.read(0, RIS), c.read(0, MIS)) == (INT_TX, 0)
        assert not c.levels()[0]


def test_the_transmit_interrupt_waits_for_room(console: Start) -> None:
    with console(2) as c:
        c.write(0, IMSC, INT_TX)
        assert c.send(0, b"x" * (RING // 2)) and c.levels()[0]
        c.send(0, b"xx")
        assert c.read(0, RIS) == 0 and not c.levels()[0]
        while not c.levels()[0]:
            assert not c.read(0, FR) & FR_TXFF
            c.window()
            c.slot(0)
        assert c.read(0, MIS) == INT_TX
        # So much a driver may write without looking, at the least: a FIFO's worth.
        for _ in range(64):
            c.write(0, DR, ord("y"))
        c.flush()
        assert c.out().count(b"y") == 64


@ONE_OR_TWO
def test_the_receive_interrupts(console: Start, vms: int) -> None:
    both = INT_RX | INT_RT
    with console(vms) as c:
        c.write(0, IMSC, both)
        c.type(b"ab")
        c.window()
        c.slot(0)
        assert c.read(0, MIS) == both and c.levels()[0]
        c.write(0, ICR, both)
        assert c.read(0, MIS) == 0 and not c.levels()[0]
        c.slot(0)  # what is still there is told again
        assert c.levels()[0]
        assert c.read(0, DR) == ord("a")
        assert c.levels()[0]
        assert c.read(0, DR) == ord("b")
        assert c.read(0, RIS) == 0 and not c.levels()[0]
        assert c.read(0, DR) == 0 and c.read(0, FR) & FR_RXFE
        c.slot(0)
        assert not c.levels()[0]


def test_the_interrupts_of_one_vm_are_not_anothers(console: Start) -> None:
    with console(3) as c:
        for vm in range(3):
            c.write(vm, IMSC, 0x7FF)
        c.type(b"x")
        c.window()
        for vm in range(3):
            c.slot(vm)
        assert c.levels() == [True, False, False]
        c.write(2, DR, ord("x"))
        assert c.levels() == [True, False, True]


@ONE_OR_TWO
def test_a_driver_by_interrupt_sends_and_receives_all(console: Start, vms: int) -> None:
    """As Linux's amba-pl011: sixteen characters for a transmit interrupt, without a look at FR."""
    data = bytes(range(32, 127)) * 90
    typed = bytes(range(33, 127)) * 12
    left, got = data, b""
    with console(vms) as c:
        c.type(typed)
        c.out()
        c.write(0, IMSC, INT_RX | INT_RT)
        sent = c.send(0, left)
        left = left[len(sent) :]
        c.write(0, IMSC, INT_RX | INT_RT | (INT_TX if left else 0))
        out = b""
        for _ in range(2000):
            c.window()
            c.slot(0)
            out += c.out()
            while c.levels()[0]:
                status = c.read(0, MIS)
                c.write(0, ICR, status & ~(INT_RX | INT_RT | INT_TX))
                if status & (INT_RX | INT_RT):
                    got += c.receive(0)
                if status & INT_TX:
                    for byte in left[:16]:
                        c.write(0, DR, byte)
                    left = left[16:]
                    if not left:
                        c.write(0, IMSC, INT_RX | INT_RT)
        c.flush()
        out += c.out()
    assert got == typed
    assert out == (data if vms == 1 else b"[vm0] " + data)


def test_baud_rates_are_of_no_consequence(console: Start) -> None:
    with console(1) as c:
        c.write(0, IBRD, 1)
        c.write(0, 0x30, 0)
        assert c.send(0, b"still here") == b"still here"
        assert c.out() == b"still here"
