// SPDX-License-Identifier: Apache-2.0
#include "witness.h"
#include "../exceptions.h"

#define MOVZ_W0 0x52800000U
#define RET 0xd65f03c0U
#define WORDS (PAGE_SIZE / 8)

#define EC_SHIFT 26
#define EC_FETCH_SAME_EL 0x21

static uint64_t behind_call;

// The instruction that faulted is left out; a call of what cannot be fetched comes back at once.
void exception_taken(uint64_t vector)
{
    if (vector != VECTOR_EL1H_SYNCHRONOUS) {
        stub_panic();
    }
    const bool is_call = READ_SYSREG(esr_el1) >> EC_SHIFT == EC_FETCH_SAME_EL;
    WRITE_SYSREG(elr_el1, is_call ? behind_call : READ_SYSREG(elr_el1) + 4);
}

uint64_t load(uint64_t address)
{
    uint64_t value = FAULTED;
    __asm__ volatile("ldr %0, [%1]" : "+r"(value) : "r"(address) : "memory");
    return value;
}

void store(uint64_t address, uint64_t value)
{
    __asm__ volatile("str %0, [%1]" : : "r"(value), "r"(address) : "memory");
}

static uint64_t word(uint64_t seed, uint64_t index)
{
    return seed == 0 ? 0 : (seed << 32 | index) * UINT64_C(0x9e3779b97f4a7c15);
}

void fill(uint64_t address, uint64_t seed)
{
    for (uint64_t i = 0; i < WORDS; i++) {
        store(address + 8 * i, word(seed, i));
    }
}

uint64_t wrong(uint64_t address, uint64_t seed)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < WORDS; i++) {
        count += load(address + 8 * i) != word(seed, i);
    }
    return count;
}

void write_code(uint64_t address, uint32_t number)
{
    store(address, (uint64_t)RET << 32 | MOVZ_W0 | number << 5);
}

uint64_t call(uint64_t address)
{
    register uint64_t x0 __asm__("x0") = FAULTED;
    __asm__ volatile("adr x9, 1f\n str x9, [%1]\n blr %2\n1:"
                     : "+r"(x0)
                     : "r"(&behind_call), "r"(address)
                     : "x9", "x30", "memory");
    return x0;
}

void say(const char *what, bool good, uint64_t value)
{
    put_string("witness: ");
    put_string(what);
    if (good) {
        put_string(": as it should be\n");
        return;
    }
    put_string(": WRONG ");
    put_hex(value);
    put_char('\n');
}
