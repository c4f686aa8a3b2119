// SPDX-License-Identifier: Apache-2.0
// The state that the C hooks share with Python: one struct per engine. `hooks.py` mirrors it field
// by field and checks the mirror against `aether_hooks_layout()`.
#ifndef AETHER_HOOKS_H
#define AETHER_HOOKS_H

#include <stdint.h>

// Unicorn's public API, handed in by address: the library links against nothing.
typedef int uc_status;
typedef uc_status (*uc_reg_read_fn)(void *uc, int regid, void *value);
typedef uc_status (*uc_reg_write_fn)(void *uc, int regid, const void *value);
typedef uc_status (*uc_emu_stop_fn)(void *uc);
typedef uc_status (*uc_vmem_read_fn)(void *uc, uint64_t va, uint32_t prot, void *bytes,
                                     uint64_t size);
typedef uc_status (*uc_vmem_translate_fn)(void *uc, uint64_t va, uint32_t prot, uint64_t *pa);
typedef uc_status (*uc_ctl_fn)(void *uc, int control, ...);

// Layouts of Unicorn's callback arguments (unicorn.h, arm64.h).
struct uc_cp_reg {
    uint32_t crn, crm, op0, op1, op2;
    uint64_t value;
};
struct uc_block {
    uint64_t pc;
    uint16_t instructions;
    uint16_t size;
};

// Why the C hooks stopped the engine.
enum stop_reason {
    STOP_NONE = 0,      // nobody asked: the engine ended by itself (WFI, or an error)
    STOP_DEADLINE = 1,  // `retired` reached `deadline`
    STOP_INTERRUPT = 2, // an asserted line can be taken at the current EL with the current DAIF
    STOP_EXCEPTION = 3, // a synchronous exception; its number is in `exception`
    STOP_ILLEGAL = 4,   // PSTATE.IL is set after an ERET
    STOP_PC_ALIGN = 5,  // the next instruction address is not a multiple of 4
    STOP_ATTENTION = 6, // Python asked to be called at the next block boundary
    STOP_CODE = 7,      // translated code must be dropped before execution goes on
    STOP_WATCH = 8,     // the block at `watch_pc` must be watched instruction by instruction
    STOP_WATCHED = 9,   // a watched instruction may have to raise what Unicorn does not raise
    STOP_AARCH32 = 10,  // an ERET went to AArch32 state
};

// What the hooks do with an access to a system register or a system instruction.
enum sysreg_action {
    SYSREG_NATIVE = 0,      // Unicorn executes it
    SYSREG_MODEL = 1,       // Python decides
    SYSREG_TRANSLATION = 2, // Unicorn executes it; translation registers must be read again
    SYSREG_CONTROL = 3,     // the same, and Python looks at the controls at the next block
    SYSREG_IC = 4,          // instruction cache maintenance
    SYSREG_TLBI = 5,        // TLB maintenance
    SYSREG_COUNTER = 6,     // CNTPCT_EL0 or CNTVCT_EL0: answered here where no trap applies
    SYSREG_ZVA = 7,         // DC ZVA: done here where it is plain RAM and no trap applies
    SYSREG_GUARDED = 8,     // as MODEL, with traps that Unicorn does not raise
};

// op0:op1:CRn:CRm:op2 in 16 bits, as in the MRS/MSR/SYS encoding.
#define SYSREG_KEYS (1u << 16)
// Properties of blocks, in tables hashed by address. An entry once set stays set: a collision costs
// one register read, and a block that has the property is never missed. Only `watched` holds exact
// addresses, since there "set" means that nothing more is to be done.
#define BLOCK_SLOTS (1u << 16)
#define BLOCK_SLOT(address) (((address) >> 2) & (BLOCK_SLOTS - 1))

// A range of code that is under aether_on_watched; a cache of what Python knows.
struct watched_block {
    uint64_t pc;
    uint64_t end;
};

// Returns 1 when the model has executed the instruction, 0 to let Unicorn execute it.
typedef uint32_t (*sysreg_model_fn)(uint32_t key, int32_t rt, uint32_t is_read, uint64_t value);

struct hook_state {
    // Instruction count: `retired` counts up to the start of the block at `block_pc`.
    uint64_t retired;
    uint64_t block_instructions;
    uint64_t block_pc;
    uint64_t deadline;

    // Retired instructions by EL, exact at every change of EL.
    uint64_t el_retired[4];
    uint64_t el_mark;
    uint32_t el;
    uint32_t after_eret;

    // EL2 residency: from an exception taken to EL2 to the first block below EL2.
    uint64_t exit_start;
    uint64_t exit_instructions;
    uint32_t exit_open;
    uint32_t exit_done;

    // Interrupts: taken whatever DAIF says / taken when one of these DAIF bits is clear, by current
    // EL.
    uint32_t lines;
    uint32_t take_always[4];
    uint32_t take_unmasked[4];

    uint32_t reason;
    uint32_t exception;
    uint32_t attention;
    uint32_t translation_changed;
    uint32_t code_changed;
    uint32_t tlb_generation; // counts TLB maintenance instructions

    // What Unicorn never raises: bit n stands for ELn.
    uint32_t sp_checked;  // SCTLR_ELx.SA, SA0: SP alignment faults
    uint32_t fp_trapped;  // CPACR_EL1.FPEN, CPTR_EL2.TFP: FP and SIMD trap
    uint32_t wfe_trapped; // HCR_EL2.TWE, SCTLR_EL1.nTWE: WFE traps
    uint32_t pct_trapped; // CNTHCTL_EL2.EL1PCTEN: CNTPCT_EL0 traps; Unicorn gets EL0 wrong
    uint32_t sp_suspect;  // SP may be misaligned: look at it at the next block
    uint64_t pass_pc;     // the watched instruction that Python has allowed; not looked at again
    uint64_t watch_pc;    // the block reported by STOP_WATCH
    uint64_t watch_size;

    // The counter: skipped + retired / instructions_per_tick. Bit n: readable at ELn without a
    // trap.
    uint64_t counter_skipped;
    uint64_t instructions_per_tick;
    uint64_t virtual_offset;
    uint32_t cntpct_allowed;
    uint32_t cntvct_allowed;
    uint32_t zva_allowed; // bit n: DC ZVA executes at ELn

    uint64_t blocks;
    uint64_t sysreg_hooks;
    uint64_t code_flushes;

    // Executed instruction lines by physical address, 64 bytes each, over [ram_base,
    // ram_base+ram_size).
    uint64_t ram_base;
    uint64_t ram_size;
    uint8_t *executed_lines;
    uint8_t *ram;

    uint8_t *sysreg_actions;       // SYSREG_KEYS entries
    uint8_t *eret_ends;            // BLOCK_SLOTS entries
    struct watched_block *watched; // BLOCK_SLOTS entries, by start address
    uint8_t *unprivileged;         // BLOCK_SLOTS entries, by start address: has LDTR or STTR
    uint8_t *may_trap; // BLOCK_SLOTS entries, by start address: has FP, SIMD, WFE or CNTPCT_EL0
    sysreg_model_fn sysreg_model;

    uc_reg_read_fn reg_read;
    uc_reg_write_fn reg_write;
    uc_emu_stop_fn emu_stop;
    uc_vmem_read_fn vmem_read;
    uc_vmem_translate_fn vmem_translate;
    uc_ctl_fn ctl;
    int32_t reg_pstate;
    int32_t reg_pc;
    int32_t reg_sp;
    int32_t ctl_flush_tlb;
};

#endif
