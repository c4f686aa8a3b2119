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

#endif
