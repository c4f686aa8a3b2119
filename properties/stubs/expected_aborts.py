# SPDX-License-Identifier: Apache-2.0
"""What the stubs `aborts` and `stage1` should see.

Fault status codes (Arm ARM, ESR_EL1): address size 0b0000LL, translation 0b0001LL, access flag
0b0010LL, permission 0b0011LL, with LL the level; alignment 0b100001; synchronous external abort
0b010000, and 0b0101LL on a table walk. The guest ABI gives an access to an IPA that is not the
guest's a synchronous external abort, of either form when it was a walk: a hypervisor does not
learn the level of the guest's own walk.
"""

from dataclasses import replace

from aether_edgecloud.properties.stubs.expect import (
    SYNCHRONOUS_EXTERNAL,
    Argument,
    Bits,
    Expect,
    Level,
    data_abort,
    fetch_abort,
    read_write_fetch,
    reads,
    runs,
)

ALIGNMENT = 0x21
MARK_A = 0xAAAA_0000_AAAA_0001
MARK_B = 0xBBBB_0000_BBBB_0002


def address_size(level: int) -> int:
    return 0x00 + level


def translation(level: int) -> int:
    return 0x04 + level


def access_flag(level: int) -> int:
    return 0x08 + level


def permission(level: int) -> int:
    return 0x0C + level


def walk(level: int) -> tuple[int, int]:
    return SYNCHRONOUS_EXTERNAL, 0x14 + level


def _unowned(names: str, *, level: Level = Level.EL1H) -> dict[str, Expect]:
    found: dict[str, Expect] = {}
    for name in names.split():
        found |= read_write_fetch(name, SYNCHRONOUS_EXTERNAL, level=level)
    return found


OUTSIDE = {
    "read-first": runs(1),
    "read-last": runs(1),
    "write-then-read": reads(),
    **_unowned("unowned before-memory after-memory before-uart after-uart zero"),
    **_unowned("gic-distributor gic-cpu-interface host-memory host-memory-top below-memory"),
    "hypervisor-memory": runs(1),  # hidden by the guest's own memory at that IPA
    "run-off-the-end": fetch_abort(SYNCHRONOUS_EXTERNAL, offset=4),
    "return-to-nowhere": fetch_abort(SYNCHRONOUS_EXTERNAL, changed=1 << 30),
}

_LOAD = data_abort(SYNCHRONOUS_EXTERNAL)
_STORE = data_abort(SYNCHRONOUS_EXTERNAL, write=True)

# The base register of a writeback form is what it was: the instruction can be run again.
FORMS = {
    **dict.fromkeys(("load-byte", "load-signed-half", "load-zr", "load-base-is-target"), _LOAD),
    "load-offset": data_abort(SYNCHRONOUS_EXTERNAL, far=Argument(0x128)),
    "load-register-offset": data_abort(SYNCHRONOUS_EXTERNAL, elr=4, far=Argument(0x40), changed=1),
    "load-post-index": _LOAD,
    "load-pre-index": data_abort(SYNCHRONOUS_EXTERNAL, far=Argument(8)),
    **dict.fromkeys(("load-pair", "load-pair-post-index", "load-acquire"), _LOAD),
    **dict.fromkeys(("load-exclusive", "load-unprivileged"), _LOAD),
    **dict.fromkeys(("store-byte", "store-zr", "store-release"), _STORE),
    "store-pre-index": data_abort(SYNCHRONOUS_EXTERNAL, write=True, far=Argument(8)),
    "store-pair-pre-index": data_abort(SYNCHRONOUS_EXTERNAL, write=True, far=Argument(-16)),
    "prefetch": runs(),
    # Where no memory is, no cache holds a copy, and there is nothing to maintain.
    **dict.fromkeys(("clean-invalidate", "clean", "invalidate"), runs()),
    "instruction-invalidate": runs(),
    # Stage 1 is off and AT S1E1R asks for nothing more: PAR_EL1 for Device memory.
    "translate": runs(Bits(0x0B00_0900, ~(1 << 9))),
}

FAR_AWAY = {
    **_unowned("ipa-2-39 ipa-2-40-less-a-page ipa-2-40 ipa-2-40-and-memory ipa-2-43"),
    # Stage 1 off: an address past the CPU's physical range is an address size fault, level 0.
    **read_write_fetch("va-2-44", address_size(0)),
    **read_write_fetch("va-2-47", address_size(0)),
    **read_write_fetch("va-2-55", address_size(0)),
    **read_write_fetch("va-top", address_size(0)),
}

