# SPDX-License-Identifier: Apache-2.0
"""Export of the events in the trace format of casemate (github.com/rems-project/casemate, the
manual's section "trace format"), so that an independent checker can judge the same run.

One S-expression a line. A table page is initialised when it becomes live. casemate knows no more
than these: DSB of the Inner Shareable and Non-shareable domain (a wider one is written as ISH; one
for loads is left out), and no locks are known here, so its checker is to be run with --racy.
"""

from collections.abc import Iterable, Iterator

from aether_edgecloud.emulator.monitor.events import (
    REGISTERS,
    Dsb,
    Event,
    EventKind,
    Extent,
    Tlbi,
    decode_barrier,
    decode_tlbi,
)
from aether_edgecloud.stage2.decode import ENTRIES, PAGE


def _all_tlbi() -> dict[str, Tlbi]:
    found = (decode_tlbi(1 << 14 | rest) for rest in range(1 << 14))
    return {tlbi.name: tlbi for tlbi in found if tlbi is not None}


def _all_dsb() -> dict[str, Dsb]:
    found = (decode_barrier(0xD503_309F | crm << 8) for crm in range(16))
    return {dsb.name: dsb for dsb in found if isinstance(dsb, Dsb)}


_TLBI = _all_tlbi()
_DSB = _all_dsb()
_NAMED = frozenset(REGISTERS.values())


def export(events: Iterable[Event]) -> Iterator[str]:
    """The trace, line by line. The thread is the CPU; the source "PC" or "table" and, as its line,
    the number of instructions retired."""
    return _Export().lines(events)


class _Export:
    """A trace as it is written: the number of the next record, and what memory holds."""

    def __init__(self) -> None:
        self._number = 0
        self._pages: dict[int, list[int]] = {}

    def lines(self, events: Iterable[Event]) -> Iterator[str]:
        for event in events:
            for name, body in self._records(event):
                source = f"{event.pc:#x}" if event.pc else "table"
                yield (
                    f"({name} (id {self._number}) (tid {event.cpu}) {body}"
                    f'{" " if body else ""}(src "{source}:{event.instruction}"))'
                )
                self._number += 1

    def _records(self, event: Event) -> Iterator[tuple[str, str]]:
        match event.kind:
            case EventKind.TABLE:
                yield from self._table(event)
            case EventKind.STORE:
                self._pages[event.address & -PAGE][event.address % PAGE // 8] = event.value
                yield _write(event.address, event.value)
            case EventKind.DSB:
                kind = _dsb_kind(_DSB[event.name])
                if kind is not None:
                    yield "barrier", f"dsb (kind {kind})"
            case EventKind.ISB:
                yield "barrier", "isb"
            case EventKind.TLBI:
                has_operand = _TLBI[event.name].extent in (Extent.ADDRESS, Extent.ASID)
                operand = f" (value {event.value:#x})" if has_operand else ""
                yield "tlbi", f"{event.name}{operand}"
            case EventKind.MSR:
                if event.name in _NAMED:
                    yield "sysreg-write", f"(sysreg {event.name}) (value {event.value:#x})"

    def _table(self, event: Event) -> Iterator[tuple[str, str]]:
        """Its words, as far as the trace does not have them already."""
        known = self._pages.get(event.address)
        if known is None:
            known = self._pages[event.address] = [0] * ENTRIES
            yield "mem-init", f"(address {event.address:#x}) (size {PAGE:#x})"
        words = dict(event.words)
        for index in range(ENTRIES):
            word = words.get(index, 0)
            if known[index] != word:
                known[index] = word
                yield _write(event.address + 8 * index, word)


def _write(address: int, value: int) -> tuple[str, str]:
    return "mem-write", f"(mem-order plain) (address {address:#x}) (value {value:#x})"


def _dsb_kind(dsb: Dsb) -> str | None:
    if not dsb.stores:
        return None
    if not dsb.shareable:
        return "nsh"
    return "ish" if dsb.all_accesses else "ishst"
