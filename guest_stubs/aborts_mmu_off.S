// SPDX-License-Identifier: Apache-2.0
// Loads, stores and fetches with x1 = the address.
#include "runtime/probe_macros.h"

#define MEMORY_SIZE 0x1000000
#define UNOWNED 0x0b000000 // no guest memory, no device of the guest or of the usual boards

    // read-, write- and fetch-NAME.
    .macro three name:req, arg:req, from=FROM_ZERO, pstate=EL1H
    probe   "read-\name", arg=\arg, from=\from, pstate=\pstate
    ldr     x0, [x1]
    endprobe
    probe   "write-\name", arg=\arg, from=\from, pstate=\pstate
    str     x0, [x1]
    endprobe
    probe   "fetch-\name", arg=\arg, from=\from, pstate=\pstate
    br      x1
    endprobe
    .endm

    .macro form name:req, arg:req, a:req, b, c
    probe   "\name", arg=\arg
    \a
    \b
    \c
    endprobe
    .endm

    table inside_probes
    probe   "read-first", arg=0, from=FROM_BASE
    ldr     x0, [x1]
    mov     x0, #1
    endprobe
    probe   "read-last", arg=MEMORY_SIZE - 8, from=FROM_BASE
    ldr     x0, [x1]
    mov     x0, #1
    endprobe
    probe   "write-then-read", arg=MEMORY_SIZE - 16, from=FROM_BASE
    str     x2, [x1]
    ldr     x0, [x1]
    endprobe
    endtable

    table outside_probes
    three   "unowned", UNOWNED
    three   "before-memory", -0x1000, FROM_BASE
    three   "after-memory", MEMORY_SIZE, FROM_BASE
    three   "before-uart", 0x08fff000
    three   "after-uart", 0x09001000
    three   "gic-distributor", 0x08000000
    three   "gic-cpu-interface", 0x08010000
    three   "zero", 0
    three   "host-memory", 0x4f000000
    three   "host-memory-top", 0x4ffff000
    three   "below-memory", -0x10000000, FROM_BASE
    // Where the hypervisor is loaded on the usual board; the guest's own unless its memory is
    // elsewhere.
    probe   "hypervisor-memory", arg=0x40200000
    ldr     x0, [x1]
    mov     x0, #1
    endprobe
    probe   "run-off-the-end", arg=MEMORY_SIZE - 4, from=FROM_BASE
    br      x1
    endprobe
    probe   "return-to-nowhere", arg=UNOWNED
    mov     x30, x1
    ret
    endtable

    table form_probes
    form    "load-byte", UNOWNED, "ldrb w0, [x1]"
    form    "load-signed-half", UNOWNED, "ldrsh x0, [x1]"
    form    "load-zr", UNOWNED, "ldr xzr, [x1]"
    form    "load-offset", UNOWNED, "ldr x0, [x1, #0x128]"
    form    "load-register-offset", UNOWNED, "mov x0, #0x40", "ldr x2, [x1, x0]"
    form    "load-base-is-target", UNOWNED, "ldr x1, [x1]"
    form    "load-post-index", UNOWNED, "ldr x0, [x1], #8"
    form    "load-pre-index", UNOWNED, "ldr x0, [x1, #8]!"
    form    "load-pair", UNOWNED, "ldp x0, x2, [x1]"
    form    "load-pair-post-index", UNOWNED, "ldp x0, x2, [x1], #16"
    form    "load-acquire", UNOWNED, "ldar x0, [x1]"
    form    "load-exclusive", UNOWNED, "ldxr x0, [x1]"
    form    "load-unprivileged", UNOWNED, "ldtr x0, [x1]"
    form    "store-byte", UNOWNED, "strb w0, [x1]"
    form    "store-zr", UNOWNED, "str xzr, [x1]"
    form    "store-pre-index", UNOWNED, "str x0, [x1, #8]!"
    form    "store-pair-pre-index", UNOWNED, "stp x0, x2, [x1, #-16]!"
    form    "store-release", UNOWNED, "stlr x0, [x1]"
    form    "prefetch", UNOWNED, "prfm pldl1keep, [x1]"
    form    "clean-invalidate", UNOWNED, "dc civac, x1"
    form    "clean", UNOWNED, "dc cvac, x1"
    form    "invalidate", UNOWNED, "dc ivac, x1"
    form    "instruction-invalidate", UNOWNED, "ic ivau, x1"
    form    "translate", UNOWNED, "at s1e1r, x1", "isb", "mrs x0, par_el1"
    endtable

    // 2^40 ends the IPA space; a Cortex-A72 has 44 bits of physical address.
    table far_probes
    three   "ipa-2-39", 0x8000000000
    three   "ipa-2-40-less-a-page", 0xfffffff000
    three   "ipa-2-40", 0x10000000000
    three   "ipa-2-40-and-memory", 0x10040200000
    three   "ipa-2-43", 0x80000000000
    three   "va-2-44", 0x100000000000
    three   "va-2-47", 0x800000000000
    three   "va-2-55", 0x80000000000000
    three   "va-top", 0xffffffffffff0000
    endtable

    table alignment_probes
    // Stage 1 off makes all data accesses Device-nGnRnE.
    probe   "device-unaligned-read", arg=0x300001, from=FROM_BASE
    ldr     x0, [x1]
    endprobe
    probe   "device-unaligned-write", arg=0x300002, from=FROM_BASE
    str     w2, [x1]
    endprobe
    probe   "checked-unaligned-read", arg=0x300001, from=FROM_BASE, sctlr=SCTLR_EL1_A
    ldr     x0, [x1]
    endprobe
    probe   "checked-unaligned-write", arg=0x300001, from=FROM_BASE, sctlr=SCTLR_EL1_A
    strh    w2, [x1]
    endprobe
    probe   "checked-unaligned-unowned", arg=UNOWNED + 4, sctlr=SCTLR_EL1_A
    ldr     x0, [x1]
    endprobe
    probe   "exclusive-unaligned", arg=0x300004, from=FROM_BASE
    ldxr    x0, [x1]
    endprobe
    endtable

    table el0_probes
    three   "el0-unowned", UNOWNED, pstate=EL0T
    three   "el0-after-memory", MEMORY_SIZE, FROM_BASE, pstate=EL0T
    three   "el0-va-2-44", 0x100000000000, pstate=EL0T
    probe   "el0-read-memory", arg=0, from=FROM_BASE, pstate=EL0T
    ldr     x0, [x1]
    mov     x0, #1
    endprobe
    probe   "el0-checked-unaligned", arg=0x300001, from=FROM_BASE, pstate=EL0T, sctlr=SCTLR_EL1_A
    ldr     x0, [x1]
    endprobe
    probe   "el1t-read-unowned", arg=UNOWNED, pstate=EL1T
    ldr     x0, [x1]
    endprobe
    endtable
