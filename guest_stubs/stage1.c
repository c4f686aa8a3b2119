// SPDX-License-Identifier: Apache-2.0
// Its own stage-1 tables on: faults at every level, and stage 2 behind them.
#include "stage1.h"

#pragma GCC visibility push(hidden)
extern const struct probe good_probes[], translation_probes[], access_flag_probes[];
extern const struct probe permission_probes[], size_probes[], stage2_probes[], walk_probes[];
extern const struct probe alignment_probes[], translate_probes[], user_probes[];
extern const struct probe changed_a_probe[], changed_b_probe[], changed_none_probe[];
extern const struct probe flag_set_probe[], upper_half_probes[], upper_half_off_probes[];
extern const struct probe level_1_probes[], past_40_probes[], granule_64k_probes[];
extern const struct probe device_walk_probe[];
#pragma GCC visibility pop

static void run_changes(void)
{
    run_probes(changed_a_probe);
    change_page(MARK_B);
    run_probes(changed_b_probe);
    change_page(0);
    run_probes(changed_none_probe);
    change_page(MARK_A);
    run_probes(changed_a_probe);
    set_access_flag();
    run_probes(flag_set_probe);
}

void stub_main(void)
{
    const struct regime regime = make_tables_4k();
    probe_sctlr = SCTLR_EL1_M;
    use(&regime);
    run_probes(good_probes);
    run_probes(translation_probes);
    run_probes(access_flag_probes);
    run_probes(permission_probes);
    run_probes(size_probes);
    run_probes(stage2_probes);
    run_probes(walk_probes);
    run_probes(upper_half_probes);
    run_probes(alignment_probes);
    run_probes(translate_probes);
    run_probes(user_probes);
    run_changes();
    run_probes(device_walk_probe);

    const struct regime half_off = with_walk_disabled_in_upper_half(&regime);
    use(&half_off);
    run_probes(upper_half_off_probes);
    const struct regime from_level_1 = start_at_level_1(&regime);
    use(&from_level_1);
    run_probes(level_1_probes);
    const struct regime wide = with_44_bit_addresses(&regime);
    use(&wide);
    run_probes(past_40_probes);
    const struct regime regime_64k = make_tables_64k();
    use(&regime_64k);
    run_probes(granule_64k_probes);
}
