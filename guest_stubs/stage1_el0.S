// SPDX-License-Identifier: Apache-2.0
// Accesses at EL0 with stage 1 on: x1 = the VA.
#include "runtime/probe_macros.h"
#include "stage1_window.h"

    .macro user name:req, arg:req, a:req
    probe   "el0-\name", arg=(\arg), pstate=EL0T
    \a
    endprobe
    .endm

    table user_probes
    user    "read-el1-page", VA(L0_WINDOW, 0, 0, L3_GOOD), "ldr x0, [x1]"
    user    "write-el1-page", VA(L0_WINDOW, 0, 0, L3_GOOD), "str x0, [x1]"
    user    "read-el1-block", VA(L0_WINDOW, 0, LX_GOOD, 0), "ldr x0, [x1]"
    user    "read-el1-block-1g", VA(L0_WINDOW, LX_GOOD, 0, 0), "ldr x0, [x1]"
    user    "read-read-only", VA(L0_WINDOW, 0, 0, L3_EL0_READ_ONLY) + 8, "ldr x0, [x1]"
    user    "write-read-only", VA(L0_WINDOW, 0, 0, L3_EL0_READ_ONLY), "str x0, [x1]"
    user    "read-writable", VA(L0_WINDOW, 0, 0, L3_EL0_WRITABLE) + 8, "ldr x0, [x1]"
    user    "write-writable", VA(L0_WINDOW, 0, 0, L3_EL0_WRITABLE) + 16, "str x0, [x1]"
    user    "fetch-read-only", VA(L0_WINDOW, 0, 0, L3_EL0_READ_ONLY), "br x1"
    user    "fetch-writable", VA(L0_WINDOW, 0, 0, L3_EL0_WRITABLE), "br x1"
    user    "fetch-uxn", VA(L0_WINDOW, 0, 0, L3_EL0_NO_EXECUTE), "br x1"
    user    "fetch-el1-page", VA(L0_WINDOW, 0, 0, L3_CODE), "br x1"
    user    "read-no-flag", VA(L0_WINDOW, 0, 0, L3_NO_AF), "ldr x0, [x1]"
    user    "read-level-0", VA(L0_INVALID, 0, 0, 0), "ldr x0, [x1]"
    user    "write-level-1", VA(L0_WINDOW, LX_INVALID, 0, 0), "str x0, [x1]"
    user    "fetch-level-2", VA(L0_WINDOW, 0, LX_INVALID, 0), "br x1"
    user    "read-level-3", VA(L0_WINDOW, 0, 0, L3_INVALID), "ldr x0, [x1]"
    user    "read-unowned", VA(L0_WINDOW, 0, 0, L3_EL0_UNOWNED), "ldr x0, [x1]"
    user    "write-unowned", VA(L0_WINDOW, 0, 0, L3_EL0_UNOWNED), "str x0, [x1]"
    user    "fetch-unowned", VA(L0_WINDOW, 0, 0, L3_EL0_UNOWNED_CODE), "br x1"
    user    "read-walk-level-1", VA(L0_UNOWNED, 0, 0, 0), "ldr x0, [x1]"
    user    "fetch-walk-level-3", VA(L0_WINDOW, 0, LX_UNOWNED, 0), "br x1"
    user    "pl011", VA(L0_WINDOW, 0, 0, L3_EL0_PL011) + 0xff4, "ldrsb w0, [x1]"
    user    "pl011-of-el1", VA(L0_WINDOW, 0, 0, L3_PL011) + 0xff4, "ldrsb w0, [x1]"
    endtable
