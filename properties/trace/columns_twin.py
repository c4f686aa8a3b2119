# SPDX-License-Identifier: Apache-2.0
"""The encoder of a trace's columns (`trace_columns.c`) in Python."""

from dataclasses import dataclass, field

import numpy as np

from aether_edgecloud.emulator.trace.columns import EVENT, OP, PAGE, PARTIAL, SLOTS, Columns
from aether_edgecloud.emulator.trace.operations import REGISTERS, operation

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions that follow one another."""

    pc: int
    words: tuple[int, ...]


@dataclass
class TwinColumns:
    """The columns of one chunk, and what they depend on."""

    cpus: int
    shadow: list[list[int]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    payload: bytearray = field(default_factory=bytearray)
    events: list[tuple[int, ...]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    executions: list[int] = field(default_factory=list)
    partials: list[tuple[int, int, int]] = field(default_factory=list)
    pages: list[tuple[int, int, int]] = field(default_factory=list)
    slots: dict[int, tuple[int, int, int, int, int]] = field(default_factory=dict)
    instructions: int = 0
    accesses: int = 0
    position: int = _MASK
    cpu: int = 0
    el: int = 0
    vm: int = 0

    def __post_init__(self) -> None:
        self.shadow = [[0] * REGISTERS for _ in range(self.cpus)]

    def value(self, cpu: int, register: int, value: int) -> None:
        """What a register is now, as the difference to what it was, in the fewest bytes."""
        difference = (value - self.shadow[cpu][register]) & _MASK
        self.shadow[cpu][register] = value
        signed = difference - (1 << 64) if difference >> 63 else difference
        length = 0 if signed == 0 else next(n for n in range(1, 9) if -(1 << 8 * n - 1) <= signed < 1 << 8 * n - 1)  # noqa: E501  # fmt: skip
        self.lengths.append(length)
        self.payload += difference.to_bytes(8, "little")[:length]

    def event(self, kind: int, a: int, b: int, value: int, d: int) -> None:
        """Before the next instruction."""
        row = (self.position, a, b, value, d, self.instructions, kind, self.cpu, self.el, self.vm)
        self.events.append(row)

    def execution(self, block: Block) -> None:
        """A block begins."""
        if block not in self.blocks:
            self.blocks.append(block)
            self.words += [word for word in dict.fromkeys(block.words) if word not in self.words]
        self.executions.append(self.blocks.index(block))

    def leave(self, block: Block, begun: int, done: int) -> None:
        """It is left: `done` instructions from number `begun` on."""
        if done == 0:
            self.executions.pop()
        elif done != len(block.words):
            self.partials.append((len(self.executions) - 1, begun, done))

    def page(self, page: int, physical: int, epoch: int, cpu: int, el: int) -> None:
        """The page of an access."""
        slot = (page ^ page >> 12) % SLOTS
        old = self.slots.get(slot)
        if old is not None and old[0] == page and old[2:] == (epoch, cpu, el):
            return
        if old is None or old[:2] != (page, physical):
            self.pages.append((self.accesses, slot, physical))
        self.slots[slot] = (page, physical, epoch, cpu, el)

    def columns(self, before: list[list[int]]) -> Columns:
        """The chunk; `before` are the registers at its beginning."""
        ops = np.zeros(len(self.words), OP)
        for row, word in zip(ops, self.words, strict=True):
            o = operation(word)
            row["word"] = word
            for name in OP.names or ():
                if name not in ("word", "id", "chunk"):
                    row[name] = getattr(o, name)
        code = [self.words.index(word) for block in self.blocks for word in block.words]
        return Columns(
            _MASK,
            0,
            0,
            0,
            self.instructions,
            self.accesses,
            np.array(before, np.uint64),
            ops,
            np.array([block.pc for block in self.blocks], np.uint64),
            np.array([len(block.words) for block in self.blocks], np.uint16),
            np.array(code, np.uint32),
            np.array(self.executions, np.uint16),
            np.array(self.partials, PARTIAL),
            np.array(self.lengths, np.uint8),
            np.frombuffer(bytes(self.payload), np.uint8),
            np.array(self.pages, PAGE),
            np.array(self.events, EVENT),
        )
