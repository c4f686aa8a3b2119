// SPDX-License-Identifier: Apache-2.0
// Stores to the PL011 window: x1 = the register's address.
#include "runtime/pl011.h"
#include "runtime/probe_macros.h"

    // Store, and load the register back into x0. It holds 0x5a5a before.
    .macro store name:req, a:req, b, pstate=EL1H
    probe   "\name", arg=PL011_IBRD, pstate=\pstate
    mov     w0, #0x5a5a
    str     w0, [x1]
    mov     w0, #0x1234
    movk    w0, #0x8765, lsl #16
    \a
    \b
    ldr     w0, [x1]
    endprobe
    .endm

    table store_probes
    store   "strh", "strh w0, [x1]"
    store   "str-w", "str w0, [x1]"
    store   "sturh", "sturh w0, [x1]"
    store   "sttr-w", "sttr w0, [x1]"
    store   "stlrh", "stlrh w0, [x1]"
    store   "stlr-w", "stlr w0, [x1]"
    store   "str-x", "str x0, [x1]"
    store   "str-wzr", "str wzr, [x1]"
    store   "strh-wzr", "strh wzr, [x1]"
    store   "stlr-wzr", "stlr wzr, [x1]"
    store   "str-base", "str w1, [x1]"
    store   "str-offset", "sub x2, x1, #0x24", "str w0, [x2, #0x24]"
    store   "el0-str-w", "str w0, [x1]", pstate=EL0T
    endtable

    // From every register but the base: the number stored is 0x100 plus the register's.
    table source_probes
    .irp n, 0,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    probe   "from-w\n", arg=PL011_IBRD
    mov     w\n, #(0x100 + \n)
    str     w\n, [x1]
    ldr     w0, [x1]
    endprobe
    .endr
    endtable

    // One character each, by every size: it stands before the probe's line on the console.
    .macro character name:req, code:req, a:req
    probe   "\name", arg=PL011_DR
    mov     w0, #(0x80 << 24)       // bits above the character mean nothing to the register
    movk    w0, #\code
    \a
    mov     w0, #0
    endprobe
    .endm

    table data_probes
    character "dr-strb", 'A', "strb w0, [x1]"
    character "dr-strh", 'B', "strh w0, [x1]"
    character "dr-str-w", 'C', "str w0, [x1]"
    character "dr-stlrb", 'D', "stlrb w0, [x1]"
    character "dr-stlr-w", 'E', "stlr w0, [x1]"
    character "dr-sturb", 'F', "sturb w0, [x1]"
    probe   "dr-strb-el0", arg=PL011_DR, pstate=EL0T
    mov     w0, #'G'
    strb    w0, [x1]
    mov     w0, #0
    endprobe
    probe   "dr-three", arg=PL011_DR
    mov     w0, #'x'
    strb    w0, [x1]
    mov     w0, #'y'
    strb    w0, [x1]
    mov     w0, #'z'
    strb    w0, [x1]
    mov     w0, #0
    endprobe
    endtable
