# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor really holds, compared with the specification: the frame table, every VM's
stage 2 as a walker would read it, and what lies in the frames.

Tables are looked at as bytes first: what has not changed since the last look is not read again.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.properties.attack.abi import FrameState, Life
from aether_edgecloud.properties.attack.ownership import (
    Frame,
    Page,
    Rights,
    State,
    broken_laws,
    owner_byte,
)
from aether_edgecloud.properties.attack.puppets import PAGE, Puppets
from aether_edgecloud.properties.attack.verdict import Wrong
from aether_edgecloud.stage2.decode import Decoded, Geometry, decode_tables

WORD = 0xFF8
"""Offset in a page of the word whose value is followed."""
FRAME_SIZE = 4  # struct frame: owner, state, borrower, zero
_ZEROS = bytes(PAGE)

# A stage-2 descriptor (Arm ARM D8.3.2): MemAttr Normal WB, readable, inner shareable, AF.
_RAM = 0xF << 2 | 1 << 6 | 3 << 8 | 1 << 10
_RAM_MASK = 0xF << 2 | 1 << 6 | 3 << 8 | 1 << 10
_WRITE = 1 << 7
_EXECUTE_NEVER = 1 << 54


@dataclass(slots=True)
class _Space:
    """A VM's stage 2 as it was when last looked at."""

    vttbr: int
    tables: dict[int, bytes] = field(default_factory=dict)
    leaf_tables: dict[int, int] = field(default_factory=dict)
    """PA of a level-3 table: its first page number."""
    pages: dict[int, Page] = field(default_factory=dict)
    devices: dict[int, int] = field(default_factory=dict)
    """Page number: frame number, of what is not RAM."""


