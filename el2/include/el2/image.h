// SPDX-License-Identifier: Apache-2.0
// Symbols of the linker script. The image runs where it was loaded, with VA = PA.
#ifndef EL2_IMAGE_H
#define EL2_IMAGE_H

// Of each CPU; below each lies a page that is not mapped. Sizes as in link.lds.
#define STACK_SIZE 0x4000
#define STACK_STEP 0x5000
#define PANIC_STACK_SIZE 0x2000
#define PANIC_STACK_STEP 0x3000

#ifndef __ASSEMBLER__

#include <stdint.h>

#pragma GCC visibility push(hidden) // reached without a GOT
extern char image_start[], image_end[];
extern char text_start[], text_end[];
extern char rodata_start[], rodata_end[];
extern char data_start[], data_end[];   // .data and .bss
extern char stack_start[], stack_end[]; // of all CPUs, guards between them
extern char panic_stack_start[], panic_stack_end[];
extern char window_start[]; // MM_WINDOWS pages
#pragma GCC visibility pop

static inline uint64_t image_address(const char *symbol)
{
    return (uint64_t)(uintptr_t)symbol;
}

#endif
#endif
