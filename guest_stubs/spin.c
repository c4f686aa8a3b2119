// SPDX-License-Identifier: Apache-2.0
// Never ends.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
_Noreturn void spin_branch(void);
_Noreturn void spin_vector_storm(void);
_Noreturn void spin_wfi(void);
#pragma GCC visibility pop

enum spin_case { BRANCH, VECTOR_STORM, HYPERCALLS, WFI };

void stub_main(void)
{
    put_string("spin: case ");
    put_decimal(stub_case);
    put_char('\n');
    switch (stub_case) {
    case VECTOR_STORM:
        spin_vector_storm();
    case HYPERCALLS:
        for (;;) {
            (void)hvc(AETHER_VERSION, 0, 0, 0);
        }
    case WFI:
        spin_wfi();
    default:
        spin_branch();
    }
}
