# SPDX-License-Identifier: Apache-2.0
"""The two views of RAM and maintenance that waits for a DSB (`views.c`, `deferred.c`) once more:
lines are slices of bytes, lines of a page are sets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from aether_edgecloud.emulator.cpu.engine_stop import Fill
from aether_edgecloud.emulator.cpu.hooks import LINE_SIZE, PAGE_SIZE
from aether_edgecloud.emulator.cpu.views import (
    DATA_PAST,
    FETCH_PAST,
    INSTRUCTIONS,
    LINES,
    MEMORY,
    PAGE_LINES,
    SWEEP_DEFERRED,
    Invalidation,
    Look,
    Maintain,
    PageBit,
)

READ, WRITE, EXECUTE = 1, 2, 4
"""What a fill permits."""
BOTH = Maintain.CLEAN | Maintain.INVALIDATE
CACHES = ((256, 2), (1024, 16))
"""Sets and ways of the Cortex-A72's data cache (32 KiB) and of its level 2 (1 MiB)."""
_HCR_VM, _HCR_SWIO, _HCR_DC, _HCR_TSW, _HCR_TPC = 1 << 0, 1 << 1, 1 << 12, 1 << 22, 1 << 23
_EFFECT = {
    "DC IVAC": Maintain.INVALIDATE,
    "DC ISW": Maintain.INVALIDATE,
    "DC CVAC": Maintain.CLEAN,
    "DC CSW": Maintain.CLEAN,
    "DC CIVAC": BOTH,
    "DC CISW": BOTH,
}


BARRIER, ACCESS = 1, 2
"""What lies ahead: a DSB or DMB of all accesses; loads or stores before that."""
MOST_PAGES_DEFERRED, MOST_CODE_LINES = 4096, 64
_DSB, _DC_ZVA, _SYSTEM = 0xD503_309F, 0xD50B_7420, 0xD5


class Granted(NamedTuple):
    """The answer to a TLB fill: PA and what it permits."""

    pa: int
    permissions: int


class Translation(NamedTuple):
    """What a fill is answered from: VA and PA of the page, the EL it is for, DATA_PAST and
    FETCH_PAST."""

    page: int
    pa: int
    el: int
    view: int


@dataclass(slots=True)
class DeferredTwin:
    """Lines of a page that DC and IC have named and that wait for a DSB of CPU number `owner`,
    counted from 1."""

    clean: set[int] = field(default_factory=set)
    invalidate: set[int] = field(default_factory=set)
    code: set[int] = field(default_factory=set)
    owner: int = 0

    @property
    def data(self) -> set[int]:
        """Those of DC."""
        return self.clean | self.invalidate


@dataclass(slots=True)
class RamTwin:
    """What all CPUs share; the lists are by page, the sets of lines in it. `watched`: pages whose
    stores an observer sees, `None` if there is none."""

    base: int
    ram: bytearray
    memory: bytearray
    agreed: bytearray
    pages: list[int]
    has_agreed: list[bool]
    stored: list[set[int]]
    held: list[set[int]]
    watched: list[bool] | None = None
    executed: set[int] = field(default_factory=set)
    """Lines of RAM that code has been translated from."""
    deferred: list[DeferredTwin] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.deferred = [DeferredTwin() for _ in self.pages]