class Oracle:
    """Looks at the machine of these puppets."""

    def __init__(self, puppets: Puppets) -> None:
        self._puppets = puppets
        self._memory = puppets.machine.memory.bytes
        self._words = self._memory.cast("Q")
        self._base = puppets.machine.board.ram_base
        address = puppets.symbols.address_of("frame_banks")
        assert address is not None
        base, self._count, frames = struct.unpack("<QQQ", puppets.read(address, 24))
        self._first = base >> 12
        offset = frames - self._base
        self._frames = self._memory[offset : offset + self._count * FRAME_SIZE]
        cpu = puppets.machine.cpu
        self._vtcr = cpu.native(reg.VTCR_EL2)
        self._spaces = {vm: _Space(vttbr) for vm, vttbr in puppets.machine.vttbr.items()}
        self._seen_frames = b""
        self._seen_state: State | None = None
        self._expected = bytearray(self._frames)
        self._entered: dict[int, Frame] = {}
        """The frames as they stand in `_expected`."""
        for vm in self._spaces:
            self._read_all(vm)
        self.devices = {vm: dict(space.devices) for vm, space in self._spaces.items()}
        """Windows to devices that the VMs were given at boot."""

    def forget(self) -> None:
        """The machine was put back to another moment: everything is read anew."""
        self._seen_frames = b""
        self._seen_state = None

    # What is there.

    def fingerprint(self) -> tuple[bytes, ...]:
        """All tables and the frame table: what a call that fails leaves as it is."""
        tables = [self._page(pa) for space in self._spaces.values() for pa in space.tables]
        return (bytes(self._frames), *tables)

    def _page(self, pa: int) -> bytes:
        offset = pa - self._base
        return bytes(self._memory[offset : offset + PAGE])

    def word(self, frame: int) -> int:
        """The followed word of a frame."""
        return self._words[((frame << 12) - self._base + WORD) >> 3]

    def is_zero(self, frame: int) -> bool:
        return self._page(frame << 12) == _ZEROS

    def frame(self, number: int) -> tuple[int, int, int]:
        """Owner, state, borrower, as bytes."""
        at = (number - self._first) * FRAME_SIZE
        return self._frames[at], self._frames[at + 1], self._frames[at + 2]

    def entry(self, vm: int, page: int) -> int:
        """PA of a VM's level-3 entry for a page."""
        for pa, first in self._spaces[vm].leaf_tables.items():
            if first <= page < first + 512:
                return pa + (page - first) * 8
        raise ValueError(f"page {page:#x} has no level-3 table")

    def _read_all(self, vm: int) -> None:
        space = self._spaces[vm]
        geometry = Geometry.stage2(self._vtcr, space.vttbr & (1 << 48) - 1)
        decoded = decode_tables(self._read_table, geometry)
        if decoded.malformed:
            raise Wrong(f"stage 2 of VM {vm} is malformed: {decoded.malformed[0]}")
        self._check_tables(vm, decoded)
        space.tables = {table.pa: self._page(table.pa) for table in decoded.tables}
        space.leaf_tables = {t.pa: t.ia >> 12 for t in decoded.tables if t.level == 3}
        space.pages, space.devices = {}, {}
        for leaf in decoded.leaves:
            for offset in range(0, leaf.size, PAGE):
                self._put(vm, leaf.ia + offset >> 12, leaf.pa + offset >> 12, leaf.descriptor)

    def _read_table(self, pa: int, entries: int, /) -> Sequence[int] | None:
        if not 0 <= pa - self._base <= len(self._memory) - PAGE:
            return None
        at = (pa - self._base) >> 3
        return self._words[at : at + entries].tolist()

    def _check_tables(self, vm: int, decoded: Decoded) -> None:
        for table in decoded.tables:
            owner, state, _ = self.frame(table.pa >> 12)
            if state != FrameState.TABLE:
                raise Wrong(f"VM {vm} has a table at {table.pa:#x}, a frame of owner {owner}")

    def _put(self, vm: int, page: int, frame: int, descriptor: int) -> None:
        space = self._spaces[vm]
        if not 0 <= frame - self._first < self._count:
            space.devices[page] = frame
            return
        if descriptor & _RAM_MASK != _RAM:
            raise Wrong(f"VM {vm} maps RAM at page {page:#x} by descriptor {descriptor:#x}")
        rights = Rights(bool(descriptor & _WRITE), not descriptor & _EXECUTE_NEVER)
        space.pages[page] = Page(frame, rights)

    def refresh(self) -> bool:
        """Reads what has changed. Whether anything has."""
        changed = False
        for vm, space in self._spaces.items():
            stale = [pa for pa, data in space.tables.items() if self._differs(pa, data)]
            if not stale:
                continue
            changed = True
            if all(pa in space.leaf_tables for pa in stale):
                for pa in stale:
                    self._read_leaves(vm, pa)
            else:
                self._read_all(vm)
        return changed

    def _differs(self, pa: int, data: bytes) -> bool:
        return self._page(pa) != data  # a memoryview would compare item by item

    def _read_leaves(self, vm: int, pa: int) -> None:
        """The entries of one level-3 table that differ from those seen last."""
        space = self._spaces[vm]
        first = space.leaf_tables[pa]
        old = memoryview(space.tables[pa]).cast("Q").tolist()
        new = self._read_table(pa, 512)
        assert new is not None
        for index, descriptor in enumerate(new):
            if descriptor == old[index]:
                continue
            page = first + index
            space.pages.pop(page, None)
            space.devices.pop(page, None)
            if descriptor & 1:
                self._put(vm, page, descriptor >> 12 & (1 << 36) - 1, descriptor)
        space.tables[pa] = self._page(pa)

    # What must be there.

    def check(self, state: State) -> None:
        """Wrong if the machine is not in this state."""
        moved = self.refresh()
        frames = bytes(self._frames)
        before = self._seen_state
        if frames != self._seen_frames or before is None or state.frames is not before.frames:
            self._check_frames(state, frames)
            self._seen_frames = frames
        if moved or before is None or state.maps is not before.maps or state.lives != before.lives:
            self._check_maps(state)
        self._check_values(state)
        self._seen_state = state

    def _check_frames(self, state: State, frames: bytes) -> None:
        expected, entered = self._expected, self._entered
        for number, frame in state.frames.items():
            if entered.get(number) is not frame:
                entered[number] = frame
                at = (number - self._first) * FRAME_SIZE
                borrower = 0 if frame.borrower is None else owner_byte(frame.borrower)
                expected[at : at + 3] = bytes([owner_byte(frame.owner), frame.state, borrower])
        if frames == expected:
            return
        for number in range(self._first, self._first + self._count):
            at = (number - self._first) * FRAME_SIZE
            is_, must = frames[at : at + 3], bytes(expected[at : at + 3])
            if is_ != must:
                words = state.frames.get(number, "as at boot")
                raise Wrong(
                    f"frame {number:#x} is owner {is_[0]} state {is_[1]} borrower {is_[2]}, must be"
                    f" owner {must[0]} state {must[1]} borrower {must[2]} ({words})"
                )

    def _check_maps(self, state: State) -> None:
        for vm, space in self._spaces.items():
            if space.devices != self.devices[vm]:
                raise Wrong(f"the device windows of VM {vm} are not those of boot")
            if state.lives[vm] in (Life.DOWN, Life.ABSENT):
                self._check_dead(vm, space.pages, state)
            elif space.pages != state.maps[vm]:
                raise Wrong("\n".join(differences(vm, space.pages, state.maps[vm], state)))
            else:
                space.pages = dict(state.maps[vm])  # the same objects compare faster next time

    def _check_dead(self, vm: int, pages: Mapping[int, Page], state: State) -> None:
        """A VM that cannot run may keep pages of its own that nobody else has."""
        for page, entry in pages.items():
            frame = state.frames.get(entry.frame)
            if frame is None or frame.owner != vm or frame.borrower is not None:
                raise Wrong(f"VM {vm} is down, and its page {page:#x} leads to a frame {frame}")

    def _check_values(self, state: State) -> None:
        before = self._seen_state
        for frame, value in state.values.items():
            if value is None:
                continue
            found = self.word(frame)
            if found != value:
                raise Wrong(f"frame {frame:#x} holds {found:#x}, must hold {value:#x}")
            is_new = value == 0 and before is not None and before.values.get(frame, 0) != 0
            if is_new and not self.is_zero(frame):
                raise Wrong(f"frame {frame:#x} must be all zero, and carries something over")

    def check_reach(self) -> None:
        """Without any history: what the frame table and the maps say to each other. A VM reaches
        its own frames unless they are lent, and others' that name it as the borrower."""
        self.refresh()
        for vm, space in self._spaces.items():
            me = owner_byte(vm)
            for page, entry in space.pages.items():
                owner, state, borrower = self.frame(entry.frame)
                if owner == me:
                    good = state in (FrameState.OWNED, FrameState.SHARED, FrameState.MAILBOX)
                else:
                    good = borrower == me and state in (FrameState.SHARED, FrameState.LENT)
                if not good:
                    raise Wrong(
                        f"VM {vm} reaches IPA {page << 12:#x}, a frame of owner {owner} state"
                        f" {state} borrower {borrower}"
                    )

    def laws(self, state: State) -> None:
        """The specification's own."""
        for words in broken_laws(state):
            raise Wrong(f"the specification breaks its own law: {words}")


def differences(
    vm: int, is_: Mapping[int, Page], must: Mapping[int, Page], state: State
) -> Iterator[str]:
    """In words, the pages that differ."""
    yield f"stage 2 of VM {vm} ({state.configs[vm].name}) is not as agreed:"
    for page in sorted({*is_, *must}):
        found, wanted = is_.get(page), must.get(page)
        if found != wanted:
            frame: Frame | None = None if found is None else state.frames.get(found.frame)
            yield (
                f"  IPA {page << 12:#x}: {_words(found)}, must be {_words(wanted)}"
                f" (that frame: {frame or 'nobody'})"
            )


def _words(page: Page | None) -> str:
    return "nothing" if page is None else f"PA {page.frame << 12:#x} {page.rights}"
