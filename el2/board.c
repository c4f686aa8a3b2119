// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/board.h>
#include <el2/memory.h>

#define CHECK(good, what)                                                                          \
    REQUIRE(good, error, "board device tree", what, "check how the hypervisor was started")
#define MAX_ENTRIES 64u // of all nodes of a kind: each costs a walk over the tree
#define MPIDR_AFFINITY UINT64_C(0xff00ffffff)
#define GIC_SPI 0u // first cell of an interrupt, of three
#define GIC_FIRST_SPI 32u

// The console's PL011: the one of /chosen/stdout-path, or else the first.
static void find_uart(const struct fdt *fdt, struct board *board)
{
    struct fdt_node node;
    struct range range;
    const char *path;
    uint32_t interrupt[3];
    uint32_t count;
    bool found =
        fdt_find_path(fdt, "/chosen", &node) && fdt_string(fdt, node, "stdout-path", &path);
    if (found && *path != '/') { // an alias, perhaps with ":115200n8" behind it
        char name[32] = {0};
        for (uint32_t i = 0; i < sizeof(name) - 1 && path[i] != '\0' && path[i] != ':'; i++) {
            name[i] = path[i];
        }
        found = fdt_find_path(fdt, "/aliases", &node) && fdt_string(fdt, node, name, &path);
    }
    found = found && fdt_find_path(fdt, path, &node) && fdt_is_compatible(fdt, node, "arm,pl011");
    if ((!found && !fdt_find_compatible(fdt, "arm,pl011", &node)) ||
        fdt_reg(fdt, node, 0, &range) != FDT_ENTRY || (range.base & PAGE_MASK) != 0) {
        return;
    }
    board->uart = (struct range){range.base, PAGE_SIZE};
    if (fdt_cells(fdt, node, "interrupts", interrupt, 3, &count) && count == 3 &&
        interrupt[0] == GIC_SPI) {
        board->uart_intid = interrupt[1] + GIC_FIRST_SPI;
    }
}

static void find_gic(const struct fdt *fdt, struct board_gic *gic)
{
    struct fdt_node node;
    struct range *windows[] = {&gic->distributor, &gic->cpu_interface, &gic->hypervisor,
                               &gic->virtual_cpu};
    if (fdt_find_compatible(fdt, "arm,cortex-a15-gic", &node) ||
        fdt_find_compatible(fdt, "arm,gic-400", &node)) {
        for (uint32_t i = 0; i < 4 && fdt_reg(fdt, node, i, windows[i]) == FDT_ENTRY; i++) {
        }
    }
}

typedef bool add_range(struct board *board, struct range range);

static bool add_bank(struct board *board, struct range range)
{
    uint64_t start = (range.base + PAGE_MASK) & ~PAGE_MASK;
    uint64_t end = (range.base + range.size) & ~PAGE_MASK;
    struct range bank = {start, end - start};
    if (range.base + range.size < range.base || range.base > UINT64_MAX - PAGE_MASK ||
        start >= end) {
        return true; // no whole page, or in the last page, which is never memory
    }
    if (range_meets(bank, board->banks, board->bank_count)) {
        return false;
    }
    if (board->bank_count < BOARD_MAX_BANKS) { // more RAM than fits stays unused
        board->banks[board->bank_count++] = bank;
    }
    return true;
}

static bool add_reserved(struct board *board, struct range range)
{
    uint64_t start = range.base & ~PAGE_MASK;
    uint64_t end = (range.base + range.size + PAGE_MASK) & ~PAGE_MASK;
    if (range.size == 0) {
        return true;
    }
    if (end <= start || board->reserved_count == BOARD_MAX_RESERVED) {
        return false;
    }
    board->reserved[board->reserved_count++] = (struct range){start, end - start};
    return true;
}

