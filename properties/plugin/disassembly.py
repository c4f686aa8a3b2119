# SPDX-License-Identifier: Apache-2.0
"""The instructions around an address, with the source lines they came from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import capstone

from aether_edgecloud.emulator.arch import mmu
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.elf.line_table import SourceLine
from aether_edgecloud.properties.plugin.source_lines import SourceLines

_BEFORE = 8
_AFTER = 6


@dataclass(frozen=True, slots=True)
class Code:
    """A binary in memory: where its first byte is, and its ELF file if there is one. Its sources
    are looked for below `roots`."""

    image: range
    elf: Path | None
    roots: Sequence[Path]


def around(cpu: Cpu, memory: PhysicalMemory, pc: int, el: int, code: Code) -> str:
    """The instructions around `pc` as EL `el` would fetch them; `->` stands before that one."""
    words = list(_words(cpu, memory, pc, el))
    if not any(va == pc for va, _, _ in words):
        return f"nothing can be fetched from {pc:#x} at EL{el}"
    names = symbols.load(code.elf, code.image)
    source = None if code.elf is None else SourceLines(code.elf, code.roots)
    engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    shown: list[str] = []
    function: str | None = None
    line: SourceLine | None = None
    for va, pa, word in words:
        name = (names.at(pa) or "").partition("+")[0]
        if name and name != function:
            shown.append(f"{name}:")
            function = name
        at = None if source is None or pa not in code.image else source.at(pa - code.image.start)
        is_assembly = at is not None and at.file.endswith((".S", ".s", ".asm"))
        if at is not None and at != line and not is_assembly:
            shown.append(f"      {at.file}:{at.number}  {at.text.strip()}".rstrip())
            line = at
        decoded = next(engine.disasm(word, va), None)
        text = ".word" if decoded is None else f"{decoded.mnemonic:<7} {decoded.op_str}".rstrip()
        arrow = "->" if va == pc else "  "
        if at is not None and is_assembly:
            text = f"{text:<36}  {at.file}:{at.number}"
        shown.append(f"{arrow} {va:#014x}  {int.from_bytes(word, 'little'):08x}  {text}")
    return "\n".join(shown)


def _words(cpu: Cpu, memory: PhysicalMemory, pc: int, el: int) -> Iterator[tuple[int, int, bytes]]:
    """VA, PA and bytes of the instructions that can be fetched."""
    for va in range(pc - 4 * _BEFORE, pc + 4 * (_AFTER + 1), 4):
        if not 0 <= va < 1 << 64:
            continue
        found = mmu.translate(cpu.translation.registers, memory, va, el, mmu.Access.FETCH)
        if isinstance(found, mmu.Fault) or not memory.is_ram(found.pa):
            continue
        start = found.pa - memory.ram_base
        yield va, found.pa, memory.bytes[start : start + 4].tobytes()
