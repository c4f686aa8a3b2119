// SPDX-License-Identifier: Apache-2.0
// Accesses at EL1 with stage 1 on: x1 = the VA.
#include "runtime/probe_macros.h"
#include "stage1_window.h"

    .macro read name:req, arg:req
    probe   "\name", arg=(\arg) + 8
    ldr     x0, [x1]
    endprobe
    .endm

    .macro write name:req, arg:req
    probe   "\name", arg=(\arg) + 16
    str     x0, [x1]
    endprobe
    .endm

    .macro fetch name:req, arg:req
    probe   "\name", arg=(\arg)
    br      x1
    .endm

    .macro three name:req, arg:req
    read    "read-\name", \arg
    write   "write-\name", \arg
    fetch   "fetch-\name", \arg
    .endm

    table good_probes
    three   "page", VA(L0_WINDOW, 0, 0, L3_CODE)
    read    "read-contiguous", VA(L0_WINDOW, 0, 0, L3_CONTIGUOUS)
    read    "read-contiguous-next", VA(L0_WINDOW, 0, 0, L3_CONTIGUOUS + 1)
    read    "read-block-2m", VA(L0_WINDOW, 0, LX_GOOD, 0x100)
    probe   "write-read-page", arg=VA(L0_WINDOW, 0, 0, L3_GOOD) + 0x20
    str     x2, [x1]
    ldr     x0, [x1]
    endprobe
    probe   "pl011-elsewhere", arg=VA(L0_WINDOW, 0, 0, L3_PL011) + 0xff4
    ldrsb   x0, [x1]
    endprobe
    probe   "pl011-elsewhere-store", arg=VA(L0_WINDOW, 0, 0, L3_PL011) + 0x24
    mov     w0, #0x1234
    str     w0, [x1]
    ldr     w0, [x1]
    endprobe
    endtable

    table translation_probes
    three   "level-0", VA(L0_INVALID, 0, 0, 0)
    three   "level-1", VA(L0_WINDOW, LX_INVALID, 0, 0)
    three   "level-2", VA(L0_WINDOW, 0, LX_INVALID, 0)
    three   "level-3", VA(L0_WINDOW, 0, 0, L3_INVALID)
    read    "read-level-0-block", VA(L0_BLOCK, 0, 0, 0)
    read    "read-level-3-reserved", VA(L0_WINDOW, 0, 0, L3_RESERVED)
    three   "between-halves", 0x0001000000000000
    read    "read-tagged", 0x0100000000000000 + VA(L0_WINDOW, 0, 0, L3_GOOD)
    probe   "prefetch-level-3", arg=VA(L0_WINDOW, 0, 0, L3_INVALID)
    prfm    pldl1keep, [x1]
    endprobe
    probe   "clean-level-3", arg=VA(L0_WINDOW, 0, 0, L3_INVALID)
    dc      civac, x1
    endprobe
    probe   "across-to-level-3", arg=VA(L0_WINDOW, 0, 0, L3_BEFORE_INVALID) + 0xffc
    ldr     x0, [x1]
    endprobe
    endtable

    table access_flag_probes
    three   "no-flag-level-1", VA(L0_WINDOW, LX_NO_AF, 0, 0)
    three   "no-flag-level-2", VA(L0_WINDOW, 0, LX_NO_AF, 0)
    read    "read-no-flag-level-3", VA(L0_WINDOW, 0, 0, L3_NO_AF)
    write   "write-no-flag-level-3", VA(L0_WINDOW, 0, 0, L3_NO_AF)
    endtable

    table permission_probes
    write   "write-read-only-level-1", VA(L0_WINDOW, LX_READ_ONLY, 0, 0)
    fetch   "fetch-pxn-level-1", VA(L0_WINDOW, LX_READ_ONLY, 0, 0)
    write   "write-read-only-level-2", VA(L0_WINDOW, 0, LX_READ_ONLY, 0)
    fetch   "fetch-pxn-level-2", VA(L0_WINDOW, 0, LX_READ_ONLY, 0)
    read    "read-read-only-level-3", VA(L0_WINDOW, 0, 0, L3_READ_ONLY)
    write   "write-read-only-level-3", VA(L0_WINDOW, 0, 0, L3_READ_ONLY)
    fetch   "fetch-pxn-level-3", VA(L0_WINDOW, 0, 0, L3_READ_ONLY)
    fetch   "fetch-el0-writable", VA(L0_WINDOW, 0, 0, L3_EL0_WRITABLE)
    fetch   "fetch-el0-read-only", VA(L0_WINDOW, 0, 0, L3_EL0_READ_ONLY)
    read    "read-under-aptable", VA(L0_RESTRICTED, 0, 0, L3_GOOD)
    write   "write-under-aptable", VA(L0_RESTRICTED, 0, 0, L3_GOOD)
    fetch   "fetch-under-pxntable", VA(L0_RESTRICTED, 0, 0, L3_CODE)
    probe   "unprivileged-load", arg=VA(L0_WINDOW, 0, 0, L3_GOOD)
    ldtr    x0, [x1]
    endprobe
    probe   "unprivileged-store", arg=VA(L0_WINDOW, 0, 0, L3_EL0_READ_ONLY)
    sttr    x0, [x1]
    endprobe
    write   "write-pl011-read-only", VA(L0_WINDOW, 0, 0, L3_PL011_READ_ONLY)
    endtable

    table size_probes
    read    "read-oversize-level-0", VA(L0_OVERSIZE, 0, 0, 0)
    read    "read-oversize-table-level-1", VA(L0_WINDOW, LX_OVERSIZE_TABLE, 0, 0)
    read    "read-oversize-level-1", VA(L0_WINDOW, LX_OVERSIZE, 0, 0)
    read    "read-oversize-table-level-2", VA(L0_WINDOW, 0, LX_OVERSIZE_TABLE, 0)
    write   "write-oversize-level-2", VA(L0_WINDOW, 0, LX_OVERSIZE, 0)
    three   "oversize-level-3", VA(L0_WINDOW, 0, 0, L3_OVERSIZE)
    endtable

    // Stage 1 is content; the IPA is not the guest's.
    table stage2_probes
    three   "unowned-page", VA(L0_WINDOW, 0, 0, L3_UNOWNED)
    three   "unowned-block", VA(L0_WINDOW, 0, LX_UNOWNED_BLOCK, 7)
    probe   "across-to-unowned", arg=VA(L0_WINDOW, 0, 0, L3_BEFORE_UNOWNED) + 0xffc
    ldr     x0, [x1]
    endprobe
    probe   "load-pair-unowned", arg=VA(L0_WINDOW, 0, 0, L3_UNOWNED) + 0x120
    ldp     w0, w2, [x1], #8
    endprobe
    endtable

    // A table lies where the guest has no memory.
    table walk_probes
    three   "walk-level-1", VA(L0_UNOWNED, 0, 0, 0)
    three   "walk-level-2", VA(L0_WINDOW, LX_UNOWNED, 0, 0)
    three   "walk-level-3", VA(L0_WINDOW, 0, LX_UNOWNED, 0)
    endtable

    table upper_half_probes
    three   "walk-level-0", 0xffff000000000000
    endtable

    table upper_half_off_probes
    three   "upper-half-off", 0xffff000000000000
    endtable

    table level_1_probes
    read    "read-past-t0sz", 0x0000008000000000
    write   "write-past-t0sz", 0x0000800000000000
    endtable

    table past_40_probes
    three   "page-past-2-40", VA(L0_WINDOW, 0, 0, L3_PAST_40_BITS)
    endtable

    table alignment_probes
    probe   "normal-unaligned", arg=VA(L0_WINDOW, 0, 0, L3_GOOD) + 0x31
    ldr     x0, [x1]
    mov     x0, #1
    endprobe
    probe   "device-unaligned", arg=VA(L0_WINDOW, 0, 0, L3_DEVICE_MEMORY) + 0x31
    ldr     x0, [x1]
    endprobe
    probe   "checked-unaligned", arg=VA(L0_WINDOW, 0, 0, L3_GOOD) + 0x31, sctlr=SCTLR_EL1_A
    str     x0, [x1]
    endprobe
    probe   "checked-unaligned-level-3", arg=VA(L0_WINDOW, 0, 0, L3_INVALID) + 0x31, sctlr=SCTLR_EL1_A
    ldr     x0, [x1]
    endprobe
    endtable

    .macro translate name:req, operation:req, arg:req
    probe   "\name", arg=(\arg)
    at      \operation, x1
    isb                             // PAR_EL1 is written
    mrs     x0, par_el1
    endprobe
    .endm

    table translate_probes
    translate "at-good", s1e1r, VA(L0_WINDOW, 0, 0, L3_CONTIGUOUS + 1)
    translate "at-good-block", s1e1w, VA(L0_WINDOW, 0, LX_GOOD, 0x123)
    translate "at-unowned", s1e1r, VA(L0_WINDOW, 0, 0, L3_UNOWNED)
    translate "at-level-0", s1e1r, VA(L0_INVALID, 0, 0, 0)
    translate "at-level-2", s1e1r, VA(L0_WINDOW, 0, LX_INVALID, 0)
    translate "at-level-3", s1e1r, VA(L0_WINDOW, 0, 0, L3_INVALID)
    translate "at-no-flag-level-2", s1e1r, VA(L0_WINDOW, 0, LX_NO_AF, 0)
    translate "at-write-read-only", s1e1w, VA(L0_WINDOW, 0, 0, L3_READ_ONLY)
    translate "at-el0-of-el1-page", s1e0r, VA(L0_WINDOW, 0, 0, L3_GOOD)
    translate "at-el0-good", s1e0w, VA(L0_WINDOW, 0, 0, L3_EL0_WRITABLE)
    translate "at-walk-unowned", s1e1r, VA(L0_WINDOW, LX_UNOWNED, 0, 0)
    endtable

    table changed_a_probe
    read    "read-changing-a", VA(L0_WINDOW, 0, 0, L3_CHANGING)
    endtable
    table changed_b_probe
    read    "read-changing-b", VA(L0_WINDOW, 0, 0, L3_CHANGING)
    endtable
    table changed_none_probe
    read    "read-changing-none", VA(L0_WINDOW, 0, 0, L3_CHANGING)
    endtable
    table flag_set_probe
    read    "read-flag-set", VA(L0_WINDOW, 0, 0, L3_NO_AF)
    endtable

    table granule_64k_probes
    read    "64k-read-page", VA64(0, K64_L2_TABLE, K64_L3_GOOD)
    read    "64k-read-level-1", VA64(1, 0, 0)
    read    "64k-read-level-2", VA64(0, K64_L2_INVALID, 0)
    read    "64k-read-level-3", VA64(0, K64_L2_TABLE, K64_L3_INVALID)
    read    "64k-read-no-flag-level-2", VA64(0, K64_L2_NO_AF, 0)
    read    "64k-read-no-flag-level-3", VA64(0, K64_L2_TABLE, K64_L3_NO_AF)
    write   "64k-write-read-only", VA64(0, K64_L2_TABLE, K64_L3_READ_ONLY)
    read    "64k-read-unowned", VA64(0, K64_L2_TABLE, K64_L3_UNOWNED)
    endtable

    table device_walk_probe
    read    "walk-in-device", VA(L0_DEVICE_WALK, 0, 0, 0)
    endtable
