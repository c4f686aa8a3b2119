# SPDX-License-Identifier: Apache-2.0
"""The registers pane: general registers, then system registers by field."""

import re
from collections.abc import Sequence

from rich.text import Text

from aether_edgecloud.emulator.arch.fields import FieldValue
from aether_edgecloud.emulator.replay.views.registers import CpuView, RegisterView
from aether_edgecloud.emulator.ui.model import styles
from aether_edgecloud.emulator.ui.model.row import Register, Row

_CHANGED = "*"
_LABEL = 3
_CELL = 1 + _LABEL + 1 + 16
_INDENT = "   "
_NUMBERED = re.compile(r"X\d+", re.IGNORECASE)


def rows(cpu: CpuView, width: int) -> list[Row]:
    """All of them, general registers in as many columns as fit. What the last step changed has a
    star and, where there is room, its value from before."""
    found: list[Row] = []
    # PC and PSTATE first: a small pane shows no more.
    for register in cpu.general:
        if not _NUMBERED.fullmatch(register.name):
            found += _row(register, width, f"{register.name.lower():<{_LABEL}}")
    numbered = [one for one in cpu.general if _NUMBERED.fullmatch(one.name)]
    across = columns(width)
    if across == 1:
        for register in numbered:
            found += _row(register, width, f"{register.name.lower():<{_LABEL}}")
    else:
        down = -(-len(numbered) // across)
        found += [_beside(numbered[first::down]) for first in range(down)]
    for register in cpu.vectors:
        found += _row(register, width, f"{register.name.lower():<{_LABEL}}")
    for register in cpu.system:
        found += _row(register, width, f"{register.name:<12}" if width >= 40 else register.name)
    return found


def columns(width: int) -> int:
    """Of general registers, in a pane of that width."""
    return max(1, min(4, (width + 1) // (_CELL + 1)))


def changes(cpu: CpuView) -> str:
    """What the last step changed, and from what; PC apart, which every step changes."""
    changed = [
        f"{one.name.lower() if one in cpu.general else one.name} was {one.before:x}"
        for one in (*cpu.general, *cpu.system)
        if one.before is not None and one.name.upper() != "PC"
    ]
    return ", ".join(changed)


def _beside(registers: Sequence[RegisterView]) -> Row:
    line = Text(" ").join(_value(one, f"{one.name.lower():<{_LABEL}}") for one in registers)
    first, *others = (Register(one.name, one.value) for one in registers)
    return Row(line, first, tuple(others))


def _value(register: RegisterView, label: str) -> Text:
    changed = register.before is not None
    return Text.assemble(
        (_CHANGED if changed else " ", styles.CHANGED),
        (label, styles.NAME),
        " ",
        (f"{register.value:0{register.width // 4}x}", styles.CHANGED if changed else ""),
    )


def _row(register: RegisterView, width: int, label: str) -> list[Row]:
    line = _value(register, label)
    if register.before is not None:
        line.append(f" was {register.before:x}", style=styles.DIM)
    elif register.note:
        line.append(f" {register.note}", style=styles.SYMBOL)
    if line.cell_len > width:
        line.truncate(width, overflow="ellipsis")
    return [Row(line, Register(register.name, register.value)), *_fields(register, width)]


def _fields(register: RegisterView, width: int) -> list[Row]:
    """Fields that are not zero, and those that the last step made so, as many on a line as fit."""
    before = {} if register.before is None else _before(register)
    words: list[Text] = []
    for field in register.fields:
        was = before.get((field.hi, field.lo), field.value)
        if not field.value and was == field.value:
            continue
        words.append(_field(field, was))
    lines: list[Text] = []
    for word in words:
        if lines and lines[-1].cell_len + 2 + word.cell_len <= width:
            lines[-1].append("  ").append_text(word)
        else:
            lines.append(Text(_INDENT).append_text(word))
    return [Row(line) for line in lines]


def _before(register: RegisterView) -> dict[tuple[int, int], int]:
    value = register.before or 0
    return {
        (field.hi, field.lo): value >> field.lo & ((1 << field.hi - field.lo + 1) - 1)
        for field in register.fields
    }


def _field(field: FieldValue, was: int) -> Text:
    flag = field.hi == field.lo and field.value == 1
    word = field.name if flag else f"{field.name}={field.value:#x}"
    if field.meaning:
        word += f" {field.meaning}"
    if was == field.value:
        return Text(word, style=styles.SOURCE)
    return Text(f"{_CHANGED}{word}", style=styles.CHANGED)
