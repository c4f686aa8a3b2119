// SPDX-License-Identifier: Apache-2.0
// The PL011 window by loads and stores of every size and form that has a valid syndrome.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
extern const struct probe identification_probes[], load_probes[], sign_probes[], target_probes[];
extern const struct probe store_probes[], source_probes[], data_probes[], other_probes[];
#pragma GCC visibility pop

void stub_main(void)
{
    run_probes(identification_probes);
    run_probes(load_probes);
    run_probes(sign_probes);
    run_probes(target_probes);
    run_probes(store_probes);
    run_probes(source_probes);
    run_probes(data_probes);
    run_probes(other_probes);
}
