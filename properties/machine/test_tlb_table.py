# SPDX-License-Identifier: Apache-2.0
"""The table of kept translations (`tlb.c`) against its twin, and both against what a TLBI must
do: random translations, looked up and invalidated. Nothing else of an engine is there."""

import ctypes as c
import random

import pytest

from aether_edgecloud.emulator.cpu.hooks import (
    BLOCK_SLOTS,
    CODE_LINES,
    FILL_MODEL_FN,
    KEPT_FAULTS,
    CpReg,
    FilledPage,
    HookLibrary,
    HookState,
    KeptFault,
    Tlb,
    TlbEntry,
)
from aether_edgecloud.emulator.toolchain import shared_library
from aether_edgecloud.properties.machine.tlb_twin import TlbTwin

READ, WRITE, FETCH = 16, 17, 18
NEEDED = {READ: 1, WRITE: 2, FETCH: 4}
SIZES = (12, 12, 12, 16, 21, 30)
HIGH = 0xFFFF << 48

_LIBRARY = c.CDLL(str(shared_library("hooks")))
_READ_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int, c.POINTER(c.c_uint32))
_CTL_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int)


class Table:
    """`tlb.c` with a model behind it that translates a page to what `world` says."""

    def __init__(self) -> None:
        HookLibrary(shared_library("hooks"))  # checks the layout
        self.world: dict[tuple[int, int], TlbEntry] = {}
        self.el = 1
        self.walks = self.flushes = 0
        self.state = HookState()
        self.tlb, self.filled = Tlb(), TlbEntry()
        self.flags = (c.c_uint8 * BLOCK_SLOTS)()
        self.faults = (KeptFault * KEPT_FAULTS)()
        s = self.state
        s.tlb, s.filled = c.addressof(self.tlb), c.addressof(self.filled)
        s.block_flags, s.kept_faults = c.addressof(self.flags), c.addressof(self.faults)
        self.callbacks = (_READ_FN(self._read), _CTL_FN(self._ctl), FILL_MODEL_FN(self._model))
        s.reg_read, s.ctl, s.fill_model = (c.cast(f, c.c_void_p).value for f in self.callbacks)

    def _read(self, _uc: int, _register: int, value: "c._Pointer[c.c_uint32]") -> int:
        value.contents.value = self.el << 2
        return 0

    def _ctl(self, _uc: int, _control: int) -> int:
        self.flushes += 1
        return 0

    def _model(self, va: int, _access: int, el: int) -> int:
        self.walks += 1
        c.memmove(self.state.filled, c.addressof(self.world[va, el]), c.sizeof(TlbEntry))
        return 1

    def fill(self, va: int, access: int, el: int) -> FilledPage | None:
        self.el = el
        page = FilledPage()
        state = c.byref(self.state)
        if _LIBRARY.aether_on_fill(None, c.c_uint64(va), access, c.byref(page), state):
            return page
        return None

    def invalidate(self, reg: CpReg) -> bool:
        return bool(_LIBRARY.aether_tlb_invalidate(c.byref(self.state), c.byref(reg)))


def random_va(source: random.Random) -> int:
    va = source.choice((0, HIGH)) + (source.choice((0, 1, 3)) << 30)
    return va + (source.choice((0, 1, 5)) << 21) + (source.randrange(20) << 12)


def random_entry(source: random.Random, table: Table, va: int, el: int) -> TlbEntry:
    """A new translation of a page, as Python's walk would number it."""
    s = table.state
    is_global = bool(source.getrandbits(1))
    entry_set = s.set_el2 if el == 2 else s.set_low
    if el < 2 and va >> 55 & 1:
        entry_set = s.set_high if is_global else s.set_high_asid
    return TlbEntry(
        page=va,
        pa=source.randrange(1 << 20) << 12,
        set=entry_set,
        asid=s.set_high_asid & 0xFF,
        el=el,
        permissions=source.choice((1, 3, 5, 7)),
        size_log2=source.choice(SIZES),
        is_global=is_global,
    )


