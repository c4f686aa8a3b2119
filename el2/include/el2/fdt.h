// SPDX-License-Identifier: Apache-2.0
// Reader of flattened device trees (Devicetree Specification v0.4, chapter 5). fdt_open() checks
// the whole structure once, against any bytes; afterwards no other function can leave the blob.
// Nothing here depends on EL2, so that the host can test it.
#ifndef EL2_FDT_H
#define EL2_FDT_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/range.h>

#define FDT_HEADER_SIZE 40u
#define FDT_MAX_DEPTH 16u
#define FDT_NAME_SIZE 64u // of a node or property, with the NUL; specified are 31 characters

struct fdt {
    const uint8_t *structure;
    const uint8_t *strings;
    const uint8_t *reservations;
    uint32_t structure_size;
    uint32_t strings_size;
    uint32_t reservation_count;
};

// Offset of a node's FDT_BEGIN_NODE in the structure block; the root is 0.
struct fdt_node {
    uint32_t offset;
};

struct fdt_value {
    const uint8_t *bytes;
    uint32_t size;
};

// The size that a blob's header claims: reads FDT_HEADER_SIZE bytes. False: not a device tree.
bool fdt_total_size(const void *blob, uint32_t *size);

// NULL, or what is wrong with the blob, of which `available` bytes may be read.
const char *fdt_open(struct fdt *fdt, const void *blob, uint64_t available);

struct fdt_node fdt_root(void);
bool fdt_first_child(const struct fdt *fdt, struct fdt_node node, struct fdt_node *child);
bool fdt_next_sibling(const struct fdt *fdt, struct fdt_node node, struct fdt_node *sibling);
bool fdt_parent(const struct fdt *fdt, struct fdt_node node, struct fdt_node *parent);
const char *fdt_name(const struct fdt *fdt, struct fdt_node node);

// The node's name without its @address is `name`.
bool fdt_named(const struct fdt *fdt, struct fdt_node node, const char *name);

// Node by absolute path, by names without or with @address. The path ends at NUL or ':'.
bool fdt_find_path(const struct fdt *fdt, const char *path, struct fdt_node *node);

// First node, in order of appearance, that is compatible and not disabled.
bool fdt_find_compatible(const struct fdt *fdt, const char *compatible, struct fdt_node *node);
bool fdt_is_compatible(const struct fdt *fdt, struct fdt_node node, const char *compatible);

bool fdt_property(const struct fdt *fdt, struct fdt_node node, const char *name,
                  struct fdt_value *value);

// A property that is one NUL-terminated string.
bool fdt_string(const struct fdt *fdt, struct fdt_node node, const char *name, const char **text);

// A property that is one number of one or two cells.
bool fdt_number(const struct fdt *fdt, struct fdt_node node, const char *name, uint64_t *number);

// A property of at most `most` cells.
bool fdt_cells(const struct fdt *fdt, struct fdt_node node, const char *name, uint32_t *cells,
               uint32_t most, uint32_t *count);

// A property of exactly `count` ranges, two cells each for base and size.
bool fdt_ranges(const struct fdt *fdt, struct fdt_node node, const char *name, struct range *ranges,
                uint32_t count);

enum fdt_entry {
    FDT_NO_ENTRY,  // "reg" is absent, or has no more entries
    FDT_BAD_ENTRY, // part of an entry, or one without a CPU physical address
    FDT_ENTRY,
};

// Entry `index` of "reg", with the cell sizes of the parent (one or two cells each), translated to
// a CPU physical address through the "ranges" of all parents. Costs a walk over the tree for each
// parent: do not call it without a limit.
enum fdt_entry fdt_reg(const struct fdt *fdt, struct fdt_node node, uint32_t index,
                       struct range *range);

// Entry `index` of the memory reservation block.
bool fdt_reservation(const struct fdt *fdt, uint32_t index, struct range *range);

#endif
