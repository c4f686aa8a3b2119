// SPDX-License-Identifier: Apache-2.0
#include <el2/ffa_descriptor.h>
#include <stage2/addr.h>

_Static_assert(sizeof(struct ffa_mem_header) == 48 && sizeof(struct ffa_mem_endpoint) == 16 &&
                   sizeof(struct ffa_mem_composite) == 16 && sizeof(struct ffa_mem_range) == 16,
               "the layout of FF-A 1.1");

static const void *at(const void *copy, uint32_t offset)
{
    return (const uint8_t *)copy + offset;
}

static bool good_range(const struct ffa_mem_range *range)
{
    uint64_t size = range->page_count * PAGE_SIZE;
    return range->page_count != 0 && (range->address & PAGE_MASK) == 0 && range->reserved == 0 &&
           size - 1 <= UINT64_MAX - range->address;
}

// False: the request has the page already.
static bool add_page(struct ffa_request *request, uint64_t page)
{
    for (uint32_t i = 0; i < request->page_count; i++) {
        if (request->pages[i] == page) {
            return false;
        }
    }
    request->pages[request->page_count++] = page;
    return true;
}

// The composite descriptor at `offset`; the endpoint's at `endpoint`.
static enum ffa_error read_ranges(const void *copy, uint32_t length, uint32_t endpoint,
                                  uint32_t offset, struct ffa_request *request)
{
    const struct ffa_mem_composite *composite;
    const struct ffa_mem_range *ranges;
    uint64_t total = 0;
    if (offset < sizeof(struct ffa_mem_header) || offset % 8 != 0 ||
        offset > length - sizeof(*composite)) {
        return FFA_INVALID_PARAMETERS;
    }
    composite = at(copy, offset);
    if (composite->reserved != 0 || composite->range_count == 0 ||
        composite->range_count > (length - offset - sizeof(*composite)) / sizeof(*ranges)) {
        return FFA_INVALID_PARAMETERS;
    }
    ranges = at(copy, offset + (uint32_t)sizeof(*composite));
    uint64_t end = offset + sizeof(*composite) + composite->range_count * sizeof(*ranges);
    if (offset < endpoint + sizeof(struct ffa_mem_endpoint) && endpoint < end) {
        return FFA_INVALID_PARAMETERS;
    }
    for (uint32_t i = 0; i < composite->range_count; i++) {
        if (!good_range(&ranges[i])) {
            return FFA_INVALID_PARAMETERS;
        }
        total += ranges[i].page_count;
    }
    if (total != composite->page_count) {
        return FFA_INVALID_PARAMETERS;
    }
    if (total > FFA_MAX_PAGES) {
        return FFA_NO_MEMORY;
    }
    for (uint32_t i = 0; i < composite->range_count; i++) {
        for (uint32_t page = 0; page < ranges[i].page_count; page++) {
            if (!add_page(request, ranges[i].address + page * PAGE_SIZE)) {
                return FFA_INVALID_PARAMETERS;
            }
        }
    }
    return FFA_OK;
}

enum ffa_error ffa_read_request(const void *copy, uint32_t length, bool ranges,
                                struct ffa_request *request)
{
    const struct ffa_mem_header *header = copy;
    if (length < sizeof(*header) + sizeof(struct ffa_mem_endpoint) || length > FFA_MAX_LENGTH) {
        return FFA_INVALID_PARAMETERS;
    }
    uint32_t offset = header->endpoint_offset;
    if (header->endpoint_size != sizeof(struct ffa_mem_endpoint) || header->endpoint_count != 1 ||
        offset < sizeof(*header) || offset % sizeof(struct ffa_mem_endpoint) != 0 ||
        offset > length - sizeof(struct ffa_mem_endpoint) ||
        (header->reserved[0] | header->reserved[1] | header->reserved[2]) != 0) {
        return FFA_INVALID_PARAMETERS;
    }
    const struct ffa_mem_endpoint *endpoint = at(copy, offset);
    if (endpoint->flags != 0 || endpoint->reserved != 0) {
        return FFA_INVALID_PARAMETERS;
    }
    request->sender = header->sender;
    request->receiver = endpoint->id;
    request->attributes = header->attributes;
    request->permissions = endpoint->permissions;
    request->flags = header->flags;
    request->handle = header->handle;
    request->tag = header->tag;
    request->page_count = 0;
    if (ranges) {
        return read_ranges(copy, length, offset, endpoint->composite_offset, request);
    }
    return endpoint->composite_offset == 0 ? FFA_OK : FFA_INVALID_PARAMETERS;
}
