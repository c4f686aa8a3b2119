// SPDX-License-Identifier: Apache-2.0
// Translation tables, 4 KiB granule: stage 2 of a VM, and EL2's own stage 1 (Arm ARM D8, the
// AArch64 Virtual Memory System Architecture; VMSAv8-64 descriptor formats).
//
// Rules for callers:
// - One lock. Calls on one `struct pgt`, and on tables that share a pool, must not overlap in time.
//   But pgt_fill, pgt_hold and pgt_walk may overlap with any call for other pages, as long as they
//   are given only pages that were reserved once and not cleared since: they touch the entries of
//   these pages, and neither the pool nor any table on the way, which nobody else takes away.
// - All or nothing. A call that does not return PGT_OK has changed nothing: no entry, no pool page.
// - Live. Tables may be in use by any PE during every call. A live entry changes by
//   break-before-make, so an access of another PE may meet a short-lived hole in pgt_protect, or in
//   the split of a block: a fault handler that finds the access permitted by pgt_walk just retries.
//   For the same reason do not let pgt_protect or pgt_unmap break an EL2 mapping (for a block: all
//   of it) that holds the running code, its stack, or the tables, while EL2's MMU is on.
// - Coherent walkers. TCR_EL2 and VTCR_EL2 as computed here make walks Inner Shareable, Write-Back,
//   so entries need no cache maintenance once EL2's MMU and caches are on. Tables that are built
//   with the MMU off bypass the caches: invalidate the lines of the pool and the roots to the point
//   of coherency before the first call and once more before the MMU goes on.
// - The TLB must hold nothing of EL2's regime when EL2's tables are first used (TLBI ALLE2 at
// boot).
#ifndef STAGE2_PGTABLE_H
#define STAGE2_PGTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <stage2/addr.h>

#define PGT_LAST_LEVEL 3u
#define PGT_IA_BITS_MIN 25u // T0SZ <= 39
#define PGT_IA_BITS_MAX 48u

enum pgt_regime {
    PGT_STAGE2, // IPA -> PA of one VM, tagged with its VMID
    PGT_EL2,    // VA -> PA of EL2 itself
};

enum pgt_status {
    PGT_OK = 0,
    PGT_UNALIGNED = 1, // an address or a size is not a multiple of 4 KiB (roots: of their size)
    PGT_RANGE = 2,     // size is 0, or the range leaves the input or the output address space
    PGT_EXISTS = 3,    // pgt_map, pgt_reserve: some page of the range is mapped or reserved
    PGT_ABSENT = 4,    // some page of the range is not mapped (pgt_fill: not reserved)
    PGT_NO_MEMORY = 5, // the pool has fewer pages than the operation needs
    PGT_BAD_ATTR = 6,  // permissions that this regime cannot or must not give
};

enum pgt_memory {
    PGT_NORMAL_WB, // Inner and Outer Write-Back, Inner Shareable
    PGT_NORMAL_NC, // Non-cacheable
    PGT_DEVICE_nGnRnE,
    PGT_DEVICE_nGnRE,
};

// Write or execute need read. PGT_EL2: read is needed, exec_el0 must be false, and write together
// with exec is refused (W^X). PGT_STAGE2: all false is a mapping that faults on every access;
// exec != exec_el0 needs FEAT_XNX. Device memory is never executable.
struct pgt_perm {
    bool read;
    bool write;
    bool exec;     // at EL2 (PGT_EL2) or at EL1 (PGT_STAGE2)
    bool exec_el0; // PGT_STAGE2 only
};

struct pgt_attr {
    struct pgt_perm perm;
    enum pgt_memory type;
};

// A bounded pool of 4 KiB table pages, all from one physically contiguous range that the caller
// gives away. Free pages are chained through their first 8 bytes.
struct pgt_pool {
    uint64_t base; // PA of the first page
    uint64_t head; // PA of the first free page; meaningless when free_pages is 0
    uint32_t total_pages;
    uint32_t free_pages;
};

struct pgt_config {
    enum pgt_regime regime;
    unsigned ia_bits; // input address size, 25..48; at stage 2 no more than pa_bits
    unsigned pa_bits; // output address size of the PE: 32, 36, 40, 42, 44 or 48
    uint16_t vmid;    // PGT_STAGE2: 0..255 (VTCR_EL2.VS = 0); PGT_EL2: 0
    bool xnx;         // FEAT_XNX: ID_AA64MMFR1_EL1.XNX != 0 (Cortex-A72: no)
    bool pages_only;  // no blocks: no operation but pgt_map and pgt_reserve ever takes a table
};

