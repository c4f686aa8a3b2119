# SPDX-License-Identifier: Apache-2.0
"""PL011 UART, r1p5 (Arm DDI 0183).

The line has no speed: a character written while the transmitter is on has left at once, a
character fed is received at once, and the receive timeout ("no further data during a 32-bit
period") has passed as soon as `feed` ends or a read of UARTDR leaves data behind. So the transmit
interrupt, which marks a passage through the trigger level, is raised by every character sent.
Not modelled: loopback, SIR, modem lines (all deasserted), DMA, breaks, parity and framing errors.

Registers are words of which bytes and halfwords may be accessed alone. The bus (APB) has no byte
strobes: a narrow write at a register's own offset writes the whole register, zero-extended; one
at any other byte of it is ignored.
"""

from collections import deque
from collections.abc import Callable, Mapping
from enum import IntEnum

from aether_edgecloud.emulator.devices.device import State, saved_bytes, saved_int, saved_ints

FIFO_DEPTH = 32


class Uart(IntEnum):
    """Register offsets."""

    DR = 0x000
    RSR_ECR = 0x004
    FR = 0x018
    ILPR = 0x020
    IBRD = 0x024
    FBRD = 0x028
    LCR_H = 0x02C
    CR = 0x030
    IFLS = 0x034
    IMSC = 0x038
    RIS = 0x03C
    MIS = 0x040
    ICR = 0x044
    DMACR = 0x048
    PERIPH_ID0 = 0xFE0
    PCELL_ID3 = 0xFFC


_IDS = (0x11, 0x10, 0x34, 0x00, 0x0D, 0xF0, 0x05, 0xB1)
"""UARTPeriphID0-3 (part 0x011, designer 0x41, revision 3) and UARTPCellID0-3."""

FR_BUSY = 1 << 3
FR_RXFE = 1 << 4
FR_TXFF = 1 << 5
FR_RXFF = 1 << 6
FR_TXFE = 1 << 7

LCR_H_FEN = 1 << 4

CR_UARTEN = 1 << 0
CR_TXE = 1 << 8
CR_RXE = 1 << 9
_CR_WRITABLE = 0xFF87

INT_RX = 1 << 4
INT_TX = 1 << 5
INT_RT = 1 << 6
INT_OE = 1 << 10
_INT_ALL = 0x7FF

DR_OE = 1 << 11
RSR_OE = 1 << 3

_RX_TRIGGER = (4, 8, 16, 24, 28)
"""Characters, by UARTIFLS.RXIFLSEL: 1/8, 1/4, 1/2, 3/4, 7/8 of the FIFO."""

_PLAIN_REGISTERS = {
    Uart.ILPR: 0xFF,
    Uart.IBRD: 0xFFFF,
    Uart.FBRD: 0x3F,
    Uart.IFLS: 0x3F,
    Uart.IMSC: _INT_ALL,
    Uart.DMACR: 0x7,
}
"""Registers that only keep what is written, with their writable bits."""
_IMSC = int(Uart.IMSC)


