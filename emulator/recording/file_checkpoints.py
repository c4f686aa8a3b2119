# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of a recording's file, in any order."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.machine.ram_copies import Pages
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording import chunks, document
from aether_edgecloud.emulator.recording.contents import Table
from aether_edgecloud.emulator.recording.document import Malformed, Sections, Values
from aether_edgecloud.emulator.recording.identity import Identity
from aether_edgecloud.emulator.recording.pages import U32, PageReader
from aether_edgecloud.emulator.recording.state import StateDecoder
from aether_edgecloud.emulator.recording.writer import BASE_EVERY

_KEPT = 8
"""Checkpoints and bases that are kept decoded."""
Read = Callable[[], bytes]


class FileCheckpoints:
    """`Checkpoints` of a file. `checkpoints` and `frames` read chunks, the latter each with the
    number of its first content; `reading` turns what goes wrong into the user's error."""

    def __init__(
        self,
        identity: Identity,
        at_reset: Pages,
        tables: Sequence[Table],
        checkpoints: Sequence[Read],
        frames: Sequence[tuple[int, Read]],
        output: Callable[[], bytes],
        given: tuple[tuple[int, int], ...],
        reading: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._identity = identity
        self._at_reset = at_reset
        self._tables = tables
        self._checkpoints = checkpoints
        self._frames = frames
        self._output = output
        self._given = given
        self._reading = reading
        self._decoder = StateDecoder(identity)
        self._documents: OrderedDict[int, tuple[Values, Sections]] = OrderedDict()
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()

    @cached_property
    def positions(self) -> Sequence[int]:
        """Instructions that had retired in all at each."""
        return [table.position for table in self._tables]

    def touched(self, index: int) -> frozenset[int] | None:
        """The pages of RAM, by number, that may have been written from checkpoint `index` to the
        next; None after the last."""
        return self._touched[index + 1] if index + 1 < len(self._touched) else None

    def load(self, index: int) -> Snapshot:
        """One of them. UserError where the file is damaged."""
        index = range(len(self._checkpoints))[index]
        with self._reading():
            found = self._snapshots.get(index)
            if found is None:
                found = self._snapshots[index] = self._decode(index)
            self._snapshots.move_to_end(index)
            if len(self._snapshots) > _KEPT:
                self._snapshots.popitem(last=False)
            return found

    def _decode(self, index: int) -> Snapshot:
        values, sections = self._document(index)
        base = index - index % BASE_EVERY
        if base != index:
            none = b""
            _, others = self._document(base)
            sections = {
                name: document.difference(data, others.get(name, none))
                for name, data in sections.items()
            }
        found = self._decoder.decode(
            values,
            sections,
            ram=self._page_reader.pages(self._table(index)),
            output=self._output(),
            given=self._given,
        )
        if found.instructions != self._tables[index].position:
            raise Malformed("a checkpoint at another place than its table says")
        return found

    def _document(self, index: int) -> tuple[Values, Sections]:
        found = self._documents.get(index)
        if found is None:
            found = self._documents[index] = chunks.unpack_document(self._checkpoints[index]())
        self._documents.move_to_end(index)
        if len(self._documents) > _KEPT:
            self._documents.popitem(last=False)
        return found

    @cached_property
    def _touched(self) -> list[frozenset[int]]:
        return [frozenset(table.touched.tolist()) for table in self._tables]

    def _table(self, index: int) -> U32:
        """The number of the content of each page."""
        table = self._page_reader.table_at_reset(self._identity.board.ram_size // PAGE_SIZE)
        for change in self._tables[: index + 1]:
            table[change.pages] = change.contents
        return table

    @cached_property
    def _page_reader(self) -> PageReader:
        firsts = [first for first, _ in self._frames]
        return PageReader(self._at_reset, firsts, lambda number: self._frames[number][1]())