// Read by all, written by pgtable.c only.
struct pgt {
    struct pgt_config config;
    pa_t root; // first of the (concatenated) tables of start_level
    unsigned start_level;
    struct pgt_pool *pool;
};

// What pgt_walk found: the last descriptor of the walk and what it says.
struct pgt_walk {
    uint64_t descriptor;
    unsigned level;
    uint64_t size; // bytes that the descriptor covers
    pa_t pa;       // output address of the very byte asked for
    struct pgt_attr attr;
};

// MAIR_EL2 that goes with the AttrIndx of PGT_EL2 tables: index = enum pgt_memory.
#define PGT_MAIR_EL2 UINT64_C(0x040044ff)

// Bytes of root table that a configuration needs, also the alignment of its root: 4096, or up to
// 16 * 4096 for concatenated stage-2 tables (40 bits: 8192). 0 for a configuration that is refused.
size_t pgt_root_size(const struct pgt_config *config);

// PGT_UNALIGNED, PGT_RANGE (no page, or beyond 48 bits). Touches each page.
enum pgt_status pgt_pool_init(struct pgt_pool *pool, pa_t base, uint32_t pages);

// An empty address space. `root`: pgt_root_size(config) bytes, given away by the caller and cleared
// here. For PGT_STAGE2 all TLB entries of the VMID are removed. PGT_UNALIGNED; PGT_RANGE for a
// configuration that is refused, or tables beyond the output address size.
enum pgt_status pgt_init(struct pgt *pgt, const struct pgt_config *config, pa_t root,
                         struct pgt_pool *pool);

// Map [ia, ia + size) to [pa, pa + size), where nothing is mapped yet, with the largest blocks that
// the alignment of both allows.
enum pgt_status pgt_map(struct pgt *pgt, ia_t ia, pa_t pa, uint64_t size, struct pgt_attr attr);

// Take away a range that is wholly mapped. On return no PE has a translation of it, and table pages
// that became empty are back in the pool. May need pages to split the blocks at both ends.
enum pgt_status pgt_unmap(struct pgt *pgt, ia_t ia, uint64_t size);

// Change the permissions of a range that is wholly mapped; output addresses, memory types and all
// other bits stay. May need pages to split the blocks at both ends.
enum pgt_status pgt_protect(struct pgt *pgt, ia_t ia, uint64_t size, struct pgt_perm perm);

// A reserved page is not mapped, and has its entry of the last level all the same: pgt_map finds it
// taken, and its table stays. So memory can come and go there without a table page, at a cost that
// is the same for every page.

// Reserve a range where nothing is mapped or reserved yet. May need table pages.
enum pgt_status pgt_reserve(struct pgt *pgt, ia_t ia, uint64_t size);

// Map a range that is wholly reserved, by pages. Never needs a table page.
enum pgt_status pgt_fill(struct pgt *pgt, ia_t ia, pa_t pa, uint64_t size, struct pgt_attr attr);

// Reserve a range that is wholly mapped by pages, not blocks (else PGT_ABSENT), in place of what is
// mapped there. On return no PE has a translation of it. Neither needs table pages nor frees any.
enum pgt_status pgt_hold(struct pgt *pgt, ia_t ia, uint64_t size);

// Unmap everything, and reserve nothing. Cannot fail; the root stays, empty.
void pgt_clear(struct pgt *pgt);

// Translate one byte address by software, as the tables stand. PGT_OK, PGT_ABSENT (then descriptor,
// level and size say where the walk ended), PGT_RANGE (then *out is not written).
enum pgt_status pgt_walk(const struct pgt *pgt, ia_t ia, struct pgt_walk *out);

// Register values for these tables. VTCR_EL2 and TCR_EL2: T0SZ, SL0 (VTCR), 4 KiB granule,
// Inner Shareable Write-Back walks, PS, and the RES1 bits.
uint64_t pgt_vttbr_el2(const struct pgt *pgt); // VMID and root
uint64_t pgt_vtcr_el2(const struct pgt *pgt);
uint64_t pgt_ttbr0_el2(const struct pgt *pgt);
uint64_t pgt_tcr_el2(const struct pgt *pgt);

// Bytes that one entry of `level` (0..3) covers.
uint64_t pgt_level_size(unsigned level);

#endif
