// SPDX-License-Identifier: Apache-2.0
#include <el2/bundle.h>
#include <el2/memory.h>

#define BUNDLE_VERSION 1u
#define BLOB_ENTRY_SIZE 64u
#define BLOB_ALIGN 4096u
#define MANIFEST_ALIGN 8u
#define MANIFEST_MAX_SIZE 0x10000u // so that reading it takes a bounded time

#define REBUILD "build the bundle again with `aether bundle`"

static const char magic[8] = {'A', 'E', 'T', 'H', 'E', 'R', 'B', '1'};

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static uint64_t le64(const uint8_t *p)
{
    return (uint64_t)le32(p + 4) << 32 | le32(p);
}

// CRC-32 of IEEE 802.3, reflected, four bits at a time.
static uint32_t crc32(const uint8_t *p, uint64_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffffu;
    for (uint64_t i = 0; i < size; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static bool overlap(struct blob a, struct blob b)
{
    return ranges_overlap(a.offset, a.size, b.offset, b.size);
}

bool bundle_open(struct bundle *bundle, const void *base, uint64_t available,
                 struct boot_error *error)
{
    const uint8_t *p = base;
    if (available < BUNDLE_HEADER_SIZE) {
        return refuse(error, "bundle", "too short for a header", REBUILD);
    }
    if (memcmp(p, magic, sizeof(magic)) != 0) {
        return refuse(error, "bundle", "not a bundle (bad magic)",
                      "pass a file made by `aether bundle` as the initrd");
    }
    if (le32(p + 60) != crc32(p, 60)) {
        return refuse(error, "bundle header", "checksum mismatch", REBUILD);
    }
    if (le32(p + 8) != BUNDLE_VERSION || le32(p + 12) != BUNDLE_HEADER_SIZE) {
        return refuse(error, "bundle header", "unknown version",
                      "use the `aether bundle` that came with this hypervisor");
    }
    bundle->base = p;
    bundle->size = le64(p + 16);
    if (bundle->size > available) {
        return refuse(error, "bundle", "truncated", REBUILD);
    }
    bundle->manifest = (struct blob){le64(p + 24), le64(p + 32)};
    bundle->blob_count = le32(p + 44);
    if (bundle->blob_count == 0 || bundle->blob_count > BUNDLE_MAX_BLOBS) {
        return refuse(error, "bundle header", "not 1 to 32 blobs", REBUILD);
    }
    struct blob header = {0, BUNDLE_HEADER_SIZE};
    struct blob table = {le64(p + 48), (uint64_t)bundle->blob_count * BLOB_ENTRY_SIZE};
    if (!range_within(table.offset, table.size, 0, bundle->size) || overlap(table, header)) {
        return refuse(error, "bundle blob table", "outside the bundle", REBUILD);
    }
    if (!range_within(bundle->manifest.offset, bundle->manifest.size, 0, bundle->size) ||
        bundle->manifest.size == 0 || bundle->manifest.offset % MANIFEST_ALIGN != 0 ||
        overlap(bundle->manifest, header) || overlap(bundle->manifest, table)) {
        return refuse(error, "bundle manifest", "outside the bundle or over another part", REBUILD);
    }
    if (bundle->manifest.size > MANIFEST_MAX_SIZE) {
        return refuse(error, "bundle manifest", "larger than 64 KiB", REBUILD);
    }
    if (le32(p + 56) != crc32(p + table.offset, table.size)) {
        return refuse(error, "bundle blob table", "checksum mismatch", REBUILD);
    }
    if (le32(p + 40) != crc32(p + bundle->manifest.offset, bundle->manifest.size)) {
        return refuse(error, "bundle manifest", "checksum mismatch", REBUILD);
    }
    for (uint32_t i = 0; i < bundle->blob_count; i++) {
        const uint8_t *entry = p + table.offset + (uint64_t)i * BLOB_ENTRY_SIZE;
        struct blob blob = {le64(entry), le64(entry + 8)};
        if (!range_within(blob.offset, blob.size, 0, bundle->size) ||
            blob.offset % BLOB_ALIGN != 0) {
            return refuse(error, "bundle blob table", "a blob outside the bundle", REBUILD);
        }
        bool clash =
            overlap(blob, header) || overlap(blob, table) || overlap(blob, bundle->manifest);
        for (uint32_t j = 0; j < i; j++) {
            clash = clash || overlap(blob, bundle->blobs[j]);
        }
        if (clash) {
            return refuse(error, "bundle blob table", "a blob over another part", REBUILD);
        }
        bundle->blobs[i] = blob;
    }
    return true;
}
