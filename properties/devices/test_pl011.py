# SPDX-License-Identifier: Apache-2.0
"""PL011 against Arm DDI 0183."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aether_edgecloud.emulator.devices.pl011 import Pl011, Uart

FEN = 1 << 4
ON = 0x301  # UARTEN, TXE, RXE
RX, TX, RT, OE = 1 << 4, 1 << 5, 1 << 6, 1 << 10


def running(*, fifo: bool = True) -> Pl011:
    uart = Pl011()
    uart.write(Uart.LCR_H, 4, 0x60 | (FEN if fifo else 0))
    uart.write(Uart.CR, 4, ON)
    return uart


def test_reset_values() -> None:
    uart = Pl011()
    expected = {
        Uart.RSR_ECR: 0,
        Uart.FR: 0x90,
        Uart.ILPR: 0,
        Uart.IBRD: 0,
        Uart.FBRD: 0,
        Uart.LCR_H: 0,
        Uart.CR: 0x300,
        Uart.IFLS: 0x12,
        Uart.IMSC: 0,
        Uart.RIS: 0,
        Uart.MIS: 0,
        Uart.DMACR: 0,
    }
    assert {register: uart.read(register, 4) for register in expected} == expected


def test_identification() -> None:
    uart = Pl011()
    ids = [uart.read(offset, 4) for offset in range(0xFE0, 0x1000, 4)]
    assert ids[0] | (ids[1] & 0xF) << 8 == 0x011
    assert ids[1] >> 4 | (ids[2] & 0xF) << 4 == 0x41  # designer: Arm
    assert ids[2] >> 4 == 3  # r1p5: FIFOs of 32
    assert ids[4:] == [0x0D, 0xF0, 0x05, 0xB1]


@pytest.mark.parametrize(
    ("register", "bits"),
    [
        (Uart.ILPR, 0xFF),
        (Uart.IBRD, 0xFFFF),
        (Uart.FBRD, 0x3F),
        (Uart.LCR_H, 0xFF),
        (Uart.CR, 0xFF87),
        (Uart.IFLS, 0x3F),
        (Uart.IMSC, 0x7FF),
        (Uart.DMACR, 0x7),
    ],
)
def test_writable_bits(register: Uart, bits: int) -> None:
    uart = Pl011()
    uart.write(register, 4, 0xFFFF_FFFF)
    assert uart.read(register, 4) == bits
    uart.write(register, 4, 0)
    assert uart.read(register, 4) == 0


@pytest.mark.parametrize("offset", [0x008, 0x01C, 0x04C, 0x080, 0xFDC, 0x1000])
def test_reserved_offsets_are_raz_wi(offset: int) -> None:
    uart = running()
    before = uart.save()
    uart.write(offset, 4, 0xFFFF_FFFF)
    assert uart.read(offset, 4) == 0
    assert uart.save() == before


@pytest.mark.parametrize("register", [Uart.FR, Uart.RIS, Uart.MIS, Uart.PERIPH_ID0])
def test_read_only_registers_ignore_writes(register: Uart) -> None:
    uart = running()
    before = uart.save()
    uart.write(register, 4, 0)
    uart.write(register, 4, 0xFFFF_FFFF)
    assert uart.save() == before


def test_narrow_accesses() -> None:
    uart = running()
    uart.write(Uart.IBRD, 2, 0x1234)
    assert uart.read(Uart.IBRD, 4) == 0x1234
    assert uart.read(Uart.IBRD, 2) == 0x1234
    assert uart.read(Uart.IBRD, 1) == 0x34
    assert uart.read(Uart.IBRD + 1, 1) == 0x12
    assert uart.read(Uart.IBRD + 2, 2) == 0
    uart.write(Uart.IBRD, 1, 0xABCD)  # no byte strobes: the rest becomes zero
    assert uart.read(Uart.IBRD, 4) == 0xCD
    uart.write(Uart.IBRD + 1, 1, 0xFF)
    assert uart.read(Uart.IBRD, 4) == 0xCD
    for size in (1, 2, 4):
        uart.write(Uart.DR, size, 0x141 + size)
    assert uart.take_output() == b"BCE"


@pytest.mark.parametrize(("shift", "size"), [(0, 8), (1, 2), (2, 4), (3, 2)])
def test_unaligned_and_wide_accesses_are_raz_wi(shift: int, size: int) -> None:
    uart = running()
    uart.feed(b"x")
    uart.write(Uart.DR + shift, size, 0x4141_4141)
    assert uart.read(Uart.DR + shift, size) == 0
    assert uart.take_output() == b""
    assert uart.read(Uart.DR, 4) == ord("x")


@given(data=st.binary(max_size=100), fifo=st.booleans())
def test_characters_leave_in_order(data: bytes, fifo: bool) -> None:
    uart = running(fifo=fifo)
    for character in data:
        uart.write(Uart.DR, 4, character)
        assert uart.read(Uart.FR, 4) & 0xA8 == 0x80  # TXFE, neither TXFF nor BUSY
    assert uart.take_output() == data
    assert uart.take_output() == b""


def test_a_disabled_transmitter_keeps_its_fifo() -> None:
    uart = Pl011()
    uart.write(Uart.LCR_H, 4, FEN)
    for character in range(40):
        assert bool(uart.read(Uart.FR, 4) & 1 << 5) is (character >= 32)  # TXFF
        uart.write(Uart.DR, 4, character)
    assert uart.read(Uart.FR, 4) & 0xA8 == 0x28  # TXFF and BUSY, not TXFE
    assert uart.take_output() == b""
    uart.write(Uart.CR, 4, ON)
    assert uart.take_output() == bytes(range(32))
    assert uart.read(Uart.FR, 4) & 0xA8 == 0x80


@pytest.mark.parametrize("control", [0x300, 0x201, 0x000])
def test_nothing_is_sent_without_uarten_and_txe(control: int) -> None:
    uart = running()
    uart.write(Uart.CR, 4, control)
    uart.write(Uart.DR, 4, ord("x"))
    assert uart.take_output() == b""


def test_firmware_can_leave_it_enabled() -> None:
    uart = Pl011(enabled=True)
    assert uart.read(Uart.CR, 4) == ON
    uart.write(Uart.DR, 4, ord("x"))
    assert uart.take_output() == b"x"


@pytest.mark.parametrize("control", [0x300, 0x101, 0x000])
def test_nothing_is_received_without_uarten_and_rxe(control: int) -> None:
    uart = running()
    uart.write(Uart.CR, 4, control)
    assert uart.rx_space == 0
    uart.feed(b"x")
    assert uart.read(Uart.FR, 4) & 1 << 4
    uart.write(Uart.CR, 4, ON)
    assert uart.rx_space == 32


@pytest.mark.parametrize(("fifo", "depth"), [(True, 32), (False, 1)])
def test_overrun(fifo: bool, depth: int) -> None:
    uart = running(fifo=fifo)
    assert uart.rx_space == depth
    uart.feed(bytes(range(depth)))
    assert uart.rx_space == 0
    assert uart.read(Uart.FR, 4) & 1 << 6  # RXFF
    assert not uart.read(Uart.RIS, 4) & OE
    uart.feed(b"\xee")
    assert uart.read(Uart.RIS, 4) & OE
    assert uart.read(Uart.RSR_ECR, 4) == 0x8
    assert uart.read(Uart.DR, 4) == 1 << 11 | 0  # what was there is intact
    uart.feed(b"\x77")  # room again
    if depth > 1:
        assert uart.read(Uart.DR, 4) == 1
    else:
        assert uart.read(Uart.DR, 4) == 0x77
    assert uart.read(Uart.RSR_ECR, 4) == 0x8
    uart.write(Uart.RSR_ECR, 4, 0)
    assert uart.read(Uart.RSR_ECR, 4) == 0


@pytest.mark.parametrize(("select", "level"), [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28)])
def test_receive_interrupt_at_its_level(select: int, level: int) -> None:
    uart = running()
    uart.write(Uart.IFLS, 4, select << 3)
    uart.write(Uart.IMSC, 4, RX)
    uart.feed(bytes(level - 1))
    assert not uart.interrupt
    uart.feed(b"x")
    assert uart.interrupt
    assert uart.read(Uart.MIS, 4) == RX
    uart.read(Uart.DR, 4)
    assert not uart.interrupt


def test_receive_interrupt_without_fifo() -> None:
    uart = running(fifo=False)
    uart.write(Uart.IMSC, 4, RX | RT)
    uart.feed(b"x")
    assert uart.read(Uart.MIS, 4) == RX
    uart.read(Uart.DR, 4)
    assert not uart.interrupt


def test_receive_timeout_until_the_fifo_is_empty() -> None:
    uart = running()
    uart.write(Uart.IMSC, 4, RT)
    uart.feed(b"abc")
    assert uart.interrupt
    assert uart.read(Uart.DR, 4) == ord("a")
    assert uart.interrupt
    uart.write(Uart.ICR, 4, RT)
    assert not uart.interrupt
    assert uart.read(Uart.DR, 4) == ord("b")
    assert uart.interrupt  # one is left, and nothing comes
    assert uart.read(Uart.DR, 4) == ord("c")
    assert not uart.interrupt


def test_transmit_interrupt() -> None:
    uart = running()
    uart.write(Uart.IMSC, 4, TX)
    assert not uart.interrupt  # a passage through the level, not the level
    uart.write(Uart.DR, 4, ord("x"))
    assert uart.interrupt
    uart.write(Uart.ICR, 4, TX)
    assert not uart.interrupt


@given(mask=st.integers(0, 0x7FF))
def test_masked_status_is_raw_status_and_mask(mask: int) -> None:
    uart = running()
    uart.feed(bytes(33))
    uart.write(Uart.DR, 4, 0)
    raw = uart.read(Uart.RIS, 4)
    assert raw == RX | TX | RT | OE
    uart.write(Uart.IMSC, 4, mask)
    assert uart.read(Uart.MIS, 4) == raw & mask
    assert uart.interrupt is bool(raw & mask)
    uart.write(Uart.ICR, 4, mask)
    assert uart.read(Uart.RIS, 4) == raw & ~mask
    assert uart.read(Uart.ICR, 4) == 0


def test_switching_the_fifos_empties_them() -> None:
    uart = running()
    uart.feed(b"abc")
    uart.write(Uart.LCR_H, 4, 0x60)
    assert uart.read(Uart.FR, 4) & 1 << 4
    assert not uart.read(Uart.RIS, 4) & (RX | RT)
    uart.write(Uart.LCR_H, 4, 0x60 | FEN)
    uart.feed(b"d")
    uart.write(Uart.LCR_H, 4, 0x70 | 1)  # FEN unchanged
    assert uart.read(Uart.DR, 4) == ord("d")


def test_restoring_is_an_identity_with_everything_in_use() -> None:
    uart = running()
    uart.write(Uart.IBRD, 4, 13)
    uart.write(Uart.IFLS, 4, 0x21)
    uart.write(Uart.IMSC, 4, OE)
    uart.write(Uart.DR, 4, ord("a"))  # sent, not yet taken
    uart.feed(bytes(range(33)))
    uart.write(Uart.CR, 4, 0x201)  # transmitter off
    uart.write(Uart.DR, 4, ord("b"))
    state = json.loads(json.dumps(uart.save()))
    other = Pl011()
    other.restore(state)
    assert other.save() == state
    for each in (uart, other):
        assert each.interrupt
        assert each.read(Uart.IBRD, 4) == 13
        assert each.read(Uart.IFLS, 4) == 0x21
        assert each.read(Uart.RSR_ECR, 4) == 0x8
        assert each.read(Uart.DR, 4) == 1 << 11 | 0
        assert each.read(Uart.FR, 4) & 0x88 == 0x08  # BUSY, not TXFE
        each.write(Uart.CR, 4, ON)
        assert each.take_output() == b"ab"


class FifoMachine(RuleBasedStateMachine):
    """What is fed within `rx_space` is read once and in order, whatever else happens."""

    def __init__(self) -> None:
        super().__init__()
        self.uart = running()
        self.inside: list[int] = []
        self.sent = bytearray()

    @rule(data=st.binary(min_size=1, max_size=40))
    def feed(self, data: bytes) -> None:
        taken = data[: self.uart.rx_space]
        self.uart.feed(taken)
        self.inside += taken

    @rule()
    def read(self) -> None:
        expected = self.inside.pop(0) if self.inside else 0
        assert self.uart.read(Uart.DR, 4) == expected

    @rule(character=st.integers(0, 0xFF))
    def send(self, character: int) -> None:
        self.uart.write(Uart.DR, 4, character)
        self.sent.append(character)

    @rule()
    def collect(self) -> None:
        assert self.uart.take_output() == bytes(self.sent)
        self.sent.clear()

    @rule(bits=st.integers(0, 0x7FF))
    def clear(self, bits: int) -> None:
        self.uart.write(Uart.ICR, 4, bits)

    @rule(mask=st.integers(0, 0x7FF), level=st.integers(0, 0x3F))
    def set_up(self, mask: int, level: int) -> None:
        self.uart.write(Uart.IMSC, 4, mask)
        self.uart.write(Uart.IFLS, 4, level)

    @rule()
    def through_a_file(self) -> None:
        state = json.loads(json.dumps(self.uart.save()))
        self.uart = Pl011()
        self.uart.restore(state)
        assert self.uart.save() == state

    @invariant()
    def flags_tell_the_level(self) -> None:
        flags = self.uart.read(Uart.FR, 4)
        assert bool(flags & 1 << 4) == (not self.inside)
        assert bool(flags & 1 << 6) == (len(self.inside) == 32)
        assert self.uart.rx_space == 32 - len(self.inside)
        raw = self.uart.read(Uart.RIS, 4)
        assert not raw & OE
        if not self.inside:
            assert not raw & (RX | RT)


TestFifo = FifoMachine.TestCase
TestFifo.settings = settings(max_examples=40)
