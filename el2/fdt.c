// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/fdt.h>
#include <el2/memory.h>

#define FDT_MAGIC 0xd00dfeedu
#define FDT_VERSION 17u
#define FDT_LAST_COMPATIBLE 16u

enum fdt_token {
    FDT_BEGIN_NODE = 1,
    FDT_END_NODE = 2,
    FDT_PROP = 3,
    FDT_NOP = 4,
    FDT_END = 9,
};

struct item {
    enum fdt_token token;
    uint32_t next;          // offset of the following token
    const char *name;       // FDT_BEGIN_NODE and FDT_PROP
    struct fdt_value value; // FDT_PROP
};

// By bytes: neither the blob nor a property need be aligned.
static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t be64(const uint8_t *p)
{
    return (uint64_t)be32(p) << 32 | be32(p + 4);
}

// Bytes of the string at `p` with its NUL; 0: there is no NUL within `size` bytes.
static uint32_t string_size(const uint8_t *p, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (p[i] == 0) {
            return i + 1;
        }
    }
    return 0;
}

// The same for the name of a node or property, which is never searched beyond FDT_NAME_SIZE: every
// step over a token costs a bounded time.
static uint32_t name_size(const uint8_t *p, uint32_t size)
{
    return string_size(p, size < FDT_NAME_SIZE ? size : FDT_NAME_SIZE);
}

// The token at `at`, which is a multiple of 4. False: it does not lie within the blob.
static bool item_at(const struct fdt *fdt, uint32_t at, struct item *item)
{
    uint32_t size = fdt->structure_size;
    uint32_t body = 0; // bytes after the fixed part, before padding
    if (at > size || size - at < 4) {
        return false;
    }
    item->token = (enum fdt_token)be32(fdt->structure + at);
    at += 4;
    if (item->token == FDT_BEGIN_NODE) {
        item->name = (const char *)fdt->structure + at;
        body = name_size(fdt->structure + at, size - at);
        if (body == 0) {
            return false;
        }
    } else if (item->token == FDT_PROP) {
        if (size - at < 8) {
            return false;
        }
        body = be32(fdt->structure + at);
        uint32_t name = be32(fdt->structure + at + 4);
        at += 8;
        if (name >= fdt->strings_size ||
            name_size(fdt->strings + name, fdt->strings_size - name) == 0) {
            return false;
        }
        item->name = (const char *)fdt->strings + name;
        item->value = (struct fdt_value){fdt->structure + at, body};
    } else if (item->token != FDT_END_NODE && item->token != FDT_NOP && item->token != FDT_END) {
        return false;
    }
    item->next = at + (body + 3) / 4 * 4; // past the end, if padding is missing: found next time
    return size - at >= body;
}

// One pass over the structure block. Each step goes at least 4 bytes on, so it ends.
static const char *check_structure(const struct fdt *fdt)
{
    struct item item;
    uint32_t depth = 0;
    uint32_t at = 0;
    do {
        if (!item_at(fdt, at, &item)) {
            return "a node or property does not lie within the structure block, or its name does "
                   "not end within 64 bytes";
        }
        if (at == 0 && item.token != FDT_BEGIN_NODE) {
            return "the structure block does not start with the root node";
        }
        if (item.token == FDT_END) {
            return "the structure block ends inside a node";
        }
        at = item.next;
        depth += item.token == FDT_BEGIN_NODE;
        depth -= item.token == FDT_END_NODE;
        if (depth > FDT_MAX_DEPTH) {
            return "nodes are nested too deeply";
        }
    } while (depth != 0);
    do {
        if (!item_at(fdt, at, &item) || (item.token != FDT_NOP && item.token != FDT_END)) {
            return "the structure block does not end after the root node";
        }
        at = item.next;
    } while (item.token != FDT_END);
    return NULL;
}

bool fdt_total_size(const void *blob, uint32_t *size)
{
    const uint8_t *p = blob;
    *size = be32(p + 4);
    return be32(p) == FDT_MAGIC && *size >= FDT_HEADER_SIZE;
}

const char *fdt_open(struct fdt *fdt, const void *blob, uint64_t available)
{
    const uint8_t *p = blob;
    uint32_t total;
    if (available < FDT_HEADER_SIZE) {
        return "too short for a device tree header";
    }
    if (!fdt_total_size(blob, &total)) {
        return "not a device tree (bad magic or size)";
    }
    if (total > available) {
        return "truncated: the header claims more bytes than there are";
    }
    struct range structure = {be32(p + 8), be32(p + 36)};
    struct range strings = {be32(p + 12), be32(p + 32)};
    uint32_t at = be32(p + 16);
    if (be32(p + 20) < FDT_VERSION || be32(p + 24) > FDT_VERSION ||
        be32(p + 24) < FDT_LAST_COMPATIBLE) {
        return "not a device tree of version 17";
    }
    if (structure.base % 4 != 0 || structure.base < FDT_HEADER_SIZE || at > total ||
        !range_within(structure, (struct range){0, total}) ||
        !range_within(strings, (struct range){0, total})) {
        return "a block lies outside the blob";
    }
    *fdt = (struct fdt){p + structure.base,       p + strings.base, p + at,
                        (uint32_t)structure.size, be32(p + 32),     0};
    for (; total - at >= 16; at += 16, fdt->reservation_count++) {
        if (be64(p + at) == 0 && be64(p + at + 8) == 0) {
            return check_structure(fdt);
        }
    }
    return "the memory reservation block has no end";
}

