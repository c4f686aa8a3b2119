// SPDX-License-Identifier: Apache-2.0
// The C library functions that compilers may call, and that EL2 uses. No pointer may be unaligned
// for its type: EL2 also runs with its MMU off, where all memory is Device memory.
#ifndef EL2_MEMORY_H
#define EL2_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);

// Two NUL-terminated strings are the same.
static inline bool string_equal(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

// [a, a + a_size) and [b, b + b_size) have a byte in common. Neither may wrap.
static inline bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a_size != 0 && b_size != 0 && a < b + b_size && b < a + a_size;
}

// [inner, inner + inner_size) lies within [outer, outer + outer_size). The outer may not wrap.
static inline bool range_within(uint64_t inner, uint64_t inner_size, uint64_t outer,
                                uint64_t outer_size)
{
    return inner >= outer && inner_size <= outer_size && inner - outer <= outer_size - inner_size;
}

#endif
