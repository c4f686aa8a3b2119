# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of a recording's file, in any order."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property

import numpy as np

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.machine.ram_copies import Pages
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording import chunks, document, state
from aether_edgecloud.emulator.recording.document import Sections, Values
from aether_edgecloud.emulator.recording.identity import Identity
from aether_edgecloud.emulator.recording.pages import U32, PageReader
from aether_edgecloud.emulator.recording.writer import BASE_EVERY

_KEPT = 8
"""Checkpoints and bases that are kept decoded."""
Read = Callable[[], bytes]


class FileCheckpoints:
    """`Checkpoints` of a file. `tables`, `checkpoints` and `frames` read chunks, the latter each
    with the number of its first content; `reading` turns what goes wrong into the user's error."""

    def __init__(
        self,
        identity: Identity,
        at_reset: Pages,
        tables: Sequence[Read],
        checkpoints: Sequence[Read],
        frames: Sequence[tuple[int, Read]],
        output: Callable[[], bytes],
        given: tuple[tuple[int, int], ...],
        reading: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._identity = identity
        self._at_reset = at_reset
        self._table_chunks = tables
        self._checkpoints = checkpoints
        self._frames = frames
        self._output = output
        self._given = given
        self._reading = reading
        self._documents: OrderedDict[int, tuple[Values, Sections]] = OrderedDict()
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()

    @cached_property
    def positions(self) -> Sequence[int]:
        """Instructions that had retired in all at each."""
        return self._tables[0]

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
        return state.decode(
            values,
            sections,
            machine=self._identity.machine,
            ram=self._page_reader.pages(self._table(index)),
            output=self._output(),
            given=self._given,
        )

    def _document(self, index: int) -> tuple[Values, Sections]:
        found = self._documents.get(index)
        if found is None:
            found = self._documents[index] = chunks.unpack_document(self._checkpoints[index]())
        self._documents.move_to_end(index)
        if len(self._documents) > _KEPT:
            self._documents.popitem(last=False)
        return found

    @cached_property
    def _tables(self) -> tuple[list[int], list[tuple[U32, U32]]]:
        """Position of each checkpoint, and the pages in which it differs from the one before."""
        positions, changes = [], []
        with self._reading():
            for read in self._table_chunks:
                values, sections = chunks.unpack_document(read())
                positions.append(values["instructions"])
                pages = np.frombuffer(sections["pages"], "<u4")
                changes.append((pages, np.frombuffer(sections["contents"], "<u4")))
        return positions, changes

    @cached_property
    def _touched(self) -> list[frozenset[int]]:
        with self._reading():
            documents = [chunks.unpack_document(read()) for read in self._table_chunks]
            return [
                frozenset(np.frombuffer(sections["touched"], "<u4").tolist())
                for _, sections in documents
            ]

    def _table(self, index: int) -> U32:
        """The number of the content of each page."""
        table = self._page_reader.table_at_reset(self._identity.board.ram_size // PAGE_SIZE)
        for pages, contents in self._tables[1][: index + 1]:
            table[pages] = contents
        return table

    @cached_property
    def _page_reader(self) -> PageReader:
        firsts = [first for first, _ in self._frames]
        return PageReader(self._at_reset, firsts, lambda number: self._frames[number][1]())
