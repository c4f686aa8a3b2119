// SPDX-License-Identifier: Apache-2.0
// A range of addresses or offsets; which kind stands where one is declared. Size 0: nothing.
#ifndef EL2_RANGE_H
#define EL2_RANGE_H

#include <stdbool.h>
#include <stdint.h>

struct range {
    uint64_t base;
    uint64_t size;
};

// They have a byte in common. Neither may wrap.
static inline bool ranges_overlap(struct range a, struct range b)
{
    return a.size != 0 && b.size != 0 && a.base < b.base + b.size && b.base < a.base + a.size;
}

// The outer may not wrap.
static inline bool range_within(struct range inner, struct range outer)
{
    return inner.base >= outer.base && inner.size <= outer.size &&
           inner.base - outer.base <= outer.size - inner.size;
}

// It has a byte in common with one of `count` ranges.
static inline bool range_meets(struct range range, const struct range *others, uint32_t count)
{
    uint32_t i = 0;
    while (i < count && !ranges_overlap(range, others[i])) {
        i++;
    }
    return i < count;
}

#endif
