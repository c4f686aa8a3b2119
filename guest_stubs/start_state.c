// SPDX-License-Identifier: Apache-2.0
// Prints the registers it was entered with.
#include "runtime/stub.h"

void stub_main(void)
{
    uint64_t others = 0;
    for (int n = 4; n < 31; n++) {
        others |= boot_record.x[n];
    }
    put_string("probe start:");
    put_key("x0", boot_record.x[0]);
    put_key("x1", boot_record.x[1]);
    put_key("x2", boot_record.x[2]);
    put_key("x3", boot_record.x[3]);
    put_key("others", others);
    put_key("sp", boot_record.sp);
    put_key("pstate", boot_record.pstate);
    put_key("sctlr", boot_record.sctlr_el1);
    put_char('\n');
}
