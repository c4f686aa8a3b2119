// SPDX-License-Identifier: Apache-2.0
// The PL011 that a guest sees, in front of the board's own. No interrupt line yet: a guest polls,
// or reads what would be pending.
#ifndef EL2_VPL011_H
#define EL2_VPL011_H

#include <stdint.h>

struct vpl011 {
    uint16_t ilpr;
    uint16_t ibrd;
    uint16_t fbrd;
    uint16_t lcr_h;
    uint16_t cr;
    uint16_t ifls;
    uint16_t imsc;
    uint16_t dmacr;
};

void vpl011_reset(struct vpl011 *uart);

// `offset`: any; registers repeat nowhere, the rest reads as zero and ignores writes.
uint32_t vpl011_read(const struct vpl011 *uart, uint64_t offset);
void vpl011_write(struct vpl011 *uart, uint64_t offset, uint32_t value);

#endif
