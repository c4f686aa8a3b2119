// SPDX-License-Identifier: Apache-2.0
// What EL2 needs to know of the board, read from its device tree. All addresses are PAs. Nothing
// here depends on EL2, so that the host can test it.
#ifndef EL2_BOARD_H
#define EL2_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/error.h>
#include <el2/fdt.h>
#include <el2/range.h>
#include <stage2/addr.h>

#define BOARD_MAX_BANKS 8u
#define BOARD_MAX_RESERVED 24u
#define CPU_MAX 8u

// How a CPU is started.
enum board_enable {
    BOARD_ENABLE_NONE, // not at all: "enable-method" is missing or unknown
    BOARD_ENABLE_PSCI,
    BOARD_ENABLE_SPIN_TABLE,
};

struct board_cpu {
    uint64_t mpidr; // affinity fields only, as MPIDR_EL1 has them
    enum board_enable enable;
    pa_t release; // BOARD_ENABLE_SPIN_TABLE: where the entry point is written
};

// The windows of a GICv2 with virtualisation; without it the last ones have size 0.
struct board_gic {
    struct range distributor;   // GICD
    struct range cpu_interface; // GICC
    struct range hypervisor;    // GICH
    struct range virtual_cpu;   // GICV
};

struct board {
    struct range banks[BOARD_MAX_BANKS];       // RAM, whole pages
    struct range reserved[BOARD_MAX_RESERVED]; // parts of it that belong to firmware
    uint32_t bank_count;
    uint32_t reserved_count;
    struct range bundle;            // the initrd; size 0: none
    bool psci_smc;                  // PSCI firmware answers to SMC
    struct board_cpu cpus[CPU_MAX]; // enabled ones, in the order of /cpus; more stay unused
    uint32_t cpu_count;
    struct board_gic gic;
    struct range uart;   // the console's PL011; size 0: none
    uint32_t uart_intid; // its interrupt; 0: not known
};

// False: `error` says why; `uart` and `psci_smc` are right all the same.
bool board_read(const struct fdt *fdt, struct board *board, struct boot_error *error);

#endif