// Hands each entry of the children of `parent` with this name, or all without a name, to `add`. An
// entry that cannot be understood is not passed over: it may say what belongs to firmware.
static bool add_children(const struct fdt *fdt, struct fdt_node parent, const char *name,
                         add_range *add, struct board *board)
{
    struct fdt_node node;
    struct range range;
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
    struct range range;
    bool good = true;
    for (uint32_t i = 0; good && fdt_reservation(fdt, i, &range); i++) {
        good = add_reserved(board, range);
    }
    // A CPU waits there until it is released, whether or not the tree says that it is kept, and for
    // ever if it is one too many. Many do in one page.
    bool more = fdt_find_path(fdt, "/cpus", &node) && fdt_first_child(fdt, node, &node);
    for (; good && more; more = fdt_next_sibling(fdt, node, &node)) {
        struct range word = {0, 8};
        good = !fdt_number(fdt, node, "cpu-release-addr", &word.base) ||
               !range_meets(word, board->banks, board->bank_count) ||
               range_meets(word, board->reserved, board->reserved_count) ||
               add_reserved(board, word);
    }
    return good && (!fdt_find_path(fdt, "/reserved-memory", &node) ||
                    add_children(fdt, node, NULL, add_reserved, board));
}

static void read_cpus(const struct fdt *fdt, struct board *board)
{
    struct fdt_node node;
    const char *method;
    bool more = fdt_find_path(fdt, "/cpus", &node) && fdt_first_child(fdt, node, &node);
    for (; more && board->cpu_count < CPU_MAX; more = fdt_next_sibling(fdt, node, &node)) {
        struct board_cpu cpu = {0};
        uint64_t release = 0;
        if (!fdt_named(fdt, node, "cpu") || !fdt_number(fdt, node, "reg", &cpu.mpidr)) {
            continue;
        }
        (void)fdt_string(fdt, node, "enable-method", &method);
        if (string_equal(method, "psci")) {
            cpu.enable = BOARD_ENABLE_PSCI;
        } else if (string_equal(method, "spin-table") &&
                   fdt_number(fdt, node, "cpu-release-addr", &release) && release % 8 == 0) {
            cpu.enable = BOARD_ENABLE_SPIN_TABLE;
            cpu.release = pa_of(release);
        }
        cpu.mpidr &= MPIDR_AFFINITY;
        board->cpus[board->cpu_count++] = cpu;
    }
}

static bool read_bundle(const struct fdt *fdt, struct board *board, struct boot_error *error)
{
    struct fdt_node node;
    uint64_t start;
    uint64_t end;
    if (!fdt_find_path(fdt, "/chosen", &node) ||
        !fdt_number(fdt, node, "linux,initrd-start", &start) ||
        !fdt_number(fdt, node, "linux,initrd-end", &end) || start == end) {
        return true;
    }
    CHECK(end > start, "the initrd ends before it starts");
    board->bundle = (struct range){start, end - start};
    uint32_t i = 0;
    while (i < board->bank_count && !range_within(board->bundle, board->banks[i])) {
        i++;
    }
    CHECK(i < board->bank_count, "the initrd is not in memory");
    return true;
}

bool board_read(const struct fdt *fdt, struct board *board, struct boot_error *error)
{
    struct fdt_node node;
    const char *method;
    memset(board, 0, sizeof(*board));
    board->psci_smc = (fdt_find_compatible(fdt, "arm,psci-1.0", &node) ||
                       fdt_find_compatible(fdt, "arm,psci-0.2", &node)) &&
                      fdt_string(fdt, node, "method", &method) && string_equal(method, "smc");
    find_uart(fdt, board);
    find_gic(fdt, &board->gic);
    read_cpus(fdt, board);
    CHECK(add_children(fdt, fdt_root(), "memory", add_bank, board),
          "bad, overlapping or too many memory ranges");
    CHECK(board->bank_count != 0, "no memory");
    CHECK(read_reserved(fdt, board), "bad or too many reserved ranges");
    return read_bundle(fdt, board, error);
}
