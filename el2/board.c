// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/board.h>
#include <el2/memory.h>

#define WHERE "board device tree"
#define CHECK_BOARD "check how the hypervisor was started"
#define MAX_ENTRIES 64u // of all nodes of a kind: each costs a walk over the tree

bool board_find_uart(const struct fdt *fdt, pa_t *uart)
{
    struct fdt_node node;
    struct fdt_range range;
    const char *path;
    bool found =
        fdt_find_path(fdt, "/chosen", &node) && fdt_string(fdt, node, "stdout-path", &path);
    if (found && *path != '/') { // an alias, perhaps with ":115200n8" behind it
        static const char aliases[] = "/aliases";
        char name[32] = {0};
        for (uint32_t i = 0; i < sizeof(name) - 1 && path[i] != '\0' && path[i] != ':'; i++) {
            name[i] = path[i];
        }
        found = fdt_find_path(fdt, aliases, &node) && fdt_string(fdt, node, name, &path);
    }
    found = found && fdt_find_path(fdt, path, &node) && fdt_is_compatible(fdt, node, "arm,pl011");
    if (!found && !fdt_find_compatible(fdt, "arm,pl011", &node)) {
        return false;
    }
    if (fdt_reg(fdt, node, 0, &range) != FDT_ENTRY || (range.base & PAGE_MASK) != 0) {
        return false;
    }
    *uart = pa_of(range.base);
    return true;
}

bool board_find_gic(const struct fdt *fdt, pa_t *distributor, pa_t *cpu_interface)
{
    struct fdt_node node;
    struct fdt_range ranges[2];
    if ((!fdt_find_compatible(fdt, "arm,cortex-a15-gic", &node) &&
         !fdt_find_compatible(fdt, "arm,gic-400", &node)) ||
        fdt_reg(fdt, node, 0, &ranges[0]) != FDT_ENTRY ||
        fdt_reg(fdt, node, 1, &ranges[1]) != FDT_ENTRY) {
        return false;
    }
    *distributor = pa_of(ranges[0].base);
    *cpu_interface = pa_of(ranges[1].base);
    return true;
}

static bool add_bank(struct board *board, struct fdt_range range)
{
    if (range.base + range.size < range.base || range.base > UINT64_MAX - PAGE_MASK) {
        return true; // in the last page, which is never memory
    }
    uint64_t start = (range.base + PAGE_MASK) & ~PAGE_MASK;
    uint64_t end = (range.base + range.size) & ~PAGE_MASK;
    if (start >= end) {
        return true; // no whole page
    }
    for (uint32_t i = 0; i < board->bank_count; i++) {
        if (ranges_overlap(start, end - start, pa_value(board->banks[i].base),
                           board->banks[i].size)) {
            return false;
        }
    }
    if (board->bank_count < BOARD_MAX_BANKS) { // more RAM than fits stays unused
        board->banks[board->bank_count++] = (struct board_range){pa_of(start), end - start};
    }
    return true;
}

static bool add_reserved(struct board *board, struct fdt_range range)
{
    uint64_t start = range.base & ~PAGE_MASK;
    uint64_t end = (range.base + range.size + PAGE_MASK) & ~PAGE_MASK;
    if (range.size == 0) {
        return true;
    }
    if (end <= start || board->reserved_count == BOARD_MAX_RESERVED) {
        return false;
    }
    board->reserved[board->reserved_count++] = (struct board_range){pa_of(start), end - start};
    return true;
}

typedef bool add_range(struct board *board, struct fdt_range range);

// Hands each entry of the children of `parent` with this name, or all without a name, to `add`. An
// entry that cannot be understood is not passed over: it may say what belongs to firmware.
static bool add_children(const struct fdt *fdt, struct fdt_node parent, const char *name,
                         add_range *add, struct board *board)
{
    struct fdt_node node;
    struct fdt_range range;
    uint32_t entries = 0;
    for (bool more = fdt_first_child(fdt, parent, &node); more;
         more = fdt_next_sibling(fdt, node, &node)) {
        enum fdt_entry found = FDT_ENTRY;
        for (uint32_t i = 0; found == FDT_ENTRY && (name == NULL || fdt_named(fdt, node, name));
             i++) {
            found = fdt_reg(fdt, node, i, &range);
            if (found == FDT_BAD_ENTRY ||
                (found == FDT_ENTRY && (++entries > MAX_ENTRIES || !add(board, range)))) {
                return false;
            }
        }
    }
    return true;
}

static bool read_reserved(const struct fdt *fdt, struct board *board)
{
    struct fdt_node node;
    struct fdt_range range;
    for (uint32_t i = 0; fdt_reservation(fdt, i, &range); i++) {
        if (!add_reserved(board, range)) {
            return false;
        }
    }
    return !fdt_find_path(fdt, "/reserved-memory", &node) ||
           add_children(fdt, node, NULL, add_reserved, board);
}

bool board_read(const struct fdt *fdt, struct board *board, struct boot_error *error)
{
    struct fdt_node node;
    const char *method;
    uint64_t start;
    uint64_t end;
    memset(board, 0, sizeof(*board));
    bool psci = fdt_find_compatible(fdt, "arm,psci-1.0", &node) ||
                fdt_find_compatible(fdt, "arm,psci-0.2", &node);
    board->psci_smc =
        psci && fdt_string(fdt, node, "method", &method) && string_equal(method, "smc");
    if (!add_children(fdt, fdt_root(), "memory", add_bank, board)) {
        return refuse(error, WHERE, "bad, overlapping or too many memory ranges", CHECK_BOARD);
    }
    if (board->bank_count == 0) {
        return refuse(error, WHERE, "no memory", CHECK_BOARD);
    }
    if (!read_reserved(fdt, board)) {
        return refuse(error, WHERE, "bad or too many reserved ranges", CHECK_BOARD);
    }
    if (!fdt_find_path(fdt, "/chosen", &node) ||
        !fdt_number(fdt, node, "linux,initrd-start", &start) ||
        !fdt_number(fdt, node, "linux,initrd-end", &end) || start == end) {
        return true;
    }
    if (end < start) {
        return refuse(error, WHERE, "the initrd ends before it starts", CHECK_BOARD);
    }
    for (uint32_t i = 0; i < board->bank_count; i++) {
        if (range_within(start, end - start, pa_value(board->banks[i].base),
                         board->banks[i].size)) {
            board->bundle = (struct board_range){pa_of(start), end - start};
            return true;
        }
    }
    return refuse(error, WHERE, "the initrd is not in memory", CHECK_BOARD);
}
