// SPDX-License-Identifier: Apache-2.0
// Instructions that make exceptions, hints, maintenance, and bad states, from EL1.
#include "runtime/probe_macros.h"

#define MODE_EL2H 0xa0000009
#define MODE_EL2T 0xa0000008
#define MODE_EL3H 0xa000000d
#define MODE_EL1_RESERVED 0xa0000006 // EL1 with M[1] set
#define MODE_EL0_SP1 0xa0000001      // EL0 with its own SP_EL0 deselected
#define MODE_AARCH32_SVC 0xa0000013  // EL1 in AArch32, while HCR_EL2.RW says AArch64

    table call_probes
    try     "svc-0", "svc #0"
    try     "svc-ffff", "svc #0xffff"
    try     "brk-0", "brk #0"
    try     "brk-ffff", "brk #0xffff"
    try     "hlt-0", "hlt #0"
    try     "hlt-ffff", "hlt #0xffff"
    try     "udf-0", ".inst 0x00000000"
    try     "udf-ffff", ".inst 0x0000ffff"
    try     "hvc-1", "mov w0, #0x84000000", "hvc #1"
    try     "hvc-ffff", "mov w0, #0x84000000", "hvc #0xffff"
    try     "smc-0", "mov w0, #0x84000000", "smc #0"
    try     "smc-1", "mov w0, #0x84000000", "smc #1"
    try     "smc-ffff", "mov w0, #0x84000000", "smc #0xffff"
    endtable

    .arch_extension crc
    table hint_probes
    try     "nop", "nop"
    try     "yield", "yield"
    try     "sev-wfe", "sev", "wfe"
    try     "sevl-wfe", "sevl", "wfe"
    try     "hint-unallocated", "hint #0x7f"
    try     "paciasp-as-hint", "hint #25"
    try     "esb-as-hint", "hint #16"
    try     "dsb-isb", "dsb sy", "isb"
    try     "clrex", "clrex"
    try     "crc32", "crc32b w0, w2, w3"
    endtable

    // x1 = an address in the guest's own memory.
    .macro maintain name:req, a:req, b, c
    probe   "\name", arg=0x300000, from=FROM_BASE
    \a
    \b
    \c
    endprobe
    .endm

    table maintenance_probes
    try     "dc-isw", "dc isw, xzr"
    try     "dc-csw", "dc csw, xzr"
    try     "dc-cisw", "dc cisw, xzr"
    maintain"dc-ivac", "dc ivac, x1"
    maintain"dc-cvac", "dc cvac, x1"
    maintain"dc-cvau", "dc cvau, x1"
    maintain"dc-civac", "dc civac, x1"
    maintain"dc-zva", "dc zva, x1"
    maintain"ic-ivau", "ic ivau, x1"
    try     "ic-iallu", "ic iallu"
    try     "ic-ialluis", "ic ialluis"
    try     "tlbi-vmalle1", "tlbi vmalle1"
    try     "tlbi-vmalle1is", "tlbi vmalle1is"
    try     "tlbi-vae1is", "tlbi vae1is, xzr"
    try     "tlbi-aside1", "tlbi aside1, xzr"
    try     "tlbi-vaale1", "tlbi vaale1, xzr"
    maintain"at-s1e1r", "at s1e1r, x1", "isb", "mrs x0, par_el1"
    maintain"at-s1e0w", "at s1e0w, x1", "isb", "mrs x0, par_el1"
    endtable

    .macro illegal name:req, state:req
    probe   "\name", pstate=\state
    nop
    endprobe
    .endm

    table state_probes
    illegal "eret-to-el2h", MODE_EL2H
    illegal "eret-to-el2t", MODE_EL2T
    illegal "eret-to-el3h", MODE_EL3H
    illegal "eret-to-el1-reserved", MODE_EL1_RESERVED
    illegal "eret-to-el0-sp1", MODE_EL0_SP1
    illegal "eret-to-aarch32-svc", MODE_AARCH32_SVC
    illegal "eret-with-il", EL1H | PSTATE_IL
    illegal "eret-to-el0-with-il", EL0T | PSTATE_IL
    illegal "eret-to-el1t", EL1T

    probe   "sp-alignment", pstate=EL1T, sctlr=SCTLR_EL1_SA
    add     sp, sp, #8
    ldr     x0, [sp]
    endprobe
    probe   "sp-alignment-store", pstate=EL1T, sctlr=SCTLR_EL1_SA
    add     sp, sp, #8
    stp     x2, x3, [sp]
    endprobe
    probe   "sp-alignment-off", pstate=EL1T
    add     sp, sp, #8
    str     xzr, [sp]
    endprobe
    probe   "sp-alignment-good", pstate=EL1T, sctlr=SCTLR_EL1_SA
    str     xzr, [sp]
    endprobe

    probe   "pc-alignment-2", arg=0x300002, from=FROM_BASE
    br      x1
    probe   "pc-alignment-1", arg=0x300001, from=FROM_BASE
    br      x1
    probe   "pc-alignment-blr", arg=0x300003, from=FROM_BASE
    blr     x1
    probe   "sp-el0-while-in-use", pstate=EL1T
    mrs     x0, sp_el0
    endprobe
    probe   "daif-set-and-clear"
    msr     daifset, #0xf
    mrs     x0, daif
    msr     daifclr, #0xf
    endprobe
    endtable
