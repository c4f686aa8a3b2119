// SPDX-License-Identifier: Apache-2.0
// Simple calls, and the end of a stub.
#include "stub.h"

uint64_t hvc(uint64_t function, uint64_t x1, uint64_t x2, uint64_t x3)
{
    struct smccc args;
    args.x[0] = function;
    args.x[1] = x1;
    args.x[2] = x2;
    args.x[3] = x3;
    for (int i = 4; i < 8; i++) {
        args.x[i] = 0;
    }
    hvc_call(&args);
    return args.x[0];
}

_Noreturn void power_off(void)
{
    flush();
    (void)hvc(PSCI_SYSTEM_OFF, 0, 0, 0);
    for (;;) {
        __asm__ volatile("wfi"); // SYSTEM_OFF does not return; if it did, stop here
    }
}
