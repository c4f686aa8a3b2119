# SPDX-License-Identifier: Apache-2.0
"""The state of one engine as a value: registers, what the hooks count and keep, translations.

Pointers are not part of it, so it fits any engine built with the same arguments. Nor is translated
code: Unicorn keeps it across a restore, except where memory is put back under it.
"""

import ctypes as c
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aether_edgecloud.emulator.cpu.context import Context
from aether_edgecloud.emulator.cpu.hooks import HookState, KeptAnswer, KeptFault, Tlb, TlbEntry

_POINTERS = (c.c_void_p, c.c_void_p * 7)


def _state_ranges() -> Iterator[tuple[int, int]]:
    """Offset and size of every run of fields in `HookState` that holds no pointer."""
    begin = end = 0
    for name, *kind in HookState._fields_:
        field = getattr(HookState, name)
        if kind[0] in _POINTERS:
            if end > begin:
                yield begin, end - begin
            begin = field.offset + field.size
        end = field.offset + field.size
    if end > begin:
        yield begin, end - begin


_RANGES = tuple(_state_ranges())

LAYOUT = (
    [(name, getattr(HookState, name).size) for name, *_ in HookState._fields_],
    [c.sizeof(kind) for kind in (TlbEntry, KeptAnswer, KeptFault)],
)
"""Equal where a saved state means the same."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """What one engine was, as bytes."""

    context: bytes
    hooks: tuple[bytes, ...]
    tlb_entries: bytes
    tlb_large: bytes
    tables: tuple[bytes, ...]


class EngineBuffers:
    """The buffers that hold the state of one engine, its `context` only for the moment.

    `tables` are small ones that are taken over whole.
    """

    def __init__(
        self,
        state: HookState,
        context: Context,
        tlb: Tlb,
        restore_tlb: "c._FuncPointer",
        tables: "tuple[c.Array[Any], ...]",
    ) -> None:
        self._state = state
        self._context = context
        self._tlb = tlb
        self._restore_tlb = restore_tlb
        self._tables = tables

    def save(self) -> EngineState:
        """The state of the engine, which is stopped."""
        self._context.save()
        tlb, address = self._tlb, c.addressof(self._state)
        entries, large = (c.addressof(tlb) + f.offset for f in (Tlb.entries, Tlb.large))
        return EngineState(
            self._context.state(),
            tuple(c.string_at(address + offset, size) for offset, size in _RANGES),
            c.string_at(entries, tlb.count * c.sizeof(TlbEntry)),
            c.string_at(large, tlb.large_count * c.sizeof(c.c_uint32)),
            tuple(bytes(table) for table in self._tables),
        )

    def restore(self, saved: EngineState) -> None:
        """Put it back. Unicorn's TLB is flushed by whoever calls."""
        self._context.set_state(saved.context)
        self._context.restore()
        address = c.addressof(self._state)
        for (offset, size), data in zip(_RANGES, saved.hooks, strict=True):
            c.memmove(address + offset, data, size)
        self._restore_tlb(
            c.byref(self._state),
            saved.tlb_entries,
            len(saved.tlb_entries) // c.sizeof(TlbEntry),
            saved.tlb_large,
            len(saved.tlb_large) // c.sizeof(c.c_uint32),
        )
        for table, data in zip(self._tables, saved.tables, strict=True):
            c.memmove(table, data, c.sizeof(table))
