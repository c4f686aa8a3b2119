# SPDX-License-Identifier: Apache-2.0
"""The stack pane: the functions that are active, then what SP points to."""

from collections.abc import Sequence

from rich.text import Text

from aether_edgecloud.emulator.replay.views.backtrace import Frame, StackWord
from aether_edgecloud.emulator.replay.views.memory import Space
from aether_edgecloud.emulator.ui.model import styles
from aether_edgecloud.emulator.ui.model.row import Address, Instruction, Row


def rows(frames: Sequence[Frame], words: Sequence[StackWord]) -> list[Row]:
    """Frames, the innermost first; words by rising address."""
    found: list[Row] = []
    el: int | None = None
    for frame in frames:
        if el is not None and frame.el != el:
            found.append(Row(Text(f"-- interrupted at EL{frame.el}", style=styles.DIM)))
        el = frame.el
        found.append(_frame(frame))
    if words:
        found.append(Row(Text("-- from SP", style=styles.DIM)))
    for word in words:
        shown = "nothing mapped" if word.value is None else f"{word.value:016x}"
        line = Text.assemble((f"{word.va:x} ", styles.DIM), shown)
        if word.symbol:
            line.append(f" {word.symbol}", style=styles.SYMBOL)
        found.append(Row(line, Address(Space.VA, word.va)))
    return found


def _frame(frame: Frame) -> Row:
    line = Text.assemble(
        (f"#{frame.number:<2} ", styles.DIM), (frame.symbol or f"{frame.pc:x}", "")
    )
    if frame.source is not None:
        file = frame.source.file.rpartition("/")[2]
        line.append(f" {file}:{frame.source.number}", style=styles.DIM)
    return Row(line, Instruction(frame.pc))
