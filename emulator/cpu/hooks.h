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
typedef uc_status (*uc_context_save_fn)(void *uc, void *context);
typedef uc_status (*uc_emu_start_fn)(void *uc, uint64_t begin, uint64_t until, uint64_t timeout,
                                     uint64_t count);

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
    STOP_YIELD = 11,    // a WFE was executed, and other CPUs may be waited for
    STOP_LOCKUP = 12,   // exceptions follow one another with no instruction retired between
    STOP_OBSERVE = 13,  // barriers of the block at `watch_pc` must be hooked
    STOP_PEEK = 14,     // the instruction that `peek_at` names is next, or in the next block
    STOP_SPLIT = 15,    // tracing only: a block of the untraced run ends here
    STOP_MEASURE = 16,  // tracing only: the untraced run's block at `watch_pc` is to be measured
    STOP_SWITCH = 17,   // at a switch point: see interleave.h
};

// Bits of `attention`; Python asks for a stop with bit 0.
#define ATTENTION_CONTROLS 2u // control registers have changed
#define ATTENTION_BARRIERS 4u // no stop: an observer looks for a DSB below EL2
#define ATTENTION_CACHES 8u   // no stop: cache maintenance waits for a DSB

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
    SYSREG_CACHE = 9,       // DC, where caches are modelled
};

// op0:op1:CRn:CRm:op2 in 16 bits, as in the MRS/MSR/SYS encoding.
#define SYSREG_KEYS (1u << 16)
// Properties of blocks, in tables hashed by address. An entry once set stays set: a collision costs
// one register read, and a block that has the property is never missed. Only `watched` holds exact
// addresses, since there "set" means that nothing more is to be done.
#define BLOCK_SLOTS (1u << 16)
#define BLOCK_SLOT(address) (((address) >> 2) & (BLOCK_SLOTS - 1))

#define CODE_LINES 64u
#define BLOCK_ERET 1u         // ends with an ERET
#define BLOCK_WFE 2u          // ends with a WFE that waits
#define BLOCK_MAY_TRAP 4u     // has FP, SIMD, WFE or CNTPCT_EL0
#define BLOCK_UNPRIVILEGED 8u // has LDTR or STTR
#define BLOCK_MOVES_SP 16u    // may leave SP without 16-byte alignment

// A range of code that is under aether_on_watched; a cache of what Python knows.
struct watched_block {
    uint64_t pc;
    uint64_t end;
};

// An answer that holds until a control register changes: the value that MRS reads.
struct kept_answer {
    uint64_t tag; // KEPT_TAG, 0 if the slot is free
    uint64_t value;
};
#define KEPT_ANSWERS 64
#define KEPT_TAG(key, el) ((uint64_t)(key) << 8 | (el) << 1 | 1u)

// What happened to the stays at EL2, in order, until Python takes it over: an exception from below
// (its kind), then the stay's length in instructions.
struct exit_record {
    uint64_t kind; // EXCEPTION_KINDS of them; EXIT_ENDS
    uint64_t instructions;
};
#define EXIT_RECORDS 4096
#define EXIT_ENDS 255u

// A kind of exception: ESR_ELx.EC, or 64 + 3 * virtual + 0 IRQ, 1 FIQ, 2 SError.
#define EXCEPTION_KINDS 72
#define INTERRUPT_KIND(n, is_virtual) (64u + (n) + ((is_virtual) ? 3u : 0u))

// An interrupt that may be taken, in order of priority, by current EL: six entries each.
#define CANDIDATES 6
#define CANDIDATE_VALID (1u << 0)
#define CANDIDATE_MASK(c) ((c) & 0x3c0u) // held back while these DAIF bits are set
#define CANDIDATE_EL(c) (((c) >> 12) & 3u)
#define CANDIDATE_KIND(c) (((c) >> 16) & 3u) // 0 IRQ, 1 FIQ, 2 SError
#define CANDIDATE_VIRTUAL (1u << 20)

// Returns 1 when the model has executed the instruction, 0 to let Unicorn execute it.
typedef uint32_t (*sysreg_model_fn)(uint32_t key, int32_t rt, uint32_t is_read, uint64_t value);

// The fault that an access (enum uc_mem_type) at the current EL takes: 1 when it is in `fault_*`.
typedef uint32_t (*fault_model_fn)(uint64_t va, uint32_t access);

// What TLB_FILL answers (struct uc_tlb_entry).
struct uc_tlb_entry {
    uint64_t paddr;
    int32_t perms; // UC_PROT_*
};

// A translation of one page by the MMU model.
struct tlb_entry {
    uint64_t page; // VA
    uint64_t pa;
    uint32_t set;        // of the registers that it was made with
    uint32_t asid;       // of a translation that is not global
    uint8_t el;          // 0, 1 or 2
    uint8_t permissions; // UC_PROT_*; 0: nothing is kept
    uint8_t size_log2;   // of what the descriptor of stage 1 maps: it is invalidated as a whole
    uint8_t is_global;
    uint8_t is_listed; // in `large`
    uint8_t view;      // VIEW_*_PAST
};
#define TLB_ENTRIES (1u << 15)

