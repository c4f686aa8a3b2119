// SPDX-License-Identifier: Apache-2.0
// A loop of loads from the PL011, or of stores to it.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
void loop_load(uint64_t count, uint64_t address);
void loop_store(uint64_t count, uint64_t address);
#pragma GCC visibility pop

#define DEFAULT_COUNT 1000
#define PL011_FR (PL011_BASE + 0x18)
#define PL011_IBRD (PL011_BASE + 0x24)

enum { READ_CASE, WRITE_CASE };

void stub_main(void)
{
    const uint64_t count = stub_parameter != 0 ? stub_parameter : DEFAULT_COUNT;
    put_string("uart-mmio: ");
    put_decimal(count);
    if (stub_case == WRITE_CASE) {
        put_string(" stores\n");
        loop_store(count, PL011_IBRD);
    } else {
        put_string(" loads\n");
        loop_load(count, PL011_FR);
    }
    put_string("uart-mmio: done\n");
}
