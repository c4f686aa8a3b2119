# SPDX-License-Identifier: Apache-2.0
"""The state of one engine as a value: registers, what the hooks count and keep, translations.

Pointers are not part of it, so it fits any engine built with the same arguments. Nor is translated
code: Unicorn keeps it across a restore, except where memory is put back under it.
"""

import ctypes as c
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from unicorn import arm64_const

from aether_edgecloud.emulator.cpu.context import Context, clock_offset, monitor_offset, state_size
from aether_edgecloud.emulator.cpu.hooks import (
    CODE_LINES,
    KEPT_ANSWERS,
    KEPT_FAULTS,
    TLB_ENTRIES,
    HookState,
    KeptAnswer,
    KeptFault,
    Tlb,
    TlbEntry,
)

_POINTERS = (c.c_void_p, c.c_void_p * 7)
_CONSTANTS = {"ram_base", "ram_size", "peer_count", "exclusive_offset", "lockup_limit", "is_native"}
_CONSTANTS |= {name for name, *_ in HookState._fields_ if name.startswith(("reg_", "ctl_"))}
"""What an engine is built with. The hooks trust it, so no saved state brings it along."""


def _is_saved(name: str, kind: object) -> bool:
    return kind not in _POINTERS and name not in _CONSTANTS


def _state_ranges() -> Iterator[tuple[int, int]]:
    """Offset and size of every run of fields in `HookState` that are saved."""
    begin = end = 0
    for name, *kind in HookState._fields_:
        field = getattr(HookState, name)
        if not _is_saved(name, kind[0]):
            if end > begin:
                yield begin, end - begin
            begin = field.offset + field.size
        end = field.offset + field.size
    if end > begin:
        yield begin, end - begin


_RANGES = tuple(_state_ranges())
_MODEL = arm64_const.UC_CPU_ARM64_A72
_TABLES = (KEPT_ANSWERS * c.sizeof(KeptAnswer), KEPT_FAULTS * c.sizeof(KeptFault))


@cache
def layout() -> tuple[object, ...]:
    """Equal where a saved state means the same: fields of the hooks' state, sizes of what they
    keep, and what Unicorn's state looks like, which differs between builds of one version."""
    return (
        [(name, getattr(HookState, name).size) for name, *_ in HookState._fields_],
        _RANGES,
        [c.sizeof(kind) for kind in (TlbEntry, KeptAnswer, KeptFault)],
        [state_size(_MODEL), monitor_offset(_MODEL), clock_offset()],
    )


@dataclass(frozen=True, slots=True)
class EngineState:
    """What one engine was, as bytes."""

    context: bytes
    hooks: tuple[bytes, ...]
    tlb_entries: bytes
    tlb_large: bytes
    tables: tuple[bytes, ...]

    def check(self) -> None:
        """ValueError unless it has the shape of such a state: what comes from a file may not."""
        if (
            len(self.context) != state_size(_MODEL)
            or tuple(map(len, self.hooks)) != tuple(size for _, size in _RANGES)
            or tuple(map(len, self.tables)) != _TABLES
        ):
            raise ValueError("the state of another kind of CPU")
        size = c.sizeof(TlbEntry)
        count, rest = divmod(len(self.tlb_entries), size)
        large = memoryview(self.tlb_large).cast("I")
        if rest or max(count, len(large)) > TLB_ENTRIES or any(n >= count for n in large):
            raise ValueError("a TLB that no CPU has")
        if any(n >= 64 for n in self.tlb_entries[TlbEntry.size_log2.offset :: size]):
            raise ValueError("a page that no table has")
        if self.field("el") > 2 or self.field("code_line_count") > CODE_LINES + 1:
            raise ValueError("counters that no CPU has")
        # What they count is not part of the state: a CPU that is saved has handed all over.
        if self.field("exit_count"):
            raise ValueError("stays at EL2 that nobody has")
        if any(n % 8 for n in self._descriptors()):
            raise ValueError("a descriptor that no table has")

    def field(self, name: str) -> int:
        """A number among what the hooks keep. KeyError for one that is not saved."""
        place = getattr(HookState, name)
        for (offset, size), data in zip(_RANGES, self.hooks, strict=True):
            if offset <= place.offset < offset + size:
                at = place.offset - offset
                return int.from_bytes(data[at : at + place.size], sys.byteorder)
        raise KeyError(name)

    def _descriptors(self) -> list[int]:
        """PAs of those on which kept faults ended."""
        faults = (KeptFault * KEPT_FAULTS).from_buffer_copy(self.tables[1])
        return [fault.descriptor_pa for fault in faults]


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