struct fdt_node fdt_root(void)
{
    return (struct fdt_node){0};
}

// The next node in order of appearance, whatever its depth; `depth` is kept up to date.
static bool next_node(const struct fdt *fdt, struct fdt_node *node, int *depth)
{
    struct item item;
    uint32_t at = node->offset;
    bool more = item_at(fdt, at, &item);
    for (at = item.next; more && item_at(fdt, at, &item) && item.token != FDT_END; at = item.next) {
        if (item.token == FDT_BEGIN_NODE) {
            node->offset = at;
            ++*depth;
            return true;
        }
        *depth -= item.token == FDT_END_NODE;
    }
    return false;
}

bool fdt_first_child(const struct fdt *fdt, struct fdt_node node, struct fdt_node *child)
{
    int depth = 0;
    *child = node;
    return next_node(fdt, child, &depth) && depth == 1;
}

bool fdt_next_sibling(const struct fdt *fdt, struct fdt_node node, struct fdt_node *sibling)
{
    int depth = 0;
    *sibling = node;
    while (next_node(fdt, sibling, &depth)) {
        if (depth <= 0) {
            return depth == 0;
        }
    }
    return false;
}

bool fdt_parent(const struct fdt *fdt, struct fdt_node node, struct fdt_node *parent)
{
    struct fdt_node path[FDT_MAX_DEPTH] = {{0}};
    struct fdt_node at = fdt_root();
    int depth = 0;
    while (at.offset < node.offset && next_node(fdt, &at, &depth) && depth < (int)FDT_MAX_DEPTH) {
        path[depth] = at;
    }
    if (depth == 0 || at.offset != node.offset) {
        return false;
    }
    *parent = path[depth - 1];
    return true;
}

const char *fdt_name(const struct fdt *fdt, struct fdt_node node)
{
    struct item item;
    return item_at(fdt, node.offset, &item) ? item.name : "";
}

// Does the node's name match name[0..length), with or without its @address?
static bool name_matches(const struct fdt *fdt, struct fdt_node node, const char *name,
                         uint32_t length)
{
    const char *full = fdt_name(fdt, node);
    for (uint32_t i = 0; i < length; i++) {
        if (full[i] == '\0' || full[i] != name[i]) {
            return false;
        }
    }
    return full[length] == '\0' || full[length] == '@';
}

bool fdt_named(const struct fdt *fdt, struct fdt_node node, const char *name)
{
    return name_matches(fdt, node, name, string_size((const uint8_t *)name, FDT_NAME_SIZE) - 1);
}

bool fdt_find_path(const struct fdt *fdt, const char *path, struct fdt_node *node)
{
    *node = fdt_root();
    while (*path == '/') {
        uint32_t length = 0;
        for (path++; path[length] != '\0' && path[length] != '/' && path[length] != ':';) {
            length++;
        }
        if (length == 0) {
            break;
        }
        bool found = fdt_first_child(fdt, *node, node);
        while (found && !name_matches(fdt, *node, path, length)) {
            found = fdt_next_sibling(fdt, *node, node);
        }
        if (!found) {
            return false;
        }
        path += length;
    }
    return *path == '\0' || *path == ':';
}

bool fdt_property(const struct fdt *fdt, struct fdt_node node, const char *name,
                  struct fdt_value *value)
{
    struct item item;
    bool more = item_at(fdt, node.offset, &item);
    while (more && item_at(fdt, item.next, &item) &&
           (item.token == FDT_PROP || item.token == FDT_NOP)) {
        if (item.token == FDT_PROP && string_equal(item.name, name)) {
            *value = item.value;
            return true;
        }
    }
    return false;
}

bool fdt_string(const struct fdt *fdt, struct fdt_node node, const char *name, const char **text)
{
    struct fdt_value value;
    bool found = fdt_property(fdt, node, name, &value) && string_size(value.bytes, value.size) != 0;
    *text = found ? (const char *)value.bytes : "";
    return found;
}

static uint64_t number(const uint8_t *p, uint32_t cells)
{
    return cells == 0 ? 0 : cells == 1 ? be32(p) : be64(p);
}

bool fdt_number(const struct fdt *fdt, struct fdt_node node, const char *name, uint64_t *value)
{
    struct fdt_value found;
    if (!fdt_property(fdt, node, name, &found) || (found.size != 4 && found.size != 8)) {
        return false;
    }
    *value = number(found.bytes, found.size / 4);
    return true;
}

