// SPDX-License-Identifier: Apache-2.0
// The PL011 that a guest sees, in front of its end of the console. Its interrupt is a level, raised
// on a VM that has a vGIC.
#ifndef EL2_VPL011_H
#define EL2_VPL011_H

#include <stdbool.h>
#include <stdint.h>

#define VPL011_KEPT 8u

struct vm;

struct vpl011 {
    struct console *console;
    uint16_t kept[VPL011_KEPT]; // registers that are only stored; vpl011.c has their offsets
    uint16_t raised;            // PL011_RIS
    bool level;                 // of the interrupt, as the vGIC was told last
    bool full;                  // too full for a transmit interrupt
    uint32_t intid;             // 0: not connected
};

// `intid`: config.devices[].interrupts[0], or 0.
void vpl011_reset(struct vm *vm, struct vpl011 *uart, uint32_t intid);

// `offset`: any; registers repeat nowhere, the rest reads as zero and ignores writes. They take the
// lock of the VM's console, and the vGIC's inside it.
uint32_t vpl011_read(struct vm *vm, struct vpl011 *uart, uint64_t offset);
void vpl011_write(struct vm *vm, struct vpl011 *uart, uint64_t offset, uint32_t value);

// At the start of a slot of the VM, in its window, on its own pCPU: interrupts for input that has
// come and for room that there is again, on all its UARTs.
void vpl011_slot(struct vm *vm);

#endif
