// SPDX-License-Identifier: Apache-2.0
// PSCI, SMCCC and the vendor range, with good and bad arguments.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
extern const struct probe psci_probes[], psci_bad_probes[], smccc_probes[], vendor_probes[];
extern const struct probe unknown_probes[], console_probes[], conduit_probes[];
#pragma GCC visibility pop

void stub_main(void)
{
    run_probes(psci_probes);
    run_probes(psci_bad_probes);
    run_probes(smccc_probes);
    run_probes(vendor_probes);
    run_probes(unknown_probes);
    run_probes(console_probes);
    run_probes(conduit_probes);
}