// A stage 2 translation fault as it was when `epoch` began: it is the same as long as the
// descriptor on which the walk ended is. All else of a walk may be kept until maintenance.
struct kept_fault {
    uint64_t page; // VA
    uint64_t descriptor_pa;
    uint64_t descriptor;
    uint64_t epoch;
    uint64_t hpfar;
    uint32_t el;
    uint32_t access; // enum uc_mem_type
    uint32_t fsc;
    uint32_t is_valid;
};
#define KEPT_FAULTS 16u
#define KEPT_FAULT_SLOT(page, access) ((((page) >> 12) ^ (access)) % KEPT_FAULTS)

struct tlb {
    uint32_t count;
    uint32_t large_count;
    uint64_t large_sizes;     // bit n: entries of 2^n bytes are, or were, among them
    uint8_t large_seen[4096]; // hashed by block: whether any entry of it may be among them
    struct tlb_entry entries[TLB_ENTRIES];
    uint32_t large[TLB_ENTRIES];       // numbers of the entries that were ever larger than a page
    uint32_t buckets[2 * TLB_ENTRIES]; // hashed by page: number of an entry, plus 1
};

// The MMU model answers a TLB fill from `el`: 1 with the translation in `filled`, 0 for a fault.
typedef uint32_t (*fill_model_fn)(uint64_t va, uint32_t access, uint32_t el);

// Told of each event of a timeline, with its PC.
typedef void (*crossing_fn)(uint64_t pc);

struct hook_state {
    // Instruction count: `retired` counts up to the start of the block at `block_pc`;
    // `others_retired` is that of all other CPUs, which stand still meanwhile.
    uint64_t retired;
    uint64_t others_retired;
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
    uint32_t exit_open;

    // Interrupts: taken whatever DAIF says / taken when one of these DAIF bits is clear, by current
    // EL.
    uint32_t lines;
    uint32_t take_always[4];
    uint32_t take_unmasked[4];

    uint32_t reason;
    uint32_t exception;
    uint32_t attention;
    uint32_t translation_changed; // a register that translation depends on was written
    uint32_t el2_changed;         // one of EL2's own
    uint32_t code_changed;
    uint32_t code_line_count; // of the lines that changed; more than CODE_LINES: all code
    uint32_t code_lines[64];  // their numbers, from ram_base on
    uint32_t is_identity;     // TLB fills give VAs as PAs
    uint32_t tlb_generation;  // counts TLB maintenance instructions

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

    // Several CPUs. `peers` are the states of the others, whose engines do not run while this one
    // does.
    uint32_t peer_count;
    uint32_t tlb_flush_due;    // a peer broadcast TLB maintenance; seen before the next slice
    uint32_t broadcast_forced; // HCR_EL2.FB: all maintenance at EL1 is inner shareable
    uint32_t after_wfe;        // the block that ran last ends with a WFE
    uint32_t guard_exclusive;  // at `deadline` the slice ends: not inside a load-store exclusive
    uint32_t extended;         // blocks run past `deadline` for that
    uint32_t exclusive_open;   // the slice ended with the exclusive monitor set all the same
    uint32_t exclusive_offset; // of the monitor's address in a context
    void *context;
    uc_context_save_fn context_save;
    struct hook_state *peers[7];

    // The run loop (run.c). `is_deferred`: an exception of Python's is due first.
    uc_emu_start_fn emu_start;
    uint64_t stop_pc; // where the engine stopped
    uint32_t is_deferred;
    uint32_t lockup_limit; // exceptions in a row without an instruction between
    uint64_t same_place;   // the instruction count of the last exception
    uint64_t same_count;
    uint64_t hcr_el2;
    uint32_t candidates[18];
    uint32_t is_native; // who translates
    // The fault of the last access that no translation answered, from Python's walk; asked for by
    // fault_model in native mode.
    fault_model_fn fault_model;
    fill_model_fn fill_model;
    struct tlb_entry *filled;
    struct tlb *tlb;
    // Register sets, numbered by Python: of EL2; of EL1&0 for each half of the VA space; for the
    // upper half's translations that are not global. Valid unless `translation_changed`.
    uint32_t set_el2;
    uint32_t set_low;
    uint32_t set_high;
    uint32_t set_high_asid;
    uint32_t stage2_changed; // maintenance may have changed what stage 2 says
    uint32_t fault_known;
    uint32_t fault_access; // enum uc_mem_type
    uint32_t fault_fsc;
    uint32_t fault_stage2;
    uint32_t fault_s1ptw;
    uint32_t reg_cp;
    uint64_t fault_hpfar;
    uint64_t epoch; // counts what may change translations: TLBI, writes of the registers for it
    struct kept_fault *kept_faults; // KEPT_FAULTS entries
    uint64_t exceptions_in_c;
    uint32_t exception_counts[648]; // [from EL][to EL][kind]
    uint32_t exit_count;            // of the entries of `exits`
    struct exit_record *exits;      // EXIT_RECORDS entries
    struct kept_answer *kept;       // KEPT_ANSWERS entries