class Pl011:
    """One UART; a `Device`.

    `enabled` is the state firmware leaves it in: with it UARTEN is already set in UARTCR, as after
    a boot loader that used the console.
    """

    def __init__(self, *, enabled: bool = False) -> None:
        self._plain: dict[int, int] = dict.fromkeys(_PLAIN_REGISTERS, 0)
        self._plain[Uart.IFLS] = 0x12
        self._line_control = 0
        self._control = CR_TXE | CR_RXE | (CR_UARTEN if enabled else 0)
        self._raw = 0  # UARTRIS
        self._errors = 0  # UARTRSR: OE is set at once and kept until UARTECR is written
        self._overrun = False  # UARTDR.OE: kept until a character finds room again
        self._receive: deque[int] = deque()
        self._transmit: deque[int] = deque()
        self._output = bytearray()
        self._readers: dict[int, Callable[[], int]] = {
            Uart.DR: self._read_character,
            Uart.RSR_ECR: lambda: self._errors,
            Uart.FR: self._flags,
            Uart.LCR_H: lambda: self._line_control,
            Uart.CR: lambda: self._control,
            Uart.RIS: lambda: self._raw,
            Uart.MIS: lambda: self._raw & self._plain[_IMSC],
        }
        self._writers: dict[int, Callable[[int], None]] = {
            Uart.DR: self._write_character,
            Uart.RSR_ECR: self._clear_errors,
            Uart.LCR_H: self._write_line_control,
            Uart.CR: self._write_control,
            Uart.ICR: self._clear_interrupts,
        }

    # The line.

    @property
    def interrupt(self) -> bool:
        """UARTINTR: any unmasked interrupt."""
        return self._raw & self._plain[_IMSC] != 0

    @property
    def wants_input(self) -> bool:
        """The receiver is on, and no received character waits to be read."""
        return self._on(CR_RXE) and not self._receive

    @property
    def rx_space(self) -> int:
        """Characters `feed` takes without loss; 0 while the receiver is off."""
        return self._depth - len(self._receive) if self._on(CR_RXE) else 0

    def feed(self, data: bytes) -> None:
        """Characters arrive. Without room they are lost: an overrun. With the receiver off, too."""
        if not self._on(CR_RXE):
            return
        for character in data:
            if len(self._receive) >= self._depth:
                self._overrun = True
                self._errors |= RSR_OE
                self._raw |= INT_OE
                continue
            self._overrun = False
            self._receive.append(character)
            if len(self._receive) == self._receive_trigger:
                self._raw |= INT_RX
        self._receive_timeout()

    def take_output(self) -> bytes:
        """The characters sent since the last call."""
        sent = bytes(self._output)
        self._output.clear()
        return sent

    @property
    def _depth(self) -> int:
        return FIFO_DEPTH if self._line_control & LCR_H_FEN else 1

    @property
    def _receive_trigger(self) -> int:
        if not self._line_control & LCR_H_FEN:
            return 1
        select = self._plain[Uart.IFLS] >> 3 & 7
        return _RX_TRIGGER[min(select, 4)]  # 5 to 7 are reserved

    def _on(self, direction: int) -> bool:
        return self._control & (CR_UARTEN | direction) == CR_UARTEN | direction

    def _receive_timeout(self) -> None:
        if self._line_control & LCR_H_FEN and self._receive:
            self._raw |= INT_RT

    def _send(self) -> None:
        """The transmitter empties its FIFO."""
        if self._transmit and self._on(CR_TXE):
            self._output.extend(self._transmit)
            self._transmit.clear()
            self._raw |= INT_TX

    # Registers.

    def read(self, offset: int, size: int) -> int:
        """A register, or the bytes of it that `size` (1, 2, 4) covers; UARTDR takes a character."""
        if size not in (1, 2, 4) or offset % size:
            return 0
        word = self._read_word(offset & ~3)
        return word >> 8 * (offset % 4) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """A register."""
        if size in (1, 2, 4) and offset % 4 == 0:
            self._write_word(offset, value & (1 << 8 * size) - 1)

    def _read_word(self, offset: int) -> int:
        reader = self._readers.get(offset)
        if reader is not None:
            return reader()
        if Uart.PERIPH_ID0 <= offset <= Uart.PCELL_ID3:
            return _IDS[(offset - Uart.PERIPH_ID0) // 4]
        return self._plain.get(offset, 0)

    def _write_word(self, offset: int, value: int) -> None:
        writer = self._writers.get(offset)
        if writer is not None:
            writer(value)
        elif offset in self._plain:
            self._plain[offset] = value & _PLAIN_REGISTERS[Uart(offset)]

    def _write_character(self, value: int) -> None:
        """UARTDR. To a full FIFO the character is lost."""
        if len(self._transmit) < self._depth:
            self._transmit.append(value & 0xFF)
            self._raw &= ~INT_TX
            self._send()

    def _clear_errors(self, value: int) -> None:
        """UARTECR: any value."""
        del value
        self._errors = 0

    def _write_line_control(self, value: int) -> None:
        if (self._line_control ^ value) & LCR_H_FEN:
            self._flush()
        self._line_control = value & 0xFF

    def _write_control(self, value: int) -> None:
        self._control = value & _CR_WRITABLE
        self._send()

    def _clear_interrupts(self, value: int) -> None:
        self._raw &= ~value

    def _read_character(self) -> int:
        """UARTDR. From an empty FIFO, a zero character (the specification names none)."""
        overrun = DR_OE if self._overrun else 0
        if not self._receive:
            return overrun
        character = self._receive.popleft() | overrun
        if len(self._receive) < self._receive_trigger:
            self._raw &= ~INT_RX
        if self._receive:
            self._receive_timeout()
        else:
            self._raw &= ~INT_RT
        return character

    def _flags(self) -> int:
        depth = self._depth
        flags = FR_BUSY if self._transmit else FR_TXFE
        if len(self._transmit) >= depth:
            flags |= FR_TXFF
        if not self._receive:
            flags |= FR_RXFE
        elif len(self._receive) >= depth:
            flags |= FR_RXFF
        return flags

    def _flush(self) -> None:
        """Turning the FIFOs on or off empties them."""
        self._receive.clear()
        self._transmit.clear()
        self._raw &= ~(INT_RX | INT_RT)

    # State.

    def save(self) -> State:
        """The whole state, output not yet taken included."""
        return {
            "plain": [self._plain[register] for register in _PLAIN_REGISTERS],
            "line_control": self._line_control,
            "control": self._control,
            "raw": self._raw,
            "errors": self._errors,
            "overrun": int(self._overrun),
            "receive": list(self._receive),
            "transmit": list(self._transmit),
            "output": self._output.hex(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self._plain = dict(zip(_PLAIN_REGISTERS, saved_ints(state, "plain"), strict=True))
        self._line_control = saved_int(state, "line_control")
        self._control = saved_int(state, "control")
        self._raw = saved_int(state, "raw")
        self._errors = saved_int(state, "errors")
        self._overrun = bool(saved_int(state, "overrun"))
        self._receive = deque(saved_ints(state, "receive"))
        self._transmit = deque(saved_ints(state, "transmit"))
        self._output = bytearray(saved_bytes(state, "output"))
