// SPDX-License-Identifier: Apache-2.0
#include <el2/memory.h>

// Keeps a compiler from recognising a loop as the very function it implements, and calling that.
static inline void not_a_library_call(void)
{
    __asm__ volatile("" : : : "memory");
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((((uintptr_t)t | (uintptr_t)f) & 7u) == 0) {
        for (; size >= 16; size -= 16, t += 16, f += 16) {
            uint64_t a = ((const uint64_t *)(const void *)f)[0];
            uint64_t b = ((const uint64_t *)(const void *)f)[1];
            ((uint64_t *)(void *)t)[0] = a;
            ((uint64_t *)(void *)t)[1] = b;
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
