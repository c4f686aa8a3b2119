// SPDX-License-Identifier: Apache-2.0
// A loop of loads from the emulated distributor, or of stores to it.
#include "runtime/gicv2.h"
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
void loop_load(uint64_t count, uint64_t address);
void loop_store(uint64_t count, uint64_t address);
#pragma GCC visibility pop

#define DEFAULT_COUNT 1000

enum { READ_CASE, WRITE_CASE };

void stub_main(void)
{
    const uint64_t count = stub_parameter != 0 ? stub_parameter : DEFAULT_COUNT;
    put_string("bench-gicd: ");
    put_decimal(count);
    if (stub_case == WRITE_CASE) {
        put_string(" stores\n");
        loop_store(count, GICD_BASE + GICD_ICENABLER + 8); // of SPIs that nobody has enabled
    } else {
        put_string(" loads\n");
        loop_load(count, GICD_BASE + GICD_ISENABLER);
    }
    put_string("bench-gicd: done\n");
}
