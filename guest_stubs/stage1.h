// SPDX-License-Identifier: Apache-2.0
// The tables of the stub `stage1`, made with stage 1 off: stage 1 is on only during probes.
#ifndef STUB_STAGE1_H
#define STUB_STAGE1_H

#include "runtime/stub.h"
#include "stage1_window.h"

#pragma GCC visibility push(hidden)

// TCR_EL1 and TTBR0_EL1 a group of probes runs with.
struct regime {
    uint64_t tcr;
    uint64_t ttbr0;
    uint64_t ttbr1;
};

struct regime make_tables_4k(void);
struct regime make_tables_64k(void);

// The same tables entered at level 1, through TCR_EL1.T0SZ = 25.
struct regime start_at_level_1(const struct regime *regime);
struct regime with_44_bit_addresses(const struct regime *regime);
struct regime with_walk_disabled_in_upper_half(const struct regime *regime);

// Replace the entry of L3_CHANGING by the break-before-make sequence; 0 leaves it invalid.
void change_page(uint64_t mark);
void set_access_flag(void);

void use(const struct regime *regime);

#pragma GCC visibility pop

#endif
