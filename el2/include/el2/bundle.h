// SPDX-License-Identifier: Apache-2.0
// Reader of the bundle: the file with the manifest and the guests' images. Little-endian; offsets
// count from its first byte. Nothing here depends on EL2, so that the host can test it.
//
//   header, 64 bytes                      blob entry, 64 bytes
//    0 magic "AETHERB1"                    0 u64 offset, a multiple of 4096
//    8 u32 version                         8 u64 size
//   12 u32 header size                    16 u8  sha256[32] (for tools; not read here)
//   16 u64 total size                     48 char name[16], padded with NUL
//   24 u64 manifest offset, size
//   40 u32 manifest CRC-32
//   44 u32 number of blobs
//   48 u64 blob table offset
//   56 u32 blob table CRC-32
//   60 u32 CRC-32 of bytes 0..59
#ifndef EL2_BUNDLE_H
#define EL2_BUNDLE_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/error.h>
#include <el2/range.h>

#define BUNDLE_HEADER_SIZE 64u
#define BUNDLE_MAX_BLOBS 32u

// Ranges of offsets.
struct bundle {
    const uint8_t *base;
    uint64_t size;
    struct range manifest;
    struct range blobs[BUNDLE_MAX_BLOBS];
    uint32_t blob_count;
};

// Checks all that is not blob contents. False: `error` says why, and `bundle` must not be used.
bool bundle_open(struct bundle *bundle, const void *base, uint64_t available,
                 struct boot_error *error);

#endif
