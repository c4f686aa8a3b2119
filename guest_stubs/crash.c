// SPDX-License-Identifier: Apache-2.0
// One access to the PL011 window that has no valid syndrome, chosen by the case word.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
extern const struct probe crash_probes[];
#pragma GCC visibility pop

#define CPACR_FPEN_ALL (3UL << 20)

void stub_main(void)
{
    put_string("crash: case ");
    put_decimal(stub_case);
    put_char('\n');
    WRITE_SYSREG(cpacr_el1, CPACR_FPEN_ALL);
    run_probe(&crash_probes[stub_case]);
    put_string("crash: survived\n");
}
