// SPDX-License-Identifier: Apache-2.0
// In the order of CRASH_CASES in catalogue.py. x1 = the address of FBRD, which is aligned for each.
#include "runtime/pl011.h"
#include "runtime/probe_macros.h"

    .macro crash name:req, a:req, pstate=EL1H
    probe   "\name", arg=PL011_FBRD, pstate=\pstate
    \a
    endprobe
    .endm

    .arch_extension simd
    table crash_probes
    crash   "ldp", "ldp w0, w2, [x1]"
    crash   "stp", "stp w0, w2, [x1]"
    crash   "ldnp", "ldnp w0, w2, [x1]"
    crash   "ldpsw", "ldpsw x0, x2, [x1]"
    crash   "ldr-post", "ldr w0, [x1], #4"
    crash   "ldr-pre", "ldr w0, [x1, #4]!"
    crash   "str-post", "str w0, [x1], #4"
    crash   "str-pre", "str w0, [x1, #4]!"
    crash   "ldrb-post", "ldrb w0, [x1], #1"
    crash   "strh-pre", "strh w0, [x1, #4]!"
    crash   "ldrsw-post", "ldrsw x0, [x1], #4"
    crash   "ldr-s", "ldr s0, [x1]"
    crash   "ldr-q", "ldur q0, [x1, #8]"
    crash   "str-b", "str b0, [x1]"
    crash   "ldp-d", "ldp d0, d1, [x1]"
    crash   "ld1", "ld1 {v0.4s}, [x1]"
    crash   "st1-lane", "st1 {v0.s}[1], [x1]"
    crash   "ldxr", "ldxr w0, [x1]"
    crash   "ldaxrb", "ldaxrb w0, [x1]"
    crash   "ldxp", "ldxp w0, w2, [x1]"
    crash   "ldp-xzr", "ldp wzr, w2, [x1]"
    crash   "ldp-el0", "ldp w0, w2, [x1]", pstate=EL0T
    endtable
