// SPDX-License-Identifier: Apache-2.0
// Points VBAR_EL1 at nothing, and faults.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
extern const struct probe fault_loop_probes[];
#pragma GCC visibility pop

#define NOWHERE 0x0b000000UL
#define FAR_AWAY 0x10000000000UL // the first address past a 40-bit IPA space

enum { DEVICE_CASE = 6, FAR_AWAY_CASE = 7 };

void stub_main(void)
{
    uint64_t vectors = NOWHERE;
    if (stub_case == DEVICE_CASE) {
        vectors = PL011_BASE;
    } else if (stub_case == FAR_AWAY_CASE) {
        vectors = FAR_AWAY;
    }
    put_string("fault-loop: case ");
    put_decimal(stub_case);
    put_key("vbar", vectors);
    put_char('\n');
    WRITE_SYSREG(vbar_el1, vectors);
    run_probe(&fault_loop_probes[stub_case]);
    put_string("fault-loop: survived\n");
}