ALIGNMENTS = {
    "device-unaligned-read": data_abort(ALIGNMENT),
    "device-unaligned-write": data_abort(ALIGNMENT, write=True),
    "checked-unaligned-read": data_abort(ALIGNMENT),
    "checked-unaligned-write": data_abort(ALIGNMENT, write=True),
    "checked-unaligned-unowned": data_abort(ALIGNMENT),
    "exclusive-unaligned": data_abort(ALIGNMENT),
}

ABORTS_EL0 = {
    **_unowned("el0-unowned el0-after-memory", level=Level.EL0),
    **read_write_fetch("el0-va-2-44", address_size(0), level=Level.EL0),
    "el0-read-memory": runs(1, level=Level.EL0),
    "el0-checked-unaligned": data_abort(ALIGNMENT, level=Level.EL0),
    "el1t-read-unowned": data_abort(SYNCHRONOUS_EXTERNAL, level=Level.EL1T),
}

ABORTS = {**OUTSIDE, **FORMS, **FAR_AWAY, **ALIGNMENTS, **ABORTS_EL0}

_MOVED = {
    "hypervisor-memory": data_abort(SYNCHRONOUS_EXTERNAL),
}
ABORTS_ELSEWHERE = {**ABORTS, **_MOVED}
"""The same with the guest's memory at IPA 0x80000000: the hypervisor's own address is bare."""

GOOD = {
    "read-page": runs(MARK_A),
    "write-page": runs(),
    "fetch-page": runs(),
    "read-contiguous": runs(MARK_B),
    "read-contiguous-next": runs(MARK_B),
    "read-block-2m": runs(MARK_A),
    "write-read-page": reads(),
    "pl011-elsewhere": runs(0xFFFF_FFFF_FFFF_FFF0),
    "pl011-elsewhere-store": runs(0x1234),
}

TRANSLATION = {
    **read_write_fetch("level-0", translation(0)),
    **read_write_fetch("level-1", translation(1)),
    **read_write_fetch("level-2", translation(2)),
    **read_write_fetch("level-3", translation(3)),
    "read-level-0-block": data_abort(translation(0)),
    "read-level-3-reserved": data_abort(translation(3)),
    **read_write_fetch("between-halves", translation(0)),
    "read-tagged": data_abort(translation(0)),
    "prefetch-level-3": runs(),
    "clean-level-3": data_abort(translation(3), maintenance=True),
    # FAR is an address of the access that lies on the page that faults, or the access's first.
    "across-to-level-3": data_abort(translation(3), far=Argument(0, above=7)),
}

ACCESS_FLAG = {
    **read_write_fetch("no-flag-level-1", access_flag(1)),
    **read_write_fetch("no-flag-level-2", access_flag(2)),
    "read-no-flag-level-3": data_abort(access_flag(3)),
    "write-no-flag-level-3": data_abort(access_flag(3), write=True),
}

PERMISSION = {
    "write-read-only-level-1": data_abort(permission(1), write=True),
    "fetch-pxn-level-1": fetch_abort(permission(1)),
    "write-read-only-level-2": data_abort(permission(2), write=True),
    "fetch-pxn-level-2": fetch_abort(permission(2)),
    "read-read-only-level-3": runs(MARK_A),
    "write-read-only-level-3": data_abort(permission(3), write=True),
    "fetch-pxn-level-3": fetch_abort(permission(3)),
    "fetch-el0-writable": fetch_abort(permission(3)),  # never executable at EL1
    "fetch-el0-read-only": runs(),
    "read-under-aptable": runs(MARK_A),
    "write-under-aptable": data_abort(permission(3), write=True),
    "fetch-under-pxntable": fetch_abort(permission(3)),
    "unprivileged-load": data_abort(permission(3)),
    "unprivileged-store": data_abort(permission(3), write=True),
    "write-pl011-read-only": data_abort(permission(3), write=True),
}

SIZES = {
    "read-oversize-level-0": data_abort(address_size(0)),
    "read-oversize-table-level-1": data_abort(address_size(1)),
    "read-oversize-level-1": data_abort(address_size(1)),
    "read-oversize-table-level-2": data_abort(address_size(2)),
    "write-oversize-level-2": data_abort(address_size(2), write=True),
    **read_write_fetch("oversize-level-3", address_size(3)),
}

STAGE2 = {
    **_unowned("unowned-page unowned-block page-past-2-40"),
    "across-to-unowned": data_abort(SYNCHRONOUS_EXTERNAL, far=Argument(0, above=7)),
    "load-pair-unowned": data_abort(SYNCHRONOUS_EXTERNAL),
    **read_write_fetch("walk-level-0", walk(0)),
    **read_write_fetch("walk-level-1", walk(1)),
    **read_write_fetch("walk-level-2", walk(2)),
    **read_write_fetch("walk-level-3", walk(3)),
    "walk-in-device": data_abort(walk(1)),
}

