// SPDX-License-Identifier: Apache-2.0
// Private to stage2/: descriptors and the geometry of the levels. Pure functions, no memory.
// Formats: Arm ARM D8.3, "Translation table descriptor formats".
#ifndef STAGE2_DESCRIPTOR_H
#define STAGE2_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include <stage2/pgtable.h>

#define DESC_VALID (UINT64_C(1) << 0)
#define DESC_TABLE (UINT64_C(1) << 1) // levels 0..2: table, not block; level 3: page, always 1
#define DESC_RESERVED DESC_TABLE      // not valid, so that all but bit 0 is for software
#define DESC_OA UINT64_C(0x0000fffffffff000) // output or next-level table address, bits 47:12

#define TABLE_ENTRIES 512u

static inline bool desc_valid(uint64_t desc)
{
    return (desc & DESC_VALID) != 0;
}

static inline bool desc_is_table(uint64_t desc, unsigned level)
{
    return level < PGT_LAST_LEVEL && desc_valid(desc) && (desc & DESC_TABLE) != 0;
}

static inline uint64_t desc_oa(uint64_t desc)
{
    return desc & DESC_OA;
}

static inline uint64_t desc_table(uint64_t table)
{
    return table | DESC_TABLE | DESC_VALID;
}

// A block or page descriptor. `attributes`: all bits but address and type; other bits are dropped.
uint64_t desc_leaf(uint64_t oa, uint64_t attributes, unsigned level);

// Whether this regime can, and may, give these permissions to this type of memory.
bool attr_allowed(const struct pgt_config *config, struct pgt_attr attr);

// Attribute bits of a leaf with AF set, and back.
uint64_t desc_of_attr(enum pgt_regime regime, struct pgt_attr attr);
struct pgt_attr attr_of_desc(enum pgt_regime regime, uint64_t desc);

// `desc` with other permissions and everything else as it was.
uint64_t desc_with_perm(enum pgt_regime regime, uint64_t desc, struct pgt_perm perm);

// Everything that differs from level to level, 4 KiB granule. Here, so that a walk is short.
struct level {
    uint8_t shift; // log2 of the bytes one entry covers
    bool leaf;     // a block or a page may stand here
};

__attribute__((visibility("hidden"))) extern const struct level levels[PGT_LAST_LEVEL + 1];

static inline unsigned level_shift(unsigned level)
{
    return levels[level].shift;
}

static inline bool level_has_leaf(unsigned level)
{
    return levels[level].leaf;
}

static inline bool level_aligned(uint64_t address, unsigned level)
{
    return (address & ((UINT64_C(1) << levels[level].shift) - 1)) == 0;
}

unsigned start_level_of(const struct pgt_config *config);

#endif
