# SPDX-License-Identifier: Apache-2.0
"""Binding of the C hooks (`hooks.c`): the shared state, mirrored field by field, and entry points.

The mirror is checked against the offsets that the compiled library reports, so that a change on one
side alone fails at load time instead of corrupting a run.
"""

import ctypes as c
from enum import IntEnum
from pathlib import Path

SYSREG_KEYS = 1 << 16
BLOCK_SLOTS = 1 << 16
NEVER = (1 << 64) - 1
PAGE_SIZE, LINE_SIZE = 4096, 64


class StopReason(IntEnum):
    """Why the hooks stopped the engine (`enum stop_reason`)."""

    NONE = 0
    DEADLINE = 1
    INTERRUPT = 2
    EXCEPTION = 3
    ILLEGAL = 4
    PC_ALIGN = 5
    ATTENTION = 6
    CODE = 7
    WATCH = 8
    WATCHED = 9
    AARCH32 = 10
    YIELD = 11
    LOCKUP = 12
    OBSERVE = 13
    PEEK = 14
    SPLIT = 15
    MEASURE = 16
    SWITCH = 17


class SysregAction(IntEnum):
    """What the hooks do with an access (`enum sysreg_action`)."""

    NATIVE = 0
    MODEL = 1
    TRANSLATION = 2
    CONTROL = 3
    IC = 4
    TLBI = 5
    COUNTER = 6
    ZVA = 7
    GUARDED = 8
    CACHE = 9


FILL_MODEL_FN = c.CFUNCTYPE(c.c_uint32, c.c_uint64, c.c_uint32, c.c_uint32)
FAULT_MODEL_FN = c.CFUNCTYPE(c.c_uint32, c.c_uint64, c.c_uint32)
SYSREG_MODEL_FN = c.CFUNCTYPE(c.c_uint32, c.c_uint32, c.c_int32, c.c_uint32, c.c_uint64)


class CpReg(c.Structure):
    """`struct uc_cp_reg`: a system register by its encoding, as Unicorn passes one."""

    _fields_ = [
        ("crn", c.c_uint32),
        ("crm", c.c_uint32),
        ("op0", c.c_uint32),
        ("op1", c.c_uint32),
        ("op2", c.c_uint32),
        ("value", c.c_uint64),
    ]


class WatchedBlock(c.Structure):
    """`struct watched_block`."""

    _fields_ = [("pc", c.c_uint64), ("end", c.c_uint64)]


class KeptAnswer(c.Structure):
    """`struct kept_answer`."""

    _fields_ = [("tag", c.c_uint64), ("value", c.c_uint64)]


class ExitRecord(c.Structure):
    """`struct exit_record`."""

    _fields_ = [("kind", c.c_uint64), ("instructions", c.c_uint64)]


class TlbEntry(c.Structure):
    """`struct tlb_entry`."""

    _fields_ = [
        ("page", c.c_uint64),
        ("pa", c.c_uint64),
        ("set", c.c_uint32),
        ("asid", c.c_uint32),
        ("el", c.c_uint8),
        ("permissions", c.c_uint8),
        ("size_log2", c.c_uint8),
        ("is_global", c.c_uint8),
        ("is_listed", c.c_uint8),
        ("view", c.c_uint8),
    ]


TLB_ENTRIES = 1 << 15


class Tlb(c.Structure):
    """`struct tlb`."""

    _fields_ = [
        ("count", c.c_uint32),
        ("large_count", c.c_uint32),
        ("large_sizes", c.c_uint64),
        ("large_seen", c.c_uint8 * 4096),
        ("entries", TlbEntry * TLB_ENTRIES),
        ("large", c.c_uint32 * TLB_ENTRIES),
        ("buckets", c.c_uint32 * (2 * TLB_ENTRIES)),
    ]


class KeptFault(c.Structure):
    """`struct kept_fault`."""

    _fields_ = [
        ("page", c.c_uint64),
        ("descriptor_pa", c.c_uint64),
        ("descriptor", c.c_uint64),
        ("epoch", c.c_uint64),
        ("hpfar", c.c_uint64),
        ("el", c.c_uint32),
        ("access", c.c_uint32),
        ("fsc", c.c_uint32),
        ("is_valid", c.c_uint32),
    ]


KEPT_FAULTS = 16
CODE_LINES = 64
BLOCK_UNPRIVILEGED = 8


class FilledPage(c.Structure):
    """`struct uc_tlb_entry`."""

    _fields_ = [("paddr", c.c_uint64), ("perms", c.c_int32)]


KEPT_ANSWERS = 64
EXIT_RECORDS = 4096
EXIT_ENDS = 255
EXCEPTION_KINDS = 72