REGIMES = {
    **read_write_fetch("upper-half-off", translation(0)),
    "read-past-t0sz": data_abort(translation(0)),
    "write-past-t0sz": data_abort(translation(0), write=True),
    "normal-unaligned": runs(1),
    "device-unaligned": data_abort(ALIGNMENT),
    "checked-unaligned": data_abort(ALIGNMENT, write=True),
    "checked-unaligned-level-3": data_abort(ALIGNMENT),
    "read-changing-a": runs(MARK_A),
    "read-changing-b": runs(MARK_B),
    "read-changing-none": data_abort(translation(3)),
    "read-flag-set": runs(MARK_A),
    "64k-read-page": runs(MARK_A),
    "64k-read-level-1": data_abort(translation(1)),
    "64k-read-level-2": data_abort(translation(2)),
    "64k-read-level-3": data_abort(translation(3)),
    "64k-read-no-flag-level-2": data_abort(access_flag(2)),
    "64k-read-no-flag-level-3": data_abort(access_flag(3)),
    "64k-write-read-only": data_abort(permission(3), write=True),
    "64k-read-unowned": data_abort(SYNCHRONOUS_EXTERNAL),
}

# PAR_EL1 of a good translation: ATTR 0x44 (Normal Non-cacheable), SH 0b10 as always for that
# type, bit 11 RES1, NS unknown. Of a bad one: F, FST in [6:1], S and PTW 0, bit 11 RES1.
_PAR_NORMAL = 0x4400_0000_0000_0900
_PAR_UNKNOWN = ~(1 << 9)


def _par(pa: int) -> Expect:
    return runs(Bits(_PAR_NORMAL | pa, _PAR_UNKNOWN))


def _par_fault(code: int) -> Expect:
    return runs(Bits(1 << 11 | code << 1 | 1, 0x0000_FFFF_FFFF_FFFF))


AT = {
    "at-good": _par(0x4091_1000),
    "at-good-block": _par(0x4092_3000),
    "at-unowned": _par(0x0B00_0000),  # stage 1 alone
    "at-level-0": _par_fault(translation(0)),
    "at-level-2": _par_fault(translation(2)),
    "at-level-3": _par_fault(translation(3)),
    "at-no-flag-level-2": _par_fault(access_flag(2)),
    "at-write-read-only": _par_fault(permission(3)),
    "at-el0-of-el1-page": _par_fault(permission(3)),
    "at-el0-good": _par(0x4090_0000),
    "at-walk-unowned": data_abort(walk(2), maintenance=True),
}

_EL0 = {
    "read-el1-page": data_abort(permission(3)),
    "write-el1-page": data_abort(permission(3), write=True),
    "read-el1-block": data_abort(permission(2)),
    "read-el1-block-1g": data_abort(permission(1)),
    "read-read-only": runs(MARK_A),
    "write-read-only": data_abort(permission(3), write=True),
    "read-writable": runs(MARK_A),
    "write-writable": runs(),
    "fetch-read-only": runs(),
    "fetch-writable": runs(),
    "fetch-uxn": fetch_abort(permission(3)),
    "fetch-el1-page": fetch_abort(permission(3)),
    "read-no-flag": data_abort(access_flag(3)),
    "read-level-0": data_abort(translation(0)),
    "write-level-1": data_abort(translation(1), write=True),
    "fetch-level-2": fetch_abort(translation(2)),
    "read-level-3": data_abort(translation(3)),
    "read-unowned": data_abort(SYNCHRONOUS_EXTERNAL),
    "write-unowned": data_abort(SYNCHRONOUS_EXTERNAL, write=True),
    "fetch-unowned": fetch_abort(SYNCHRONOUS_EXTERNAL),
    "read-walk-level-1": data_abort(walk(1)),
    "fetch-walk-level-3": fetch_abort(walk(3)),
    "pl011": runs(0xFFFF_FFF0),
    "pl011-of-el1": data_abort(permission(3)),
}


def _from_el0(expect: Expect) -> Expect:
    """The exception class is that of a lower level: one less."""
    taken = expect.exception
    if taken is not None:
        taken = replace(taken, ec=taken.ec - 1)
    return replace(expect, exception=taken, level=Level.EL0)


STAGE1_EL0 = {f"el0-{name}": _from_el0(expect) for name, expect in _EL0.items()}

STAGE1 = {
    **GOOD,
    **TRANSLATION,
    **ACCESS_FLAG,
    **PERMISSION,
    **SIZES,
    **STAGE2,
    **REGIMES,
    **AT,
    **STAGE1_EL0,
}
