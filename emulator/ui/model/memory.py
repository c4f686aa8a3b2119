# SPDX-License-Identifier: Apache-2.0
"""The memory pane: bytes around its cursor."""

from rich.text import Text

from aether_edgecloud.emulator.replay.views.memory import MemoryView
from aether_edgecloud.emulator.ui.model import styles
from aether_edgecloud.emulator.ui.model.row import Address, Filled, Row

_NONE = ".."
ADDRESS_DIGITS = 16


def bytes_across(width: int) -> int:
    """How many bytes a row has: 16 where they fit, or 8, or 4."""
    for count in (16, 8):
        if width >= ADDRESS_DIGITS + 1 + 3 * count + 1 + count:
            return count
    return 8 if width >= 8 + 1 + 3 * 8 else 4


def first_of(cursor: int, across: int, height: int) -> int:
    """The address of the first byte of a pane whose cursor is in the middle row."""
    row = cursor - cursor % across
    return max(0, min(row - height // 2 * across, (1 << 64) - height * across))


def fill(view: MemoryView, cursor: int, width: int, title: str) -> Filled:
    """The pane. What the last step changed is bold and has a star behind it."""
    across = bytes_across(width)
    rows: list[Row] = []
    on: int | None = None
    digits = 16 if width >= ADDRESS_DIGITS + 4 * across + 2 else max(8, _digits(view))
    data = view.data
    for offset in range(0, len(data), across):
        start = view.start + offset
        if start <= cursor < start + across:
            on = len(rows)
        line = Text(f"{start:0{digits}x}", style=styles.DIM)
        part = data[offset : offset + across]
        for number, byte in enumerate(part, offset):
            line.append("*" if number in view.changed else " ", style=styles.CHANGED)
            style = styles.CHANGED if number in view.changed else ""
            if view.start + number == cursor:
                style = styles.CURRENT
            line.append(_NONE if byte is None else f"{byte:02x}", style=style)
        if width >= digits + 4 * across + 1:
            line.append(" " + "".join(_character(byte) for byte in part), style=styles.DIM)
        rows.append(Row(line, Address(view.space, cursor if on == len(rows) else start)))
    return Filled(title, rows, on)


def where(view: MemoryView, cursor: int) -> str:
    """What the cursor's address is in memory, in words."""
    for piece in view.pieces:
        if piece.start <= cursor < piece.start + piece.size:
            return piece.why or f"PA {(piece.pa or 0) + cursor - piece.start:#x}"
    return ""


def _digits(view: MemoryView) -> int:
    return len(f"{view.start + view.size - 1:x}")


def _character(byte: int | None) -> str:
    return chr(byte) if byte is not None and 0x20 <= byte < 0x7F else "."