bool fdt_cells(const struct fdt *fdt, struct fdt_node node, const char *name, uint32_t *cells,
               uint32_t most, uint32_t *count)
{
    struct fdt_value value;
    if (!fdt_property(fdt, node, name, &value) || value.size % 4 != 0 || value.size / 4 > most) {
        return false;
    }
    for (*count = 0; *count < value.size / 4; ++*count) {
        cells[*count] = be32(value.bytes + *count * 4u);
    }
    return true;
}

bool fdt_ranges(const struct fdt *fdt, struct fdt_node node, const char *name, struct range *ranges,
                uint32_t count)
{
    struct fdt_value value;
    if (!fdt_property(fdt, node, name, &value) || value.size != 16 * count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        ranges[i] = (struct range){be64(value.bytes + 16u * i), be64(value.bytes + 16u * i + 8)};
    }
    return true;
}

bool fdt_is_compatible(const struct fdt *fdt, struct fdt_node node, const char *compatible)
{
    struct fdt_value value = {NULL, 0};
    (void)fdt_property(fdt, node, "compatible", &value);
    for (uint32_t at = 0, size; at < value.size; at += size) {
        size = string_size(value.bytes + at, value.size - at);
        if (size == 0) {
            return false;
        }
        if (string_equal((const char *)value.bytes + at, compatible)) {
            return true;
        }
    }
    return false;
}

static bool is_disabled(const struct fdt *fdt, struct fdt_node node)
{
    const char *status;
    return fdt_string(fdt, node, "status", &status) && !string_equal(status, "okay") &&
           !string_equal(status, "ok");
}

bool fdt_find_compatible(const struct fdt *fdt, const char *compatible, struct fdt_node *node)
{
    int depth = 0;
    *node = fdt_root();
    while (next_node(fdt, node, &depth)) {
        if (fdt_is_compatible(fdt, *node, compatible) && !is_disabled(fdt, *node)) {
            return true;
        }
    }
    return false;
}

// Cells of an address and of a size on a bus.
struct bus_cells {
    uint32_t address; // 1 or 2
    uint32_t size;    // 0 to 2
};

// False: more than are supported.
static bool bus_cells(const struct fdt *fdt, struct fdt_node bus, struct bus_cells *cells)
{
    uint64_t address = 2;
    uint64_t size = 1;
    (void)fdt_number(fdt, bus, "#address-cells", &address);
    (void)fdt_number(fdt, bus, "#size-cells", &size);
    *cells = (struct bus_cells){(uint32_t)address, (uint32_t)size};
    return address >= 1 && address <= 2 && size <= 2;
}

// From the address space of `bus`'s children, where addresses have `cells`, to that of `bus`.
static bool translate(const struct fdt *fdt, struct fdt_node bus, struct bus_cells cells,
                      uint32_t up_cells, struct range *range)
{
    struct fdt_value ranges;
    if (!fdt_property(fdt, bus, "ranges", &ranges)) {
        return false;
    }
    uint32_t entry = 4 * (cells.address + up_cells + cells.size);
    for (uint32_t at = 0; ranges.size - at >= entry; at += entry) {
        const uint8_t *p = ranges.bytes + at;
        const uint8_t *up = p + 4 * cells.address;
        struct range child = {number(p, cells.address), number(up + 4 * up_cells, cells.size)};
        if (range_within(*range, child)) {
            range->base += number(up, up_cells) - child.base;
            return true;
        }
    }
    return ranges.size == 0;
}

enum fdt_entry fdt_reg(const struct fdt *fdt, struct fdt_node node, uint32_t index,
                       struct range *range)
{
    struct fdt_value reg;
    struct fdt_node bus;
    struct fdt_node parent;
    struct bus_cells cells;
    struct bus_cells up;
    if (!fdt_property(fdt, node, "reg", &reg)) {
        return FDT_NO_ENTRY;
    }
    if (!fdt_parent(fdt, node, &bus) || !bus_cells(fdt, bus, &cells)) {
        return FDT_BAD_ENTRY;
    }
    uint32_t entry = 4 * (cells.address + cells.size);
    if (index >= reg.size / entry) {
        return reg.size % entry == 0 ? FDT_NO_ENTRY : FDT_BAD_ENTRY;
    }
    const uint8_t *p = reg.bytes + index * entry;
    *range = (struct range){number(p, cells.address), number(p + 4 * cells.address, cells.size)};
    for (; fdt_parent(fdt, bus, &parent); bus = parent, cells = up) {
        if (!bus_cells(fdt, parent, &up) || !translate(fdt, bus, cells, up.address, range)) {
            return FDT_BAD_ENTRY;
        }
    }
    return range->size == 0 || range->base <= UINT64_MAX - (range->size - 1) ? FDT_ENTRY
                                                                             : FDT_BAD_ENTRY;
}

bool fdt_reservation(const struct fdt *fdt, uint32_t index, struct range *range)
{
    if (index >= fdt->reservation_count) {
        return false;
    }
    const uint8_t *p = fdt->reservations + 16u * index;
    *range = (struct range){be64(p), be64(p + 8)};
    return true;
}