def random_tlbi(source: random.Random, va: int) -> CpReg:
    asid = source.randrange(4)
    op1, crm, op2 = source.choice(
        [(0, crm, op2) for crm in (3, 7) for op2 in (0, 1, 2, 3, 5, 7)]
        + [(4, crm, op2) for crm in (3, 7) for op2 in (0, 1, 4, 5, 6)]
        + [(4, crm, op2) for crm in (0, 4) for op2 in (1, 5)]
    )
    value = asid << 48 | (va >> 12 & ((1 << 44) - 1))
    return CpReg(crn=8, crm=crm, op0=1, op1=op1, op2=op2, value=value)


def must_go(entry: TlbEntry, reg: CpReg) -> bool:
    """What the architecture demands, VMIDs aside."""
    below = entry.el != 2
    if reg.op1 == 0 and reg.op2 in (1, 3, 5, 7):
        named = reg.value & ((1 << 44) - 1)
        same = (entry.page >> 12 & ((1 << 44) - 1)) >> (entry.size_log2 - 12)
        covered = same == named >> (entry.size_log2 - 12)
        any_asid = reg.op2 in (3, 7) or entry.is_global
        return bool(below and covered and (any_asid or entry.asid == reg.value >> 48))
    if reg.op1 == 0 and reg.op2 == 2:
        return bool(below and not entry.is_global and entry.asid == reg.value >> 48)
    if reg.op1 == 0 or (reg.op1 == 4 and (reg.crm & 3 == 0 or reg.op2 in (4, 6))):
        return bool(below)
    if reg.op2 == 0:
        return bool(not below)
    named = reg.value & ((1 << 44) - 1)
    same = (entry.page >> 12 & ((1 << 44) - 1)) >> (entry.size_log2 - 12)
    return not below and bool(same == named >> (entry.size_log2 - 12))


@pytest.mark.parametrize("seed", range(6))
def test_random_fills_and_invalidations(seed: int) -> None:
    source = random.Random(seed)
    table, twin = Table(), TlbTwin()
    live: dict[tuple[int, int, int], TlbEntry] = {}
    for _ in range(4000):
        s = table.state
        if source.random() < 0.1:
            s.set_el2, s.set_low, s.set_high, s.set_high_asid = (
                kind * 16 + source.randrange(3) for kind in range(4)
            )
        va, el = random_va(source), source.randrange(3)
        if el == 2:
            va &= (1 << 48) - 1
        if source.random() < 0.15:
            reg = random_tlbi(source, va)
            found = any(
                e.permissions and e.size_log2 > 12 and must_go(e, reg)
                for e in twin.entries.values()
            )
            flushes = table.invalidate(reg)
            assert flushes == twin.invalidate(reg)
            assert flushes or not found  # Unicorn would keep a part of a block
            live = {key: e for key, e in live.items() if not must_go(e, reg)}
            continue
        access = source.choice((READ, WRITE, FETCH))
        expected = twin.find(s, va, el)
        is_kept = expected is not None and bool(expected.permissions & NEEDED[access])
        new = random_entry(source, table, va, el)
        new.permissions |= NEEDED[access]
        table.world[va, el] = new
        walks = table.walks
        page = table.fill(va, access, el)
        assert page is not None
        assert (table.walks == walks) is is_kept
        if expected is not None and is_kept:
            assert page.paddr == expected.pa
            assert live[va, el, expected.set].pa == expected.pa  # not one that had to go
        else:
            twin.insert(new)
            live[va, el, new.set] = new
            assert page.paddr == new.pa
        assert not page.perms & (2 if access == FETCH else 4)
    assert table.tlb.large_count <= table.tlb.count


def test_a_full_table_starts_anew() -> None:
    table = Table()
    pages = 1 << 15
    for n in range(pages + 1):
        va = n << 12
        table.world[va, 1] = TlbEntry(page=va, pa=va, el=1, permissions=7, size_log2=12)
        table.fill(va, READ, 1)
    assert (table.walks, table.flushes) == (pages + 1, 1)
    table.fill(pages << 12, READ, 1)
    table.fill(0, READ, 1)
    assert table.walks == pages + 2


def test_sizes_told_twice() -> None:
    state = HookState()
    assert len(state.code_lines) == CODE_LINES
