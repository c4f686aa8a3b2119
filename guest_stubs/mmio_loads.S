// SPDX-License-Identifier: Apache-2.0
// Loads from the PL011 window: x1 = the register's address.
#include "runtime/pl011.h"
#include "runtime/probe_macros.h"

    .macro load name:req, arg:req, a:req, b, c, d, pstate=EL1H
    probe   "\name", arg=\arg, pstate=\pstate
    \a
    \b
    \c
    \d
    endprobe
    .endm

    table identification_probes
    .irp    n, 0, 1, 2, 3
    load    "periph-id\n", PL011_PERIPH_ID0 + 4 * \n, "ldr w0, [x1]"
    .endr
    .irp    n, 0, 1, 2, 3
    load    "pcell-id\n", PL011_PCELL_ID0 + 4 * \n, "ldr w0, [x1]"
    .endr
    load    "flags", PL011_FR, "ldr w0, [x1]"
    load    "raw-interrupts", PL011_RIS, "ldr w0, [x1]"
    load    "masked-interrupts", PL011_MIS, "ldr w0, [x1]"
    load    "empty-receiver", PL011_DR, "ldr w0, [x1]"
    endtable

    table load_probes
    load    "ldrb", PL011_PCELL_ID1, "ldrb w0, [x1]"
    load    "ldrh", PL011_PCELL_ID1, "ldrh w0, [x1]"
    load    "ldr-w", PL011_PCELL_ID1, "ldr w0, [x1]"
    load    "ldr-x", PL011_PCELL_ID0, "ldr x0, [x1]"
    load    "ldrsb-w", PL011_PCELL_ID1, "ldrsb w0, [x1]"
    load    "ldrsb-x", PL011_PCELL_ID1, "ldrsb x0, [x1]"
    load    "ldrsh-w", PL011_PCELL_ID1, "ldrsh w0, [x1]"
    load    "ldrsh-x", PL011_PCELL_ID1, "ldrsh x0, [x1]"
    load    "ldrsw", PL011_PCELL_ID1, "ldrsw x0, [x1]"
    load    "ldarb", PL011_PCELL_ID1, "ldarb w0, [x1]"
    load    "ldarh", PL011_PCELL_ID1, "ldarh w0, [x1]"
    load    "ldar-w", PL011_PCELL_ID1, "ldar w0, [x1]"
    load    "ldur-w", PL011_PCELL_ID1 + 3, "ldur w0, [x1, #-3]"
    load    "ldursb-x", PL011_PCELL_ID1 - 5, "ldursb x0, [x1, #5]"
    load    "ldtr-w", PL011_PCELL_ID1, "ldtr w0, [x1]"
    load    "ldtrsb-w", PL011_PCELL_ID1, "ldtrsb w0, [x1]"
    load    "offset-immediate", 0x09000000, "ldr w0, [x1, #0xff4]"
    load    "offset-register", 0x09000000, "mov x0, #0xff4", "ldr w0, [x1, x0]"
    load    "offset-sxtw", 0x09001000, "mov w0, #-3", "ldr w0, [x1, w0, sxtw #2]"
    load    "el0-ldrsb-x", PL011_PCELL_ID1, "ldrsb x0, [x1]", pstate=EL0T
    load    "el1t-ldr-w", PL011_PCELL_ID1, "ldr w0, [x1]", pstate=EL1T
    endtable

    // A 16-bit register with its top bit set shows the extension of halfwords.
    table sign_probes
    .macro signed name, load
    load    "ibrd-\name", PL011_IBRD, "mov w0, #0x8123", "str w0, [x1]", "\load"
    .endm
    signed  "ldrh", "ldrh w0, [x1]"
    signed  "ldrsh-w", "ldrsh w0, [x1]"
    signed  "ldrsh-x", "ldrsh x0, [x1]"
    signed  "ldr-w", "ldr w0, [x1]"
    signed  "ldrsw", "ldrsw x0, [x1]"
    signed  "ldrb", "ldrb w0, [x1]"
    signed  "ldrsb-x", "ldrsb x0, [x1]"
    endtable

    // Into every register: only that one may change, and x0, which shows it. (x1 is the base.)
    table target_probes
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    load    "into-w\n", PL011_PCELL_ID1, "ldr w\n, [x1]", "mov x0, x\n"
    .endr
    load    "into-wzr", PL011_PCELL_ID1, "ldr wzr, [x1]"
    load    "into-xzr", PL011_PCELL_ID0, "ldr xzr, [x1]"
    load    "into-wzr-byte", PL011_PCELL_ID1, "ldrb wzr, [x1]"
    load    "into-xzr-signed", PL011_PCELL_ID1, "ldrsb xzr, [x1]"
    endtable

    table other_probes
    load    "prefetch", PL011_FR, "prfm pldl1keep, [x1]"
    load    "fetch", PL011_FR, "br x1"
    load    "unaligned", PL011_FR + 2, "ldr w0, [x1]"
    load    "checked-unaligned", PL011_FR + 1, "mrs x0, sctlr_el1", "orr x0, x0, #2", "msr sctlr_el1, x0", "ldrh w0, [x1]"
    load    "unassigned-offset", 0x09000080, "ldr w0, [x1]"
    load    "store-to-flags", PL011_FR, "str w2, [x1]", "ldr w0, [x1]"
    load    "store-to-id", PL011_PCELL_ID1, "str wzr, [x1]", "ldr w0, [x1]"
    endtable