class HookState(c.Structure):
    """`struct hook_state`; see `hooks.h` for the meaning of each field."""

    _fields_ = [
        ("retired", c.c_uint64),
        ("others_retired", c.c_uint64),
        ("block_instructions", c.c_uint64),
        ("block_pc", c.c_uint64),
        ("deadline", c.c_uint64),
        ("el_retired", c.c_uint64 * 4),
        ("el_mark", c.c_uint64),
        ("el", c.c_uint32),
        ("after_eret", c.c_uint32),
        ("exit_start", c.c_uint64),
        ("exit_open", c.c_uint32),
        ("lines", c.c_uint32),
        ("take_always", c.c_uint32 * 4),
        ("take_unmasked", c.c_uint32 * 4),
        ("reason", c.c_uint32),
        ("exception", c.c_uint32),
        ("attention", c.c_uint32),
        ("translation_changed", c.c_uint32),
        ("el2_changed", c.c_uint32),
        ("code_changed", c.c_uint32),
        ("code_line_count", c.c_uint32),
        ("code_lines", c.c_uint32 * 64),
        ("is_identity", c.c_uint32),
        ("tlb_generation", c.c_uint32),
        ("sp_checked", c.c_uint32),
        ("fp_trapped", c.c_uint32),
        ("wfe_trapped", c.c_uint32),
        ("pct_trapped", c.c_uint32),
        ("sp_suspect", c.c_uint32),
        ("pass_pc", c.c_uint64),
        ("watch_pc", c.c_uint64),
        ("watch_size", c.c_uint64),
        ("counter_skipped", c.c_uint64),
        ("instructions_per_tick", c.c_uint64),
        ("virtual_offset", c.c_uint64),
        ("cntpct_allowed", c.c_uint32),
        ("cntvct_allowed", c.c_uint32),
        ("zva_allowed", c.c_uint32),
        ("peer_count", c.c_uint32),
        ("tlb_flush_due", c.c_uint32),
        ("broadcast_forced", c.c_uint32),
        ("after_wfe", c.c_uint32),
        ("guard_exclusive", c.c_uint32),
        ("extended", c.c_uint32),
        ("exclusive_open", c.c_uint32),
        ("exclusive_offset", c.c_uint32),
        ("context", c.c_void_p),
        ("context_save", c.c_void_p),
        ("peers", c.c_void_p * 7),
        ("emu_start", c.c_void_p),
        ("stop_pc", c.c_uint64),
        ("is_deferred", c.c_uint32),
        ("lockup_limit", c.c_uint32),
        ("same_place", c.c_uint64),
        ("same_count", c.c_uint64),
        ("hcr_el2", c.c_uint64),
        ("candidates", c.c_uint32 * 18),
        ("is_native", c.c_uint32),
        ("fault_model", c.c_void_p),
        ("fill_model", c.c_void_p),
        ("filled", c.c_void_p),
        ("tlb", c.c_void_p),
        ("set_el2", c.c_uint32),
        ("set_low", c.c_uint32),
        ("set_high", c.c_uint32),
        ("set_high_asid", c.c_uint32),
        ("stage2_changed", c.c_uint32),
        ("fault_known", c.c_uint32),
        ("fault_access", c.c_uint32),
        ("fault_fsc", c.c_uint32),
        ("fault_stage2", c.c_uint32),
        ("fault_s1ptw", c.c_uint32),
        ("reg_cp", c.c_uint32),
        ("fault_hpfar", c.c_uint64),
        ("epoch", c.c_uint64),
        ("kept_faults", c.c_void_p),
        ("exceptions_in_c", c.c_uint64),
        ("exception_counts", c.c_uint32 * 648),
        ("exit_count", c.c_uint32),
        ("exits", c.c_void_p),
        ("kept", c.c_void_p),
        ("timeline", c.c_uint64 * 256),
        ("timeline_events", c.c_uint64 * 256),
        ("blocks", c.c_uint64),
        ("sysreg_hooks", c.c_uint64),
        ("code_flushes", c.c_uint64),
        ("peek_at", c.c_uint64),
        ("peek_inside", c.c_uint64),
        ("peek_pass", c.c_uint32),
        ("ram_base", c.c_uint64),
        ("ram_size", c.c_uint64),
        ("executed_lines", c.c_void_p),
        ("code_pages", c.c_void_p),
        ("dirty_pages", c.c_void_p),
        ("ram", c.c_void_p),
        ("observer", c.c_void_p),
        ("tracer", c.c_void_p),
        ("exceptions", c.c_uint64),
        ("last_exception", c.c_uint32),
        ("watch", c.c_void_p),
        ("events", c.c_void_p),
        ("views", c.c_void_p),
        ("guests", c.c_void_p),
        ("on_crossing", c.c_void_p),
        ("sysreg_actions", c.c_void_p),
        ("block_flags", c.c_void_p),
        ("watched", c.c_void_p),
        ("sysreg_model", c.c_void_p),
        ("reg_read", c.c_void_p),
        ("reg_write", c.c_void_p),
        ("emu_stop", c.c_void_p),
        ("vmem_read", c.c_void_p),
        ("vmem_translate", c.c_void_p),
        ("ctl", c.c_void_p),
        ("reg_pstate", c.c_int32),
        ("reg_pc", c.c_int32),
        ("reg_sp", c.c_int32),
        ("reg_x0", c.c_int32),
        ("reg_x29", c.c_int32),
        ("reg_sp_el0", c.c_int32),
        ("reg_elr_el0", c.c_int32),
        ("reg_esr_el0", c.c_int32),
        ("reg_far_el0", c.c_int32),
        ("reg_vbar_el0", c.c_int32),
        ("ctl_flush_tlb", c.c_int32),
        ("ctl_drop_code", c.c_int32),
    ]


_CHECKED_FIELDS = (
    "el_retired",
    "exit_start",
    "lines",
    "reason",
    "ram_base",
    "sysreg_actions",
    "reg_pstate",
)


class HookLibrary:
    """The compiled hooks: C function addresses for `uc_hook_add`.

    Raises RuntimeError when the library was built from another layout of `struct hook_state`.
    """

    def __init__(self, path: Path) -> None:
        self._library = c.CDLL(str(path))
        layout = self._library.aether_hooks_layout
        layout.argtypes = [c.c_uint32]
        layout.restype = c.c_uint64
        mine = [c.sizeof(HookState)] + [getattr(HookState, f).offset for f in _CHECKED_FIELDS]
        theirs = [layout(i) for i in range(len(mine))]
        if mine != theirs:
            raise RuntimeError(f"{path}: layout of hook_state is {theirs}, expected {mine}")

    def address(self, name: str) -> int:
        """Address of a C callback."""
        value = c.cast(getattr(self._library, name), c.c_void_p).value
        assert value is not None
        return value
