// SPDX-License-Identifier: Apache-2.0
#include <el2/memory.h>

// Keeps a compiler from recognising a loop as the very function it implements, and calling that.
static inline void not_a_library_call(void)
{
    __asm__ volatile("" : : : "memory");
}

// Small enough for a compiler to copy it by itself.
struct block {
    uint64_t words[4];
};

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((((uintptr_t)t | (uintptr_t)f) & 7u) == 0) {
        struct block *to_block = (struct block *)(void *)t;
        const struct block *from_block = (const struct block *)(const void *)f;
        for (; size >= 128; size -= 128, t += 128, f += 128) {
            *to_block++ = *from_block++;
            *to_block++ = *from_block++;
            *to_block++ = *from_block++;
            *to_block++ = *from_block++;
            not_a_library_call();
        }
    }
    for (; size != 0; size--) {
        *t++ = *f++;
        not_a_library_call();
    }
    return to;
}

void *memset(void *to, int byte, size_t size)
{
    uint8_t *t = to;
    if (((uintptr_t)t & 7u) == 0) {
        uint64_t word = UINT64_C(0x0101010101010101) * (uint8_t)byte;
        for (; size >= 16; size -= 16, t += 16) {
            ((uint64_t *)(void *)t)[0] = word;
            ((uint64_t *)(void *)t)[1] = word;
            not_a_library_call();
        }
    }
    for (; size != 0; size--) {
        *t++ = (uint8_t)byte;
        not_a_library_call();
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    for (; size != 0; size--, x++, y++) {
        if (*x != *y) {
            return *x < *y ? -1 : 1;
        }
    }
    return 0;
}
