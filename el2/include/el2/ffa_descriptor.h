// SPDX-License-Identifier: Apache-2.0
// Reader of FF-A memory descriptors (Arm DEN0077A 1.1, "Memory transaction descriptor"), from a
// private copy of a TX buffer. Nothing here depends on EL2, so that the host can test it.
#ifndef EL2_FFA_DESCRIPTOR_H
#define EL2_FFA_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/ffa.h>

#define FFA_MAX_LENGTH 4096u // of a descriptor: one TX buffer
#define FFA_MAX_PAGES 32u    // of a transaction

#define FFA_ATTRIBUTES_NORMAL 0x2fu // Normal memory, Write-Back, Inner Shareable
#define FFA_DATA_RO 1u              // permissions, bits 1 to 0
#define FFA_DATA_RW 2u
#define FFA_INSTRUCTION_NX 1u // bits 3 to 2
#define FFA_INSTRUCTION_X 2u
#define FFA_INSTRUCTION_SHIFT 2u
#define FFA_PERMISSION_MASK 3u
#define FFA_FLAG_ZERO 1u
#define FFA_FLAG_TYPE_SHIFT 3u
#define FFA_FLAG_TYPE_MASK 3u

// As they stand in memory, little-endian. Reserved fields are zero.
struct ffa_mem_header {
    uint16_t sender;
    uint16_t attributes;
    uint32_t flags;
    uint64_t handle;
    uint64_t tag;
    uint32_t endpoint_size;
    uint32_t endpoint_count;
    uint32_t endpoint_offset;
    uint32_t reserved[3];
};

struct ffa_mem_endpoint {
    uint16_t id;
    uint8_t permissions;
    uint8_t flags;
    uint32_t composite_offset;
    uint64_t reserved;
};

struct ffa_mem_composite {
    uint32_t page_count;
    uint32_t range_count;
    uint64_t reserved;
};

struct ffa_mem_range {
    uint64_t address;
    uint32_t page_count;
    uint32_t reserved;
};

struct ffa_mem_relinquish {
    uint64_t handle;
    uint32_t flags;
    uint32_t count;
    uint16_t id;
};

// What a transaction descriptor of the right shape says.
struct ffa_request {
    uint16_t sender;
    uint16_t receiver;
    uint16_t attributes;
    uint8_t permissions;
    uint32_t flags;
    uint64_t handle;
    uint64_t tag;
    uint32_t page_count;
    uint64_t pages[FFA_MAX_PAGES]; // IPAs in the order of the ranges, none of them twice
};

// `copy`: `length` bytes at a multiple of 8. With ranges: exactly one composite descriptor, of 1 to
// FFA_MAX_PAGES pages (FFA_NO_MEMORY for more); without: none. Any other fault of its shape is
// FFA_INVALID_PARAMETERS. Who and what it names is not checked.
enum ffa_error ffa_read_request(const void *copy, uint32_t length, bool ranges,
                                struct ffa_request *request);

#endif
