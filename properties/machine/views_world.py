# SPDX-License-Identifier: Apache-2.0
"""CPUs of which there are only the views of RAM, in C (`views.c`) and in Python, side by side."""

import ctypes as c
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine_stop import Fill
from aether_edgecloud.emulator.cpu.hooks import (
    LINE_SIZE,
    PAGE_SIZE,
    CpReg,
    FilledPage,
    HookLibrary,
    HookState,
    TlbEntry,
)
from aether_edgecloud.emulator.cpu.observation import Observer
from aether_edgecloud.emulator.cpu.views import (
    LOOK_FN,
    OWNER,
    PAGE_LINES,
    SWEEP_SLOTS,
    Invalidation,
    Look,
    PageBit,
    Shared,
    Views,
)
from aether_edgecloud.emulator.toolchain import shared_library
from aether_edgecloud.properties.machine.views_twin import (
    BOTH,
    CACHES,
    MOST_CODE_LINES,
    MOST_PAGES_DEFERRED,
    Granted,
    RamTwin,
    Translation,
    ViewsTwin,
)

CPUS, PAGES = 2, 3
RAM_BASE, RAM_SIZE = 0x4000_0000, PAGES * PAGE_SIZE
LINES = PAGES * PAGE_LINES
_VIEWS = PageBit.CACHED | PageBit.MEMORY
_PLACE = _VIEWS | PageBit.SPLIT | PageBit.LINES
OPS = {op.name: op for op in sysregs.SYSOPS if op.name.startswith("DC ") and op.name != "DC ZVA"}
BY_SET_WAY = ("DC ISW", "DC CSW", "DC CISW")

_LIBRARY = c.CDLL(str(shared_library("hooks")))
_LIBRARY.aether_view_bytes.restype = _LIBRARY.aether_view_seen.restype = c.c_void_p
_LIBRARY.aether_on_line_read.restype = c.c_uint64
_CTL_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int)
_READ_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int, c.POINTER(c.c_uint64))
_FETCH_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_uint64, c.c_uint32, c.c_void_p, c.c_uint64)
CODE_BASE, CODE_WORDS = 0xFFFF_8000_0000_0000, 2 * PAGE_SIZE // 4
NOP, DSB = 0xD503_201F, 0xD503_3F9F
ATTENTION_CACHES, ATTENTION_CONTROLS = 8, 2
Told = tuple[int, int, int]


