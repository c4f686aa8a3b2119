# SPDX-License-Identifier: Apache-2.0
"""Caches that do not agree with memory, as far as the architecture lets them.

RAM as the machine has it is what cacheable accesses see. Where accesses of the other types (Device,
Non-cacheable, the MMU off) see something else, a window over RAM holds that, page by page, and TLB
fills lead there: no access pays for it. A page is open for one type at a time. The first access of
the other type is where the hardware has made its choices: which clean lines it kept, which dirty
ones it wrote back. Pages that only one type of access reaches never differ, and cost nothing.

`cache_lines` has the rules for a line, `cache_code` instruction caches, `cache_boot` what is there
at reset. Cache maintenance is in `cpu/views.c` where it takes no choice; in `cpu/deferred.c` it
waits for its DSB.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.adversary.cache_boot import BootContents
from aether_edgecloud.emulator.adversary.cache_code import InstructionLines
from aether_edgecloud.emulator.adversary.cache_lines import LINES, Lines, Words, words
from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import mmu, traps
from aether_edgecloud.emulator.arch.mmu_regime import HCR_CD, TTWParams
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.hooks import CODE_LINES
from aether_edgecloud.emulator.cpu.views import (
    CLEAN,
    INVALIDATE,
    SWEEP_DEFERRED,
    CpuViews,
    Look,
    Maintain,
    PageBit,
    SavedViews,
    Shared,
    Window,
    view_of,
)
from aether_edgecloud.emulator.cpu.walking import PlainWalker
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.monitor.poison import POISON

_VIEWS = PageBit.CACHED | PageBit.MEMORY
_PLACE = _VIEWS | PageBit.SPLIT | PageBit.LINES
_WORDS_OF_PAGE = PAGE_SIZE // 8
_LINE_SIZE = PAGE_SIZE // LINES
_POISON = np.uint64(POISON)
# What a saved page of `agreed` is.
_AS_RAM, _ZEROS, _COPIED = 1, 2, 3
_Pages = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class UninitialisedRead:
    """EL2 reads a page of RAM of which nobody has written a byte since reset. `pc` and `va` (of the
    page) are VAs, `pa` is the page's, `instruction` how many that CPU had retired."""

    cpu: int
    pc: int
    va: int
    pa: int
    instruction: int


@dataclass(frozen=True, slots=True)
class SavedCaches:
    """The state of a `CacheAdversary`."""

    choices: int
    pages: bytes
    agreed_as: bytes
    agreed: dict[int, bytes]
    memory: dict[int, bytes]
    instructions: dict[int, bytes]
    stored: dict[int, int]
    code: tuple[dict[int, int], int, dict[int, bytes]]
    loose: list[int]
    absent: list[int]
    is_swept: bool
    views: list[SavedViews]
    sweeps: list[int]
    uninitialised: list[UninitialisedRead]


