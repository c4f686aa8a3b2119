// SPDX-License-Identifier: Apache-2.0
// What EL2 does with its instructions: every stay there with its length, and the stretches of code
// that ran. A callback before each block besides the usual one, installed only to profile. Nothing
// here changes a run. `emulator/profile/buffers.py` mirrors the structs.
#ifndef AETHER_PROFILE_H
#define AETHER_PROFILE_H

#include "hooks.h"

// What a stay began with: an exception as the hooks number them, or one of these, and more bits.
#define PROFILE_BOOT EXCEPTION_KINDS            // the CPU was switched on
#define PROFILE_ATTACHED (EXCEPTION_KINDS + 1u) // the CPU was at EL2 when the profile began
#define PROFILE_KIND 0x7fu
#define PROFILE_WRITE 0x80u // a trapped register, or memory, was written and not read
#define PROFILE_MMIO 0x100u // a data abort at an IPA outside the board's RAM

// From an exception taken to EL2 to the ERET below it (depth 0), or from one taken at EL2 to the
// next ERET that stays there.
struct profiled_stay {
    uint64_t begin, end;                    // positions: instructions that all CPUs had retired
    uint64_t instructions;                  // of this CPU in it, without those of stays inside it
    uint64_t inside;                        // of this CPU in stays inside it
    uint64_t esr, far, hpfar, elr, x0, x16; // at its begin; ESR is 0 for an interrupt
    uint16_t tag;
    uint8_t cpu, depth;
    uint8_t vm, vm_after; // VMIDs in VTTBR_EL2
    uint8_t is_over;      // 0: the CPU was switched off, or the profile ended
    uint8_t unused;
};

// Code that ran at EL2 without a break: so many instructions from `pc` on (a VA), so many times,
// in stays with this tag, themselves of depth 0 or not.
struct profiled_code {
    uint64_t pc;
    uint64_t runs; // 0: the slot is free
    uint32_t instructions;
    uint16_t tag;
    uint16_t is_inside;
};
#define PROFILE_CODE_SLOTS (1u << 14)
#define PROFILE_PROBES 16u

// Shared by all CPUs. `drain` takes over what is there, frees all slots, and sets `stay_count` to
// 0; it is called when there is no place.
struct profile_buffers {
    uint32_t stay_count;
    uint32_t stay_capacity;
    struct profiled_stay *stays;
    struct profiled_code *code; // PROFILE_CODE_SLOTS entries
    void (*drain)(void);
};

// Deeper stays count as the one they are in.
#define PROFILE_DEPTH 8u

// One for each CPU.
struct profile {
    struct hook_state *state;
    struct profile_buffers *buffers;
    uint64_t uc;
    uint64_t retired;    // of this CPU, counted up to here
    uint64_t exceptions; // taken, up to here
    uint64_t others;     // `others_retired` while the last block ran
    uint64_t pc;         // of the last block
    uint64_t eret;       // its length, if it ends with an ERET that may end an inner stay, or 0
    uint32_t el;         // at which it ran
    uint32_t cpu;
    uint32_t depth; // of `open`
    uint32_t deeper;
    struct profiled_stay open[PROFILE_DEPTH];
};

// Not while the CPU runs; `position` is the machine's. What runs from now on at EL2 does so since
// `tag`; stays that are open are noted as not over.
void aether_profile_begin(struct profile *p, uint32_t tag, uint64_t position);
// Not while the CPU runs. Count up to here, and note the open stays as not over.
void aether_profile_end(struct profile *p);
uint64_t aether_profile_layout(uint32_t field);

#endif