def key_of(name: str) -> int:
    op = OPS[name]
    return reg.key(1, op.op1, op.crn, op.crm, op.op2)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an adversary makes of a page when it is asked. `place` is PLACE of it, `toggled` are
    other bits; lines in `differ` are then not as `agreed` has them. `is_yes` answers the others."""

    place: int
    toggled: int
    differ: int
    is_yes: bool


NO_CHOICE = Answer(0, 0, 0, False)


class RamInC:
    """What the CPUs share, as the C has it."""

    def __init__(self, start: RamTwin) -> None:
        self.shared = shared = Shared(RAM_SIZE)
        self.ram = (c.c_char * RAM_SIZE).from_buffer(bytearray(start.ram))
        self.memory, self.agreed = shared.memory.bytes, shared.agreed.bytes
        for buffer, content in ((self.memory, start.memory), (self.agreed, start.agreed)):
            memoryview(buffer).cast("B")[:] = content
        self.pages = shared.pages
        self.executed = (c.c_uint8 * LINES)(*(n in start.executed for n in range(LINES)))
        shared.all_pages[:], shared.all_agreed[:] = start.pages, start.has_agreed
        shared.all_stored[:] = [sum(1 << n for n in lines) for lines in start.stored]
        shared.all_held[:] = [sum(1 << n for n in lines) for lines in start.held]
        self.watched = None if start.watched is None else (c.c_uint8 * PAGES)(*start.watched)


class InC:
    """The views of one CPU in C, with the calls of the twin."""

    def __init__(
        self, number: int, ram: RamInC, code: list[int], look: Callable[[Look, int, int], int]
    ) -> None:
        HookLibrary(shared_library("hooks"))  # checks the layout
        self._code, self.pc, self.flushes = code, 0, 0
        self._swept = (c.c_uint8 * SWEEP_SLOTS)()
        self._calls = (
            LOOK_FN(lambda kind, page, a: look(Look(kind), page, a)),
            _CTL_FN(self._flush),
            _READ_FN(self._read_pc),
            _FETCH_FN(self._fetch),
        )
        look_fn, ctl_fn, *read_fns = (c.cast(f, c.c_void_p).value for f in self._calls)
        shared = ram.shared
        self._queue = (c.c_uint32 * MOST_PAGES_DEFERRED)()
        self.views = Views(
            pages=c.addressof(shared.pages),
            has_agreed=c.addressof(shared.has_agreed),
            agreed=shared.agreed.address,
            memory=shared.memory.address,
            stored=c.addressof(shared.stored),
            held=c.addressof(shared.held),
            swept=c.addressof(self._swept),
            look=look_fn,
            swept_as=BOTH,
            deferred=shared.deferred_at,
            queue=c.addressof(self._queue),
            number=number,
        )
        self.state = HookState(
            el=2, ram=c.addressof(ram.ram), ram_base=RAM_BASE, ram_size=RAM_SIZE, ctl=ctl_fn
        )
        self.state.reg_read, self.state.vmem_read = read_fns
        self.state.executed_lines = c.addressof(ram.executed)
        self.state.attention, self.state.blocks = ATTENTION_CONTROLS, 1
        self.state.views = c.addressof(self.views)
        if ram.watched is not None:
            self.observer = Observer(watched=c.addressof(ram.watched))
            self.state.observer = c.addressof(self.observer)
        self.at = c.byref(self.state)

    def _flush(self, _uc: int, _control: int) -> int:
        self.flushes += 1
        return 0

    def _read_pc(self, _uc: int, _number: int, value: "c._Pointer[c.c_uint64]") -> int:
        value.contents.value = self.pc
        return 0

    def _fetch(self, _uc: int, va: int, _prot: int, at: int, size: int) -> int:
        words = [word_at(self._code, address) for address in range(va, va + size, 4)]
        if None in words:
            return 1
        c.memmove(at, b"".join((word or 0).to_bytes(4, "little") for word in words), size)
        return 0

    def set_peers(self, peers: list["InC"]) -> None:
        self.state.peer_count = len(peers)
        self.state.peers[: len(peers)] = [c.addressof(peer.state) for peer in peers]

    def fill(self, e: Translation, access: Fill, granted: Granted) -> Granted:
        page = FilledPage(granted.pa, granted.permissions)
        entry = TlbEntry(page=e.page, pa=e.pa, el=e.el, view=e.view)
        _LIBRARY.aether_view_fill(None, self.at, c.byref(page), c.byref(entry), int(access))
        return Granted(page.paddr, page.perms)

    def note_store(self, offset: int) -> None:
        _LIBRARY.aether_view_stored(self.at, c.c_uint64(offset))

    def seen(self, line: int) -> str:
        return self._which(_LIBRARY.aether_view_seen(self.at, c.c_uint64(line)))

    def to_store(self, line: int) -> str:
        return self._which(_LIBRARY.aether_view_bytes(self.at, c.c_uint64(line)))

    def _which(self, address: int) -> str:
        return {self.state.ram: "ram", self.views.memory: "memory"}[address]

    def is_plain(self, offset: int) -> bool:
        return bool(_LIBRARY.aether_view_is_plain(self.at, c.c_uint64(offset)))

    def read_lines(self, offset: int, size: int) -> int:
        return int(_LIBRARY.aether_on_line_read(None, c.c_uint64(offset), size, self.at))

    def write_lines(self, offset: int, size: int, value: int) -> None:
        values = c.c_uint64(offset), size, c.c_uint64(value)
        _LIBRARY.aether_on_line_write(None, *values, self.at)

    def maintain(self, name: str, key: int, operand: int, offset: int | None) -> None:
        op = OPS[name]
        encoding = CpReg(op0=1, op1=op.op1, crn=op.crn, crm=op.crm, op2=op.op2, value=operand)
        assert bool(_LIBRARY.aether_view_by_va(c.byref(encoding))) is (name not in BY_SET_WAY)
        where = offset is not None, c.c_uint64(offset or 0)
        _LIBRARY.aether_view_maintain(None, self.at, c.byref(encoding), key, *where)

    def invalidate_instructions(self, line: int) -> None:
        _LIBRARY.aether_view_invalidate(None, self.at, c.c_uint64(line))

    def invalidate_all_instructions(self, whose: Invalidation) -> None:
        _LIBRARY.aether_view_invalidate_all(None, self.at, whose)

    def begin_block(self, pc: int, end: int) -> None:
        _LIBRARY.aether_view_block(None, self.at, c.c_uint64(pc), c.c_uint64(end - pc))

    def queue(self) -> list[int]:
        return list(self._queue[: self.views.queue_count])

    def swept(self) -> set[tuple[int, int, int]]:
        found = set()
        for slot in np.flatnonzero(np.frombuffer(memoryview(self._swept), np.uint8)).tolist():
            level, first = (0, 0) if slot < 512 else (1, 512)
            found.add((level, *divmod(slot - first, CACHES[level][1])))
        return found


def word_at(code: list[int], va: int) -> int | None:
    place = (va - CODE_BASE) // 4
    return code[place] if 0 <= place < len(code) else None


def lines_in(mark: int) -> set[int]:
    return {n for n in range(PAGE_LINES) if mark >> n & 1}


def agree(ram: RamTwin | RamInC, page: int, differ: int) -> None:
    """Make `agreed` what RAM is, but for the lines in `differ`."""
    at = slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)
    agreed = bytearray(memoryview(ram.ram).cast("B")[at])
    for line in range(PAGE_LINES):
        agreed[line * LINE_SIZE + line] ^= differ >> line & 1
    memoryview(ram.agreed).cast("B")[at] = agreed
    has_agreed = ram.shared.has_agreed if isinstance(ram, RamInC) else ram.has_agreed
    has_agreed[page] = True


class World:
    """The same CPUs and RAM in C and in Python. Who is asked answers both alike: with the next of
    `answers`, or, if there are none, by doing what has to be done and no more."""

    def __init__(
        self,
        ram: RamTwin,
        answers: tuple[Answer, ...] = (),
        code: dict[int, int] | None = None,
    ) -> None:
        self.answers, self.ram = answers, ram
        words = [(code or {}).get(n, NOP) for n in range(CODE_WORDS)]
        self.ram_in_c = RamInC(ram)
        self.told: list[list[Told]] = [[] for _ in range(2 * CPUS)]
        self.in_c = [
            InC(n + 1, self.ram_in_c, words, self._look(n, self.ram_in_c)) for n in range(CPUS)
        ]
        self.in_python = [
            ViewsTwin(n + 1, ram, self._look(CPUS + n, ram), partial(word_at, words))
            for n in range(CPUS)
        ]
        for n in range(CPUS):
            self.in_c[n].set_peers([self.in_c[1 - n]])
            self.in_python[n].peers = [self.in_python[1 - n]]
            self.at(n, 0, 0, 1)

    def at(self, cpu: int, first: int, count: int, place: int) -> tuple[int, int]:
        """A CPU begins a block of code and comes to an instruction in it. Returns its bounds."""
        in_c, twin = self.in_c[cpu], self.in_python[cpu]
        block_pc = CODE_BASE + 4 * first
        in_c.state.blocks += 1
        in_c.state.block_pc, in_c.state.block_instructions = block_pc, count
        in_c.pc = twin.pc = block_pc + 4 * place
        twin.block_end = block_pc + 4 * count
        return block_pc, twin.block_end

    def _look(self, number: int, ram: RamTwin | RamInC) -> Callable[[Look, int, int], int]:
        def complete() -> None:
            if number < CPUS:
                self.in_c[number].views.sweep_waits = 0
            else:
                self.in_python[number - CPUS].is_sweep_deferred = False

        told = self.told[number]

        def look(kind: Look, page: int, a: int) -> int:
            told.append((kind, page, a))
            answer = self.answers[len(told) % len(self.answers)] if self.answers else NO_CHOICE
            bits = ram.pages[page]
            match kind:
                case Look.ALLOWED | Look.DEFER:
                    return answer.is_yes
                case Look.COMPLETE:
                    complete()
                    return 0
                case Look.AGREED:
                    pass
                case _ if self.answers:
                    bits = (bits & ~_PLACE | answer.place) ^ answer.toggled
                case Look.OPEN:
                    bits = bits & ~_VIEWS | a
                case Look.EXECUTE:
                    bits |= PageBit.EXECUTED
                case Look.REWRITE:
                    bits &= ~PageBit.EXECUTED
            ram.pages[page] = bits
            if self.answers or kind is Look.AGREED:
                agree(ram, page, answer.differ)
            return 0

        return look

    def store(self, offset: int, data: bytes) -> None:
        """Somebody has stored to RAM."""
        for ram in (self.ram.ram, self.ram_in_c.ram):
            memoryview(ram).cast("B")[offset : offset + len(data)] = data

    def compare(self) -> None:
        """All that either side has, and has told."""
        mine, there = self.ram, self.ram_in_c
        assert self.told[:CPUS] == self.told[CPUS:]
        for one, other in ((there.ram, mine.ram), (there.memory, mine.memory)):
            assert one.raw == bytes(other)
        assert there.agreed.raw == bytes(mine.agreed)
        assert list(there.shared.pages) == mine.pages
        assert list(there.shared.has_agreed) == mine.has_agreed
        for lines, marks in (
            (mine.stored, there.shared.stored),
            (mine.held, there.shared.held),
        ):
            assert [lines_in(mark) for mark in marks] == lines
        for mark, page in zip(there.shared.deferred.tolist(), mine.deferred, strict=True):
            expected = (page.clean, page.invalidate, page.code)
            assert tuple(lines_in(lines) for lines in mark[:OWNER]) == expected
            assert mark[OWNER] == page.owner
        for in_c, twin in zip(self.in_c, self.in_python, strict=True):
            assert in_c.flushes == twin.flushes
            assert in_c.state.tlb_flush_due == twin.is_flush_due
            assert in_c.views.swept_count == len(twin.swept)
            views, state = in_c.views, in_c.state
            assert views.swept_as == twin.swept_as
            assert in_c.queue() == twin.queue
            assert state.attention & ATTENTION_CONTROLS
            assert bool(state.attention & ATTENTION_CACHES) is twin.waits
            assert (views.code_deferred, views.sweep_waits, views.probed) == (
                twin.all_code_deferred,
                twin.is_sweep_deferred,
                twin.is_probed,
            )
            assert state.code_changed == bool(twin.code or twin.is_all_code)
            assert (state.code_line_count > MOST_CODE_LINES) is twin.is_all_code
            if not twin.is_all_code:
                assert list(state.code_lines[: state.code_line_count]) == twin.code
