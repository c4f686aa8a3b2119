// SPDX-License-Identifier: Apache-2.0
// Instructions that trap, are UNDEFINED, or must be neither.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
extern const struct probe timer_probes[], debug_probes[], pmu_probes[], identification_probes[];
extern const struct probe el1_state_probes[], implementation_probes[];
extern const struct probe higher_level_probes[], absent_probes[];
extern const struct probe call_probes[], hint_probes[], maintenance_probes[], state_probes[];
extern const struct probe el0_closed_probes[], el0_open_probes[], el0_always_probes[];
extern const struct probe fp_trapped_probes[], fp_el0_trapped_probes[], fp_probes[];
#pragma GCC visibility pop

#define CPACR_FPEN_NONE 0UL
#define CPACR_FPEN_EL1 (1UL << 20)
#define CPACR_FPEN_ALL (3UL << 20)
#define CNTKCTL_EL0PCTEN (1UL << 0)
#define CNTKCTL_EL0VCTEN (1UL << 1)
#define CNTKCTL_EL0VTEN (1UL << 8)
#define CNTKCTL_EL0PTEN (1UL << 9)

void stub_main(void)
{
    put_string("traps: EL1\n");
    run_probes(timer_probes);
    run_probes(debug_probes);
    run_probes(pmu_probes);
    run_probes(identification_probes);
    run_probes(el1_state_probes);
    run_probes(implementation_probes);
    run_probes(higher_level_probes);
    run_probes(absent_probes);
    run_probes(call_probes);
    run_probes(hint_probes);
    run_probes(maintenance_probes);
    run_probes(state_probes);

    put_string("traps: EL0\n");
    WRITE_SYSREG(cntkctl_el1, 0);
    run_probes(el0_always_probes);
    run_probes(el0_closed_probes);
    WRITE_SYSREG(cntkctl_el1,
                 CNTKCTL_EL0PCTEN | CNTKCTL_EL0VCTEN | CNTKCTL_EL0VTEN | CNTKCTL_EL0PTEN);
    run_probes(el0_open_probes);
    WRITE_SYSREG(cntkctl_el1, 0);

    put_string("traps: floating point\n");
    WRITE_SYSREG(cpacr_el1, CPACR_FPEN_NONE);
    run_probes(fp_trapped_probes);
    WRITE_SYSREG(cpacr_el1, CPACR_FPEN_EL1);
    run_probes(fp_el0_trapped_probes);
    WRITE_SYSREG(cpacr_el1, CPACR_FPEN_ALL);
    run_probes(fp_probes);
    WRITE_SYSREG(cpacr_el1, CPACR_FPEN_NONE);
}
