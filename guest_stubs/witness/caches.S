// SPDX-License-Identifier: Apache-2.0
// Stage 1 and caches on, with care for what was written before. No TLBI, no IC: a vCPU that begins
// has no translations and no instructions of another life, and none of another vCPU.

#define MAIR 0x44ff00               // 0 Device-nGnRnE, 1 write-back, 2 Non-cacheable
#define TCR_LOW 0x803519            // 39 bits, walks write-back and inner shareable, EPD1
#define TCR_IPS_40 (2 << 32)
#define SCTLR_M 0x1
#define SCTLR_M_C_I 0x1005

    .text
// X0 = the table of level 1
    .global caches_set
caches_set:
    mrs     x1, ctr_el0
    ubfx    x1, x1, #16, #4
    mov     x2, #4
    lsl     x2, x2, x1              // bytes of a line
    adr     x1, _start
    adr     x3, bss_end
1:  dc      civac, x1               // written past the caches: nothing older is left in them
    add     x1, x1, x2
    cmp     x1, x3
    b.lo    1b
    dsb     sy                      // lines gone before the next access
    mov     x4, #SCTLR_M_C_I
    b       translation_set

// X0 = a table that is in memory: stage 1 on, caches off, and no DSB
    .global translation_on
translation_on:
    mov     x4, #SCTLR_M
translation_set:
    mov     x1, #(MAIR & 0xffff)
    movk    x1, #(MAIR >> 16), lsl #16
    msr     mair_el1, x1
    mov     x1, #(TCR_LOW & 0xffff)
    movk    x1, #(TCR_LOW >> 16), lsl #16
    movk    x1, #(TCR_IPS_40 >> 32), lsl #32
    msr     tcr_el1, x1
    msr     ttbr0_el1, x0
    isb                             // before translation is on
    mrs     x1, sctlr_el1
    orr     x1, x1, x4
    msr     sctlr_el1, x1
    isb                             // from here on translated, and perhaps cached
    ret

// X0 = address; no line of it is longer than 64 instructions' room
    .global code_written
code_written:
    dc      cvau, x0
    dsb     ish                     // cleaned before instructions are dropped
    ic      ivau, x0
    dsb     ish                     // dropped before the next fetch
    isb
    ret

// X0 = a page: what is written there is in memory
    .global clean
clean:
    mrs     x1, ctr_el0
    ubfx    x1, x1, #16, #4
    mov     x2, #4
    lsl     x2, x2, x1
    add     x3, x0, #4096
1:  dc      cvac, x0
    add     x0, x0, x2
    cmp     x0, x3
    b.lo    1b
    dsb     sy                      // cleaned before whatever follows
    ret
