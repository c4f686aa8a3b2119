// SPDX-License-Identifier: Apache-2.0
// Macros that write probes: a piece of code and, in .rodata.probes, its entry (struct probe).
// A probe starts with x1 = its argument, every other register a pattern, and ends at its first
// exception; `endprobe` raises the SVC that means "nothing else happened".
// clang-format off: assembly
#ifndef STUB_PROBE_MACROS_H
#define STUB_PROBE_MACROS_H

#include "frame.h"

// table NAME ... endtable: the probes between them, in order, for run_probes(NAME).
.macro table name
    .pushsection .rodata.probes, "a", %progbits
    .balign 64
    .global \name
\name:
    .popsection
    .text
    .endm

    .macro endtable
    .pushsection .rodata.probes, "a", %progbits
    .zero   64
    .popsection
    .ltorg
    .endm

    .macro probe name:req, arg=0, from=FROM_ZERO, pstate=EL1H, sctlr=0
    .balign 4
    .pushsection .rodata.probes, "a", %progbits
.Lentry\@:
    .word   .Lprobe\@ - .
    .word   \pstate
    .quad   \arg
    .word   \sctlr
    .word   \from
    .asciz  "\name"
    .zero   64 - (. - .Lentry\@)
    .popsection
.Lprobe\@:
    .endm

    .macro endprobe
    svc     #PROBE_END_SVC
    .endm

// A probe of one to four instructions, each in quotes, at EL1h or at EL0.
    .macro try name:req, a:req, b, c, d
    probe   "\name"
    \a
    \b
    \c
    \d
    endprobe
    .endm

    .macro try_el0 name:req, a:req, b, c, d
    probe   "\name", pstate=EL0T
    \a
    \b
    \c
    \d
    endprobe
    .endm

// Reads into x0 and writes of XZR of system registers, at EL1h: probes "mrs-REG" and "msr-REG".
    .macro mrs_each regs:vararg
    .irp    reg, \regs
    try     "mrs-\reg", "mrs x0, \reg"
    .endr
    .endm

    .macro msr_each regs:vararg
    .irp    reg, \regs
    try     "msr-\reg", "msr \reg, xzr"
    .endr
    .endm

// The same for a register the assembler has no name for, by its encoding.
    .macro mrs_named name:req, encoding:req
    try     "mrs-\name", "mrs x0, \encoding"
    .endm

    .macro msr_named name:req, encoding:req
    try     "msr-\name", "msr \encoding, xzr"
    .endm

#endif
