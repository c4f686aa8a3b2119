// SPDX-License-Identifier: Apache-2.0
// From the first instruction to main(), or smp_main() on the CPUs that it starts: arm64 Image header,
// EL3 left, known EL2 registers, EL2's own tables built with the MMU off, MMU on.
//
// x19 = PA of the board's device tree, x20 = 1 when entered at EL3 (then no firmware stays above us),
// x21 = struct cpu of one that main() starts, 0 for the one that boots

#include <el2/image.h>
#include <el2/sysregs.h>
#include <offsets.h>

.macro mov_const reg, value
    movz    \reg, #((\value) & 0xffff)
    movk    \reg, #(((\value) >> 16) & 0xffff), lsl #16
    movk    \reg, #(((\value) >> 32) & 0xffff), lsl #32
.endm

.macro address reg, symbol
    adr     \reg, \symbol
.endm

    .section .head, "ax"
    .global image_head
image_head:
    b       boot
    .long   0
    .quad   0                               // text_offset
    .quad   image_end - image_head          // image_size, with .bss and stacks
    .quad   0xa                             // little-endian, 4 KiB pages, any 2 MiB boundary
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

    .text
// PSCI and spin tables let a CPU begin here.
    .global boot_secondary
boot_secondary:
    adr     x21, smp_starting
    ldr     x21, [x21]
    b       boot_any

boot:
    mov     x19, x0
    mov     x21, xzr
boot_any:
    msr     daifset, #0xf
    mov     x20, xzr
    mrs     x1, CurrentEL
    cmp     x1, #CURRENT_EL_EL2
    b.eq    at_el2
    cmp     x1, #CURRENT_EL_EL3
    b.eq    at_el3
not_for_this_el:                            // entered at EL1: nothing here can be done
    wfi
    b       not_for_this_el

at_el3:
    mov     x20, #1
    mov_const x1, SCR_EL3_BOOT
    msr     scr_el3, x1
    msr     cptr_el3, xzr                   // no traps to EL3, where nobody is
    msr     mdcr_el3, xzr
    mrs     x1, midr_el1
    ubfx    x2, x1, #MIDR_IMPLEMENTER_SHIFT, #8
    cmp     x2, #IMPLEMENTER_ARM
    b.ne    leave_el3
    ubfx    x2, x1, #MIDR_PART_SHIFT, #12
    mov     x3, #PART_CORTEX_A53
    cmp     x2, x3
    mov     x3, #PART_CORTEX_A72
    ccmp    x2, x3, #4, ne                  // equal, too, if it was the one above
    b.ne    leave_el3
    mrs     x1, CPUECTLR_EL1
    orr     x1, x1, #CPUECTLR_SMPEN         // before any cache is on or maintained
    msr     CPUECTLR_EL1, x1
    isb
leave_el3:
    mov     x1, #(SPSR_DAIF | SPSR_EL2H)
    msr     spsr_el3, x1
    adr     x1, at_el2
    msr     elr_el3, x1
    mov_const x1, SCTLR_EL2_BOOT            // UNKNOWN at reset
    msr     sctlr_el2, x1
    mov_const x1, HCR_RW
    msr     hcr_el2, x1
    eret

at_el2:
    mov_const x1, SCTLR_EL2_BOOT
    msr     sctlr_el2, x1
    mov_const x1, HCR_RW                    // E2H = 0, no stage 2 yet
    msr     hcr_el2, x1
    isb                                     // MMU off, E2H = 0 before the registers below
    mov_const x1, CPTR_GUEST
    msr     cptr_el2, x1
    msr     hstr_el2, xzr
    msr     vttbr_el2, xzr
    msr     cntvoff_el2, xzr
    msr     cnthp_ctl_el2, xzr
    mov     x1, #CNTHCTL_EL1PCTEN
    msr     cnthctl_el2, x1
    mrs     x1, midr_el1
    msr     vpidr_el2, x1
    mov_const x1, MPIDR_RES1
    msr     vmpidr_el2, x1
    address x1, vectors
    msr     vbar_el2, x1
    msr     spsel, #1
    isb

    cbnz    x21, mmu_on
    // Nothing that an earlier program left in the caches may be written back over what is now
    // written past them.
    bl      invalidate_data
    address x0, bss_start
    address x1, image_end
clear_bss:
    stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    clear_bss

    address x21, cpus
    msr     tpidr_el2, x21
    address x0, stack_start + STACK_SIZE
    address x1, panic_stack_start + PANIC_STACK_SIZE
    stp     x0, x1, [x21, #CPU_STACK_TOP]
    mov     sp, x0
    mov     x29, xzr
    bl      mm_build
    // What was written with the MMU off is in memory only: drop lines that hold older contents.
    bl      invalidate_data

mmu_on:
    msr     tpidr_el2, x21
    ldr     x0, [x21, #CPU_STACK_TOP]
    mov     sp, x0
    ic      iallu
    tlbi    alle2
    tlbi    alle1                           // all VMIDs
    dsb     nsh                             // invalidations done before translation is on
    address x0, mm_boot_registers
    ldp     x1, x2, [x0]
    ldr     x3, [x0, #16]
    msr     ttbr0_el2, x1
    msr     tcr_el2, x2
    msr     mair_el2, x3
    mov_const x1, SCTLR_EL2_RUN
    isb                                     // the tables are in place before the switch
    msr     sctlr_el2, x1
    isb                                     // from here on translated, W^X

    mov     x29, xzr
    ldr     w0, [x21, #CPU_INDEX]
    cbnz    w0, enter_smp_main
    mov     x0, x19
    mov     x1, x20
    bl      main
enter_smp_main:
    bl      smp_main

// Invalidate .data, .bss and the stacks to the point of coherency. The boot protocol gives .data
// cleaned to there. Uses x0-x3.
invalidate_data:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #CTR_DMINLINE_SHIFT, #4
    mov     x3, #4
    lsl     x2, x3, x2                      // bytes of the smallest data cache line
    address x0, data_start
    address x1, image_end
invalidate_line:
    dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    invalidate_line
    dsb     sy                              // lines gone before the next access
    ret
