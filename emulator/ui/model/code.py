# SPDX-License-Identifier: Apache-2.0
"""The code pane: instructions with the functions and source lines they came from."""

from collections.abc import Set
from dataclasses import dataclass

from rich.text import Text

from aether_edgecloud.emulator.replay.program import SourceLine
from aether_edgecloud.emulator.replay.views import code as view
from aether_edgecloud.emulator.ui.model import styles
from aether_edgecloud.emulator.ui.model.row import Filled, Instruction, Row

_ASSEMBLY = (".S", ".s", ".asm")
_CALM = 3
"""The cursor's row: the n-th part of the pane lies above it."""


@dataclass(frozen=True, slots=True)
class Code:
    """What is pointed at: VAs of the cursor and of breakpoints."""

    cursor: int
    breakpoints: Set[int] = frozenset()


def rows(instructions: tuple[view.Instruction, ...], code: Code) -> list[Row]:
    """All of them, each function's name and each source line before its first instruction."""
    found: list[Row] = []
    function: str | None = None
    line: SourceLine | None = None
    digits = max((len(f"{one.va:x}") for one in instructions), default=1)
    for one in instructions:
        name = (one.symbol or "").partition("+")[0] or None
        if name != function and name is not None:
            found.append(Row(Text(f"{name}:", style=styles.SYMBOL)))
        function = name
        source = one.source
        if source is not None and source != line and not source.file.endswith(_ASSEMBLY):
            found.append(Row(_source(source)))
        line = source
        found.append(Row(_instruction(one, code, digits), Instruction(one.va)))
    return found


def _source(line: SourceLine) -> Text:
    place = f"{line.file.rpartition('/')[2]}:{line.number}"
    return Text.assemble(("  " + place + " ", styles.DIM), (line.text.strip(), styles.SOURCE))


def _instruction(one: view.Instruction, code: Code, digits: int) -> Text:
    mark = "●" if one.va in code.breakpoints else " "
    arrow = "▶" if one.is_current else " "
    line = Text.assemble(
        (mark, styles.ALARM),
        arrow,
        (f"{one.va:0{digits}x} ", styles.DIM),
        (one.text, styles.DIM if one.word is None else ""),
    )
    if one.target_symbol is not None:
        line.append(f" {one.target_symbol}", style=styles.SYMBOL)
    source = one.source
    if source is not None and source.file.endswith(_ASSEMBLY):
        line.append(f"  {source.file.rpartition('/')[2]}:{source.number}", style=styles.DIM)
    if one.is_current:
        line.stylize(styles.NAME)
    return line


def fill(instructions: tuple[view.Instruction, ...], code: Code, title: str, height: int) -> Filled:
    """The pane, the cursor's row always at the same place."""
    lines = rows(instructions, code)
    wanted = Instruction(code.cursor)
    cursor = next((n for n, row in enumerate(lines) if row.subject == wanted), None)
    top = 0 if cursor is None else max(0, cursor - height // _CALM)
    shown = lines[top : top + height]
    return Filled(title, shown, None if cursor is None else cursor - top)
