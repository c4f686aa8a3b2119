// SPDX-License-Identifier: Apache-2.0
// Opaque address types: a physical, an intermediate physical and a virtual address cannot be mixed
// by mistake. The only way from one to another is a translation table, or a conversion written out.
#ifndef STAGE2_ADDR_H
#define STAGE2_ADDR_H

#include <stdint.h>

#define PAGE_SHIFT 12u
#define PAGE_SIZE (UINT64_C(1) << PAGE_SHIFT)
#define PAGE_MASK (PAGE_SIZE - 1)

// Physical address: what the memory system sees after all translation.
typedef struct {
    uint64_t value;
} pa_t;

// Intermediate physical address: what a guest takes for physical; input of stage 2.
typedef struct {
    uint64_t value;
} ipa_t;

// Virtual address of EL2; input of EL2's own stage 1.
typedef struct {
    uint64_t value;
} va_t;

// Input address of a translation regime: an IPA for PGT_STAGE2, an EL2 VA for PGT_EL2.
typedef struct {
    uint64_t value;
} ia_t;

static inline pa_t pa_of(uint64_t value)
{
    return (pa_t){value};
}

static inline ipa_t ipa_of(uint64_t value)
{
    return (ipa_t){value};
}

static inline va_t va_of(uint64_t value)
{
    return (va_t){value};
}

static inline uint64_t pa_value(pa_t pa)
{
    return pa.value;
}

static inline uint64_t ipa_value(ipa_t ipa)
{
    return ipa.value;
}

static inline uint64_t va_value(va_t va)
{
    return va.value;
}

static inline ia_t ia_of_ipa(ipa_t ipa)
{
    return (ia_t){ipa.value};
}

static inline ia_t ia_of_va(va_t va)
{
    return (ia_t){va.value};
}

static inline uint64_t ia_value(ia_t ia)
{
    return ia.value;
}

#endif
