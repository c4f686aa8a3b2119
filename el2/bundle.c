// SPDX-License-Identifier: Apache-2.0
#include <el2/bundle.h>
#include <el2/memory.h>

#define BUNDLE_VERSION 1u
#define BLOB_ENTRY_SIZE 64u
#define BLOB_ALIGN 4096u
#define MANIFEST_ALIGN 8u
#define MANIFEST_MAX_SIZE 0x10000u // so that reading it takes a bounded time

#define REBUILD "build the bundle again with `aether bundle`"
#define CHECK(good, where, what) REQUIRE(good, error, where, what, REBUILD)

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

bool bundle_open(struct bundle *bundle, const void *base, uint64_t available,
                 struct boot_error *error)
{
    const uint8_t *p = base;
    CHECK(available >= BUNDLE_HEADER_SIZE, "bundle", "too short for a header");
    REQUIRE(memcmp(p, magic, sizeof(magic)) == 0, error, "bundle", "not a bundle (bad magic)",
            "pass a file made by `aether bundle` as the initrd");
    CHECK(le32(p + 60) == crc32(p, 60), "bundle header", "checksum mismatch");
    REQUIRE(le32(p + 8) == BUNDLE_VERSION && le32(p + 12) == BUNDLE_HEADER_SIZE, error,
            "bundle header", "unknown version",
            "use the `aether bundle` that came with this hypervisor");
    struct range all = {0, le64(p + 16)};
    uint32_t blobs = le32(p + 44);
    CHECK(all.size <= available, "bundle", "truncated");
    CHECK(blobs >= 1 && blobs <= BUNDLE_MAX_BLOBS, "bundle header", "not 1 to 32 blobs");
    struct range header = {0, BUNDLE_HEADER_SIZE};
    struct range table = {le64(p + 48), (uint64_t)blobs * BLOB_ENTRY_SIZE};
    struct range manifest = {le64(p + 24), le64(p + 32)};
    struct range parts[] = {header, table, manifest};
    CHECK(range_within(table, all) && !ranges_overlap(table, header), "bundle blob table",
          "outside the bundle");
    CHECK(range_within(manifest, all) && manifest.size != 0 &&
              manifest.base % MANIFEST_ALIGN == 0 && !range_meets(manifest, parts, 2),
          "bundle manifest", "outside the bundle or over another part");
    CHECK(manifest.size <= MANIFEST_MAX_SIZE, "bundle manifest", "larger than 64 KiB");
    CHECK(le32(p + 56) == crc32(p + table.base, table.size), "bundle blob table",
          "checksum mismatch");
    CHECK(le32(p + 40) == crc32(p + manifest.base, manifest.size), "bundle manifest",
          "checksum mismatch");
    *bundle = (struct bundle){.base = p, .size = all.size, .manifest = manifest};
    for (uint32_t i = 0; i < blobs; i++) {
        const uint8_t *entry = p + table.base + i * BLOB_ENTRY_SIZE;
        struct range blob = {le64(entry), le64(entry + 8)};
        CHECK(range_within(blob, all) && blob.base % BLOB_ALIGN == 0, "bundle blob table",
              "a blob outside the bundle");
        CHECK(!range_meets(blob, parts, 3) && !range_meets(blob, bundle->blobs, i),
              "bundle blob table", "a blob over another part");
        bundle->blobs[bundle->blob_count++] = blob;
    }
    return true;
}
