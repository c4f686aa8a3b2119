// SPDX-License-Identifier: Apache-2.0
// Accesses outside the guest's memory, with stage 1 off: every VA is the IPA.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
extern const struct probe inside_probes[], outside_probes[], form_probes[], far_probes[];
extern const struct probe alignment_probes[], el0_probes[];
#pragma GCC visibility pop

#define NOP 0xd503201fU

void stub_main(void)
{
    // The last instruction of the memory is a NOP: execution runs off the end behind it.
    volatile uint32_t *const last = (volatile uint32_t *)(memory_base() + MEMORY_SIZE - 4);
    *last = NOP;
    __asm__ volatile("dc cvau, %0\n\t" // the NOP reaches the point where instructions are fetched
                     "dsb ish\n\t"     // before the old contents are dropped from the I-cache,
                     "ic ivau, %0\n\t"
                     "dsb ish\n\t" // and that has happened
                     "isb"         // before anything after this is fetched
                     :
                     : "r"(last)
                     : "memory");
    run_probes(inside_probes);
    run_probes(outside_probes);
    run_probes(form_probes);
    run_probes(far_probes);
    run_probes(alignment_probes);
    run_probes(el0_probes);
}
