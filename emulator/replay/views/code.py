# SPDX-License-Identifier: Apache-2.0
"""Instructions around an address, with the source lines they came from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import capstone

from aether_edgecloud.emulator.replay.program import SourceLine
from aether_edgecloud.emulator.replay.views.memory import Space, Translator, translator

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.replay import Replay

__all__ = ["Instruction", "SourceLine", "disassembly"]

_ENGINE = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
_MASK64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `symbol` is `name+0x10`; `target` is where a direct branch goes. `word` is
    None where nothing can be fetched, and `text` says why."""

    va: int
    pa: int | None
    word: int | None
    text: str
    symbol: str | None = None
    source: SourceLine | None = None
    target: int | None = None
    target_symbol: str | None = None
    is_current: bool = False


def disassembly(
    replay: "Replay",
    *,
    at: int | None = None,
    before: int = 8,
    after: int = 12,
    cpu: int | None = None,
    el: int | None = None,
) -> tuple[Instruction, ...]:
    """Instructions around VA `at` (the PC of the cursor's CPU), as that CPU would fetch them at its
    EL, or at `el`."""
    number = replay.cpu if cpu is None else cpu
    core = replay.machine.cpus[number]
    level = core.current_el if el is None else el
    start = (core.pc if at is None else at) & ~3
    memory = translator(replay, number)
    first = max(start - 4 * before, 0)
    last = min(start + 4 * after, _MASK64 - 3)
    pc = core.pc if level == core.current_el else None
    return tuple(_instructions(replay, memory, range(first, last + 4, 4), level, pc))


def _instructions(
    replay: "Replay", memory: Translator, addresses: range, el: int, pc: int | None
) -> Iterator[Instruction]:
    space = Space.VA_EL2 if el == 2 else Space.VA_GUEST
    for piece in memory.pieces(addresses.start, len(addresses) * 4, space):
        for offset in range(0, piece.size, 4):
            va = piece.start + offset
            is_current = va == pc
            if piece.data is None or piece.pa is None:
                yield Instruction(va, piece.pa, None, piece.why, is_current=is_current)
                continue
            word = int.from_bytes(piece.data[offset : offset + 4], "little")
            yield _instruction(replay, va, piece.pa + offset, word, el, is_current=is_current)


def _instruction(
    replay: "Replay", va: int, pa: int, word: int, el: int, *, is_current: bool
) -> Instruction:
    text = f".word   {word:#010x}"
    decoded = next(_ENGINE.disasm(word.to_bytes(4, "little"), va), None)
    if decoded is not None:
        text = f"{decoded.mnemonic:<7} {decoded.op_str}".rstrip()
    target = _target(va, word)
    if el != 2:
        return Instruction(va, pa, word, text, target=target, is_current=is_current)
    symbols = replay.symbols
    return Instruction(
        va,
        pa,
        word,
        text,
        symbols.at(va),
        replay.source_line(va),
        target,
        None if target is None else symbols.at(target),
        is_current,
    )


def _target(va: int, word: int) -> int | None:
    """Where a direct branch goes."""
    if word & 0x7C00_0000 == 0x1400_0000:  # B, BL
        offset, bits = word, 26
    elif word & 0xFF00_0010 == 0x5400_0000 or word & 0x7E00_0000 == 0x3400_0000:  # B.cond, CB(N)Z
        offset, bits = word >> 5, 19
    elif word & 0x7E00_0000 == 0x3600_0000:  # TB(N)Z
        offset, bits = word >> 5, 14
    else:
        return None
    offset &= (1 << bits) - 1
    offset -= (offset >> bits - 1) << bits
    return (va + 4 * offset) & _MASK64