@dataclass(slots=True)
class ViewsTwin:
    """The views of CPU `number`, from 1. `word_at` fetches an instruction, if it can."""

    number: int
    shared: RamTwin
    look: Callable[[Look, int, int], int]
    word_at: Callable[[int], int | None]
    pc: int = 0
    block_end: int = 0
    el: int = 2
    hcr_el2: int = 0
    probes: int = 0
    is_flush_due: bool = False
    flushes: int = 0
    swept: set[tuple[int, int, int]] = field(default_factory=set)
    """Level (from 0), set and way."""
    swept_as: int = BOTH
    peers: "list[ViewsTwin]" = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    """Pages that this CPU has deferred something of, last of all CPUs."""
    waits: bool = False
    """Something waits for a DSB."""
    all_code_deferred: int = 0
    """`Invalidation` of all instructions, if any."""
    is_sweep_deferred: bool = False
    is_probed: bool = False
    """The TLB has a translation of a page with something deferred."""
    code: list[int] = field(default_factory=list)
    """Lines of RAM whose translated code has to go."""
    is_all_code: bool = False

    def fill(self, e: Translation, access: Fill, granted: Granted) -> Granted:
        """What an access is granted instead."""
        offset = e.pa - self.shared.base
        if not 0 <= offset < len(self.shared.ram):
            return granted
        page = offset // PAGE_SIZE
        if access is Fill.FETCH:
            return self._fetch(e, page, granted)
        view = PageBit.MEMORY if e.view & DATA_PAST else PageBit.CACHED
        if view == PageBit.CACHED and self._sees_deferred(page):
            if self.probes:
                self.waits = self.is_probed = True
            else:
                self._complete_data(page)
        if not self._has(page, view):
            self.look(Look.OPEN, page, view)
        if access is Fill.WRITE:
            if self._has(page, PageBit.EXECUTED):
                self._complete_code(page)
            if self._has(page, PageBit.EXECUTED):
                self.look(Look.REWRITE, page, 0)
            self._set(page, PageBit.WRITTEN)
            return self._to(granted, self._window(page, view, is_store=True))
        can_store = self._has(page, PageBit.WRITTEN) and not self._has(page, PageBit.EXECUTED)
        if e.el == 2 and not self._has(page, PageBit.WRITTEN | PageBit.READ) and not self.probes:
            self._set(page, PageBit.READ)
            self.look(Look.UNWRITTEN, page, e.page)
        # A store that would go elsewhere, or that somebody waits for, has to ask.
        window = self._window(page, view, is_store=False)
        if not can_store or window != self._window(page, view, is_store=True):
            granted = Granted(granted.pa, granted.permissions & ~WRITE)
        return self._to(granted, window)

    def _fetch(self, e: Translation, page: int, granted: Granted) -> Granted:
        if not self._has(page, PageBit.EXECUTED):
            self.look(Look.EXECUTE, page, e.view & FETCH_PAST)
        window = INSTRUCTIONS if self._has(page, PageBit.HELD) else 0
        return Granted(granted.pa + window, EXECUTE)

    def _window(self, page: int, view: int, *, is_store: bool) -> int:
        """Where an access by a view leads."""
        if view == PageBit.MEMORY:
            return MEMORY if self._has(page, PageBit.SPLIT) else 0
        is_watched = self.shared.watched is not None and self.shared.watched[page]
        return LINES if is_store and self._has(page, PageBit.LINES) and not is_watched else 0

    def _to(self, granted: Granted, window: int) -> Granted:
        return Granted(granted.pa + window, granted.permissions)

    def _has(self, page: int, bits: int) -> bool:
        return bool(self.shared.pages[page] & bits)

    def _set(self, page: int, bits: int) -> None:
        self.shared.pages[page] |= bits

    def note_store(self, offset: int) -> None:
        """A store through the cache to the byte of RAM at an offset."""
        page, line = _place(offset // LINE_SIZE)
        if self._has(page, PageBit.LINES):
            self.shared.stored[page].add(line)

    def seen(self, line: int) -> bytearray:
        """`ram` or `memory`: what the view that a line's page is open for sees."""
        page, _ = _place(line)
        is_past = self._has(page, PageBit.MEMORY) and self._has(page, PageBit.SPLIT)
        return self.shared.memory if is_past else self.shared.ram

    def to_store(self, line: int) -> bytearray:
        """The same for a store, which is noted."""
        found = self.seen(line)
        if found is self.shared.ram:
            self.note_store(line * LINE_SIZE)
        return found

    def is_plain(self, offset: int) -> bool:
        """Whether RAM and memory are the same there."""
        return not self._has(offset // PAGE_SIZE, PageBit.SPLIT)

    def read_lines(self, offset: int, size: int) -> int:
        """A load through the window for stores."""
        return int.from_bytes(self.shared.ram[offset : offset + size], "little")

    def write_lines(self, offset: int, size: int, value: int) -> None:
        """A store through it."""
        for at, byte in enumerate(value.to_bytes(8, "little")[:size], offset):
            self.shared.ram[at] = byte
            self.note_store(at)

    def maintain(self, name: str, key: int, operand: int, offset: int | None) -> None:
        """DC `name`; `offset` is that of its VA in RAM, if it has one there. What its translation
        has left is found by no access."""
        self._maintain(name, key, operand, offset)
        self._drop_probed()

    def _maintain(self, name: str, key: int, operand: int, offset: int | None) -> None:
        if name == "DC CVAU":
            return
        effect: int = _EFFECT[name]
        if name.endswith("SW"):
            if self._executes(_HCR_TSW, key):
                self._sweep(operand, self._upgraded(effect, _HCR_SWIO))
        elif offset is not None and self._executes(_HCR_TPC, key):
            self._maintain_line(offset // LINE_SIZE, self._upgraded(effect, 0))

    def _executes(self, trap: int, key: int) -> bool:
        if self.el == 2 or (self.el == 1 and not self.hcr_el2 & trap):
            return True
        return bool(self.look(Look.ALLOWED, 0, key))

    def _upgraded(self, effect: int, also: int) -> int:
        """In a VM, to invalidate is to clean and invalidate (Arm ARM, HCR_EL2.SWIO)."""
        in_vm = self.el < 2 and self.hcr_el2 & (_HCR_VM | _HCR_DC | also)
        return BOTH if in_vm and effect & Maintain.INVALIDATE else effect

    def _sweep(self, operand: int, effect: int) -> None:
        level = operand >> 1 & 7
        if level >= len(CACHES):
            return
        sets, ways = CACHES[level]
        number = operand // LINE_SIZE % sets
        way = (operand & 0xFFFF_FFFF) >> 32 - (ways - 1).bit_length()
        self.swept_as &= effect
        self.swept.add((level, number, way))
        if len(self.swept) == sum(sets * ways for sets, ways in CACHES):
            effect, self.swept_as = self.swept_as, BOTH
            self.swept.clear()
            if not self._look_ahead() & BARRIER and self.look(Look.DEFER, 0, 0):
                effect |= SWEEP_DEFERRED
                self.waits = self.is_sweep_deferred = True
            self.look(Look.SWEEP, 0, effect)

    def _maintain_line(self, line: int, effect: int) -> None:
        shared, (page, number) = self.shared, _place(line)
        if number in shared.deferred[page].data:
            self._complete_data(page)  # of one line in program order
        if self.is_plain(line * LINE_SIZE):
            if not shared.has_agreed[page]:
                self.look(Look.AGREED, page, 0)
            if number not in shared.stored[page] and self._agrees(line):
                return
        if not self._may_wait(page, number, effect):
            self._complete_line(line, effect)
            return
        deferred = self._defer(page)
        saw = self._sees_deferred(page)
        deferred.clean |= {number} if effect & Maintain.CLEAN else set()
        deferred.invalidate |= {number} if effect & Maintain.INVALIDATE else set()
        if not saw and self._sees_deferred(page):
            self._flush()

    def _sees_deferred(self, page: int) -> bool:
        """Whether accesses through the cache can tell if what is deferred has taken effect: they
        come in program order with a DC of their line. They cannot where a dirty line is cleaned."""
        deferred = self.shared.deferred[page]
        if self._has(page, PageBit.CACHED) and not self._has(page, PageBit.SPLIT):
            return bool(deferred.invalidate - deferred.clean)
        return bool(deferred.data)

    def _may_wait(self, page: int, number: int, effect: int) -> bool:
        """Whether a DC takes effect at the DSB. Where that is a choice it is made now, unless an
        access that sees the difference can make it."""
        if self._look_ahead() & BARRIER:
            return False
        if not self._has(page, PageBit.SPLIT) and number not in self.shared.stored[page]:
            if self._has(page, PageBit.MEMORY):
                return bool(effect & Maintain.INVALIDATE)
            if effect & Maintain.CLEAN:
                return True
        return bool(self.look(Look.DEFER, 0, 0))

    def _defer(self, page: int) -> DeferredTwin:
        """What is deferred of a page, by this CPU from now on."""
        deferred = self.shared.deferred[page]
        if deferred.owner != self.number:
            if len(self.queue) == MOST_PAGES_DEFERRED:
                self.complete()
            for peer in self.peers:
                if peer.number == deferred.owner:
                    peer.queue.remove(page)
            self._complete_data(page)
            self._complete_code(page)
            deferred.owner = self.number
            self.queue.append(page)
        self.waits = True
        return deferred

    def complete(self) -> None:
        """A DSB: what waits takes effect."""
        queue, self.queue, self.waits = self.queue, [], False
        for page in queue:
            self.shared.deferred[page].owner = 0
            self._complete_data(page)
            self._complete_code(page)
        if self.all_code_deferred:
            whose, self.all_code_deferred = self.all_code_deferred, 0
            self.look(Look.INVALIDATE, 0, 0)
            for cpu in (self, *(self.peers if whose == Invalidation.EVERYONE else ())):
                cpu.is_all_code = True
        if self.is_sweep_deferred:
            self.look(Look.COMPLETE, 0, 0)
        self._forget_probed()

    def _complete_data(self, page: int) -> None:
        deferred = self.shared.deferred[page]
        clean, deferred.clean = deferred.clean, set()
        invalidate, deferred.invalidate = deferred.invalidate, set()
        for number in sorted(clean | invalidate):
            effect = Maintain.CLEAN if number in clean else 0
            effect |= Maintain.INVALIDATE if number in invalidate else 0
            self._complete_line(page * PAGE_LINES + number, effect)

    def _complete_line(self, line: int, effect: int) -> None:
        shared, (page, number) = self.shared, _place(line)
        is_plain, is_stored = self.is_plain(line * LINE_SIZE), number in shared.stored[page]
        if is_plain and self._agrees(line):
            shared.stored[page].discard(number)
        elif not is_plain or is_stored:
            self.look(Look.MAINTAIN, page, number << 2 | effect)
        elif self._has(page, PageBit.CACHED):
            # RAM is what the cache has. To drop that is a choice.
            if effect & Maintain.CLEAN:
                self._agree(line)
            else:
                self.look(Look.MAINTAIN, page, number << 2 | effect)
        elif effect & Maintain.INVALIDATE:
            self._agree(line)  # RAM is what memory has, and the next load by the cache finds it
        elif not self._has(page, PageBit.MEMORY):
            self.look(Look.MAINTAIN, page, number << 2 | effect)

    def _agrees(self, line: int) -> bool:
        return self.shared.ram[_bytes(line)] == self.shared.agreed[_bytes(line)]

    def _agree(self, line: int) -> None:
        self.shared.agreed[_bytes(line)] = self.shared.ram[_bytes(line)]

    def begin_block(self, pc: int, end: int) -> None:
        """A block is about to run while something waits."""
        ahead = self._ahead_of(pc, end)
        if ahead & BARRIER:
            self.complete()
        elif ahead & ACCESS:
            self._forget_probed()

    def _drop_probed(self) -> None:
        """Behind a probe: no access of this block, also behind a barrier, finds what it left."""
        if self.is_probed and self._look_ahead():
            self._forget_probed()

    def _forget_probed(self) -> None:
        if self.is_probed:
            self.is_probed = False
            self.flushes += 1

    def _look_ahead(self) -> int:
        """What lies ahead of the instruction that runs."""
        return self._ahead_of(self.pc + 4, self.block_end)

    def _ahead_of(self, pc: int, end: int) -> int:
        """What code does before it branches: as far as `end`, or the end of its page."""
        ahead = 0
        for at in range(pc, max(end, (pc // PAGE_SIZE + 1) * PAGE_SIZE), 4):
            word = self.word_at(at)
            if word is None:
                return BARRIER
            if word & ~0xF20 == _DSB and word >> 8 & 3 in (0, 3):
                return ahead | BARRIER
            if word >> 26 & 7 == 0b101 and word >> 24 != _SYSTEM:
                return ahead
            if word >> 25 & 0b101 == 0b100 or word & ~31 == _DC_ZVA:
                ahead |= ACCESS
        return ahead

    def invalidate_all_instructions(self, whose: Invalidation) -> None:
        """IC of everything. What was translated before is not dropped here."""
        if self._look_ahead() & BARRIER:
            self.look(Look.INVALIDATE, 0, 0)
        else:
            self.all_code_deferred = max(self.all_code_deferred, whose)
            self.waits = True

    def invalidate_instructions(self, line: int) -> None:
        """IC of a line of RAM."""
        self._drop_probed()
        if self._look_ahead() & BARRIER:
            self._invalidate_line(line)
        else:
            page, number = _place(line)
            if number in self.shared.held[page] or self._has(page, PageBit.HELD):
                self._defer(page).code.add(number)

    def _invalidate_line(self, line: int) -> None:
        page, number = _place(line)
        self.shared.held[page].discard(number)
        if self._has(page, PageBit.HELD):
            self.shared.pages[page] &= ~PageBit.EXECUTED
            self._flush()

    def _complete_code(self, page: int) -> None:
        deferred = self.shared.deferred[page]
        code, deferred.code = deferred.code, set()
        for number in sorted(code):
            line = page * PAGE_LINES + number
            if self._has(page, PageBit.HELD):
                self._drop_code(line)
            self._invalidate_line(line)

    def _drop_code(self, line: int) -> None:
        """What was translated of a line, on all CPUs."""
        for cpu in (self, *self.peers):
            if line in self.shared.executed:
                cpu.code.append(line)
                cpu.is_all_code = cpu.is_all_code or len(cpu.code) > MOST_CODE_LINES

    def _flush(self) -> None:
        """No translation that was granted holds, on any CPU."""
        self.flushes += 1
        for peer in self.peers:
            peer.is_flush_due = True


def _bytes(line: int) -> slice:
    return slice(line * LINE_SIZE, (line + 1) * LINE_SIZE)


def _place(line: int) -> tuple[int, int]:
    """Page of a line, and its number there."""
    return divmod(line, PAGE_LINES)