    // What a VM can observe of time, by VMID: FNV-1a over (PC, system counter), little-endian, of
    // every ERET from EL2 and every exception from below taken to EL2.
    uint64_t timeline[256];
    uint64_t timeline_events[256];

    uint64_t blocks;
    uint64_t sysreg_hooks;
    uint64_t code_flushes;

    // To look at the state inside a block, and go back to the block's start: stop before the block
    // in which the instruction number `peek_at` is, and at number `peek_inside` where it is hooked.
    uint64_t peek_at;
    uint64_t peek_inside;
    uint32_t peek_pass; // let the next block run

    // Executed instruction lines by physical address, 64 bytes each, over [ram_base,
    // ram_base+ram_size).
    uint64_t ram_base;
    uint64_t ram_size;
    uint8_t *executed_lines;
    uint8_t *code_pages;  // with the model, pages of RAM that have translated code, 4 KiB each
    uint8_t *dirty_pages; // with the model, those that may differ from the last snapshot
    uint8_t *ram;
    struct observer *observer;  // a monitor's, or NULL
    struct tracer *tracer;      // a full trace's, or NULL
    uint64_t exceptions;        // taken
    uint32_t last_exception;    // kind | from EL << 8 | to EL << 12
    struct watch *watch;        // a search's, or NULL
    struct event_log *events;   // a recording's, or NULL
    struct views *views;        // of caches that are modelled, or NULL
    struct guest_watch *guests; // a checker's, or NULL
    crossing_fn on_crossing;    // of who compares runs, or NULL

    uint8_t *sysreg_actions;       // SYSREG_KEYS entries
    uint8_t *block_flags;          // BLOCK_SLOTS entries, by start address: BLOCK_*
    struct watched_block *watched; // BLOCK_SLOTS entries, by start address
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
    int32_t reg_x0;
    int32_t reg_x29;
    int32_t reg_sp_el0; // SP_EL1 and SP_EL2 follow; so below
    int32_t reg_elr_el0;
    int32_t reg_esr_el0;
    int32_t reg_far_el0;
    int32_t reg_vbar_el0;
    int32_t ctl_flush_tlb;
    int32_t ctl_drop_code;
};

// Windows over RAM at PAs that no CPU has, for fills of pages whose caches are modelled (views.h):
// each is at this offset from RAM.
#define VIEW_INSTRUCTIONS (1ull << 44)
#define VIEW_MEMORY (1ull << 45)
#define VIEW_LINES (1ull << 47)

#define UC_PROT_READ 1u
#define UC_PROT_WRITE 2u
#define UC_PROT_EXEC 4u

// A plain load or store: where, how much, and how a stage 2 abort describes it.
struct access {
    uint64_t va;
    uint32_t bytes, is_store, iss;
};

// After an ERET, at its target: account for a change of EL. Returns PSTATE.
uint32_t aether_settle_el(void *uc, struct hook_state *s);
// An event of the timeline of the VM in VTTBR_EL2.
void aether_fold(void *uc, struct hook_state *s, uint64_t pc);
void aether_note_exit(struct hook_state *s, uint32_t kind, uint64_t instructions);
// The fault of an access, put in `fault_*` if it is known without a walk.
uint32_t aether_find_fault(struct hook_state *s, uint64_t va, uint32_t el, uint32_t access);
int aether_is_unprivileged(uint32_t word);
// What is translated of a line of RAM, or of everything, is to be dropped.
void aether_note_code(struct hook_state *s, int by_va, uint64_t line);
// Xn; SP for 31.
uint64_t aether_read_x(void *uc, const struct hook_state *s, uint32_t n);
// Where in RAM the byte at `va` lies, for an access (UC_PROT_*); 0 if it does not.
int aether_find_ram(void *uc, const struct hook_state *s, uint64_t va, uint32_t access,
                    uint64_t *offset);
// The same for what reads nothing of it.
int aether_probe_ram(void *uc, const struct hook_state *s, uint64_t va, uint64_t *offset);
// LDR, STR, LDP, STP of general-purpose registers, about to execute. 0 for all others.
int aether_decode_access(void *uc, const struct hook_state *s, uint32_t word, struct access *a);
void aether_tlb_clear(struct hook_state *s);
// Become a table that was saved: its entries and their order, and which of them were ever large.
void aether_tlb_restore(struct hook_state *s, const struct tlb_entry *entries, uint32_t count,
                        const uint32_t *large, uint32_t large_count);
// A TLBI. Returns 1 if Unicorn may hold more of what goes than it drops by itself.
uint32_t aether_tlb_invalidate(struct hook_state *s, const struct uc_cp_reg *reg);
// Run from `pc` until Python has to look; the status is uc_emu_start's.
int32_t aether_run(void *uc, struct hook_state *s, uint64_t pc);

#endif