class CacheAdversary:
    """The caches of a machine at reset, with the MMU model; `choices` say what the hardware does.
    With `is_image_invalidated` firmware has not only cleaned what it loaded.

    One data cache and one instruction cache serve all CPUs: hardware keeps them coherent.
    """

    def __init__(
        self, machine: Machine, choices: Choices, *, is_image_invalidated: bool = False
    ) -> None:
        self._choices = choices
        self._is_image_invalidated = is_image_invalidated
        self._memory = machine.memory
        self._cpus = machine.cpus
        self._boot = BootContents(machine.setup)
        self._shared = shared = Shared(machine.memory.ram_size)
        self._pages = shared.pages
        self._ram = _as_pages(np.frombuffer(machine.memory.bytes, np.uint64))
        self._past, self._agreed, self._shown = (
            _as_window(window) for window in (shared.memory, shared.agreed, shared.instructions)
        )
        self._code = InstructionLines(shared, self._boot.page, choices)
        self._loose: set[int] = set()  # memory is in use, and there are dirty lines
        # Not in the cache since a sweep by set and way; so are all pages not touched before.
        self._absent: set[int] = set()
        self._is_swept = False
        self._sweeps = [0] * len(machine.cpus)  # by CPU: what waits for a DSB
        self._copies: dict[int, bytes] = {}  # of `agreed`, as last saved
        self.uninitialised: list[UninitialisedRead] = []
        """What EL2 has read, and nobody had written: the first read of each page."""
        for page in self._boot.loaded:
            self._ram[page] = words(self._boot.page(page))
            self._pages[page] = PageBit.WRITTEN
        self._views = [self._attach(number, cpu) for number, cpu in enumerate(machine.cpus)]
        machine.memory.on_write = self._written_from_outside
        machine.attachments.append(self)

    def _attach(self, number: int, cpu: Cpu) -> CpuViews:
        unit = cpu.translation
        if unit.walker is None:
            unit.walker = PlainWalker(self._memory.read64)
        pc = cpu.engine.batch([reg.PC])

        def below(walk: mmu.Walk, params: TTWParams, pa: int) -> int | None:
            is_cacheable = params.walk_attributes.cacheable
            if walk is mmu.Walk.EL1 and unit.registers.hcr_el2 & HCR_CD:
                is_cacheable = False
            return self._descriptor(cpu, pa, is_cacheable)

        def look(kind: int, page: int, a: int) -> int:
            match kind:
                case Look.OPEN:
                    self._open(cpu, page, a)
                case Look.EXECUTE:
                    self._execute(cpu, page, past=bool(a))
                case Look.REWRITE:
                    self._rewrite(cpu, page)
                case Look.UNWRITTEN:
                    at = pc.read()[0]
                    pa, retired = self._memory.ram_base + page * PAGE_SIZE, cpu.engine.position(at)
                    self.uninitialised.append(UninitialisedRead(number, at, a, pa, retired))
                case Look.MAINTAIN:
                    self._maintain(cpu, page, a >> 2, a & 3)
                case Look.SWEEP if a & SWEEP_DEFERRED:
                    self._sweeps[number] |= a & ~SWEEP_DEFERRED
                case Look.SWEEP:
                    self._sweep(cpu, a)
                case Look.DEFER:
                    return int(self._choices.against())
                case Look.COMPLETE:
                    self._complete_sweep(number)
                case Look.INVALIDATE:
                    self._invalidate_code(cpu)
                case Look.ALLOWED:
                    return _allowed(cpu, a)
                case Look.AGREED:
                    self._agree(page)
                case Look.TURN:
                    self._turn(cpu)
            return 0

        unit.walker.below = below
        unit.view_of = view_of
        views = CpuViews(cpu, number, self._shared, look)
        cpu.on_power_off.append(views.complete)  # behind firmware's DSB
        return views

    # What accesses see.

    def _descriptor(self, cpu: Cpu, pa: int, is_cacheable: bool) -> int | None:
        offset = pa - self._memory.ram_base
        if not 0 <= offset < self._memory.ram_size:
            return None
        page, view = offset // PAGE_SIZE, PageBit.CACHED if is_cacheable else PageBit.MEMORY
        if not self._pages[page] & view:
            self._open(cpu, page, view)
        if view is PageBit.MEMORY and self._pages[page] & PageBit.SPLIT:
            line, word = divmod(offset % PAGE_SIZE >> 3, _WORDS_OF_PAGE // LINES)
            return int(self._past[page, line, word])
        return self._memory.read64(pa)

    def _open(self, cpu: Cpu, page: int, view: int) -> None:
        """An access of another type than the page was open for last."""
        if not self._pages[page] & _VIEWS:
            self._first(page)
            self._pages[page] |= view
            if view == PageBit.MEMORY and self._begins_absent(page):
                self._absent.add(page)
            elif view == PageBit.MEMORY:
                self._begin_dirty(page)
            return
        self._settle(cpu, page)
        lines = self._load(page)
        self._absent.discard(page)
        lines.let_go(self._choices)
        self._store(cpu, page, lines, view)

    def _begins_absent(self, page: int) -> bool:
        """Whether no line of a page that has not been touched is in the cache."""
        return self._is_swept or (self._is_image_invalidated and page in self._boot.loaded)

    def _first(self, page: int) -> None:
        """A page is touched for the first time since reset."""
        ram = self._ram[page]
        if page not in self._boot.loaded and not ram.any():
            self._ram[page] = _POISON
            self._memory.dirty_pages[page] = 1
        elif not np.array_equal(ram, words(self._boot.page(page))):
            self._agreed[page] = ram  # somebody outside the machine has filled it
            self._shared.has_agreed[page] = 1

    def _begin_dirty(self, page: int) -> None:
        """Memory is used where whatever ran before may have left dirty lines."""
        dirty = self._boot.dirty(page)
        if dirty and self._choices.against():
            self._agree(page)
            self._shared.stored[page] = dirty
            self._loose.add(page)
            for each in self._views:
                each.state.turns = 1

    def _written_from_outside(self, pa: int, size: int) -> None:
        """Whoever does that writes caches, of data and of instructions, and memory alike."""
        offset = pa - self._memory.ram_base
        for line in range(offset // _LINE_SIZE, -(-(offset + size) // _LINE_SIZE)):
            page, number = divmod(line, LINES)
            self._code.forget_line(page, number)
            if self._pages[page] & PageBit.HELD:
                self._shown[page, number] = self._ram[page, number]
            if not self._pages[page] & _VIEWS:
                continue
            self._settle(self._cpus[0], page, is_complete=True)
            self._agree(page)
            self._agreed[page, number] = self._ram[page, number]
            self._shared.stored[page] &= ~(1 << number)
            if self._pages[page] & PageBit.SPLIT:
                self._past[page, number] = self._ram[page, number]

    def _agree(self, page: int) -> None:
        """There is no copy yet of what has never changed since reset."""
        if not self._shared.has_agreed[page]:
            loaded = page in self._boot.loaded
            self._agreed[page] = words(self._boot.page(page)) if loaded else _POISON
            self._shared.has_agreed[page] = 1

    def _agreed_of(self, page: int) -> Words:
        """What cache and memory last agreed on."""
        self._agree(page)
        agreed: Words = self._agreed[page].copy()
        return agreed

    def _load(self, page: int) -> Lines:
        bits, ram = self._pages[page], self._ram[page].copy()
        if page in self._absent:
            self._agreed[page] = ram  # what would be read in now
            self._shared.has_agreed[page] = 1
        agreed, stored = self._agreed_of(page), self._shared.stored[page]
        if bits & PageBit.SPLIT:
            return Lines(ram, self._past[page].copy(), agreed, stored)
        if bits & PageBit.MEMORY:
            return Lines(agreed.copy(), ram, agreed, stored)
        return Lines(ram, agreed.copy(), agreed, stored)

    def _store(self, cpu: Cpu, page: int, lines: Lines, view: int) -> None:
        """Make the page what `lines` say, open for `view`. RAM has what that sees where the other
        view follows from `agreed`."""
        other = lines.cached if view == PageBit.MEMORY else lines.memory
        is_split = bool((other != lines.agreed).any())
        shown = lines.memory if view == PageBit.MEMORY and not is_split else lines.cached
        if is_split:
            self._past[page] = lines.memory
        self._agreed[page] = lines.agreed
        self._shared.stored[page] = lines.stored
        changed = np.flatnonzero((self._ram[page] != shown).any(axis=1)).tolist()
        if changed:
            self._ram[page] = shown
            self._memory.dirty_pages[page] = 1
            self._note_code([page * LINES + line for line in changed])
        bits = view | (PageBit.SPLIT if is_split else 0)
        if changed:
            self._pages[page] &= ~PageBit.EXECUTED  # what fetches see has to be looked at again
        if is_split and view == PageBit.CACHED and lines.stale():
            bits |= PageBit.LINES
        self._pages[page] = self._pages[page] & ~_PLACE | bits
        if view == PageBit.MEMORY and lines.dirty().any():
            self._loose.add(page)
        else:
            self._loose.discard(page)
        for each in self._views:
            each.state.turns = bool(self._loose)
        self._flush(cpu)

    def _flush(self, cpu: Cpu) -> None:
        """What was granted before no longer holds, on any CPU."""
        for other in self._cpus:
            other.state.tlb_flush_due = 1
        cpu.engine.flush_tlb()

    def _note_code(self, changed: list[int]) -> None:
        """Lines of RAM, by number, have changed under what may be translated of them."""
        for cpu in self._cpus:
            state = cpu.state
            for line in changed:
                if not cpu.engine.code.has_line(line):
                    continue
                if state.code_line_count < CODE_LINES:
                    state.code_lines[state.code_line_count] = line
                state.code_line_count = min(state.code_line_count + 1, CODE_LINES + 1)
                state.code_changed = 1

    def _turn(self, cpu: Cpu) -> None:
        """EL2 is left while dirty lines wait over memory in use: they may go now."""
        for page in sorted(self._loose):
            lines = self._load(page)
            lines.overwrite(self._choices)
            self._store(cpu, page, lines, PageBit.MEMORY)

    # Maintenance.

    def _maintain(self, cpu: Cpu, page: int, line: int, effect: int) -> None:
        lines = self._load(page)
        clean, invalidate = bool(effect & Maintain.CLEAN), bool(effect & Maintain.INVALIDATE)
        lines.maintain(line, clean=clean, invalidate=invalidate, choices=self._choices)
        self._store(cpu, page, lines, self._pages[page] & _VIEWS)

    def _settle(self, cpu: Cpu, page: int, *, is_complete: bool = False) -> None:
        """Maintenance that waits for a DSB has taken effect by now, or not: somebody sees it."""
        deferred = self._shared.deferred[page]
        clean, invalidate = int(deferred[CLEAN]), int(deferred[INVALIDATE])
        for line in range((clean | invalidate).bit_length()):
            mark = 1 << line
            if not (clean | invalidate) & mark:
                continue
            if not is_complete and self._choices.against():
                continue
            deferred[CLEAN] = int(deferred[CLEAN]) & ~mark
            deferred[INVALIDATE] = int(deferred[INVALIDATE]) & ~mark
            effect = Maintain.CLEAN if clean & mark else 0
            effect |= Maintain.INVALIDATE if invalidate & mark else 0
            self._maintain(cpu, page, line, effect)

    def _complete_sweep(self, number: int) -> None:
        effect, self._sweeps[number] = self._sweeps[number], 0
        self._views[number].state.sweep_waits = 0
        self._sweep(self._cpus[number], effect)

    def _sweep(self, cpu: Cpu, effect: int) -> None:
        clean, invalidate = bool(effect & Maintain.CLEAN), bool(effect & Maintain.INVALIDATE)
        if not (clean or invalidate):
            return
        for page in np.flatnonzero(self._shared.all_pages & _VIEWS).tolist():
            lines = self._load(page)
            lines.maintain_all(clean=clean, invalidate=invalidate, choices=self._choices)
            if invalidate:
                self._store(cpu, page, lines, PageBit.MEMORY)
                self._absent.add(page)
            else:
                self._store(cpu, page, lines, self._pages[page] & _VIEWS)
        self._is_swept |= invalidate

    # Instructions.

    def _execute(self, cpu: Cpu, page: int, *, past: bool) -> None:
        """The first fetch from a page since it was written."""
        if not self._pages[page] & _VIEWS:
            self._first(page)
        self._settle(cpu, page)
        now = self._seen(page, PageBit.MEMORY if past else PageBit.CACHED)
        shown = self._code.fetch(page, now)
        bits = self._pages[page] | PageBit.EXECUTED
        if np.array_equal(shown, self._ram[page]):
            bits &= ~PageBit.HELD
        else:
            self._shown[page] = shown
            bits |= PageBit.HELD
        self._pages[page] = bits

    def _seen(self, page: int, view: PageBit) -> Words:
        """What an access by a view would see, if no line went anywhere before."""
        if not self._pages[page] & _VIEWS:
            ram: Words = self._ram[page]
            return ram
        lines = self._load(page)
        return lines.memory if view is PageBit.MEMORY else lines.cached

    def _rewrite(self, cpu: Cpu, page: int) -> None:
        """The first store to a page since it was fetched from."""
        is_held = self._pages[page] & PageBit.HELD
        self._code.keep(page, self._shown[page] if is_held else self._ram[page])
        self._pages[page] &= ~(PageBit.EXECUTED | PageBit.HELD)
        self._flush(cpu)

    def _invalidate_code(self, cpu: Cpu) -> None:
        self._code.forget()
        for page in np.flatnonzero(self._shared.all_pages & PageBit.HELD).tolist():
            self._pages[page] &= ~(PageBit.EXECUTED | PageBit.HELD)
        self._flush(cpu)

    # Going back in time.

    def save(self) -> SavedCaches:
        """See `Attachment`."""
        shared = self._shared
        agreed_as = self._compare_agreed()
        copied = np.flatnonzero(agreed_as == _COPIED).tolist()
        self._copies = {page: self._copy_of_agreed(page) for page in copied}
        bits, stored = shared.all_pages, shared.all_stored
        return SavedCaches(
            self._choices.state,
            bytes(self._pages),
            agreed_as.tobytes(),
            self._copies,
            _copies(self._past, bits & PageBit.SPLIT),
            _copies(self._shown, bits & PageBit.HELD),
            {page: int(stored[page]) for page in np.flatnonzero(stored).tolist()},
            self._code.save(),
            sorted(self._loose),
            sorted(self._absent),
            self._is_swept,
            [views.save() for views in self._views],
            list(self._sweeps),
            list(self.uninitialised),
        )

    def _compare_agreed(self) -> npt.NDArray[np.uint8]:
        """Of each page, what of `agreed` has to be saved: most of it is as RAM is, or zero."""
        found = np.zeros(len(self._pages), np.uint8)
        for page in np.flatnonzero(self._shared.all_agreed).tolist():
            agreed = self._agreed[page]
            if np.array_equal(agreed, self._ram[page]):
                found[page] = _AS_RAM
            else:
                found[page] = _COPIED if agreed.any() else _ZEROS
        return found

    def _copy_of_agreed(self, page: int) -> bytes:
        """The same object as the last time, if it is the same."""
        before, now = self._copies.get(page), self._agreed[page].tobytes()
        return before if before == now and before is not None else now

    def restore(self, state: object) -> None:
        """See `Attachment`."""
        assert isinstance(state, SavedCaches)
        shared = self._shared
        had = np.flatnonzero(shared.all_pages & PageBit.HELD).tolist()
        self._choices.state = state.choices
        shared.all_pages[:] = np.frombuffer(state.pages, np.uint8)
        agreed_as = np.frombuffer(state.agreed_as, np.uint8)
        shared.all_agreed[:] = agreed_as != 0
        shared.all_stored.fill(0)
        for page in np.flatnonzero(agreed_as).tolist():
            self._agreed[page] = self._ram[page] if agreed_as[page] == _AS_RAM else 0
        for page, data in state.agreed.items():
            self._agreed[page] = words(data)
        for page, data in state.memory.items():
            self._past[page] = words(data)
        for page, data in state.instructions.items():
            self._shown[page] = words(data)
        for page, lines in state.stored.items():
            shared.stored[page] = lines
        self._code.restore(state.code)
        self._loose = set(state.loose)
        self._absent, self._is_swept = set(state.absent), state.is_swept
        self.uninitialised[:] = state.uninitialised
        self._sweeps = list(state.sweeps)
        for views in self._views:
            shared.deferred[views.queue()] = 0
        for views, saved in zip(self._views, state.views, strict=True):
            views.restore(saved)
            views.state.turns = bool(self._loose)
        held = sorted({*had, *state.instructions})
        for cpu in self._cpus:
            code = cpu.engine.code
            code.drop_pages(code.pages_of(held))


def _as_pages(flat: _Pages) -> npt.NDArray[np.uint64]:
    return flat.reshape(-1, LINES, _WORDS_OF_PAGE // LINES)


def _as_window(window: Window) -> npt.NDArray[np.uint64]:
    return _as_pages(np.frombuffer(memoryview(window.bytes), np.uint64))


def _copies(pages: npt.NDArray[np.uint64], which: npt.NDArray[np.integer[Any]]) -> dict[int, bytes]:
    return {page: pages[page].tobytes() for page in np.flatnonzero(which).tolist()}


def _allowed(cpu: Cpu, key: int) -> int:
    """Whether a cache maintenance instruction executes at the current EL: else it traps, after
    this."""
    op1, crn, crm, op2 = key >> 11 & 7, key >> 7 & 15, key >> 3 & 15, key & 7
    instruction = a64.SysInstruction(op1=op1, crn=crn, crm=crm, op2=op2, rt=0, is_read=False)
    check = traps.check_sys_instruction(instruction, cpu.current_el, cpu.trap_controls())
    return int(isinstance(check, traps.Allowed))
