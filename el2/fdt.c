// SPDX-License-Identifier: Apache-2.0
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
    switch (item->token) {
    case FDT_BEGIN_NODE:
        item->name = (const char *)fdt->structure + at;
        body = name_size(fdt->structure + at, size - at);
        if (body == 0) {
            return false;
        }
        break;
    case FDT_PROP: {
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
        break;
    }
    case FDT_END_NODE:
    case FDT_NOP:
    case FDT_END:
        break;
    default:
        return false;
    }
    if (size - at < body) {
        return false;
    }
    item->next = at + (body + 3) / 4 * 4; // past the end, if padding is missing: found next time
    return true;
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
        at = item.next;
        if (item.token == FDT_BEGIN_NODE) {
            if (++depth > FDT_MAX_DEPTH) {
                return "nodes are nested too deeply";
            }
        } else if (item.token == FDT_END_NODE) {
            depth--;
        } else if (item.token == FDT_END) {
            return "the structure block ends inside a node";
        }
    } while (depth != 0);
    do {
        if (!item_at(fdt, at, &item) || item.token == FDT_BEGIN_NODE || item.token == FDT_PROP ||
            item.token == FDT_END_NODE) {
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
    uint32_t structure = be32(p + 8);
    uint32_t strings = be32(p + 12);
    uint32_t reservations = be32(p + 16);
    if (be32(p + 20) < FDT_VERSION || be32(p + 24) > FDT_VERSION ||
        be32(p + 24) < FDT_LAST_COMPATIBLE) {
        return "not a device tree of version 17";
    }
    fdt->strings_size = be32(p + 32);
    fdt->structure_size = be32(p + 36);
    if (structure % 4 != 0 ||
        !range_within(structure, fdt->structure_size, FDT_HEADER_SIZE, total - FDT_HEADER_SIZE) ||
        !range_within(strings, fdt->strings_size, 0, total) || reservations > total) {
        return "a block lies outside the blob";
    }
    fdt->structure = p + structure;
    fdt->strings = p + strings;
    fdt->reservations = p + reservations;
    fdt->reservation_count = 0;
    for (uint32_t at = reservations;; at += 16) {
        if (total - at < 16) {
            return "the memory reservation block has no end";
        }
        if (be64(p + at) == 0 && be64(p + at + 8) == 0) {
            break;
        }
        fdt->reservation_count++;
    }
    return check_structure(fdt);
}

struct fdt_node fdt_root(void)
{
    return (struct fdt_node){0};
}

// The first node that begins at or after `at` before the current node ends.
static bool node_from(const struct fdt *fdt, uint32_t at, struct fdt_node *node)
{
    struct item item;
    while (item_at(fdt, at, &item) && (item.token == FDT_PROP || item.token == FDT_NOP)) {
        at = item.next;
    }
    node->offset = at;
    return item.token == FDT_BEGIN_NODE;
}

bool fdt_first_child(const struct fdt *fdt, struct fdt_node node, struct fdt_node *child)
{
    struct item item;
    return item_at(fdt, node.offset, &item) && node_from(fdt, item.next, child);
}

bool fdt_next_sibling(const struct fdt *fdt, struct fdt_node node, struct fdt_node *sibling)
{
    struct item item;
    uint32_t depth = 0;
    uint32_t at = node.offset;
    do {
        if (!item_at(fdt, at, &item)) {
            return false;
        }
        at = item.next;
        depth += item.token == FDT_BEGIN_NODE;
        depth -= item.token == FDT_END_NODE;
    } while (depth != 0);
    return node_from(fdt, at, sibling);
}

// The next node in order of appearance, whatever its depth; `depth` is kept up to date.
static bool next_node(const struct fdt *fdt, struct fdt_node *node, uint32_t *depth)
{
    struct item item;
    uint32_t at = node->offset;
    if (!item_at(fdt, at, &item)) {
        return false;
    }
    for (at = item.next; item_at(fdt, at, &item) && item.token != FDT_END; at = item.next) {
        if (item.token == FDT_BEGIN_NODE) {
            node->offset = at;
            ++*depth;
            return true;
        }
        *depth -= item.token == FDT_END_NODE;
    }
    return false;
}

bool fdt_parent(const struct fdt *fdt, struct fdt_node node, struct fdt_node *parent)
{
    struct fdt_node path[FDT_MAX_DEPTH] = {{0}};
    struct fdt_node at = fdt_root();
    uint32_t depth = 0;
    while (at.offset < node.offset) {
        if (!next_node(fdt, &at, &depth) || depth >= FDT_MAX_DEPTH) {
            return false;
        }
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
        path++;
        uint32_t length = 0;
        while (path[length] != '\0' && path[length] != '/' && path[length] != ':') {
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
    if (!item_at(fdt, node.offset, &item)) {
        return false;
    }
    while (item_at(fdt, item.next, &item) && (item.token == FDT_PROP || item.token == FDT_NOP)) {
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
    if (!fdt_property(fdt, node, name, &value) || string_size(value.bytes, value.size) == 0) {
        return false;
    }
    *text = (const char *)value.bytes;
    return true;
}

bool fdt_number(const struct fdt *fdt, struct fdt_node node, const char *name, uint64_t *number)
{
    struct fdt_value value;
    if (!fdt_property(fdt, node, name, &value) || (value.size != 4 && value.size != 8)) {
        return false;
    }
    *number = value.size == 4 ? be32(value.bytes) : be64(value.bytes);
    return true;
}

bool fdt_is_compatible(const struct fdt *fdt, struct fdt_node node, const char *compatible)
{
    struct fdt_value value;
    if (!fdt_property(fdt, node, "compatible", &value)) {
        return false;
    }
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
    uint32_t depth = 0;
    *node = fdt_root();
    while (next_node(fdt, node, &depth)) {
        if (fdt_is_compatible(fdt, *node, compatible) && !is_disabled(fdt, *node)) {
            return true;
        }
    }
    return false;
}

// A cell count property of a node; 0 if it is not one that is supported (1 or 2; sizes also 0).
static bool cell_count(const struct fdt *fdt, struct fdt_node node, const char *name,
                       uint32_t otherwise, uint32_t *count)
{
    uint64_t number = otherwise;
    (void)fdt_number(fdt, node, name, &number);
    *count = (uint32_t)number;
    return number <= 2;
}

static uint64_t cells(const uint8_t *p, uint32_t count)
{
    return count == 0 ? 0 : count == 1 ? be32(p) : be64(p);
}

// From the address space of `bus`'s children to that of `bus` itself.
static bool translate(const struct fdt *fdt, struct fdt_node bus, struct fdt_node parent,
                      uint32_t address_cells, uint32_t size_cells, struct fdt_range *range)
{
    struct fdt_value ranges;
    uint32_t up_cells;
    if (!fdt_property(fdt, bus, "ranges", &ranges) ||
        !cell_count(fdt, parent, "#address-cells", 2, &up_cells)) {
        return false;
    }
    if (ranges.size == 0) {
        return true;
    }
    uint32_t entry = 4 * (address_cells + up_cells + size_cells);
    for (uint32_t at = 0; ranges.size - at >= entry; at += entry) {
        const uint8_t *p = ranges.bytes + at;
        uint64_t child = cells(p, address_cells);
        uint64_t up = cells(p + 4 * address_cells, up_cells);
        uint64_t size = cells(p + 4 * (address_cells + up_cells), size_cells);
        if (range_within(range->base, range->size, child, size)) {
            range->base = range->base - child + up;
            return true;
        }
    }
    return false;
}

enum fdt_entry fdt_reg(const struct fdt *fdt, struct fdt_node node, uint32_t index,
                       struct fdt_range *range)
{
    struct fdt_value reg;
    struct fdt_node bus;
    struct fdt_node parent;
    uint32_t address_cells;
    uint32_t size_cells;
    if (!fdt_property(fdt, node, "reg", &reg)) {
        return FDT_NO_ENTRY;
    }
    if (!fdt_parent(fdt, node, &bus) ||
        !cell_count(fdt, bus, "#address-cells", 2, &address_cells) ||
        !cell_count(fdt, bus, "#size-cells", 1, &size_cells) || address_cells == 0) {
        return FDT_BAD_ENTRY;
    }
    uint32_t entry = 4 * (address_cells + size_cells);
    if (index >= reg.size / entry) {
        return reg.size % entry == 0 ? FDT_NO_ENTRY : FDT_BAD_ENTRY;
    }
    const uint8_t *p = reg.bytes + index * entry;
    *range = (struct fdt_range){cells(p, address_cells), cells(p + 4 * address_cells, size_cells)};
    while (fdt_parent(fdt, bus, &parent)) {
        if (!translate(fdt, bus, parent, address_cells, size_cells, range) ||
            !cell_count(fdt, parent, "#address-cells", 2, &address_cells) || address_cells == 0 ||
            !cell_count(fdt, parent, "#size-cells", 1, &size_cells)) {
            return FDT_BAD_ENTRY;
        }
        bus = parent;
    }
    return range->size == 0 || range->base <= UINT64_MAX - (range->size - 1) ? FDT_ENTRY
                                                                             : FDT_BAD_ENTRY;
}

bool fdt_reservation(const struct fdt *fdt, uint32_t index, struct fdt_range *range)
{
    if (index >= fdt->reservation_count) {
        return false;
    }
    const uint8_t *p = fdt->reservations + 16u * index;
    *range = (struct fdt_range){be64(p), be64(p + 8)};
    return true;
}
