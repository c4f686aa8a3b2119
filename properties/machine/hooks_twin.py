# SPDX-License-Identifier: Apache-2.0
"""The C hooks once more, in Python: slow, and easier to believe.

`PythonHooks` stands in for `HookLibrary`; a run with it must be the same to the last instruction.
What is told of a run has twins of its own: `events_twin.py`, `watch_twin.py`.
"""

import ctypes as c
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aether_edgecloud.emulator.cpu.hooks import (
    BLOCK_SLOTS,
    BLOCK_UNPRIVILEGED,
    CODE_LINES,
    EXIT_ENDS,
    EXIT_RECORDS,
    FILL_MODEL_FN,
    NEVER,
    SYSREG_MODEL_FN,
    CpReg,
    ExitRecord,
    FilledPage,
    HookLibrary,
    HookState,
    StopReason,
    SysregAction,
    TlbEntry,
    WatchedBlock,
)
from aether_edgecloud.properties.machine.tlb_twin import TlbTwin

_READ, _WRITE, _EXEC = 1, 2, 4
_OK = 0
_ERET, _WFE, _SEVL = 0xD69F03E0, 0xD503205F, 0xD50320BF
_MOST_EXTENDED = 16
_PSTATE_IL = 1 << 20
# BLOCK_* in hooks.h
_ENDS_WITH_ERET, _ENDS_WITH_WFE, _MAY_TRAP, _MOVES_SP = 1, 2, 4, 16
_DAIF = 0x3C0
_BARRIERS = 4  # of `attention`
_LINE, _PAGE = 64, 4096


class _Block(c.Structure):
    _fields_ = [("pc", c.c_uint64), ("instructions", c.c_uint16), ("size", c.c_uint16)]


_BLOCK_FN = c.CFUNCTYPE(None, c.c_void_p, c.c_uint64, c.c_uint32, c.POINTER(HookState))
_EDGE_FN = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(_Block), c.POINTER(_Block), c.POINTER(HookState))
_EXCEPTION_FN = c.CFUNCTYPE(None, c.c_void_p, c.c_uint32, c.POINTER(HookState))
_UNDEFINED_FN = c.CFUNCTYPE(c.c_uint32, c.c_void_p, c.POINTER(HookState))
_SYSREG_FN = c.CFUNCTYPE(c.c_uint32, c.c_void_p, c.c_int, c.POINTER(CpReg), c.POINTER(HookState))

_RUN_FN = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.POINTER(HookState), c.c_uint64)
_SETTLE_FN = c.CFUNCTYPE(c.c_uint32, c.c_void_p, c.POINTER(HookState))
_FOLD_FN = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(HookState), c.c_uint64)
_START_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_uint64, c.c_uint64, c.c_uint64, c.c_size_t)

_FILL_FN = c.CFUNCTYPE(
    c.c_bool, c.c_void_p, c.c_uint64, c.c_int, c.POINTER(FilledPage), c.POINTER(HookState)
)
_TLB_CLEAR_FN = c.CFUNCTYPE(None, c.POINTER(HookState))

_CROSSING_FN = c.CFUNCTYPE(None, c.c_uint64)
_REG_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int, c.c_void_p)
_STOP_FN = c.CFUNCTYPE(c.c_int, c.c_void_p)
_VMEM_READ_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_uint64, c.c_uint32, c.c_void_p, c.c_uint64)
_TRANSLATE_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_uint64, c.c_uint32, c.POINTER(c.c_uint64))
_CTL_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int)
_DROP_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int, c.c_uint64, c.c_uint64)
_SAVE_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p)


def _slot(address: int) -> int:
    return (address >> 2) % BLOCK_SLOTS


