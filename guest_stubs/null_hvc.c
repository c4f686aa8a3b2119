// SPDX-License-Identifier: Apache-2.0
// A loop of the cheapest hypercall.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
void loop_hvc(uint64_t count, uint64_t function);
#pragma GCC visibility pop

#define DEFAULT_COUNT 1000

void stub_main(void)
{
    const uint64_t count = stub_parameter != 0 ? stub_parameter : DEFAULT_COUNT;
    put_string("null-hvc: ");
    put_decimal(count);
    put_string(" calls\n");
    loop_hvc(count, AETHER_VERSION);
    put_string("null-hvc: done\n");
}
