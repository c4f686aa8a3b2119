// SPDX-License-Identifier: Apache-2.0
// What EL2 needs to know of the board, read from its device tree. Nothing here depends on EL2, so
// that the host can test it.
#ifndef EL2_BOARD_H
#define EL2_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/error.h>
#include <el2/fdt.h>
#include <stage2/addr.h>

#define BOARD_MAX_BANKS 8u
#define BOARD_MAX_RESERVED 16u

struct board_range {
    pa_t base;
    uint64_t size;
};

struct board {
    struct board_range banks[BOARD_MAX_BANKS];       // RAM, whole pages
    struct board_range reserved[BOARD_MAX_RESERVED]; // parts of it that belong to firmware
    uint32_t bank_count;
    uint32_t reserved_count;
    struct board_range bundle; // the initrd; size 0: none
    bool psci_smc;             // PSCI firmware answers to SMC
};

// PA of the console's PL011: the one of /chosen/stdout-path, or else the first.
bool board_find_uart(const struct fdt *fdt, pa_t *uart);

// PAs of the two windows of the board's GICv2. False: it has none.
bool board_find_gic(const struct fdt *fdt, pa_t *distributor, pa_t *cpu_interface);

bool board_read(const struct fdt *fdt, struct board *board, struct boot_error *error);

#endif
