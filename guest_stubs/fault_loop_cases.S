// SPDX-License-Identifier: Apache-2.0
// In the order of the cases of fault-loop in catalogue.py.
#include "runtime/probe_macros.h"

    table fault_loop_probes
    probe   "data-abort", arg=0x0b001000
    ldr     x0, [x1]
    endprobe
    probe   "undefined"
    .inst   0
    endprobe
    probe   "svc"
    svc     #0
    endprobe
    probe   "fetch", arg=0x0b001000
    br      x1
    probe   "el1t", pstate=EL1T
    svc     #0
    endprobe
    probe   "el0", pstate=EL0T
    svc     #0
    endprobe
    probe   "device"
    .inst   0
    endprobe
    probe   "far-away"
    .inst   0
    endprobe
    endtable