class _Access:
    """The engine and the tables behind a HookState."""

    def __init__(self, uc: int, state: HookState) -> None:
        self.uc = uc
        self.state = state

    def _table(self, address: int, size: int) -> "c.Array[c.c_uint8]":
        return (c.c_uint8 * size).from_address(address)

    def block_flags(self) -> "c.Array[c.c_uint8]":
        return self._table(self.state.block_flags, BLOCK_SLOTS)

    def is_watched(self, pc: int, size: int) -> bool:
        table = (WatchedBlock * BLOCK_SLOTS).from_address(self.state.watched)
        block = table[_slot(pc)]
        return bool(block.pc == pc and pc + size <= block.end)

    def action(self, key: int) -> SysregAction:
        return SysregAction(self._table(self.state.sysreg_actions, 1 << 16)[key])

    def code_pages(self) -> "c.Array[c.c_uint8]":
        return self._table(self.state.code_pages, self.state.ram_size // _PAGE)

    def dirty_pages(self) -> "c.Array[c.c_uint8]":
        return self._table(self.state.dirty_pages, self.state.ram_size // _PAGE)

    def executed_lines(self) -> "c.Array[c.c_uint8]":
        return self._table(self.state.executed_lines, self.state.ram_size // _LINE)

    def read(self, register: int) -> int:
        cell = c.c_uint64()
        _REG_FN(self.state.reg_read)(self.uc, register, c.addressof(cell))
        return cell.value

    def write(self, register: int, value: int) -> None:
        cell = c.c_uint64(value)
        _REG_FN(self.state.reg_write)(self.uc, register, c.addressof(cell))

    def words(self, pc: int, size: int) -> list[int] | None:
        cells = (c.c_uint32 * (size // 4))()
        status = _VMEM_READ_FN(self.state.vmem_read)(self.uc, pc, _EXEC, c.addressof(cells), size)
        return list(cells) if status == _OK else None

    def ram_offset(self, va: int, access: int) -> int | None:
        """Offset into RAM of the byte that `va` translates to, None if it is not in RAM."""
        pa = c.c_uint64()
        if _TRANSLATE_FN(self.state.vmem_translate)(self.uc, va, access, c.byref(pa)) != _OK:
            return None
        offset: int = pa.value - self.state.ram_base
        return offset if 0 <= offset < self.state.ram_size else None

    def stop(self, reason: StopReason, *, at_block: bool = True) -> None:
        self.state.reason = reason
        if at_block:
            self.state.block_instructions = 0
        _STOP_FN(self.state.emu_stop)(self.uc)

    def peers(self) -> list[HookState]:
        addresses = self.state.peers[: self.state.peer_count]
        return [HookState.from_address(address) for address in addresses]

    def is_monitor_set(self) -> bool:
        _SAVE_FN(self.state.context_save)(self.uc, self.state.context)
        at = self.state.context + self.state.exclusive_offset
        return c.c_uint64.from_address(at).value != NEVER

    def drop_code(self, pa: int) -> None:
        self.code_pages()[(pa - self.state.ram_base) // _PAGE] = 0
        self.state.is_identity = 1
        self.flush_tlb()
        _DROP_FN(self.state.ctl)(self.uc, self.state.ctl_drop_code, pa, pa + _PAGE)
        self.state.is_identity = 0
        self.flush_tlb()

    def flush_tlb(self) -> None:
        _CTL_FN(self.state.ctl)(self.uc, self.state.ctl_flush_tlb)


def _on_block(a: _Access, pc: int, size: int) -> None:
    s = a.state
    s.retired += s.block_instructions
    s.block_instructions = size >> 2
    s.block_pc = pc
    s.blocks += 1
    if pc != s.pass_pc:
        s.pass_pc = NEVER
    if s.after_eret:
        problem = _look_after_eret(a, pc)
        if problem is StopReason.ILLEGAL and pc & 3:
            problem = StopReason.PC_ALIGN
        if problem is not None:
            return a.stop(problem)
    if pc & 3:
        return a.stop(StopReason.PC_ALIGN)
    if _needs_watch(a, pc, size):
        return a.stop(StopReason.WATCH)
    if s.code_changed:
        return a.stop(StopReason.CODE)
    if s.attention & ~_BARRIERS:
        return a.stop(StopReason.ATTENTION)
    if s.retired >= s.deadline and not _is_slice_extended(a):
        return a.stop(StopReason.DEADLINE)
    if s.lines:
        open_bits = ~a.read(s.reg_pstate) & _DAIF
        if s.take_always[s.el] or s.take_unmasked[s.el] & open_bits:
            s.after_wfe = 0
            return a.stop(StopReason.INTERRUPT)
    if s.after_wfe:
        s.after_wfe = 0
        return a.stop(StopReason.YIELD)
    if s.retired + s.block_instructions > s.peek_at and not s.peek_pass:
        return a.stop(StopReason.PEEK)
    s.peek_pass = 0
    flags = a.block_flags()[_slot(pc)]
    s.after_eret = flags & _ENDS_WITH_ERET
    s.after_wfe = bool(s.peer_count and flags & _ENDS_WITH_WFE and _waits_at_end(a, pc, size))
    s.sp_suspect |= flags & _MOVES_SP
    return None


def _waits_at_end(a: _Access, pc: int, size: int) -> bool:
    """The flag may be another block's."""
    words = a.words(pc, size)
    return words is not None and words[-1] == _WFE and words[-2:-1] != [_SEVL]


def _is_slice_extended(a: _Access) -> bool:
    s = a.state
    s.exclusive_open = 0
    if not s.guard_exclusive or not a.is_monitor_set():
        return False
    s.extended += 1
    s.exclusive_open = s.extended > _MOST_EXTENDED
    return not s.exclusive_open


def _look_after_eret(a: _Access, block_pc: int) -> StopReason | None:
    if a.read(a.state.reg_pc) != block_pc:
        a.state.after_eret = 0
        return StopReason.AARCH32
    return StopReason.ILLEGAL if _settle_el(a) & _PSTATE_IL else None


def _settle_el(a: _Access) -> int:
    s = a.state
    s.after_eret = 0
    pstate = a.read(s.reg_pstate)
    el = pstate >> 2 & 3
    if el != s.el:
        s.el_retired[s.el] += s.retired - s.el_mark
        s.el_mark = s.retired
        if s.el == 2:
            _fold(a, a.read(s.reg_pc))
        if s.el == 2 and s.exit_open:
            records = (ExitRecord * EXIT_RECORDS).from_address(s.exits)
            records[s.exit_count] = ExitRecord(EXIT_ENDS, s.retired - s.exit_start)
            s.exit_count += 1
            s.exit_open = 0
        s.el = el
    s.sp_suspect = 1
    return pstate


def _fold(a: _Access, pc: int) -> None:
    """FNV-1a over the two words, in the timeline of the VM that VTTBR_EL2 names."""
    s = a.state
    vttbr = CpReg(crn=2, crm=1, op0=3, op1=4, op2=0)
    _REG_FN(s.reg_read)(a.uc, s.reg_cp, c.addressof(vttbr))
    vmid = vttbr.value >> 48 & 0xFF
    counter = s.counter_skipped + s.retired // s.instructions_per_tick
    value = s.timeline[vmid] if s.timeline_events[vmid] else 0xCBF2_9CE4_8422_2325
    for byte in (pc | counter << 64).to_bytes(16, "little"):
        value = (value ^ byte) * 0x100_0000_01B3 % (1 << 64)
    s.timeline[vmid] = value
    s.timeline_events[vmid] += 1
    if s.on_crossing:
        _CROSSING_FN(s.on_crossing)(pc)


_tlbs: dict[int, TlbTwin] = {}  # by address of the C table that each stands for


def tlb_of(state: HookState) -> TlbTwin:
    """The kept translations of one CPU."""
    return _tlbs.setdefault(state.tlb, TlbTwin())


def _on_fill(a: _Access, va: int, access: int, page: FilledPage) -> bool:
    """Python knows no kept fault: each one is found again."""
    s = a.state
    if s.is_identity:
        page.paddr, page.perms = va, _READ | _EXEC
        return True
    el = a.read(s.reg_pstate) >> 2 & 3
    needed = {16: _READ, 17: _WRITE, 18: _EXEC}[access]
    flags = a.block_flags()[_slot(s.block_pc)]
    entry = None
    is_unprivileged = el == 1 and access != 18 and flags & BLOCK_UNPRIVILEGED
    if is_unprivileged:
        words = a.words(a.read(s.reg_pc), 4)
        is_unprivileged = words is not None and words[0] & 0x3F200C00 == 0x38000800  # LDTR, STTR
    changed = s.el2_changed if el == 2 else s.translation_changed
    if not changed:
        entry = tlb_of(s).find(s, va, 0 if is_unprivileged else el)
    if entry is None or not entry.permissions & needed:
        if not FILL_MODEL_FN(s.fill_model)(va, access, el):
            return False
        entry = TlbEntry.from_address(s.filled)
        if tlb_of(s).insert(entry):
            a.flush_tlb()
    page.paddr = entry.pa
    page.perms = entry.permissions & _READ
    offset = entry.pa - s.ram_base
    is_ram = 0 <= offset < s.ram_size
    has_code = is_ram and bool(a.code_pages()[offset // _PAGE])
    if access == 18:
        page.perms |= _EXEC
    elif access == 17:
        if has_code:
            a.drop_code(entry.pa)
        if is_ram:
            a.dirty_pages()[offset // _PAGE] = 1
        page.perms |= _WRITE
    elif not has_code and (not is_ram or a.dirty_pages()[offset // _PAGE]):
        page.perms |= entry.permissions & _WRITE
    return True


def _run(a: _Access, pc: int) -> int:
    """Takes no exception: all are left to cpu.py, which is what run.c is held against."""
    a.state.reason = StopReason.NONE
    status: int = _START_FN(a.state.emu_start)(a.uc, pc, 0, 0, 0)
    a.state.stop_pc = a.read(a.state.reg_pc)
    return status


def _needs_watch(a: _Access, pc: int, size: int) -> bool:
    s = a.state
    trapped = s.fp_trapped | s.wfe_trapped | s.pct_trapped
    if not trapped and not s.sp_suspect:
        return False
    el_bit = 1 << s.el
    wanted = bool(trapped & el_bit and a.block_flags()[_slot(pc)] & _MAY_TRAP)
    if s.sp_suspect:
        s.sp_suspect = a.read(s.reg_sp) & 15 != 0
        wanted = wanted or bool(s.sp_suspect and s.sp_checked & el_bit)
    s.watch_pc, s.watch_size = pc, size
    return wanted and not a.is_watched(pc, size)


def _on_new_block(a: _Access, pc: int, size: int) -> None:
    s = a.state
    words = a.words(pc, size) if pc % 4 == 0 and 4 <= size <= 4096 else None
    if words is None:
        return
    flags = _ENDS_WITH_ERET if words[-1] == _ERET else 0
    if words[-1] == _WFE and words[-2:-1] != [_SEVL]:
        flags |= _ENDS_WITH_WFE
    offset = a.ram_offset(pc, _EXEC)
    if offset is not None:
        lines, pages = a.executed_lines(), a.code_pages()
        for line in range(offset // _LINE, (offset + size - 1) // _LINE + 1):
            lines[line] = 1
            if not pages[line * _LINE // _PAGE]:
                pages[line * _LINE // _PAGE] = 1
                a.flush_tlb()
    if any(_uses_fp(w) or w == _WFE or _reads_cntpct(w) for w in words):
        flags |= _MAY_TRAP
    if any(w & 0x3F200C00 == 0x38000800 for w in words):  # LDTR, STTR
        flags |= BLOCK_UNPRIVILEGED
    moves = [i for i, w in enumerate(words) if may_misalign_sp(w)]
    flags |= _MOVES_SP if moves else 0
    a.block_flags()[_slot(pc)] |= flags
    watch = any(_is_guarded(a, w) for w in words)
    watch = watch or bool(moves and any(_has_sp_base(w) for w in words[moves[0] + 1 :]))
    if watch and not a.is_watched(pc, size):
        s.watch_pc, s.watch_size = pc, size
        s.retired += s.block_instructions
        a.stop(StopReason.WATCH)


def _bits(word: int, high: int, low: int) -> int:
    return word >> low & ((1 << (high - low + 1)) - 1)


def may_misalign_sp(word: int) -> bool:
    """Whether an A64 instruction can leave SP without 16-byte alignment, by its encoding alone."""
    rd, rn = _bits(word, 4, 0), _bits(word, 9, 5)
    sets_flags = bool(_bits(word, 29, 29))  # then Rd 31 is XZR
    if _bits(word, 28, 23) == 0b100010:  # ADD, SUB (immediate)
        aligned = bool(_bits(word, 22, 22)) or _bits(word, 21, 10) % 16 == 0
        keeps = bool(word >> 31) and rn == 31 and aligned
        return rd == 31 and not sets_flags and not keeps
    if _bits(word, 28, 21) == 0b01011001:  # ADD, SUB (extended register)
        return rd == 31 and not sets_flags
    if _bits(word, 28, 23) == 0b100100:  # logical (immediate); opc 11 is ANDS
        return rd == 31 and _bits(word, 30, 29) != 3
    if rn == 31 and word & 0x3B200400 == 0x38000400:  # LDR, STR pre- or post-indexed, imm9
        return _bits(word, 15, 12) != 0
    if rn == 31 and word & 0x3A800000 == 0x28800000:  # LDP, STP with writeback, imm7
        scale = 2 + (_bits(word, 31, 30) if word >> 26 & 1 else _bits(word, 31, 31))
        return _bits(word, 21, 15) << scale & 15 != 0
    if rn == 31 and _bits(word, 31, 31) == 0 and _bits(word, 29, 25) == 0b00110:
        return bool(_bits(word, 23, 23))  # LD1-LD4, ST1-ST4 with post-index
    return word & 0xFFFFF0FF == 0xD50040BF  # MSR SPSel


def _has_sp_base(word: int) -> bool:
    """A load or store with SP as its base."""
    is_memory = word & 0x0A000000 == 0x08000000 and word & 0x3B000000 != 0x18000000
    return is_memory and _bits(word, 9, 5) == 31


def _uses_fp(word: int) -> bool:
    loads_stores = word & 0x0A000000 == 0x08000000 and bool(word >> 26 & 1)
    is_state = word & 0xFFDFFFC0 == 0xD51B4400  # MRS, MSR of FPCR and FPSR
    return loads_stores or word & 0x0E000000 == 0x0E000000 or is_state


def _reads_cntpct(word: int) -> bool:
    return word & ~31 == 0xD53BE020


def _is_guarded(a: _Access, word: int) -> bool:
    return word & 0xFFD00000 == 0xD5100000 and (
        a.action(_bits(word, 20, 5)) is SysregAction.GUARDED
    )


def _on_exception(a: _Access, number: int) -> None:
    a.state.exception = number
    a.stop(StopReason.EXCEPTION, at_block=False)


def _on_sysreg(a: _Access, rt: int, reg: CpReg, is_read: bool) -> int:
    s = a.state
    s.sysreg_hooks += 1
    key = (reg.op0 & 3) << 14 | reg.op1 << 11 | reg.crn << 7 | reg.crm << 3 | reg.op2
    match a.action(key):
        case SysregAction.COUNTER:
            return _read_counter(a, rt, key)
        case SysregAction.ZVA:
            return _zero_line(a, reg.value)
        case SysregAction.MODEL | SysregAction.GUARDED:
            return int(SYSREG_MODEL_FN(s.sysreg_model)(key, rt, is_read, reg.value))
        case SysregAction.TRANSLATION | SysregAction.CONTROL as action:
            if not is_read:
                s.translation_changed = 1
                s.el2_changed |= reg.op1 == 4 and reg.crm != 1
                s.epoch += 1
                s.attention |= 2 if action is SysregAction.CONTROL else 0
                a.flush_tlb()
        case SysregAction.IC:
            _invalidate_code(a, reg)
        case SysregAction.TLBI:
            s.tlb_generation += 1
            s.epoch += 1
            s.stage2_changed |= reg.op1 == 4
            if s.is_native or tlb_of(s).invalidate(reg):
                a.flush_tlb()
            if _is_broadcast(s, reg.crm in (0, 3)):
                for peer in a.peers():
                    peer.tlb_flush_due = 1
                    peer.epoch += 1
                    peer.stage2_changed |= reg.op1 == 4
                    if not s.is_native:
                        tlb_of(peer).invalidate(reg)
    return 0


def _is_broadcast(s: HookState, inner_shareable: bool) -> bool:
    return inner_shareable or bool(s.broadcast_forced and s.el < 2)


def _invalidate_code(a: _Access, reg: CpReg) -> None:
    by_va = reg.crm == 5 and reg.op2 == 1
    offset = a.ram_offset(reg.value, _READ) if by_va else None
    reached = [a.state]
    if offset is not None or _is_broadcast(a.state, reg.crm == 1):
        reached += a.peers()
    for state in reached:
        line = None if offset is None else offset // _LINE
        if line is None or _Access(a.uc, state).executed_lines()[line]:
            state.code_changed = 1
            if line is not None and state.code_line_count < CODE_LINES:
                state.code_lines[state.code_line_count] = line
                state.code_line_count += 1
            else:
                state.code_line_count = CODE_LINES + 1


def _zero_line(a: _Access, va: int) -> int:
    s = a.state
    offset = a.ram_offset(va, _WRITE) if s.zva_allowed >> s.el & 1 else None
    if offset is None or a.executed_lines()[offset // _LINE]:
        return 0
    a.dirty_pages()[offset // _PAGE] = 1
    c.memset(s.ram + offset // _LINE * _LINE, 0, _LINE)
    return 1


def _read_counter(a: _Access, rt: int, key: int) -> int:
    s = a.state
    physical = key & 7 == 1
    allowed = s.cntpct_allowed if physical else s.cntvct_allowed
    if not allowed >> s.el & 1:
        return int(SYSREG_MODEL_FN(s.sysreg_model)(key, rt, 1, 0))
    retired = s.retired + (a.read(s.reg_pc) - s.block_pc) // 4
    value = s.counter_skipped + retired // s.instructions_per_tick
    a.write(rt, value if physical else (value - s.virtual_offset) % (1 << 64))
    return 1


def _on_watched(a: _Access, pc: int) -> None:
    s = a.state
    s.sp_suspect = 1
    if pc == s.pass_pc:
        return
    words = a.words(pc, 4)
    if words is None:
        return
    word, el_bit = words[0], 1 << s.el
    due = (
        (s.fp_trapped & el_bit and _uses_fp(word))
        or (s.wfe_trapped & el_bit and word == _WFE)
        or (s.pct_trapped & el_bit and _reads_cntpct(word))
        or _is_guarded(a, word)
    )
    if _has_sp_base(word) and s.sp_checked & el_bit:
        due = due or a.read(s.reg_sp) & 15 != 0
    if due:
        a.stop(StopReason.WATCHED, at_block=False)


def _on_peeked(a: _Access, pc: int) -> None:
    s = a.state
    if s.retired + (pc - s.block_pc) // 4 == s.peek_inside:
        a.stop(StopReason.PEEK, at_block=False)


class PythonHooks:
    """Offers the callbacks of `hooks.c` under the same names."""

    def __init__(self) -> None:
        _tlbs.clear()

        def undefined(uc: int, s: Any) -> int:
            _on_exception(_Access(uc, s.contents), 1)
            return 1

        def sysreg(uc: int, rt: int, r: Any, s: Any, is_read: bool) -> int:
            return _on_sysreg(_Access(uc, s.contents), rt, r.contents, is_read)

        self._callbacks: dict[str, Callable[..., Any]] = {
            "aether_on_block": _BLOCK_FN(
                lambda uc, pc, size, s: _on_block(_Access(uc, s.contents), pc, size)
            ),
            "aether_on_new_block": _EDGE_FN(
                lambda uc, block, _previous, s: _on_new_block(
                    _Access(uc, s.contents), block.contents.pc, block.contents.size
                )
            ),
            "aether_on_exception": _EXCEPTION_FN(
                lambda uc, number, s: _on_exception(_Access(uc, s.contents), number)
            ),
            "aether_on_undefined": _UNDEFINED_FN(undefined),
            "aether_on_mrs": _SYSREG_FN(lambda uc, rt, r, s: sysreg(uc, rt, r, s, True)),
            "aether_on_msr": _SYSREG_FN(lambda uc, rt, r, s: sysreg(uc, rt, r, s, False)),
            "aether_run": _RUN_FN(lambda uc, s, pc: _run(_Access(uc, s.contents), pc)),
            "aether_settle_el": _SETTLE_FN(lambda uc, s: _settle_el(_Access(uc, s.contents))),
            "aether_fold": _FOLD_FN(lambda uc, s, pc: _fold(_Access(uc, s.contents), pc)),
            "aether_on_fill": _FILL_FN(
                lambda uc, va, access, page, s: _on_fill(
                    _Access(uc, s.contents), va, access, page.contents
                )
            ),
            "aether_tlb_clear": _TLB_CLEAR_FN(lambda s: tlb_of(s.contents).clear()),
            "aether_on_watched": _BLOCK_FN(
                lambda uc, pc, _size, s: _on_watched(_Access(uc, s.contents), pc)
            ),
            "aether_on_peeked": _BLOCK_FN(
                lambda uc, pc, _size, s: _on_peeked(_Access(uc, s.contents), pc)
            ),
        }

    def address(self, name: str) -> int:
        """Address of a callback."""
        value = c.cast(self._callbacks[name], c.c_void_p).value  # type: ignore[arg-type]
        assert value is not None
        return value


class PythonRun(HookLibrary):
    """The C hooks with a run loop that takes no exception: Python takes all of them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._run = _RUN_FN(lambda uc, s, pc: _run(_Access(uc, s.contents), pc))

    def address(self, name: str) -> int:
        """Address of a callback."""
        if name != "aether_run":
            return super().address(name)
        value = c.cast(self._run, c.c_void_p).value
        assert value is not None
        return value
