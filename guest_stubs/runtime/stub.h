// SPDX-License-Identifier: Apache-2.0
// What a stub's C code may use. Everything is hidden, so that all references are PC-relative.
#ifndef STUB_H
#define STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

#pragma GCC visibility push(hidden)

// The stub itself. x0 as the vCPU was started; returning powers the machine off.
void stub_main(void);

// Words of the image that a test may patch (start.S).
extern const volatile uint64_t stub_case;
extern const volatile uint64_t stub_parameter;

// The registers as they were at the first instruction.
struct boot_record {
    uint64_t x[31];
    uint64_t sp;
    uint64_t sctlr_el1;
    uint64_t pstate; // DAIF, CurrentEL and SPSel as they stand in an SPSR
};
extern const volatile struct boot_record boot_record;

extern const char _start[];

// IPA of the first byte of the guest's memory; the image lies 2 MiB above it.
uint64_t memory_base(void);
#define MEMORY_SIZE 0x1000000UL // LARGE_MEMORY in catalogue.py; others have less

// Console (print.c). Buffered to the end of the line, then written by AETHER_CONSOLE_WRITE, or
// through the PL011 where there is no such call.
#define PL011_BASE 0x09000000UL
void put_char(char c);
void put_string(const char *s);
void put_hex(uint64_t value);
void put_decimal(uint64_t value);
void put_key(const char *key, uint64_t value);
void flush(void);
void pl011_write(const char *s);

// SMCCC (calls.S, power.c).
struct smccc {
    uint64_t x[8];
};
void hvc_call(struct smccc *args);
uint64_t hvc(uint64_t function, uint64_t x1, uint64_t x2, uint64_t x3);
_Noreturn void power_off(void);

#define PSCI_VERSION 0x84000000UL
#define PSCI_CPU_SUSPEND_64 0xC4000001UL
#define PSCI_CPU_OFF 0x84000002UL
#define PSCI_SYSTEM_OFF 0x84000008UL
#define PSCI_SYSTEM_RESET 0x84000009UL
#define AETHER_VERSION 0x86000000UL
#define AETHER_CONSOLE_WRITE 0xC6000002UL
#define AETHER_CONSOLE_WRITE_MAX 48
#define AETHER_BUSY UINT64_C(0xfffffffffffffffc) // -4

// Probes (probe.c, probe_entry.S, probe_macros.h).
struct frame {
    uint64_t x[31];
    uint64_t sp;
    uint64_t sp_el0;
    uint64_t elr;
    uint64_t spsr;
    uint64_t esr;
    uint64_t far;
    uint64_t vector;
    uint64_t entry_pstate;
    uint64_t sctlr;
    uint64_t runtime_sp;
    uint64_t active;
};

struct probe {
    int32_t code; // from this word's own address; 0 ends a table
    uint32_t pstate;
    uint64_t argument;
    uint32_t sctlr; // bits set in SCTLR_EL1 while the probe runs
    uint32_t from;
    char name[40];
};

extern struct frame probe_frame;
extern uint64_t probe_sctlr; // bits set in SCTLR_EL1 during every probe, such as M
extern uint64_t el0_offset;  // added to a probe's address when it runs at EL0
extern char probe_stack[];
void probe_enter(void);
void run_probe(const struct probe *probe);
void run_probes(const struct probe *table);
_Noreturn void stub_panic(void);

#define READ_SYSREG(name)                                                                          \
    ({                                                                                             \
        uint64_t value_;                                                                           \
        __asm__ volatile("mrs %0, " #name : "=r"(value_));                                         \
        value_;                                                                                    \
    })
#define WRITE_SYSREG(name, value)                                                                  \
    __asm__ volatile("msr " #name ", %0\n\tisb" : : "r"((uint64_t)(value)) : "memory")

#pragma GCC visibility pop

#endif
