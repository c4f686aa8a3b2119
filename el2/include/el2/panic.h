// SPDX-License-Identifier: Apache-2.0
// The hypervisor has found itself broken. Never reached on a guest's behalf.
#ifndef EL2_PANIC_H
#define EL2_PANIC_H

#include <stdint.h>

// Registers at an exception of EL2 itself. The vectors fill the one in struct cpu; panic_record
// keeps the first for an observer.
struct panic_record {
    uint64_t x[31];
    uint64_t sp;
};

__attribute__((visibility("hidden"))) extern struct panic_record panic_record;

// From the vectors, on the panic stack. `vector`: 0..7, the entry of the vector table.
_Noreturn void panic_exception(struct panic_record *record, uint64_t vector);

_Noreturn void panic(const char *what);

// An exception class in words.
const char *exception_class_name(uint64_t ec);

#endif
