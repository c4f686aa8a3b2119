// SPDX-License-Identifier: Apache-2.0
// A program for the stub `script`, as properties/guest/program.py writes it.
#ifndef SCRIPT_H
#define SCRIPT_H

#include <stdint.h>

#define SCRIPT_OFFSET 0x100000UL // from the start of the memory
#define SCRIPT_MAGIC UINT64_C(0x5450495243534541)
#define SCRIPT_VCPUS 8
#define SCRIPT_RESULTS 8192

enum script_operation {
    SCRIPT_READ,    // address, size                  the value
    SCRIPT_WRITE,   // address, size, value
    SCRIPT_SETTLE,  // iterations of two instructions
    SCRIPT_CALL,    // how; x0 to x7                  x0 to x3
    SCRIPT_LEAVE,   // the same, of what does not return; the next one's turn comes before it
    SCRIPT_CONTEXT, //                                context, number of starts, MPIDR_EL1
    SCRIPT_OFF,     // vCPU, most tries               AFFINITY_INFO at last: waits until it is off
    SCRIPT_SLEEP,   // WFI until an interrupt is signalled; the next one's turn comes before it
    SCRIPT_PENDING, //                                ISR_EL1
    SCRIPT_CYCLE,   // ticks, enum script_wait        CNTV_CVAL, CNTVCT after it, what IAR said,
                    //                                and again after the end, how often it slept
    SCRIPT_PRINT,   // prints all results so far
    SCRIPT_CALL_8,  // as SCRIPT_CALL                 x0 to x7
    SCRIPT_POLL,    // register, value, most tries;   x0 to x7, of the first call whose register
                    // x0 to x7                       has, or with UNTIL_NOT has not, the value
    SCRIPT_OPERATIONS,
};

// How a call is made: by HVC without SMC; with ENTRY the address of another vCPU's first
// instruction is added to x2.
#define SCRIPT_SMC 1
#define SCRIPT_ENTRY 2
#define SCRIPT_UNTIL_NOT 8 // of SCRIPT_POLL, added to the register

enum script_wait { SCRIPT_WFI, SCRIPT_SPIN, SCRIPT_TWICE };

struct script_step {
    uint32_t operation;
    uint32_t vcpu;
    uint64_t argument[11];
};

struct script {
    uint64_t magic;
    uint64_t count;
    struct script_step steps[];
};

#endif
